//! SELinux labels of what containers get from the host (`z` and `Z` at binds).

use corten_std::{Classified, ErrorClass};
use std::io;
use std::path::{Path, PathBuf};

/// Folders of the host whose files are never given another label, whatever a user asks for.
const KEPT: [&str; 24] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/passwd",
    "/etc/pki",
    "/etc/shadow",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
];

/// Files that cannot have a label.
#[derive(Debug, thiserror::Error)]
pub enum RelabelError {
    /// They are the host's own.
    #[error("SELinux relabeling of {} is not allowed", path.display())]
    Kept {
        /// What was to be given a label.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("error setting label on mount source '{}'", path.display())]
    Refused {
        /// What was to be given a label.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Classified for RelabelError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Kept { .. } => ErrorClass::InvalidParameter,
            Self::Refused { .. } => ErrorClass::System,
        }
    }
}

/// Gives a file of the host, or a folder with all in it, a container's label; one that every container may use with
/// `shared`. A filesystem that keeps no labels stays as it is.
///
/// # Errors
/// The first file that cannot have it; those before it have it.
pub fn relabel(path: &Path, label: &str, shared: bool) -> Result<(), RelabelError> {
    let clean: PathBuf = path.components().collect();
    if KEPT.iter().any(|kept| Path::new(kept) == clean) {
        return Err(RelabelError::Kept { path: path.to_owned() });
    }
    let label = if shared { without_categories(label) } else { label.to_owned() };
    match corten_sys::selinux::relabel(path, &label) {
        Err(error) if error.kind() != io::ErrorKind::Unsupported => {
            Err(RelabelError::Refused { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

fn without_categories(label: &str) -> String {
    let mut parts: Vec<&str> = label.splitn(4, ':').collect();
    if let [_, _, _, level] = parts.as_mut_slice() {
        *level = "s0";
    }
    parts.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_has_no_categories() {
        assert_eq!(without_categories("u:r:t:s0:c1,c2"), "u:r:t:s0");
        assert_eq!(without_categories("u:r:t"), "u:r:t");
    }

    #[test]
    fn folders_of_the_host_keep_their_labels() {
        for kept in ["/", "/etc", "/etc/", "/usr/.", "//var/lib"] {
            let error = relabel(Path::new(kept), "u:r:t:s0", false).unwrap_err();
            assert!(matches!(error, RelabelError::Kept { .. }), "{kept}");
        }
        let missing = relabel(Path::new("/no/such/file"), "u:r:t:s0", true).unwrap_err();
        assert!(missing.to_string().contains("/no/such/file"));
    }
}
