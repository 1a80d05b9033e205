//! Whose files are whose: numbers in archives against numbers on this host.

use crate::LayerError;

/// Who owns what has no number in a user namespace (the kernel's `overflowuid`).
const NOBODY: u32 = 65_534;

/// How owners in an archive become owners on disk, and back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OwnerMapping {
    /// The numbers are the same on both sides.
    #[default]
    Identity,
    /// Everything on disk belongs to these two; on the way back everything is 0:0.
    Fixed {
        /// User number on disk.
        uid: u32,
        /// Group number on disk.
        gid: u32,
    },
    /// Ranges, as in a user namespace's maps. A number outside of all of them is an error.
    Ranges {
        /// For users.
        uids: Vec<IdRange>,
        /// For groups.
        gids: Vec<IdRange>,
    },
    /// As [`Self::Ranges`] for the files of somebody in a user namespace, who sees whatever has no number there as
    /// belonging to 65534.
    Seen {
        /// For users.
        uids: Vec<IdRange>,
        /// For groups.
        gids: Vec<IdRange>,
    },
    /// Files keep the owner that the calling process gives them; on the way back they stay what they are.
    /// For callers without the right to change owners.
    Unchanged,
}

/// `length` numbers from `container` on stand for as many from `host` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// First number in archives and containers.
    pub container: u32,
    /// First number on disk.
    pub host: u32,
    /// How many.
    pub length: u32,
}

impl OwnerMapping {
    /// The owner on disk of an archive's `uid:gid`; `None` where the owner is to be left alone.
    pub(crate) fn to_host(&self, uid: u64, gid: u64, path: &[u8]) -> Result<Option<(u32, u32)>, LayerError> {
        let number = |id: u64, kind| match u32::try_from(id) {
            // The largest number means "leave alone" to the kernel: never a real owner.
            Ok(number) if number != u32::MAX => Ok(number),
            _ => Err(LayerError::Owner { path: crate::path::to_path_buf(path), kind, id }),
        };
        match self {
            Self::Unchanged => Ok(None),
            Self::Fixed { uid, gid } => Ok(Some((*uid, *gid))),
            Self::Identity => Ok(Some((number(uid, "user")?, number(gid, "group")?))),
            Self::Ranges { uids, gids } | Self::Seen { uids, gids } => {
                let user = translate(uids, number(uid, "user")?, |range| (range.container, range.host));
                let group = translate(gids, number(gid, "group")?, |range| (range.container, range.host));
                both(user, group, uid, gid, path).map(Some)
            }
        }
    }

    /// The owner on disk of something that belongs to `uid:gid` in a container; the same where owners are left alone.
    ///
    /// # Errors
    /// Where the mapping does not cover them.
    pub fn on_disk(&self, uid: u32, gid: u32) -> Result<(u32, u32), LayerError> {
        Ok(self.to_host(uid.into(), gid.into(), b".")?.unwrap_or((uid, gid)))
    }

    /// The owner in an archive of a file that belongs to `uid:gid` on disk.
    pub(crate) fn to_archive(&self, uid: u32, gid: u32, path: &[u8]) -> Result<(u32, u32), LayerError> {
        match self {
            Self::Identity | Self::Unchanged => Ok((uid, gid)),
            Self::Fixed { .. } => Ok((0, 0)),
            Self::Ranges { uids, gids } => {
                let user = translate(uids, uid, |range| (range.host, range.container));
                let group = translate(gids, gid, |range| (range.host, range.container));
                both(user, group, uid.into(), gid.into(), path)
            }
            Self::Seen { uids, gids } => {
                let back = |ranges, id| translate(ranges, id, |range| (range.host, range.container));
                Ok((back(uids, uid).unwrap_or(NOBODY), back(gids, gid).unwrap_or(NOBODY)))
            }
        }
    }
}

fn translate(ranges: &[IdRange], id: u32, direction: impl Fn(&IdRange) -> (u32, u32)) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let (from, to) = direction(range);
        let distance = id.checked_sub(from)?;
        (distance < range.length).then(|| to.checked_add(distance))?
    })
}

fn both(
    user: Option<u32>,
    group: Option<u32>,
    uid: u64,
    gid: u64,
    path: &[u8],
) -> Result<(u32, u32), LayerError> {
    let missing = |kind, id| LayerError::Owner { path: crate::path::to_path_buf(path), kind, id };
    Ok((user.ok_or_else(|| missing("user", uid))?, group.ok_or_else(|| missing("group", gid))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping() -> OwnerMapping {
        let ids = vec![
            IdRange { container: 0, host: 1000, length: 1 },
            IdRange { container: 1, host: 100_000, length: 65_535 },
        ];
        OwnerMapping::Ranges { uids: ids.clone(), gids: ids }
    }

    #[test]
    fn ranges_map_both_ways() {
        for (archive, disk) in
            [((0, 0), (1000, 1000)), ((1, 5), (100_000, 100_004)), ((65_535, 0), (165_534, 1000))]
        {
            assert_eq!(mapping().to_host(archive.0.into(), archive.1.into(), b"f").unwrap(), Some(disk));
            assert_eq!(mapping().to_archive(disk.0, disk.1, b"f").unwrap(), archive);
        }
    }

    #[test]
    fn what_is_nobodys_inside_is_seen_so() {
        let OwnerMapping::Ranges { uids, gids } = mapping() else { unreachable!() };
        let seen = OwnerMapping::Seen { uids, gids };
        assert_eq!(seen.to_archive(0, 100_000, b"f").unwrap(), (NOBODY, 1));
        assert_eq!(seen.to_host(0, 1, b"f").unwrap(), Some((1000, 100_000)));
        assert!(seen.to_host(70_000, 0, b"f").is_err());
    }

    #[test]
    fn numbers_outside_of_the_ranges_are_refused_by_name() {
        let error = mapping().to_host(0, 65_536, b"etc/f").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`etc/f` belongs to group 65536, which the owner mapping does not cover"
        );
        assert!(mapping().to_archive(0, 0, b"f").is_err());
        assert!(OwnerMapping::Identity.to_host(u64::from(u32::MAX), 0, b"f").is_err());
        assert!(OwnerMapping::Identity.to_host(1 << 40, 0, b"f").is_err());
    }
}
