//! Where a plugin is.

use std::path::{Path, PathBuf};

use corten_http::client::Endpoint;
use corten_http::tls::TlsFiles;
use serde::Deserialize;

/// Where plugins are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// With sockets, `NAME.sock`.
    pub sockets: Vec<PathBuf>,
    /// With files that name an address, `NAME.spec` and `NAME.json`.
    pub files: Vec<PathBuf>,
}

impl Default for Folders {
    /// Docker's.
    fn default() -> Self {
        Self {
            sockets: vec!["/run/docker/plugins".into()],
            files: vec!["/etc/docker/plugins".into(), "/usr/lib/docker/plugins".into()],
        }
    }
}

/// `NAME.json`
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    addr: String,
    #[serde(rename = "TLSConfig", default)]
    tls: Option<TlsDocument>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TlsDocument {
    #[serde(default)]
    insecure_skip_verify: bool,
    #[serde(rename = "CAFile", default)]
    authority: String,
    #[serde(default)]
    cert_file: String,
    #[serde(default)]
    key_file: String,
}

impl Folders {
    /// The plugin's address; none where there is no such plugin. The text says what is wrong with its file.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Endpoint>, String> {
        // A name is a file's name: it leads nowhere else.
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            return Ok(None);
        }
        // A name of a managed plugin has a tag, a program's has not; clients may say `:latest` all the same.
        let name = name.strip_suffix(":latest").unwrap_or(name);
        let places = |folder: &Path, end: &str| {
            let file = format!("{name}.{end}");
            [folder.join(&file), folder.join(name).join(file)]
        };
        for path in self.sockets.iter().flat_map(|folder| places(folder, "sock")) {
            if path.exists() {
                return Ok(Some(Endpoint::Unix(path)));
            }
        }
        for folder in &self.files {
            for path in places(folder, "spec") {
                if let Ok(text) = corten_std::file::read_to_string(&path) {
                    return address(text.trim(), None).map(Some).map_err(|why| wrong(&path, &why));
                }
            }
            for path in places(folder, "json") {
                if let Ok(bytes) = corten_std::file::read(&path) {
                    let document: Document =
                        serde_json::from_slice(&bytes).map_err(|error| wrong(&path, &error.to_string()))?;
                    return address(&document.addr, document.tls).map(Some).map_err(|why| wrong(&path, &why));
                }
            }
        }
        Ok(None)
    }
}

fn wrong(path: &Path, why: &str) -> String {
    format!("`{}`: {why}", path.display())
}

fn address(text: &str, tls: Option<TlsDocument>) -> Result<Endpoint, String> {
    let (scheme, rest) = text.split_once("://").ok_or("it names no address, as in unix:///PATH")?;
    let tcp = || {
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or("the port is missing")?;
        let port: u16 = port.parse().map_err(|_| "the port is no number".to_owned())?;
        Ok::<_, String>((host.trim_matches(['[', ']']).to_owned(), port))
    };
    match scheme {
        "unix" if rest.starts_with('/') => Ok(Endpoint::Unix(rest.into())),
        "tcp" | "http" | "https" => {
            let (host, port) = tcp()?;
            let named = |path: String| (!path.is_empty()).then(|| PathBuf::from(path));
            Ok(match tls {
                None => Endpoint::Tcp(host, port),
                Some(tls) => {
                    let files = TlsFiles {
                        authority: named(tls.authority),
                        certificate: named(tls.cert_file),
                        key: named(tls.key_file),
                        verify: !tls.insecure_skip_verify,
                    };
                    Endpoint::Secure(host, port, files)
                }
            })
        }
        other => Err(format!("`{other}://` is no address of a plugin")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_come_first_then_files() {
        let scratch = corten_testing::Scratch::new("plugin-find");
        let folders = Folders {
            sockets: vec![scratch.path().join("run")],
            files: vec![scratch.path().join("etc"), scratch.path().join("lib")],
        };
        let write = |path: &str, text: &str| {
            let path = scratch.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("run/a.sock", "");
        write("run/deep/deep.sock", "");
        write("etc/a.spec", "tcp://h:1");
        write("etc/b.spec", "tcp://h:1\n");
        write(
            "lib/c.json",
            r#"{"Name":"c","Addr":"https://h:2","TLSConfig":{"CAFile":"/ca","InsecureSkipVerify":false}}"#,
        );
        write("lib/bad.spec", "nothing");
        let find = |name: &str| folders.find(name);
        assert_eq!(find("a"), Ok(Some(Endpoint::Unix(scratch.path().join("run/a.sock")))));
        assert_eq!(find("a:latest"), find("a"));
        assert_eq!(find("deep"), Ok(Some(Endpoint::Unix(scratch.path().join("run/deep/deep.sock")))));
        assert_eq!(find("b"), Ok(Some(Endpoint::Tcp("h".to_owned(), 1))));
        let files = TlsFiles { authority: Some("/ca".into()), verify: true, ..TlsFiles::default() };
        assert_eq!(find("c"), Ok(Some(Endpoint::Secure("h".to_owned(), 2, files))));
        assert!(find("bad").unwrap_err().contains("bad.spec`: it names no address"));
        for none in ["x", "", "../run/a", ".hidden"] {
            assert_eq!(find(none), Ok(None), "{none}");
        }
    }
}
