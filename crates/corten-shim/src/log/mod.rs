//! The container's log: writing it, and reading it again while it is written and rotated.
//!
//! Format `json-file`, Docker's: one JSON document a line,
//! `{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.000000006Z"}`. A line longer than 16 KiB is cut
//! into entries of which only the last ends with a line feed; so is a last line that never got one. Files:
//! `PATH` is being written, `PATH.1` to `PATH.N` are older, the higher the older.

mod entry;
mod reader;
mod split;
mod view;
mod watch;
mod writer;

pub use entry::LogEntry;
pub use reader::{EntryHead, LogReader, ReadOptions};
pub use split::LONGEST_PART;
pub use watch::{LogWatch, LogWatches};
pub use writer::LogWriter;

use std::path::{Path, PathBuf};

/// The path of a rotated file; 0 is the one being written.
pub fn rotated(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Removes a log with all its rotated files.
///
/// # Errors
/// The first file that could not be removed.
pub fn remove(path: &Path) -> Result<(), corten_std::PathError> {
    corten_std::file::remove_file(path)?;
    for number in 1.. {
        let rotated = rotated(path, number);
        if !rotated.exists() {
            break;
        }
        corten_std::file::remove_file(rotated)?;
    }
    Ok(())
}
