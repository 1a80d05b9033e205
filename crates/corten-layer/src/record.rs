//! The record of a layer: everything of its tar that is not the content of a file in the layer's folder.
//!
//! A record is a magic, then frames; a frame is a kind, the length of what follows (4 bytes, little end first), and
//! that many bytes of Zstandard. There are three kinds:
//!
//! ```text
//! I  items, in the order of the tar:
//!      1 LENGTH BYTES         bytes as they are (headers, content that is not on disk)
//!      2 SIZE LENGTH PATH     the content of a file of the folder
//!      3 LENGTH               zeros
//! P  LENGTH PATH BOUND BYTES  content of the file items of PATH before the BOUND-th file item, which a later entry of the same
//!                             archive overwrote; several frames in a row are one content
//! E  TAR-SIZE                 the end: without it the record is cut
//! ```
//!
//! Numbers inside frames are LEB128. Writing needs memory for one frame only, whatever the archive is; so does
//! reading, because the overwritten contents are found by seeking.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::LayerError;

const MAGIC: &[u8; 8] = b"CORLAY01";
/// Uncompressed bytes in a frame, about; no frame holds more than twice this.
const FRAME: usize = 1024 * 1024;
/// Zstandard's fastest ordinary level: headers shrink to a twentieth, in milliseconds.
const LEVEL: i32 = 1;

const ITEM_RAW: u8 = 1;
const ITEM_FILE: u8 = 2;
const ITEM_ZEROS: u8 = 3;

/// A record that nobody keeps: given to [`crate::apply`] or [`crate::diff`] where the tar is not made again.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecord;

impl Write for NoRecord {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a record.
pub(crate) struct RecordWriter<'a> {
    output: &'a mut dyn Write,
    compressor: zstd::bulk::Compressor<'static>,
    items: Vec<u8>,
    compressed: Vec<u8>,
    files: u64,
    tar_size: u64,
}

impl<'a> RecordWriter<'a> {
    pub(crate) fn new(output: &'a mut dyn Write) -> Result<Self, LayerError> {
        output.write_all(MAGIC).map_err(failed)?;
        let compressor = zstd::bulk::Compressor::new(LEVEL).map_err(failed)?;
        Ok(Self {
            output,
            compressor,
            items: Vec::with_capacity(FRAME + 8192),
            compressed: Vec::new(),
            files: 0,
            tar_size: 0,
        })
    }

    /// Bytes of the tar as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        for piece in bytes.chunks(FRAME) {
            if piece.iter().all(|&byte| byte == 0) {
                self.items.push(ITEM_ZEROS);
                put_number(&mut self.items, piece.len() as u64);
            } else {
                self.items.push(ITEM_RAW);
                put_number(&mut self.items, piece.len() as u64);
                self.items.extend_from_slice(piece);
            }
            self.tar_size += piece.len() as u64;
            self.flush_if_full()?;
        }
        Ok(())
    }

    /// The content of the file at `path` (clean, without links) of the folder.
    pub(crate) fn file(&mut self, path: &[u8], size: u64) -> Result<(), LayerError> {
        if size == 0 {
            return Ok(());
        }
        self.items.push(ITEM_FILE);
        put_number(&mut self.items, size);
        put_number(&mut self.items, path.len() as u64);
        self.items.extend_from_slice(path);
        self.files += 1;
        self.tar_size += size;
        self.flush_if_full()
    }

    /// Keeps `content`, what is at `path` and is about to be overwritten.
    pub(crate) fn overwritten(&mut self, path: &[u8], content: &mut dyn Read) -> Result<(), LayerError> {
        let mut frame = Vec::new();
        loop {
            frame.clear();
            put_number(&mut frame, path.len() as u64);
            frame.extend_from_slice(path);
            put_number(&mut frame, self.files);
            let length = content
                .take(FRAME as u64)
                .read_to_end(&mut frame)
                .map_err(|error| LayerError::entry("read", path, error))?;
            if length == 0 {
                return Ok(());
            }
            self.frame(b'P', &frame)?;
        }
    }

    /// Writes what is left and the end. Gives the length of the tar.
    pub(crate) fn finish(mut self) -> Result<u64, LayerError> {
        self.flush_items()?;
        let mut end = Vec::new();
        put_number(&mut end, self.tar_size);
        self.frame(b'E', &end)?;
        self.output.flush().map_err(failed)?;
        Ok(self.tar_size)
    }

    fn flush_if_full(&mut self) -> Result<(), LayerError> {
        if self.items.len() >= FRAME { self.flush_items() } else { Ok(()) }
    }

    fn flush_items(&mut self) -> Result<(), LayerError> {
        if !self.items.is_empty() {
            let mut items = std::mem::take(&mut self.items);
            self.frame(b'I', &items)?;
            items.clear();
            self.items = items;
        }
        Ok(())
    }

    fn frame(&mut self, kind: u8, content: &[u8]) -> Result<(), LayerError> {
        self.compressed.clear();
        self.compressed.reserve(zstd::zstd_safe::compress_bound(content.len()));
        self.compressor.compress_to_buffer(content, &mut self.compressed).map_err(failed)?;
        let length = (self.compressed.len() as u32).to_le_bytes();
        let head = [kind, length[0], length[1], length[2], length[3]];
        self.output.write_all(&head).map_err(failed)?;
        self.output.write_all(&self.compressed).map_err(failed)
    }
}

fn failed(source: io::Error) -> LayerError {
    LayerError::Write { what: "record", source }
}

/// One piece of a tar, read from a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// These bytes.
    Raw(Vec<u8>),
    /// This many zeros.
    Zeros(u64),
    /// The content of a file of the folder.
    File {
        /// Clean, without links.
        path: Vec<u8>,
        /// Bytes.
        size: u64,
    },
    /// The content of a file that is no longer there: to be read by [`RecordReader::overwritten`].
    Overwritten {
        /// For messages.
        path: Vec<u8>,
        /// Bytes.
        size: u64,
        /// Where its frames begin.
        frames: Vec<u64>,
    },
}

/// A content that was overwritten: valid for file items before `bound`.
struct Kept {
    bound: u64,
    frames: Vec<u64>,
}

/// Reads a record.
pub(crate) struct RecordReader<R> {
    input: R,
    decompressor: zstd::bulk::Decompressor<'static>,
    items: Vec<u8>,
    position: usize,
    files: u64,
    kept: HashMap<Vec<u8>, Vec<Kept>>,
    tar_size: u64,
}

impl<R: Read + Seek> RecordReader<R> {
    /// Opens a record: passes over it once, from frame to frame, for overwritten contents and the end.
    pub(crate) fn new(input: R) -> Result<Self, LayerError> {
        let decompressor = zstd::bulk::Decompressor::new().map_err(unreadable)?;
        let mut reader = Self {
            input,
            decompressor,
            items: Vec::new(),
            position: 0,
            files: 0,
            kept: HashMap::new(),
            tar_size: 0,
        };
        reader.input.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        let mut magic = [0; MAGIC.len()];
        reader.input.read_exact(&mut magic).map_err(unreadable)?;
        if &magic != MAGIC {
            return Err(damaged("it does not begin as one"));
        }
        reader.survey()?;
        reader.input.seek(SeekFrom::Start(MAGIC.len() as u64)).map_err(unreadable)?;
        Ok(reader)
    }

    /// Length of the whole tar, in bytes.
    pub(crate) fn tar_size(&self) -> u64 {
        self.tar_size
    }

    /// The next piece, or `None` at the end.
    pub(crate) fn next_piece(&mut self) -> Result<Option<Piece>, LayerError> {
        while self.position == self.items.len() {
            let (kind, length) = self.frame_head()?;
            match kind {
                b'I' => {
                    self.items = self.frame_content(length)?;
                    self.position = 0;
                }
                b'E' => {
                    self.input.seek(SeekFrom::Current(-5)).map_err(unreadable)?;
                    return Ok(None);
                }
                _ => {
                    self.input.seek(SeekFrom::Current(i64::from(length))).map_err(unreadable)?;
                }
            }
        }
        let mut rest = &self.items[self.position..];
        let piece = match take_bytes(&mut rest, 1)?[0] {
            ITEM_RAW => {
                let length = take_number(&mut rest)?;
                Piece::Raw(take_bytes(&mut rest, length)?.to_vec())
            }
            ITEM_ZEROS => Piece::Zeros(take_number(&mut rest)?),
            ITEM_FILE => {
                let size = take_number(&mut rest)?;
                let length = take_number(&mut rest)?;
                let path = take_bytes(&mut rest, length)?.to_vec();
                let number = self.files;
                self.files += 1;
                let kept = self.kept.get(&path).and_then(|kept| kept.iter().find(|kept| kept.bound > number));
                match kept {
                    Some(kept) => Piece::Overwritten { path, size, frames: kept.frames.clone() },
                    None => Piece::File { path, size },
                }
            }
            _ => return Err(damaged("an unknown item")),
        };
        self.position = self.items.len() - rest.len();
        Ok(Some(piece))
    }

    /// Writes an overwritten content of `size` bytes to `out`.
    pub(crate) fn overwritten(
        &mut self,
        frames: &[u64],
        size: u64,
        out: &mut dyn Write,
    ) -> Result<(), LayerError> {
        let place = self.input.stream_position().map_err(unreadable)?;
        let mut written = 0;
        for &frame in frames {
            self.input.seek(SeekFrom::Start(frame)).map_err(unreadable)?;
            let (_, length) = self.frame_head()?;
            let content = self.frame_content(length)?;
            let mut rest = content.as_slice();
            let length = take_number(&mut rest)?;
            take_bytes(&mut rest, length)?;
            take_number(&mut rest)?;
            written += rest.len() as u64;
            out.write_all(rest).map_err(|source| LayerError::Write { what: "archive", source })?;
        }
        if written != size {
            return Err(damaged("an overwritten file has another length"));
        }
        self.input.seek(SeekFrom::Start(place)).map_err(unreadable)?;
        Ok(())
    }

    fn survey(&mut self) -> Result<(), LayerError> {
        loop {
            let place = self.input.stream_position().map_err(unreadable)?;
            let (kind, length) = self.frame_head()?;
            match kind {
                b'I' => {
                    self.input.seek(SeekFrom::Current(i64::from(length))).map_err(unreadable)?;
                }
                b'P' => {
                    let content = self.frame_content(length)?;
                    let mut rest = content.as_slice();
                    let length = take_number(&mut rest)?;
                    let path = take_bytes(&mut rest, length)?.to_vec();
                    let bound = take_number(&mut rest)?;
                    let kept = self.kept.entry(path).or_default();
                    match kept.last_mut() {
                        Some(last) if last.bound == bound => last.frames.push(place),
                        _ => kept.push(Kept { bound, frames: vec![place] }),
                    }
                }
                b'E' => {
                    let content = self.frame_content(length)?;
                    self.tar_size = take_number(&mut content.as_slice())?;
                    return Ok(());
                }
                _ => return Err(damaged("an unknown frame")),
            }
        }
    }

    fn frame_head(&mut self) -> Result<(u8, u32), LayerError> {
        let mut head = [0; 5];
        self.input.read_exact(&mut head).map_err(unreadable)?;
        Ok((head[0], u32::from_le_bytes([head[1], head[2], head[3], head[4]])))
    }

    fn frame_content(&mut self, length: u32) -> Result<Vec<u8>, LayerError> {
        if length as usize > zstd::zstd_safe::compress_bound(2 * FRAME) {
            return Err(damaged("a frame is too long"));
        }
        let mut compressed = vec![0; length as usize];
        self.input.read_exact(&mut compressed).map_err(unreadable)?;
        self.decompressor.decompress(&compressed, 2 * FRAME).map_err(unreadable)
    }
}

fn damaged(reason: &'static str) -> LayerError {
    LayerError::Record { reason, source: None }
}

fn unreadable(source: io::Error) -> LayerError {
    LayerError::Record { reason: "it cannot be read", source: Some(source) }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_number(rest: &mut &[u8]) -> Result<u64, LayerError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take_bytes(rest, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(damaged("a number is too long"))
}

fn take_bytes<'b>(rest: &mut &'b [u8], length: u64) -> Result<&'b [u8], LayerError> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > rest.len() {
        return Err(damaged("an item is cut"));
    }
    let (taken, left) = rest.split_at(length);
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_back_in_order() {
        let mut bytes = Vec::new();
        let mut writer = RecordWriter::new(&mut bytes).unwrap();
        writer.raw(b"header").unwrap();
        writer.file(b"a", 3).unwrap();
        writer.raw(&[0; 9]).unwrap();
        writer.overwritten(b"a", &mut &b"old"[..]).unwrap();
        writer.file(b"a", 4).unwrap();
        assert_eq!(writer.finish().unwrap(), 22);
        let mut reader = RecordReader::new(io::Cursor::new(&bytes)).unwrap();
        assert_eq!(reader.tar_size(), 22);
        assert_eq!(reader.next_piece().unwrap(), Some(Piece::Raw(b"header".to_vec())));
        let Some(Piece::Overwritten { size, frames, .. }) = reader.next_piece().unwrap() else { panic!() };
        let mut old = Vec::new();
        reader.overwritten(&frames, size, &mut old).unwrap();
        assert_eq!(old, b"old");
        assert_eq!(reader.next_piece().unwrap(), Some(Piece::Zeros(9)));
        assert_eq!(reader.next_piece().unwrap(), Some(Piece::File { path: b"a".to_vec(), size: 4 }));
        assert_eq!(reader.next_piece().unwrap(), None);
        assert_eq!(reader.next_piece().unwrap(), None);
        for length in 0..bytes.len() {
            assert!(RecordReader::new(io::Cursor::new(&bytes[..length])).is_err(), "cut at {length}");
        }
    }
}
