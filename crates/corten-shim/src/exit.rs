//! The exit record: what a daemon that was away has to know of a container's end.

use crate::protocol::{EXIT_RECORD_NAME, ExitRecord};
use corten_std::file::{self, Durability};
use corten_std::{Classified, ErrorClass, PathError};
use std::path::{Path, PathBuf};

/// Why an exit record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ExitRecordError {
    /// The file could not be read.
    #[error("cannot read an exit record")]
    File(#[source] PathError),
    /// The file does not hold an exit record.
    #[error("`{}` is not an exit record", .path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Classified for ExitRecordError {
    fn class(&self) -> ErrorClass {
        ErrorClass::System
    }
}

/// Reads the record of a container; none: it has not ended, or its shim was killed.
///
/// # Errors
/// Where there is a file that cannot be read.
pub fn read(run_dir: &Path) -> Result<Option<ExitRecord>, ExitRecordError> {
    let path = run_dir.join(EXIT_RECORD_NAME);
    let Some(bytes) = file::read_optional(&path).map_err(ExitRecordError::File)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|source| ExitRecordError::Document { path, source })
}

/// Writes the record in one step; it survives every process, not a power cut (nor does the container).
///
/// # Errors
/// Where the folder is gone or full.
pub fn write(run_dir: &Path, record: &ExitRecord) -> Result<(), PathError> {
    let path = run_dir.join(EXIT_RECORD_NAME);
    let bytes = serde_json::to_vec(record).map_err(|error| PathError::new("write", &path, error))?;
    file::write_atomic(path, &bytes, Durability::Kernel)
}

/// Removes the record before a new start in the same folder.
///
/// # Errors
/// Where it is there and cannot be removed.
pub fn remove(run_dir: &Path) -> Result<(), PathError> {
    file::remove_file(run_dir.join(EXIT_RECORD_NAME))
}
