//! Makes a network's bridge, or brings an existing one to what is asked for.

use crate::config::NetworkConfig;
use crate::error::NetworkError;
use crate::namespace::set;
use corten_std::id::random_bytes;
use corten_sys::netlink::{Batch, NetlinkError, Socket, route};

/// Makes the bridge, up, with the gateways' addresses. Returns its number. Addresses that it has besides are left.
pub(crate) fn ensure(socket: &mut Socket, network: &NetworkConfig) -> Result<u32, NetworkError> {
    let name = &network.interface;
    check_name(name)?;
    let fail =
        |operation| move |source| NetworkError::Kernel { operation, subject: network.name.clone(), source };
    let made = if let Some(link) = find(socket, network)? {
        link
    } else {
        let [a, b, c, d] = random_bytes();
        let mut batch = Batch::new();
        route::create_bridge(&mut batch, name, network.mtu, [0x02, 0x42, a, b, c, d], true);
        match socket.send(batch) {
            Err(error) if !error.is_exists() => {
                // A kernel without br_netfilter refuses its options.
                let mut batch = Batch::new();
                route::create_bridge(&mut batch, name, network.mtu, [0x02, 0x42, a, b, c, d], false);
                socket.send(batch).map_err(|_| fail("make the bridge")(error))?;
            }
            _ => {}
        }
        find(socket, network)?.ok_or_else(|| NetworkError::NoSuchNetwork(network.name.clone()))?
    };
    let present = route::addresses(socket).map_err(fail("list addresses"))?;
    let has = |address| present.iter().any(|found| found.index == made.index && found.address == address);
    let mut batch = Batch::new();
    if made.mtu != network.mtu {
        route::set_mtu(&mut batch, made.index, network.mtu);
    }
    for (address, prefix) in network.host_addresses().filter(|(address, _)| !has(*address)) {
        if address.is_ipv6() {
            // A host may have switched it off for new interfaces.
            set(&format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "0");
        }
        route::add_address(&mut batch, made.index, address, prefix);
    }
    if made.flags & route::UP == 0 {
        route::set_up(&mut batch, made.index, true);
    }
    socket.send(batch).map_err(fail("set up the bridge"))?;
    let mut batch = Batch::new();
    route::set_route_localnet(&mut batch, made.index);
    socket.send(batch).map_err(fail("let 127.0.0.1 reach the bridge"))?;
    Ok(made.index)
}

/// Removes a bridge; one that is not there is fine.
pub(crate) fn remove(socket: &mut Socket, name: &str) -> Result<(), NetlinkError> {
    let mut batch = Batch::new();
    route::delete_link(&mut batch, name);
    match socket.send(batch) {
        Err(error) if error.is_missing() => Ok(()),
        other => other,
    }
}

fn find(socket: &mut Socket, network: &NetworkConfig) -> Result<Option<route::Link>, NetworkError> {
    let found = route::link(socket, &network.interface).map_err(|source| NetworkError::Kernel {
        operation: "find the bridge",
        subject: network.name.clone(),
        source,
    })?;
    match found {
        Some(link) if link.kind != "bridge" => Err(NetworkError::NotABridge(network.interface.clone())),
        other => Ok(other),
    }
}

/// What the kernel allows as a name (`dev_valid_name`).
pub(crate) fn check_name(name: &str) -> Result<(), NetworkError> {
    let bad = |character: char| {
        character == '/' || character == ':' || character == '\0' || character.is_whitespace()
    };
    if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(bad) {
        return Err(NetworkError::InterfaceName(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_interfaces_are_checked() {
        for name in ["corten0", "br-0123456789ab", "ü"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a b", "a:b", "0123456789abcdef", "a\0"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
