//! What pulls, pushes and questions to registries share: who is asked, and errors in Docker's words.

use super::Credentials;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_distribution::{DistributionError, Found, Repository};
use corten_oci::image::{Descriptor, media_type};
use corten_oci::reference::DEFAULT_DOMAIN;
use corten_oci::{ImageConfig, Index, Manifest, Platform, Reference};
use corten_std::ErrorClass;

impl Engine {
    /// The repository of a name.
    pub(super) async fn repository(&self, name: &Reference, credentials: &Credentials) -> Result<Repository> {
        let (engine, name, credentials) = (self.clone(), name.clone(), credentials.clone());
        blocking(move || {
            engine
                .inner
                .registries
                .repository(&name, credentials)
                .map_err(|error| EngineError::because("", error))
        })
        .await
    }
}

/// What is said where a registry wants name and password and has got none.
pub(super) const NO_LOGIN: &str = "no basic auth credentials";

/// A failed pull of a name.
pub(super) fn pull_error(name: &Reference, error: DistributionError) -> EngineError {
    let status = error.status();
    let class = match status {
        Some(401 | 403 | 404) => ErrorClass::NotFound,
        _ => ErrorClass::System,
    };
    let is_schema1 = matches!(error, DistributionError::Schema1 { .. });
    let error = EngineError::because("", error);
    let denied = |error: &EngineError| {
        format!(
            "pull access denied for {}, repository does not exist or may require 'docker login': {}",
            name.familiar_name(),
            error.message()
        )
    };
    let message = match status {
        Some(404) if error.message().starts_with("name unknown") => denied(&error),
        Some(401) if error.message().ends_with(NO_LOGIN) => error.message().to_owned(),
        Some(401 | 403) => denied(&error),
        Some(404) => format!("manifest for {} not found: {}", name.familiar(), error.message()),
        _ => error.message().to_owned(),
    };
    let hint = corten_std::Classified::hint(&error);
    let error = EngineError::new(if is_schema1 { ErrorClass::InvalidParameter } else { class }, message);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

impl Engine {
    /// `POST /auth`: whether a login is right. Gives an identity token where the registry has one to give.
    pub async fn registry_login(&self, address: &str, credentials: &Credentials) -> Result<String> {
        let domain = domain_of(address);
        self.inner.registries.login(&domain, credentials).await.map_err(|error| {
            let class = match error.status() {
                Some(401 | 403) => ErrorClass::Unauthorized,
                _ => ErrorClass::System,
            };
            let shown =
                if domain == DEFAULT_DOMAIN { "registry-1.docker.io".to_owned() } else { domain.clone() };
            let is_refused = error.status().is_some();
            let error = EngineError::because("", error);
            let message = if is_refused && !error.message().starts_with("login attempt") {
                format!("Get \"https://{shown}/v2/\": {}", error.message())
            } else {
                error.message().to_owned()
            };
            EngineError::new(class, message)
        })
    }

    /// `GET /distribution/{name}/json`: what a registry has under a name: its descriptor, and for which platforms.
    pub async fn distribution_inspect(
        &self,
        name: &Reference,
        credentials: &Credentials,
    ) -> Result<(Descriptor, Vec<Platform>)> {
        let repository = self.repository(name, credentials).await?;
        let asked = match name.digest() {
            Some(digest) => digest.to_string(),
            None => name.tag().unwrap_or(corten_oci::reference::DEFAULT_TAG).to_owned(),
        };
        let failed = |error: DistributionError| {
            let class = match error.status() {
                Some(401) => ErrorClass::Unauthorized,
                Some(403) => ErrorClass::Forbidden,
                Some(404) => ErrorClass::NotFound,
                _ => ErrorClass::System,
            };
            EngineError::because("", error).with_class(class)
        };
        let document = repository.manifest(&asked).await.map_err(failed)?;
        let wrong = |error| EngineError::from_error("the registry's manifest", error);
        let platforms = if media_type::is_index(&document.descriptor.media_type) {
            let index: Index = serde_json::from_slice(&document.bytes).map_err(wrong)?;
            index.manifests.into_iter().filter_map(|entry| entry.platform).collect()
        } else {
            let manifest: Manifest = serde_json::from_slice(&document.bytes).map_err(wrong)?;
            if media_type::is_config(&manifest.config.media_type) {
                let bytes = repository.small_blob(&manifest.config).await.map_err(failed)?;
                vec![ImageConfig::parse(&bytes).map_err(wrong)?.platform()]
            } else {
                Vec::new()
            }
        };
        Ok((document.descriptor, platforms))
    }

    /// `GET /images/search`.
    pub async fn registry_search(
        &self,
        term: &str,
        limit: usize,
        credentials: &Credentials,
    ) -> Result<Vec<Found>> {
        // `host/word` asks that host.
        let (domain, word) = match term.split_once('/') {
            Some((host, word)) if host.contains(['.', ':']) || host == "localhost" => (host.to_owned(), word),
            _ => (DEFAULT_DOMAIN.to_owned(), term),
        };
        let found = self.inner.registries.search(&domain, word, limit, credentials).await;
        found.map_err(|error| {
            let status = error.status();
            let error = EngineError::because("", error).with_class(ErrorClass::System);
            match status {
                Some(404) => error.with_hint(format!(
                    "{domain} does not answer searches; few registries but Docker Hub do"
                )),
                _ => error,
            }
        })
    }
}

/// The registry that an address of a login means.
fn domain_of(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    match host {
        "" | "index.docker.io" | "docker.io" | "registry-1.docker.io" => DEFAULT_DOMAIN.to_owned(),
        host => host.to_owned(),
    }
}
