//! Attaching by WebSocket: the handshake, output from the first byte, input in masked frames.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

#[test]
fn a_websocket_client_sees_the_first_byte_and_is_heard() {
    let Some(daemon) = super::daemon("websocket") else { return };
    daemon.corten(&[
        "create",
        "-i",
        "--name",
        "echo",
        "busybox",
        "sh",
        "-c",
        "echo first; read x; echo got $x",
    ]);
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The frame is sent with the request: early bytes are kept.
    let line = b"hello\n";
    let mut request =
        b"GET /v1.51/containers/echo/attach/ws?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\
        Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .to_vec();
    request.extend([0x82, 0x80 | line.len() as u8, 1, 2, 3, 4]);
    request.extend(line.iter().zip([1, 2, 3, 4, 1, 2]).map(|(byte, mask)| byte ^ mask));
    stream.write_all(&request).unwrap();
    let mut bytes = Vec::new();
    read_until(&mut stream, &mut bytes, b"\r\n\r\n");
    let head = String::from_utf8_lossy(&bytes).into_owned();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    daemon.corten(&["start", "echo"]);
    read_until(&mut stream, &mut bytes, b"got hello\n");
    // The container's end is a close frame with the code 1000.
    read_until(&mut stream, &mut bytes, &[0x88, 2, 0x03, 0xe8]);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.contains("first\n"), "output is there, from its first byte: {text:?}");
}

fn read_until(stream: &mut UnixStream, bytes: &mut Vec<u8>, wanted: &[u8]) {
    let mut piece = [0; 4096];
    while !bytes.windows(wanted.len()).any(|window| window == wanted) {
        let count = stream.read(&mut piece).expect("more bytes");
        assert!(count > 0, "it ended with {:?}", String::from_utf8_lossy(bytes));
        bytes.extend_from_slice(&piece[..count]);
    }
}
