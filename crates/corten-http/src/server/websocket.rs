//! The WebSocket protocol (RFC 6455), as much as a byte stream needs: the handshake's answer, frames both ways.
//!
//! [`bridge`] joins a connection that speaks it to one that carries plain bytes, so that whoever serves plain streams
//! serves WebSocket clients too.

use std::io;
use std::os::unix::net::UnixStream as StdStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::head::RequestHead;
use super::response::Hijacked;
use super::stream::Stream;

/// What the key is hashed with, by the RFC.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes of output that go into one frame at most.
const PIECE: usize = 32 << 10;
/// Bytes a control frame may carry.
const MAX_CONTROL: u64 = 125;
/// Bytes a frame of a client may carry: its payload is passed on as it comes, so that this only bounds nonsense.
const MAX_FRAME: u64 = 1 << 31;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Which kind of frames output goes out in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// Text frames, as before version 1.28 of the API.
    Text,
    /// Binary frames.
    Binary,
}

/// The value of `Sec-WebSocket-Accept` for a request that asks for a WebSocket; the text says why it is none.
pub fn accept(head: &RequestHead) -> Result<String, &'static str> {
    let has = |name: &str, word: &str| {
        let value = head.header(name).unwrap_or_default();
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    if !has("upgrade", "websocket") || !has("connection", "upgrade") {
        return Err("not websocket protocol");
    }
    if head.header("sec-websocket-version") != Some("13") {
        return Err("missing or bad WebSocket Version");
    }
    let key = head.header("sec-websocket-key").unwrap_or_default();
    if key.is_empty() {
        return Err("missing Sec-WebSocket-Key");
    }
    Ok(accept_key(key))
}

fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(MAGIC.as_bytes());
    STANDARD.encode(hash.finalize())
}

/// One whole frame as a server sends it: not masked.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 10);
    bytes.push(0x80 | opcode);
    match payload.len() {
        length @ ..=125 => bytes.push(length as u8),
        length @ 126..=0xffff => {
            bytes.push(126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// Bytes of the stream.
    Data(Vec<u8>),
    /// To be answered with the same bytes.
    Ping(Vec<u8>),
    /// The end.
    Close,
}

/// What stands before a frame's payload.
struct FrameHead {
    opcode: u8,
    /// Bytes of the payload.
    length: u64,
    mask: [u8; 4],
    /// Bytes of the head itself.
    head: usize,
}

/// Reads frames from whatever pieces the connection gives.
#[derive(Debug, Default)]
struct Decoder {
    buffer: Vec<u8>,
    /// The data frame that is being read: what is left of it, its mask, and where in the mask it is.
    open: Option<(u64, [u8; 4], usize)>,
}

impl Decoder {
    fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece; none where more bytes are needed.
    fn next(&mut self) -> io::Result<Option<Piece>> {
        loop {
            if let Some((left, mask, at)) = &mut self.open {
                if *left == 0 {
                    self.open = None;
                    continue;
                }
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buffer.len());
                let mut data: Vec<u8> = self.buffer.drain(..count).collect();
                for byte in &mut data {
                    *byte ^= mask[*at];
                    *at = (*at + 1) % 4;
                }
                *left -= count as u64;
                return Ok(Some(Piece::Data(data)));
            }
            let Some(FrameHead { opcode, length, mask, head }) = self.head()? else { return Ok(None) };
            if matches!(opcode, CONTINUATION | TEXT | BINARY) {
                self.buffer.drain(..head);
                self.open = Some((length, mask, 0));
                continue;
            }
            let length = length as usize;
            if self.buffer.len() < head + length {
                return Ok(None);
            }
            let payload: Vec<u8> = self.buffer.drain(..head + length).skip(head).collect();
            let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            match opcode {
                CLOSE => return Ok(Some(Piece::Close)),
                PING => return Ok(Some(Piece::Ping(payload))),
                PONG => {}
                _ => return Err(broken("a frame of an unknown kind")),
            }
        }
    }

    /// The head of the next frame; none where it is not there yet.
    fn head(&self) -> io::Result<Option<FrameHead>> {
        let &[first, second, ..] = self.buffer.as_slice() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(broken("a frame with an extension that was not agreed on"));
        }
        if second & 0x80 == 0 {
            return Err(broken("a client's frame that is not masked"));
        }
        let opcode = first & 0x0f;
        let (length, at) = match second & 0x7f {
            126 => match self.buffer.get(2..4) {
                Some(bytes) => (u64::from(u16::from_be_bytes([bytes[0], bytes[1]])), 4),
                None => return Ok(None),
            },
            127 => match self.buffer.get(2..10).and_then(|bytes| bytes.try_into().ok()) {
                Some(bytes) => (u64::from_be_bytes(bytes), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        let control = opcode & 8 != 0;
        if length > if control { MAX_CONTROL } else { MAX_FRAME } || (control && first & 0x80 == 0) {
            return Err(broken("a frame that is too long, or a control frame in parts"));
        }
        let Some(mask) = self.buffer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()) else {
            return Ok(None);
        };
        Ok(Some(FrameHead { opcode, length, mask, head: at + 4 }))
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the WebSocket client sent {what}"))
}

/// Answers the handshake, and carries bytes between a WebSocket client and a plain stream until either ends.
pub async fn bridge(hijacked: Hijacked, plain: StdStream, payload: Payload) -> io::Result<()> {
    let Hijacked { stream: client, leftover: early, head } = hijacked;
    client.write_all(&head).await?;
    plain.set_nonblocking(true)?;
    let (plain_reader, plain_writer) = UnixStream::from_std(plain)?.into_split();
    // Answers to pings go between the frames of output, and never into one.
    let (control, controls) = mpsc::channel(4);
    let input = input(&client, early, plain_writer, control);
    let output = output(&client, plain_reader, payload, controls);
    // When the output ends the container's side is done; a client that closes or leaves ends both.
    tokio::select! {
        result = output => result,
        result = input => result,
    }
}

async fn input(
    client: &Stream,
    early: Vec<u8>,
    mut plain: OwnedWriteHalf,
    control: mpsc::Sender<Vec<u8>>,
) -> io::Result<()> {
    let mut decoder = Decoder::default();
    decoder.feed(&early);
    let mut buffer = vec![0; PIECE];
    loop {
        while let Some(piece) = decoder.next()? {
            match piece {
                Piece::Data(bytes) => plain.write_all(&bytes).await?,
                Piece::Ping(payload) => drop(control.send(frame(PONG, &payload)).await),
                Piece::Close => return client.write_all(&frame(CLOSE, &1000_u16.to_be_bytes())).await,
            }
        }
        match client.read(&mut buffer).await? {
            0 => return Ok(()),
            count => decoder.feed(&buffer[..count]),
        }
    }
}

async fn output(
    client: &Stream,
    mut plain: OwnedReadHalf,
    payload: Payload,
    mut controls: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let opcode = if payload == Payload::Text { TEXT } else { BINARY };
    let mut buffer = vec![0; PIECE];
    loop {
        let bytes = tokio::select! {
            count = plain.read(&mut buffer) => match count? {
                0 => return client.write_all(&frame(CLOSE, &1000_u16.to_be_bytes())).await,
                count => frame(opcode, &buffer[..count]),
            },
            Some(control) = controls.recv() => control,
        };
        client.write_all(&bytes).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_key_of_the_rfc() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    /// A frame as clients send it.
    fn masked(opcode: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut bytes = frame(opcode, payload);
        bytes[1] |= 0x80;
        let head = bytes.len() - payload.len();
        let payload: Vec<u8> =
            bytes.split_off(head).iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        bytes.extend_from_slice(&mask);
        bytes.extend_from_slice(&payload);
        bytes
    }

    proptest! {
        #[test]
        fn frames_are_read_in_whatever_pieces(
            frames in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..70_000), any::<[u8; 4]>()), 0..4),
            cut in 1_usize..9_000,
        ) {
            let mut sent = Vec::new();
            let mut bytes = Vec::new();
            for (payload, mask) in &frames {
                sent.extend_from_slice(payload);
                bytes.extend(masked(BINARY, payload, *mask));
                bytes.extend(masked(PONG, b"x", *mask));
            }
            bytes.extend(masked(CLOSE, &[], [1, 2, 3, 4]));
            let mut decoder = Decoder::default();
            let (mut got, mut closed) = (Vec::new(), false);
            for piece in bytes.chunks(cut) {
                decoder.feed(piece);
                while let Some(piece) = decoder.next().unwrap() {
                    match piece {
                        Piece::Data(data) => got.extend(data),
                        Piece::Close => closed = true,
                        Piece::Ping(_) => panic!("no ping was sent"),
                    }
                }
            }
            prop_assert_eq!(got, sent);
            prop_assert!(closed);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            while let Ok(Some(_)) = decoder.next() {}
        }
    }

    #[test]
    fn what_is_against_the_rules_is_refused() {
        for bytes in [&[0x82, 1, b'a'][..], &[0xc2, 0x81, 0, 0, 0, 0, 0], &[0x89, 0xfe, 1, 0, 0, 0, 0, 0]] {
            let mut decoder = Decoder::default();
            decoder.feed(bytes);
            assert!(decoder.next().is_err(), "{bytes:x?}");
        }
    }
}
