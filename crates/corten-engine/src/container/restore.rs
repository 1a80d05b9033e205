//! The daemon's start: every container is found again, whatever the daemon before was doing when it died.
//!
//! | found | means | becomes |
//! | --- | --- | --- |
//! | record, shim answers | it runs, or ended just now | running; the shim tells its end again |
//! | record, exit record | it ended while no daemon was there | its end is worked through as always |
//! | record, state says running, neither of both, run folder | the shim was killed | killed, 137 |
//! | the same without a run folder | the machine was started anew | exited, 255 |
//! | record, run folder without a shim | a start was broken off | as before that start |
//! | record, its writable layer is gone | a removal was broken off | removed |
//! | snapshot, folder, cgroup, network sandbox without a record | a create or a removal was broken off | nothing |

use crate::Engine;
use crate::container::handle::{Handle, NetworkView, Request};
use crate::container::monitor::{
    KILLED_EXIT, MACHINE_ENDED, SHIM_KILLED, UNKNOWN_EXIT, read_exit, release_port, take_down,
};
use crate::container::owner::{Owner, Running};
use crate::container::record::Record;
use crate::container::state::{Lifecycle, Phase};
use crate::container::{endpoints, names, restart, save};
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_runtime::cgroup;
use corten_shim::client::{Events, Shim};
use corten_shim::protocol::{self, SOCKET_NAME, Status};
use corten_std::{Timestamp, file, id};
use corten_store::{SnapshotKey, SnapshotKind, StoreError};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a shim that was forked by the daemon before may take until its container runs.
const STARTING: Duration = Duration::from_secs(5);

/// One container as it was found.
struct Found {
    record: Record,
    life: Lifecycle,
    network: Arc<NetworkView>,
    state: FoundState,
}

enum FoundState {
    /// Nothing runs, nothing is left over.
    Still,
    /// Its shim answers.
    Live(Box<(Shim, Events, Status)>),
    /// It ended meanwhile.
    Ended(protocol::Exit),
    /// Something of a run is left over, and nothing runs.
    Leftover,
}

impl Engine {
    /// Finds everything again; see the module. `reserved` are the sockets that kept host ports meanwhile.
    pub(crate) async fn restore(&self, reserved: Vec<(String, OwnedFd)>) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        save::prepare_exits(&inner)?;
        let (records, strays) = blocking(move || save::all(&inner)).await?;
        let mut all = Vec::with_capacity(records.len());
        for record in records {
            all.push(find(&self.inner, record).await);
        }
        let live: HashSet<String> = all
            .iter()
            .filter(|found| matches!(found.state, FoundState::Live(_)))
            .map(|found| found.record.id.clone())
            .collect();
        let sandboxes: Vec<String> = all
            .iter()
            .filter(|found| live.contains(&found.record.id) && super::monitor::owns_sandbox(&found.record))
            .map(|found| found.network.sandbox_id.clone())
            .collect();
        let named: Vec<_> = all
            .iter()
            .filter(|found| live.contains(&found.record.id) && names::has_resolver(&found.network))
            .map(|found| (found.record.clone(), Arc::clone(&found.network)))
            .collect();
        let known: HashSet<String> = all.iter().map(|found| found.record.id.clone()).collect();
        let (inner, running) = (Arc::clone(&self.inner), live.clone());
        let kept = blocking(move || {
            let (for_names, reserved): (Vec<_>, Vec<_>) =
                reserved.into_iter().partition(|(name, _)| names::sandbox_of(name).is_some());
            let held: Vec<String> = reserved.iter().map(|(name, _)| name.clone()).collect();
            let kept = inner
                .network
                .restore(&sandboxes, reserved)
                .map_err(|error| EngineError::because("restoring the networks", error))?;
            let live_ports: HashSet<String> =
                inner.network.take_reserved().into_iter().map(|(name, _)| name).collect();
            for name in held.iter().filter(|name| !live_ports.contains(*name)) {
                release_port(&inner, name);
            }
            resume_names(&inner, &named, for_names);
            inner.plugged.recover(&kept);
            sweep(&inner, &known, &running, &strays)?;
            Ok(kept)
        })
        .await?;
        // Before anything ends: what still runs keeps its volumes mounted.
        for found in all.iter().filter(|found| matches!(found.state, FoundState::Live(_))) {
            for name in found.record.volumes() {
                self.inner.volumes.found_in_use(name, &found.record.id);
            }
        }
        let mut kept: HashMap<_, _> = kept.into_iter().map(|sandbox| (sandbox.id.clone(), sandbox)).collect();
        let mut starts = Vec::new();
        for mut found in all {
            if let Some(sandbox) = kept.remove(&found.network.sandbox_id)
                && live.contains(&found.record.id)
            {
                let (inner, record, old) =
                    (Arc::clone(&self.inner), found.record.clone(), (*found.network).clone());
                let mended = blocking(move || endpoints::mend(&inner, &record, old, sandbox)).await;
                match mended {
                    Ok(view) => found.network = Arc::new(view),
                    Err(error) => {
                        tracing::warn!(container = found.record.id, %error, "a network could not be mended");
                    }
                }
            }
            self.adopt(found, &mut starts).await;
        }
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            inner.volumes.unmount_unused();
            Ok(())
        })
        .await?;
        for handle in starts {
            tokio::spawn(async move {
                if let Err(error) = handle.ask(|reply| Request::Start { reply }).await {
                    tracing::warn!(container = handle.id, %error, "cannot start a container again");
                }
            });
        }
        Ok(())
    }

    /// Makes a container known as it was found, and works through what happened to it meanwhile.
    async fn adopt(&self, found: Found, starts: &mut Vec<Arc<Handle>>) {
        let Found { record, life, network, state } = found;
        self.inner.links.note(&record.host_config);
        // Two of one name cannot be: a name is taken before its record is written.
        if let Err(error) = self.inner.containers.reserve_name(&record.name, &record.id) {
            tracing::warn!(container = record.id, %error, "two containers have one name");
        }
        let (mut owner, handle) = Owner::new(self, record, life);
        self.inner.containers.insert(Arc::clone(&handle));
        match state {
            FoundState::Still => {
                if half_removed(&self.inner, &owner.record) && owner.remove(false).await.is_ok() {
                    return;
                }
                if restart::wanted_at_daemon_start(&owner.record.host_config.restart_policy, &owner.life) {
                    starts.push(handle);
                }
                owner.publish();
                owner.resume_forwarding();
            }
            FoundState::Live(connection) => {
                let (shim, events, status) = *connection;
                for exec in &status.execs {
                    self.inner.execs.adopt(&owner.record.id, &exec.exec_id, exec.started.pid);
                }
                self.inner.execs.adopt_ended(&self.inner, &owner.record.id);
                if let Some(started) = status.started {
                    let life = &mut owner.life;
                    if !life.phase.has_process() || life.pid != started.pid {
                        life.started(started.pid, started.at, false);
                    }
                }
                owner.mend_freeze().await;
                owner.running = Some(Running { shim, events, network });
                owner.watch_health();
                owner.publish_and_save();
                owner.resume_forwarding();
            }
            FoundState::Ended(exit) => {
                self.inner.execs.adopt_ended(&self.inner, &owner.record.id);
                if !owner.life.phase.has_process() {
                    owner.life.started(0, exit.at, false);
                }
                owner.resume_forwarding();
                if owner.finish(exit, &network).await == super::owner::Flow::End {
                    return;
                }
            }
            FoundState::Leftover => {
                let (inner, record) = (Arc::clone(&self.inner), Arc::clone(&owner.record));
                let cleaned = blocking(move || {
                    let _ = inner.cgroups.open(&record.id).and_then(|cgroup| cgroup.kill_all());
                    take_down(&inner, &record, &network.sandbox_id)
                })
                .await;
                if let Err(error) = cleaned {
                    tracing::warn!(container = owner.record.id, %error, "something of a container's start could not be removed");
                }
                owner.publish_and_save();
                owner.resume_forwarding();
            }
        }
        tokio::spawn(owner.run());
    }
}

/// Names are answered again in containers that run; what was kept for others is let go of.
fn resume_names(engine: &EngineInner, named: &[(Record, Arc<NetworkView>)], kept: Vec<(String, OwnedFd)>) {
    let mut by_name: BTreeMap<String, Vec<OwnedFd>> = BTreeMap::new();
    for (name, socket) in kept {
        by_name.entry(name).or_default().push(socket);
    }
    for (record, network) in named {
        let name = names::held_name(&network.sandbox_id);
        let sockets = by_name.remove(&name).unwrap_or_default();
        if let Err(error) = names::resume(engine, record, network, sockets) {
            tracing::warn!(container = record.id, %error, "a container resolves no names any more");
        }
    }
    for name in by_name.keys() {
        release_port(engine, name);
    }
}

/// How one container stands.
async fn find(engine: &Arc<EngineInner>, record: Record) -> Found {
    let mut life = save::read_state(engine, &record.id).unwrap_or_default();
    let run_dir = engine.settings.paths.running_container(&record.id);
    let network = Arc::new(save::read_network(engine, &record.id).unwrap_or_default());
    let found = |life, state| Found { record: record.clone(), life, network: Arc::clone(&network), state };
    if run_dir.join(SOCKET_NAME).exists()
        && let Some(connection) = reach(&run_dir).await
    {
        return found(life, FoundState::Live(Box::new(connection)));
    }
    if let Some(exit) = read_exit(engine, &record.id) {
        if !life.phase.has_process() {
            life.started(exit.started.pid, exit.started.at, false);
        }
        return found(life, FoundState::Ended(exit.exit));
    }
    // Of a `--rm` container no state is saved: a shim that listened tells that it was started.
    let begun = record.auto_remove() && run_dir.join(SOCKET_NAME).exists();
    if life.phase.has_process() || begun {
        if begun && !life.phase.has_process() {
            life.started(0, Timestamp::now(), false);
        }
        // The run folder is gone after a start of the machine.
        let killed = run_dir.is_dir();
        let (inner, forgotten) = (Arc::clone(engine), record.clone());
        if let Err(error) = blocking(move || crate::runtime::forget(&inner, &forgotten)).await {
            tracing::warn!(container = record.id, %error, "the runtime of a container whose shim is gone cannot forget it");
        }
        if killed { SHIM_KILLED } else { MACHINE_ENDED }.clone_into(&mut life.error);
        let exit = protocol::Exit {
            code: if killed { KILLED_EXIT } else { UNKNOWN_EXIT },
            signal: None,
            oom_killed: false,
            at: Timestamp::now(),
        };
        return found(life, FoundState::Ended(exit));
    }
    if life.phase == Phase::Restarting {
        // Its policy decides once more.
        life.restart_cancelled();
    }
    let leftover = run_dir.is_dir()
        && (!record.auto_remove() || !network.sandbox_id.is_empty() || run_dir.join(SOCKET_NAME).exists());
    found(life, if leftover { FoundState::Leftover } else { FoundState::Still })
}

/// Whether a removal was broken off: the writable layer goes first, the record last.
fn half_removed(engine: &EngineInner, record: &Record) -> bool {
    let Some(key) = &record.snapshot else { return false };
    let found = SnapshotKey::new(key).and_then(|key| engine.store.snapshots().stat(&key));
    matches!(found, Err(StoreError::NoSuchSnapshot(_)))
}

/// A connection to a shim whose container runs or has run.
async fn reach(run_dir: &std::path::Path) -> Option<(Shim, Events, Status)> {
    let (shim, events, mut status) = Shim::connect(run_dir).await.ok()?;
    let begun = tokio::time::Instant::now();
    while status.started.is_none() {
        if begun.elapsed() > STARTING {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        status = shim.status().await.ok()?;
    }
    Some((shim, events, status))
}

/// Removes what belongs to no container. Goes on where a step fails. Blocking.
fn sweep(
    engine: &EngineInner,
    known: &HashSet<String>,
    live: &HashSet<String>,
    strays: &[PathBuf],
) -> Result<()> {
    let log = |what: &str, result: Result<()>| {
        if let Err(error) = result {
            tracing::warn!(%error, what, "cannot remove what an earlier daemon left");
        }
    };
    for name in engine.cgroups.list() {
        if (id::is_full(&name) && !live.contains(&name)) || cgroup::is_spare(&name) {
            let removed = engine.cgroups.open(&name).and_then(|cgroup| {
                cgroup.kill_all()?;
                cgroup.remove()
            });
            log("cgroup", removed.map_err(|error| EngineError::because("", error)));
        }
    }
    for folder in strays {
        log("run folder", file::remove_tree(folder).map_err(EngineError::from));
    }
    let folders = engine.settings.paths.containers();
    for name in file::list(&folders)? {
        if name.to_str().is_none_or(|name| !known.contains(name)) {
            log("container's folder", file::remove_tree(folders.join(name)).map_err(EngineError::from));
        }
    }
    let mut unused: Vec<SnapshotKey> = Vec::new();
    let walked = engine.store.snapshots().walk(&mut |snapshot| {
        let key = snapshot.key.as_str();
        // A writable layer has the container's id for its key; the view of an image that it mounts, something behind it.
        let owner = match snapshot.kind {
            SnapshotKind::View => key.split_once('.').map_or(key, |(owner, _)| owner),
            _ => key,
        };
        if snapshot.kind != SnapshotKind::Committed && id::is_full(owner) && !known.contains(owner) {
            unused.push(snapshot.key);
        }
        ControlFlow::Continue(())
    });
    log("writable layer", walked.map_err(|error| EngineError::because("", error)));
    for key in unused {
        log(
            "writable layer",
            engine.store.snapshots().remove(&key).map_err(|error| EngineError::because("", error)),
        );
    }
    Ok(())
}
