//! What the daemon was told that requests leave open: fixed at its start, or changed while it runs.

use crate::container::spec::{logging, security};
use crate::error::{EngineError, Result};
use crate::runtime::RuntimeProgram;
use corten_api::container::{HostConfig, LogConfig, Ulimit};
use corten_distribution::RegistrySettings;
use corten_runtime::cgroup::Mode;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Size of `/dev/shm` where nothing is said, in bytes.
pub(crate) const SHM_SIZE: i64 = 64 * 1024 * 1024;

/// What containers and networks get whose request leaves it open.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    /// Limits of processes; one that a request names wins.
    pub ulimits: Vec<Ulimit>,
    /// The cgroup above containers; empty: the daemon's own.
    pub cgroup_parent: String,
    /// Whether set-user-id programs are without effect.
    pub no_new_privileges: bool,
    /// The filter of system calls: the path it came from, for people, and what it is.
    pub seccomp: SeccompProfile,
    /// The log driver: `json-file`, `local` or `none`.
    pub log_driver: String,
    /// Options of that driver.
    pub log_options: BTreeMap<String, String>,
    /// Options of networks, by driver.
    pub network_options: BTreeMap<String, BTreeMap<String, String>>,
    /// Whether containers get our init as their first process.
    pub init: bool,
    /// Where files name vendors' devices (CDI); a later folder goes before an earlier one.
    pub cdi_folders: Vec<PathBuf>,
}

impl Default for Defaults {
    /// Docker's.
    fn default() -> Self {
        Self {
            ulimits: Vec::new(),
            cgroup_parent: String::new(),
            no_new_privileges: false,
            seccomp: SeccompProfile::default(),
            log_driver: "json-file".to_owned(),
            log_options: BTreeMap::new(),
            network_options: BTreeMap::new(),
            init: false,
            cdi_folders: crate::container::cdi::FOLDERS.map(PathBuf::from).to_vec(),
        }
    }
}

impl Defaults {
    /// Whether containers can be made with them.
    pub fn check(&self) -> Result<()> {
        let log = LogConfig { driver: self.log_driver.clone(), config: Some(self.log_options.clone()) };
        logging::check(&log)?;
        if !self.cgroup_parent.is_empty() {
            corten_runtime::cgroup::check_parent(&self.cgroup_parent)
                .map_err(|error| EngineError::because("invalid cgroup parent", error))?;
        }
        Ok(())
    }

    /// Fills in what a request leaves open.
    pub(crate) fn fill(&self, host: &mut HostConfig) {
        if host.log_config.driver.is_empty() || host.log_config.driver == "default" {
            host.log_config.driver.clone_from(&self.log_driver);
            let options = host.log_config.config.get_or_insert_default();
            for (name, value) in &self.log_options {
                options.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        host.log_config.config.get_or_insert_default();
        for limit in &self.ulimits {
            let ulimits = host.ulimits.get_or_insert_default();
            if !ulimits.iter().any(|given| given.name == limit.name) {
                ulimits.push(limit.clone());
            }
        }
        if host.cgroup_parent.is_empty() {
            host.cgroup_parent.clone_from(&self.cgroup_parent);
        }
        if self.init && host.init.is_none() {
            host.init = Some(true);
        }
        let names = |option: &String| option.starts_with("no-new-privileges");
        if self.no_new_privileges && !host.security_opt.iter().flatten().any(names) {
            host.security_opt.get_or_insert_default().push("no-new-privileges".to_owned());
        }
    }

    /// Fills in the options of a network of this driver.
    pub(crate) fn fill_network(&self, driver: &str, options: &mut BTreeMap<String, String>) {
        for (name, value) in self.network_options.get(driver).into_iter().flatten() {
            options.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
}

/// What can change while the daemon runs; see [`crate::Engine::reload`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloadable {
    /// The daemon's labels, shown by `info`.
    pub labels: Vec<String>,
    /// Other OCI runtimes by the name that a container asks for them with.
    pub runtimes: BTreeMap<String, RuntimeProgram>,
    /// The runtime of containers that name none.
    pub default_runtime: String,
    /// Size of `/dev/shm` of containers that name none, in bytes.
    pub shm_size: i64,
    /// IPC namespace of containers that name none: `private` or `shareable`.
    pub ipc_mode: String,
    /// Cgroup namespace of containers that name none: `private` or `host`; empty: by the version of cgroups.
    pub cgroupns_mode: String,
    /// Mirrors of Docker Hub, registries that are not checked, where certificates lie.
    pub registries: RegistrySettings,
    /// The file that says which images need a signature; empty: none does.
    pub policy: std::path::PathBuf,
    /// Which forms of layers go where they can be had again.
    pub layer_forms: crate::image::LayerForms,
    /// Layers that are downloaded at once.
    pub max_downloads: usize,
    /// Layers that are sent at once.
    pub max_uploads: usize,
    /// So often a request to a registry is made at most.
    pub max_attempts: u32,
}

impl Default for Reloadable {
    /// Docker's.
    fn default() -> Self {
        Self {
            labels: Vec::new(),
            runtimes: BTreeMap::new(),
            default_runtime: "runc".to_owned(),
            shm_size: SHM_SIZE,
            ipc_mode: "private".to_owned(),
            cgroupns_mode: String::new(),
            registries: RegistrySettings::default(),
            policy: std::path::PathBuf::new(),
            layer_forms: crate::image::LayerForms::default(),
            max_downloads: 3,
            max_uploads: 5,
            max_attempts: 5,
        }
    }
}

impl Reloadable {
    /// Fills in what a request leaves open.
    pub(crate) fn fill(&self, host: &mut HostConfig, cgroups: Mode) {
        let or = |text: &mut String, default: &str| {
            if text.is_empty() {
                default.clone_into(text);
            }
        };
        or(&mut host.ipc_mode, &self.ipc_mode);
        or(&mut host.cgroupns_mode, &self.cgroupns_mode);
        or(&mut host.cgroupns_mode, if cgroups == Mode::V2 { "private" } else { "host" });
        or(&mut host.runtime, &self.default_runtime);
        if host.shm_size == 0 {
            host.shm_size = self.shm_size;
        }
    }
}

/// The filter of system calls for containers that name none.
#[derive(Clone, Debug, PartialEq)]
pub struct SeccompProfile {
    /// `builtin`, `unconfined` or the path of its file, as `info` tells it.
    pub(crate) name: String,
    pub(crate) filter: security::Seccomp,
}

impl Default for SeccompProfile {
    fn default() -> Self {
        Self { name: "builtin".to_owned(), filter: security::Seccomp::Default }
    }
}

impl SeccompProfile {
    /// None at all.
    pub fn unconfined() -> Self {
        Self { name: "unconfined".to_owned(), filter: security::Seccomp::Unconfined }
    }

    /// What a file says in Docker's form; `name` is the file's path.
    pub fn parse(name: &str, json: &str) -> Result<Self> {
        Ok(Self { name: name.to_owned(), filter: security::parse_profile(json)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_names_wins() {
        let limit = |name: &str, soft| Ulimit { name: name.to_owned(), soft, hard: 9 };
        let defaults = Defaults {
            ulimits: vec![limit("nofile", 1), limit("core", 2)],
            cgroup_parent: "/all".to_owned(),
            no_new_privileges: true,
            log_options: [("max-size".to_owned(), "1m".to_owned())].into(),
            init: true,
            ..Defaults::default()
        };
        defaults.check().unwrap();
        let mut host = HostConfig { ulimits: Some(vec![limit("nofile", 7)]), ..HostConfig::default() };
        host.security_opt = Some(vec!["no-new-privileges=false".to_owned()]);
        defaults.fill(&mut host);
        Reloadable { shm_size: 5, ..Reloadable::default() }.fill(&mut host, Mode::V2);
        let limits: Vec<i64> = host.ulimits.iter().flatten().map(|limit| limit.soft).collect();
        assert_eq!((limits, host.shm_size), (vec![7, 2], 5));
        assert_eq!(host.security_opt.unwrap(), ["no-new-privileges=false"]);
        assert_eq!((host.cgroup_parent.as_str(), host.init), ("/all", Some(true)));
        assert_eq!(host.log_config.config.unwrap()["max-size"], "1m");
        assert_eq!((host.cgroupns_mode.as_str(), host.ipc_mode.as_str()), ("private", "private"));
    }

    #[test]
    fn defaults_that_no_container_could_have_are_refused() {
        let odd = Defaults { log_driver: "odd".to_owned(), ..Defaults::default() };
        assert!(odd.check().unwrap_err().to_string().contains("no log driver named 'odd'"));
        assert!(Defaults { cgroup_parent: "../a".to_owned(), ..Defaults::default() }.check().is_err());
        assert!(SeccompProfile::parse("/p", "{").is_err());
    }
}
