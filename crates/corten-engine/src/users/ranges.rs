//! Which ids of the host stand for those of containers: `--userns-remap` read against the host's own files. Pure.

use corten_oci::runtime::LinuxIdMapping;
use corten_std::{Classified, ErrorClass};

/// The user that `default` means, as in Docker.
pub const DEFAULT_USER: &str = "dockremap";

/// How many ids a range of the hint has.
const USUAL_COUNT: u32 = 65_536;

/// The texts of the files that are asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostFiles<'text> {
    /// `/etc/passwd`
    pub passwd: &'text str,
    /// `/etc/group`
    pub group: &'text str,
    /// `/etc/subuid`
    pub subuid: &'text str,
    /// `/etc/subgid`
    pub subgid: &'text str,
}

/// The maps of every container that asks for nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remap {
    /// Whose ranges they are.
    pub user: String,
    /// Users.
    pub uids: Vec<LinuxIdMapping>,
    /// Groups.
    pub gids: Vec<LinuxIdMapping>,
}

impl Remap {
    /// The maps the other way round: what is the host's becomes a container's.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let turned = |map: &[LinuxIdMapping]| {
            let turn = |range: &LinuxIdMapping| LinuxIdMapping {
                container_id: range.host_id,
                host_id: range.container_id,
                size: range.size,
            };
            map.iter().map(turn).collect()
        };
        Self { user: self.user.clone(), uids: turned(&self.uids), gids: turned(&self.gids) }
    }

    /// The map of users as the kernel reads it.
    pub fn uid_map(&self) -> String {
        corten_runtime::map_text(&self.uids)
    }

    /// The map of groups as the kernel reads it.
    pub fn gid_map(&self) -> String {
        corten_runtime::map_text(&self.gids)
    }
}

/// Why ids cannot be mapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemapError {
    /// More than one colon.
    #[error("Invalid user/group specification in --userns-remap: {0:?}")]
    Form(String),
    /// No such user or group.
    #[error("--userns-remap: there is no {kind} {name:?} in {file}")]
    Missing {
        /// `user` or `group`.
        kind: &'static str,
        /// As it was written.
        name: String,
        /// Where it was looked for.
        file: &'static str,
    },
    /// A file that is not what it should be.
    #[error("{file}, line {line}: {reason}")]
    File {
        /// The file.
        file: &'static str,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// No range.
    #[error("--userns-remap: no {kind} ids are set aside for {user:?} in {file}")]
    NoRange {
        /// `user` or `group`.
        kind: &'static str,
        /// The user.
        user: String,
        /// The file.
        file: &'static str,
        /// First id of a range that nobody has.
        free: u32,
    },
    /// Ranges that cannot be one map.
    #[error("--userns-remap: the ranges of {user:?} in {file} {reason}")]
    Ranges {
        /// The user.
        user: String,
        /// The file.
        file: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
}

impl Classified for RemapError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidParameter
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoRange { user, free, .. } => {
                Some(format!("add the line `{user}:{free}:{USUAL_COUNT}` to /etc/subuid and /etc/subgid"))
            }
            Self::Missing { .. } => Some(format!(
                "make it, or use `--userns-remap default`, which needs no user but the lines of {DEFAULT_USER:?} in \
                 /etc/subuid and /etc/subgid"
            )),
            _ => None,
        }
    }
}

type Result<T> = std::result::Result<T, RemapError>;

/// What `default`, `USER[:GROUP]` or `UID[:GID]` means; none for root, who cannot stand for itself.
///
/// # Errors
/// Where there is no such user or group, or no range for it.
pub fn remap(wanted: &str, files: &HostFiles<'_>) -> Result<Option<Remap>> {
    let parts: Vec<&str> = wanted.split(':').collect();
    let (name, group) = match parts[..] {
        [name] => (name, None),
        [name, group] => (name, Some(group)),
        _ => return Err(RemapError::Form(wanted.to_owned())),
    };
    let is_default = name == "default";
    let looked_up = if is_default { DEFAULT_USER } else { name };
    let (user, uid) = match find(files.passwd, looked_up) {
        Some((user, uid)) => (user.to_owned(), Some(uid)),
        // Nobody has to be it: the name of the ranges is enough.
        None if is_default => (DEFAULT_USER.to_owned(), None),
        None => return Err(missing("user", name, "/etc/passwd")),
    };
    if let Some(group) = group.or((!is_default).then_some(looked_up))
        && find(files.group, group).is_none()
    {
        return Err(missing("group", group, "/etc/group"));
    }
    if uid == Some(0) {
        return Ok(None);
    }
    let uids = map_of("user", "/etc/subuid", files.subuid, &user, uid)?;
    let gids = map_of("group", "/etc/subgid", files.subgid, &user, uid)?;
    Ok(Some(Remap { user, uids, gids }))
}

fn missing(kind: &'static str, name: &str, file: &'static str) -> RemapError {
    RemapError::Missing { kind, name: name.to_owned(), file }
}

/// Name and number of an entry of passwd or group, by either.
fn find<'text>(text: &'text str, wanted: &str) -> Option<(&'text str, u32)> {
    let number: Option<u32> = wanted.parse().ok();
    let entries = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        Some((name, id.trim().parse::<u32>().ok()?))
    });
    entries.into_iter().find(|(name, id)| match number {
        Some(number) => *id == number,
        None => *name == wanted,
    })
}

/// A range of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first id.
    pub first: u32,
    /// How many.
    pub count: u32,
}

impl Range {
    /// Behind its last id.
    fn end(self) -> u64 {
        u64::from(self.first) + u64::from(self.count)
    }
}

/// All ranges of a file of subordinate ids, with their owner: a name or a number.
///
/// # Errors
/// Where a line is not `OWNER:FIRST:COUNT`.
pub fn parse<'text>(file: &'static str, text: &'text str) -> Result<Vec<(&'text str, Range)>> {
    let mut all = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |reason| RemapError::File { file, line: index + 1, reason };
        let parts: Vec<&str> = line.split(':').collect();
        let [owner, first, count] = parts[..] else {
            return Err(wrong("it is not of the form OWNER:FIRST:COUNT"));
        };
        let number = |text: &str| text.parse().map_err(|_| wrong("an id or a count is no number"));
        let range = Range { first: number(first)?, count: number(count)? };
        // The largest number is nobody's: it means "leave alone".
        if range.end() > u64::from(u32::MAX) {
            return Err(wrong("the range ends behind the largest id"));
        }
        all.push((owner, range));
    }
    Ok(all)
}

fn map_of(
    kind: &'static str,
    file: &'static str,
    text: &str,
    user: &str,
    uid: Option<u32>,
) -> Result<Vec<LinuxIdMapping>> {
    let all = parse(file, text)?;
    let number = uid.map(|uid| uid.to_string());
    let own: Vec<Range> = all
        .iter()
        .filter(|(owner, range)| range.count > 0 && (*owner == user || Some(*owner) == number.as_deref()))
        .map(|(_, range)| *range)
        .collect();
    let refused = |reason| RemapError::Ranges { user: user.to_owned(), file, reason };
    if own.is_empty() {
        return Err(RemapError::NoRange { kind, user: user.to_owned(), file, free: free_range(&all) });
    }
    if own.iter().any(|range| range.first == 0) {
        return Err(refused("hold the host's root: a container would be as powerful as without"));
    }
    let overlap = |(index, one): (usize, &Range)| {
        own[..index]
            .iter()
            .any(|other| u64::from(one.first) < other.end() && u64::from(other.first) < one.end())
    };
    if own.iter().enumerate().any(overlap) {
        return Err(refused("overlap"));
    }
    let mut next = 0_u32;
    own.iter()
        .map(|range| {
            let line = LinuxIdMapping { container_id: next, host_id: range.first, size: range.count };
            next = next.checked_add(range.count).ok_or_else(|| refused("are longer than all ids"))?;
            Ok(line)
        })
        .collect()
}

/// Where a range begins that nobody has: behind all others, on a round number.
fn free_range(all: &[(&str, Range)]) -> u32 {
    let end = all.iter().map(|(_, range)| range.end()).max().unwrap_or(0).max(100_000);
    u32::try_from(end).unwrap_or(100_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str = "root:x:0:0::/:\nalice:x:1000:1000::/:\nbob:x:1001:7::/:\n";
    const GROUP: &str = "root:x:0:\nalice:x:1000:\nstaff:x:50:\n";

    fn check(wanted: &str, subuid: &str, subgid: &str) -> Result<Option<Remap>> {
        remap(wanted, &HostFiles { passwd: PASSWD, group: GROUP, subuid, subgid })
    }

    fn line(container_id: u32, host_id: u32, size: u32) -> LinuxIdMapping {
        LinuxIdMapping { container_id, host_id, size }
    }

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let file = "# ids\n\nalice:100000:65536\nbob:165536:65536\n1000:300000:10\n";
        for wanted in ["alice", "1000", "alice:staff", "1000:50", "alice:50"] {
            let remap = check(wanted, file, file).unwrap().unwrap();
            assert_eq!(remap.user, "alice");
            assert_eq!(remap.uids, [line(0, 100_000, 65_536), line(65_536, 300_000, 10)]);
            assert_eq!(remap.gids, remap.uids);
            assert_eq!(remap.inverse().uid_map(), "100000 0 65536\n300000 65536 10\n");
        }
        assert_eq!(check("root", file, file).unwrap(), None);
    }

    #[test]
    fn the_default_needs_its_lines_and_no_user() {
        let file = "dockremap:200000:65536\n";
        assert_eq!(check("default", file, file).unwrap().unwrap().uids, [line(0, 200_000, 65_536)]);
        let error = check("default", "alice:100000:65536", file).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--userns-remap: no user ids are set aside for \"dockremap\" in /etc/subuid"
        );
        let hint = error.hint().unwrap();
        assert_eq!(hint, "add the line `dockremap:165536:65536` to /etc/subuid and /etc/subgid");
        assert!(check("default", file, "").unwrap_err().to_string().contains("no group ids"));
    }

    #[test]
    fn mistakes_are_named() {
        let file = "alice:100000:65536\n";
        for (wanted, text) in [
            ("a:b:c", "Invalid user/group specification in --userns-remap: \"a:b:c\""),
            ("nobody", "there is no user \"nobody\" in /etc/passwd"),
            ("4711", "there is no user \"4711\" in /etc/passwd"),
            ("alice:nobody", "there is no group \"nobody\" in /etc/group"),
            ("bob", "there is no group \"bob\" in /etc/group"),
        ] {
            let error = check(wanted, file, file).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        for (subuid, text) in [
            ("alice:1", "/etc/subuid, line 1: it is not of the form OWNER:FIRST:COUNT"),
            ("#\nalice:x:1", "/etc/subuid, line 2: an id or a count is no number"),
            ("alice:4294967295:1", "ends behind the largest id"),
            ("alice:0:10", "hold the host's root"),
            ("alice:10:10\nalice:19:10", "overlap"),
            ("alice:10:0", "no user ids are set aside"),
        ] {
            let error = check("alice", subuid, file).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    proptest! {
        #[test]
        fn rubbish_does_not_crash(text in "[a-z0-9:#\n ]{0,80}", wanted in "[a-z0-9:]{0,9}") {
            let files = HostFiles { passwd: &text, group: &text, subuid: &text, subgid: &text };
            let _ = remap(&wanted, &files);
        }

        #[test]
        fn a_map_begins_at_root_and_has_no_hole(ranges in proptest::collection::vec((1_u32..1000, 1_u32..1000), 1..8)) {
            // Apart from each other by construction.
            let mut first = 0;
            let mut lines = Vec::new();
            let mut count = 0;
            for (gap, length) in ranges {
                lines.push(format!("alice:{}:{length}", first + gap));
                first += gap + length;
                count += length;
            }
            let file = lines.join("\n");
            let remap = check("alice", &file, &file).unwrap().unwrap();
            let mut next = 0;
            for range in remap.uids {
                prop_assert_eq!(range.container_id, next);
                next += range.size;
            }
            prop_assert_eq!(next, count);
        }

        #[test]
        fn the_free_range_is_free(ranges in proptest::collection::vec((0_u32..1_000_000, 1_u32..70_000), 0..8)) {
            let all: Vec<_> = ranges.iter().map(|&(first, count)| ("x", Range { first, count })).collect();
            let free = Range { first: free_range(&all), count: USUAL_COUNT };
            prop_assert!(all.iter().all(|(_, range)| range.end() <= u64::from(free.first)));
        }
    }
}
