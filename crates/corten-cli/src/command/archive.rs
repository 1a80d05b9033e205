//! Where a tar goes: a file that appears only when it is whole, or standard output.

use crate::context::Context;
use crate::error::{CliError, Result};
use corten_std::PathError;
use corten_std::file::Draft;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Where a tar goes.
#[derive(Debug)]
pub(crate) enum Target {
    /// A file that is there at the end.
    File(Option<Draft>),
    /// Standard output.
    Output,
}

impl Target {
    /// Opens the file, or makes sure that standard output is no terminal; `purpose` is for the error, as in `save image`.
    pub(crate) fn open(context: &Context, output: Option<&str>, purpose: &str) -> Result<Self> {
        match output.filter(|output| !output.is_empty()) {
            Some(output) => Ok(Self::File(Some(begin(output, purpose)?))),
            None if context.ui.is_terminal => {
                Err(CliError::said("cowardly refusing to save to a terminal. Use the -o flag or redirect"))
            }
            None => Ok(Self::Output),
        }
    }

    /// Copies everything. After a failure there is no file.
    pub(crate) fn receive(&mut self, context: &mut Context, mut source: impl Read) -> Result<()> {
        match self {
            Self::Output => copy(&mut source, &mut context.ui),
            Self::File(draft) => {
                let Some(mut draft) = draft.take() else { return Ok(()) };
                copy(&mut source, &mut draft)?;
                Ok(draft.finish()?)
            }
        }
    }
}

/// Begins the file, where there can be one.
fn begin(output: &str, purpose: &str) -> Result<Draft> {
    let path = PathBuf::from(output);
    if let Some(what) = irregular(&path) {
        return Err(CliError::said(format!("failed to {purpose}: cannot write to {what}")));
    }
    // What ends in a slash names a folder.
    let folder = match output.strip_suffix('/') {
        Some(folder) => Path::new(folder),
        None => path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")),
    };
    if !folder.is_dir() {
        let folder = folder.display();
        return Err(CliError::said(format!(
            "failed to {purpose}: invalid output path: stat {folder}: no such file or directory"
        )));
    }
    Ok(Draft::new(path)?)
}

/// What lies at a path that a file would take the place of, and that is none; in Docker's words.
fn irregular(path: &Path) -> Option<&'static str> {
    let kind = path.symlink_metadata().ok()?.file_type();
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a directory")
    } else if kind.is_symlink() {
        Some("a symbolic link directly")
    } else if kind.is_char_device() {
        Some("a character device file")
    } else if kind.is_block_device() {
        Some("a block device file")
    } else if kind.is_fifo() {
        Some("a named pipe (FIFO)")
    } else {
        Some("a Unix domain socket")
    }
}

/// Copies, telling apart whether reading or writing failed.
pub(crate) fn copy(source: &mut impl Read, target: &mut impl Write) -> Result<()> {
    let mut buffer = vec![0_u8; 256 << 10];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => target.write_all(&buffer[..count]).map_err(CliError::Output)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let source = PathError::new("receive", "the archive", error);
                return Err(source.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_when_it_is_whole_and_for_nobody_else() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = corten_testing::Scratch::new("target");
        let path = scratch.path().join("file");
        let names = || {
            let mut names: Vec<_> =
                std::fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let output = path.to_str().unwrap();
        for text in ["first", "second"] {
            let mut draft = begin(output, "save image").unwrap();
            draft.write_all(text.as_bytes()).unwrap();
            // However this process ended now, nothing would be left of it.
            assert_eq!(names().len(), usize::from(text == "second"));
            draft.finish().unwrap();
            assert_eq!(
                (names(), std::fs::read_to_string(&path).unwrap()),
                (vec!["file".into()], text.into())
            );
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        drop(begin(output, "save image").unwrap());
        let longest = scratch.path().join("n".repeat(255));
        begin(longest.to_str().unwrap(), "save image").unwrap().finish().unwrap();
        assert_eq!(names().len(), 2);
        let error = begin(&format!("{output}-none/"), "save image").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "failed to save image: invalid output path: stat {output}-none: no such file or directory"
            )
        );
        // One of a folder that cannot be written to is told before anything is asked for.
        assert!(begin("/proc/file", "save image").is_err());
    }

    #[test]
    fn what_is_no_file_stays() {
        let scratch = corten_testing::Scratch::new("target");
        let at = |name: &str| scratch.path().join(name);
        std::fs::write(at("file"), "x").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert_eq!(irregular(&at("file")), None);
        assert_eq!(irregular(&at("none")), None);
        assert_eq!(irregular(&at("link")), Some("a symbolic link directly"));
        assert_eq!(irregular(&at("socket")), Some("a Unix domain socket"));
        assert_eq!(irregular(scratch.path()), Some("a directory"));
        assert_eq!(irregular(Path::new("/dev/null")), Some("a character device file"));
    }
}
