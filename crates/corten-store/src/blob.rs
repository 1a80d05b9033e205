//! Content by digest: which blobs there are, and reading them with their digests checked.

use crate::database::{BLOBS, Change, Database, lock};
use crate::forms::Again;
use crate::reaper::Reaper;
use crate::snapshots::{FILES, RECORD};
use crate::store::Store;
use crate::{Result, StoreError};
use corten_oci::{Algorithm, Digest, Hasher};
use corten_std::{PathError, file};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

/// The largest JSON document that is read into memory, in bytes.
pub(crate) const DOCUMENT_LIMIT: u64 = 16 << 20;

/// The row of a blob.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BlobRow {
    pub(crate) size: u64,
    /// The boot in which it was committed.
    pub(crate) boot: String,
}

/// A blob's file below `tmp/`, complete and checked, that is to be put in place.
#[derive(Debug)]
pub(crate) struct StagedBlob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) path: PathBuf,
}

/// The table of blobs.
#[derive(Debug)]
pub(crate) struct Blobs {
    database: Arc<Database>,
    /// `blobs`, with a folder for each algorithm.
    folder: PathBuf,
    boot: String,
    rows: Mutex<HashMap<Digest, BlobRow>>,
}

impl Blobs {
    /// Reads the rows and sweeps files without one.
    pub(crate) fn open(database: Arc<Database>, root: &Path, reaper: &Reaper, boot: &str) -> Result<Self> {
        let mut rows = HashMap::new();
        for (key, row) in database.list::<BlobRow>(BLOBS)? {
            rows.insert(Digest::parse(&key)?, row);
        }
        let mut found = 0;
        for algorithm in Algorithm::ALL {
            let folder = root.join(algorithm.name());
            file::create_dir_all(&folder)?;
            for name in file::list(&folder)? {
                let digest = Digest::parse(&format!("{}:{}", algorithm.name(), name.display()));
                if digest.is_ok_and(|digest| rows.contains_key(&digest)) {
                    found += 1;
                } else {
                    reaper.remove(folder.join(&name))?;
                }
            }
        }
        let blobs = Self { database, folder: root.to_owned(), boot: boot.to_owned(), rows: Mutex::new(rows) };
        if found < lock(&blobs.rows).len() {
            // Somebody took files away from outside.
            let gone: Vec<Digest> =
                lock(&blobs.rows).keys().filter(|digest| !blobs.path(digest).exists()).copied().collect();
            blobs.forget_damaged(&gone)?;
        }
        Ok(blobs)
    }

    /// After a reboot: blobs of the last boot whose length is not as recorded.
    pub(crate) fn damaged_since(&self, boot: &str) -> Vec<Digest> {
        let whole = |digest: &Digest, row: &BlobRow| {
            std::fs::metadata(self.path(digest)).is_ok_and(|metadata| metadata.len() == row.size)
        };
        lock(&self.rows)
            .iter()
            .filter(|(digest, row)| row.boot == boot && !whole(digest, row))
            .map(|(digest, _)| *digest)
            .collect()
    }

    /// Drops the rows of blobs whose file is damaged or gone.
    pub(crate) fn forget_damaged(&self, damaged: &[Digest]) -> Result<()> {
        for digest in damaged {
            tracing::error!(%digest, "a blob is damaged or gone; it is forgotten");
        }
        self.forget(damaged)
    }

    /// Where a blob lies or would lie.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.algorithm()).join(digest.hex())
    }

    /// Makes the names of blobs durable, which must be so before the database commit.
    pub(crate) fn sync_names(&self, blobs: &[StagedBlob]) -> Result<()> {
        for algorithm in Algorithm::ALL.map(Algorithm::name) {
            if blobs.iter().any(|blob| blob.digest.algorithm() == algorithm) {
                file::sync_dir(self.folder.join(algorithm))?;
            }
        }
        Ok(())
    }

    /// The length of a blob that is here.
    pub(crate) fn size(&self, digest: &Digest) -> Option<u64> {
        lock(&self.rows).get(digest).map(|row| row.size)
    }

    /// All blobs.
    pub(crate) fn all(&self) -> Vec<(Digest, u64)> {
        lock(&self.rows).iter().map(|(digest, row)| (*digest, row.size)).collect()
    }

    /// Puts a file, whose content is durable, into its place and gives the change that makes it exist.
    pub(crate) fn place(&self, blob: &StagedBlob) -> Result<Change> {
        file::rename(&blob.path, self.path(&blob.digest))?;
        Change::put(BLOBS, blob.digest.to_string(), &BlobRow { size: blob.size, boot: self.boot.clone() })
    }

    /// Makes a committed blob visible to this process.
    pub(crate) fn settle(&self, blob: &StagedBlob) {
        lock(&self.rows).insert(blob.digest, BlobRow { size: blob.size, boot: self.boot.clone() });
    }

    /// Removes blobs that nothing needs: rows first, then files. A kill between the two leaves files without
    /// rows, which the next opening sweeps.
    pub(crate) fn forget(&self, digests: &[Digest]) -> Result<()> {
        self.forget_with(digests, Vec::new())
    }

    /// As [`Self::forget`], with further changes in the same commit.
    pub(crate) fn forget_with(&self, digests: &[Digest], further: Vec<Change>) -> Result<()> {
        let rows: Vec<(Digest, BlobRow)> = {
            let mut rows = lock(&self.rows);
            digests.iter().filter_map(|digest| rows.remove_entry(digest)).collect()
        };
        let gone = digests.iter().map(|digest| Change::delete(BLOBS, digest.to_string()));
        if let Err(error) = self.database.write(gone.chain(further).collect()) {
            lock(&self.rows).extend(rows);
            return Err(error);
        }
        for digest in digests {
            file::remove_file(self.path(digest))?;
        }
        Ok(())
    }
}

/// Where a piece of content comes from.
#[derive(Clone, Debug)]
enum Source {
    /// A file of its bytes.
    File { path: PathBuf, size: u64 },
    /// A committed layer that gives its tar again.
    Layer { folder: PathBuf, size: u64 },
    /// The same, compressed.
    Compressed { folder: PathBuf, size: u64 },
    /// Nothing here: a repository of that name has it.
    Registry { repository: String, size: u64 },
}

impl Source {
    fn size(&self) -> u64 {
        match self {
            Self::File { size, .. }
            | Self::Layer { size, .. }
            | Self::Compressed { size, .. }
            | Self::Registry { size, .. } => *size,
        }
    }
}

/// Content being read; the last read fails where length or digest are not as they should be.
pub struct BlobReader {
    size: u64,
    wanted: Digest,
    hasher: Option<Hasher>,
    inner: Box<dyn Read + Send>,
}

impl BlobReader {
    /// Bytes in all.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl std::fmt::Debug for BlobReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("BlobReader")
            .field("digest", &self.wanted)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..length]);
            if length == 0 && !buffer.is_empty() {
                let (found, size) = (hasher.length(), self.size);
                let digest = self.hasher.take().unwrap_or_default().finish();
                if found != size {
                    return Err(io::Error::other(StoreError::Length {
                        digest: self.wanted,
                        wanted: size,
                        found,
                    }));
                }
                if digest != self.wanted {
                    let found = Box::new(digest);
                    return Err(io::Error::other(StoreError::Mismatch { wanted: self.wanted, found }));
                }
            }
        }
        Ok(length)
    }
}

impl Store {
    /// The length of content that is here, as a blob or as a layer that can be made again, or that was dropped and can be had
    /// again.
    pub fn content_size(&self, digest: &Digest) -> Option<u64> {
        self.source(digest).map(|source| source.size())
    }

    /// Whether content can be read without asking anybody.
    pub(crate) fn is_kept(&self, digest: &Digest) -> bool {
        self.source(digest).is_some_and(|source| !matches!(source, Source::Registry { .. }))
    }

    /// Opens content; its digest is checked while it is read.
    pub fn open_content(&self, digest: &Digest) -> Result<BlobReader> {
        let source = self.source(digest).ok_or(StoreError::NoSuchBlob(*digest))?;
        let size = source.size();
        let inner: Box<dyn Read + Send> = match source {
            Source::File { path, .. } => Box::new(file::open(&path)?),
            Source::Layer { folder, .. } => reproduced(folder)?,
            Source::Compressed { folder, .. } => compressed(reproduced(folder)?)?,
            Source::Registry { repository, .. } => {
                return Err(StoreError::Elsewhere { digest: *digest, repository });
            }
        };
        Ok(BlobReader { size, wanted: *digest, hasher: Some(digest.hasher()), inner })
    }

    /// Reads a whole document, at most 16 MiB of it, checked.
    pub fn read_document(&self, digest: &Digest) -> Result<Vec<u8>> {
        let mut reader = self.open_content(digest)?;
        if reader.size() > DOCUMENT_LIMIT {
            return Err(StoreError::TooLarge { what: format!("document {digest}"), limit: DOCUMENT_LIMIT });
        }
        let mut bytes = Vec::with_capacity(reader.size() as usize);
        reader.read_to_end(&mut bytes).map_err(|source| content_error(source, digest))?;
        Ok(bytes)
    }

    /// Reads all content and compares digests: blobs, and layers as they are made again. Gives what is damaged.
    /// Takes as long as the disk needs.
    pub fn check(&self) -> Result<Vec<(Digest, StoreError)>> {
        let blobs = self.inner.blobs.all().into_iter().map(|(digest, _)| digest);
        let blobs = blobs.chain(self.inner.dropped.made_again());
        let layers = self
            .inner
            .index
            .committed()
            .into_iter()
            .filter_map(|(_, row)| row.layer.as_ref().map(|layer| layer.diff_id));
        let mut damaged = Vec::new();
        for digest in blobs.chain(layers) {
            let read = self.open_content(&digest).and_then(|mut reader| {
                io::copy(&mut reader, &mut io::sink()).map_err(|error| content_error(error, &digest))
            });
            match read {
                // Removed meanwhile.
                Ok(_) | Err(StoreError::NoSuchBlob(_)) => {}
                Err(error) => damaged.push((digest, error)),
            }
        }
        Ok(damaged)
    }

    fn source(&self, digest: &Digest) -> Option<Source> {
        if let Some(size) = self.inner.blobs.size(digest) {
            return Some(Source::File { path: self.inner.blobs.path(digest), size });
        }
        if let Some(dropped) = self.inner.dropped.blob(digest) {
            let size = dropped.size;
            return Some(match dropped.again {
                Again::Registry(repository) => Source::Registry { repository, size },
                Again::Compressing(diff_id) => {
                    let (_, row) = self.inner.index.of_layer(&diff_id)?;
                    Source::Compressed { folder: self.inner.index.folder_of(&row), size }
                }
            });
        }
        let (_, row) = self.inner.index.of_layer(digest)?;
        let size = row.layer.as_ref()?.tar_size;
        Some(Source::Layer { folder: self.inner.index.folder_of(&row), size })
    }
}

/// An error from a [`BlobReader`] as our own again.
pub(crate) fn content_error(error: io::Error, digest: &Digest) -> StoreError {
    match error.downcast::<StoreError>() {
        Ok(error) => error,
        Err(source) => StoreError::Path(PathError::new("read", format!("blob {digest}"), source)),
    }
}

/// A layer's tar, made again by a thread of its own while it is read. `folder` holds `fs` and `record`.
pub(crate) fn reproduced(folder: PathBuf) -> Result<Box<dyn Read + Send>> {
    let record = file::open(folder.join(RECORD))?;
    let root = file::open(folder.join(FILES))?;
    piped("store-layer", move |out| {
        let made = corten_layer::reproduce(BufReader::new(record), root.as_fd(), out);
        made.map(drop).map_err(|source| {
            io::Error::other(StoreError::Layer { layer: folder.display().to_string(), source })
        })
    })
}

/// A layer's tar, compressed by a thread of its own while it is read.
fn compressed(mut tar: Box<dyn Read + Send>) -> Result<Box<dyn Read + Send>> {
    piped("store-gzip", move |out| corten_layer::compress(&mut *tar, out))
}

/// What a thread of this name writes, to be read while it does.
fn piped(
    name: &str,
    write: impl FnOnce(&mut ChunkWriter) -> io::Result<()> + Send + 'static,
) -> Result<Box<dyn Read + Send>> {
    let (sender, receiver) = sync_channel(16);
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let mut out = ChunkWriter { sender, chunk: Vec::with_capacity(CHUNK) };
            let last = write(&mut out).map(|()| std::mem::take(&mut out.chunk));
            let _ = out.sender.send(last);
        })
        .map_err(|source| StoreError::System {
            operation: "start a thread (no memory for it, or too many)",
            source,
        })?;
    Ok(Box::new(ChunkReader { receiver, chunk: Vec::new(), at: 0 }))
}

/// Bytes that pass from one thread to another at once.
pub(crate) const CHUNK: usize = 256 * 1024;

/// The writing end of a pipe between two threads; the last piece stays in `chunk`.
pub(crate) struct ChunkWriter {
    pub(crate) sender: SyncSender<io::Result<Vec<u8>>>,
    pub(crate) chunk: Vec<u8>,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..length]);
        if self.chunk.len() == CHUNK {
            let full = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
            self.sender.send(Ok(full)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The reading end: ends when the sender is gone, fails with the error it sent.
pub(crate) struct ChunkReader {
    pub(crate) receiver: Receiver<io::Result<Vec<u8>>>,
    pub(crate) chunk: Vec<u8>,
    pub(crate) at: usize,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            match self.receiver.recv() {
                Ok(chunk) => {
                    self.chunk = chunk?;
                    self.at = 0;
                }
                Err(_) => return Ok(0),
            }
        }
        let length = buffer.len().min(self.chunk.len() - self.at);
        buffer[..length].copy_from_slice(&self.chunk[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

/// Writes the file of a blob of that name below `tmp/`. Nothing is left of one that could not be written.
pub(crate) fn stage_bytes(path: PathBuf, name: &Digest, bytes: &[u8]) -> Result<StagedBlob> {
    let written = file::write(&path, bytes);
    staged(path, written.map_err(StoreError::from).map(|()| (name.again(bytes), bytes.len() as u64)))
}

/// Copies content into the file of a blob of that name below `tmp/`. Nothing is left of one that could not be written.
pub(crate) fn stage_reader(path: PathBuf, name: &Digest, reader: &mut dyn Read) -> Result<StagedBlob> {
    let copied = copy_hashed(&path, name.hasher(), reader);
    staged(path, copied)
}

fn copy_hashed(path: &Path, mut hasher: Hasher, reader: &mut dyn Read) -> Result<(Digest, u64)> {
    let mut out = file::create(path)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = reader.read(&mut buffer).map_err(StoreError::Read)?;
        if length == 0 {
            break;
        }
        hasher.update(&buffer[..length]);
        File::write_all(&mut out, &buffer[..length])
            .map_err(|source| PathError::new("write", path, source))?;
    }
    let size = hasher.length();
    Ok((hasher.finish(), size))
}

fn staged(path: PathBuf, written: Result<(Digest, u64)>) -> Result<StagedBlob> {
    match written {
        Ok((digest, size)) => Ok(StagedBlob { digest, size, path }),
        Err(error) => {
            // The first error is the one to tell; what is still there is swept at the next opening.
            let _ = file::remove_file(&path);
            Err(error)
        }
    }
}
