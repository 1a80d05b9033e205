//! What the engine tells of itself and of its host.

use crate::container::ListOptions;
use crate::container::size::Measure;
use crate::container::state::Phase;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_api::container;
use corten_api::filter::Filters;
use corten_api::image;
use corten_api::system::{
    AddressPool, Commit, Component, DiskUsage, FirewallInfo, IndexInfo, Info, PluginsInfo, RegistryConfig,
    SwarmInfo, Version, VersionPlatform,
};
use corten_api::volume::UsageData;
use corten_std::{Timestamp, file};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

/// The engine version that clients read to guess features: Docker's, whose behaviour this is. Our own stands in the
/// platform's name and in the components.
const DOCKER_VERSION: &str = "28.5.2";

/// Newest API version offered.
const API_VERSION: &str = "1.51";

/// Oldest API version accepted.
const MIN_API_VERSION: &str = "1.24";

/// Which parts of `GET /system/df` are wanted.
#[derive(Debug, Clone, Copy)]
pub struct DiskUsageParts {
    /// Containers.
    pub containers: bool,
    /// Images.
    pub images: bool,
    /// Volumes.
    pub volumes: bool,
    /// Build cache; there is none.
    pub build_cache: bool,
}

/// What was counted since the daemon began.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// Events.
    pub events: u64,
    /// Health checks.
    pub health_checks: u64,
    /// Those that did not find their container well.
    pub failed_health_checks: u64,
}

impl Engine {
    /// What was counted since the daemon began.
    pub fn counts(&self) -> Counts {
        let checks = &self.inner.health_checks;
        Counts {
            events: self.inner.events.published(),
            health_checks: checks.all.load(Ordering::Relaxed),
            failed_health_checks: checks.failed.load(Ordering::Relaxed),
        }
    }

    /// `GET /version`.
    pub fn version(&self) -> Version {
        let host = rustix::system::uname();
        let kernel = host.release().to_string_lossy().into_owned();
        let mut details = BTreeMap::from([
            ("ApiVersion".to_owned(), API_VERSION.to_owned()),
            ("Arch".to_owned(), go_architecture().to_owned()),
            ("Experimental".to_owned(), "false".to_owned()),
            ("KernelVersion".to_owned(), kernel.clone()),
            ("MinAPIVersion".to_owned(), MIN_API_VERSION.to_owned()),
            ("Os".to_owned(), "linux".to_owned()),
        ]);
        let own = env!("CARGO_PKG_VERSION").to_owned();
        let (commit, built) = (corten_std::build::COMMIT.to_owned(), corten_std::build::time());
        let said = [("BuildTime", &built), ("GitCommit", &commit)];
        let said = said.into_iter().filter(|(_, value)| !value.is_empty());
        details.extend(said.map(|(name, value)| (name.to_owned(), value.clone())));
        let own_details = if commit.is_empty() {
            BTreeMap::new()
        } else {
            BTreeMap::from([("GitCommit".to_owned(), commit.clone())])
        };
        Version {
            git_commit: commit,
            build_time: built,
            platform: VersionPlatform { name: format!("Corten {own}") },
            components: vec![
                Component { name: "Engine".to_owned(), version: DOCKER_VERSION.to_owned(), details },
                Component { name: "corten".to_owned(), version: own, details: own_details },
            ],
            version: DOCKER_VERSION.to_owned(),
            api_version: API_VERSION.to_owned(),
            min_api_version: MIN_API_VERSION.to_owned(),
            os: "linux".to_owned(),
            arch: go_architecture().to_owned(),
            kernel_version: kernel,
            ..Version::default()
        }
    }

    /// `GET /info`.
    pub async fn info(&self) -> Result<Info> {
        let engine = self.clone();
        blocking(move || Ok(engine.collect_info())).await
    }

    fn collect_info(&self) -> Info {
        let host = rustix::system::uname();
        let memory = rustix::system::sysinfo();
        let release = operating_system();
        let cgroup_v2 = self.inner.cgroups.mode() == corten_runtime::cgroup::Mode::V2;
        let settings = &self.inner.settings;
        let reloadable = self.inner.reloadable();
        let proxies = settings.proxies.shown();
        let mut info = Info {
            id: self.daemon_id(),
            images: self.stored_images().map_or(0, |images| images.len() as i64),
            driver: "overlayfs".to_owned(),
            driver_status: vec![["driver-type".to_owned(), "io.corten.snapshots.overlay".to_owned()]],
            plugins: PluginsInfo {
                volume: self.inner.volumes.drivers(),
                network: ["bridge", "host", "ipvlan", "macvlan", "null"].map(str::to_owned).to_vec(),
                authorization: (!settings.authorization_plugins.is_empty())
                    .then(|| settings.authorization_plugins.clone()),
                log: ["fluentd", "gelf", "journald", "json-file", "local", "syslog"]
                    .map(str::to_owned)
                    .to_vec(),
            },
            memory_limit: true,
            swap_limit: true,
            cpu_cfs_period: true,
            cpu_cfs_quota: true,
            cpu_shares: true,
            cpu_set: true,
            pids_limit: true,
            ipv4_forwarding: file::read_to_string("/proc/sys/net/ipv4/ip_forward")
                .is_ok_and(|text| text.trim() == "1"),
            nfd: file::list("/proc/self/fd").map_or(-1, |names| names.len() as i64),
            oom_kill_disable: !cgroup_v2,
            n_goroutines: tokio::runtime::Handle::try_current()
                .map_or(0, |handle| handle.metrics().num_alive_tasks() as i64),
            system_time: Timestamp::now().to_string(),
            logging_driver: settings.defaults.log_driver.clone(),
            cgroup_driver: "cgroupfs".to_owned(),
            cgroup_version: if cgroup_v2 { "2" } else { "1" }.to_owned(),
            n_events_listener: self.inner.events.listeners() as i64,
            kernel_version: host.release().to_string_lossy().into_owned(),
            operating_system: release.0,
            os_version: release.1,
            os_type: "linux".to_owned(),
            architecture: host.machine().to_string_lossy().into_owned(),
            index_server_address: "https://index.docker.io/v1/".to_owned(),
            registry_config: Some(registry_config(&reloadable.registries)),
            http_proxy: proxies.http,
            https_proxy: proxies.https,
            no_proxy: proxies.except,
            ncpu: std::thread::available_parallelism().map_or(1, |count| count.get() as i64),
            mem_total: i64::try_from(u128::from(memory.totalram) * u128::from(memory.mem_unit))
                .unwrap_or(i64::MAX),
            docker_root_dir: settings.paths.data_root.display().to_string(),
            name: host_name(),
            labels: reloadable.labels.clone(),
            server_version: DOCKER_VERSION.to_owned(),
            runtimes: crate::runtime::listed(&reloadable),
            default_runtime: if crate::runtime::is_own(&reloadable.default_runtime) {
                "corten".to_owned()
            } else {
                reloadable.default_runtime.clone()
            },
            swarm: SwarmInfo { local_node_state: "inactive".to_owned(), ..SwarmInfo::default() },
            live_restore_enabled: true,
            init_binary: "docker-init".to_owned(),
            containerd_commit: Commit::default(),
            security_options: security_options(settings, cgroup_v2, self.inner.selinux.is_some()),
            default_address_pools: Vec::<AddressPool>::new(),
            cdi_spec_dirs: settings
                .defaults
                .cdi_folders
                .iter()
                .map(|folder| folder.display().to_string())
                .collect(),
            firewall_backend: Some(FirewallInfo { driver: "nftables".to_owned(), info: Vec::new() }),
            ..Info::default()
        };
        for container in self.inner.containers.all() {
            let view = container.view();
            info.containers += 1;
            if view.life.phase == Phase::Paused {
                info.containers_paused += 1;
            } else if view.life.phase.is_running() {
                info.containers_running += 1;
            } else {
                info.containers_stopped += 1;
            }
        }
        let mut warnings = self.inner.network.warnings();
        warnings.sort();
        info.warnings = (!warnings.is_empty()).then_some(warnings);
        info
    }

    /// The machine's id, or a name made of the data folder where there is none: the same as long as the daemon's data is.
    pub(crate) fn daemon_id(&self) -> String {
        file::read_to_string("/etc/machine-id").map_or_else(
            |_| self.inner.settings.paths.data_root.display().to_string(),
            |text| text.trim().to_owned(),
        )
    }

    /// `GET /system/df`.
    pub async fn disk_usage(&self, parts: DiskUsageParts) -> Result<DiskUsage> {
        let containers = if parts.containers { Some(self.containers_on_disk().await?) } else { None };
        let engine = self.clone();
        blocking(move || Ok(DiskUsage { containers, ..engine.measure(parts)? })).await
    }

    /// All containers, with what each takes on the disk.
    async fn containers_on_disk(&self) -> Result<Vec<container::Summary>> {
        let options = ListOptions { all: true, limit: 0, size: false, filters: Filters::new() };
        let mut containers = self.list(options).await?;
        let views = self.inner.containers.all();
        let mut records: HashMap<String, _> =
            views.iter().map(|handle| (handle.id.clone(), handle.view().record.clone())).collect();
        // One that was removed since takes nothing.
        containers.retain(|container| records.contains_key(&container.id));
        let listed = containers.iter().filter_map(|container| records.remove(&container.id)).collect();
        let sizes = self.container_sizes(listed, Measure::Disk).await?;
        for (container, size) in containers.iter_mut().zip(sizes) {
            (container.size_rw, container.size_root_fs) = size;
        }
        Ok(containers)
    }

    fn measure(&self, parts: DiskUsageParts) -> Result<DiskUsage> {
        let mut usage = DiskUsage::default();
        let containers: Vec<_> =
            self.inner.containers.all().iter().map(|container| container.view()).collect();
        let mut images = self.stored_images()?;
        images.sort_by_key(|image| (std::cmp::Reverse(image.created), image.id));
        let sharing =
            self.inner.store.images().occupied().map_err(|error| EngineError::because("", error))?;
        usage.layers_size = sharing.total as i64;
        if parts.images {
            let rows = images.iter().map(|image| {
                let id = image.id.to_string();
                image::Summary {
                    containers: containers.iter().filter(|view| view.record.image == id).count() as i64,
                    created: image.created.unix_seconds(),
                    labels: image.config.config.labels.clone(),
                    repo_tags: image.repo_tags(),
                    repo_digests: image.repo_digests(),
                    size: sharing.sizes.get(&image.id).map_or(image.size, |size| *size) as i64,
                    shared_size: sharing.shared.get(&image.id).copied().unwrap_or(0) as i64,
                    descriptor: Some(crate::image::descriptor(&image.target)),
                    id,
                    ..image::Summary::default()
                }
            });
            usage.images = Some(rows.collect());
        }
        if parts.volumes {
            let used = self.used_volumes();
            let mut volumes = self.inner.volumes.documents();
            for volume in &mut volumes {
                volume.usage_data = Some(UsageData {
                    ref_count: used.get(&volume.name).map_or(0, |users| users.len() as i64),
                    size: file::occupied(&volume.mountpoint) as i64,
                });
            }
            usage.volumes = Some(volumes);
        }
        if parts.build_cache {
            usage.build_cache = Some(Vec::new());
        }
        Ok(usage)
    }
}

/// The architecture's name in Go and in images.
fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Name and version of the host's system, from os-release(5).
fn operating_system() -> (String, String) {
    let text = file::read_to_string("/etc/os-release")
        .or_else(|_| file::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches(['"', '\'']).to_owned())
    };
    (value("PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned()), value("VERSION_ID").unwrap_or_default())
}

/// What the machine calls itself.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn security_options(settings: &crate::EngineSettings, cgroup_v2: bool, selinux: bool) -> Vec<String> {
    let defaults = &settings.defaults;
    let mut options = vec![format!("name=seccomp,profile={}", defaults.seccomp.name)];
    if crate::container::apparmor::is_enabled() {
        options.insert(0, "name=apparmor".to_owned());
    }
    if selinux {
        options.push("name=selinux".to_owned());
    }
    if settings.users.is_some() {
        options.push("name=userns".to_owned());
    }
    if cgroup_v2 {
        options.push("name=cgroupns".to_owned());
    }
    if defaults.no_new_privileges {
        options.push("name=no-new-privileges".to_owned());
    }
    options
}
/// What the settings say of registries, as Docker shows it.
fn registry_config(registries: &corten_distribution::RegistrySettings) -> RegistryConfig {
    let mirrors: Vec<String> =
        registries.mirrors.iter().map(|mirror| format!("{}/", mirror.trim_end_matches('/'))).collect();
    let (mut networks, hosts): (Vec<String>, Vec<String>) =
        registries.insecure.iter().cloned().partition(|entry| entry.contains('/'));
    networks.extend(["::1/128".to_owned(), "127.0.0.0/8".to_owned()]);
    let hub =
        IndexInfo { mirrors: mirrors.clone(), name: "docker.io".to_owned(), official: true, secure: true };
    let insecure = hosts.into_iter().map(|name| {
        let about = IndexInfo { name: name.clone(), ..IndexInfo::default() };
        (name, about)
    });
    RegistryConfig {
        index_configs: std::iter::once(("docker.io".to_owned(), hub)).chain(insecure).collect(),
        insecure_registry_cidrs: networks,
        mirrors: (!mirrors.is_empty()).then_some(mirrors),
    }
}
