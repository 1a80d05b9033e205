//! Where a tar goes: a file that appears only when it is whole, or standard output.

use crate::context::Context;
use crate::error::{CliError, Result};
use corten_std::{PathError, file};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Where a tar goes.
#[derive(Debug)]
pub(crate) enum Target {
    /// Written beside and renamed at the end.
    File { path: PathBuf, temporary: PathBuf, file: File },
    /// Standard output.
    Output,
}

impl Target {
    /// Opens the file, or makes sure that standard output is no terminal; `purpose` is for the error, as in `save image`.
    pub(crate) fn open(context: &Context, output: Option<&str>, purpose: &str) -> Result<Self> {
        match output {
            Some(output) => {
                let path = PathBuf::from(output);
                if let Some(what) = irregular(&path) {
                    return Err(CliError::said(format!("failed to {purpose}: cannot write to {what}")));
                }
                let folder =
                    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
                if !folder.is_dir() {
                    let folder = folder.display();
                    return Err(CliError::said(format!(
                        "failed to {purpose}: invalid output path: stat {folder}: no such file or directory"
                    )));
                }
                let file = file::create(&temporary)?;
                Ok(Self::File { path, temporary, file })
            }
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
            Self::File { path, temporary, file } => {
                copy(&mut source, file)?;
                file::rename(&*temporary, &*path)?;
                Ok(())
            }
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Self::File { temporary, .. } = self {
            let _ = file::remove_file(temporary);
        }
    }
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
