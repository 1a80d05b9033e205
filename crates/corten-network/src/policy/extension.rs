//! Matches of iptables (`-m tcp`, `-m multiport` …) as they lie in the kernel: the same bytes in legacy tables and in the
//! rules that `iptables-nft` makes. What is not known here holds perhaps.

use super::walk::{Flow, Holds};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// A new connection among the states of connection tracking.
const NEW: u32 = 8;

fn byte(info: &[u8], at: usize) -> Option<u8> {
    info.get(at).copied()
}

/// Numbers lie there in the machine's order.
fn half(info: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(info.get(at..at + 2)?.try_into().ok()?))
}

fn word(info: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(info.get(at..at + 4)?.try_into().ok()?))
}

/// Whether a match holds.
pub(crate) fn holds(name: &str, revision: u32, info: &[u8], flow: &Flow) -> Holds {
    let known = |holds: Option<bool>| holds.map_or(Holds::Perhaps, |holds| Holds::known(holds, flow.ipv6));
    match name {
        "comment" => Holds::always(flow.ipv6),
        "tcp" => ports(info, flow, TCP, 11),
        "udp" => ports(info, flow, UDP, 8),
        "multiport" if revision == 1 => multiport(info, flow),
        "conntrack" if revision >= 2 => {
            let (flags, inverted, states) = (half(info, 146), half(info, 148), half(info, 150));
            match (flags, inverted, states) {
                (Some(1), Some(inverted), Some(states)) => {
                    known(Some((u32::from(states) & NEW != 0) != (inverted & 1 != 0)))
                }
                _ => Holds::Perhaps,
            }
        }
        "state" => known(word(info, 0).map(|states| states & NEW != 0)),
        "addrtype" if revision == 1 => {
            const LOCAL: u16 = 1 << 2;
            match (half(info, 0), half(info, 2), word(info, 4)) {
                (Some(0), Some(destination), Some(flags)) if destination != 0 => {
                    known(Some((destination & LOCAL != 0) != (flags & 2 != 0)))
                }
                _ => Holds::Perhaps,
            }
        }
        "pkttype" => {
            // Type, and whether it is inverted; what comes for a published port is for this host.
            known(word(info, 0).zip(word(info, 4)).map(|(kind, inverted)| (kind == 0) != (inverted != 0)))
        }
        _ => Holds::Perhaps,
    }
}

/// `struct xt_tcp` and `struct xt_udp`: two source ports, two destination ports, and the flags of inversion at an offset.
fn ports(info: &[u8], flow: &Flow, protocol: u8, inversions: usize) -> Holds {
    if flow.protocol != protocol {
        return Holds::No;
    }
    let fields = (half(info, 0), half(info, 2), half(info, 4), half(info, 6), byte(info, inversions));
    let (Some(source), Some(source_end), Some(first), Some(last), Some(inverted)) = fields else {
        return Holds::Perhaps;
    };
    let destination = Holds::known((first..=last).contains(&flow.port) != (inverted & 2 != 0), flow.ipv6);
    if (source, source_end, inverted & 1) != (0, u16::MAX, 0) {
        return destination.and(Holds::Perhaps);
    }
    if protocol == TCP {
        // Flags: only the one of a beginning is set.
        let (Some(mask), Some(compare)) = (byte(info, 9), byte(info, 10)) else { return Holds::Perhaps };
        const SYN: u8 = 2;
        let flags = (SYN & mask == compare) != (inverted & 4 != 0);
        let option = if byte(info, 8) == Some(0) { Holds::always(flow.ipv6) } else { Holds::Perhaps };
        return destination.and(Holds::known(flags, flow.ipv6)).and(option);
    }
    destination
}

/// `struct xt_multiport_v1`.
fn multiport(info: &[u8], flow: &Flow) -> Holds {
    let (Some(side), Some(count), Some(inverted)) = (byte(info, 0), byte(info, 1), byte(info, 47)) else {
        return Holds::Perhaps;
    };
    const DESTINATION: u8 = 1;
    if side != DESTINATION {
        return Holds::Perhaps;
    }
    let mut found = false;
    let mut index = 0;
    while index < usize::from(count).min(15) {
        let Some(first) = half(info, 2 + 2 * index) else { return Holds::Perhaps };
        let ranged = byte(info, 32 + index) == Some(1);
        let last = if ranged { half(info, 4 + 2 * index).unwrap_or(first) } else { first };
        found |= (first..=last).contains(&flow.port);
        index += if ranged { 2 } else { 1 };
    }
    Holds::known(found != (inverted != 0), flow.ipv6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flow(protocol: u8, port: u16) -> Flow {
        Flow { ipv6: false, protocol, port, interface: "eth0".to_owned() }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..200), revision in 0_u32..4) {
            for name in ["tcp", "udp", "multiport", "conntrack", "state", "addrtype", "pkttype", "comment", "x"] {
                let _ = holds(name, revision, &bytes, &flow(TCP, 80));
            }
        }
    }

    #[test]
    fn ports_are_read() {
        let info: Vec<u8> =
            [0_u16, u16::MAX, 80, 90].iter().flat_map(|part| part.to_ne_bytes()).chain([0; 4]).collect();
        assert_eq!(holds("tcp", 0, &info, &flow(TCP, 85)), Holds::always(false));
        assert_eq!(holds("tcp", 0, &info, &flow(TCP, 91)), Holds::No);
        assert_eq!(holds("tcp", 0, &info, &flow(UDP, 85)), Holds::No);
        assert_eq!(holds("udp", 0, &info, &flow(UDP, 85)), Holds::always(false));
        assert_eq!(holds("hashlimit", 0, &info, &flow(UDP, 85)), Holds::Perhaps);
    }
}
