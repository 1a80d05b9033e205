//! Tars in passing: one entry, with everything below it, gets another name.

use corten_layer::tar::{EntryKind, Reader, encode};
use std::io::{self, Read};

/// The tar that `source` gives, with `from` at the head of every name replaced by `to`.
pub(crate) struct Renamed<R> {
    source: Reader<R>,
    from: Vec<u8>,
    to: Vec<u8>,
    /// A header (or padding, or the end) on its way out.
    pending: Vec<u8>,
    at: usize,
    /// Bytes of the present entry's content still to come, and the padding behind them.
    content: u64,
    padding: usize,
    ended: bool,
}

impl<R: Read> Renamed<R> {
    pub(crate) fn new(source: R, from: &str, to: &str) -> Self {
        Self {
            source: Reader::new(source),
            from: from.into(),
            to: to.into(),
            pending: Vec::new(),
            at: 0,
            content: 0,
            padding: 0,
            ended: false,
        }
    }

    fn rename(&self, name: &[u8]) -> Vec<u8> {
        match name.strip_prefix(self.from.as_slice()) {
            Some(rest) if rest.is_empty() || rest[0] == b'/' => [self.to.as_slice(), rest].concat(),
            _ => name.to_vec(),
        }
    }

    /// Makes the next header pending; at the end, the two empty blocks.
    fn next_header(&mut self) -> io::Result<()> {
        self.at = 0;
        let Some(mut entry) = self.source.next_entry().map_err(io::Error::other)? else {
            self.pending = vec![0; 1024];
            self.ended = true;
            return Ok(());
        };
        entry.path = self.rename(&entry.path);
        while entry.path.len() > 1 && entry.path.ends_with(b"/") {
            entry.path.pop();
        }
        if entry.kind == EntryKind::HardLink {
            entry.link = self.rename(&entry.link);
        }
        self.content = entry.size;
        self.padding = ((512 - entry.size % 512) % 512) as usize;
        self.pending.clear();
        encode(&entry, &mut self.pending);
        Ok(())
    }
}

impl<R: Read> Read for Renamed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.at < self.pending.len() {
                let count = buffer.len().min(self.pending.len() - self.at);
                buffer[..count].copy_from_slice(&self.pending[self.at..self.at + count]);
                self.at += count;
                return Ok(count);
            }
            if self.content > 0 {
                let most = buffer.len().min(usize::try_from(self.content).unwrap_or(usize::MAX));
                let count = self.source.read(&mut buffer[..most])?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.content -= count as u64;
                return Ok(count);
            }
            if self.padding > 0 {
                self.pending = vec![0; std::mem::take(&mut self.padding)];
                self.at = 0;
                continue;
            }
            if self.ended {
                return Ok(0);
            }
            self.next_header()?;
        }
    }
}
