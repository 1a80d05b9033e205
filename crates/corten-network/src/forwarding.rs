//! Whether this host passes packets on between its interfaces, and who decided so.
//!
//! Containers need forwarding. Where it is off, the manager turns it on, and remembers which interfaces there were,
//! because from then on its rules keep these apart (see `firewall.rs`). The memory is a file below the exec root, which
//! goes with the next boot, as the setting does.

use crate::error::NetworkError;
use crate::firewall::{self, SetElement};
use crate::namespace::set;
use crate::record::forwarding_path;
use corten_std::file::{self, Durability};
use corten_std::{PathError, Paths};
use corten_sys::netlink::nftables;
use corten_sys::netlink::route::Link;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;

/// Families that are forwarded each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    fn path(self) -> &'static str {
        match self {
            Self::V4 => "/proc/sys/net/ipv4/ip_forward",
            Self::V6 => "/proc/sys/net/ipv6/conf/all/forwarding",
        }
    }

    /// Whether the host forwards it.
    pub(crate) fn is_on(self) -> bool {
        holds(self.path(), "1")
    }

    /// Turns it on. A host that learns its IPv6 routes from router advertisements would stop to, unless told to go on.
    pub(crate) fn turn_on(self) -> io::Result<()> {
        if self == Self::V6 {
            for interface in fs::read_dir("/proc/sys/net/ipv6/conf").into_iter().flatten().flatten() {
                let path = format!("{}/accept_ra", interface.path().display());
                if holds(&path, "1") {
                    set(&path, "2");
                }
            }
        }
        fs::write(self.path(), "1")
    }
}

fn holds(path: &str, value: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.trim() == value)
}

/// What we turned on since the boot, and the interfaces that are kept apart for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Guard {
    ipv4: bool,
    ipv6: bool,
    before: Vec<String>,
}

impl Guard {
    /// What an earlier daemon remembered. What somebody turned off meanwhile is nobody's again.
    pub(crate) fn load(paths: &Paths) -> Result<Self, NetworkError> {
        let memory = file::read_optional(forwarding_path(paths))?;
        let memory: Option<Self> = memory.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut guard = memory.unwrap_or_default();
        guard.ipv4 &= Family::V4.is_on();
        guard.ipv6 &= Family::V6.is_on();
        Ok(guard)
    }

    /// Remembers that we are about to turn a family on. Done before, so that a daemon killed in between guards too
    /// much rather than too little.
    pub(crate) fn claim(
        &mut self,
        family: Family,
        paths: &Paths,
        links: &[Link],
    ) -> Result<(), NetworkError> {
        if !self.ipv4 && !self.ipv6 {
            let foreign = links.iter().filter(|link| link.name != "lo" && link.master == 0);
            self.before = foreign.map(|link| link.name.clone()).collect();
        }
        match family {
            Family::V4 => self.ipv4 = true,
            Family::V6 => self.ipv6 = true,
        }
        let path = forwarding_path(paths);
        let bytes = serde_json::to_vec(self)
            .map_err(|error| PathError::new("write", &path, io::Error::other(error)))?;
        file::write_atomic(&path, &bytes, Durability::Kernel)?;
        Ok(())
    }

    /// What the rules need to know of it.
    pub(crate) fn elements(&self) -> Vec<SetElement> {
        let families = [(self.ipv4, nftables::IPV4), (self.ipv6, nftables::IPV6)];
        let families: Vec<_> = families.iter().filter(|(ours, _)| *ours).map(|(_, family)| *family).collect();
        if families.is_empty() { Vec::new() } else { firewall::guard_elements(&families, &self.before) }
    }
}
