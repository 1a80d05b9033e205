//! Keep-alive, pipelining, bodies both ways, hijack, and what a client's disconnect does.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use corten_http::server::{
    Answer, BlockingWriter, Handler, Listener, NextPiece, Request, Response, Settings, serve,
};
use proptest::prelude::*;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::client::Client;

/// Shows what it got.
struct Echo {
    /// Told when a stream that never ends is dropped.
    dropped: mpsc::UnboundedSender<()>,
}

struct Endless {
    first: bool,
    dropped: mpsc::UnboundedSender<()>,
}

impl corten_http::server::BodyStream for Endless {
    fn next(&mut self) -> NextPiece<'_> {
        Box::pin(async {
            if std::mem::take(&mut self.first) {
                return Some(Ok(b"one".to_vec()));
            }
            std::future::pending().await
        })
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        let _ = self.dropped.send(());
    }
}

impl Handler for Echo {
    fn handle(&self, request: Request) -> Answer<'_> {
        Box::pin(async move {
            let Request { head, mut body } = request;
            match head.path.as_str() {
                "/echo" => match body.collect(1 << 20).await {
                    Ok(body) => Response::full(200, body),
                    Err(error) => Response::full(400, error.to_string()),
                },
                "/ignore" => Response::full(200, head.method),
                "/none" => Response::empty(204).header("X-Split", "a\r\nb: c".to_owned()),
                "/endless" => Response::stream(200, Endless { first: true, dropped: self.dropped.clone() }),
                "/upload" => {
                    let (mut writer, stream) = BlockingWriter::channel();
                    body.accept().await.unwrap();
                    let mut reader = body.into_blocking_reader();
                    tokio::task::spawn_blocking(move || {
                        std::io::copy(&mut reader, &mut writer).unwrap();
                        writer.finish().unwrap();
                    });
                    Response::stream(200, stream)
                }
                "/broken" => {
                    let (mut writer, stream) = BlockingWriter::channel();
                    tokio::task::spawn_blocking(move || {
                        writer.write_all(b"some").and_then(|()| writer.flush())
                    });
                    Response::stream(200, stream)
                }
                "/hijack" => Response::hijack(head.upgrade().map(str::to_owned), |hijacked| async {
                    let (descriptor, leftover) = hijacked.accept().await.unwrap();
                    tokio::task::spawn_blocking(move || {
                        let mut stream = UnixStream::from(descriptor);
                        stream.set_nonblocking(false).unwrap();
                        stream.write_all(&leftover).unwrap();
                        let mut copy = stream.try_clone().unwrap();
                        std::io::copy(&mut copy, &mut stream).unwrap();
                    });
                })
                .header("Content-Type", "raw"),
                _ => Response::full(404, "nothing"),
            }
        })
    }
}

struct Server {
    runtime: Runtime,
    path: std::path::PathBuf,
    dropped: mpsc::UnboundedReceiver<()>,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Server {
    fn start(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("corten-http-{}-{name}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let (sender, dropped) = mpsc::unbounded_channel();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let listener = Listener::from_descriptor(listener.into()).unwrap();
        let served = runtime.spawn(serve(
            vec![listener],
            Arc::new(Echo { dropped: sender }),
            Settings { stop_timeout: Duration::from_secs(1), ..Settings::default() },
            async { drop(stopped.await) },
        ));
        Self { runtime, path, dropped, stop: Some(stop), served }
    }

    fn connect(&self) -> Client {
        Client::new(UnixStream::connect(&self.path).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[test]
fn a_connection_serves_many_requests_pipelined_or_not() {
    let server = Server::start("many");
    let mut client = server.connect();
    client.send("GET /ignore HTTP/1.1\r\nHost: d\r\n\r\n");
    assert_eq!(client.answer().text(), "GET");
    client.send(concat!(
        "POST /echo HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "POST /ignore HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\n\r\nhello",
        "HEAD /echo HTTP/1.1\r\nHost: d\r\n\r\n",
        "GET /none HTTP/1.1\r\nHost: d\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n",
    ));
    assert_eq!(client.answer().text(), "hello");
    assert_eq!(client.answer().text(), "abc");
    assert_eq!(client.answer().text(), "POST");
    assert_eq!(client.head().0, 200);
    let none = client.answer();
    assert_eq!(none.status, 204);
    assert!(
        none.head.contains("X-Split: a  b: c\r\n") && !none.head.contains("Content-Length"),
        "{}",
        none.head
    );
    let last = client.answer();
    assert_eq!((last.status, last.text()), (404, "nothing"));
    assert!(last.head.contains("Connection: close"));
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_refused_head_ends_the_connection() {
    let server = Server::start("refused");
    let cases = [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        (
            "POST /echo HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("GET / HTTP/1.1\r\nHost: d\r\nA: b\r\n c\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: d\n\n", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ];
    for (request, status) in cases {
        let mut client = server.connect();
        client.send(request);
        client.send("GET /smuggled HTTP/1.1\r\nHost: d\r\n\r\n");
        let answer = client.answer();
        assert_eq!(answer.status, status, "{request:?}");
        assert_eq!(client.rest(), b"", "{request:?}");
    }
    let mut client = server.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: d\r\nA: {}", "a".repeat(1 << 20)));
    assert_eq!(client.answer().status, 431);
}

#[test]
fn a_bad_chunk_is_an_error_and_ends_the_connection() {
    let server = Server::start("chunk");
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text()), (400, "malformed chunked encoding"));
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_client_that_waits_is_told_to_go_on_when_the_body_is_wanted() {
    let server = Server::start("continue");
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().0, 100);
    client.send("ab");
    assert_eq!(client.answer().text(), "ab");
    // Not wanted: the final answer comes at once, and the connection cannot go on.
    client.send("POST /ignore HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("Connection: close"));
}

#[test]
fn large_bodies_stream_both_ways() {
    let server = Server::start("stream");
    let mut client = server.connect();
    // Sent beside the reading: the answer comes while the request is still on its way, and nobody buffers it all.
    let mut sender = client.sender();
    let (pieces, length) = (20, 70_000);
    let sending = std::thread::spawn(move || {
        sender.write_all(b"POST /upload HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        for _ in 0..pieces {
            write!(sender, "{length:x}\r\n").unwrap();
            sender.write_all(&vec![b'x'; length]).unwrap();
            sender.write_all(b"\r\n").unwrap();
        }
        sender.write_all(b"0\r\n\r\nGET /ignore HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
    });
    assert_eq!(client.answer().body.len(), pieces * length);
    sending.join().unwrap();
    assert_eq!(client.answer().text(), "GET");
}

#[test]
fn a_stream_that_breaks_is_not_a_whole_body() {
    let server = Server::start("broken");
    let mut client = server.connect();
    client.send("GET /broken HTTP/1.1\r\nHost: d\r\n\r\n");
    assert_eq!(client.head().0, 200);
    assert_eq!(client.rest(), b"4\r\nsome\r\n");
}

#[test]
fn http_1_0_gets_a_body_that_ends_with_the_connection() {
    let server = Server::start("old");
    let mut client = server.connect();
    client.send("POST /upload HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc");
    let answer = client.answer();
    assert!(!answer.head.contains("chunked"));
    assert_eq!(answer.text(), "abc");
}

#[test]
fn an_endless_stream_ends_when_the_client_goes() {
    let mut server = Server::start("gone");
    let mut client = server.connect();
    client.send("GET /endless HTTP/1.1\r\nHost: d\r\n\r\n");
    assert_eq!(client.head().0, 200);
    assert_eq!(client.exactly(8), b"3\r\none\r\n");
    drop(client);
    let dropped = async { tokio::time::timeout(Duration::from_secs(5), server.dropped.recv()).await };
    assert_eq!(server.runtime.block_on(dropped), Ok(Some(())));
}

#[test]
fn a_connection_is_handed_over_with_what_came_early() {
    let server = Server::start("hijack");
    for (upgrade, status) in [("Connection: Upgrade\r\nUpgrade: tcp\r\n", 101), ("", 200)] {
        let mut client = server.connect();
        // On a connection that was used before, with input right behind the head.
        client.send("GET /ignore HTTP/1.1\r\nHost: d\r\n\r\n");
        assert_eq!(client.answer().status, 200);
        client
            .send(format!("POST /hijack HTTP/1.1\r\nHost: d\r\n{upgrade}Content-Length: 2\r\n\r\n{{}}early"));
        let (got, head) = client.head();
        assert_eq!(got, status);
        assert!(
            head.contains("Content-Type: raw\r\n")
                && !head.contains("Content-Length")
                && !head.contains("chunked")
        );
        assert_eq!(head.contains("Upgrade: tcp\r\n"), status == 101);
        assert_eq!(head.starts_with("HTTP/1.1 101 UPGRADED\r\n"), status == 101);
        client.send(" late");
        client.close_writing();
        assert_eq!(client.rest(), b"early late");
    }
}

#[test]
fn stopping_ends_waiting_connections_and_lets_others_finish() {
    let mut server = Server::start("stop");
    let mut idle = server.connect();
    idle.send("GET /ignore HTTP/1.1\r\nHost: d\r\n\r\n");
    assert_eq!(idle.answer().status, 200);
    let mut busy = server.connect();
    busy.send("POST /echo HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\na");
    std::thread::sleep(Duration::from_millis(100));
    server.stop.take().unwrap().send(()).unwrap();
    assert_eq!(idle.rest(), b"");
    busy.send("b");
    assert_eq!(busy.answer().text(), "ab");
    let served = &mut server.served;
    server.runtime.block_on(async { served.await.unwrap().unwrap() });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn requests_cut_anywhere_give_the_same_answers(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        thread_local!(static SERVER: Server = Server::start("property"));
        let mut bytes = Vec::new();
        for (at, body) in bodies.iter().enumerate() {
            if at % 2 == 0 {
                bytes.extend(format!("POST /echo HTTP/1.1\r\nHost: d\r\nContent-Length: {}\r\n\r\n", body.len()).bytes());
                bytes.extend(body);
            } else {
                bytes.extend(b"POST /echo HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n");
                for chunk in body.chunks(7) {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\n\r\n");
            }
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut client = SERVER.with(Server::connect);
        for pair in cuts.windows(2) {
            client.send(&bytes[pair[0]..pair[1]]);
            std::thread::yield_now();
        }
        for body in &bodies {
            prop_assert_eq!(&client.answer().body, body);
        }
    }
}
