//! `cp`: files between a container and this machine, and tars through standard input and output.
//!
//! Where things land is Docker's rule: a folder that exists takes the source in, a name that does not exist becomes
//! the source, `/.` at a source's end means its content alone.

use crate::command::archive;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::tar::Renamed;
use corten_client::{Client, PathStat};
use corten_layer::{OwnerMapping, PackOptions, TopName, UnpackOptions};
use corten_std::{PathError, chain, file};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

pub(crate) const ENTRY: Entry = Entry {
    name: "container cp",
    aliases: &["cp"],
    usage: "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|- | SRC_PATH|- CONTAINER:DEST_PATH",
    count: Count::Exact(2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Copy files/folders between a container and the local filesystem
///
/// Use '-' as the source to read a tar archive from stdin
/// and extract it to a directory destination in a container.
/// Use '-' as the destination to stream a tar archive of a
/// container source to stdout.
#[derive(Debug, clap::Parser)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached
    #[arg(short, long)]
    quiet: bool,
    /// From where
    source: String,
    /// To where
    destination: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let (source, destination) = (Place::parse(&arguments.source), Place::parse(&arguments.destination));
    let copied = match (&source, &destination) {
        (Place::Container { name, path }, Place::Here(here)) => {
            from_container(context, &arguments, name, path, here)?
        }
        (Place::Here(here), Place::Container { name, path }) => {
            to_container(context, &arguments, here, name, path)?
        }
        (Place::Container { .. }, Place::Container { .. }) => {
            return Err(CliError::said("copying between containers is not supported"));
        }
        (Place::Here(_), Place::Here(_)) => {
            return Err(CliError::said("must specify at least one container source"));
        }
    };
    if !arguments.quiet && rustix::termios::isatty(io::stderr()) && arguments.destination != "-" {
        let size = corten_std::size::human_short(copied as f64);
        context.ui.note(format!("Successfully copied {size} to {}", arguments.destination));
    }
    Ok(0)
}

/// One side of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Container { name: String, path: String },
    Here(String),
}

impl Place {
    /// `container:path`; a path of this machine begins with `/` or `.` where it has a colon.
    fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some((name, path)) if !text.starts_with(['/', '.']) && !name.is_empty() => {
                Self::Container { name: name.to_owned(), path: path.to_owned() }
            }
            _ => Self::Here(text.to_owned()),
        }
    }
}

/// What is known of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Folder,
    Other,
    Nothing,
}

/// Where a source lands: in which folder, and under which name where it gets another one.
fn landing(source_is_folder: bool, destination: &str, found: Found) -> Result<(String, Option<String>)> {
    let wants_folder = destination.ends_with('/') || destination.ends_with("/.") || destination == ".";
    let (folder, name) = split(destination);
    match found {
        Found::Folder => Ok((destination.to_owned(), None)),
        Found::Other if source_is_folder => Err(CliError::said("cannot copy directory")),
        Found::Other if wants_folder => Err(CliError::said("not a directory")),
        Found::Nothing if wants_folder && !source_is_folder => Err(CliError::said("no such directory")),
        Found::Other | Found::Nothing => Ok((folder, Some(name))),
    }
}

/// Folder and last part of a path; trailing slashes do not count.
fn split(path: &str) -> (String, String) {
    let plain = path.strip_suffix("/.").unwrap_or(path).trim_end_matches('/');
    match plain.rsplit_once('/') {
        Some(("", name)) => ("/".to_owned(), name.to_owned()),
        Some((folder, name)) => (folder.to_owned(), name.to_owned()),
        None if path.starts_with('/') => ("/".to_owned(), String::new()),
        None => (".".to_owned(), plain.to_owned()),
    }
}

fn from_container(
    context: &mut Context,
    arguments: &Arguments,
    name: &str,
    path: &str,
    here: &str,
) -> Result<u64> {
    let client = context.client()?;
    let mut source = path.to_owned();
    if arguments.follow_link {
        // The target comes under the link's name; what cannot be told here is told by the copy.
        if let Ok(stat) = client.archive_stat(name, &source)
            && stat.is_link()
        {
            source = joined_link(&source, &stat);
        }
    }
    let (mut content, stat) = client.archive_get(name, &source)?;
    if here == "-" {
        archive::copy(&mut content, &mut context.ui)?;
        return Ok(0);
    }
    let only_content = path.ends_with("/.") || path == ".";
    let found = match std::fs::metadata(here) {
        Ok(metadata) if metadata.is_dir() => Found::Folder,
        Ok(_) => Found::Other,
        Err(_) => Found::Nothing,
    };
    let (folder, new_name) = landing(stat.is_folder(), here, found)?;
    // In the archive everything stands below the last part of the path that was asked for.
    let old_name = if only_content { ".".to_owned() } else { archive_name(&source, &stat) };
    let wanted =
        new_name.unwrap_or_else(|| if only_content { ".".to_owned() } else { archive_name(path, &stat) });
    if !Path::new(&folder).is_dir() {
        return Err(CliError::said(format!("invalid output path: directory \"{folder}\" does not exist")));
    }
    let unpacked = if wanted == old_name {
        unpack(content, &folder)?
    } else {
        unpack(Renamed::new(content, &old_name, &wanted), &folder)?
    };
    Ok(unpacked)
}

/// The name that an archive's top entry has.
fn archive_name(path: &str, stat: &PathStat) -> String {
    let (_, name) = split(path);
    if name.is_empty() { stat.name.clone() } else { name }
}

fn joined_link(path: &str, stat: &PathStat) -> String {
    if stat.link_target.starts_with('/') {
        return stat.link_target.clone();
    }
    let (folder, _) = split(path);
    format!("{folder}/{}", stat.link_target)
}

/// Unpacks into a folder that stands for the root: no link in it leads out.
fn unpack(content: impl Read, folder: &str) -> Result<u64> {
    let root = file::open(folder)?;
    let owner =
        if rustix::process::geteuid().is_root() { OwnerMapping::Identity } else { OwnerMapping::Unchanged };
    let options = UnpackOptions { owner, no_overwrite_dir_non_dir: true };
    let unpacked = corten_layer::unpack(content, root.as_fd(), Path::new("/"), &options)
        .map_err(|error| CliError::said(chain(&error)))?;
    Ok(unpacked.content_size)
}

fn to_container(
    context: &mut Context,
    arguments: &Arguments,
    here: &str,
    name: &str,
    path: &str,
) -> Result<u64> {
    let client = context.client()?;
    let (destination, found) = resolved(&client, name, path)?;
    let mut sent = 0_u64;
    if here == "-" {
        if found != Found::Folder {
            return Err(CliError::said(format!("destination \"{name}:{path}\" must be a directory")));
        }
        let mut produce =
            |out: &mut dyn Write| io::copy(&mut io::stdin().lock(), out).map(|count| sent = count);
        client.archive_put(name, &destination, true, arguments.archive, &mut produce)?;
        return Ok(sent);
    }
    let source = local_source(here, arguments.follow_link)?;
    let (folder, new_name) = landing(source.is_folder, &destination, found)?;
    let top = match new_name {
        _ if source.only_content && found == Found::Folder => TopName::Omitted,
        Some(new_name) => TopName::Renamed(new_name.into_bytes()),
        None => TopName::Renamed(source.name.clone().into_bytes()),
    };
    let options = PackOptions { owner: OwnerMapping::Identity, top };
    let root = file::open("/")?;
    let mut produce = |out: &mut dyn Write| {
        let mut counted = Counted { out, count: &mut sent };
        corten_layer::pack(root.as_fd(), &source.path, &mut counted, &options)
            .map(drop)
            .map_err(io::Error::other)
    };
    client.archive_put(name, &folder, true, arguments.archive, &mut produce)?;
    Ok(sent)
}

/// The destination in a container, links followed, and what is there.
fn resolved(client: &Client, name: &str, path: &str) -> Result<(String, Found)> {
    let mut destination = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
    if !destination.starts_with('/') {
        destination.insert(0, '/');
    }
    let stat = client.archive_stat(name, &destination);
    let stat = match stat {
        Ok(stat) if stat.is_link() => {
            destination = joined_link(&destination, &stat);
            client.archive_stat(name, &destination)
        }
        stat => stat,
    };
    let found = match stat {
        Ok(stat) if stat.is_folder() => Found::Folder,
        Ok(_) => Found::Other,
        Err(error) if error.is_not_found() => Found::Nothing,
        Err(error) => return Err(error.into()),
    };
    Ok((destination, found))
}

/// What is copied from this machine.
#[derive(Debug)]
struct LocalSource {
    /// Absolute.
    path: PathBuf,
    /// What it is called in the container where nothing else is said.
    name: String,
    is_folder: bool,
    /// `/.` at the end.
    only_content: bool,
}

fn local_source(here: &str, follow: bool) -> Result<LocalSource> {
    let only_content = here.ends_with("/.") || here == ".";
    let follow = follow || here.ends_with('/') || only_content;
    let folder =
        std::env::current_dir().map_err(|error| PathError::new("find", "the current folder", error))?;
    let absolute = folder.join(here.trim_end_matches('/'));
    let absolute = if here.chars().all(|letter| letter == '/') { PathBuf::from("/") } else { absolute };
    let missing = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            CliError::said(format!("lstat {}: no such file or directory", absolute.display()))
        }
        _ => PathError::new("look at", &absolute, error).into(),
    };
    let metadata = if follow { std::fs::metadata(&absolute) } else { std::fs::symlink_metadata(&absolute) };
    let metadata = metadata.map_err(missing)?;
    // Without links on the way, so that packing need not follow any.
    let path = if follow {
        std::fs::canonicalize(&absolute).map_err(missing)?
    } else {
        let (parent, name) = (absolute.parent(), absolute.file_name());
        let parent = std::fs::canonicalize(parent.unwrap_or(Path::new("/"))).map_err(missing)?;
        name.map_or_else(|| parent.clone(), |name| parent.join(name))
    };
    let (_, name) = split(here);
    let name = if name.is_empty() || name == "." || name == ".." {
        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    } else {
        name
    };
    Ok(LocalSource { path, name, is_folder: metadata.is_dir(), only_content })
}

struct Counted<'a> {
    out: &'a mut dyn Write,
    count: &'a mut u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        *self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_by_their_colon() {
        let container =
            |name: &str, path: &str| Place::Container { name: name.to_owned(), path: path.to_owned() };
        for (text, expected) in [
            ("c1:/etc", container("c1", "/etc")),
            ("c1:", container("c1", "")),
            ("./a:b", Place::Here("./a:b".to_owned())),
            ("/a:b", Place::Here("/a:b".to_owned())),
            ("-", Place::Here("-".to_owned())),
            ("plain", Place::Here("plain".to_owned())),
        ] {
            assert_eq!(Place::parse(text), expected);
        }
    }

    #[test]
    fn things_land_where_docker_puts_them() {
        let land = |folder, destination: &str, found| match landing(folder, destination, found) {
            Ok((folder, name)) => format!("{folder} {}", name.as_deref().unwrap_or("same")),
            Err(error) => error.text(),
        };
        for (is_folder, destination, found, expected) in [
            (false, "/tmp", Found::Folder, "/tmp same"),
            (true, "/tmp", Found::Folder, "/tmp same"),
            (false, "/tmp/new", Found::Nothing, "/tmp new"),
            (true, "/new", Found::Nothing, "/ new"),
            (true, "/new/", Found::Nothing, "/ new"),
            (false, "/none/", Found::Nothing, "no such directory"),
            (true, "/file", Found::Other, "cannot copy directory"),
            (false, "/file", Found::Other, "/ file"),
            (false, "new", Found::Nothing, ". new"),
        ] {
            assert_eq!(land(is_folder, destination, found), expected, "{destination}");
        }
    }
}
