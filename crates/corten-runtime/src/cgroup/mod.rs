//! Control groups of version 1, version 2, or both beside each other.
//!
//! [`Hierarchies`] is what the host has, found once. A [`Manager`] owns one folder in each hierarchy, below
//! which each container has a [`Cgroup`]. A [`CgroupHandle`] is a container's cgroup as open descriptors, for
//! the shim, which may not see the cgroup filesystem at all.
//!
//! ```text
//! version 1: /sys/fs/cgroup/memory/corten/ID   one folder per hierarchy, joined by writing to cgroup.procs
//! version 2: /sys/fs/cgroup/corten/ID          one folder; the container is born into it
//! both:      version 1 carries the limits, version 2 kills and freezes
//! ```

mod device;
mod gauge;
mod group;
mod handle;
mod hierarchies;
mod limits;
mod manager;
mod path;
mod stats;
pub mod systemd;

use std::io;
use std::path::PathBuf;

use corten_std::{Classified, ErrorClass};

pub use corten_oci::runtime::LinuxResources as Limits;
pub use corten_sys::host::CgroupMode as Mode;
pub use gauge::Gauge;
pub use group::Cgroup;
pub use handle::{CgroupHandle, CgroupShape};
pub use hierarchies::{Hierarchies, Hierarchy, unescape};
pub use manager::{Abilities, Manager, check_parent, is_spare};
pub use stats::{BlockIo, Details, Stats};

/// A cgroup operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No cgroup filesystem is mounted.
    #[error("no cgroup filesystem is mounted")]
    NotMounted,
    /// A folder or file could not be worked on.
    #[error("cannot {operation} cgroup `{path}`")]
    File {
        /// The verb.
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused a limit.
    #[error("cannot set `{file}` to `{value}` in cgroup `{path}`")]
    Limit {
        /// The container's folder.
        path: PathBuf,
        /// The file for the limit.
        file: String,
        /// What was written.
        value: String,
        /// Why it was refused.
        source: io::Error,
    },
    /// A limit needs a controller that this host does not have.
    #[error("the host has no cgroup controller `{controller}`, which `{file}` needs")]
    NoController {
        /// The controller.
        controller: String,
        /// The file for the limit.
        file: String,
    },
    /// Device rules could not be loaded.
    #[error("cannot load the device rules of cgroup `{path}`")]
    Devices {
        /// The container's folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Processes would not go away.
    #[error("cgroup `{path}` is still in use")]
    Busy {
        /// Which.
        path: PathBuf,
    },
    /// Not a path that names a unit of systemd.
    #[error(
        "expected the cgroup path to be of the form \"slice:prefix:name\" for systemd cgroups, got \"{0}\" instead"
    )]
    UnitPath(String),
    /// systemd did not do its part.
    #[error(transparent)]
    Systemd(#[from] systemd::SystemdError),
    /// Not a name for one folder.
    #[error("`{0}` is not a name for a cgroup")]
    Name(String),
}

impl Classified for CgroupError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Limit { .. } | Self::Name(_) | Self::UnitPath(_) => ErrorClass::InvalidParameter,
            Self::Busy { .. } => ErrorClass::Conflict,
            _ => ErrorClass::System,
        }
    }
}

pub(crate) type Result<T> = std::result::Result<T, CgroupError>;

pub(crate) fn file_error(
    operation: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.into();
    move |source| CgroupError::File { operation, path, source }
}
