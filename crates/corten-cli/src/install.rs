//! What `install` puts on a machine, and the record by which `uninstall` takes just that away.
//!
//! The record lies beside what it is about (`PREFIX/share/corten/installed.json`). It is written before the first file
//! is put, with the old and the new content of each, and again at the end with the new alone: after a death in between,
//! whatever is there is known as ours.

mod items;
mod record;

pub(crate) use items::docker_unit;
pub(crate) use items::{Item, Place, Wanted, items};
pub(crate) use record::{Record, explain};

use crate::error::{CliError, Result};
use corten_oci::digest::Hasher;
use corten_std::{PathError, file};
use record::Recorded;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The content of a file, of a link, or of the program that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A file of these bytes.
    Text(String),
    /// A copy of this program.
    Program,
    /// A symbolic link to this.
    Link(String),
}

impl Content {
    /// What the record calls it.
    fn mark(&self) -> Result<String> {
        match self {
            Self::Text(text) => Ok(corten_oci::digest::Digest::of(text).to_string()),
            Self::Program => mark_of_file(Path::new("/proc/self/exe")),
            Self::Link(target) => Ok(link_mark(target)),
        }
    }
}

fn link_mark(target: &str) -> String {
    format!("link:{target}")
}

fn mark_of_file(path: &Path) -> Result<String> {
    let mut hasher = Hasher::new();
    io::copy(&mut file::open(path)?, &mut hasher).map_err(|error| PathError::new("read", path, error))?;
    Ok(hasher.finish().to_string())
}

/// What is at a path now; none where nothing is.
fn mark_of(path: &Path) -> Result<Option<String>> {
    let failed = |error| PathError::new("look at", path, error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error).into()),
        Ok(found) if found.is_symlink() => {
            let target = fs::read_link(path).map_err(failed)?;
            Ok(Some(link_mark(&target.to_string_lossy())))
        }
        Ok(found) if found.is_file() => mark_of_file(path).map(Some),
        Ok(_) => Ok(Some("something else".to_owned())),
    }
}

/// What will be done with one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing is there, or what an earlier install put: it is put in its place.
    Put,
    /// The same is there, and was not put by an install: it stays, and is nobody's.
    Keep,
}

/// What will be done with each item; nothing has changed yet.
///
/// # Errors
/// Where something is in the way that no install put there; all such places are named.
pub(crate) fn plan(place: &Place, items: Vec<Item>, record: &Record) -> Result<Vec<(Item, Step)>> {
    let mut planned = Vec::new();
    let mut in_the_way = Vec::new();
    for item in items {
        let found = mark_of(&place.real(&item.path))?;
        let recorded = record.find(&item.path);
        let step = match (&found, recorded) {
            (None, _) => Step::Put,
            (Some(found), Some(recorded)) if recorded.marks.contains(found) => Step::Put,
            (Some(found), None) if *found == item.content.mark()? => Step::Keep,
            (Some(_), recorded) => {
                let why =
                    if recorded.is_some() { "was changed since" } else { "was not put there by install" };
                in_the_way.push(format!("`{}` {why}", place.real(&item.path).display()));
                continue;
            }
        };
        planned.push((item, step));
    }
    if in_the_way.is_empty() {
        return Ok(planned);
    }
    Err(CliError::said(format!(
        "nothing was installed: {}; move it away, or install elsewhere with --prefix",
        in_the_way.join(", ")
    )))
}

/// Puts everything in its place, with its record. What fails before the last moment leaves nothing behind.
pub(crate) fn put(place: &Place, planned: &[(Item, Step)], old: &Record) -> Result<()> {
    let mut undo = Undo::default();
    let mut record = Record { folders: old.folders.clone(), ..Record::default() };
    let put: Vec<&Item> =
        planned.iter().filter(|(_, step)| *step == Step::Put).map(|(item, _)| item).collect();
    let mut staged = Vec::new();
    let record_path = place.record();
    let paths = put.iter().map(|item| item.path.as_path()).chain([record_path.as_path()]);
    for folder in paths.filter_map(Path::parent) {
        make_folders(place, folder, &mut record, &mut undo)?;
    }
    for item in put {
        let real = place.real(&item.path);
        staged.push((stage(&real, item, &mut undo)?, real));
        let mut marks = vec![item.content.mark()?];
        marks.extend(old.find(&item.path).into_iter().flat_map(|recorded| recorded.marks.clone()));
        record.files.push(Recorded { path: item.path.clone(), marks });
    }
    // What an earlier one put and this one does not: still ours to take away.
    let left = old.files.iter().filter(|file| record.find(&file.path).is_none()).cloned();
    let left: Vec<_> = left.collect();
    record.files.extend(left);
    record.write(place)?;
    for (temporary, real) in &staged {
        let is_new = is_free(real);
        if let Err(error) = file::rename(temporary, real) {
            // What was replaced already is as new as what stays: the record has both.
            if old.files.is_empty() {
                undo.files.push(place.real(&record_path));
            }
            return Err(error.into());
        }
        if is_new {
            undo.files.push(real.clone());
        }
    }
    undo.forget();
    for recorded in &mut record.files {
        recorded.marks.truncate(1);
    }
    record.write(place)
}

/// Whether nothing is there.
fn is_free(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err()
}

/// Makes the folders that are missing above a file, and records them.
fn make_folders(place: &Place, folder: &Path, record: &mut Record, undo: &mut Undo) -> Result<()> {
    let mut missing: Vec<&Path> =
        folder.ancestors().take_while(|folder| !place.real(folder).exists()).collect();
    missing.reverse();
    for folder in missing {
        let real = place.real(folder);
        file::create_dir(&real, 0o755)?;
        undo.folders.push(real);
        record.folders.push(folder.to_owned());
    }
    Ok(())
}

/// Makes the new file or link beside its place.
fn stage(real: &Path, item: &Item, undo: &mut Undo) -> Result<PathBuf> {
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    let temporary = real.with_file_name(format!(".{name}.{}.new", std::process::id()));
    undo.files.push(temporary.clone());
    let failed = |error| PathError::new("write", &temporary, error);
    let new = |mode| {
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        // Whatever the umask is.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        Ok(file)
    };
    match &item.content {
        Content::Text(text) => {
            new(0o644).and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)?;
        }
        Content::Program => {
            let program = file::open("/proc/self/exe")?;
            let length = program.metadata().map_err(failed)?.size();
            let copied = new(0o755).and_then(|mut file| {
                let copied = io::copy(&mut program.take(length), &mut file)?;
                file.sync_all().map(|()| copied)
            });
            if copied.map_err(failed)? != length {
                return Err(failed(io::ErrorKind::UnexpectedEof.into()).into());
            }
        }
        Content::Link(target) => std::os::unix::fs::symlink(target, &temporary).map_err(failed)?,
    }
    Ok(temporary)
}

/// What an install that fails takes back.
#[derive(Debug, Default)]
struct Undo {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Undo {
    fn forget(&mut self) {
        self.files.clear();
        self.folders.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        for folder in self.folders.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// What `uninstall` does with one recorded file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// As it was put there.
    Remove,
    /// Somebody changed it: it stays.
    Changed,
    /// It is gone already.
    Gone,
}

/// What will be done with each recorded file.
pub(crate) fn removals(place: &Place, record: &Record) -> Result<Vec<(PathBuf, Removal)>> {
    let removal = |recorded: &Recorded| {
        let removal = match mark_of(&place.real(&recorded.path))? {
            None => Removal::Gone,
            Some(found) if recorded.marks.contains(&found) => Removal::Remove,
            Some(_) => Removal::Changed,
        };
        Ok((recorded.path.clone(), removal))
    };
    record.files.iter().map(removal).collect()
}

/// Removes the files and the folders that are empty then; what stays, stays recorded.
pub(crate) fn remove(place: &Place, removals: &[(PathBuf, Removal)], mut record: Record) -> Result<()> {
    for (path, removal) in removals {
        if *removal == Removal::Remove {
            file::remove_file(place.real(path))?;
        }
    }
    let changed =
        |path: &Path| removals.iter().any(|(other, removal)| other == path && *removal == Removal::Changed);
    record.files.retain(|recorded| changed(&recorded.path));
    if record.files.is_empty() {
        file::remove_file(place.real(&place.record()))?;
    } else {
        record.write(place)?;
    }
    // The inner ones were made last. One that holds something else is not empty, and stays.
    for folder in record.folders.iter().rev() {
        let _ = fs::remove_dir(place.real(folder));
    }
    Ok(())
}
