//! Cgroups that systemd makes: a container's is a scope unit, of which systemd knows the limits too, so that it does
//! not take them away when it reads its configuration again.
//!
//! ```text
//! cgroupsPath  slice:prefix:name        machine.slice:libpod:4f2a…
//! unit         prefix-name.scope        libpod-4f2a….scope, in machine.slice
//! ```
//!
//! A scope begins with a process in it: a [`Seat`] of ours, which ends when the container's own process is there.

mod bus;
mod limits;
mod message;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use corten_sys::process::{self, Fork};

use super::manager::parent_path;
use super::{Cgroup, CgroupError, Hierarchies, Limits, Result};
use bus::{Bus, Property};
use message::{Argument, Value};

pub use bus::SystemdError;

/// Where systemd puts a container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// `prefix-name.scope`
    name: String,
    slice: String,
}

impl Unit {
    /// Of a document's `cgroupsPath`; without one it is `PREFIX-ID.scope` in `system.slice`, as runc has it.
    ///
    /// # Errors
    /// Where the path is not of three parts, or a part cannot be in a unit's name.
    pub fn new(path: &str, prefix: &str, id: &str) -> Result<Self> {
        let bad = || CgroupError::UnitPath(path.to_owned());
        let (slice, prefix, name) = match path.split(':').collect::<Vec<_>>()[..] {
            [""] => ("", prefix, id),
            [slice, prefix, name] => (slice, prefix, name),
            _ => return Err(bad()),
        };
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        let plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":_.\\@-".contains(&byte));
        if slice.strip_suffix(".slice").is_none()
            || !plain(slice)
            || !plain(prefix)
            || !plain(name)
            || name.is_empty()
        {
            return Err(bad());
        }
        parent_path(slice)?;
        let name = match prefix {
            "" => format!("{name}.scope"),
            prefix => format!("{prefix}-{name}.scope"),
        };
        // systemd takes no longer names (UNIT_NAME_MAX).
        if name.len() > 255 {
            return Err(bad());
        }
        Ok(Self { name, slice: slice.to_owned() })
    }

    /// The unit's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cgroup that systemd gives to it, whether it is there or not.
    fn cgroup(&self, hierarchies: &Hierarchies) -> Result<Cgroup> {
        let parts = parent_path(&self.slice)?;
        Cgroup::at_path(hierarchies, &format!("/{}/{}", parts.join("/"), self.name))
    }

    /// Has systemd make the scope with these limits, sets those it does not know, and the device rules. `annotations`
    /// of the document that are called `org.systemd.property.NAME` become properties of the unit. On an error nothing
    /// is left.
    ///
    /// The caller has one thread. The container is to be launched into the cgroup while the seat is there.
    pub fn create(
        &self,
        hierarchies: &Hierarchies,
        limits: &Limits,
        annotations: &BTreeMap<String, String>,
    ) -> Result<(Cgroup, Seat)> {
        let mut bus = Bus::connect()?;
        let asked = limits::annotated(annotations)?;
        let seat = Seat::new()?;
        let mut properties: Vec<Property> = [
            ("Description", Value::Text(format!("container {}", self.name.trim_end_matches(".scope")))),
            ("Slice", Value::Text(self.slice.clone())),
            ("Delegate", Value::Flag(true)),
            ("DefaultDependencies", Value::Flag(false)),
            ("PIDs", Value::Numbers(vec![seat.pid as u32])),
            ("MemoryAccounting", Value::Flag(true)),
            ("CPUAccounting", Value::Flag(true)),
            ("TasksAccounting", Value::Flag(true)),
            ("IOAccounting", Value::Flag(true)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        properties.extend(limits::properties(limits, hierarchies.is_legacy()));
        properties.extend(asked);
        // What failed stays known to systemd until somebody says that it may be forgotten, and keeps the name.
        let _ = bus.call("ResetFailedUnit", &self.name, &[Argument::Text(&self.name)]);
        let arguments = [
            Argument::Text(&self.name),
            Argument::Text("fail"),
            Argument::Properties(&properties),
            Argument::NoUnits,
        ];
        let answer = bus.call("StartTransientUnit", &self.name, &arguments)?;
        let outcome = bus.wait_for_job(answer.first().map_or("", String::as_str));
        let made = outcome.map_err(CgroupError::from).and_then(|result| {
            if result != "done" {
                return Err(SystemdError::Job { unit: self.name.clone(), result }.into());
            }
            let cgroup = self.cgroup(hierarchies)?;
            cgroup.create_around(limits, Some(seat.pid))?;
            Ok(cgroup)
        });
        match made {
            Ok(cgroup) => Ok((cgroup, seat)),
            Err(error) => {
                drop(seat);
                let _ = stop(&mut bus, &self.name);
                Err(error)
            }
        }
    }
}

/// Tells systemd of other limits of a unit.
pub fn update(unit: &str, hierarchies: &Hierarchies, limits: &Limits) -> Result<()> {
    let properties = limits::properties(limits, hierarchies.is_legacy());
    if properties.is_empty() {
        return Ok(());
    }
    // Runtime only: it is forgotten with the unit.
    let arguments = [Argument::Text(unit), Argument::Flag(true), Argument::Properties(&properties)];
    Bus::connect()?.call("SetUnitProperties", unit, &arguments)?;
    Ok(())
}

/// How long systemd may take to see that a scope is empty, and to forget it.
const NOTICE: Duration = Duration::from_secs(2);

/// Ends a unit whose processes have ended. One that is gone already is fine.
///
/// systemd itself ends a scope that is empty. One that it is asked to stop just then, while it has not collected the
/// last dead process, it would believe to have living processes, and wait for them until its own time is up.
pub fn remove(unit: &str, cgroup: &Cgroup) -> Result<()> {
    let deadline = Instant::now() + NOTICE;
    // The tree that systemd itself keeps its units by.
    let own = cgroup.unified.as_ref().or_else(|| cgroup.folder("name=systemd"));
    while own.is_some_and(|folder| folder.exists()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(stop(&mut Bus::connect()?, unit)?)
}

fn stop(bus: &mut Bus, unit: &str) -> std::result::Result<(), SystemdError> {
    let gone = |error: &SystemdError| matches!(error, SystemdError::Refused { name, .. } if name.ends_with(".NoSuchUnit"));
    match bus.call("StopUnit", unit, &[Argument::Text(unit), Argument::Text("replace")]) {
        Ok(answer) => {
            bus.wait_for_job(answer.first().map_or("", String::as_str))?;
        }
        Err(error) if gone(&error) => {}
        Err(error) => return Err(error),
    }
    match bus.call("ResetFailedUnit", unit, &[Argument::Text(unit)]) {
        Err(error) if !gone(&error) => Err(error),
        _ => Ok(()),
    }
}

/// A process that holds a scope's place; it ends when this is dropped, and with us.
#[derive(Debug)]
pub struct Seat {
    pid: i32,
}

impl Seat {
    fn new() -> Result<Self> {
        let failed =
            |source| CgroupError::File { operation: "make a process for", path: "scope".into(), source };
        let parent = rustix::process::getpid();
        match process::fork().map_err(failed)? {
            Fork::Child => {
                let bound = process::set_parent_death_signal(SIGKILL).is_ok()
                    && rustix::process::getppid() == Some(parent);
                if !bound {
                    process::exit_now(0);
                }
                loop {
                    rustix::event::pause();
                }
            }
            Fork::Parent(child) => Ok(Self { pid: child.pid }),
        }
    }
}

const SIGKILL: i32 = 9;

impl Drop for Seat {
    fn drop(&mut self) {
        // Not by a descriptor that it waits on: the container's process has a copy of each until it is executed.
        let _ = process::kill(self.pid, SIGKILL);
        let _ = process::wait(self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_units() {
        let unit = |path: &str| Unit::new(path, "corten", "c1").map(|unit| (unit.slice, unit.name));
        let pair = |slice: &str, name: &str| (slice.to_owned(), name.to_owned());
        assert_eq!(unit("").unwrap(), pair("system.slice", "corten-c1.scope"));
        assert_eq!(unit("machine.slice:libpod:4f").unwrap(), pair("machine.slice", "libpod-4f.scope"));
        assert_eq!(unit(":docker:4f").unwrap(), pair("system.slice", "docker-4f.scope"));
        assert_eq!(unit("a-b.slice::x").unwrap(), pair("a-b.slice", "x.scope"));
        for bad in [
            "a",
            "a:b",
            "a:b:c",
            "a.slice:b:",
            "a.slice:b:c/d",
            "a.slice:..:/x",
            "a--b.slice:c:d",
            "a.slice:b:c:d",
        ] {
            assert!(unit(bad).is_err(), "{bad}");
        }
        assert!(unit(&format!("a.slice:b:{}", "c".repeat(300))).is_err());
    }
}
