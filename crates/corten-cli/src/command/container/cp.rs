//! `cp`: files between a container and this machine, and tars through standard input and output.
//!
//! Where things land is told in `landing`.

use crate::command::archive;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::landing::{self, Found, Landing, Source};
use crate::tar::Renamed;
use corten_client::Client;
use corten_layer::{LayerError, OwnerMapping, PackOptions, TopName, UnpackOptions};
use corten_std::{PathError, chain, file, kernel_words};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// The bit of a device in Go's `os.FileMode`.
const DEVICE: u32 = 1 << 26;

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
    for (text, what) in [(&arguments.source, "source"), (&arguments.destination, "destination")] {
        if text.is_empty() {
            return Err(CliError::said(format!("{what} can not be empty")));
        }
    }
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

fn from_container(
    context: &mut Context,
    arguments: &Arguments,
    name: &str,
    path: &str,
    here: &str,
) -> Result<u64> {
    let to_output = here == "-";
    let destination = if to_output { here.to_owned() } else { absolute(here)? };
    if !to_output {
        check_output(&destination)?;
    }
    let client = context.client()?;
    let (mut source, mut typed) = (path.to_owned(), None);
    // What cannot be told here is told by the copy.
    if arguments.follow_link
        && let Ok(stat) = client.archive_stat(name, path)
        && stat.is_link()
    {
        (source, typed) = landing::followed(path, landing::joined_link(path, &stat.link_target));
    }
    let (mut content, stat) = client.archive_get(name, &source)?;
    if to_output {
        archive::copy(&mut content, &mut context.ui)?;
        return Ok(0);
    }
    let source = Source { path: source, is_folder: stat.is_folder(), typed };
    let (destination, found) = local_destination(destination)?;
    let Landing { folder, name: new_name } = landing::landing(&source, &destination, found)?;
    // In the archive everything stands below the last part of the path that was asked for.
    let (_, old_name) = landing::split(&source.path);
    let wanted = new_name.or(source.typed);
    match wanted.filter(|wanted| *wanted != old_name) {
        None => unpack(content, &folder),
        // The names in an archive of the root begin with its slash.
        Some(wanted) if old_name == "/" => unpack(Renamed::new(content, "", &wanted), &folder),
        Some(wanted) => unpack(Renamed::new(content, &old_name, &wanted), &folder),
    }
}

/// Refuses a destination that nothing can be written to.
fn check_output(path: &str) -> Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let (folder, _) = landing::split(&landing::clean(path));
    if !exists(&folder) {
        return Err(CliError::said(format!("invalid output path: directory \"{folder}\" does not exist")));
    }
    match std::fs::metadata(path) {
        Ok(about) if about.file_type().is_block_device() || about.file_type().is_char_device() => {
            Err(CliError::said(format!(
                "invalid output path: \"{path}\" must be a directory or a regular file: got a device"
            )))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("stat", path, &error)),
    }
}

fn exists(path: &str) -> bool {
    !matches!(std::fs::metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// A failed call in the words that Docker's scripts know: `stat PATH: not a directory`.
fn failed(call: &str, path: &str, error: &io::Error) -> CliError {
    CliError::said(format!("{call} {path}: {}", kernel_words(error)))
}

/// The path from the root, with what stands at its end.
fn absolute(path: &str) -> Result<String> {
    let folder =
        std::env::current_dir().map_err(|error| PathError::new("find", "the current folder", error))?;
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", folder.display()) };
    Ok(landing::with_end_of(landing::clean(&whole), path))
}

/// Links at the end that are followed at most.
const MOST_LINKS: usize = 10;

/// The destination on this machine, links at its end followed, and what is there. Where nothing is, the folder above must be.
fn local_destination(typed: String) -> Result<(String, Found)> {
    let mut path = typed.clone();
    for _ in 0..=MOST_LINKS {
        match std::fs::symlink_metadata(&path) {
            Ok(about) if about.is_symlink() => {
                let target = std::fs::read_link(&path).map_err(|error| failed("readlink", &path, &error))?;
                path = landing::joined_link(&path, &target.to_string_lossy());
            }
            Ok(about) => return Ok((path, if about.is_dir() { Found::Folder } else { Found::Other })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (folder, _) = landing::split(&path);
                let about = std::fs::metadata(&folder).map_err(|error| failed("stat", &folder, &error))?;
                if !about.is_dir() {
                    return Err(CliError::said("not a directory"));
                }
                return Ok((path, Found::Nothing));
            }
            Err(error) => return Err(failed("lstat", &path, &error)),
        }
    }
    Err(CliError::said(format!("too many symlinks in {typed}")))
}

/// Unpacks into a folder that stands for the root: no link in it leads out. What is made belongs to whoever runs this.
fn unpack(content: impl Read, folder: &str) -> Result<u64> {
    let root = file::open(folder)?;
    let options = UnpackOptions { owner: OwnerMapping::Unchanged, no_overwrite_dir_non_dir: true };
    let unpacked =
        corten_layer::unpack(content, root.as_fd(), Path::new("/"), &options).map_err(|error| {
            let here = |path: &Path| {
                let name = path.strip_prefix("/").unwrap_or(path);
                name.display().to_string()
            };
            CliError::said(match &error {
                LayerError::OverwriteDirectory { path, .. } => {
                    format!("cannot overwrite directory \"{}\" with non-directory \"{folder}\"", here(path))
                }
                LayerError::OverwriteNonDirectory { path, .. } => {
                    format!("cannot overwrite non-directory \"{}\" with directory \"{folder}\"", here(path))
                }
                error => chain(error),
            })
        })?;
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
    let (destination, found) = container_destination(&client, name, path)?;
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
    let Landing { folder, name: new_name } = landing::landing(&source, &destination, found)?;
    let (_, own_name) = landing::split(&source.path);
    let top = new_name.or(source.typed).unwrap_or(own_name);
    let options = PackOptions { owner: OwnerMapping::Identity, top: TopName::Renamed(top.into_bytes()) };
    let root = file::open("/")?;
    let mut produce = |out: &mut dyn Write| {
        let mut counted = Counted { out, count: &mut sent };
        corten_layer::pack(root.as_fd(), Path::new(&source.path), &mut counted, &options)
            .map(drop)
            .map_err(io::Error::other)
    };
    client.archive_put(name, &folder, true, arguments.archive, &mut produce)?;
    Ok(sent)
}

/// The destination in a container, a link at its end followed, and what is there.
fn container_destination(client: &Client, name: &str, path: &str) -> Result<(String, Found)> {
    let mut destination = path.to_owned();
    let mut stat = client.archive_stat(name, path);
    if let Ok(link) = &stat
        && link.is_link()
    {
        destination = landing::joined_link(path, &link.link_target);
        stat = client.archive_stat(name, &destination);
    }
    let found = match stat {
        Ok(stat) if stat.mode & DEVICE != 0 => {
            return Err(CliError::said(format!(
                "destination \"{name}:{path}\" must be a directory or a regular file: got a device"
            )));
        }
        Ok(stat) if stat.is_folder() => Found::Folder,
        Ok(_) => Found::Other,
        // Whatever it is, the copy tells it.
        Err(_) => Found::Nothing,
    };
    Ok((destination, found))
}

/// What is copied from this machine, by a path without links on the way.
fn local_source(here: &str, follow: bool) -> Result<Source> {
    let path = absolute(here)?;
    let resolved = |path: &str| resolve(path).map(|path| path.to_string_lossy().into_owned());
    let (path, typed) = if follow {
        landing::followed(&path, resolved(&path)?)
    } else {
        // As Go splits: what stands behind the last slash is not followed.
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let folder = resolved(&format!("{folder}/"))?;
        let whole = format!("{}/{name}", folder.trim_end_matches('/'));
        let renamed = path.ends_with('/') && landing::last(&path) != landing::last(&whole);
        (whole, renamed.then(|| landing::last(&path).to_owned()))
    };
    let about = std::fs::symlink_metadata(&path).map_err(|error| failed("lstat", &path, &error))?;
    Ok(Source { path, is_folder: about.is_dir(), typed })
}

/// The path without links; what is missing is named.
fn resolve(path: &str) -> Result<PathBuf> {
    std::fs::canonicalize(path).map_err(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            return CliError::said(kernel_words(&error));
        }
        failed("lstat", &missing_part(path, MOST_LINKS).unwrap_or_else(|| path.to_owned()), &error)
    })
}

/// The first part of a path that is not there, links followed.
fn missing_part(path: &str, links: usize) -> Option<String> {
    let mut reached = PathBuf::from("/");
    for part in Path::new(path).components().skip(1) {
        let next = reached.join(part);
        if let Ok(found) = std::fs::canonicalize(&next) {
            reached = found;
            continue;
        }
        return match std::fs::read_link(&next) {
            Ok(target) => missing_part(&reached.join(target).to_string_lossy(), links.checked_sub(1)?),
            Err(_) => Some(next.to_string_lossy().into_owned()),
        };
    }
    None
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
}
