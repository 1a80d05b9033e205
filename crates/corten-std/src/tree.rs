//! Removal and size of trees that others have made: a container can nest folders as deep as it likes, and neither the stack nor
//! the number of descriptors may depend on that.

use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Folders that are open at a time. What lies deeper is first moved up, below the top.
const MOST_OPEN: usize = 64;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A folder that is being emptied, and its name in the one above.
struct Level {
    folder: Dir,
    name: CString,
}

/// Removes a folder with everything in it, or the symbolic link that is in its place.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match rustix::fs::openat(CWD, path, FOLDER, Mode::empty()) {
        Ok(top) => empty(Dir::new(top)?)?,
        Err(Errno::NOTDIR | Errno::LOOP) if path.is_symlink() => return Ok(rustix::fs::unlink(path)?),
        Err(error) => return Err(error.into()),
    }
    Ok(rustix::fs::rmdir(path)?)
}

/// Something in a tree, as it is counted.
#[derive(Debug, Clone, Copy)]
pub struct Inode {
    /// It is a folder.
    pub is_folder: bool,
    /// It is a regular file.
    pub is_file: bool,
    /// Its length in bytes.
    pub length: u64,
    /// Bytes that it takes on the disk.
    pub occupied: u64,
}

impl Inode {
    fn new(about: &Stat) -> Self {
        /// Of the blocks that stat(2) tells, whatever the file system's own are.
        const BLOCK: u64 = 512;
        let kind = FileType::from_raw_mode(about.st_mode);
        Self {
            is_folder: kind == FileType::Directory,
            is_file: kind == FileType::RegularFile,
            length: u64::try_from(about.st_size).unwrap_or(0),
            occupied: u64::try_from(about.st_blocks).unwrap_or(0) * BLOCK,
        }
    }
}

/// Shows what is at a path and everything in it, each inode once, no symbolic link followed. What cannot be looked at, or goes
/// meanwhile, is not shown.
pub(crate) fn each_inode(path: &Path, show: &mut dyn FnMut(Inode)) {
    let Ok(about) = rustix::fs::lstat(path) else { return };
    let inode = Inode::new(&about);
    show(inode);
    if !inode.is_folder {
        return;
    }
    let Ok(top) = rustix::fs::openat(CWD, path, FOLDER, Mode::empty()) else { return };
    let mut seen = HashSet::new();
    // The folders that are still to be looked into: of each level from the top down their names alone, as whoever filled the
    // tree may have made very many, with long paths.
    let mut levels = vec![vec![PathBuf::from(".")]];
    let mut place = PathBuf::new();
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.pop() else {
            levels.pop();
            place.pop();
            continue;
        };
        place.push(name);
        let mut below = Vec::new();
        // Whoever runs in the tree may put a link where the folder was.
        let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let folder = rustix::fs::openat2(&top, &place, FOLDER, Mode::empty(), flags);
        if let Ok(mut folder) = folder.and_then(Dir::new) {
            while let Some(Ok(entry)) = folder.read() {
                let name = entry.file_name();
                if name == c"." || name == c".." {
                    continue;
                }
                let found =
                    folder.fd().and_then(|fd| rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW));
                let Ok(about) = found else { continue };
                let inode = Inode::new(&about);
                if inode.is_folder {
                    below.push(PathBuf::from(OsStr::from_bytes(name.to_bytes())));
                } else if about.st_nlink > 1 && !seen.insert((about.st_dev, about.st_ino)) {
                    continue;
                }
                show(inode);
            }
        }
        levels.push(below);
    }
}

fn empty(mut top: Dir) -> io::Result<()> {
    let mut moved = 0_u64;
    loop {
        let before = moved;
        let mut levels: Vec<Level> = Vec::new();
        loop {
            let level = levels.last_mut().map_or(&mut top, |level| &mut level.folder);
            let Some(entry) = level.read() else {
                let Some(done) = levels.pop() else { break };
                let above = levels.last().map_or(&top, |level| &level.folder);
                gone(rustix::fs::unlinkat(above.fd()?, &done.name, AtFlags::REMOVEDIR))?;
                continue;
            };
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if entry.file_type() != FileType::Directory {
                match rustix::fs::unlinkat(level.fd()?, name, AtFlags::empty()) {
                    // A filesystem that does not tell what its entries are.
                    Err(Errno::ISDIR) => {}
                    outcome => {
                        gone(outcome)?;
                        continue;
                    }
                }
            }
            if levels.len() < MOST_OPEN {
                let level = levels.last().map_or(&top, |level| &level.folder);
                match rustix::fs::openat(level.fd()?, name, FOLDER, Mode::empty()) {
                    Ok(folder) => {
                        levels.push(Level { folder: Dir::new(folder)?, name: name.to_owned() });
                    }
                    error => gone(error.map(drop))?,
                }
            } else {
                let level = levels.last().map_or(&top, |level| &level.folder);
                move_up(level, name, &top, &mut moved)?;
            }
        }
        if moved == before {
            return Ok(());
        }
        // What was moved here may lie before the place where we have read on.
        top.rewind();
    }
}

/// Gives a folder of `from` a name in `top` that nothing has there.
fn move_up(from: &Dir, name: &CStr, top: &Dir, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        match rustix::fs::renameat(from.fd()?, name, top.fd()?, format!(".deep-{moved}")) {
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            outcome => return gone(outcome),
        }
    }
}

/// Somebody else may remove things at the same time.
fn gone(outcome: rustix::io::Result<()>) -> io::Result<()> {
    match outcome {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn occupied(path: &Path) -> u64 {
        crate::file::occupied(path)
    }

    #[test]
    fn blocks_are_counted_once_and_holes_not_at_all() {
        let top = std::env::temp_dir().join(format!("corten-occupied-{}", std::process::id()));
        assert_eq!(occupied(&top), 0, "nothing is there");
        std::fs::create_dir_all(top.join("folder")).unwrap();
        let own = occupied(&top);
        std::fs::write(top.join("folder/file"), vec![1; 300_000]).unwrap();
        let with = occupied(&top);
        assert!((own + 300_000..own + 320_000).contains(&with), "{own} {with}");
        std::fs::hard_link(top.join("folder/file"), top.join("again")).unwrap();
        symlink("/", top.join("folder/root")).unwrap();
        std::fs::File::create(top.join("sparse")).unwrap().set_len(1 << 30).unwrap();
        assert!(occupied(&top) < with + 16_384);
        // Folders beside and below one another are all found.
        for name in ["a/b/c", "a/d", "e/f", "e/g/h"] {
            std::fs::create_dir_all(top.join("more").join(name)).unwrap();
            std::fs::write(top.join("more").join(name).join("file"), vec![1; 100_000]).unwrap();
        }
        let more = occupied(&top);
        assert!((with + 400_000..with + 500_000).contains(&more), "{with} {more}");
        let (mut folders, mut files, mut others) = (0, Vec::new(), 0);
        each_inode(&top, &mut |inode| match inode {
            Inode { is_folder: true, .. } => folders += 1,
            Inode { is_file: true, length, .. } => files.push(length),
            _ => others += 1,
        });
        files.sort_unstable();
        assert_eq!((folders, others), (11, 1), "the top with its folders, and one link that is not followed");
        assert_eq!(files, [100_000, 100_000, 100_000, 100_000, 300_000, 1 << 30]);
        remove(&top).unwrap();
    }

    #[test]
    fn a_very_deep_tree_goes() {
        let top = std::env::temp_dir().join(format!("corten-deep-{}", std::process::id()));
        std::fs::create_dir_all(&top).unwrap();
        std::fs::create_dir(top.join(".deep-1")).unwrap();
        std::fs::write(top.join(".deep-1/kept"), "a name that is taken").unwrap();
        let outside = top.with_extension("outside");
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(outside.join("file"), "").unwrap();
        let mut folder = rustix::fs::openat(CWD, &top, FOLDER, Mode::empty()).unwrap();
        for _ in 0..5000 {
            rustix::fs::mkdirat(&folder, "d", Mode::RWXU).unwrap();
            rustix::fs::symlinkat(&outside, &folder, "link").unwrap();
            folder = rustix::fs::openat(&folder, "d", FOLDER, Mode::empty()).unwrap();
        }
        // A stack as small as that of the store's own thread.
        let tree = top.clone();
        let thread = std::thread::Builder::new().stack_size(128 * 1024);
        thread.spawn(move || remove(&tree)).unwrap().join().unwrap().unwrap();
        assert!(!top.exists() && outside.join("file").exists());
        symlink(&outside, &top).unwrap();
        remove(&top).unwrap();
        assert!(!top.is_symlink() && outside.join("file").exists());
        assert_eq!(remove(&top).unwrap_err().kind(), io::ErrorKind::NotFound);
        remove(&outside).unwrap();
    }
}
