//! Where the images of a registry are got from, and how: `hosts.toml` and certificates below `certs.d`, read anew for
//! every pull, and the daemon's mirrors and insecure registries.

use crate::error::DistributionError;
use crate::proxy::{Proxy, in_network, is_local, masked};
use crate::transport::Way;
use crate::url::{Url, split_host};
use corten_http::tls::WorldFiles;
use corten_oci::reference::DEFAULT_DOMAIN;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Docker Hub's registry, which has another name than its images.
const HUB: &str = "registry-1.docker.io";

/// What the daemon's settings say of registries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Mirrors of Docker Hub, the first is asked first.
    pub mirrors: Vec<String>,
    /// Registries whose certificate is not checked and that may speak without TLS: `host`, `host:port`, or a network.
    pub insecure: Vec<String>,
    /// Folders with a folder for each registry.
    pub certificate_folders: Vec<PathBuf>,
}

/// What a place may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Content by digest.
    pub pull: bool,
    /// What a tag means.
    pub resolve: bool,
    /// Whether it takes content.
    pub push: bool,
}

impl Capabilities {
    const ALL: Self = Self { pull: true, resolve: true, push: true };
    const MIRROR: Self = Self { pull: true, resolve: true, push: false };
}

/// One place that images come from.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Up to and with `/v2`, without a slash at the end.
    pub(crate) base: Url,
    pub(crate) way: Way,
    /// Sent with each request to this very host.
    pub(crate) headers: HeaderMap,
    pub(crate) capabilities: Capabilities,
    /// The registry it stands for, told as `ns`; none for the registry itself.
    pub(crate) stands_for: Option<String>,
    /// Whether it may be spoken to without TLS where it does not know TLS.
    pub(crate) plain_allowed: bool,
    /// Why it is one of the places, for people.
    pub(crate) why: String,
}

#[derive(Debug, Deserialize)]
struct HostsFile {
    server: Option<String>,
    host: Option<toml::Table>,
    #[serde(flatten)]
    of_server: HostEntry,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HostEntry {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<toml::Value>,
    skip_verify: Option<bool>,
    header: Option<std::collections::BTreeMap<String, OneOrMany>>,
    override_path: bool,
    /// A duration in Go's form.
    dial_timeout: Option<String>,
    proxy: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

impl RegistrySettings {
    /// Checks what cannot be used, with the key that it is under.
    pub fn check(&self) -> Result<(), DistributionError> {
        for mirror in &self.mirrors {
            let plain = mirror.trim_end_matches('/');
            if Url::parse(plain).is_none_or(|url| url.path.contains('?')) {
                return Err(DistributionError::Configuration {
                    path: "registry-mirrors".to_owned(),
                    what: format!(
                        "invalid mirror: \"{mirror}\" is not an http:// or https:// address without query"
                    ),
                });
            }
        }
        for entry in &self.insecure {
            let network = entry.split_once('/').is_some_and(|(address, bits)| {
                address.parse::<IpAddr>().is_ok() && bits.parse::<u32>().is_ok_and(|bits| bits <= 128)
            });
            if !network && split_host(entry, 443).is_none() {
                return Err(DistributionError::Configuration {
                    path: "insecure-registries".to_owned(),
                    what: format!(
                        "`{entry}` is neither a host, with or without port, nor a network like 10.0.0.0/8"
                    ),
                });
            }
        }
        Ok(())
    }

    /// The places for a registry's images, in the order in which they are asked; the registry itself is the last.
    pub fn endpoints(&self, domain: &str) -> Result<Vec<Endpoint>, DistributionError> {
        let (host, port) = split_host(domain, 443).ok_or_else(|| DistributionError::Configuration {
            path: domain.to_owned(),
            what: "not the name of a registry".to_owned(),
        })?;
        let host = if domain == DEFAULT_DOMAIN { HUB.to_owned() } else { host };
        let origin = Url { secure: true, host, port, path: "/v2".to_owned() };
        for folder in &self.certificate_folders {
            for name in folder_names(domain) {
                let folder = folder.join(name);
                let path = folder.join("hosts.toml");
                let text = match std::fs::read_to_string(&path) {
                    Ok(text) => text,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(error) => {
                        return Err(DistributionError::Configuration {
                            path: path.display().to_string(),
                            what: error.to_string(),
                        });
                    }
                };
                let endpoints = self.of_file(&text, &folder, domain, &origin);
                let mut endpoints = endpoints.map_err(|what| DistributionError::Configuration {
                    path: path.display().to_string(),
                    what,
                })?;
                let count = endpoints.len();
                for (at, endpoint) in endpoints.iter_mut().enumerate() {
                    endpoint.why = format!("{} of {count} in {}", at + 1, path.display());
                }
                return Ok(endpoints);
            }
        }
        let mut all = Vec::new();
        if domain == DEFAULT_DOMAIN {
            for mirror in &self.mirrors {
                let Some(mut url) = Url::parse(mirror) else { continue };
                url.path = format!("{}/v2", url.path.trim_end_matches('/'));
                let endpoint = self.endpoint(url, Capabilities::MIRROR, Some(domain));
                all.push(Endpoint { why: "registry-mirrors".to_owned(), ..endpoint });
            }
        }
        all.push(self.endpoint(origin, Capabilities::ALL, None));
        Ok(all)
    }

    fn endpoint(&self, base: Url, capabilities: Capabilities, stands_for: Option<&str>) -> Endpoint {
        let plain_allowed = self.is_insecure(&base);
        let mut files = self.files_of(&base);
        files.skip_verify = plain_allowed;
        Endpoint {
            base,
            way: Way { files, ..Way::default() },
            headers: HeaderMap::new(),
            capabilities,
            stands_for: stands_for.map(str::to_owned),
            plain_allowed,
            why: "the registry itself".to_owned(),
        }
    }

    /// Whether a host's certificate is not checked. Hosts of this machine never need one.
    pub(crate) fn is_insecure(&self, url: &Url) -> bool {
        let address: Option<IpAddr> = url.host.parse().ok();
        is_local(&url.host)
            || self.insecure.iter().any(|entry| match (entry.split_once('/'), address) {
                (Some((network, bits)), Some(address)) => network
                    .parse()
                    .is_ok_and(|network| bits.parse().is_ok_and(|bits| in_network(address, network, bits))),
                _ => split_host(entry, 0).is_some_and(|(host, port)| {
                    host.eq_ignore_ascii_case(&url.host) && (port == 0 || port == url.port)
                }),
            })
    }

    /// Whether what a host's name stands for matters: networks are named, and nothing else decided yet.
    pub(crate) fn asks_for_addresses(&self, endpoint: &Endpoint) -> bool {
        !endpoint.plain_allowed
            && endpoint.base.host.parse::<IpAddr>().is_err()
            && self.insecure.iter().any(|entry| entry.contains('/'))
    }

    /// Docker's certificates of a host: `*.crt` are authorities, `*.cert` with its `*.key` shows who we are.
    pub(crate) fn files_of(&self, url: &Url) -> WorldFiles {
        let mut files = WorldFiles::default();
        let names = [format!("{}:{}", url.host, url.port), url.authority()];
        for folder in &self.certificate_folders {
            for name in &names {
                let Ok(entries) = std::fs::read_dir(folder.join(name)) else { continue };
                let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
                paths.sort();
                for path in paths {
                    match path.extension().and_then(|extension| extension.to_str()) {
                        Some("crt") if !files.authorities.contains(&path) => files.authorities.push(path),
                        Some("cert") if files.pair.is_none() => {
                            let key = path.with_extension("key");
                            files.pair = key.exists().then_some((path, key));
                        }
                        _ => {}
                    }
                }
            }
        }
        files
    }

    fn of_file(
        &self,
        text: &str,
        folder: &Path,
        domain: &str,
        origin: &Url,
    ) -> Result<Vec<Endpoint>, String> {
        let file: HostsFile = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let mut all = Vec::new();
        for (address, entry) in file.host.unwrap_or_default() {
            let entry: HostEntry = entry
                .try_into()
                .map_err(|error: toml::de::Error| format!("host `{address}`: {}", error.message()))?;
            let base = base_of(&address, entry.override_path)?;
            let own = base.same_origin(origin);
            all.push(self.entry(base, &entry, folder, (!own).then_some(domain))?);
        }
        let base = match &file.server {
            Some(server) => base_of(server, file.of_server.override_path)?,
            None => origin.clone(),
        };
        let own = base.same_origin(origin);
        all.push(self.entry(base, &file.of_server, folder, (!own).then_some(domain))?);
        Ok(all)
    }

    fn entry(
        &self,
        base: Url,
        entry: &HostEntry,
        folder: &Path,
        stands_for: Option<&str>,
    ) -> Result<Endpoint, String> {
        let mut endpoint = self.endpoint(base, Capabilities::ALL, stands_for);
        if let Some(named) = &entry.capabilities {
            let has = |name: &str| named.iter().any(|one| one == name);
            endpoint.capabilities =
                Capabilities { pull: has("pull"), resolve: has("resolve"), push: has("push") };
        }
        if let Some(authorities) = &entry.ca {
            endpoint.way.files.authorities = authorities.all().iter().map(|path| folder.join(path)).collect();
        }
        if let Some(client) = &entry.client {
            endpoint.way.files.pair =
                Some(pair_of(client, folder).ok_or("`client` is a file, or a list of [certificate, key]")?);
        }
        if let Some(skip) = entry.skip_verify {
            endpoint.way.files.skip_verify |= skip;
        }
        if let Some(text) = &entry.dial_timeout {
            let time = corten_std::duration::parse_go(text).filter(|time| !time.is_zero());
            let wrong = || format!("`dial_timeout` is a time like 10s, and not `{text}`");
            endpoint.way.dial = Some(time.ok_or_else(wrong)?);
        }
        if let Some(text) = &entry.proxy {
            let wrong =
                || format!("`proxy` is an address like http://proxy:3128, and not `{}`", masked(text));
            endpoint.way.proxy = Some(Proxy::parse(text).ok_or_else(wrong)?);
        }
        for (name, values) in entry.header.iter().flatten() {
            let wrong = || format!("the header `{name}` cannot be sent");
            let name: HeaderName = name.parse().map_err(|_| wrong())?;
            for value in values.all() {
                endpoint.headers.append(name.clone(), HeaderValue::from_str(value).map_err(|_| wrong())?);
            }
        }
        Ok(endpoint)
    }
}

/// `[[certificate, key], …]` (the first is taken), `[certificate, key]`, or one file with both.
fn pair_of(value: &toml::Value, folder: &Path) -> Option<(PathBuf, PathBuf)> {
    match value {
        toml::Value::String(path) => Some((folder.join(path), folder.join(path))),
        toml::Value::Array(list) => match &list[..] {
            [toml::Value::Array(_), ..] => pair_of(&list[0], folder),
            [toml::Value::String(one)] => Some((folder.join(one), folder.join(one))),
            [toml::Value::String(certificate), toml::Value::String(key)] if !key.is_empty() => {
                Some((folder.join(certificate), folder.join(key)))
            }
            _ => None,
        },
        _ => None,
    }
}

fn base_of(address: &str, keep_path: bool) -> Result<Url, String> {
    let text = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
    let mut url = Url::parse(&text)
        .filter(|url| !url.path.contains('?'))
        .ok_or_else(|| format!("`{address}` is not an http:// or https:// address"))?;
    let path = url.path.trim_end_matches('/');
    url.path = if keep_path || path.ends_with("/v2") { path.to_owned() } else { format!("{path}/v2") };
    Ok(url)
}

/// The folders of a registry, the first that is there counts: containerd's names.
fn folder_names(domain: &str) -> Vec<String> {
    let mut names = Vec::new();
    if let Some((host, port)) = domain.rsplit_once(':') {
        names.push(format!("{host}_{port}_"));
    }
    names.push(domain.to_owned());
    names.push("_default".to_owned());
    names
}

/// Reads the text of a `hosts.toml`, for one registry; for tests of what it takes.
pub fn check_hosts_file(text: &str) -> Result<usize, String> {
    let origin = Url { secure: true, host: "registry.example".to_owned(), port: 443, path: "/v2".to_owned() };
    let settings = RegistrySettings::default();
    settings.of_file(text, Path::new("/"), "registry.example", &origin).map(|all| all.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(settings: &RegistrySettings, domain: &str) -> Vec<String> {
        settings.endpoints(domain).unwrap().iter().map(|one| one.base.to_string()).collect()
    }

    #[test]
    fn mirrors_are_of_the_hub_alone() {
        let settings = RegistrySettings {
            mirrors: vec!["http://127.0.0.1:5056".to_owned(), "https://m.example/x/".to_owned()],
            insecure: vec!["10.0.0.0/8".to_owned(), "plain.example:5000".to_owned()],
            ..RegistrySettings::default()
        };
        assert_eq!(
            addresses(&settings, "docker.io"),
            ["http://127.0.0.1:5056/v2", "https://m.example/x/v2", "https://registry-1.docker.io/v2"]
        );
        assert_eq!(addresses(&settings, "a.example:5000"), ["https://a.example:5000/v2"]);
        let insecure = |domain: &str| settings.endpoints(domain).unwrap()[0].plain_allowed;
        assert!(insecure("127.0.0.1:5000") && insecure("localhost:1") && insecure("10.1.1.1"));
        assert!(insecure("plain.example:5000") && !insecure("plain.example:5001") && !insecure("11.0.0.1"));
        settings.check().unwrap();
        for wrong in ["ftp://a", "a b"] {
            assert!(
                RegistrySettings { mirrors: vec![wrong.to_owned()], ..settings.clone() }.check().is_err()
            );
        }
    }

    #[test]
    fn a_hosts_file_says_the_order() {
        let scratch = std::env::temp_dir().join(format!("hosts-{}", std::process::id()));
        let folder = scratch.join("a.example_5000_");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("hosts.toml"),
            "server = \"https://up.example\"\n[host.\"http://second.example\"]\ncapabilities = [\"pull\"]\n\
             [host.\"https://first.example/p\"]\noverride_path = true\nca = \"ca.pem\"\nskip_verify = true\n\
             client = [[\"c.pem\", \"k.pem\"]]\ndial_timeout = \"1m30s\"\nproxy = \"socks5://p.example\"\n[host.\"https://first.example/p\".header]\nx-a = [\"1\", \"2\"]\n",
        )
        .unwrap();
        let settings =
            RegistrySettings { certificate_folders: vec![scratch.clone()], ..RegistrySettings::default() };
        let all = settings.endpoints("a.example:5000").unwrap();
        let bases: Vec<String> = all.iter().map(|one| one.base.to_string()).collect();
        assert_eq!(bases, ["http://second.example/v2", "https://first.example/p", "https://up.example/v2"]);
        assert_eq!(all[0].capabilities, Capabilities { pull: true, resolve: false, push: false });
        assert_eq!(all[1].way.files.authorities, [folder.join("ca.pem")]);
        assert_eq!(all[1].way.files.pair, Some((folder.join("c.pem"), folder.join("k.pem"))));
        assert!(all[1].way.files.skip_verify && all[1].headers.get_all("x-a").iter().count() == 2);
        assert_eq!(all[1].way.dial, Some(std::time::Duration::from_secs(90)));
        assert_eq!(all[1].way.proxy, Proxy::parse("socks5://p.example:1080"));
        assert!(all[1].why.starts_with("2 of 3 in ") && all[0].way.proxy.is_none());
        assert!(all.iter().all(|one| one.stands_for.as_deref() == Some("a.example:5000")));
        for wrong in ["server = 1", "dial_timeout = \"soon\"", "dial_timeout = \"0s\"", "proxy = \"ftp://p\""]
        {
            std::fs::write(folder.join("hosts.toml"), wrong).unwrap();
            assert!(settings.endpoints("a.example:5000").is_err(), "{wrong}");
        }
        std::fs::remove_dir_all(scratch).unwrap();
    }
}
