//! Leases: what a process still needs although no image or container names it yet. Not a timer: a lease ends
//! when it is dropped by name, or when the process that holds it is gone (its id, start time and the machine's
//! boot tell it from a later process with the same id).

use crate::database::{Database, LEASES};
use crate::snapshots::SnapshotKey;
use crate::{Result, StoreError};
use corten_oci::Digest;
use corten_std::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;

/// Which process: a process id is used again, together with start time and boot it is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Process id.
    pub pid: u32,
    /// Clock ticks from boot to its start (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

impl ProcessIdentity {
    /// This process.
    pub fn current() -> Result<Self> {
        Self::of(std::process::id())?.ok_or_else(|| StoreError::System {
            operation: "read this process's identity",
            source: io::ErrorKind::NotFound.into(),
        })
    }

    /// The process with this id; none where there is none.
    pub fn of(pid: u32) -> Result<Option<Self>> {
        let stat = match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::System { operation: "read a process's identity", source }),
        };
        // The second field is the program's name in parentheses and may hold spaces and parentheses itself.
        let start_time = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19))
            .and_then(|text| text.parse().ok());
        let Some(start_time) = start_time else { return Ok(None) };
        Ok(Some(Self { pid, start_time, boot_id: boot_id()? }))
    }

    /// Whether that very process is still there.
    pub fn is_alive(&self) -> bool {
        matches!(Self::of(self.pid), Ok(Some(now)) if now == *self)
    }
}

/// The machine's present boot.
pub(crate) fn boot_id() -> Result<String> {
    let text = corten_std::file::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}

/// What a lease keeps alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its name.
    pub id: String,
    /// Who holds it.
    pub owner: ProcessIdentity,
    /// When it was taken.
    pub created: Timestamp,
    /// Content that stays.
    #[serde(default)]
    pub content: Vec<Digest>,
    /// Snapshots that stay.
    #[serde(default)]
    pub snapshots: Vec<SnapshotKey>,
}

/// The leases of a store.
#[derive(Debug)]
pub struct Leases<'a> {
    database: &'a Database,
}

impl<'a> Leases<'a> {
    pub(crate) fn new(database: &'a Database) -> Self {
        Self { database }
    }

    /// Takes a lease, or replaces the one with this id, durably.
    pub fn take(&self, lease: &Lease) -> Result<()> {
        self.database.put(LEASES, &lease.id, lease)
    }

    /// Gives a lease back; what it alone kept goes with the next collection.
    pub fn end(&self, id: &str) -> Result<()> {
        self.database.delete(LEASES, id)
    }

    /// All leases.
    pub fn list(&self) -> Result<Vec<Lease>> {
        Ok(self.database.list(LEASES)?.into_iter().map(|(_, lease)| lease).collect())
    }

    /// Ends the leases of processes that are gone.
    pub fn end_dead(&self) -> Result<usize> {
        let dead: Vec<Lease> = self.list()?.into_iter().filter(|lease| !lease.owner.is_alive()).collect();
        for lease in &dead {
            self.end(&lease.id)?;
        }
        Ok(dead.len())
    }
}
