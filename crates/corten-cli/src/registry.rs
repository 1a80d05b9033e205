//! Registries as the command line itself reaches them, without a daemon: for documents that no image store holds.

use crate::context::Context;
use crate::credentials;
use crate::environment;
use crate::error::{CliError, Result};
use corten_distribution::{
    Credentials, DistributionError, ProxySettings, Registries, RegistrySettings, Repository,
};
use corten_oci::Reference;
use corten_std::Classified;
use std::collections::HashMap;
use std::path::PathBuf;

/// How often a request is made at most.
const ATTEMPTS: u32 = 3;
/// Folders with a folder for each registry, as the daemon reads them.
const CERTIFICATE_FOLDERS: [&str; 2] = ["/etc/corten/certs.d", "/etc/docker/certs.d"];

/// Registries, and what waits for their answers.
#[derive(Debug)]
pub(crate) struct Access {
    registries: Registries,
    runtime: tokio::runtime::Runtime,
    /// By registry, so that a helper is asked once.
    logins: HashMap<String, Credentials>,
}

impl Access {
    /// `insecure` are registries whose certificate is not checked, and that may speak without TLS.
    pub(crate) fn new(insecure: Vec<String>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| CliError::said(format!("cannot open connections: {error}")))?;
        let certificate_folders = CERTIFICATE_FOLDERS.map(PathBuf::from).to_vec();
        let settings = RegistrySettings { insecure, certificate_folders, ..RegistrySettings::default() };
        let registries = Registries::new(settings, proxies(), ATTEMPTS);
        Ok(Self { registries, runtime, logins: HashMap::new() })
    }

    /// The repository of a name, as whoever is logged in there.
    pub(crate) fn repository(&mut self, context: &mut Context, name: &Reference) -> Result<Repository> {
        let key = credentials::key_of(name);
        let login = if let Some(login) = self.logins.get(&key) {
            login.clone()
        } else {
            let login = credentials::find(&context.configuration(), &key)?.unwrap_or_default();
            let login = Credentials {
                username: login.username,
                password: login.password,
                identity_token: login.identitytoken,
                registry_token: login.registrytoken,
            };
            self.logins.insert(key, login.clone());
            login
        };
        self.registries.repository(name, login).map_err(|error| failed(&error))
    }

    /// Waits for what a registry answers.
    pub(crate) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

/// A failed call in this program's words, with what can be done about it.
pub(crate) fn failed(error: &DistributionError) -> CliError {
    CliError::Registry { text: corten_std::chain(error), hint: error.hint() }
}

fn proxies() -> ProxySettings {
    let either = |upper: &str, lower: &str| {
        environment::value(lower).or_else(|| environment::value(upper)).unwrap_or_default()
    };
    ProxySettings {
        http: either(environment::HTTP_PROXY, "http_proxy"),
        https: either(environment::HTTPS_PROXY, "https_proxy"),
        all: either(environment::ALL_PROXY, "all_proxy"),
        except: either(environment::NO_PROXY, "no_proxy"),
    }
}
