//! Registries behind a proxy that speaks TLS itself.

use crate::registry::{filled, pull};
use corten_distribution::{Credentials, ProxySettings, Registries, RegistrySettings};
use corten_http::tls::{ServerTls, TlsFiles};
use corten_oci::Reference;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corten-http/tests/it/tls").join(name)
}

/// A proxy for one registry, whatever host it is asked for. What is asked for with TLS it ends itself.
struct TlsProxy {
    address: String,
    /// Heads of requests for the proxy itself.
    heads: Arc<Mutex<Vec<String>>>,
}

impl TlsProxy {
    async fn start(registry: String) -> Self {
        let files = TlsFiles {
            certificate: Some(file("server.pem")),
            key: Some(file("server-key.pem")),
            ..TlsFiles::default()
        };
        let tls = ServerTls::load(&files).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, registry, seen) = (tls.clone(), registry.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    let Ok(mut stream) = tls.accept(stream).await else { return };
                    let Some(head) = head(&mut stream).await else { return };
                    seen.lock().unwrap().push(head.clone());
                    let to = TcpStream::connect(registry).await.unwrap();
                    if head.starts_with("CONNECT ") {
                        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                        stream.flush().await.unwrap();
                        // Whoever speaks no TLS in the tunnel gets no further.
                        let Ok(mut inner) = tls.accept(stream).await else { return };
                        let mut to = to;
                        let _ = tokio::io::copy_bidirectional(&mut inner, &mut to).await;
                    } else {
                        forward(head, stream, to, &seen).await;
                    }
                });
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// A folder of certificates in which this proxy's authority is.
    fn believed(&self, scratch: &Path) {
        let folder = scratch.join(&self.address);
        std::fs::create_dir(&folder).unwrap();
        std::fs::copy(file("ca.pem"), folder.join("ca.crt")).unwrap();
    }
}

async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Requests for whole addresses become requests for paths.
async fn forward(
    mut next: String,
    stream: impl AsyncRead + AsyncWrite,
    to: TcpStream,
    seen: &Mutex<Vec<String>>,
) {
    let (mut asked, mut answers) = tokio::io::split(stream);
    let (mut from, mut to) = to.into_split();
    let answering = async { tokio::io::copy(&mut from, &mut answers).await };
    let asking = async {
        loop {
            let path = next.replacen("http://up.example", "", 1);
            if to.write_all(path.as_bytes()).await.is_err() {
                return;
            }
            let Some(head) = head(&mut asked).await else { return };
            seen.lock().unwrap().push(head.clone());
            next = head;
        }
    };
    tokio::select! {
        _ = answering => {}
        () = asking => {}
    }
}

fn settings(folder: &Path) -> RegistrySettings {
    RegistrySettings {
        // The certificates that the tests have are for another name.
        insecure: vec!["registry.example".to_owned()],
        certificate_folders: vec![folder.to_owned()],
        ..RegistrySettings::default()
    }
}

#[tokio::test]
async fn a_registry_with_tls_is_reached_through_a_proxy_with_tls() {
    let scratch = corten_testing::Scratch::new("tls-proxy");
    let (registry, layers) = filled();
    let proxy = TlsProxy::start(registry.host()).await;
    proxy.believed(scratch.path());
    let proxies = ProxySettings { https: format!("https://u:p@{}", proxy.address), ..Default::default() };
    let registries = Registries::new(settings(scratch.path()), proxies, 1);
    let name = Reference::parse("registry.example/app").unwrap();
    let repository = registries.repository(&name, Credentials::default()).unwrap();
    assert!(pull(&repository).await.unwrap() == layers);
    let heads = proxy.heads();
    assert!(!heads.is_empty());
    for head in heads {
        assert!(head.starts_with("CONNECT registry.example:443 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("Proxy-Authorization: Basic dTpw\r\n"), "{head}");
    }
}

#[tokio::test]
async fn a_registry_without_tls_is_reached_through_a_proxy_with_tls() {
    let scratch = corten_testing::Scratch::new("tls-proxy-plain");
    let (registry, layers) = filled();
    let proxy = TlsProxy::start(registry.host()).await;
    proxy.believed(scratch.path());
    let folder = scratch.path().join("up.example");
    std::fs::create_dir(&folder).unwrap();
    let text = format!("server = \"http://up.example\"\nproxy = \"https://u:p@{}\"\n", proxy.address);
    std::fs::write(folder.join("hosts.toml"), text).unwrap();
    let registries = Registries::new(settings(scratch.path()), ProxySettings::default(), 1);
    let name = Reference::parse("up.example/app").unwrap();
    let repository = registries.repository(&name, Credentials::default()).unwrap();
    assert!(pull(&repository).await.unwrap() == layers);
    let heads = proxy.heads();
    assert!(heads.len() >= 5, "tag, manifest, configuration and two layers");
    for head in heads {
        assert!(head.split(' ').nth(1).unwrap().starts_with("http://up.example/v2/app/"), "{head}");
        assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic dtpw\r\n"), "{head}");
    }
}

#[tokio::test]
async fn a_proxy_whose_certificate_is_not_believed_is_told_nothing() {
    let scratch = corten_testing::Scratch::new("tls-proxy-unknown");
    let (registry, _) = filled();
    let proxy = TlsProxy::start(registry.host()).await;
    let proxies = ProxySettings { all: format!("https://u:p@{}", proxy.address), ..Default::default() };
    // That the registry needs no certificate says nothing of the proxy.
    let registries = Registries::new(settings(scratch.path()), proxies, 1);
    let name = Reference::parse("registry.example/app").unwrap();
    let repository = registries.repository(&name, Credentials::default()).unwrap();
    let error = pull(&repository).await.unwrap_err();
    assert!(error.contains("proxyconnect tcp: tls: invalid peer certificate"), "{error}");
    assert!(error.contains("authority of the proxy"), "{error}");
    assert!(proxy.heads().is_empty() && registry.seen().is_empty());
    // The authority may come while we run.
    proxy.believed(scratch.path());
    pull(&repository).await.unwrap();
}
