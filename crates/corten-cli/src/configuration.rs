//! `config.json`: what of it the command line uses. Keys that are not known are left alone.

use crate::error::{CliError, Result};
use corten_std::file;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Configuration {
    /// Headers sent with every request.
    #[serde(rename = "HttpHeaders")]
    pub(crate) http_headers: BTreeMap<String, String>,
    /// Keys that detach.
    #[serde(rename = "detachKeys")]
    pub(crate) detach_keys: String,
    /// The context where none is named.
    #[serde(rename = "currentContext")]
    pub(crate) current_context: String,
    /// Filters added to every prune.
    #[serde(rename = "pruneFilters")]
    pub(crate) prune_filters: Vec<String>,
    /// Proxy settings by daemon, `default` for all.
    pub(crate) proxies: BTreeMap<String, Proxies>,
    /// More folders with plugins.
    #[serde(rename = "cliPluginsExtraDirs")]
    pub(crate) plugin_folders: Vec<String>,
    /// Who is logged in, by registry.
    #[serde(rename = "auths")]
    pub(crate) logins: BTreeMap<String, crate::credentials::Login>,
    /// The program that keeps secrets: `docker-credential-NAME`.
    #[serde(rename = "credsStore")]
    store: String,
    /// The same for single registries.
    #[serde(rename = "credHelpers")]
    helpers: crate::credentials::Helpers,
    /// Formats of lists, by key: `psFormat`, `imagesFormat` and so on.
    #[serde(flatten)]
    formats: BTreeMap<String, serde_json::Value>,
}

/// Proxy settings that containers get as variables.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Proxies {
    #[serde(rename = "httpProxy")]
    http: String,
    #[serde(rename = "httpsProxy")]
    https: String,
    /// Hosts that are reached directly.
    #[serde(rename = "noProxy")]
    except: String,
    #[serde(rename = "ftpProxy")]
    ftp: String,
    #[serde(rename = "allProxy")]
    all: String,
}

impl Configuration {
    /// Reads the file; a missing one is an empty one. The second value is a warning about one that is damaged.
    pub(crate) fn read(folder: &Path) -> (Self, Option<String>) {
        let path = folder.join("config.json");
        let bytes = match file::read_optional(&path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return (Self::default(), None),
            Err(error) => {
                return (
                    Self::default(),
                    Some(format!("WARNING: Error loading config file: {}", corten_std::chain(&error))),
                );
            }
        };
        match serde_json::from_slice(&bytes) {
            Ok(configuration) => (configuration, None),
            Err(error) => {
                let text = format!("WARNING: Error loading config file: {}: {error}", path.display());
                (Self::default(), Some(text))
            }
        }
    }

    /// The program that keeps a registry's secret, where one does.
    pub(crate) fn helper(&self, key: &str) -> Option<&str> {
        let host = crate::credentials::host_of(key);
        let own = self.helpers.get(key).or_else(|| self.helpers.get(host));
        own.or(Some(&self.store)).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// A list's format, where one is set.
    pub(crate) fn format(&self, key: &str) -> Option<&str> {
        self.formats.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    /// The variables that a container on this daemon gets for its proxies, in both cases.
    pub(crate) fn proxy_variables(&self, endpoint: &str) -> Vec<(String, String)> {
        let Some(proxies) = self.proxies.get(endpoint).or_else(|| self.proxies.get("default")) else {
            return Vec::new();
        };
        [
            ("HTTP_PROXY", &proxies.http),
            ("HTTPS_PROXY", &proxies.https),
            ("NO_PROXY", &proxies.except),
            ("FTP_PROXY", &proxies.ftp),
            ("ALL_PROXY", &proxies.all),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .flat_map(|(name, value)| {
            [(name.to_owned(), value.clone()), (name.to_ascii_lowercase(), value.clone())]
        })
        .collect()
    }
}

/// Changes the file: what is not touched stays as it is, also what this program does not know. A link is followed.
pub(crate) fn change(
    folder: &Path,
    edit: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>),
) -> Result<()> {
    let path = folder.join("config.json");
    let path = std::fs::canonicalize(&path).unwrap_or(path);
    let mut document = match file::read_optional(&path)? {
        None => serde_json::Map::new(),
        // Nothing is written over a file that was not understood.
        Some(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| CliError::said(format!("{} cannot be changed: {error}", path.display())))?,
    };
    edit(&mut document);
    file::create_dir_all_with_mode(folder, 0o700)?;
    let mut text = Vec::new();
    let layout = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, layout);
    document.serialize(&mut writer).map_err(|error| CliError::said(error.to_string()))?;
    Ok(file::write_atomic(&path, &text, file::Durability::Disk)?)
}
