//! `--userns-remap`: whose ids containers have, by the host's files; and who makes the namespaces for them.

use corten_engine::users::{HostFiles, MappedUsers, Remap, remap};
use corten_keeper::{Keeper, KeeperError};
use corten_network::NamespaceMaker;
use corten_std::{Classified, chain, file};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// Reads the host's files.
///
/// # Errors
/// Where the user, or a range of ids, is missing; with what to do.
pub(crate) fn read(wanted: &str) -> Result<Option<Remap>, String> {
    let text = |path: &str| match file::read_optional(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()),
        Err(error) => Err(chain(&error)),
    };
    let (passwd, group) = (text("/etc/passwd")?, text("/etc/group")?);
    let (subuid, subgid) = (text("/etc/subuid")?, text("/etc/subgid")?);
    let files = HostFiles { passwd: &passwd, group: &group, subuid: &subuid, subgid: &subgid };
    match remap(wanted, &files) {
        Ok(Some(remap)) => {
            tracing::info!(
                "User namespaces: ID ranges will be mapped to subuid/subgid ranges of: {}",
                remap.user
            );
            Ok(Some(remap))
        }
        Ok(None) => {
            tracing::warn!("User namespaces: root cannot be remapped with itself; user namespaces are OFF");
            Ok(None)
        }
        Err(error) => match error.hint() {
            Some(hint) => Err(format!("{error}\nhint: {hint}")),
            None => Err(error.to_string()),
        },
    }
}

/// The keeper, which makes namespaces for one set of maps.
pub(crate) struct KeeperNamespaces {
    keeper: Keeper,
    uid_map: String,
    gid_map: String,
}

impl KeeperNamespaces {
    pub(crate) fn new(keeper: Keeper, remap: &Remap) -> Self {
        Self { keeper, uid_map: remap.uid_map(), gid_map: remap.gid_map() }
    }

    fn users(&self) -> Result<OwnedFd, KeeperError> {
        self.keeper.user_namespace(&self.uid_map, &self.gid_map)
    }

    /// What the engine maps layers and volumes by. The folder of layers exists.
    ///
    /// # Errors
    /// Where the kernel makes no user namespace, or its mounts map no ids.
    pub(crate) fn mapped_users(&self, remap: Remap, layers: PathBuf) -> Result<MappedUsers, String> {
        let told = |error: KeeperError| {
            format!(
                "--userns-remap: {}\nhint: the kernel may allow no user namespaces; see `sysctl user.max_user_namespaces`",
                chain(&error)
            )
        };
        let namespace = self.users().map_err(told)?;
        let turned = remap.inverse();
        let inverse = self.keeper.user_namespace(&turned.uid_map(), &turned.gid_map()).map_err(told)?;
        MappedUsers::new(remap, namespace, inverse, layers).map_err(|error| chain(&error))
    }
}

impl fmt::Debug for KeeperNamespaces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeeperNamespaces").field("uid_map", &self.uid_map).finish_non_exhaustive()
    }
}

impl NamespaceMaker for KeeperNamespaces {
    fn make(&self) -> io::Result<OwnedFd> {
        let users = self.users().map_err(|error| io::Error::other(chain(&error)))?;
        self.make_in(users.as_fd())
    }

    fn make_in(&self, users: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        self.keeper.network_namespace(users).map_err(|error| io::Error::other(chain(&error)))
    }
}
