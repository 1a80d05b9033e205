//! The eight byte head before each piece of output on a connection without a terminal: stream number, three zero
//! bytes, big-endian length (Docker's `multiplexed-stream`).

/// Length of a head in bytes.
pub const HEAD: usize = 8;

/// Which stream a piece belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// 0; only ever in the client's direction.
    Stdin,
    /// 1.
    Stdout,
    /// 2.
    Stderr,
    /// 3: an error of the daemon that ends the connection.
    SystemError,
}

impl Stream {
    /// The name in a log line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdin => "stdin",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::SystemError => "systemerr",
        }
    }
}

/// The head of a piece of `length` bytes.
pub fn head(stream: Stream, length: usize) -> [u8; HEAD] {
    let length = (length as u32).to_be_bytes();
    [stream as u8, 0, 0, 0, length[0], length[1], length[2], length[3]]
}

/// A whole frame, for short texts such as an error told to the client of an exec.
pub fn frame(stream: Stream, bytes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD + bytes.len());
    frame.extend_from_slice(&head(stream, bytes.len()));
    frame.extend_from_slice(bytes);
    frame
}

/// Stream and length of a head; none where it is not one.
pub fn parse(head: [u8; HEAD]) -> Option<(Stream, usize)> {
    let stream = match head[0] {
        0 => Stream::Stdin,
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        3 => Stream::SystemError,
        _ => return None,
    };
    if head[1..4] != [0, 0, 0] {
        return None;
    }
    Some((stream, u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_head_reads_back(number in 0_usize..4, length in 0_usize..=u32::MAX as usize) {
            let stream = [Stream::Stdin, Stream::Stdout, Stream::Stderr, Stream::SystemError][number];
            prop_assert_eq!(parse(head(stream, length)), Some((stream, length)));
        }

        #[test]
        fn any_bytes_are_read_without_a_crash(bytes: [u8; HEAD]) {
            if let Some((stream, length)) = parse(bytes) {
                prop_assert_eq!(head(stream, length), bytes);
            }
        }
    }

    #[test]
    fn the_layout_is_dockers() {
        assert_eq!(frame(Stream::Stderr, b"ab"), b"\x02\0\0\0\0\0\0\x02ab");
    }
}
