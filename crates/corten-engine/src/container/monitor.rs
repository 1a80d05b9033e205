//! The end of a container's program becomes state, events, a restart or a removal.

use crate::container::handle::NetworkView;
use crate::container::owner::{Flow, Owner, Running};
use crate::container::record::{MountKind, Record};
use crate::container::state::{Exit, Phase};
use crate::container::{restart, save, signal};
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use crate::network::{NetworkDriver, NetworkFound};
use crate::runtime;
use crate::volume::blocking;
use corten_shim::protocol::{self, EXIT_RECORD_NAME, ExitRecord};
use corten_std::{Timestamp, file};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// How long what nobody waits for is put off after a container's end.
const AFTER_ANSWERS: std::time::Duration = std::time::Duration::from_millis(5);

/// The code of a program whose end nobody saw.
pub(super) const UNKNOWN_EXIT: i32 = 255;
/// The code of a program that was killed because its shim was.
pub(super) const KILLED_EXIT: i32 = 137;
/// Why a container ended whose shim was killed.
pub(super) const SHIM_KILLED: &str =
    "the shim that held the container was killed, and the container was ended with it";
/// Why a container ended that ran when the machine went down.
pub(super) const MACHINE_ENDED: &str = "the machine went down while the container ran";

impl Owner {
    /// The program ended: what it had is taken down, then everybody hears of it.
    #[tracing::instrument(name = "exit", level = "debug", skip_all)]
    pub(super) async fn ended(&mut self, exit: protocol::Exit) -> Flow {
        let Some(Running { shim, mut events, network }) = self.running.take() else { return Flow::Continue };
        let flow = self.finish(exit, &network).await;
        // Only now may the shim forget it: a daemon that dies before finds it in the shim or in the exit record.
        events.acknowledge();
        drop(shim);
        flow
    }

    /// Works an end through: network, cgroup and run folder go, then events, state, restart or removal.
    pub(super) async fn finish(&mut self, exit: protocol::Exit, network: &Arc<NetworkView>) -> Flow {
        let exit = Exit { code: exit.code, oom_killed: exit.oom_killed, at: exit.at };
        let auto_remove = self.record.auto_remove() && !std::mem::take(&mut self.restarting_by_user);
        let policy = &self.record.host_config.restart_policy;
        let again = !auto_remove && restart::wanted(policy, &self.life, exit.code);
        let ran = exit.at.since(self.life.started_at);
        self.life.ended(exit, again);
        if again {
            let delay = restart::next_delay(self.last_delay, ran);
            self.last_delay = Some(delay);
            self.restart_at = Some(Instant::now() + delay);
        }
        // The exit record lies in the folder that goes now, so the state is saved before.
        if let Err(error) = save::state(&self.engine.inner, &self.record, &self.life) {
            tracing::warn!(container = self.record.id, %error, "cannot save the state of a container");
        }
        let (engine, record, connected) =
            (Arc::clone(&self.engine.inner), Arc::clone(&self.record), Arc::clone(network));
        // Where its processes have all ended with it, nobody has to wait for its cgroup.
        let later = auto_remove && self.record.host_config.pid_mode.is_empty();
        let taken_down = blocking(move || {
            if later {
                disconnect(&engine, &record, &connected.sandbox_id)
            } else {
                take_down(&engine, &record, &connected.sandbox_id)
            }
        })
        .await;
        if later {
            remove_cgroup_later(&self.engine.inner, &self.record);
        }
        if let Err(error) = taken_down {
            tracing::warn!(container = self.record.id, %error, "something of a container's run could not be removed");
        }
        tell_disconnected(&self.engine.inner, &self.record, network);
        self.engine.inner.execs.container_ended(&self.engine.inner, &self.record);
        self.health_ended();
        if exit.oom_killed && !std::mem::take(&mut self.oom_told) {
            self.tell("oom", []);
        }
        self.tell("die", [("execDuration", ran.as_secs().to_string()), ("exitCode", exit.code.to_string())]);
        self.publish();
        if auto_remove {
            if let Err(error) = self.remove(true).await {
                tracing::warn!(container = self.record.id, %error, "cannot remove a container that ended");
            }
            if self.life.phase == Phase::Removed {
                return Flow::End;
            }
        }
        Flow::Continue
    }

    /// The shim is gone without a word: its exit record tells; where there is none it was killed, and its container
    /// has to go with it, because nobody holds its streams any more.
    pub(super) async fn shim_lost(&mut self) -> Flow {
        let (engine, id) = (Arc::clone(&self.engine.inner), self.record.id.clone());
        let exit = blocking(move || Ok(read_exit(&engine, &id))).await.ok().flatten();
        let exit = if let Some(record) = exit {
            record.exit
        } else {
            let (engine, record) = (Arc::clone(&self.engine.inner), Arc::clone(&self.record));
            let killed = blocking(move || {
                let mut failures = Vec::new();
                let killed = engine.cgroups.open(&record.id).and_then(|cgroup| cgroup.kill_all());
                keep(&mut failures, killed.map_err(|error| EngineError::because("", error)));
                keep(&mut failures, runtime::forget(&engine, &record));
                all_told(failures)
            })
            .await;
            if let Err(error) = killed {
                tracing::warn!(container = self.record.id, %error, "cannot end a container whose shim is gone");
            }
            SHIM_KILLED.clone_into(&mut self.life.error);
            protocol::Exit {
                code: KILLED_EXIT,
                signal: Some(signal::KILL),
                oom_killed: false,
                at: Timestamp::now(),
            }
        };
        self.ended(exit).await
    }

    /// Removes the container; it does not run. Goes on where a step fails, and tells all failures: the container is
    /// then dead, and can be removed once more.
    #[tracing::instrument(name = "remove", level = "debug", skip_all)]
    pub(super) async fn remove(&mut self, volumes: bool) -> Result<()> {
        match self.life.phase {
            Phase::Created | Phase::Exited | Phase::Dead => {}
            Phase::Removed => return Err(EngineError::no_such_container(&self.record.id)),
            _ => {
                return Err(EngineError::conflict(format!(
                    "cannot remove container \"{}\": container is running: stop the container before removing or force remove",
                    self.record.name
                )));
            }
        }
        self.life.phase = Phase::Removing;
        self.publish();
        // The log goes with the container: what is not sent by then is lost.
        self.forwarding.finish().await;
        self.waiting_clients.clear();
        let (engine, record) = (Arc::clone(&self.engine.inner), Arc::clone(&self.record));
        let removed = blocking(move || {
            delete(&engine, &record, volumes)?;
            if !record.host_config.cgroup_parent.is_empty()
                && let Err(error) = engine.cgroups.displace(&record.id)
            {
                tracing::warn!(container = record.id, %error, "cannot remove a cgroup");
            }
            Ok(())
        })
        .await;
        if let Err(error) = removed {
            self.life.phase = Phase::Dead;
            self.publish_and_save();
            return Err(error);
        }
        if self.record.auto_remove() {
            save::forget_exit_later(&self.engine.inner, &self.record.id);
        }
        self.engine.inner.containers.remove(&self.record.id, &self.record.name);
        self.engine.inner.execs.container_gone(&self.record.id);
        self.tell("destroy", []);
        self.life.phase = Phase::Removed;
        self.publish();
        Ok(())
    }
}

/// The shim's exit record, if it wrote one.
pub(super) fn read_exit(engine: &EngineInner, id: &str) -> Option<ExitRecord> {
    let path = engine.settings.paths.running_container(id).join(EXIT_RECORD_NAME);
    serde_json::from_slice(&file::read_optional(path).ok()??).ok()
}

/// Takes down what a run had: ports and network, cgroup, run folder. By id alone, so that it is right after a restart
/// of the daemon too; what is not there is fine. Goes on where a step fails. Blocking.
pub(super) fn take_down(engine: &EngineInner, record: &Record, sandbox: &str) -> Result<()> {
    let mut failures = Vec::new();
    keep(&mut failures, disconnect(engine, record, sandbox));
    let cgroup = engine.cgroups.open(&record.id).and_then(|cgroup| {
        if !record.host_config.pid_mode.is_empty() {
            // Its processes do not end with the first one, whose pid namespace is not their own.
            cgroup.kill_all()?;
        }
        cgroup.remove()
    });
    keep(&mut failures, cgroup.map_err(|error| EngineError::because("", error)));
    all_told(failures)
}

/// Removes the cgroup of a container that does not start again, after others have been answered: the kernel may let
/// that wait for what joins cgroups elsewhere.
fn remove_cgroup_later(engine: &Arc<EngineInner>, record: &Arc<Record>) {
    let (engine, record) = (Arc::clone(engine), Arc::clone(record));
    tokio::spawn(async move {
        tokio::time::sleep(AFTER_ANSWERS).await;
        let removed = blocking(move || {
            let removed = engine.cgroups.open(&record.id).and_then(|cgroup| cgroup.remove());
            removed.map_err(|error| EngineError::because(&format!("the cgroup of {}", record.id), error))
        });
        if let Err(error) = removed.await {
            tracing::warn!(%error, "cannot remove a cgroup");
        }
    });
}

/// Takes down ports, network and run folder. Blocking.
fn disconnect(engine: &EngineInner, record: &Record, sandbox: &str) -> Result<()> {
    let mut failures = Vec::new();
    if !sandbox.is_empty() && owns_sandbox(record) {
        keep(&mut failures, remove_sandbox(engine, sandbox));
    }
    keep(&mut failures, clear_run_folder(engine, record));
    end_volume_uses(engine, record, &mut failures);
    all_told(failures)
}

/// Lets go of the volumes that a run used.
fn end_volume_uses(engine: &EngineInner, record: &Record, failures: &mut Vec<EngineError>) {
    for name in record.volumes() {
        keep(failures, engine.volumes.end_use(name, &record.id));
    }
}

/// Removes a network sandbox, and lets go of the host ports that were kept for it.
pub(super) fn remove_sandbox(engine: &EngineInner, sandbox: &str) -> Result<()> {
    super::names::remove(engine, sandbox);
    let reserved = engine.network.reserved_of(sandbox);
    let removed = engine.network.remove_sandbox(sandbox);
    for (name, _) in reserved {
        release_port(engine, &name);
    }
    removed.map_err(|error| EngineError::because("", error))
}

/// Lets go of a host port that is kept while no daemon lives.
pub(super) fn release_port(engine: &EngineInner, name: &str) {
    if let Err(error) = engine.spawner.release(name) {
        tracing::warn!(name, %error, "a port is kept although its container is gone");
    }
}

/// Removes a run folder; of a `--rm` container all but its record and how it ended: the two stay until the container
/// itself goes, so that a daemon that dies in between does not leave one that seems never to have run.
pub(super) fn clear_run_folder(engine: &EngineInner, record: &Record) -> Result<()> {
    let folder = engine.settings.paths.running_container(&record.id);
    if !record.auto_remove() {
        return Ok(file::remove_tree(&folder)?);
    }
    for name in file::list(&folder)? {
        if name == save::RECORD || name == EXIT_RECORD_NAME {
            continue;
        }
        let path = folder.join(name);
        if path.is_dir() { file::remove_tree(path)? } else { file::remove_file(path)? }
    }
    Ok(())
}

/// Whether the container's network namespace is its own rather than the host's or another container's.
pub(super) fn owns_sandbox(record: &Record) -> bool {
    let mode = &record.host_config.network_mode;
    mode != "host" && !mode.starts_with("container:")
}

/// Deletes what a container is on disk. The record goes last: a daemon that dies before finds the container again and
/// it can be removed once more. Blocking.
fn delete(engine: &EngineInner, record: &Record, volumes: bool) -> Result<()> {
    let mut failures = Vec::new();
    if let Some(key) = &record.snapshot {
        let removed =
            corten_store::SnapshotKey::new(key).and_then(|key| engine.store.snapshots().remove(&key));
        match removed {
            Ok(()) | Err(corten_store::StoreError::NoSuchSnapshot(_)) => {}
            Err(error) => failures.push(EngineError::because("", error)),
        }
    }
    for key in record.image_views() {
        let removed =
            corten_store::SnapshotKey::new(key).and_then(|key| engine.store.snapshots().remove(&key));
        match removed {
            Ok(()) | Err(corten_store::StoreError::NoSuchSnapshot(_)) => {}
            Err(error) => failures.push(EngineError::because("", error)),
        }
    }
    keep(
        &mut failures,
        engine
            .store
            .discard(&engine.settings.paths.container(&record.id))
            .map_err(|error| EngineError::because("", error)),
    );
    if volumes {
        for name in record.anonymous_volumes() {
            let users = || users_of(engine, name, &record.id);
            match engine.volumes.discard(&engine.events, name, None, &users) {
                // Another container has it too, and it goes with the last.
                Err(error) if error.class() == corten_std::ErrorClass::Conflict => {}
                removed => keep(&mut failures, removed),
            }
        }
    }
    if failures.is_empty() {
        keep(&mut failures, save::forget(engine, &record.id, record.auto_remove()));
    }
    all_told(failures)
        .map_err(|error| EngineError::because(&format!("removing container {}", record.id), error))
}

/// Other containers that have this volume.
fn users_of(engine: &EngineInner, volume: &str, except: &str) -> Vec<String> {
    let others = engine.containers.all();
    let users = others
        .iter()
        .filter(|handle| handle.id != except && handle.view().record.volumes().any(|name| name == volume));
    users.map(|handle| handle.id.clone()).collect()
}

fn keep(failures: &mut Vec<EngineError>, result: Result<()>) {
    failures.extend(result.err());
}

/// All failures as one.
fn all_told(failures: Vec<EngineError>) -> Result<()> {
    let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
    match failures.into_iter().next() {
        None => Ok(()),
        Some(first) if texts.len() == 1 => Err(first),
        Some(first) => Err(EngineError::new(first.class(), texts.join("; "))),
    }
}

/// `volume mount` for each volume, `network connect` for each network: what Docker tells before `start`.
pub(super) fn tell_connected(engine: &EngineInner, record: &Record, network: &NetworkView) {
    for mounted in &record.mounts {
        if let MountKind::Volume { name, driver, .. } = &mounted.kind {
            let attributes = [
                ("container", record.id.clone()),
                ("destination", mounted.destination.clone()),
                ("driver", driver.clone()),
                ("propagation", mounted.propagation.clone()),
                ("read/write", (!mounted.read_only).to_string()),
            ];
            engine.events.publish("volume", "mount", name, map(attributes));
        }
    }
    tell_networks(engine, record, network, "connect");
}

fn tell_disconnected(engine: &EngineInner, record: &Record, network: &NetworkView) {
    tell_networks(engine, record, network, "disconnect");
    for mounted in &record.mounts {
        if let MountKind::Volume { name, driver, .. } = &mounted.kind {
            let attributes = [("container", record.id.clone()), ("driver", driver.clone())];
            engine.events.publish("volume", "unmount", name, map(attributes));
        }
    }
}

fn tell_networks(engine: &EngineInner, record: &Record, network: &NetworkView, action: &str) {
    for (name, endpoint) in &network.endpoints {
        let (driver, driver_name) = engine
            .networks
            .resolve(name)
            .map_or((NetworkDriver::Bridge, "bridge".to_owned()), |found| (found.driver, found.driver_name));
        let found = NetworkFound { id: endpoint.network_id.clone(), name: name.clone(), driver, driver_name };
        tell_network(engine, record, &found, action);
    }
}

/// `network connect` and `network disconnect`.
pub(super) fn tell_network(engine: &EngineInner, record: &Record, network: &NetworkFound, action: &str) {
    let attributes = [
        ("container", record.id.clone()),
        ("name", network.name.clone()),
        ("type", network.driver_name.clone()),
    ];
    engine.events.publish("network", action, &network.id, map(attributes));
}

fn map<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
