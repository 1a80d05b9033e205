//! Finds out how a stream is compressed by its first bytes, and opens it.

use std::io::{BufReader, Read};

use crate::LayerError;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all (or not in a way that is known).
    Plain,
    /// gzip, one or several members.
    Gzip,
    /// Zstandard, one or several frames.
    Zstd,
}

/// What `prefix`, the first bytes of a stream (6 are enough), says about its compression.
///
/// # Errors
/// bzip2, xz and lz4 are known by their marks and refused.
pub fn sniff(prefix: &[u8]) -> Result<Compression, LayerError> {
    match prefix {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Compression::Zstd),
        // A skippable frame: `pzstd` and seekable archives begin with one.
        [first, 0x2a, 0x4d, 0x18, ..] if first & 0xf0 == 0x50 => Ok(Compression::Zstd),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Err(LayerError::Compression("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', 0x00, ..] => Err(LayerError::Compression("xz")),
        [0x04, 0x22, 0x4d, 0x18, ..] => Err(LayerError::Compression("lz4")),
        _ => Ok(Compression::Plain),
    }
}

/// Opens `stream` whatever its compression is; an empty stream is plain.
pub fn decompress<'a>(stream: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>, LayerError> {
    const BUFFER: usize = 128 * 1024;
    // Six bytes may take several reads from a pipe or socket.
    let mut stream = stream;
    let mut prefix = Vec::with_capacity(6);
    stream.by_ref().take(6).read_to_end(&mut prefix).map_err(LayerError::Read)?;
    let compression = sniff(&prefix)?;
    let whole = std::io::Cursor::new(prefix).chain(stream);
    Ok(match compression {
        Compression::Plain => Box::new(whole),
        Compression::Gzip => {
            Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(BUFFER, whole)))
        }
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(BUFFER, whole))
                .map_err(LayerError::Read)?;
            Box::new(decoder)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn check(compressed: &[u8], expected: &[u8]) {
        // One byte at a time, as a slow socket might.
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let length = buffer.len().min(1);
                self.0.read(&mut buffer[..length])
            }
        }
        let mut opened = Vec::new();
        decompress(Slow(compressed)).unwrap().read_to_end(&mut opened).unwrap();
        assert_eq!(opened, expected);
    }

    #[test]
    fn every_known_form_is_opened() {
        check(b"", b"");
        check(b"tiny", b"tiny");
        check(b"plain text that is long enough", b"plain text that is long enough");
        check(&gzip(b"one"), b"one");
        check(&[gzip(b"one, "), gzip(b"two")].concat(), b"one, two");
        check(&zstd::encode_all(&b"three"[..], 1).unwrap(), b"three");
        let two_frames =
            [zstd::encode_all(&b"a"[..], 1).unwrap(), zstd::encode_all(&b"b"[..], 1).unwrap()].concat();
        check(&two_frames, b"ab");
    }

    #[test]
    fn unsupported_forms_are_named() {
        let error = decompress(&b"BZh91AY&SY"[..]).err().unwrap();
        assert_eq!(error.to_string(), "the stream is compressed with bzip2, which is not supported");
        assert!(decompress(&b"\xfd7zXZ\0\0"[..]).is_err());
    }

    #[test]
    fn a_cut_stream_is_an_error_and_not_an_end() {
        let whole = gzip(&[7; 10_000]);
        let mut out = Vec::new();
        assert!(decompress(&whole[..whole.len() - 9]).unwrap().read_to_end(&mut out).is_err());
    }
}
