//! mount(2) as it always was: a device, a place, a kind and one text of options, as `/etc/fstab` has them. For mounts
//! that people describe in these words: volumes with options.

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use std::ffi::CString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A refused mount, told in the words that other programs use: `mount SOURCE:TARGET, flags: 0x…, data: …: REASON`.
#[derive(Debug)]
pub struct ClassicMountError {
    /// The device.
    pub device: String,
    /// The place.
    pub target: PathBuf,
    /// What is no flag of the kernel's.
    pub data: String,
    /// The kernel's flags.
    pub flags: u32,
    /// Why it was refused.
    pub source: io::Error,
}

impl fmt::Display for ClassicMountError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "mount {}:{}", self.device, self.target.display())?;
        if self.flags != 0 {
            write!(formatter, ", flags: {:#x}", self.flags)?;
        }
        if !self.data.is_empty() {
            write!(formatter, ", data: {}", self.data)?;
        }
        write!(formatter, ": {}", corten_std::kernel_words(&self.source))
    }
}

// The reason is part of the text, whose readers know it in this form.
impl std::error::Error for ClassicMountError {}

/// Options by the parts that the kernel takes them in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassicOptions {
    flags: u32,
    propagation: u32,
    data: Vec<String>,
}

/// A word of `-o`: what it sets, or takes back.
const WORDS: &[(&str, bool, u32)] = &[
    ("async", false, MountFlags::SYNCHRONOUS.bits()),
    ("atime", false, MountFlags::NOATIME.bits()),
    ("bind", true, MountFlags::BIND.bits()),
    ("defaults", false, 0),
    ("dev", false, MountFlags::NODEV.bits()),
    ("diratime", false, MountFlags::NODIRATIME.bits()),
    ("dirsync", true, MountFlags::DIRSYNC.bits()),
    ("exec", false, MountFlags::NOEXEC.bits()),
    ("mand", true, MountFlags::PERMIT_MANDATORY_FILE_LOCKING.bits()),
    ("noatime", true, MountFlags::NOATIME.bits()),
    ("nodev", true, MountFlags::NODEV.bits()),
    ("nodiratime", true, MountFlags::NODIRATIME.bits()),
    ("noexec", true, MountFlags::NOEXEC.bits()),
    ("nomand", false, MountFlags::PERMIT_MANDATORY_FILE_LOCKING.bits()),
    ("norelatime", false, MountFlags::RELATIME.bits()),
    ("nostrictatime", false, MountFlags::STRICTATIME.bits()),
    ("nosuid", true, MountFlags::NOSUID.bits()),
    ("rbind", true, MountFlags::BIND.bits() | MS_REC),
    ("relatime", true, MountFlags::RELATIME.bits()),
    ("ro", true, MountFlags::RDONLY.bits()),
    ("rw", false, MountFlags::RDONLY.bits()),
    ("strictatime", true, MountFlags::STRICTATIME.bits()),
    ("suid", false, MountFlags::NOSUID.bits()),
    ("sync", true, MountFlags::SYNCHRONOUS.bits()),
];

/// A word that says what the mount shares.
const PROPAGATION: &[(&str, MountPropagationFlags)] = &[
    ("private", MountPropagationFlags::PRIVATE),
    ("rprivate", MountPropagationFlags::PRIVATE.union(MountPropagationFlags::REC)),
    ("rshared", MountPropagationFlags::SHARED.union(MountPropagationFlags::REC)),
    ("rslave", MountPropagationFlags::DOWNSTREAM.union(MountPropagationFlags::REC)),
    ("runbindable", MountPropagationFlags::UNBINDABLE.union(MountPropagationFlags::REC)),
    ("shared", MountPropagationFlags::SHARED),
    ("slave", MountPropagationFlags::DOWNSTREAM),
    ("unbindable", MountPropagationFlags::UNBINDABLE),
];

/// `MS_REC`, which has no name of its own among the flags of a mount.
const MS_REC: u32 = MountPropagationFlags::REC.bits();

impl ClassicOptions {
    /// Reads a text such as `ro,size=1m,uid=9`. What is none of the kernel's flags is left to the file system.
    pub fn parse(text: &str) -> Self {
        let mut options = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            if let Ok(at) = WORDS.binary_search_by_key(&word, |(word, ..)| word) {
                let (_, set, bits) = WORDS[at];
                if set {
                    options.flags |= bits;
                } else {
                    options.flags &= !bits;
                }
            } else if let Some((_, bits)) = PROPAGATION.iter().find(|(known, _)| *known == word) {
                options.propagation |= bits.bits();
            } else {
                options.data.push(word.to_owned());
            }
        }
        options
    }
}

/// Mounts `device` at `target`.
///
/// # Errors
/// Where a later step is refused (the propagation, the read-only flag of a bind), nothing stays mounted.
pub fn mount(
    device: &str,
    target: &Path,
    kind: &str,
    options: &ClassicOptions,
) -> Result<(), ClassicMountError> {
    let data = options.data.join(",");
    let failed = |flags: u32, source: io::Error| ClassicMountError {
        device: device.to_owned(),
        target: target.to_owned(),
        data: data.clone(),
        flags,
        source,
    };
    let text = CString::new(data.as_str()).map_err(|error| failed(options.flags, error.into()))?;
    let kernel = |error: Errno| io::Error::from(error);
    let flags = MountFlags::from_bits_retain(options.flags);
    rustix::mount::mount(device, target, kind, flags, text.as_c_str())
        .map_err(|error| failed(options.flags, kernel(error)))?;
    let rest = || -> Result<(), ClassicMountError> {
        if options.propagation != 0 {
            let change = MountPropagationFlags::from_bits_retain(options.propagation);
            rustix::mount::mount_change(target, change)
                .map_err(|error| failed(options.propagation, kernel(error)))?;
        }
        // A bind takes its flags by a change of its own.
        if flags.contains(MountFlags::BIND | MountFlags::RDONLY) {
            rustix::mount::mount_remount(target, flags, text.as_c_str())
                .map_err(|error| failed(options.flags, kernel(error)))?;
        }
        Ok(())
    };
    rest().inspect_err(|_| drop(unmount(target)))
}

/// Takes down what is mounted at `target`; where nothing is, nothing happens. What is still in use goes with its last user.
pub fn unmount(target: &Path) -> io::Result<()> {
    match rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether something is mounted at exactly this path. Does not wait for a server that is gone.
pub fn is_mount_point(path: &Path) -> io::Result<bool> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    match rustix::fs::statx(CWD, path, flags, StatxFlags::empty()) {
        Ok(about) => Ok(about.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_sorted() {
        assert!(WORDS.is_sorted_by_key(|(word, ..)| word));
    }

    #[test]
    fn options_are_told_apart() {
        let options = ClassicOptions::parse("ro,nodev,size=1m,,uid=9,rslave,rw");
        assert_eq!(options.flags, MountFlags::NODEV.bits());
        assert_eq!(options.data, ["size=1m", "uid=9"]);
        assert_eq!(
            options.propagation,
            (MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).bits()
        );
        assert_eq!(ClassicOptions::parse(""), ClassicOptions::default());
        assert_eq!(ClassicOptions::parse("rbind").flags, (MountFlags::BIND.bits() | MS_REC));
    }

    #[test]
    fn an_error_is_told_as_others_tell_it() {
        let error = ClassicMountError {
            device: "/nothing".to_owned(),
            target: "/v/_data".into(),
            data: "size=1".to_owned(),
            flags: 0x1000,
            source: io::Error::from_raw_os_error(2),
        };
        assert_eq!(
            error.to_string(),
            "mount /nothing:/v/_data, flags: 0x1000, data: size=1: no such file or directory"
        );
    }
}
