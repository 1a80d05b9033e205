//! Users and groups by the container's own `/etc/passwd` and `/etc/group`: never by the host's, never by the
//! C library.
//!
//! The rules and texts are Docker's. `user`, `uid`, `user:group`, `uid:gid` and mixtures; a number need not
//! be listed, a name must be; the first entry that fits wins; groups in which the user is listed count unless
//! a group was given.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use corten_oci::runtime::User;
use corten_sys::descriptor;
use rustix::fs::{FileType, Mode, OFlags};

use crate::error::LaunchErrorKind;

/// A container's user files are not read beyond this.
const LONGEST_FILE: u64 = 16 << 20;

/// Largest id that Docker takes.
const LARGEST_ID: u32 = (1 << 31) - 1;

/// Who a process is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// All groups beside it, the group itself first, as Docker sets them.
    pub groups: Vec<u32>,
    /// Home folder; `/` where none is listed.
    pub home: String,
}

/// A user or group that is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// A name that `/etc/passwd` does not have.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    UnknownUser(String),
    /// A name that `/etc/group` does not have.
    #[error("unable to find group {0}: no matching entries in group file")]
    UnknownGroup(String),
    /// A number that is no id.
    #[error("uids and gids must be in range 0-{LARGEST_ID}")]
    Range,
    /// The file is there, and reading it failed.
    #[error("read {path}: {reason}")]
    Unreadable {
        /// The file, as the container sees it.
        path: &'static str,
        /// What the kernel says.
        reason: String,
    },
}

impl UserError {
    /// What a launch that fails for it is called.
    pub fn launch_kind(&self) -> LaunchErrorKind {
        match self {
            // Docker finds a number out of range at the same moment as a name that is not listed.
            Self::UnknownUser(_) | Self::Range => LaunchErrorKind::UnknownUser,
            Self::UnknownGroup(_) => LaunchErrorKind::UnknownGroup,
            Self::Unreadable { .. } => LaunchErrorKind::System,
        }
    }
}

/// Resolves what was asked for against the files below `root`, which is never left. A file that is missing or no plain
/// file lists nobody.
pub fn resolve_in(root: BorrowedFd<'_>, wanted: &User) -> Result<ResolvedUser, UserError> {
    let passwd = read(root, "/etc/passwd")?;
    let needs_groups = wanted.username.is_some() || !wanted.additional_group_names.is_empty();
    let group = if needs_groups { read(root, "/etc/group")? } else { Vec::new() };
    resolve(wanted, &passwd, &group)
}

fn read(root: BorrowedFd<'_>, path: &'static str) -> Result<Vec<u8>, UserError> {
    // Non-blocking: it may be a pipe that nobody writes to.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let Ok(file) = descriptor::open_in_root(root, path.as_ref(), flags, Mode::empty()) else {
        return Ok(Vec::new());
    };
    let content = || -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::RegularFile {
            std::fs::File::from(file).take(LONGEST_FILE).read_to_end(&mut content)?;
        }
        Ok(content)
    };
    content().map_err(|error| UserError::Unreadable { path, reason: error.to_string() })
}

/// Resolves what was asked for against the contents of the two files. Lines that make no sense are passed
/// over.
pub fn resolve(wanted: &User, passwd: &[u8], group: &[u8]) -> Result<ResolvedUser, UserError> {
    let mut user = match &wanted.username {
        None => {
            let home = passwd_entries(passwd).find(|entry| entry.uid == wanted.uid).map(|entry| entry.home);
            ResolvedUser {
                uid: wanted.uid,
                gid: wanted.gid,
                groups: Vec::new(),
                home: home.unwrap_or_default(),
            }
        }
        Some(text) => by_text(text, passwd, group)?,
    };
    user.groups.extend(&wanted.additional_gids);
    for name in &wanted.additional_group_names {
        user.groups.push(group_id(name, group)?);
    }
    if wanted.username.is_some() || !user.groups.is_empty() {
        user.groups.insert(0, user.gid);
    }
    let mut seen = std::collections::BTreeSet::new();
    user.groups.retain(|id| seen.insert(*id));
    if user.home.is_empty() {
        "/".clone_into(&mut user.home);
    }
    Ok(user)
}

fn by_text(text: &str, passwd: &[u8], group: &[u8]) -> Result<ResolvedUser, UserError> {
    let (name, group_name) = text.split_once(':').unwrap_or((text, ""));
    let number: Option<i64> = name.parse().ok();
    let entry = passwd_entries(passwd).find(|entry| match (name, number) {
        ("", _) => entry.uid == 0,
        (_, Some(number)) => i64::from(entry.uid) == number,
        (name, None) => entry.name == name,
    });
    let mut user = ResolvedUser::default();
    let mut listed_name = None;
    match entry {
        Some(entry) => {
            (user.uid, user.gid, user.home) = (entry.uid, entry.gid, entry.home);
            listed_name = Some(entry.name);
        }
        None if name.is_empty() => {}
        None => user.uid = id(number.ok_or_else(|| UserError::UnknownUser(name.to_owned()))?)?,
    }
    if !group_name.is_empty() {
        user.gid = group_id(group_name, group)?;
    } else if let Some(listed_name) = listed_name {
        user.groups = group_entries(group)
            .filter(|entry| entry.members.contains(&listed_name))
            .map(|entry| entry.gid)
            .collect();
    }
    Ok(user)
}

fn group_id(name: &str, group: &[u8]) -> Result<u32, UserError> {
    let number: Option<i64> = name.parse().ok();
    let entry = group_entries(group).find(|entry| match number {
        Some(number) => i64::from(entry.gid) == number,
        None => entry.name == name,
    });
    match (entry, number) {
        (Some(entry), _) => Ok(entry.gid),
        (None, Some(number)) => id(number),
        (None, None) => Err(UserError::UnknownGroup(name.to_owned())),
    }
}

fn id(number: i64) -> Result<u32, UserError> {
    u32::try_from(number).ok().filter(|id| *id <= LARGEST_ID).ok_or(UserError::Range)
}

struct PasswdEntry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// `NAME:PASSWORD:UID:GID:COMMENT:HOME:SHELL`
fn passwd_entries(content: &[u8]) -> impl Iterator<Item = PasswdEntry> {
    lines(content).filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        Some(PasswdEntry {
            name: (*fields.first()?).to_owned(),
            uid: fields.get(2)?.trim().parse().ok()?,
            gid: fields.get(3)?.trim().parse().ok()?,
            home: fields.get(5).copied().unwrap_or_default().to_owned(),
        })
    })
}

struct GroupEntry {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// `NAME:PASSWORD:GID:MEMBER,MEMBER`
fn group_entries(content: &[u8]) -> impl Iterator<Item = GroupEntry> {
    lines(content).filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        Some(GroupEntry {
            name: (*fields.first()?).to_owned(),
            gid: fields.get(2)?.trim().parse().ok()?,
            members: fields.get(3).copied().unwrap_or_default().split(',').map(str::to_owned).collect(),
        })
    })
}

fn lines(content: &[u8]) -> impl Iterator<Item = String> {
    content
        .split(|byte| *byte == b'\n')
        .map(|line| String::from_utf8_lossy(line).trim().to_owned())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# a remark\nbroken line\n\
        www:x:33:33::/var/www:/bin/false\nbob:x:1000:100:Bob:/home/bob:/bin/sh\nbob2:x:1000:7::/other:\n";
    const GROUP: &[u8] = b"root:x:0:\nwww:x:33:\nusers:x:100:\nwheel:x:10:bob,www\nnight:x:11:bob\n";

    #[track_caller]
    fn check(text: &str, expected: Result<(u32, u32, &[u32], &str), &str>) {
        let wanted = User { username: Some(text.to_owned()), ..User::default() };
        let found = resolve(&wanted, PASSWD, GROUP);
        match expected {
            Ok((uid, gid, groups, home)) => assert_eq!(
                found,
                Ok(ResolvedUser { uid, gid, groups: groups.to_vec(), home: home.to_owned() })
            ),
            Err(message) => assert_eq!(found.unwrap_err().to_string(), message),
        }
    }

    #[test]
    fn users_are_found_as_docker_finds_them() {
        check("", Ok((0, 0, &[0], "/root")));
        check("bob", Ok((1000, 100, &[100, 10, 11], "/home/bob")));
        check("1000", Ok((1000, 100, &[100, 10, 11], "/home/bob")));
        check("bob:www", Ok((1000, 33, &[33], "/home/bob")));
        check("33:5", Ok((33, 5, &[5], "/var/www")));
        check("4242", Ok((4242, 0, &[0], "/")));
        check("4242:4343", Ok((4242, 4343, &[4343], "/")));
        check("ghost", Err("unable to find user ghost: no matching entries in passwd file"));
        check("bob:ghosts", Err("unable to find group ghosts: no matching entries in group file"));
        check("-1", Err("uids and gids must be in range 0-2147483647"));
        check("2147483648", Err("uids and gids must be in range 0-2147483647"));
    }

    #[test]
    fn further_groups_are_added_once() {
        let wanted = User {
            username: Some("bob".into()),
            additional_group_names: vec!["www".into(), "10".into(), "77".into()],
            ..User::default()
        };
        assert_eq!(resolve(&wanted, PASSWD, GROUP).unwrap().groups, [100, 10, 11, 33, 77]);
    }

    #[test]
    fn no_files_leave_root_and_numbers() {
        let wanted = User { username: Some("5".into()), ..User::default() };
        assert_eq!(resolve(&wanted, b"", b"").unwrap().uid, 5);
        assert_eq!(resolve(&User::default(), b"", b"").unwrap().home, "/");
    }
}
