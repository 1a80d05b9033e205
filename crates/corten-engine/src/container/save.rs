//! Saving and forgetting; where what lies is told in `record`.

use crate::container::handle::NetworkView;
use crate::container::record::Record;
use crate::container::state::Lifecycle;
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use corten_shim::protocol::{EXIT_RECORD_NAME, ExitRecord};
use corten_std::file::{self, Durability};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The database's table.
pub(super) const TABLE: &str = "containers";
/// A `--rm` container's record in its run folder.
pub(super) const RECORD: &str = "container.json";
/// How a running container is connected, in its run folder.
const NETWORK: &str = "network.json";
/// A container's lifecycle in its folder.
const STATE: &str = "state.json";
/// Exit codes of `--rm` containers that are gone, in the exec root.
const EXITS: &str = "exits";
/// How long those are kept: clients that follow a daemon through its restart give up sooner.
const EXIT_KEPT: Duration = Duration::from_secs(10);

/// Saves a record so that it survives what it must: a power cut, or for `--rm` the death of every process.
pub(super) fn record(engine: &EngineInner, record: &Record) -> Result<()> {
    if !record.auto_remove() {
        return engine
            .store
            .records(TABLE)
            .put(&record.id, record)
            .map_err(|error| EngineError::because("saving the container", error));
    }
    let folder = engine.settings.paths.running_container(&record.id);
    file::create_dir_all(&folder)?;
    let bytes = serde_json::to_vec(record)
        .map_err(|error| EngineError::from_error("writing the container's record", error))?;
    file::write_atomic(folder.join(RECORD), &bytes, Durability::Kernel)?;
    Ok(())
}

/// Takes a record away. Of a `--rm` container the whole run folder goes, the record before all else: without it the
/// rest is a stray that the next daemon removes. Its exit code stays a little for who still waits for it.
pub(super) fn forget(engine: &EngineInner, id: &str, auto_remove: bool) -> Result<()> {
    if auto_remove {
        let folder = engine.settings.paths.running_container(id);
        // None where it never ran.
        let _ = std::fs::hard_link(folder.join(EXIT_RECORD_NAME), exits(engine).join(id));
        file::remove_file(folder.join(RECORD))?;
        return Ok(file::remove_tree(folder)?);
    }
    engine
        .store
        .records::<Record>(TABLE)
        .delete(id)
        .map_err(|error| EngineError::because("forgetting the container", error))
}

/// Forgets how a `--rm` container's earlier run ended, when a user starts it again.
pub(super) fn clear_exit(engine: &EngineInner, record: &Record) {
    if record.auto_remove() {
        let _ = file::remove_file(engine.settings.paths.running_container(&record.id).join(EXIT_RECORD_NAME));
    }
}

/// The folder of exit codes of `--rm` containers that are gone.
fn exits(engine: &EngineInner) -> PathBuf {
    engine.settings.paths.exec_root.join(EXITS)
}

/// Makes the folder of exit codes, and forgets those that an earlier daemon left there in due time.
pub(super) fn prepare_exits(engine: &Arc<EngineInner>) -> Result<()> {
    let folder = exits(engine);
    file::create_dir_all(&folder)?;
    for name in file::list(&folder)? {
        forget_exit_later(engine, &name.to_string_lossy());
    }
    Ok(())
}

/// How a `--rm` container ended that is gone: for a client that waited when the daemon died, and asks the next one.
pub(super) fn read_exit_of_gone(engine: &EngineInner, id: &str) -> Option<ExitRecord> {
    if !corten_std::id::is_full(id) {
        return None;
    }
    serde_json::from_slice(&file::read_optional(exits(engine).join(id)).ok()??).ok()
}

/// Forgets how a container ended that is gone, when nobody asks any more.
pub(super) fn forget_exit_later(engine: &EngineInner, id: &str) {
    let path = exits(engine).join(id);
    tokio::spawn(async move {
        tokio::time::sleep(EXIT_KEPT).await;
        let _ = file::remove_file(path);
    });
}

/// The records that were saved, of both kinds, and the run folders without one.
pub(super) fn all(engine: &EngineInner) -> Result<(Vec<Record>, Vec<PathBuf>)> {
    let rows = engine.store.records::<Record>(TABLE).list();
    let mut records: Vec<Record> = rows
        .map_err(|error| EngineError::because("reading the containers", error))?
        .into_iter()
        .map(|(_, record)| record)
        .collect();
    let durable: HashSet<String> = records.iter().map(|record| record.id.clone()).collect();
    let mut strays = Vec::new();
    let running = engine.settings.paths.running();
    for name in file::list(&running)? {
        let folder = running.join(&name);
        if name.to_str().is_some_and(|name| durable.contains(name)) {
            continue;
        }
        let bytes = file::read_optional(folder.join(RECORD)).unwrap_or_default().unwrap_or_default();
        match serde_json::from_slice::<Record>(&bytes) {
            Ok(record) if *record.id == *name.to_string_lossy() => records.push(record),
            _ => strays.push(folder),
        }
    }
    Ok((records, strays))
}

/// Saves what became of a container; not of a `--rm` one, whose state is what its shim says.
pub(super) fn state(engine: &EngineInner, record: &Record, life: &Lifecycle) -> Result<()> {
    if record.auto_remove() {
        return Ok(());
    }
    let bytes = serde_json::to_vec(life)
        .map_err(|error| EngineError::from_error("writing the container's state", error))?;
    let path = engine.settings.paths.container(&record.id).join(STATE);
    file::write_atomic(path, &bytes, Durability::Kernel)?;
    Ok(())
}

/// What became of a container, as far as that was saved.
pub(super) fn read_state(engine: &EngineInner, id: &str) -> Option<Lifecycle> {
    let bytes = file::read_optional(engine.settings.paths.container(id).join(STATE)).ok()??;
    serde_json::from_slice(&bytes).ok()
}

/// Saves how a container is connected, so that a daemon started anew finds its sandbox.
pub(super) fn network(engine: &EngineInner, record: &Record, network: &NetworkView) -> Result<()> {
    let bytes = serde_json::to_vec(network)
        .map_err(|error| EngineError::from_error("writing the network's state", error))?;
    let path = engine.settings.paths.running_container(&record.id).join(NETWORK);
    file::write_atomic(path, &bytes, Durability::Kernel)?;
    Ok(())
}

/// How a container was connected, as far as that was saved.
pub(super) fn read_network(engine: &EngineInner, id: &str) -> Option<NetworkView> {
    let bytes = file::read_optional(engine.settings.paths.running_container(id).join(NETWORK)).ok()??;
    serde_json::from_slice(&bytes).ok()
}
