//! The file of `--cidfile`: made before the container, so that a place that cannot be written to is told before anything
//! is; gone again where no container comes to be.

use crate::error::{CliError, Result};
use corten_std::{PathError, file};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};

/// A file that waits for an ID.
#[derive(Debug)]
pub(crate) struct IdFile {
    path: String,
    file: File,
    written: bool,
}

impl IdFile {
    /// Makes the file; none where none is asked for.
    pub(crate) fn create(path: &str) -> Result<Option<Self>> {
        if path.is_empty() {
            return Ok(None);
        }
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => Ok(Some(Self { path: path.to_owned(), file, written: false })),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(CliError::said(format!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            ))),
            Err(error) => Err(CliError::said(format!(
                "failed to create the container ID file: open {path}: {}",
                corten_std::kernel_words(&error)
            ))),
        }
    }

    /// Writes the ID.
    pub(crate) fn write(mut self, id: &str) -> Result<()> {
        self.file.write_all(id.as_bytes()).map_err(|error| PathError::new("write", &self.path, error))?;
        self.written = true;
        Ok(())
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if !self.written {
            let _ = file::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_only_with_an_id_in_it() {
        let scratch = corten_testing::Scratch::new("id-file");
        let path = scratch.path().join("id").display().to_string();
        drop(IdFile::create(&path).unwrap());
        assert!(!scratch.path().join("id").exists());
        IdFile::create(&path).unwrap().unwrap().write("abc").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
        assert!(IdFile::create(&path).unwrap_err().text().contains("container ID file found"));
        assert!(IdFile::create("/nothing/here").unwrap_err().text().ends_with("no such file or directory"));
        assert!(IdFile::create("").unwrap().is_none());
    }
}
