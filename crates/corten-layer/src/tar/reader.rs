//! Reads an archive as a stream, in big pieces, without copying file content.

use std::io::Read;

use super::header::{self, Block};
use super::{BLOCK, Entry, EntryKind, padding};
use crate::LayerError;
use crate::path::to_path_buf;

/// How much is asked from the stream at once.
const BUFFER: usize = 256 * 1024;
/// A PAX header or long name above this is refused, as Go does.
const LARGEST_META: u64 = 1024 * 1024;
/// All headers before one entry together, in bytes.
const LARGEST_HEADERS: usize = 4 * 1024 * 1024;

/// An archive being read. [`Reader::next_entry`], then the content by [`Read`] (or not: it is skipped).
pub struct Reader<R> {
    input: R,
    buffer: Vec<u8>,
    /// The unread part of `buffer`.
    start: usize,
    end: usize,
    /// Bytes handed out so far.
    offset: u64,
    /// Content of the present entry that is still to come.
    remaining: u64,
    /// Zeros (or whatever) between that content and the next header.
    padding: usize,
    /// The present entry's name, for the error of a cut archive.
    name: Vec<u8>,
    scratch: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Begins to read `input`, which is not compressed.
    pub fn new(input: R) -> Self {
        Self {
            input,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            offset: 0,
            remaining: 0,
            padding: 0,
            name: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// The next entry, or `None` at the end of the archive. What was left of the content before is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, LayerError> {
        while !self.content()?.is_empty() {
            let length = self.content()?.len();
            self.consume(length);
        }
        let mut raw = std::mem::take(&mut self.scratch);
        raw.clear();
        self.take_padding(&mut raw)?;
        raw.clear();
        let entry = self.next_with_raw(&mut raw);
        self.scratch = raw;
        entry
    }

    /// Bytes of the archive that were handed out so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// As [`Self::next_entry`], to be called after content and padding were taken: appends the headers' bytes to
    /// `raw`, at the end of the archive its end mark.
    pub(crate) fn next_with_raw(&mut self, raw: &mut Vec<u8>) -> Result<Option<Entry>, LayerError> {
        debug_assert!(self.remaining == 0 && self.padding == 0, "content and padding are taken first");
        let mut pax: Option<Vec<u8>> = None;
        let mut long_name: Option<Vec<u8>> = None;
        let mut long_link: Option<Vec<u8>> = None;
        loop {
            let begin = self.offset;
            let wrong = |reason| LayerError::Header { offset: begin, reason };
            self.name.clear();
            let Some(block) = self.block()? else {
                if pax.is_some() || long_name.is_some() || long_link.is_some() {
                    return Err(LayerError::Truncated { path: to_path_buf(b"") });
                }
                return Ok(None);
            };
            raw.extend_from_slice(&block);
            if raw.len() > LARGEST_HEADERS {
                return Err(wrong("too many headers for one entry"));
            }
            if block.iter().all(|&byte| byte == 0) {
                let Some(second) = self.block()? else { return Ok(None) };
                raw.extend_from_slice(&second);
                if second.iter().any(|&byte| byte != 0) {
                    return Err(wrong("a lone block of zeros"));
                }
                return Ok(None);
            }
            let mut entry = header::parse(&block).map_err(wrong)?;
            let meta = match entry.kind {
                EntryKind::Other(b'x' | b'X') => &mut pax,
                EntryKind::Other(b'L') => &mut long_name,
                EntryKind::Other(b'K') => &mut long_link,
                _ => {
                    if let Some(name) = long_name {
                        entry.path = name;
                    }
                    if let Some(link) = long_link {
                        entry.link = link;
                    }
                    if let Some(records) = pax {
                        header::apply_pax(&mut entry, &records).map_err(wrong)?;
                    }
                    self.begin_content(&mut entry);
                    return Ok(Some(entry));
                }
            };
            if entry.size > LARGEST_META {
                return Err(wrong("a name or PAX header above 1 MiB"));
            }
            let begin_of_content = raw.len();
            self.name.extend_from_slice(&entry.path);
            self.remaining = entry.size;
            self.padding = padding(entry.size);
            while self.remaining > 0 {
                let piece = self.content()?;
                let length = piece.len();
                raw.extend_from_slice(piece);
                self.consume(length);
            }
            let mut content = raw[begin_of_content..].to_vec();
            if !matches!(entry.kind, EntryKind::Other(b'x' | b'X')) {
                content.truncate(header::text(&content).len());
            }
            *meta = Some(content);
            self.take_padding(raw)?;
        }
    }

    /// The next piece of the present entry's content, as much as is at hand; empty at its end.
    pub(crate) fn content(&mut self) -> Result<&[u8], LayerError> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        if self.start == self.end && !self.fill()? {
            return Err(LayerError::Truncated { path: to_path_buf(&self.name) });
        }
        let length = (self.end - self.start).min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        Ok(&self.buffer[self.start..self.start + length])
    }

    /// Takes `length` bytes of what [`Self::content`] gave.
    pub(crate) fn consume(&mut self, length: usize) {
        self.start += length;
        self.offset += length as u64;
        self.remaining -= length as u64;
    }

    /// Takes the padding after the content and appends it to `raw`.
    pub(crate) fn take_padding(&mut self, raw: &mut Vec<u8>) -> Result<(), LayerError> {
        while self.padding > 0 {
            if self.start == self.end && !self.fill()? {
                return Err(LayerError::Truncated { path: to_path_buf(&self.name) });
            }
            let length = (self.end - self.start).min(self.padding);
            raw.extend_from_slice(&self.buffer[self.start..self.start + length]);
            self.start += length;
            self.offset += length as u64;
            self.padding -= length;
        }
        Ok(())
    }

    /// After the end mark: the next piece of whatever follows, empty at the end of the stream.
    pub(crate) fn trailing(&mut self) -> Result<&[u8], LayerError> {
        if self.start == self.end && !self.fill()? {
            return Ok(&[]);
        }
        let piece = self.start..self.end;
        self.offset += piece.len() as u64;
        self.start = self.end;
        Ok(&self.buffer[piece])
    }

    fn begin_content(&mut self, entry: &mut Entry) {
        if !matches!(entry.kind, EntryKind::File | EntryKind::GlobalHeader | EntryKind::Other(_)) {
            // Links, folders and devices have no content whatever their size field says.
            entry.size = 0;
        }
        self.name.extend_from_slice(&entry.path);
        self.remaining = entry.size;
        self.padding = padding(entry.size);
    }

    /// The next block, or `None` at the end of the stream.
    fn block(&mut self) -> Result<Option<Block>, LayerError> {
        while self.end - self.start < BLOCK {
            if !self.fill()? {
                if self.start == self.end {
                    return Ok(None);
                }
                return Err(LayerError::Truncated { path: to_path_buf(&self.name) });
            }
        }
        let mut block = [0; BLOCK];
        block.copy_from_slice(&self.buffer[self.start..self.start + BLOCK]);
        self.start += BLOCK;
        self.offset += BLOCK as u64;
        Ok(Some(block))
    }

    /// Reads more behind what is unread; `false` at the end of the stream.
    fn fill(&mut self) -> Result<bool, LayerError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.end < BLOCK {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(length) => {
                    self.end += length;
                    return Ok(length > 0);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(LayerError::Read(error)),
            }
        }
    }
}

/// The content of the present entry.
impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let piece = self.content().map_err(|error| match error {
            LayerError::Read(error) => error,
            error => std::io::Error::new(std::io::ErrorKind::UnexpectedEof, error),
        })?;
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Time, Writer};
    use super::*;

    fn archive(entries: &[(Entry, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (entry, content) in entries {
            writer.append(entry, content).unwrap();
        }
        writer.finish().unwrap()
    }

    fn file(path: &[u8], content: &[u8]) -> Entry {
        Entry { path: path.to_vec(), mode: 0o644, size: content.len() as u64, ..Entry::default() }
    }

    #[test]
    fn what_was_written_is_read() {
        let long = [b"d/".repeat(200), b"f".to_vec()].concat();
        let entries = [
            (
                Entry { path: b"dir".to_vec(), kind: EntryKind::Directory, mode: 0o1777, ..Entry::default() },
                &b""[..],
            ),
            (file(b"a", b"content"), b"content"),
            (file(&long, b""), b""),
            (file(b"name-\xff\xfe", b"1"), b"1"),
            (
                Entry {
                    uid: 1 << 30,
                    gid: 70_000_000,
                    mtime: Time { seconds: -5, nanoseconds: 250_000_000 },
                    xattrs: vec![(b"user.a".to_vec(), b"x\0=\n".to_vec())],
                    ..file(b"far", b"")
                },
                b"",
            ),
            (Entry { kind: EntryKind::Symlink, link: b"t/".repeat(90), ..file(b"link", b"") }, b""),
            (Entry { kind: EntryKind::CharacterDevice, device: (4095, 1_048_575), ..file(b"dev", b"") }, b""),
        ];
        let bytes = archive(&entries);
        let mut reader = Reader::new(bytes.as_slice());
        for (entry, content) in &entries {
            let mut read = reader.next_entry().unwrap().unwrap();
            if read.kind == EntryKind::Directory {
                assert_eq!(read.path.pop(), Some(b'/'));
            }
            assert_eq!(&read, entry);
            let mut body = Vec::new();
            reader.read_to_end(&mut body).unwrap();
            assert_eq!(&body, content);
        }
        assert_eq!(reader.next_entry().unwrap(), None);
    }

    #[test]
    fn unread_content_is_skipped() {
        let content = vec![b'x'; 700_000];
        let bytes = archive(&[(file(b"big", &content), &content), (file(b"next", b""), b"")]);
        let mut reader = Reader::new(bytes.as_slice());
        reader.next_entry().unwrap();
        assert_eq!(reader.next_entry().unwrap().unwrap().path, b"next");
    }

    #[test]
    fn every_cut_is_an_error_except_between_entries() {
        let bytes = archive(&[(file(b"a", &[1; 600]), &[1; 600])]);
        for length in 0..bytes.len() {
            let mut reader = Reader::new(&bytes[..length]);
            let mut outcome = reader.next_entry();
            while let Ok(Some(_)) = outcome {
                outcome = reader.next_entry();
            }
            let whole = [0, 512 + 1024, 512 + 1024 + 512].contains(&length);
            assert_eq!(outcome.is_ok(), whole, "cut at {length}");
        }
    }

    #[test]
    fn a_wrong_checksum_names_its_place() {
        let mut bytes = archive(&[(file(b"a", b""), b""), (file(b"b", b""), b"")]);
        bytes[512] ^= 1;
        let mut reader = Reader::new(bytes.as_slice());
        reader.next_entry().unwrap();
        let error = reader.next_entry().unwrap_err();
        assert_eq!(error.to_string(), "invalid tar header at byte 512: the checksum does not fit");
    }
}
