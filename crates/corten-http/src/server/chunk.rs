//! The chunked transfer encoding, from bytes to data.
//!
//! Strict: hexadecimal size of at most 16 digits, CR LF everywhere, extensions and trailers bounded and passed over.

/// Bytes that a chunk's size line, or all trailers together, may have.
const MAX_LINE: usize = 8 << 10;

/// Takes a chunked body apart as its bytes come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoder {
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// In a size line.
    Size { line: Vec<u8> },
    /// In a chunk's data, with that many bytes to come.
    Data { left: u64 },
    /// After a chunk's data, with that many bytes of CR LF seen.
    End { seen: usize },
    /// In the trailers, with that many bytes of them seen.
    Trailers { line: Vec<u8>, seen: usize },
    /// After the last byte.
    Done,
}

/// A body that is not in chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed chunked encoding")]
pub struct ChunkError;

impl Default for Decoder {
    fn default() -> Self {
        Self { state: State::Size { line: Vec::new() } }
    }
}

impl Decoder {
    /// Takes bytes from the front of `input` and appends data to `output`. Returns how many were taken: all of them,
    /// unless the body ended before.
    pub fn decode(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, ChunkError> {
        let mut at = 0;
        while at < input.len() {
            match &mut self.state {
                State::Size { line } => {
                    at += take_line(&input[at..], line, MAX_LINE)?;
                    if line.ends_with(b"\n") {
                        self.state = match size(line)? {
                            0 => State::Trailers { line: Vec::new(), seen: 0 },
                            left => State::Data { left },
                        };
                    }
                }
                State::Data { left } => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len() - at);
                    output.extend_from_slice(&input[at..at + length]);
                    at += length;
                    *left -= length as u64;
                    if *left == 0 {
                        self.state = State::End { seen: 0 };
                    }
                }
                State::End { seen } => {
                    if input[at] != b"\r\n"[*seen] {
                        return Err(ChunkError);
                    }
                    at += 1;
                    *seen += 1;
                    if *seen == 2 {
                        self.state = State::Size { line: Vec::new() };
                    }
                }
                State::Trailers { line, seen } => {
                    let taken = take_line(&input[at..], line, MAX_LINE - *seen)?;
                    at += taken;
                    *seen += taken;
                    if line.ends_with(b"\n") {
                        if line.len() == 2 {
                            self.state = State::Done;
                        } else {
                            line.clear();
                        }
                    }
                }
                State::Done => break,
            }
        }
        Ok(at)
    }

    /// Whether the last byte of the body was taken.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }
}

/// Moves bytes up to and with the next LF into `line`; the LF must follow a CR, and no CR may stand elsewhere.
fn take_line(input: &[u8], line: &mut Vec<u8>, most: usize) -> Result<usize, ChunkError> {
    let end = memchr::memchr(b'\n', input).map_or(input.len(), |at| at + 1);
    line.extend_from_slice(&input[..end]);
    if line.len() > most {
        return Err(ChunkError);
    }
    let text = line.strip_suffix(b"\r\n").or_else(|| line.strip_suffix(b"\r")).unwrap_or(line);
    if text.contains(&b'\r') || text.contains(&b'\n') {
        return Err(ChunkError);
    }
    Ok(end)
}

fn size(line: &[u8]) -> Result<u64, ChunkError> {
    let line = line.strip_suffix(b"\r\n").ok_or(ChunkError)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let rest = line[digits..].trim_ascii_start();
    if digits == 0 || digits > 16 || !(rest.is_empty() || rest.starts_with(b";")) {
        return Err(ChunkError);
    }
    let text = str::from_utf8(&line[..digits]).map_err(|_| ChunkError)?;
    u64::from_str_radix(text, 16).map_err(|_| ChunkError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), ChunkError> {
        let (mut decoder, mut output, mut taken) = (Decoder::default(), Vec::new(), 0);
        for piece in pieces {
            taken += decoder.decode(piece, &mut output)?;
        }
        Ok((output, taken, decoder.is_done()))
    }

    #[test]
    fn data_extensions_and_trailers() {
        let body = b"4;name=value\r\nWiki\r\nA \r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nrest";
        let (output, taken, done) = decode(&[body]).unwrap();
        assert_eq!((output.as_slice(), &body[taken..], done), (&b"Wiki0123456789"[..], &b"rest"[..], true));
    }

    #[test]
    fn malformed_bodies() {
        let cases: [&[u8]; 9] = [
            b"\r\n",
            b"x\r\n",
            b"-1\r\n",
            b"1\na\r\n",
            b"1\r\nab",
            b"1\r\na\n",
            b"11111111111111111\r\n",
            b"1 2\r\na\r\n",
            b"1;a\rb\r\n",
        ];
        for case in cases {
            assert_eq!(decode(&[case]), Err(ChunkError), "{:?}", String::from_utf8_lossy(case));
        }
        assert_eq!(decode(&[&vec![b'1'; MAX_LINE + 1]]), Err(ChunkError));
        let trailers = [b"0\r\n".to_vec(), b"A: b\r\n".repeat(MAX_LINE)].concat();
        assert_eq!(decode(&[&trailers]), Err(ChunkError));
    }

    proptest! {
        #[test]
        fn cut_anywhere_the_data_is_the_same(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
            let (output, taken, done) = decode(&pieces).unwrap();
            prop_assert_eq!(output, chunks.concat());
            prop_assert_eq!(taken, body.len());
            prop_assert!(done);
        }

        #[test]
        fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&[&bytes]);
        }
    }
}
