//! Tables of iptables-legacy, as the kernel gives them out: entries one after the other, each with an address head, its
//! matches, and a target; jumps are offsets of entries.

use super::extension;
use super::region::Region;
use super::walk::{Action, Chains, Flow, Holds, Judged};

/// Sizes of an entry's parts.
struct Layout {
    /// `struct ipt_entry` or `struct ip6t_entry`.
    entry: usize,
    /// Bytes of an address.
    address: usize,
    /// Where interface names begin: incoming, outgoing, then their masks.
    interfaces: usize,
    /// Where protocol, flags and inversions stand.
    protocol: usize,
    inversions: usize,
    /// Where `target_offset` and `next_offset` stand.
    offsets: usize,
}

const IPV4: Layout =
    Layout { entry: 112, address: 4, interfaces: 16, protocol: 80, inversions: 83, offsets: 88 };
const IPV6: Layout =
    Layout { entry: 168, address: 16, interfaces: 64, protocol: 128, inversions: 132, offsets: 140 };

/// Head of a match or target: its size, its name, its revision.
const EXTENSION: usize = 32;

/// A chain that the kernel calls: the offset of its first entry and of the entry with its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hooked {
    pub(crate) entry: u32,
    pub(crate) underflow: u32,
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

/// From where a flow is accepted; nothing where the bytes are not a table.
pub(crate) fn accepted(table: &[u8], hooked: Hooked, flow: &Flow) -> Region {
    let layout = if flow.ipv6 { &IPV6 } else { &IPV4 };
    let mut chains = Chains::new();
    let mut current: Vec<Judged> = Vec::new();
    // Every entry may be jumped to: chains are cut before each, and go on by a jump to the next.
    let mut at = 0;
    while at + layout.entry <= table.len() {
        let Some(next) = half(table, at + layout.offsets + 2).filter(|next| *next >= layout.entry) else {
            break;
        };
        let Some(entry) = table.get(at..at + next) else { break };
        current.extend(judge(entry, layout, flow));
        let goes_on = Judged { from: Region::all(flow.ipv6), action: Action::Goto((at + next).to_string()) };
        current.push(goes_on);
        chains.insert(at.to_string(), std::mem::take(&mut current));
        at += next;
    }
    follow(&chains, hooked, flow.ipv6)
}

/// Whether the entry at this offset of an IPv4 table drops whatever comes by.
pub(crate) fn is_drop(table: &[u8], at: u32) -> bool {
    let entry = table.get(at as usize..).unwrap_or_default();
    let verdict = half(entry, IPV4.offsets)
        .and_then(|target| extension(entry, target))
        .and_then(|(_, name, _, info)| name.is_empty().then(|| info.get(..4))?)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes);
    verdict == Some(-1)
}

/// Entries go on to the next; a jump comes back behind the entry that jumped, by a return or at the end of its chain.
fn follow(chains: &Chains, hooked: Hooked, ipv6: bool) -> Region {
    let mut accepted = Region::none();
    // What arrives where, with the way back.
    let mut work = vec![(hooked.entry, Region::all(ipv6), Vec::<u32>::new())];
    let mut steps = 0;
    while let Some((at, mut arriving, back)) = work.pop() {
        steps += 1;
        if steps > 100_000 || back.len() > 20 {
            continue;
        }
        let Some(rules) = chains.get(&at.to_string()) else { continue };
        let Some(next) = rules.last().and_then(|rule| match &rule.action {
            Action::Goto(next) => next.parse::<u32>().ok(),
            _ => None,
        }) else {
            continue;
        };
        for rule in &rules[..rules.len() - 1] {
            let hit = arriving.and(&rule.from);
            if hit.is_empty() {
                continue;
            }
            arriving = arriving.and(&hit.not(ipv6));
            match &rule.action {
                Action::Accept => accepted = accepted.or(&hit),
                Action::Drop => {}
                Action::Return => match back.split_last() {
                    Some((to, rest)) => work.push((*to, hit, rest.to_vec())),
                    // Out of the chain that the kernel called: its policy, which stands in the underflow.
                    None if at != hooked.underflow => work.push((hooked.underflow, hit, Vec::new())),
                    None => {}
                },
                Action::Jump(to) | Action::Goto(to) => {
                    // A rule without a target jumps to the next.
                    if let Ok(to) = to.parse::<u32>()
                        && to == next
                    {
                        arriving = arriving.or(&hit);
                    } else if let Ok(to) = to.parse() {
                        let mut way = back.clone();
                        if matches!(rule.action, Action::Jump(_)) {
                            way.push(next);
                        }
                        work.push((to, hit, way));
                    }
                }
            }
        }
        if !arriving.is_empty() {
            work.push((next, arriving, back));
        }
    }
    accepted
}

/// One entry, where it holds and decides something.
fn judge(entry: &[u8], layout: &Layout, flow: &Flow) -> Option<Judged> {
    let target_at = half(entry, layout.offsets)?;
    let mut holds = addresses(entry, layout, flow)?;
    let mut at = layout.entry;
    while at < target_at && holds != Holds::No {
        let (size, name, revision, info) = extension(entry, at)?;
        holds = holds.and(extension::holds(name, revision, info, flow));
        at += size;
    }
    let Holds::From(from) = holds else { return None };
    let (_, name, _, info) = extension(entry, target_at)?;
    let is_goto = entry.get(layout.inversions - 1).is_some_and(|flags| flags & 2 != 0) && !flow.ipv6
        || flow.ipv6 && entry.get(layout.inversions - 1).is_some_and(|flags| flags & 4 != 0);
    let action = match name {
        // The standard target: a verdict, or the offset of an entry.
        "" => match i32::from_ne_bytes(info.get(..4)?.try_into().ok()?) {
            -2 => Action::Accept,
            -5 => Action::Return,
            to if to >= 0 && is_goto => Action::Goto(to.to_string()),
            to if to >= 0 => Action::Jump(to.to_string()),
            _ => Action::Drop,
        },
        // Where chains of users begin, and the table ends: nothing falls through, what jumps there lands behind it.
        "ERROR" => return None,
        "REJECT" | "NFQUEUE" => Action::Drop,
        _ => return None,
    };
    Some(Judged { from, action })
}

fn addresses(entry: &[u8], layout: &Layout, flow: &Flow) -> Option<Holds> {
    const SOURCE: u8 = 0x08;
    const DESTINATION: u8 = 0x10;
    const INPUT: u8 = 0x01;
    const PROTOCOL: u8 = 0x40;
    const FRAGMENT: u8 = 0x20;
    let inverted = *entry.get(layout.inversions)?;
    let bytes = |index: usize| entry.get(index * layout.address..(index + 1) * layout.address);
    // Source, destination, and their masks.
    let source = masked(bytes(0)?, bytes(2)?, flow.ipv6)?;
    let source = if inverted & SOURCE != 0 { source.not(flow.ipv6) } else { source };
    let mut holds = if source.is_empty() { Holds::No } else { Holds::From(source) };
    if bytes(3)?.iter().any(|byte| *byte != 0) || inverted & DESTINATION != 0 {
        holds = holds.and(Holds::Perhaps);
    }
    let name = entry.get(layout.interfaces..layout.interfaces + 16)?;
    let mask = entry.get(layout.interfaces + 32..layout.interfaces + 48)?;
    let ours = corten_sys::netlink::nftables::interface_key(&flow.interface);
    let same = name.iter().zip(mask).zip(ours).all(|((name, mask), ours)| (name ^ ours) & mask == 0);
    holds = holds.and(Holds::known(same != (inverted & INPUT != 0), flow.ipv6));
    let protocol = half(entry, layout.protocol)?;
    let fits = protocol == 0 || protocol == usize::from(flow.protocol);
    holds = holds.and(Holds::known(fits != (inverted & PROTOCOL != 0), flow.ipv6));
    if !flow.ipv6 && entry.get(layout.inversions - 1)? & 1 != 0 && inverted & FRAGMENT == 0 {
        // Only later fragments.
        return Some(Holds::No);
    }
    Some(holds)
}

/// The region of an address with its mask; one with holes is none that can be told.
fn masked(address: &[u8], mask: &[u8], ipv6: bool) -> Option<Region> {
    let number = |bytes: &[u8]| bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let wild = number(mask) ^ super::region::last(ipv6);
    let first = number(address) & number(mask);
    (wild & wild.wrapping_add(1) == 0).then(|| Region::range(first, first | wild))
}

/// Size, name, revision and content of a match or target.
fn extension(entry: &[u8], at: usize) -> Option<(usize, &str, u32, &[u8])> {
    let size = half(entry, at).filter(|size| *size >= EXTENSION)?;
    let name = entry.get(at + 2..at + 31)?;
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let revision = u32::from(*entry.get(at + 31)?);
    Some((size, std::str::from_utf8(&name[..length]).ok()?, revision, entry.get(at + EXTENSION..at + size)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..900), ipv6 in any::<bool>(), size in 100_u16..300) {
            let flow = Flow { ipv6, protocol: 6, port: 80, interface: "eth0".to_owned() };
            let mut bytes = bytes;
            // Sizes that lead on, so that more than the first entry is read.
            let layout = if ipv6 { &IPV6 } else { &IPV4 };
            let mut at = 0;
            while at + layout.offsets + 4 <= bytes.len() {
                bytes[at + layout.offsets + 2..at + layout.offsets + 4].copy_from_slice(&size.to_ne_bytes());
                at += usize::from(size);
            }
            let _ = accepted(&bytes, Hooked { entry: 0, underflow: 0 }, &flow);
        }
    }

    #[test]
    fn masks_are_regions() {
        assert_eq!(
            masked(&[10, 0, 0, 1], &[255, 0, 0, 0], false),
            Some(Region::range(0x0a00_0000, 0x0aff_ffff))
        );
        assert_eq!(masked(&[0; 4], &[0; 4], false), Some(Region::all(false)));
        assert_eq!(masked(&[0; 16], &[0; 16], true), Some(Region::all(true)));
        assert_eq!(masked(&[0; 4], &[255, 0, 255, 0], false), None);
    }
}
