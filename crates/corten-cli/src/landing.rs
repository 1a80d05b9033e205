//! Where a copy lands: Docker's rules about paths, as plain functions.
//!
//! - a folder that exists takes the source in; any other name becomes the source;
//! - `/` at the end says that something is a folder; `/.` at the end of a source means its content alone;
//! - a link at the end of a source is followed where the path ends with `/` or `/.`, or where that is asked for; what is
//!   copied has the name that was typed, not the one that the link leads to.
//!
//! Paths are taken by their text alone; nothing here looks at a file system.

use crate::error::{CliError, Result};

/// What is known of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Folder,
    Other,
    Nothing,
}

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// With what stands at its end: `/`, `/.`.
    pub(crate) path: String,
    pub(crate) is_folder: bool,
    /// The name that was typed, where following links has changed the last part of the path.
    pub(crate) typed: Option<String>,
}

/// Whether a path says that it is a folder.
pub(crate) fn wants_folder(path: &str) -> bool {
    path.ends_with('/') || ends_with_dot(path)
}

/// Whether a path says that it is a folder's content.
pub(crate) fn ends_with_dot(path: &str) -> bool {
    last(path) == "."
}

/// The last part of a path as it is typed; `.` for nothing, `/` for the root.
pub(crate) fn last(path: &str) -> &str {
    let plain = path.trim_end_matches('/');
    match plain.rsplit('/').next() {
        Some("") | None => {
            if path.is_empty() {
                "."
            } else {
                "/"
            }
        }
        Some(name) => name,
    }
}

/// The path without doubled slashes, `.` and `..`, by its text alone.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Folder and last part of a path; `.` at its end is a part of its own.
pub(crate) fn split(path: &str) -> (String, String) {
    let mut whole = clean(path);
    if ends_with_dot(path) && whole != "." {
        if !whole.ends_with('/') {
            whole.push('/');
        }
        whole.push('.');
    }
    let name = last(&whole).to_owned();
    let folder = match whole.rsplit_once('/') {
        None => ".".to_owned(),
        Some((folder, _)) => clean(if folder.is_empty() { "/" } else { folder }),
    };
    (folder, name)
}

/// A path that was made of `typed`, with what stands at the end of that.
pub(crate) fn with_end_of(mut path: String, typed: &str) -> String {
    if !ends_with_dot(&path) && ends_with_dot(typed) {
        if !path.ends_with('/') {
            path.push('/');
        }
        path.push('.');
    }
    if !path.ends_with('/') && typed.ends_with('/') {
        path.push('/');
    }
    path
}

/// A link's target seen from where the link is.
pub(crate) fn joined_link(link: &str, target: &str) -> String {
    if target.starts_with('/') {
        return target.to_owned();
    }
    let (folder, _) = split(link);
    clean(&format!("{folder}/{target}"))
}

/// After links were followed from `typed` to `resolved`: the path to copy, and the name to give to it where that is
/// another one.
pub(crate) fn followed(typed: &str, resolved: String) -> (String, Option<String>) {
    let resolved = with_end_of(resolved, typed);
    let renamed = (last(typed) != last(&resolved)).then(|| last(typed).to_owned());
    (resolved, renamed)
}

/// Where a copy goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Landing {
    /// The folder that takes it in.
    pub(crate) folder: String,
    /// The name that it gets there; none: the name that it has.
    pub(crate) name: Option<String>,
}

/// Where a source lands, and under which name.
pub(crate) fn landing(source: &Source, destination: &str, found: Found) -> Result<Landing> {
    let renamed = || {
        let (folder, name) = split(destination);
        Ok(Landing { folder, name: Some(name) })
    };
    match found {
        Found::Folder => Ok(Landing { folder: destination.to_owned(), name: None }),
        Found::Other if source.is_folder => Err(CliError::said("cannot copy directory")),
        Found::Nothing if wants_folder(destination) && !source.is_folder => {
            Err(CliError::said("no such directory"))
        }
        Found::Other | Found::Nothing => renamed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_split() {
        for (path, cleaned) in [
            ("", "."),
            ("/", "/"),
            ("a//b/./c/..", "a/b"),
            ("../x", "../x"),
            ("/../x", "/x"),
            ("a/..", "."),
            ("a/../..", ".."),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
        for (path, folder, name) in [
            ("/a/b", "/a", "b"),
            ("/a/b/", "/a", "b"),
            ("/a/b/.", "/a/b", "."),
            ("/a", "/", "a"),
            ("/", "/", "/"),
            ("/.", "/", "."),
            ("a", ".", "a"),
            (".", ".", "."),
        ] {
            assert_eq!(split(path), (folder.to_owned(), name.to_owned()), "{path}");
        }
        for (path, part) in [("/a/.", "."), ("/a/", "a"), ("/", "/"), ("", "."), ("x", "x")] {
            assert_eq!(last(path), part, "{path}");
        }
    }

    #[test]
    fn links_keep_the_typed_name() {
        let (path, name) = followed("/x/link", "/y/target".to_owned());
        assert_eq!((path.as_str(), name.as_deref()), ("/y/target", Some("link")));
        let (path, name) = followed("/x/link/.", "/y/target".to_owned());
        assert_eq!((path.as_str(), name), ("/y/target/.", None));
        let (path, name) = followed("/x/same/", "/y/same".to_owned());
        assert_eq!((path.as_str(), name), ("/y/same/", None));
        assert_eq!(joined_link("/a/link", "b/../c"), "/a/c");
        assert_eq!(joined_link("link", "to"), "to");
        assert_eq!(joined_link("/a/link", "/to"), "/to");
    }

    #[test]
    fn things_land_where_docker_puts_them() {
        let land = |is_folder, destination: &str, found| {
            let source = Source { path: "s".to_owned(), is_folder, typed: None };
            match landing(&source, destination, found) {
                Ok(Landing { folder, name }) => format!("{folder} {}", name.as_deref().unwrap_or("same")),
                Err(error) => error.text(),
            }
        };
        for (is_folder, destination, found, expected) in [
            (false, "/tmp", Found::Folder, "/tmp same"),
            (true, "/tmp", Found::Folder, "/tmp same"),
            (false, "/tmp/new", Found::Nothing, "/tmp new"),
            (true, "/new", Found::Nothing, "/ new"),
            (true, "/new/", Found::Nothing, "/ new"),
            (false, "/none/", Found::Nothing, "no such directory"),
            (false, "/none/.", Found::Nothing, "no such directory"),
            (true, "/none/.", Found::Nothing, "/none ."),
            (true, "/file", Found::Other, "cannot copy directory"),
            (false, "/file", Found::Other, "/ file"),
            (false, "new", Found::Nothing, ". new"),
        ] {
            assert_eq!(land(is_folder, destination, found), expected, "{destination}");
        }
    }
}
