//! TLS on both sides: who is let in, and that a secured connection behaves as a plain one, taken over and half closed.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corten_http::client::{Body, Connection, Endpoint, HttpError, Request};
use corten_http::server::{Answer, Handler, Listener, Response, Settings, serve};
use corten_http::tls::{ServerTls, TlsFiles};

/// Gives the body back, or, asked to upgrade, the raw stream.
struct Echo;

impl Handler for Echo {
    fn handle(&self, request: corten_http::server::Request) -> Answer<'_> {
        Box::pin(async move {
            let body = request.body;
            if request.head.upgrade().is_none() {
                return Response::full(200, body.collect(8 << 20).await.unwrap());
            }
            Response::hijack(Some("tcp".to_owned()), |hijacked| async {
                let (descriptor, leftover) = hijacked.accept().await.unwrap();
                tokio::task::spawn_blocking(move || {
                    let mut stream = std::os::unix::net::UnixStream::from(descriptor);
                    stream.set_nonblocking(false).unwrap();
                    let mut all = leftover;
                    stream.read_to_end(&mut all).unwrap();
                    stream.write_all(&all).unwrap();
                });
            })
        })
    }
}

fn file(name: &str) -> Option<PathBuf> {
    Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tls").join(name))
}

fn files(who: &str, verify: bool) -> TlsFiles {
    TlsFiles {
        authority: file("ca.pem"),
        certificate: file(&format!("{who}.pem")),
        key: file(&format!("{who}-key.pem")),
        verify,
    }
}

/// A server that lives as long as the runtime, and its port.
fn server(verify: bool) -> (tokio::runtime::Runtime, u16) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = ServerTls::load(&files("server", verify)).unwrap();
    let listener = Listener::from_descriptor(listener.into()).unwrap().secured(&tls);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.spawn(serve(vec![listener], Arc::new(Echo), Settings::default(), std::future::pending()));
    (runtime, port)
}

fn ask(
    endpoint: &Endpoint,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<corten_http::client::Answer, HttpError> {
    let request = Request { method: "POST", target: "/", headers, body: Body::Bytes(body) };
    Connection::open(endpoint)?.send(request)
}

#[test]
fn a_secured_connection_is_as_good_as_a_plain_one() {
    let (_runtime, port) = server(true);
    let endpoint = Endpoint::Secure("127.0.0.1".to_owned(), port, files("client", true));
    let body: Vec<u8> = (0..3_000_000_u32).map(|number| (number / 7) as u8).collect();
    let mut got = Vec::new();
    ask(&endpoint, &[], &body).unwrap().read_to_end(&mut got).unwrap();
    assert!(got == body);
    // Taken over, and closed on one side: the answer comes only behind that end.
    let answer = ask(&endpoint, &[("Upgrade", "tcp"), ("Connection", "Upgrade")], &[]).unwrap();
    assert_eq!(answer.head.status, 101);
    let (mut stream, early) = answer.into_raw();
    let mut copy = stream.try_clone().unwrap();
    let sent = body.clone();
    let sender = std::thread::spawn(move || {
        copy.write_all(&sent).unwrap();
        copy.shutdown_write().unwrap();
    });
    let mut got = early;
    stream.read_to_end(&mut got).unwrap();
    sender.join().unwrap();
    assert!(got == body);
}

#[test]
fn only_who_is_known_gets_through() {
    let (_runtime, port) = server(true);
    let to = |host: &str, files| Endpoint::Secure(host.to_owned(), port, files);
    // No certificate, and one from nobody's authority: the server ends it.
    let anonymous = TlsFiles { certificate: None, key: None, ..files("client", true) };
    assert!(ask(&to("127.0.0.1", anonymous), &[], b"x").is_err());
    // A server's certificate is none for a client.
    assert!(ask(&to("127.0.0.1", files("server", true)), &[], b"x").is_err());
    // An authority that did not sign the server's certificate: the client ends it, unless it does not look.
    let stranger = TlsFiles { authority: file("client.pem"), ..files("client", true) };
    let error = ask(&to("127.0.0.1", stranger.clone()), &[], b"x").err().unwrap();
    assert!(matches!(error, HttpError::Handshake { .. }), "{error}");
    assert!(ask(&to("127.0.0.1", TlsFiles { verify: false, ..stranger }), &[], b"x").is_ok());
    // Plain HTTP gets no answer.
    assert!(ask(&Endpoint::Tcp("127.0.0.1".to_owned(), port), &[], b"x").is_err());
    let (_runtime, port) = server(false);
    let anonymous = TlsFiles { certificate: None, key: None, ..files("client", true) };
    assert!(ask(&Endpoint::Secure("127.0.0.1".to_owned(), port, anonymous), &[], b"x").is_ok());
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let text = |files: &TlsFiles| corten_std::chain(&ServerTls::load(files).unwrap_err());
    let good = files("server", true);
    assert!(text(&TlsFiles { certificate: file("none.pem"), ..good.clone() }).contains("none.pem`"));
    assert!(
        text(&TlsFiles { key: file("ca.pem"), ..good.clone() })
            .ends_with("ca.pem` has no private key in PEM form")
    );
    assert!(
        text(&TlsFiles { certificate: file("server-key.pem"), ..good.clone() })
            .contains("has no certificate")
    );
    assert!(text(&TlsFiles { key: file("client-key.pem"), ..good }).starts_with("cannot use the TLS files"));
}
