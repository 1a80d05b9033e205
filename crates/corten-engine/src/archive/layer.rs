//! A container's own files over its image: what they change, and the layer that they make.

use super::{mounts_of, without_mount_points};
use crate::container::record::Record;
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use corten_layer::{ChangeKind, DiffOptions, Diffed, LayerError};
use corten_store::Mounts;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeSet;
use std::io::{self, BufWriter, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread::JoinHandle;

/// The writable layer of a container, as it is at present.
pub(crate) struct WritableLayer {
    upper: OwnedFd,
    userxattr: bool,
    /// What the container changed, in the order of the paths; without what a start adds by itself.
    pub(super) changes: Vec<(String, ChangeKind)>,
    /// What a start added: absolute paths.
    own: BTreeSet<String>,
}

impl WritableLayer {
    /// Looks at the layer. Works while the container runs.
    pub(crate) fn open(engine: &EngineInner, record: &Record, key: &str) -> Result<Self> {
        let Mounts::Overlay { lowers, upper, .. } = mounts_of(engine, key)? else {
            return Err(EngineError::not_implemented(
                "the file system of this container keeps no list of changes",
            ));
        };
        let failed = |error| EngineError::from_error("listing the changes", io::Error::from(error));
        let open = |path: &Path| {
            rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        };
        let upper = open(&upper).map_err(failed)?;
        let lowers: Vec<OwnedFd> =
            lowers.iter().map(|path| open(path)).collect::<Result<_, _>>().map_err(failed)?;
        let lowers: Vec<BorrowedFd<'_>> = lowers.iter().map(AsFd::as_fd).collect();
        let userxattr = engine.store.options().userxattr;
        let all: Vec<(String, ChangeKind)> = corten_layer::changes(upper.as_fd(), &lowers, userxattr)
            .map_err(|error| EngineError::because("listing the changes", error))?
            .into_iter()
            .map(|change| (change.path.to_string_lossy().into_owned(), change.kind))
            .collect();
        let changes = without_mount_points(all.clone(), record);
        let kept: BTreeSet<&str> = changes.iter().map(|(path, _)| path.as_str()).collect();
        let own =
            all.into_iter().map(|(path, _)| path).filter(|path| !kept.contains(path.as_str())).collect();
        Ok(Self { upper, userxattr, changes, own })
    }

    /// Whether the container changed nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The layer as a tar, made while it is read.
    pub(crate) fn archive(self) -> Result<LayerArchive> {
        let failed = |error| EngineError::from_error("making a layer of the container's files", error);
        let (reader, writer) = io::pipe().map_err(failed)?;
        // Fewer changes between the two threads; where it is refused the usual size does.
        let _ = rustix::pipe::fcntl_setpipe_size(&reader, 1 << 20);
        let work = move || {
            let options = DiffOptions { userxattr: self.userxattr, ..DiffOptions::default() };
            let mut out = BufWriter::with_capacity(256 << 10, writer);
            let left_out = |path: &[u8]| {
                std::str::from_utf8(path).is_ok_and(|path| self.own.contains(&format!("/{path}")))
            };
            corten_layer::diff_without(self.upper.as_fd(), &mut out, &mut io::sink(), &options, &left_out)
        };
        let worker = std::thread::Builder::new().name("layer-diff".to_owned()).spawn(work).map_err(failed)?;
        Ok(LayerArchive { pipe: reader, worker: Some(worker) })
    }
}

/// A tar that another thread writes; its end tells whether that went well.
pub(crate) struct LayerArchive {
    pipe: PipeReader,
    worker: Option<JoinHandle<Result<Diffed, LayerError>>>,
}

impl Read for LayerArchive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.pipe.read(buffer)?;
        if length == 0
            && !buffer.is_empty()
            && let Some(worker) = self.worker.take()
        {
            match worker.join() {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(io::Error::other(error)),
                Err(_) => return Err(io::Error::other("the thread that makes the layer panicked")),
            }
        }
        Ok(length)
    }
}
