//! Renames into places that must be free.

use corten_std::PathError;
use std::path::Path;

/// Renames, and fails where the new name is taken.
pub(crate) fn rename_new(from: &Path, to: &Path) -> std::result::Result<(), PathError> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
        .map_err(|error| PathError::new("rename", from, error))
}
