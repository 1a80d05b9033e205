//! Turns what is on disk into entries of an archive: what making a layer and packing a plain tar have in common.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::record::RecordWriter;
use crate::root::{open_file, open_folder};
use crate::tar::{Entry, EntryKind, encode, padding};
use crate::walk::Item;
use crate::{Diffed, LayerError, OwnerMapping, metadata};

/// How much of a file is read at once, in bytes.
const BUFFER: usize = 256 * 1024;

/// An archive in the making.
pub(crate) struct Emitter<'a> {
    out: &'a mut dyn Write,
    record: Option<RecordWriter<'a>>,
    owner: &'a OwnerMapping,
    latest_mtime: Option<i64>,
    headers: Vec<u8>,
    buffer: Vec<u8>,
    /// Names in the archive of files that have several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    counts: Diffed,
}

impl<'a> Emitter<'a> {
    pub(crate) fn new(
        out: &'a mut dyn Write,
        record: Option<RecordWriter<'a>>,
        owner: &'a OwnerMapping,
        latest_mtime: Option<i64>,
    ) -> Self {
        Self {
            out,
            record,
            owner,
            latest_mtime,
            headers: Vec::new(),
            buffer: vec![0; BUFFER],
            links: HashMap::new(),
            counts: Diffed::default(),
        }
    }

    /// Writes what `item` is under `name`. For a folder its descriptor is given back: the caller decides about going in.
    /// What vanished or changed its kind meanwhile, and sockets, are left out.
    pub(crate) fn item(&mut self, item: &Item<'_>, name: &[u8]) -> Result<Option<OwnedFd>, LayerError> {
        let mut entry = metadata::entry_of(item.stat, item.path, self.owner)?;
        entry.path = name.to_vec();
        let failed = |error: Errno| LayerError::entry("open", item.path, error);
        match item.file_type() {
            FileType::RegularFile => self.file(item, entry)?,
            FileType::Directory => {
                let fd = match open_folder(item.folder, item.name) {
                    Ok(fd) => fd,
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                    Err(error) => return Err(failed(error)),
                };
                entry.kind = EntryKind::Directory;
                entry.xattrs = metadata::read_attributes(fd.as_fd(), item.path)?;
                self.bare(entry)?;
                return Ok(Some(fd));
            }
            FileType::Symlink => {
                match rustix::fs::readlinkat(item.folder, item.name, Vec::new()) {
                    Ok(target) => entry.link = target.into_bytes(),
                    Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
                    Err(error) => return Err(failed(error)),
                }
                entry.kind = EntryKind::Symlink;
                entry.mode = 0o777;
                self.bare(entry)?;
            }
            kind @ (FileType::CharacterDevice | FileType::BlockDevice) => {
                entry.kind = if kind == FileType::BlockDevice {
                    EntryKind::BlockDevice
                } else {
                    EntryKind::CharacterDevice
                };
                entry.device = (rustix::fs::major(item.stat.st_rdev), rustix::fs::minor(item.stat.st_rdev));
                self.bare(entry)?;
            }
            FileType::Fifo => {
                entry.kind = EntryKind::Fifo;
                self.bare(entry)?;
            }
            _ => {}
        }
        Ok(None)
    }

    /// Writes an entry without content.
    pub(crate) fn bare(&mut self, mut entry: Entry) -> Result<(), LayerError> {
        self.header(&mut entry)
    }

    /// Writes the end mark.
    pub(crate) fn finish(mut self) -> Result<Diffed, LayerError> {
        self.raw(&[0; 1024])?;
        self.out.flush().map_err(failed)?;
        if let Some(record) = self.record {
            record.finish()?;
        }
        Ok(self.counts)
    }

    fn file(&mut self, item: &Item<'_>, mut entry: Entry) -> Result<(), LayerError> {
        let key = (item.stat.st_dev, item.stat.st_ino);
        if item.stat.st_nlink > 1
            && let Some(first) = self.links.get(&key)
        {
            entry.kind = EntryKind::HardLink;
            entry.link.clone_from(first);
            return self.bare(entry);
        }
        let (mut file, size) = match open_file(item.folder, item.name) {
            Ok(opened) => opened,
            Err(Errno::NOENT | Errno::INVAL | Errno::LOOP | Errno::NXIO) => return Ok(()),
            Err(error) => return Err(LayerError::entry("open", item.path, error)),
        };
        if item.stat.st_nlink > 1 {
            self.links.insert(key, entry.path.clone());
        }
        entry.size = size;
        entry.xattrs = metadata::read_attributes(file.as_fd(), item.path)?;
        self.header(&mut entry)?;
        if let Some(record) = &mut self.record {
            record.file(item.path, size)?;
        }
        let mut remaining = size;
        while remaining > 0 {
            let wanted = usize::try_from(remaining).unwrap_or(usize::MAX).min(BUFFER);
            let mut length = file
                .read(&mut self.buffer[..wanted])
                .map_err(|error| LayerError::entry("read", item.path, error))?;
            if length == 0 {
                // Cut while it was read: the header has promised its length, so zeros stand for the rest.
                self.buffer[..wanted].fill(0);
                length = wanted;
            }
            self.out.write_all(&self.buffer[..length]).map_err(failed)?;
            remaining -= length as u64;
        }
        self.counts.tar_size += size;
        self.counts.content_size += size;
        self.raw(&[0; 512][..padding(size)])
    }

    fn header(&mut self, entry: &mut Entry) -> Result<(), LayerError> {
        if let Some(latest) = self.latest_mtime
            && entry.mtime.seconds > latest
        {
            entry.mtime.seconds = latest;
        }
        let mut headers = std::mem::take(&mut self.headers);
        headers.clear();
        encode(entry, &mut headers);
        self.counts.entries += 1;
        let outcome = self.raw(&headers);
        self.headers = headers;
        outcome
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        if let Some(record) = &mut self.record {
            record.raw(bytes)?;
        }
        self.counts.tar_size += bytes.len() as u64;
        self.out.write_all(bytes).map_err(failed)
    }
}

fn failed(source: std::io::Error) -> LayerError {
    LayerError::Write { what: "archive", source }
}
