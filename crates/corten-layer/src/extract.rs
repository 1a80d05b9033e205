//! Puts the entries of an archive into a root: what applying a layer and unpacking a plain tar have in common.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timestamps, Uid};
use rustix::io::Errno;

use crate::path::{clean, join, to_path_buf};
use crate::record::RecordWriter;
use crate::root::{self, Folder, Obstacle, Root, is_whiteout};
use crate::tar::{Entry, EntryKind, Reader};
use crate::{Applied, LayerError, OwnerMapping, metadata, walk};

/// How often a name is cleared for a new entry before it counts as a failure: a container may fight for it.
const ATTEMPTS: usize = 4;

/// After so much content the free space is asked for again, in bytes.
const ASK_AFTER: u64 = 16 << 20;
/// What an archive may not fill, in bytes; on small filesystems a 256th.
const RESERVE: u64 = 64 << 20;

/// What is particular to layers.
pub(crate) struct LayerPart<'a> {
    /// Where overlayfs's marks go.
    pub(crate) userxattr: bool,
    /// Folders of the layers below, topmost first.
    pub(crate) parents: Vec<BorrowedFd<'a>>,
    /// What the tar can be made from again.
    pub(crate) record: RecordWriter<'a>,
}

/// The work on one archive.
pub(crate) struct Extractor<'a> {
    pub(crate) root: Root,
    pub(crate) ground: Ground<'a>,
    /// Where the archive's names begin: a clean path without links.
    pub(crate) base: Vec<u8>,
}

/// Everything but the root, so that a walk in the root can call it.
pub(crate) struct Ground<'a> {
    pub(crate) owner: OwnerMapping,
    pub(crate) layer: Option<LayerPart<'a>>,
    /// Refuse to replace a folder by something else or the reverse; the path is for the message.
    pub(crate) keep_kinds: Option<PathBuf>,
    pub(crate) counts: Applied,
    /// Content that was announced since the free space was asked for last, in bytes.
    unasked: u64,
    /// Folders whose times are set at the end, after everything in them.
    folder_times: Vec<(Vec<u8>, Timestamps)>,
}

impl Extractor<'_> {
    pub(crate) fn new(root: Root, owner: OwnerMapping) -> Self {
        let ground = Ground {
            owner,
            layer: None,
            keep_kinds: None,
            counts: Applied::default(),
            unasked: 0,
            folder_times: Vec::new(),
        };
        Self { root, ground, base: Vec::new() }
    }

    /// Puts one entry in place and takes its content from `reader`.
    pub(crate) fn place(&mut self, entry: &Entry, reader: &mut Reader<impl Read>) -> Result<(), LayerError> {
        self.ground.counts.entries += 1;
        self.ground.counts.content_size += entry.size;
        match entry.kind {
            EntryKind::GlobalHeader => return self.keep_content(reader),
            EntryKind::Other(b'S') => {
                return Err(LayerError::Unsupported {
                    path: to_path_buf(&entry.path),
                    what: "a sparse file",
                });
            }
            EntryKind::Other(_) => {
                let what = "of a kind that only one program knows";
                return Err(LayerError::Unsupported { path: to_path_buf(&entry.path), what });
            }
            _ => {}
        }
        let path = join_base(&self.base, &clean(&entry.path, "its name")?);
        if path == self.base {
            return self.place_base(entry);
        }
        let Extractor { root, ground, .. } = self;
        if ground.layer.is_some()
            && let Some((folder, name)) = crate::path::split(&path)
            && let Some(hidden) = name.strip_prefix(b".wh.")
        {
            ground.whiteout(root, folder, hidden, &entry.path)?;
            return self.keep_content(reader);
        }
        let Some((folder, name)) =
            root.parent(&path, &mut |folder, name, obstacle| ground.mend(folder, name, obstacle))?
        else {
            return Ok(());
        };
        let path = folder.child(name);
        match entry.kind {
            EntryKind::File => self.place_file(&folder, name, &path, entry, reader),
            EntryKind::Directory => self.place_directory(&folder, name, path, entry),
            EntryKind::HardLink => self.place_hard_link(&folder, name, &path, entry),
            EntryKind::Symlink => {
                let link = entry.link.as_slice();
                self.make(&folder, name, &path, entry, || rustix::fs::symlinkat(link, &folder.fd, name))?;
                self.ground.counts.refused_xattrs +=
                    metadata::set_by_name(folder.fd.as_fd(), name, entry, &path, &self.ground.owner)?;
                Ok(())
            }
            _ => self.place_special(&folder, name, &path, entry),
        }
    }

    /// Sets the times of all folders, and gives what was done.
    pub(crate) fn finish(mut self) -> Result<Applied, LayerError> {
        for (path, times) in std::mem::take(&mut self.ground.folder_times) {
            // A folder that was replaced later, or that someone moved away, keeps what it has.
            if let Ok(folder) = self.root.folder(&path, &mut root::as_it_is)
                && folder.path == path
            {
                rustix::fs::futimens(&folder.fd, &times)
                    .map_err(|error| LayerError::entry("set the times of", &path, error))?;
            }
        }
        if let Some(layer) = self.ground.layer {
            self.ground.counts.tar_size = layer.record.finish()?;
        }
        Ok(self.ground.counts)
    }

    /// The folder everything goes into: a layer may set its properties, a copy leaves them alone.
    fn place_base(&mut self, entry: &Entry) -> Result<(), LayerError> {
        if entry.kind != EntryKind::Directory {
            return Err(LayerError::Name {
                path: to_path_buf(&entry.path),
                reason: "it names the root, which can only be a folder",
            });
        }
        if self.ground.layer.is_some() {
            let top = Rc::clone(self.root.top());
            self.ground.counts.refused_xattrs +=
                metadata::set_by_descriptor(top.fd.as_fd(), entry, b"", &self.ground.owner)?;
            self.ground.folder_times.push((Vec::new(), metadata::times(entry)));
        }
        Ok(())
    }

    fn place_file(
        &mut self,
        folder: &Folder,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
        reader: &mut Reader<impl Read>,
    ) -> Result<(), LayerError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        self.ground.unasked = self.ground.unasked.saturating_add(entry.size);
        if self.ground.unasked > ASK_AFTER {
            self.ground.unasked = 0;
            check_room(folder.fd.as_fd(), path, entry.size)?;
        }
        let fd =
            self.make(folder, name, path, entry, || rustix::fs::openat(&folder.fd, name, flags, mode))?;
        let mut file = File::from(fd);
        if let Some(layer) = &mut self.ground.layer {
            layer.record.file(path, entry.size)?;
        }
        loop {
            let piece = reader.content()?;
            if piece.is_empty() {
                break;
            }
            let length = piece.len();
            file.write_all(piece).map_err(|error| LayerError::entry("write", path, error))?;
            reader.consume(length);
        }
        self.ground.counts.refused_xattrs +=
            metadata::set_by_descriptor(file.as_fd(), entry, path, &self.ground.owner)?;
        Ok(())
    }

    fn place_directory(
        &mut self,
        folder: &Folder,
        name: &[u8],
        path: Vec<u8>,
        entry: &Entry,
    ) -> Result<(), LayerError> {
        let mut hides = false;
        match rustix::fs::mkdirat(&folder.fd, name, Mode::RWXU) {
            Err(Errno::EXIST) => {
                let found = existing(folder, name, &path)?;
                if !found.is_some_and(|stat| file_type(&stat) == FileType::Directory) {
                    hides = self.ground.layer.is_some() && found.as_ref().is_some_and(is_whiteout);
                    self.make(folder, name, &path, entry, || {
                        rustix::fs::mkdirat(&folder.fd, name, Mode::RWXU)
                    })?;
                }
            }
            outcome => outcome.map_err(|error| LayerError::entry("make folder", &path, error))?,
        }
        let fd = root::open_folder(folder.fd.as_fd(), name)
            .map_err(|error| LayerError::entry("open", &path, error))?;
        self.ground.counts.refused_xattrs +=
            metadata::set_by_descriptor(fd.as_fd(), entry, &path, &self.ground.owner)?;
        if hides && let Some(layer) = &self.ground.layer {
            metadata::make_opaque(&fd, layer.userxattr, &path)?;
        }
        self.ground.folder_times.push((path.clone(), metadata::times(entry)));
        self.root.remember(path.clone(), &Rc::new(Folder { fd, path }));
        Ok(())
    }

    fn place_hard_link(
        &mut self,
        folder: &Folder,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
    ) -> Result<(), LayerError> {
        let target = join_base(&self.base, &clean(&entry.link, "the target of the hard link")?);
        let failed = |error: Errno| LayerError::entry("make hard link", path, error);
        let Some((target_folder, target_name)) = crate::path::split(&target) else {
            return Err(failed(Errno::PERM));
        };
        let found = match self.root.folder(target_folder, &mut root::as_it_is) {
            Ok(found) => match root::stat(found.fd.as_fd(), target_name) {
                Ok(stat) => Some((found, stat)),
                Err(Errno::NOENT) => None,
                Err(error) => return Err(failed(error)),
            },
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => None,
            Err(error) => return Err(error),
        };
        let (source, stat) = match found {
            Some(found) => found,
            None => self.copy_up(&target)?.ok_or_else(|| failed(Errno::NOENT))?,
        };
        if file_type(&stat) == FileType::Directory {
            return Err(failed(Errno::PERM));
        }
        if let Some(found) = existing(folder, name, path)?
            && (found.st_dev, found.st_ino) == (stat.st_dev, stat.st_ino)
        {
            return Ok(());
        }
        self.make(folder, name, path, entry, || {
            rustix::fs::linkat(&source.fd, target_name, &folder.fd, name, AtFlags::empty())
        })
    }

    fn place_special(
        &mut self,
        folder: &Folder,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
    ) -> Result<(), LayerError> {
        let kind = match entry.kind {
            EntryKind::CharacterDevice => FileType::CharacterDevice,
            EntryKind::BlockDevice => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let device = rustix::fs::makedev(entry.device.0, entry.device.1);
        let made = self.make(folder, name, path, entry, || {
            rustix::fs::mknodat(&folder.fd, name, kind, Mode::from_raw_mode(entry.mode), device)
        });
        match made {
            Err(LayerError::Entry { source, .. })
                if kind != FileType::Fifo && source.raw_os_error() == Some(Errno::PERM.raw_os_error()) =>
            {
                // In a user namespace there are no device nodes; the runtime gives the container its own.
                self.ground.counts.refused_devices += 1;
                return Ok(());
            }
            made => made?,
        }
        let fd = folder.fd.as_fd();
        self.ground.counts.refused_xattrs +=
            metadata::set_by_name(fd, name, entry, path, &self.ground.owner)?;
        // Making the node went through the process's umask.
        root::change_mode_of_special(fd, name, kind, entry.mode)
            .map_err(|error| LayerError::entry("change the mode of", path, error))
    }

    /// Runs `action`, which makes `name`; whatever has the name already is removed first.
    fn make<T>(
        &mut self,
        folder: &Folder,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
        mut action: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, LayerError> {
        let mut attempts = 0;
        loop {
            match action() {
                Err(Errno::EXIST) if attempts < ATTEMPTS => {
                    attempts += 1;
                    self.clear(folder, name, path, entry)?;
                }
                outcome => return outcome.map_err(|error| LayerError::entry("make", path, error)),
            }
        }
    }

    /// Removes what is at `name`; what is needed of it for making the tar again goes into the record.
    fn clear(&mut self, folder: &Folder, name: &[u8], path: &[u8], entry: &Entry) -> Result<(), LayerError> {
        let Some(stat) = existing(folder, name, path)? else { return Ok(()) };
        if let Some(into) = &self.ground.keep_kinds {
            let absolute = || to_path_buf(&[b"/", path].concat());
            match (file_type(&stat) == FileType::Directory, entry.kind == EntryKind::Directory) {
                (true, false) => {
                    return Err(LayerError::OverwriteDirectory { path: absolute(), into: into.clone() });
                }
                (false, true) => {
                    return Err(LayerError::OverwriteNonDirectory { path: absolute(), into: into.clone() });
                }
                _ => {}
            }
        }
        if matches!(file_type(&stat), FileType::Directory | FileType::Symlink) {
            self.root.forget();
        }
        let layer = &mut self.ground.layer;
        walk::remove(folder.fd.as_fd(), name, path, &mut |item| {
            let Some(layer) = layer else { return Ok(()) };
            if item.file_type() == FileType::RegularFile && item.stat.st_size > 0 {
                let (mut file, _) = root::open_file(item.folder, item.name)
                    .map_err(|error| LayerError::entry("open", item.path, error))?;
                layer.record.overwritten(item.path, &mut file)?;
            }
            Ok(())
        })
    }

    /// Content that goes nowhere but into the record.
    fn keep_content(&mut self, reader: &mut Reader<impl Read>) -> Result<(), LayerError> {
        loop {
            let piece = reader.content()?;
            if piece.is_empty() {
                return Ok(());
            }
            let length = piece.len();
            if let Some(layer) = &mut self.ground.layer {
                layer.record.raw(piece)?;
            }
            reader.consume(length);
        }
    }

    /// Copies a file of the layers below into this one, because a hard link leads to it.
    fn copy_up(&mut self, path: &[u8]) -> Result<Option<(Rc<Folder>, Stat)>, LayerError> {
        let Extractor { root, ground, .. } = self;
        let Some(layer) = &ground.layer else { return Ok(None) };
        let failed = |error: Errno| LayerError::entry("copy from the layer below", path, error);
        let Some((lower, _)) = find_below(&layer.parents, path, layer.userxattr)? else { return Ok(None) };
        let (mut content, _) = match root::open_file(lower, path) {
            Ok(opened) => opened,
            Err(Errno::INVAL) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let stat = rustix::fs::fstat(&content).map_err(failed)?;
        let parent = root.parent(path, &mut |folder, name, obstacle| ground.mend(folder, name, obstacle))?;
        let Some((folder, name)) = parent else { return Ok(None) };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&folder.fd, name, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        let mut file = File::from(fd);
        std::io::copy(&mut content, &mut file)
            .map_err(|error| LayerError::entry("copy from the layer below", path, error))?;
        copy_metadata(content.as_fd(), file.as_fd(), &stat, path)?;
        rustix::fs::futimens(&file, &times_of(&stat)).map_err(failed)?;
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        Ok(Some((folder, stat)))
    }
}

impl Ground<'_> {
    /// Makes a folder that entries need and the archive does not have (yet).
    pub(crate) fn mend(
        &mut self,
        folder: &Folder,
        name: &[u8],
        obstacle: Obstacle,
    ) -> Result<bool, LayerError> {
        let path = folder.child(name);
        let failed = |error: Errno| LayerError::entry("make folder", &path, error);
        let mut hides = false;
        if obstacle == Obstacle::NotAFolder {
            // The layer removes the lower one and has one of its own.
            let whiteout = root::stat(folder.fd.as_fd(), name).is_ok_and(|stat| is_whiteout(&stat));
            if self.layer.is_none() || !whiteout {
                return Ok(false);
            }
            rustix::fs::unlinkat(&folder.fd, name, AtFlags::empty()).map_err(failed)?;
            hides = true;
        }
        match rustix::fs::mkdirat(&folder.fd, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(true),
            Err(error) => return Err(failed(error)),
        }
        let made = root::open_folder(folder.fd.as_fd(), name).map_err(failed)?;
        if let Some(layer) = &self.layer {
            if hides {
                metadata::make_opaque(&made, layer.userxattr, &path)?;
            } else if let Some((lower, stat)) = find_below(&layer.parents, &path, layer.userxattr)?
                && file_type(&stat) == FileType::Directory
            {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
                let below = root::open_beneath(lower, &path, flags).map_err(failed)?;
                copy_metadata(below.as_fd(), made.as_fd(), &stat, &path)?;
                self.folder_times.push((path, times_of(&stat)));
                return Ok(true);
            }
        }
        let owner = match &self.owner {
            OwnerMapping::Fixed { .. } if self.layer.is_none() => None,
            owner => owner.to_host(0, 0, &path)?,
        };
        if let Some((uid, gid)) = owner {
            rustix::fs::fchown(&made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(failed)?;
        }
        rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755)).map_err(failed)?;
        Ok(true)
    }

    /// Hides what the layers below have at `name`, or (opaque) all that they have in `folder`.
    fn whiteout(
        &mut self,
        root: &mut Root,
        folder: &[u8],
        name: &[u8],
        original: &[u8],
    ) -> Result<(), LayerError> {
        self.counts.whiteouts += 1;
        if name.starts_with(b".wh.") && name != b".wh..opq" {
            // Bookkeeping of aufs: it hides nothing.
            return Ok(());
        }
        if matches!(name, b"" | b"." | b"..") {
            return Err(LayerError::Outside {
                path: to_path_buf(original),
                what: "what the whiteout removes",
            });
        }
        let folder = root.folder(folder, &mut |folder, name, obstacle| self.mend(folder, name, obstacle))?;
        let Some(layer) = &self.layer else { return Ok(()) };
        if name == b".wh..opq" {
            if folder.path.is_empty() {
                return self.hide_everything(&folder);
            }
            return metadata::make_opaque(&folder.fd, layer.userxattr, &folder.path);
        }
        let path = folder.child(name);
        match root::stat(folder.fd.as_fd(), name) {
            // The layer's own folder of this name must not show what is below; anything else hides it anyway.
            Ok(stat) if file_type(&stat) == FileType::Directory => {
                let inner = root::open_folder(folder.fd.as_fd(), name)
                    .map_err(|error| LayerError::entry("open", &path, error))?;
                metadata::make_opaque(&inner, layer.userxattr, &path)
            }
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => make_whiteout(&folder, name),
            Err(error) => Err(LayerError::entry("look at", &path, error)),
        }
    }

    /// An opaque root: overlayfs has no mark for it, so every name below is hidden by itself.
    fn hide_everything(&self, top: &Folder) -> Result<(), LayerError> {
        let Some(layer) = &self.layer else { return Ok(()) };
        for parent in &layer.parents {
            let opened =
                root::open_folder(*parent, b".").map_err(|error| LayerError::entry("open", b"/", error))?;
            for name in walk::read_names(opened.as_fd(), b"/")? {
                match root::stat(top.fd.as_fd(), &name) {
                    Ok(stat) if file_type(&stat) == FileType::Directory => {
                        let inner = root::open_folder(top.fd.as_fd(), &name)
                            .map_err(|error| LayerError::entry("open", &name, error))?;
                        metadata::make_opaque(&inner, layer.userxattr, &name)?;
                    }
                    Ok(_) => {}
                    Err(Errno::NOENT) => make_whiteout(top, &name)?,
                    Err(error) => return Err(LayerError::entry("look at", &name, error)),
                }
            }
        }
        Ok(())
    }
}

/// What is at `name`, if anything is.
fn existing(folder: &Folder, name: &[u8], path: &[u8]) -> Result<Option<Stat>, LayerError> {
    match root::stat(folder.fd.as_fd(), name) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(LayerError::entry("look at", path, error)),
    }
}

fn make_whiteout(folder: &Folder, name: &[u8]) -> Result<(), LayerError> {
    rustix::fs::mknodat(&folder.fd, name, FileType::CharacterDevice, Mode::empty(), 0)
        .map_err(|error| LayerError::entry("mark as removed", &folder.child(name), error))
}

/// The topmost layer below that has `path`, and what it is there; `None` where none has it or one hides it.
pub(crate) fn find_below<'p>(
    parents: &[BorrowedFd<'p>],
    path: &[u8],
    userxattr: bool,
) -> Result<Option<(BorrowedFd<'p>, Stat)>, LayerError> {
    for &parent in parents {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        match root::open_beneath(parent, path, flags) {
            Ok(fd) => {
                let stat =
                    rustix::fs::fstat(&fd).map_err(|error| LayerError::entry("look at", path, error))?;
                return Ok((!is_whiteout(&stat)).then_some((parent, stat)));
            }
            Err(Errno::NOENT) => {
                let slashes = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/');
                for (slash, _) in slashes {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
                    if let Ok(ancestor) = root::open_beneath(parent, &path[..slash], flags)
                        && metadata::is_opaque(ancestor.as_fd(), userxattr, path)?
                    {
                        return Ok(None);
                    }
                }
            }
            // Something that is not a folder is on the way: it hides what is below.
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// Owner, attributes and mode as `from` has them (both on disk: no mapping).
fn copy_metadata(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    stat: &Stat,
    path: &[u8],
) -> Result<(), LayerError> {
    let failed = |error: Errno| LayerError::entry("copy the properties of", path, error);
    match rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid))) {
        // Without the right to give files away everything is ours on both sides.
        Ok(()) | Err(Errno::PERM) => {}
        Err(error) => return Err(failed(error)),
    }
    for (name, value) in metadata::read_attributes(from, path)? {
        match rustix::fs::fsetxattr(to, name.as_slice(), &value, rustix::fs::XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777)).map_err(failed)
}

fn times_of(stat: &Stat) -> Timestamps {
    let time = rustix::fs::Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as i64 };
    Timestamps { last_access: time, last_modification: time }
}

fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn join_base(base: &[u8], path: &[u8]) -> Vec<u8> {
    if path.is_empty() { base.to_vec() } else { join(base, path) }
}

/// Refuses a file that its filesystem has no room for before anything of it is written: a few megabytes of archive may
/// announce any number of zeros, and a disk that was filled to its last block is everybody's.
fn check_room(folder: BorrowedFd<'_>, path: &[u8], size: u64) -> Result<(), LayerError> {
    // A filesystem without a size, or one that does not tell, has its own errors.
    let Ok(about) = rustix::fs::fstatvfs(folder) else { return Ok(()) };
    if about.f_blocks == 0 {
        return Ok(());
    }
    let (all, free) =
        (about.f_blocks.saturating_mul(about.f_frsize), about.f_bavail.saturating_mul(about.f_frsize));
    let room = free.saturating_sub(RESERVE.min(all / 256));
    if size > room { Err(LayerError::Room { path: to_path_buf(path), size, room }) } else { Ok(()) }
}
