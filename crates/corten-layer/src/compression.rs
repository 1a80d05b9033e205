//! Finds out how a stream is compressed by its first bytes, and opens it.

use std::io::{BufReader, Read, Write};

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
    /// bzip2, one or several streams.
    Bzip2,
    /// xz, one or several streams.
    Xz,
}

/// What `prefix`, the first bytes of a stream (6 are enough), says about its compression.
///
/// # Errors
/// lz4 is known by its mark and refused.
pub fn sniff(prefix: &[u8]) -> Result<Compression, LayerError> {
    match prefix {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Compression::Zstd),
        // A skippable frame: `pzstd` and seekable archives begin with one.
        [first, 0x2a, 0x4d, 0x18, ..] if first & 0xf0 == 0x50 => Ok(Compression::Zstd),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Ok(Compression::Bzip2),
        [0xfd, b'7', b'z', b'X', b'Z', 0x00, ..] => Ok(Compression::Xz),
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
        Compression::Bzip2 => {
            Box::new(bzip2::bufread::MultiBzDecoder::new(BufReader::with_capacity(BUFFER, whole)))
        }
        Compression::Xz => Box::new(lzma_rust2::XzReader::new(BufReader::with_capacity(BUFFER, whole), true)),
    })
}

/// What stands around deflated bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// As in files of that name.
    Gzip,
    /// As in network protocols.
    Zlib,
}

/// Deflates a short message; `level` 0 to 9, none: the library's usual one.
pub fn deflate(message: &[u8], wrapping: Wrapping, level: Option<u32>) -> Vec<u8> {
    let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
    let deflated = match wrapping {
        Wrapping::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(message).and_then(|()| encoder.finish())
        }
        Wrapping::Zlib => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(message).and_then(|()| encoder.finish())
        }
    };
    // Writing to memory does not fail.
    deflated.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// `printf four | xz`
    const XZ: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\x03\x66\x6f\x75\x72\x00\xd0\x58\x3b\x3c\xad\xcb\x93\x7e\x00\x01\x1c\x04\x6f\x2c\x9c\xc1\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a";
    /// `printf five | bzip2`
    const BZIP2: &[u8] = b"\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\xae\xcf\x3a\x40\x00\x00\x00\x81\x80\x03\x20\x01\x00\x20\x00\x21\x9a\x68\x33\x4d\x13\x3c\x5d\xc9\x14\xe1\x42\x42\xbb\x3c\xe9\x00";

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
        check(XZ, b"four");
        check(&[XZ, XZ].concat(), b"fourfour");
        check(BZIP2, b"five");
        check(&[BZIP2, BZIP2].concat(), b"fivefive");
    }

    #[test]
    fn unsupported_forms_are_named() {
        let error = decompress(&b"\x04\x22\x4d\x18rest"[..]).err().unwrap();
        assert_eq!(error.to_string(), "the stream is compressed with lz4, which is not supported");
    }

    #[test]
    fn a_cut_stream_is_an_error_and_not_an_end() {
        let whole = gzip(&[7; 10_000]);
        let mut out = Vec::new();
        assert!(decompress(&whole[..whole.len() - 9]).unwrap().read_to_end(&mut out).is_err());
        for (whole, name) in [(XZ, "xz"), (BZIP2, "bzip2")] {
            for length in 6..whole.len() {
                let mut out = Vec::new();
                let read = decompress(&whole[..length]).unwrap().read_to_end(&mut out);
                assert!(read.is_err(), "{name} cut at {length}");
            }
        }
    }
}
