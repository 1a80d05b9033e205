//! What containers occupy.

use crate::Engine;
use crate::container::record::Record;
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_std::file;
use corten_store::{SnapshotKey, StoreError};
use std::collections::HashMap;
use std::sync::Arc;

/// Containers that one thread measures; more are measured by several.
const PART: usize = 100;

/// What is measured of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// The bytes of the files that it has written.
    Content,
    /// What of the disk goes with it: its writable layer, its logs and records, in blocks.
    Disk,
}

impl Engine {
    /// For each container what it has written, and this with the files of its image. Zero for one that is gone.
    pub(crate) async fn container_sizes(
        &self,
        records: Vec<Arc<Record>>,
        measure: Measure,
    ) -> Result<Vec<(i64, i64)>> {
        if records.is_empty() {
            // No thread is woken for nothing: most prunes find nothing to do.
            return Ok(Vec::new());
        }
        let engine = self.clone();
        blocking(move || {
            let mut images = HashMap::new();
            for record in &records {
                images.entry(record.image.as_str()).or_insert_with(|| {
                    engine.inner.store.images().resolve(&record.image).map_or(0, |image| image.unpacked_size)
                });
            }
            let written = |records: &[Arc<Record>]| -> Result<Vec<u64>> {
                records.iter().map(|record| engine.written(record, measure)).collect()
            };
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let parts = records.len().div_ceil(PART).clamp(1, cores);
            let parts: Vec<&[Arc<Record>]> = records.chunks(records.len().div_ceil(parts).max(1)).collect();
            let written: Vec<u64> = match parts.as_slice() {
                [] => Vec::new(),
                [all] => written(all)?,
                parts => std::thread::scope(|scope| {
                    let workers: Vec<_> = parts.iter().map(|part| scope.spawn(|| written(part))).collect();
                    let parts = workers
                        .into_iter()
                        .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
                    parts.collect::<Result<Vec<_>>>()
                })?
                .concat(),
            };
            let sizes = records.iter().zip(written).map(|(record, written)| {
                let below = images.get(record.image.as_str()).copied().unwrap_or_default();
                (written as i64, (written + below) as i64)
            });
            Ok(sizes.collect())
        })
        .await
    }

    fn written(&self, record: &Record, measure: Measure) -> Result<u64> {
        let snapshots = self.inner.store.snapshots();
        let key = record.snapshot.as_ref().map(|key| SnapshotKey::new(key)).transpose();
        let Some(key) = key.map_err(|error| EngineError::because("", error))? else { return Ok(0) };
        let measured = match measure {
            Measure::Content => snapshots.usage(&key).map(|usage| usage.size),
            Measure::Disk => snapshots.folder(&key).map(|files| {
                file::occupied(files.parent().unwrap_or(&files))
                    + file::occupied(self.inner.settings.paths.container(&record.id))
            }),
        };
        match measured {
            // Removed since it was listed.
            Err(StoreError::NoSuchSnapshot(_)) => Ok(0),
            measured => measured.map_err(|error| EngineError::because("", error)),
        }
    }
}
