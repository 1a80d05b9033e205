//! Networks that are being made. A daemon that is killed between the bridge and the row in the database leaves the first
//! without the second; the next one finds here what to take away.
//!
//! One small file each, gone when the network is kept or given up. After a power cut there is neither file nor bridge.

use crate::error::Result;
use corten_network::{NetworkConfig, NetworkManager};
use corten_std::{file, id};
use std::path::{Path, PathBuf};

/// Stands for a network that is being made, as long as it lives.
#[derive(Debug)]
pub(super) struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    pub(super) fn begin(folder: &Path, config: &NetworkConfig) -> Result<Self> {
        file::create_dir_all(folder)?;
        let path = folder.join(&config.id);
        let text = serde_json::to_vec(config).unwrap_or_default();
        file::write(&path, text)?;
        Ok(Self { path })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Err(error) = file::remove_file(&self.path) {
            tracing::warn!(error = %corten_std::chain(&error), "a file of a network that was made is left");
        }
    }
}

/// Takes away what was not finished. `kept` tells whether a network is in the database, by its id or its interface: what
/// it says is no rest.
pub(super) fn sweep(folder: &Path, manager: &NetworkManager, kept: impl Fn(&NetworkConfig) -> bool) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // One that was not written to its end stands for a network of which nothing was made.
        let read =
            std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<NetworkConfig>(&bytes).ok());
        if let Some(config) = read.filter(|config| !kept(config)) {
            match manager.remove_unfinished(&config) {
                Ok(()) => tracing::info!(
                    network = id::short(&config.id),
                    "took away a network that was not finished"
                ),
                Err(error) => tracing::warn!(
                    network = config.name,
                    error = %corten_std::chain(&error),
                    "what is left of a network that was not finished stays"
                ),
            }
        }
        drop(Unfinished { path });
    }
}
