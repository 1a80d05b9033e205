//! File calls that name the path when they fail, and replacement of a file in one step.

use crate::error::PathError;
pub use crate::tree::Inode;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Result of a file call.
pub type Result<T> = std::result::Result<T, PathError>;

/// What a written file must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of every process (the page cache has it); nothing is synced.
    Kernel,
    /// A power cut: file and folder are synced before the call returns.
    Disk,
}

/// The whole file as bytes.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    fs::read(&path).map_err(|source| PathError::new("read", path, source))
}

/// The whole file as text; fails where it is not UTF-8.
pub fn read_to_string(path: impl AsRef<Path>) -> Result<String> {
    fs::read_to_string(&path).map_err(|source| PathError::new("read", path, source))
}

/// The whole file as bytes, or nothing where there is none.
pub fn read_optional(path: impl AsRef<Path>) -> Result<Option<Vec<u8>>> {
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PathError::new("read", path, source)),
    }
}

/// Opens for reading.
pub fn open(path: impl AsRef<Path>) -> Result<File> {
    File::open(&path).map_err(|source| PathError::new("open", path, source))
}

/// Makes or truncates a file for writing.
pub fn create(path: impl AsRef<Path>) -> Result<File> {
    File::create(&path).map_err(|source| PathError::new("create", path, source))
}

/// Writes a file in place; readers may see a part of it. Use [`write_atomic`] for anything that is read again.
pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<()> {
    fs::write(&path, bytes).map_err(|source| PathError::new("write", path, source))
}

/// Replaces a file in one step: written beside it (`.NAME.PID.N.tmp`), then renamed. Mode 0600.
/// A failure leaves the old file as it was and no temporary file.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8], durability: Durability) -> Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let path = path.as_ref();
    // A bare name has an empty parent, which is no folder's name.
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    let folder = above.unwrap_or_else(|| Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temporary = folder.join(format!(".{name}.{}.{number}.tmp", std::process::id()));
    let write_and_rename = || -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        if durability == Durability::Disk {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)
    };
    if let Err(source) = write_and_rename() {
        let _ = fs::remove_file(&temporary);
        return Err(PathError::new("replace", path, source));
    }
    if durability == Durability::Disk {
        sync_dir(folder)?;
    }
    Ok(())
}

/// A file on the file system of `folder` that has no name and is gone when it is closed. Mode 0600.
pub fn unnamed(folder: impl AsRef<Path>) -> Result<File> {
    use rustix::fs::{Mode, OFlags};
    use std::os::unix::fs::OpenOptionsExt;
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let folder = folder.as_ref();
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::from_raw_mode(0o600)) {
        Ok(file) => Ok(file.into()),
        // Not every file system can (open(2)): a name that is taken away at once.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!(".unnamed.{}.{number}.tmp", std::process::id()));
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
            let file = file.map_err(|source| PathError::new("create", &path, source))?;
            remove_file(&path)?;
            Ok(file)
        }
        Err(error) => Err(PathError::new("make a file in", folder, error)),
    }
}

/// A file that has its name only when it is whole, mode 0600. Until then it has none, so that nothing is left of it whatever ends
/// this process; or, where the file system cannot do that, a hidden one beside it.
#[derive(Debug)]
pub struct Draft {
    file: File,
    /// Where it will be.
    path: PathBuf,
    /// What it is called for the moment.
    temporary: PathBuf,
    named: bool,
}

impl Draft {
    /// Begins a file that will be at this path.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self> {
        use rustix::fs::{Mode, OFlags};
        use std::os::unix::fs::OpenOptionsExt;
        let path = path.into();
        // A bare name has an empty parent, which is no folder's name.
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        let folder = above.unwrap_or_else(|| Path::new("."));
        // Of few letters, so that every name that can be has room for it; nobody else can guess it.
        let temporary = folder.join(format!(".{}.tmp", &crate::id::random_id()[..16]));
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        // It gets its name by its number there.
        let unnamed = Path::new("/proc/self/fd").exists();
        let file = unnamed.then(|| rustix::fs::open(folder, flags, Mode::from_raw_mode(0o600)));
        let (file, named) = match file {
            Some(Ok(file)) => (file.into(), false),
            None | Some(Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR)) => {
                let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
                (file.map_err(|source| PathError::new("create", &path, source))?, true)
            }
            Some(Err(error)) => return Err(PathError::new("create", &path, error)),
        };
        Ok(Self { file, path, temporary, named })
    }

    /// Waits for the disk and puts the file in its place, where it replaces what is there.
    pub fn finish(mut self) -> Result<()> {
        use rustix::fs::{AtFlags, CWD};
        use std::os::fd::AsRawFd;
        // Also what was written may turn out only here not to have found room.
        self.file.sync_all().map_err(|source| PathError::new("write", &self.path, source))?;
        if !self.named {
            let number = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            rustix::fs::linkat(CWD, number, CWD, &self.temporary, AtFlags::SYMLINK_FOLLOW)
                .map_err(|error| PathError::new("create", &self.path, error))?;
            self.named = true;
        }
        rename(&self.temporary, &self.path)?;
        self.named = false;
        Ok(())
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.named {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Reads a file from its beginning on, whoever else reads it.
#[derive(Clone, Debug)]
pub struct SharedReader {
    file: std::sync::Arc<File>,
    position: u64,
}

impl SharedReader {
    /// From the file's beginning on.
    pub fn new(file: std::sync::Arc<File>) -> Self {
        Self { file, position: 0 }
    }
}

impl io::Read for SharedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let length = self.file.read_at(buffer, self.position)?;
        self.position += length as u64;
        Ok(length)
    }
}

/// Makes a folder and those above it; one that exists already is fine.
pub fn create_dir_all(path: impl AsRef<Path>) -> Result<()> {
    fs::create_dir_all(&path).map_err(|source| PathError::new("create folder", path, source))
}

/// Makes a folder and those above it, and gives it exactly this mode, also where it exists already.
pub fn create_dir_all_with_mode(path: impl AsRef<Path>, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    create_dir_all(&path)?;
    let failed = |source| PathError::new("change the mode of", &path, source);
    let found = fs::metadata(&path).map_err(failed)?.permissions().mode() & 0o7777;
    if found != mode {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    }
    Ok(())
}

/// Makes one folder with the given mode (less the umask); fails where something is there already.
pub fn create_dir(path: impl AsRef<Path>, mode: u32) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .mode(mode)
        .create(&path)
        .map_err(|source| PathError::new("create folder", path, source))
}

/// Removes a file; a missing one is fine.
pub fn remove_file(path: impl AsRef<Path>) -> Result<()> {
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(PathError::new("remove", path, source))
        }
        _ => Ok(()),
    }
}

/// Removes a folder with everything in it, never following a symbolic link; a missing one is fine. How deep folders
/// lie in folders does not matter, see [`crate::tree`].
pub fn remove_tree(path: impl AsRef<Path>) -> Result<()> {
    match crate::tree::remove(path.as_ref()) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(PathError::new("remove", path, source))
        }
        _ => Ok(()),
    }
}

/// Bytes that a file, or a folder with everything in it, takes on the disk, as du(1) counts: blocks, each inode once. A
/// missing one takes none.
pub fn occupied(path: impl AsRef<Path>) -> u64 {
    let mut bytes = 0;
    each_inode(path, |inode| bytes += inode.occupied);
    bytes
}

/// Shows what is at a path and everything in it, each inode once. Whoever writes there meanwhile can lead it nowhere else,
/// see [`crate::tree`]; what cannot be looked at is not shown.
pub fn each_inode(path: impl AsRef<Path>, mut show: impl FnMut(Inode)) {
    crate::tree::each_inode(path.as_ref(), &mut show);
}

/// Renames.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    fs::rename(&from, to).map_err(|source| PathError::new("rename", from, source))
}

/// Names of a folder's entries, sorted; none where there is no such folder.
pub fn list(path: impl AsRef<Path>) -> Result<Vec<std::ffi::OsString>> {
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(PathError::new("list", path, source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(|source| PathError::new("list", &path, source))?.file_name());
    }
    names.sort();
    Ok(names)
}

/// Makes the names in a folder durable (fsync of the folder).
pub fn sync_dir(path: impl AsRef<Path>) -> Result<()> {
    File::open(&path)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| PathError::new("sync", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atomic_write_replaces_and_leaves_nothing_beside() {
        let folder = std::env::temp_dir().join(format!("corten-std-{}", std::process::id()));
        create_dir_all(&folder).unwrap();
        let path = folder.join("state.json");
        write_atomic(&path, b"one", Durability::Kernel).unwrap();
        write_atomic(&path, b"two", Durability::Disk).unwrap();
        assert_eq!(read(&path).unwrap(), b"two");
        assert_eq!(list(&folder).unwrap(), ["state.json"]);
        // The target is a folder: refused, and the temporary file is gone.
        create_dir_all(folder.join("taken/x")).unwrap();
        assert!(write_atomic(folder.join("taken"), b"x", Durability::Kernel).is_err());
        assert_eq!(list(&folder).unwrap(), ["state.json", "taken"]);
        remove_tree(&folder).unwrap();
        assert_eq!(read_optional(&path).unwrap(), None);
    }
}
