//! Whether this host passes packets on between its interfaces, and who decided so.
//!
//! Containers need `ip_forward`. Where it is off, the manager turns it on, and remembers which interfaces there were,
//! because from then on its rules keep these apart (see `firewall.rs`). The memory is a file below the exec root, which
//! goes with the next boot, as the setting does.

use crate::error::NetworkError;
use crate::namespace::set;
use crate::record::forwarding_path;
use corten_std::file::{self, Durability};
use corten_std::{PathError, Paths};
use corten_sys::netlink::route::Link;
use std::fs;
use std::io;

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// What is to be done about forwarding.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Forwarding {
    /// It was on before us: whoever turned it on wants it.
    Foreign,
    /// We turned it on earlier since this boot; these interfaces were there.
    Ours(Vec<String>),
    /// We turn it on now.
    TurnOn(Vec<String>),
    /// It is off and we may not turn it on.
    Off,
}

/// Decides, from the setting in the kernel, our memory of it, and whether we may change it.
pub(crate) fn plan(paths: &Paths, may: bool, links: &[Link]) -> Result<Forwarding, NetworkError> {
    let on = fs::read_to_string(IP_FORWARD).is_ok_and(|text| text.trim() == "1");
    let memory = file::read_optional(forwarding_path(paths))?;
    let memory = memory.and_then(|bytes| serde_json::from_slice::<Vec<String>>(&bytes).ok());
    let names = || {
        let foreign = links.iter().filter(|link| link.name != "lo" && link.master == 0);
        foreign.map(|link| link.name.clone()).collect()
    };
    Ok(match (on, memory, may) {
        (true, Some(before), _) => Forwarding::Ours(before),
        (true, None, _) => Forwarding::Foreign,
        (false, memory, true) => Forwarding::TurnOn(memory.unwrap_or_else(names)),
        (false, _, false) => Forwarding::Off,
    })
}

impl Forwarding {
    /// The interfaces to keep apart.
    pub(crate) fn guarded(&self) -> &[String] {
        match self {
            Self::Ours(before) | Self::TurnOn(before) => before,
            Self::Foreign | Self::Off => &[],
        }
    }

    /// Whether foreign interfaces are kept apart.
    pub(crate) fn guards(&self) -> bool {
        matches!(self, Self::Ours(_) | Self::TurnOn(_))
    }

    /// Turns it on where that was decided. The memory is written first: a daemon killed in between guards too much
    /// rather than too little. Returns what the user should know.
    pub(crate) fn carry_out(&self, paths: &Paths) -> Result<Vec<String>, NetworkError> {
        match self {
            Self::TurnOn(before) => {
                let path = forwarding_path(paths);
                let bytes = serde_json::to_vec(before)
                    .map_err(|error| PathError::new("write", &path, io::Error::other(error)))?;
                file::write_atomic(&path, &bytes, Durability::Kernel)?;
                Ok(match fs::write(IP_FORWARD, "1") {
                    Ok(()) => Vec::new(),
                    Err(error) => vec![format!("IPv4 forwarding is disabled and cannot be turned on: {error}")],
                })
            }
            Self::Off => Ok(vec!["IPv4 forwarding is disabled: containers reach nothing outside".to_owned()]),
            Self::Foreign | Self::Ours(_) => Ok(Vec::new()),
        }
    }
}

/// Turns on IPv6 forwarding for a network that has IPv6. A host that learns its routes from router advertisements
/// would stop to, unless told to go on.
pub(crate) fn allow_ipv6() {
    let is = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if is("/proc/sys/net/ipv6/conf/all/forwarding", "1") {
        return;
    }
    for interface in fs::read_dir("/proc/sys/net/ipv6/conf").into_iter().flatten().flatten() {
        let path = format!("{}/accept_ra", interface.path().display());
        if is(&path, "1") {
            set(&path, "2");
        }
    }
    set("/proc/sys/net/ipv6/conf/all/forwarding", "1");
}
