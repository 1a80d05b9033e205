//! Connections that the kernel remembers from before a port got its target.
//!
//! UDP has no end of connection: as long as a client keeps sending, its packets go where the first one went, to the
//! host itself or to a container that is gone. So they are forgotten when a UDP port is published or closed.

use crate::endpoint::Endpoint;
use crate::settings::{Protocol, PublishedPort};
use corten_sys::netlink::conntrack::{self, Flow};
use corten_sys::netlink::{Batch, NetlinkError, Protocol as Family, Socket};
use std::net::IpAddr;

/// Forgets what went to these ports, or came from one of the endpoints. Only UDP ports are looked at.
pub(crate) fn forget(endpoints: &[Endpoint], ports: &[PublishedPort]) -> Result<usize, NetlinkError> {
    let udp: Vec<_> = ports.iter().filter(|port| port.protocol == Protocol::Udp).collect();
    if udp.is_empty() {
        return Ok(0);
    }
    let mut socket = Socket::open(Family::Netfilter)?;
    let mut stale = Vec::new();
    for ipv4 in [true, false] {
        if udp.iter().any(|port| port.host_address.is_ipv4() == ipv4) {
            let flows = conntrack::flows(&mut socket, ipv4)?;
            stale.extend(flows.into_iter().filter(|flow| concerns(flow, endpoints, &udp)));
        }
    }
    for flow in &stale {
        let mut batch = Batch::new();
        conntrack::delete(&mut batch, flow);
        match socket.send(batch) {
            Err(error) if !error.is_missing() => return Err(error),
            _ => {}
        }
    }
    Ok(stale.len())
}

fn concerns(flow: &Flow, endpoints: &[Endpoint], ports: &[&PublishedPort]) -> bool {
    let own =
        |address: IpAddr| endpoints.iter().any(|endpoint| endpoint.addresses().any(|own| own == address));
    flow.original.protocol == Protocol::Udp.number()
        && ports.iter().any(|port| {
            let to_port = flow.original.destination_port == port.host_port
                && (port.host_address.is_unspecified() || port.host_address == flow.original.destination);
            let from_container = own(flow.reply.source) && flow.reply.source_port == port.container_port;
            to_port || from_container
        })
}
