//! Names in archives as paths inside a root.
//!
//! A *clean* path is relative to the root, has no empty part, no `.` and no `..`; the root itself is the empty path.
//! It is bytes: archives and Linux file systems do not promise any encoding.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::LayerError;

/// Bytes as a path, whatever their encoding.
pub(crate) fn to_path_buf(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// Cleans a name of an archive without looking at the disk: `./a//b/../c/` is `a/c`, `/etc` is `etc`.
///
/// # Errors
/// A name that climbs above its beginning, and one with a zero byte.
pub(crate) fn clean<'a>(name: &'a [u8], what: &'static str) -> Result<Cow<'a, [u8]>, LayerError> {
    clean_with(name, || Err(LayerError::Outside { path: to_path_buf(name), what }))
}

/// The same for a path that a user typed: above the root is the root, as in a shell.
pub(crate) fn clean_typed(name: &[u8]) -> Result<Cow<'_, [u8]>, LayerError> {
    clean_with(name, || Ok(()))
}

fn clean_with(name: &[u8], above: impl Fn() -> Result<(), LayerError>) -> Result<Cow<'_, [u8]>, LayerError> {
    if name.contains(&0) {
        return Err(LayerError::Name { path: to_path_buf(name), reason: "it holds a zero byte" });
    }
    let trimmed = trim_slashes(name);
    if trimmed.split(|&byte| byte == b'/').all(|part| !matches!(part, b"" | b"." | b"..")) {
        return Ok(Cow::Borrowed(trimmed));
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in trimmed.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if parts.pop().is_none() {
                    above()?;
                }
            }
            part => parts.push(part),
        }
    }
    Ok(Cow::Owned(parts.join(&b'/')))
}

/// The folder and the last part of a clean path; `None` for the root.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    })
}

/// Joins a clean path and one more part.
pub(crate) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(folder.len() + 1 + name.len());
    path.extend_from_slice(folder);
    if !folder.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// The last part of a path as typed, as Go's `filepath.Base`: `/` for the root, `.` for `d/.`.
pub(crate) fn last_part(path: &[u8]) -> &[u8] {
    if path.is_empty() {
        return b".";
    }
    let mut trimmed = path;
    while let [rest @ .., b'/'] = trimmed {
        trimmed = rest;
    }
    if trimmed.is_empty() {
        return b"/";
    }
    trimmed.rsplit(|&byte| byte == b'/').next().unwrap_or(trimmed)
}

/// Whether a path as typed can only mean a folder (and follows a link at its end): `/`, `d/`, `d/.`.
pub(crate) fn wants_folder(path: &[u8]) -> bool {
    path.is_empty() || path == b"." || path.ends_with(b"/") || path.ends_with(b"/.")
}

fn trim_slashes(mut name: &[u8]) -> &[u8] {
    while let [b'/', rest @ ..] = name {
        name = rest;
    }
    while let [rest @ .., b'/'] = name {
        name = rest;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_as_text() {
        for (name, expected) in [
            ("a/b", "a/b"),
            ("./a/b", "a/b"),
            ("/a//b/", "a/b"),
            ("a/./b/.", "a/b"),
            ("a/../b", "b"),
            ("a/b/../../c", "c"),
            (".", ""),
            ("./", ""),
            ("/", ""),
            ("", ""),
            ("..a/b..", "..a/b.."),
        ] {
            assert_eq!(clean(name.as_bytes(), "name").unwrap(), expected.as_bytes(), "{name}");
        }
    }

    #[test]
    fn the_last_part_is_as_typed() {
        for (path, expected, folder) in
            [("/", "/", true), ("/d", "d", false), ("/d/", "d", true), ("/d/.", ".", true), ("", ".", true)]
        {
            assert_eq!(last_part(path.as_bytes()), expected.as_bytes(), "{path}");
            assert_eq!(wants_folder(path.as_bytes()), folder, "{path}");
        }
    }

    #[test]
    fn names_that_climb_out_are_refused() {
        for name in ["..", "../a", "a/../../b", "/..", "./../etc/passwd"] {
            let error = clean(name.as_bytes(), "its name").unwrap_err();
            assert_eq!(error.to_string(), format!("`{name}` leads outside of the root (its name)"));
        }
        assert!(clean(b"a\0b", "name").is_err());
    }
}
