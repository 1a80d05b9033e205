//! Which daemon is meant: a plain decision over what the command line, the environment and the configuration
//! say. Nothing is read here but the files of a named context.

use crate::ClientError;
use corten_http::client::Endpoint;
use corten_http::tls::TlsFiles;
use corten_std::Paths;
use serde::Deserialize;
pub(crate) use sha2_name::context_folder;
use std::path::{Path, PathBuf};

/// Everything that has a say, in the order in which it is asked.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// `-H`.
    pub host: Option<String>,
    /// `--context`.
    pub context: Option<String>,
    /// `DOCKER_HOST`, where not empty.
    pub host_variable: Option<String>,
    /// `DOCKER_CONTEXT`, where not empty.
    pub context_variable: Option<String>,
    /// `currentContext` of the configuration.
    pub current_context: Option<String>,
    /// `DOCKER_API_VERSION`, where not empty.
    pub api_version: Option<String>,
    /// The files for TLS, where an option or variable asks for it; contexts have their own.
    pub tls: Option<TlsFiles>,
    /// The folder of the configuration, with `contexts` in it.
    pub configuration: PathBuf,
    /// Where our own daemon lives.
    pub paths: Paths,
}

/// The daemon that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Whether it is our own on its default socket: it may be started, and its version is known.
    pub own: bool,
    /// The context's name; `default` where none is named.
    pub context: String,
    /// A version that is asked for instead of negotiated.
    pub api_version: Option<String>,
}

/// Decides. `-H` and `--context` together are refused; a context that does not exist is an error.
pub fn resolve(wishes: &Wishes) -> Result<Target, ClientError> {
    if wishes.host.is_some() && wishes.context.is_some() {
        return Err(ClientError::BadTarget(
            "conflicting options: cannot specify both --host and --context".to_owned(),
        ));
    }
    let api_version = wishes.api_version.clone();
    let with_tls = |host: &str, tls: Option<TlsFiles>| -> Result<Target, ClientError> {
        Ok(Target {
            endpoint: secured(parse_host(host)?, host, tls),
            own: false,
            context: "default".to_owned(),
            api_version: api_version.clone(),
        })
    };
    let direct = |host: &str| with_tls(host, wishes.tls.clone());
    let own = || Target {
        endpoint: Endpoint::Unix(wishes.paths.socket()),
        own: true,
        context: "default".to_owned(),
        api_version: api_version.clone(),
    };
    if let Some(host) = &wishes.host {
        return direct(host);
    }
    let context = match (&wishes.context, &wishes.host_variable) {
        (Some(context), _) => Some(context),
        (None, Some(host)) => return direct(host),
        (None, None) => wishes.context_variable.as_ref().or(wishes.current_context.as_ref()),
    };
    match context.map(String::as_str) {
        None | Some("" | "default") => match &wishes.host_variable {
            // `--context default` means what the environment says.
            Some(host) => direct(host),
            None => Ok(own()),
        },
        Some(name) => {
            let endpoint = context_endpoint(&wishes.configuration, name)?;
            let tls = context_tls(&wishes.configuration, name, &endpoint);
            Ok(Target { context: name.to_owned(), ..with_tls(&endpoint.host, tls)? })
        }
    }
}

/// TLS is for TCP only; its port, where none is named, is another one.
fn secured(endpoint: Endpoint, host: &str, tls: Option<TlsFiles>) -> Endpoint {
    match (endpoint, tls) {
        (Endpoint::Tcp(name, port), Some(files)) => {
            let named = host.trim_end_matches('/').ends_with(&format!(":{port}"));
            Endpoint::Secure(name, if named { port } else { 2376 }, files)
        }
        (endpoint, _) => endpoint,
    }
}

/// Reads `unix:///path`, `tcp://host:port`, `http://host:port`, `ssh://[user@]host[:port][/socket]` and a bare
/// `host:port`.
pub fn parse_host(host: &str) -> Result<Endpoint, ClientError> {
    let bad = |why: &str| ClientError::BadTarget(format!("unable to parse docker host `{host}`: {why}"));
    let host = host.trim();
    let (scheme, rest) = host.split_once("://").unwrap_or(("tcp", host));
    match scheme {
        "unix" if rest.is_empty() => Ok(Endpoint::Unix("/var/run/docker.sock".into())),
        "unix" => Ok(Endpoint::Unix(rest.into())),
        "tcp" | "http" => {
            let authority = rest.split('/').next().unwrap_or_default();
            let (name, port) = if let Some(bracketed) = authority.strip_prefix('[') {
                let (name, after) = bracketed.split_once(']').ok_or_else(|| bad("the `]` is missing"))?;
                (name, after.strip_prefix(':').unwrap_or("2375"))
            } else {
                authority.rsplit_once(':').unwrap_or((authority, "2375"))
            };
            if name.is_empty() {
                return Err(bad("the host is missing"));
            }
            let port = port.parse().map_err(|_| bad("the port is not a number"))?;
            Ok(Endpoint::Tcp(name.to_owned(), port))
        }
        "ssh" => ssh(rest).ok_or_else(|| bad("the host is missing")),
        other => Err(bad(&format!("the scheme `{other}` is not one of unix, tcp, http and ssh"))),
    }
}

/// The program that carries a connection to a far daemon.
fn ssh(rest: &str) -> Option<Endpoint> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, address) = match authority.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, authority),
    };
    let (name, port) = match address.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (address, None),
    };
    // A name that begins with a dash would be an option of ssh.
    if name.is_empty() || name.starts_with('-') || user.is_some_and(|user| user.starts_with('-')) {
        return None;
    }
    let mut words: Vec<String> = ["ssh", "-o", "ConnectTimeout=30", "-T"].map(str::to_owned).into();
    if let Some(user) = user {
        words.extend(["-l".to_owned(), user.split(':').next().unwrap_or(user).to_owned()]);
    }
    if let Some(port) = port {
        words.extend(["-p".to_owned(), port.to_owned()]);
    }
    words.extend(["--".to_owned(), name.to_owned(), "docker".to_owned()]);
    if !path.is_empty() {
        words.extend(["--host".to_owned(), format!("unix:///{path}")]);
    }
    words.extend(["system".to_owned(), "dial-stdio".to_owned()]);
    Some(Endpoint::Program(words))
}

/// The file that describes a context.
pub fn context_file(configuration: &Path, name: &str) -> PathBuf {
    configuration.join("contexts/meta").join(context_folder(name)).join("meta.json")
}

/// A context's description, as far as it is needed.
#[derive(Debug, Deserialize)]
pub struct ContextDocument {
    /// Its name.
    #[serde(rename = "Name")]
    pub name: String,
    /// `Description` and more.
    #[serde(rename = "Metadata", default)]
    pub metadata: serde_json::Value,
    /// By kind; `docker` is the one that counts.
    #[serde(rename = "Endpoints", default)]
    pub endpoints: std::collections::BTreeMap<String, ContextEndpoint>,
}

/// One endpoint of a context.
#[derive(Debug, Deserialize)]
pub struct ContextEndpoint {
    /// As in `DOCKER_HOST`.
    #[serde(rename = "Host", default)]
    pub host: String,
    /// The server's certificate is not checked.
    #[serde(rename = "SkipTLSVerify", default)]
    pub skip_tls_verify: bool,
}

/// The files that the context brings along, where it does.
fn context_tls(configuration: &Path, name: &str, endpoint: &ContextEndpoint) -> Option<TlsFiles> {
    let folder = configuration.join("contexts/tls").join(context_folder(name)).join("docker");
    let file = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
    let files = TlsFiles {
        authority: file("ca.pem"),
        certificate: file("cert.pem"),
        key: file("key.pem"),
        verify: !endpoint.skip_tls_verify,
    };
    let any = files.authority.is_some() || files.certificate.is_some() || endpoint.skip_tls_verify;
    any.then_some(files)
}

fn context_endpoint(configuration: &Path, name: &str) -> Result<ContextEndpoint, ClientError> {
    let file = context_file(configuration, name);
    let bytes = std::fs::read(&file).map_err(|_| {
        ClientError::BadTarget(format!(
            "Failed to initialize: unable to resolve docker endpoint: context \"{name}\": context not found: open {}: no such file or directory",
            file.display()
        ))
    })?;
    let mut document: ContextDocument = serde_json::from_slice(&bytes).map_err(|error| {
        ClientError::BadTarget(format!("context `{name}`: {} is damaged: {error}", file.display()))
    })?;
    document
        .endpoints
        .remove("docker")
        .filter(|endpoint| !endpoint.host.is_empty())
        .ok_or_else(|| ClientError::BadTarget(format!("context `{name}` has no docker endpoint")))
}

/// The folder's name of a context is the SHA-256 of its name.
mod sha2_name {
    use sha2::{Digest, Sha256};

    pub(crate) fn context_folder(name: &str) -> String {
        corten_std::id::hex(&Sha256::digest(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(wishes: &Wishes) -> String {
        match resolve(wishes) {
            Ok(target) => format!("{} {} {}", target.endpoint, target.own, target.context),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn the_order_is_flag_variable_context() {
        let folder = std::env::temp_dir().join(format!("corten-client-target-{}", std::process::id()));
        let file = context_file(&folder, "far");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, r#"{"Name":"far","Endpoints":{"docker":{"Host":"tcp://10.0.0.1:99"}}}"#)
            .unwrap();
        let base = Wishes { configuration: folder.clone(), ..Wishes::default() };
        let some = |text: &str| Some(text.to_owned());
        for (wishes, expected) in [
            (base.clone(), "unix:///run/corten/corten.sock true default"),
            (
                Wishes { host: some("unix:///h"), host_variable: some("unix:///v"), ..base.clone() },
                "unix:///h false default",
            ),
            (
                Wishes { host_variable: some("unix:///v"), context_variable: some("far"), ..base.clone() },
                "unix:///v false default",
            ),
            (
                Wishes { context: some("far"), host_variable: some("unix:///v"), ..base.clone() },
                "tcp://10.0.0.1:99 false far",
            ),
            (Wishes { context_variable: some("far"), ..base.clone() }, "tcp://10.0.0.1:99 false far"),
            (Wishes { current_context: some("far"), ..base.clone() }, "tcp://10.0.0.1:99 false far"),
            (
                Wishes { context_variable: some("default"), current_context: some("far"), ..base.clone() },
                "unix:///run/corten/corten.sock true default",
            ),
            (
                Wishes { host: some("unix:///h"), context: some("far"), ..base.clone() },
                "error: conflicting options: cannot specify both --host and --context",
            ),
        ] {
            assert_eq!(endpoint(&wishes), expected);
        }
        assert!(endpoint(&Wishes { context: some("none"), ..base.clone() }).contains("context not found"));
        // TLS: by option for what is named directly, by the context's own files for a context.
        let by_option = TlsFiles { verify: true, ..TlsFiles::default() };
        let secure = |wishes: &Wishes| resolve(wishes).unwrap().endpoint;
        let wishes = Wishes { tls: Some(by_option.clone()), ..base.clone() };
        assert_eq!(
            secure(&Wishes { host: some("tcp://1.2.3.4"), ..wishes.clone() }),
            Endpoint::Secure("1.2.3.4".to_owned(), 2376, by_option.clone())
        );
        assert_eq!(
            secure(&Wishes { host: some("tcp://1.2.3.4:2375"), ..wishes.clone() }),
            Endpoint::Secure("1.2.3.4".to_owned(), 2375, by_option)
        );
        assert_eq!(
            secure(&Wishes { host: some("unix:///a"), ..wishes.clone() }),
            Endpoint::Unix("/a".into())
        );
        assert_eq!(
            secure(&Wishes { context: some("far"), ..wishes }),
            Endpoint::Tcp("10.0.0.1".to_owned(), 99)
        );
        let tls = folder.join("contexts/tls").join(context_folder("far")).join("docker");
        std::fs::create_dir_all(&tls).unwrap();
        std::fs::write(tls.join("ca.pem"), "").unwrap();
        let files = TlsFiles { authority: Some(tls.join("ca.pem")), verify: true, ..TlsFiles::default() };
        assert_eq!(
            secure(&Wishes { context: some("far"), ..base }),
            Endpoint::Secure("10.0.0.1".to_owned(), 99, files)
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn hosts_are_read() {
        for (host, expected) in [
            ("unix:///a/b.sock", "unix:///a/b.sock"),
            ("unix://", "unix:///var/run/docker.sock"),
            ("tcp://1.2.3.4", "tcp://1.2.3.4:2375"),
            ("tcp://[::1]:5", "tcp://[::1]:5"),
            ("localhost:77", "tcp://localhost:77"),
            (
                "ssh://me@host:22",
                "`ssh -o ConnectTimeout=30 -T -l me -p 22 -- host docker system dial-stdio`",
            ),
            (
                "ssh://host/run/x.sock",
                "`ssh -o ConnectTimeout=30 -T -- host docker --host unix:///run/x.sock system dial-stdio`",
            ),
        ] {
            assert_eq!(parse_host(host).unwrap().to_string(), expected, "{host}");
        }
        for host in ["npipe:////./pipe/x", "tcp://:1", "tcp://a:b", "ssh://-oProxyCommand=x"] {
            assert!(parse_host(host).is_err(), "{host}");
        }
    }
}
