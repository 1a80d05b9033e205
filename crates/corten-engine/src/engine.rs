//! The engine: what every operation works on, and the traits it asks of the layer above.

use crate::container::registry::Registry;
use crate::defaults::{Defaults, Reloadable};
use crate::error::{EngineError, Result};
use crate::event::Events;
use crate::failpoint::Failpoints;
use corten_distribution::{ProxySettings, Registries};
use corten_network::NetworkManager;
use corten_runtime::cgroup;
use corten_std::Paths;
use corten_store::Store;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock};

/// How often it is looked whether the cgroups of removed containers are gone, at an orderly end.
const CLOSE_TRIES: u32 = 50;

/// Forks the process that stays beside one container. The daemon supplies it (the keeper forks); the engine does not
/// know who does.
pub trait ShimSpawner: Send + Sync + 'static {
    /// Forks a shim that gets `request` (a `corten_shim::protocol::StartRequest`) and copies of the descriptors, in
    /// this order. Returns its process id as soon as the fork stands; what becomes of the container is told on the
    /// shim's own socket, one of the descriptors.
    fn fork_shim(&self, request: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<u32>;

    /// Keeps descriptors under a name while no daemon lives; the next one is given it (`reserved` of
    /// [`Engine::open`]). Where nobody outlives the daemon nothing is kept.
    fn hold(&self, _name: &str, _descriptors: Vec<OwnedFd>) -> io::Result<()> {
        Ok(())
    }

    /// Lets go of what is kept under a name; of nothing where there is nothing.
    fn release(&self, _name: &str) -> io::Result<()> {
        Ok(())
    }
}

/// What the daemon decides for the engine.
#[derive(Debug)]
pub struct EngineSettings {
    /// Where everything lies.
    pub paths: Paths,
    /// The cgroup below which containers get theirs, as a path from the hierarchy's root: `corten`.
    pub cgroup_parent: String,
    /// What containers and networks get whose request leaves it open.
    pub defaults: Defaults,
    /// The same, and more, that can change while the daemon runs.
    pub reloadable: Reloadable,
    /// Name servers of containers that name none; empty: the host's.
    pub dns: Vec<String>,
    /// Search domains of containers that name none; empty: the host's.
    pub dns_search: Vec<String>,
    /// Resolver options of containers that name none; empty: the host's.
    pub dns_options: Vec<String>,
    /// What `host-gateway` means in `--add-host`; empty: the address of the default bridge.
    pub host_gateway: Vec<IpAddr>,
    /// How the default bridge shall be.
    pub bridge: crate::network::DefaultBridge,
    /// Where subnets of networks that name none are chosen from; empty: Docker's, and small pieces of 10.0.0.0/8.
    pub address_pools: Vec<corten_network::SubnetPool>,
    /// The file of our own program, which becomes the first process of containers that want our init.
    pub program: std::path::PathBuf,
    /// The maps of containers in user namespaces; none: all are in the host's.
    pub users: Option<Arc<crate::users::MappedUsers>>,
    /// Plugins that are asked about every request; shown by `info`.
    pub authorization_plugins: Vec<String>,
    /// Whether containers get SELinux labels, where the kernel has it.
    pub selinux: bool,
    /// Through which proxies registries are reached.
    pub proxies: ProxySettings,
    /// Who calls plugins.
    pub plugins: Arc<dyn crate::plugin::PluginCaller>,
    /// The zone of times that clients name without an offset.
    pub zone: corten_std::zone::Zone,
    /// Steps that fail on purpose; empty outside tests.
    pub failpoints: Failpoints,
}

impl EngineSettings {
    /// Docker's defaults over the given folders.
    pub fn new(paths: Paths) -> Self {
        Self {
            paths,
            cgroup_parent: "corten".to_owned(),
            defaults: Defaults::default(),
            reloadable: Reloadable::default(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            host_gateway: Vec::new(),
            bridge: crate::network::DefaultBridge::default(),
            address_pools: Vec::new(),
            program: "/proc/self/exe".into(),
            users: None,
            authorization_plugins: Vec::new(),
            selinux: false,
            proxies: ProxySettings::default(),
            plugins: Arc::new(crate::plugin::NoPlugins),
            zone: corten_std::zone::Zone::default(),
            failpoints: Failpoints::default(),
        }
    }
}

/// How often it is looked for what nobody went on with.
const LOOK_AFTER: std::time::Duration = std::time::Duration::from_hours(24);

/// Everything a daemon can do, as methods; one cheap handle per user of it.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<EngineInner>,
}

impl Engine {
    /// Opens everything over parts that stand: makes the networks, reads what is saved, finds the containers that run,
    /// removes what an earlier daemon left half done, and starts what the restart policies say. Must be called inside
    /// a tokio runtime; returns when every container can be asked. `reserved` are the sockets that kept the host ports of
    /// published ports while no daemon was there, by name; without them the ports are bound anew.
    pub async fn open(
        settings: EngineSettings,
        store: Store,
        network: NetworkManager,
        spawner: Arc<dyn ShimSpawner>,
        reserved: Vec<(String, OwnedFd)>,
    ) -> Result<Self> {
        let inner = crate::volume::blocking(move || {
            for folder in [settings.paths.containers(), settings.paths.running()] {
                corten_std::file::create_dir_all(folder)?;
            }
            let cgroups = cgroup::Manager::new(&settings.cgroup_parent)
                .map_err(|error| EngineError::because("preparing the cgroups", error))?;
            let plugged =
                Arc::new(crate::network::PluggedNetworks::new(Arc::clone(&settings.plugins), store.clone()));
            network.set_remote(Arc::clone(&plugged) as Arc<dyn corten_network::RemoteDrivers>);
            let networks = crate::network::Networks::open(
                &store,
                &network,
                &settings.bridge,
                &settings.address_pools,
                &settings.paths.unfinished_networks(),
            )?;
            let volumes = crate::volume::Volumes::open(&settings.paths, &store)?
                .with_plugins(Arc::clone(&settings.plugins));
            let downloads = Arc::new(crate::image::Downloads::new(settings.reloadable.max_downloads));
            let registries = Registries::new(
                settings.reloadable.registries.clone(),
                settings.proxies.clone(),
                settings.reloadable.max_attempts,
            );
            let selinux = settings.selinux.then(crate::container::selinux::Selinux::of_host).flatten();
            Ok(EngineInner {
                selinux,
                reloadable: RwLock::new(Arc::new(settings.reloadable.clone())),
                settings,
                store,
                network,
                networks,
                plugged,
                volumes,
                containers: Registry::default(),
                execs: crate::exec::Execs::default(),
                events: Events::default(),
                cgroups,
                abilities: std::sync::OnceLock::new(),
                seccomp: crate::container::seccomp::Programs::default(),
                spawner,
                spares: crate::container::spares::Spares::default(),
                meter: crate::container::stats::Meter::default(),
                links: crate::container::links::Used::default(),
                log_watches: corten_shim::log::LogWatches::default(),
                health_checks: crate::container::health::Counters::default(),
                registries,
                downloads,
                compacting: tokio::sync::Mutex::default(),
            })
        })
        .await?;
        let engine = Self { inner: Arc::new(inner) };
        engine.restore(reserved).await?;
        if engine.inner.cgroups.hierarchies().is_legacy() {
            tokio::spawn(crate::container::spares::keep(Arc::downgrade(&engine.inner)));
        }
        engine.follow_layer_forms(None);
        tokio::spawn(look_after(Arc::downgrade(&engine.inner)));
        Ok(engine)
    }

    /// Takes other settings from now on, and tells it as the event `reload` of the daemon.
    pub fn reload(&self, settings: Reloadable) {
        let mut attributes = BTreeMap::from([
            ("default-cgroupns-mode".to_owned(), settings.cgroupns_mode.clone()),
            ("default-ipc-mode".to_owned(), settings.ipc_mode.clone()),
            ("default-runtime".to_owned(), settings.default_runtime.clone()),
            ("default-shm-size".to_owned(), settings.shm_size.to_string()),
            ("labels".to_owned(), format!("{:?}", settings.labels)),
        ]);
        let runtimes: Vec<String> = settings
            .runtimes
            .iter()
            .map(|(name, program)| format!("{name}={}", program.path.display()))
            .collect();
        attributes.insert("runtimes".to_owned(), runtimes.join(" "));
        attributes.insert("name".to_owned(), crate::system::host_name());
        self.inner.registries.reload(settings.registries.clone());
        self.inner.downloads.allow(settings.max_downloads);
        *self.inner.reloadable.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        self.inner.events.publish("daemon", "reload", &self.daemon_id(), attributes);
    }

    /// Removes what is only kept ready. To be called when nothing is asked any more; containers go on.
    pub async fn close(&self) {
        let inner = Arc::clone(&self.inner);
        let closed = crate::volume::blocking(move || {
            inner.spares.close();
            // Cgroups of removed containers go in the background; those of containers that run stay.
            for _ in 0..CLOSE_TRIES {
                let runs = |id: &String| inner.containers.all().iter().any(|handle| handle.id == *id);
                if inner.cgroups.list().iter().all(runs) {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            inner.cgroups.remove_unused();
            Ok(())
        });
        if let Err(error) = closed.await {
            tracing::warn!(%error, "cannot remove what was kept ready");
        }
    }
}

/// Once a day, as long as the engine lives: what pulls that were broken off left goes when nobody went on with it, and forms of
/// layers that the settings do not want.
async fn look_after(engine: std::sync::Weak<EngineInner>) {
    loop {
        tokio::time::sleep(LOOK_AFTER).await;
        let Some(engine) = engine.upgrade() else { return };
        Engine { inner: Arc::clone(&engine) }.follow_layer_forms(None);
        let swept = tokio::task::spawn_blocking(move || engine.store.sweep_broken_off()).await;
        if let Ok(Err(error)) = swept {
            tracing::warn!(error = corten_std::chain(&error), "what broken-off pulls left is not removed");
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Engine").field("paths", &self.inner.settings.paths).finish_non_exhaustive()
    }
}

/// What the handles share.
pub(crate) struct EngineInner {
    pub(crate) settings: EngineSettings,
    reloadable: RwLock<Arc<Reloadable>>,
    pub(crate) store: Store,
    pub(crate) network: NetworkManager,
    pub(crate) networks: crate::network::Networks,
    /// Networks that plugins make, and addresses that they keep.
    pub(crate) plugged: Arc<crate::network::PluggedNetworks>,
    pub(crate) volumes: crate::volume::Volumes,
    pub(crate) containers: Registry,
    pub(crate) execs: crate::exec::Execs,
    pub(crate) events: Events,
    pub(crate) cgroups: cgroup::Manager,
    /// Which limits this machine can set; looked up when one is first asked about.
    pub(crate) abilities: std::sync::OnceLock<cgroup::Abilities>,
    pub(crate) seccomp: crate::container::seccomp::Programs,
    pub(crate) spawner: Arc<dyn ShimSpawner>,
    pub(crate) spares: crate::container::spares::Spares,
    pub(crate) meter: crate::container::stats::Meter,
    pub(crate) links: crate::container::links::Used,
    pub(crate) log_watches: corten_shim::log::LogWatches,
    /// How many health checks there were.
    pub(crate) health_checks: crate::container::health::Counters,
    /// Registries, as this machine reaches them.
    pub(crate) registries: Registries,
    /// SELinux, where the daemon gives containers labels.
    pub(crate) selinux: Option<crate::container::selinux::Selinux>,
    /// Blobs that are on their way here.
    pub(crate) downloads: Arc<crate::image::Downloads>,
    /// Held by whoever drops forms of layers.
    pub(crate) compacting: tokio::sync::Mutex<()>,
}

impl EngineInner {
    /// What can change while the daemon runs, as it is now.
    pub(crate) fn reloadable(&self) -> Arc<Reloadable> {
        Arc::clone(&self.reloadable.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Which limits this machine can set.
    pub(crate) fn abilities(&self) -> &cgroup::Abilities {
        self.abilities.get_or_init(|| self.cgroups.abilities())
    }
}
