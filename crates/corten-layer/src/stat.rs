//! What a path inside a root is, in the words of the Engine API.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use corten_std::Timestamp;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::LayerError;
use crate::path::{clean_typed, last_part, to_path_buf, wants_folder};
use crate::root::{Root, as_it_is, open_beneath, stat};

/// The document of the header `X-Docker-Container-Path-Stat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStat {
    /// Last part of the path as asked for; `/` for the root.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Go's `os.FileMode`: permissions, and the kind in the high bits. See [`go_mode`].
    pub mode: u32,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// For a symbolic link: where it leads in the end, as an absolute path in the root; else empty.
    #[serde(rename = "linkTarget")]
    pub link_target: String,
}

/// Looks at `path` in `root` without following its last part (unless it ends in `/`).
pub fn stat_in_root(root: BorrowedFd<'_>, path: &Path) -> Result<PathStat, LayerError> {
    let bytes = path.as_os_str().as_bytes();
    let failed = |error: Errno| LayerError::entry("find", bytes, error);
    let mut root = Root::new(root)?;
    let clean = clean_typed(bytes)?;
    let mut link_target = String::new();
    let stat = if wants_folder(bytes) || clean.is_empty() {
        rustix::fs::fstat(&root.folder(&clean, &mut as_it_is)?.fd).map_err(failed)?
    } else {
        let Some((folder, name)) = root.parent(&clean, &mut as_it_is)? else {
            return Err(failed(Errno::NOENT));
        };
        let stat = stat(folder.fd.as_fd(), name).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            link_target = resolve(&root, &clean, false)?.to_string_lossy().into_owned();
        }
        stat
    };
    Ok(PathStat {
        name: String::from_utf8_lossy(last_part(bytes)).into_owned(),
        size: stat.st_size as u64,
        mode: go_mode(stat.st_mode),
        mtime: Timestamp::from_unix(stat.st_mtime, stat.st_mtime_nsec as u32),
        link_target,
    })
}

/// Follows every symbolic link of `path` inside `root` and gives the absolute path it stands for. All of it must exist.
pub fn resolve_in_root(root: BorrowedFd<'_>, path: &Path) -> Result<PathBuf, LayerError> {
    let bytes = path.as_os_str().as_bytes();
    resolve(&Root::new(root)?, &clean_typed(bytes)?, true)
}

/// `st_mode` as Go's `os.FileMode`.
pub fn go_mode(st_mode: u32) -> u32 {
    let kind = match FileType::from_raw_mode(st_mode) {
        FileType::Directory => 1 << 31,
        FileType::Symlink => 1 << 27,
        FileType::BlockDevice => 1 << 26,
        FileType::CharacterDevice => 1 << 26 | 1 << 21,
        FileType::Fifo => 1 << 25,
        FileType::Socket => 1 << 24,
        _ => 0,
    };
    let bit = |here: u32, there: u32| if st_mode & here == 0 { 0 } else { there };
    kind | st_mode & 0o777 | bit(0o4000, 1 << 23) | bit(0o2000, 1 << 22) | bit(0o1000, 1 << 20)
}

/// Walks `path` as text, reading links; `strict`: what does not exist is an error, else it is taken as it is written.
fn resolve(root: &Root, path: &[u8], strict: bool) -> Result<PathBuf, LayerError> {
    let failed = |error: Errno| LayerError::entry("find", path, error);
    let mut done: Vec<Vec<u8>> = Vec::new();
    let mut parts: Vec<Vec<u8>> = path.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec).collect();
    let mut links = 0;
    while let Some(part) = parts.pop() {
        match part.as_slice() {
            b"" | b"." => continue,
            b".." => {
                done.pop();
                continue;
            }
            _ => {}
        }
        let folder = done.join(&b'/');
        // Every part of `done` was found not to be a link; if one becomes one now, opening it fails.
        let opened = if folder.is_empty() {
            rustix::io::dup(&root.top().fd).map_err(failed).ok()
        } else {
            open_beneath(root.top().fd.as_fd(), &folder, OFlags::PATH | OFlags::DIRECTORY).ok()
        };
        let outcome = match &opened {
            Some(folder) => rustix::fs::readlinkat(folder, part.as_slice(), Vec::new()),
            None => Err(Errno::NOENT),
        };
        match outcome {
            Ok(target) => {
                links += 1;
                if links > 40 {
                    return Err(failed(Errno::LOOP));
                }
                if target.as_bytes().first() == Some(&b'/') {
                    done.clear();
                }
                parts.extend(target.as_bytes().split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec));
            }
            Err(Errno::INVAL) => done.push(part),
            Err(error) if strict => return Err(failed(error)),
            Err(_) => done.push(part),
        }
    }
    Ok(to_path_buf(&[b"/", done.join(&b'/').as_slice()].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_go() {
        for (mode, expected) in [
            (0o100_644, 0o644),
            (0o104_751, 0o40_000_751),
            (0o040_755, 0x8000_0000 | 0o755),
            (0o041_777, 0x8010_0000 | 0o777),
            (0o120_777, 0x0800_0000 | 0o777),
            (0o020_620, 0x0420_0000 | 0o620),
            (0o060_660, 0x0400_0000 | 0o660),
            (0o010_600, 0x0200_0000 | 0o600),
            (0o140_600, 0x0100_0000 | 0o600),
        ] {
            assert_eq!(go_mode(mode), expected, "{mode:o}");
        }
    }

    #[test]
    fn above_the_root_is_the_root() {
        let scratch = corten_testing::Scratch::new("stat-above");
        std::fs::create_dir(scratch.path().join("a")).unwrap();
        let root = std::fs::File::open(scratch.path()).unwrap();
        for path in ["/..", "..", "../../..", "a/../.."] {
            let found = stat_in_root(root.as_fd(), Path::new(path)).unwrap();
            assert_eq!((found.name.as_str(), found.mode >> 31), ("..", 1), "{path}");
            let mut archive = Vec::new();
            crate::pack(root.as_fd(), Path::new(path), &mut archive, &crate::PackOptions::default()).unwrap();
            assert!(!archive.starts_with(b".."), "{path}");
        }
    }
}
