//! The record of an install.

use super::Place;
use crate::error::{CliError, Result};
use corten_std::{Classified, ErrorClass, file};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The version of the document.
const VERSION: u32 = 1;

/// What was put on the machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Of this document.
    pub(crate) version: u32,
    pub(crate) files: Vec<Recorded>,
    /// Folders that were made, outer ones first.
    pub(crate) folders: Vec<PathBuf>,
}

/// One file or link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Recorded {
    /// Its path on the machine, whatever folder stood for `/` when it was put there.
    pub(crate) path: PathBuf,
    /// What may be there as ours: a digest, or `link:TARGET`.
    pub(crate) marks: Vec<String>,
}

impl Default for Record {
    fn default() -> Self {
        Self { version: VERSION, files: Vec::new(), folders: Vec::new() }
    }
}

impl Record {
    /// The record at a place; none where nothing was installed.
    ///
    /// # Errors
    /// Where it cannot be read, or is of a newer program.
    pub(crate) fn read(place: &Place) -> Result<Option<Self>> {
        let path = place.real(&place.record());
        let Some(bytes) = file::read_optional(&path)? else { return Ok(None) };
        let record: Self = serde_json::from_slice(&bytes).map_err(|error| {
            CliError::said(format!("the record of the install `{}` cannot be read: {error}", path.display()))
        })?;
        if record.version != VERSION {
            return Err(CliError::said(format!(
                "the record of the install `{}` is of version {}, which this program does not know: use the \
                 program that wrote it",
                path.display(),
                record.version
            )));
        }
        Ok(Some(record))
    }

    pub(crate) fn write(&self, place: &Place) -> Result<()> {
        let path = place.real(&place.record());
        let mut bytes = serde_json::to_vec_pretty(self).expect("paths are UTF-8, checked with the prefix");
        bytes.push(b'\n');
        Ok(file::write_atomic(path, &bytes, file::Durability::Disk)?)
    }

    pub(crate) fn find(&self, path: &Path) -> Option<&Recorded> {
        self.files.iter().find(|recorded| recorded.path == path)
    }
}

/// A hint where a failure is for want of rights.
pub(crate) fn explain(error: CliError) -> CliError {
    match &error {
        CliError::Path(cause) if cause.class() == ErrorClass::Forbidden => {
            CliError::said(format!("{}: root is needed here, or another --prefix", corten_std::chain(cause)))
        }
        _ => error,
    }
}
