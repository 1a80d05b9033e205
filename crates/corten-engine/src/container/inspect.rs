//! Everything about one container, in Docker's shape.

use crate::Engine;
use crate::container::handle::View;
use crate::container::record::{MountKind, Record};
use crate::container::size::Measure;
use crate::container::spec::security;
use crate::container::state::{Lifecycle, Phase};
use crate::error::Result;
use corten_api::container::{HostConfig, Inspect, MountPoint, NetworkSettings, State};
use corten_api::image::GraphDriver;
use corten_api::network::EndpointSettings;
use std::collections::BTreeMap;

/// The name of the way layers are stacked, as Docker's image store calls it.
const DRIVER: &str = "overlayfs";

impl Engine {
    /// Everything about one container; with `size` its sizes are counted.
    pub async fn inspect(&self, reference: &str, size: bool) -> Result<Inspect> {
        let view = self.find(reference)?.view();
        let record = &view.record;
        let sizes = if size {
            self.container_sizes(vec![record.clone()], Measure::Content).await?.pop()
        } else {
            None
        };
        let file = |name: &str| {
            if view.life.started_at.is_zero() {
                return String::new();
            }
            super::files::path(&self.inner, super::files::owner(record), name).to_string_lossy().into_owned()
        };
        let keeps_log = record.host_config.log_config.driver != "none" && !view.life.started_at.is_zero();
        Ok(Inspect {
            id: record.id.clone(),
            created: record.created.to_string(),
            path: record.path.clone(),
            args: record.arguments.clone(),
            state: state(&view),
            image: record.image.clone(),
            resolv_conf_path: file("resolv.conf"),
            hostname_path: file("hostname"),
            hosts_path: file("hosts"),
            log_path: if keeps_log {
                self.inner.settings.paths.container_log(&record.id).to_string_lossy().into_owned()
            } else {
                String::new()
            },
            name: format!("/{}", record.name),
            restart_count: i64::from(view.life.restart_count),
            driver: DRIVER.to_owned(),
            platform: record.platform.clone(),
            mount_label: record.mount_label.clone(),
            process_label: record.process_label.clone(),
            app_armor_profile: apparmor_profile(&view),
            exec_ids: self.inner.execs.running_in(&record.id),
            host_config: HostConfig {
                links: super::links::shown(&self.inner, record),
                ..record.host_config.clone()
            },
            graph_driver: GraphDriver { name: DRIVER.to_owned(), ..GraphDriver::default() },
            size_rw: sizes.map(|(rw, _)| rw),
            size_root_fs: sizes.map(|(_, all)| all),
            mounts: record.shown_mounts(),
            config: record.config.clone(),
            network_settings: network_settings(&view),
            image_manifest_descriptor: None,
        })
    }

    /// The image as it was asked for; its id where that name is another image's by now.
    pub(super) fn shown_image(&self, record: &Record) -> String {
        let asked = &record.config.image;
        if record.image.is_empty() {
            return asked.clone();
        }
        match self.inner.store.images().resolve_id(asked) {
            Ok(id) if id.to_string() == record.image => asked.clone(),
            _ => record.image.clone(),
        }
    }
}

/// The profile that confined it when it was started last, in Docker's words; empty where this host has no AppArmor.
fn apparmor_profile(view: &View) -> String {
    if view.life.started_at.is_zero() || !super::apparmor::is_enabled() {
        return String::new();
    }
    let host = &view.record.host_config;
    let security = security::settle(host.security_opt.as_deref().unwrap_or_default(), host.privileged);
    let Ok(security) = security else { return String::new() };
    // The default that could not be loaded confines nobody.
    let profile = security.apparmor_profile().filter(|profile| super::apparmor::is_loaded(profile));
    profile.unwrap_or("unconfined").to_owned()
}

fn state(view: &View) -> State {
    let Lifecycle { phase, pid, exit_code, ref error, oom_killed, started_at, finished_at, .. } = view.life;
    State {
        status: phase.as_str().to_owned(),
        running: phase.is_running(),
        paused: phase == Phase::Paused,
        restarting: phase == Phase::Restarting,
        oom_killed,
        dead: phase == Phase::Dead,
        pid,
        exit_code: i64::from(exit_code),
        error: error.clone(),
        started_at: started_at.to_string(),
        finished_at: finished_at.to_string(),
        health: view.health.as_deref().cloned(),
    }
}

/// Docker tells the endpoint of the default bridge a second time at the top.
fn network_settings(view: &View) -> NetworkSettings {
    let networks = view.endpoints().clone();
    let mut settings = NetworkSettings::default();
    if let Some(network) = &view.network {
        settings.sandbox_id.clone_from(&network.sandbox_id);
        settings.sandbox_key.clone_from(&network.sandbox_key);
        settings.ports.clone_from(&network.ports);
    }
    if let Some(endpoint) = networks.get("bridge") {
        settings.endpoint_id.clone_from(&endpoint.endpoint_id);
        settings.gateway.clone_from(&endpoint.gateway);
        settings.global_ipv6_address.clone_from(&endpoint.global_ipv6_address);
        settings.global_ipv6_prefix_len = endpoint.global_ipv6_prefix_len;
        settings.ip_address.clone_from(&endpoint.ip_address);
        settings.ip_prefix_len = endpoint.ip_prefix_len;
        settings.ipv6_gateway.clone_from(&endpoint.ipv6_gateway);
        settings.mac_address.clone_from(&endpoint.mac_address);
    }
    settings.networks = networks;
    settings
}

impl View {
    /// Its endpoints: with addresses while it runs, without otherwise.
    pub(crate) fn endpoints(&self) -> &BTreeMap<String, EndpointSettings> {
        match &self.network {
            Some(network) if !network.endpoints.is_empty() => &network.endpoints,
            _ => &self.record.networks,
        }
    }
}

impl Record {
    /// Its mounts as inspect and list show them: what came by `--tmpfs` stands in `HostConfig.Tmpfs` alone.
    pub(crate) fn shown_mounts(&self) -> Vec<MountPoint> {
        let shown =
            self.mounts.iter().filter(|mounted| !self.host_config.tmpfs.contains_key(&mounted.destination));
        shown
            .map(|mounted| {
                let mut point = MountPoint {
                    destination: mounted.destination.clone(),
                    mode: mounted.mode.clone(),
                    rw: !mounted.read_only,
                    propagation: mounted.propagation.clone(),
                    ..MountPoint::default()
                };
                match &mounted.kind {
                    MountKind::Bind { source, .. } => {
                        "bind".clone_into(&mut point.kind);
                        point.source = source.to_string_lossy().into_owned();
                    }
                    MountKind::Volume { name, driver, source, .. } => {
                        "volume".clone_into(&mut point.kind);
                        point.name.clone_from(name);
                        point.driver.clone_from(driver);
                        point.source = source.to_string_lossy().into_owned();
                    }
                    MountKind::Tmpfs { .. } => "tmpfs".clone_into(&mut point.kind),
                    MountKind::Image { name, .. } => {
                        "image".clone_into(&mut point.kind);
                        point.name.clone_from(name);
                    }
                }
                point
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::record::tests_support::record;
    use std::sync::Arc;

    #[test]
    fn a_fresh_container_has_gos_zero_times() {
        let view = View {
            record: Arc::new(record("aa", "a")),
            life: Lifecycle::default(),
            network: None,

            health: None,
        };
        let state = state(&view);
        assert_eq!((state.status.as_str(), state.started_at.as_str()), ("created", "0001-01-01T00:00:00Z"));
        assert_eq!(network_settings(&view), NetworkSettings::default());
    }
}
