//! A layer archive on its way into the store: read, hashed, inflated and unpacked at the same time.
//!
//! ```text
//! calling thread   read ─▶ hash of the bytes as they came ─▶ [blob file] ─▶ inflate ─┐ pieces of 256 KiB
//! worker thread                         hash of the plain tar ◀── unpack to tmp/ ◀───┘
//! ```
//!
//! The calling thread goes on with the next layer while workers finish earlier ones. A plain tar is hashed
//! once, by the calling thread, and not kept: folder and record give it back. A compressed archive's bytes
//! cannot be made again and are kept.

use crate::blob::{CHUNK, StagedBlob};
use crate::snapshots::{FILES, LayerRow, RECORD};
use crate::store::Store;
use crate::{Result, StoreError};
use corten_layer::{Applied, ApplyOptions, Compression};
use corten_oci::{Algorithm, Digest, Hasher};
use corten_std::{PathError, file};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

/// Pieces on their way between the two threads.
const DEPTH: usize = 32;

/// A layer whose bytes have been read; its unpacking may still go on.
#[derive(Debug)]
pub(crate) struct Ingest {
    /// Digest of the bytes as they came.
    pub(crate) digest: Digest,
    pub(crate) compression: Compression,
    /// The bytes as they came, where they are kept.
    blob: Option<StagedBlob>,
    folder: PathBuf,
    layer: String,
    begun: SystemTime,
    worker: JoinHandle<Result<Worked>>,
}

/// A layer that lies unpacked below `tmp/`.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// Holds `fs` and `record`; none once it has become a snapshot.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) row: LayerRow,
    pub(crate) applied: Applied,
    pub(crate) compression: Compression,
    /// The bytes as they came, where they are kept.
    pub(crate) blob: Option<StagedBlob>,
    /// Just before the first file was made, by the file system's clock.
    pub(crate) begun: SystemTime,
}

impl Unpacked {
    /// The digest of its tar, by the algorithm of another one: where that is not ours, the tar is made again for it.
    pub(crate) fn named_like(&self, name: &Digest) -> Result<Digest> {
        let Some(folder) = self.folder.as_ref().filter(|_| !name.is_own()) else {
            return Ok(self.row.diff_id);
        };
        let mut hasher = name.hasher();
        io::copy(&mut crate::blob::reproduced(folder.clone())?, &mut hasher)
            .map_err(|error| crate::blob::content_error(error, name))?;
        Ok(hasher.finish())
    }
}

#[derive(Debug)]
struct Worked {
    applied: Applied,
    /// Where the worker hashed.
    diff_id: Option<Digest>,
    record_size: u64,
}

impl Ingest {
    /// Waits for the worker. Where unpacking failed its folder goes; the bytes as they came are given in any case.
    pub(crate) fn finish(self, store: &Store) -> (Option<StagedBlob>, Result<Unpacked>) {
        let worked = self.worker.join().unwrap_or_else(|_| {
            Err(StoreError::System {
                operation: "unpack a layer",
                source: io::Error::other("the thread panicked"),
            })
        });
        match worked {
            Ok(worked) => {
                let row = LayerRow {
                    diff_id: worked.diff_id.unwrap_or(self.digest),
                    tar_size: worked.applied.tar_size,
                    record_size: worked.record_size,
                };
                let (folder, applied, compression) = (Some(self.folder), worked.applied, self.compression);
                (None, Ok(Unpacked { folder, row, applied, compression, blob: self.blob, begun: self.begun }))
            }
            Err(error) => {
                let discarded = store.inner.reaper.remove(self.folder);
                (self.blob, discarded.and(Err(error)))
            }
        }
    }

    /// Whether the worker is done, so that [`Self::finish`] does not wait.
    pub(crate) fn is_finished(&self) -> bool {
        self.worker.is_finished()
    }

    /// Its name in messages.
    pub(crate) fn layer(&self) -> &str {
        &self.layer
    }
}

impl Store {
    /// Reads a layer archive to its end and begins to unpack it. `layer` names it in messages; `parents` are the
    /// folders below it, topmost first, as far as they are known. An error is one of reading or of
    /// decompression; one of unpacking comes with [`Ingest::finish`]. `hasher` takes the digest of the bytes as they come.
    pub(crate) fn ingest(
        &self,
        input: &mut (dyn Read + Send),
        layer: &str,
        parents: Vec<PathBuf>,
        hasher: Hasher,
    ) -> Result<Ingest> {
        self.ingest_kept(input, layer, parents, hasher, true)
    }

    /// As [`Self::ingest`]; where the bytes are in a file already, they are not written (`keep` is false).
    pub(crate) fn ingest_kept(
        &self,
        input: &mut (dyn Read + Send),
        layer: &str,
        parents: Vec<PathBuf>,
        mut hasher: Hasher,
        keep: bool,
    ) -> Result<Ingest> {
        let inner = &*self.inner;
        let mut head = Vec::with_capacity(6);
        Read::take(&mut *input, 6).read_to_end(&mut head).map_err(StoreError::Read)?;
        let failed = |source| StoreError::Layer { layer: layer.to_owned(), source };
        let compression = corten_layer::sniff(&head).map_err(failed)?;
        let mut input = io::Cursor::new(head).chain(input);

        let folder = inner.reaper.new_folder()?;
        let (sender, receiver) = sync_channel(DEPTH);
        let (give_back, recycled) = channel();
        let pieces = Pieces { receiver, give_back, piece: Vec::new(), at: 0 };
        let job = Job {
            folder: folder.clone(),
            layer: layer.to_owned(),
            options: inner.options.clone(),
            parents,
            // What a plain tar is named by is its diff ID, where we would name it so.
            hash: compression != Compression::Plain || hasher.algorithm() != Algorithm::default(),
        };
        let started = (|| -> Result<_> {
            let files = folder.join(FILES);
            file::create_dir(&files, 0o755)?;
            let begun = std::fs::symlink_metadata(&files)
                .and_then(|metadata| metadata.modified())
                .map_err(|source| PathError::new("look at", &files, source))?;
            let worker = std::thread::Builder::new()
                .name("store-unpack".to_owned())
                .spawn(move || job.run(pieces))
                .map_err(|source| StoreError::System {
                    operation: "start a thread (no memory for it, or too many)",
                    source,
                })?;
            Ok((begun, worker))
        })();
        let (begun, worker) = match started {
            Ok(started) => started,
            Err(error) => {
                inner.reaper.remove(folder)?;
                return Err(error);
            }
        };

        let feed = Feed { sender, recycled };
        let blob_path = inner.reaper.new_name();
        let fed = if compression == Compression::Plain {
            let fed = feed.run(&mut input, |piece| hasher.update(piece)).map_err(StoreError::Read);
            fed.map(|()| (hasher.finish(), None))
        } else {
            let kept = keep.then_some(blob_path.as_path());
            feed.inflate(&mut input, hasher, kept, failed).map(|(digest, size)| {
                (digest, keep.then(|| StagedBlob { digest, size, path: blob_path.clone() }))
            })
        };
        let (digest, blob) = match fed {
            Ok(fed) => fed,
            Err(error) => {
                // The worker has seen an early end by now; nothing of this layer stays.
                let _ = worker.join();
                inner.reaper.remove(folder)?;
                inner.reaper.remove(blob_path)?;
                return Err(error);
            }
        };
        Ok(Ingest { digest, compression, blob, folder, layer: layer.to_owned(), begun, worker })
    }
}

/// What the worker is to do.
struct Job {
    folder: PathBuf,
    layer: String,
    options: crate::StoreOptions,
    parents: Vec<PathBuf>,
    hash: bool,
}

impl Job {
    fn run(self, pieces: Pieces) -> Result<Worked> {
        let root = file::open(self.folder.join(FILES))?;
        let record_path = self.folder.join(RECORD);
        let mut record = BufWriter::with_capacity(64 * 1024, file::create(&record_path)?);
        let parents: Vec<File> =
            self.parents.iter().map(file::open).collect::<std::result::Result<_, _>>()?;
        let options = ApplyOptions {
            owner: self.options.owner.clone(),
            userxattr: self.options.userxattr,
            parents: parents.iter().map(AsFd::as_fd).collect::<Vec<BorrowedFd<'_>>>(),
        };
        let mut tar = Hashing { input: pieces, hasher: self.hash.then(Hasher::new) };
        let applied = corten_layer::apply(&mut tar, root.as_fd(), &mut record, &options)
            .map_err(|source| StoreError::Layer { layer: self.layer.clone(), source })?;
        let write_failed = |source| PathError::new("write", &record_path, source);
        record.flush().map_err(write_failed)?;
        let record_size = record.get_ref().metadata().map_err(write_failed)?.len();
        Ok(Worked { applied, diff_id: tar.hasher.map(Hasher::finish), record_size })
    }
}

/// The calling thread's end.
struct Feed {
    sender: SyncSender<Vec<u8>>,
    recycled: Receiver<Vec<u8>>,
}

impl Feed {
    /// Reads `input` to its end and hands it over. A worker that gave up does not stop the reading.
    fn run(self, input: &mut dyn Read, mut see: impl FnMut(&[u8])) -> io::Result<()> {
        let mut sender = Some(self.sender);
        let mut spare = Vec::new();
        loop {
            let mut piece: Vec<u8> = self.recycled.try_recv().unwrap_or_else(|_| std::mem::take(&mut spare));
            piece.resize(CHUNK, 0);
            let mut filled = 0;
            while filled < CHUNK {
                match input.read(&mut piece[filled..]) {
                    Ok(0) => break,
                    Ok(length) => filled += length,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            see(&piece[..filled]);
            let end = filled < CHUNK;
            piece.truncate(filled);
            if let Some(open) = &sender {
                if let Err(refused) = open.send(piece) {
                    spare = refused.0;
                    sender = None;
                }
            } else {
                spare = piece;
            }
            if end {
                return Ok(());
            }
        }
    }
}

impl Feed {
    /// Writes `input` as it is to a blob's file, where one is named, and hands over what it inflates to. Gives digest
    /// and length of what came.
    fn inflate(
        self,
        input: &mut (dyn Read + Send),
        hasher: Hasher,
        path: Option<&Path>,
        failed: impl Fn(corten_layer::LayerError) -> StoreError,
    ) -> Result<(Digest, u64)> {
        let out = path.map(file::create).transpose()?.map(|out| BufWriter::with_capacity(CHUNK, out));
        let mut tee = Tee { input, hasher, out };
        let mut plain = corten_layer::decompress(&mut tee).map_err(&failed)?;
        self.run(&mut plain, |_| ()).map_err(|source| failed(corten_layer::LayerError::Read(source)))?;
        drop(plain);
        // What follows the compressed stream belongs to the blob all the same.
        io::copy(&mut tee, &mut io::sink()).map_err(StoreError::Read)?;
        if let (Some(out), Some(path)) = (&mut tee.out, path) {
            out.flush().map_err(|source| PathError::new("write", path, source))?;
        }
        let size = tee.hasher.length();
        Ok((tee.hasher.finish(), size))
    }
}

/// The worker's end.
struct Pieces {
    receiver: Receiver<Vec<u8>>,
    give_back: Sender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            let Ok(piece) = self.receiver.recv() else { return Ok(0) };
            let old = std::mem::replace(&mut self.piece, piece);
            self.at = 0;
            if old.capacity() > 0 {
                let _ = self.give_back.send(old);
            }
        }
        let length = buffer.len().min(self.piece.len() - self.at);
        buffer[..length].copy_from_slice(&self.piece[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

struct Hashing<R> {
    input: R,
    hasher: Option<Hasher>,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..length]);
        }
        Ok(length)
    }
}

/// Reads on, hashes and writes to a file what was read.
struct Tee<R> {
    input: R,
    hasher: Hasher,
    out: Option<BufWriter<File>>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        if let Some(out) = &mut self.out {
            out.write_all(&buffer[..length])?;
        }
        Ok(length)
    }
}

/// Whether a file's first block is that of a tar: a header whose checksum fits, or the zeros that end an empty one.
pub(crate) fn looks_like_tar(block: &[u8]) -> bool {
    const CHECKSUM: std::ops::Range<usize> = 148..156;
    let Some(block) = block.get(..512) else { return false };
    if block.iter().all(|&byte| byte == 0) {
        return true;
    }
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(at, &byte)| u64::from(if CHECKSUM.contains(&at) { b' ' } else { byte }))
        .sum();
    let text: String = block[CHECKSUM].iter().map(|&byte| byte as char).collect();
    let digits = text.trim_matches(|character| character == ' ' || character == '\0');
    u64::from_str_radix(digits, 8) == Ok(sum)
}

/// Gives up an unpacked layer that is not needed.
pub(crate) fn discard(store: &Store, folder: Option<&Path>, blob: Option<&StagedBlob>) -> Result<()> {
    let mut paths = folder.map(Path::to_owned).into_iter().chain(blob.map(|blob| blob.path.clone()));
    paths.try_for_each(|path| store.inner.reaper.remove(path))
}

/// Gives up a layer with everything that [`Ingest::finish`] gave.
pub(crate) fn discard_layer(
    store: &Store,
    unpacked: Result<Unpacked>,
    blob: Option<StagedBlob>,
) -> Result<()> {
    discard(store, None, blob.as_ref())?;
    match unpacked {
        Ok(layer) => discard(store, layer.folder.as_deref(), layer.blob.as_ref()),
        Err(_) => Ok(()),
    }
}
