//! Image archives: reading Docker's and OCI's, and writing one that is both.

mod assemble;
mod bundle;
mod load;
mod referrers;
mod save;

pub(crate) use assemble::{Assembler, Item};
pub use bundle::{BundleOptions, Evidence};

use crate::Result;
use crate::commit::Batch;
use crate::ingest::discard;
use crate::store::Store;

/// Removes what a batch holds below `tmp/`, after a failure.
pub(crate) fn give_up(store: &Store, batch: &Batch) -> Result<()> {
    for staged in &batch.layers {
        discard(store, Some(&staged.folder), None)?;
    }
    for blob in &batch.blobs {
        discard(store, None, Some(blob))?;
    }
    Ok(())
}
