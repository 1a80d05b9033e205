//! The kernel's table of connections: list and forget (linux/netfilter/nfnetlink_conntrack.h).

use super::message::{Attributes, Batch, Message, flag};
use super::socket::{NetlinkError, Socket};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const NEW: u16 = 1 << 8;
const GET: u16 = NEW + 1;
const DELETE: u16 = NEW + 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Where packets come from.
    pub source: IpAddr,
    /// Where they go.
    pub destination: IpAddr,
    /// The transport protocol.
    pub protocol: u8,
    /// 0 for protocols without ports.
    pub source_port: u16,
    /// 0 for protocols without ports.
    pub destination_port: u16,
}

/// A connection that the kernel knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// As its first packet was.
    pub original: Tuple,
    /// As answers are; differs from the first turned round where addresses are changed.
    pub reply: Tuple,
    /// Tells it from a later one with the same addresses; in the kernel's byte order, opaque.
    pub id: Option<u32>,
}

/// Lists all connections of one family (`AF_INET` where `ipv4`).
pub fn flows(socket: &mut Socket, ipv4: bool) -> Result<Vec<Flow>, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(GET, flag::DUMP, "list connections", &header(ipv4), |_| {});
    let mut flows = Vec::new();
    socket.dump(&batch, |message| flows.extend(read_flow(message)))?;
    Ok(flows)
}

/// Forgets one connection: its next packet is looked at as a first one.
pub fn delete(batch: &mut Batch, flow: &Flow) {
    batch.message(DELETE, 0, "forget a connection", &header(flow.original.source.is_ipv4()), |batch| {
        batch.nested(CTA_TUPLE_ORIG, |batch| write_tuple(batch, &flow.original));
        if let Some(id) = flow.id {
            batch.attribute(CTA_ID, &id.to_ne_bytes());
        }
    });
}

fn header(ipv4: bool) -> [u8; 4] {
    [if ipv4 { 2 } else { 10 }, 0, 0, 0]
}

fn write_tuple(batch: &mut Batch, tuple: &Tuple) {
    batch.nested(1, |batch| match (tuple.source, tuple.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            batch.attribute(1, &source.octets());
            batch.attribute(2, &destination.octets());
        }
        (source, destination) => {
            batch.attribute(3, &ipv6(source).octets());
            batch.attribute(4, &ipv6(destination).octets());
        }
    });
    batch.nested(2, |batch| {
        batch.attribute_u8(1, tuple.protocol);
        batch.attribute(2, &tuple.source_port.to_be_bytes());
        batch.attribute(3, &tuple.destination_port.to_be_bytes());
    });
}

fn ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::to_ipv6_mapped(&address),
        IpAddr::V6(address) => address,
    }
}

fn read_flow(message: Message<'_>) -> Option<Flow> {
    if message.kind != NEW {
        return None;
    }
    let attributes = message.attributes(4);
    Some(Flow {
        original: read_tuple(attributes.get(CTA_TUPLE_ORIG)?.nested())?,
        reply: read_tuple(attributes.get(CTA_TUPLE_REPLY)?.nested())?,
        id: attributes.get(CTA_ID).and_then(|attribute| attribute.u32()),
    })
}

fn read_tuple(attributes: Attributes<'_>) -> Option<Tuple> {
    let addresses = attributes.get(1)?.nested();
    let protocol = attributes.get(2)?.nested();
    let port = |kind| protocol.get(kind).and_then(|attribute| attribute.be16()).unwrap_or(0);
    Some(Tuple {
        source: addresses.get(1).or_else(|| addresses.get(3))?.address()?,
        destination: addresses.get(2).or_else(|| addresses.get(4))?.address()?,
        protocol: *protocol.get(1)?.payload.first()?,
        source_port: port(2),
        destination_port: port(3),
    })
}

#[cfg(test)]
mod tests {
    use super::super::message::messages;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tuple_reads_back() {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let tuple = Tuple {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
                protocol: 17,
                source_port: 5353,
                destination_port: 53,
            };
            let mut batch = Batch::new();
            delete(&mut batch, &Flow { original: tuple, reply: tuple, id: Some(7) });
            let message = messages(batch.bytes()).next().unwrap();
            assert_eq!(read_tuple(message.attributes(4).get(CTA_TUPLE_ORIG).unwrap().nested()), Some(tuple));
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_flow(Message { kind: NEW, flags: 0, sequence: 0, payload: &bytes });
        }
    }
}
