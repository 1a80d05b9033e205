//! Rules of nftables, expression by expression: registers hold what is known of the flow, or the source address.

use super::extension;
use super::region::{Region, last};
use super::walk::{Action, Flow, Holds, Judged};
use corten_sys::netlink::attributes;
use corten_sys::netlink::nftables::{self as nft, interface_key};
use std::collections::HashMap;

/// An element of a set or map that rules look up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) key: Vec<u8>,
    /// The last key of a range, where the element has both ends.
    pub(crate) last: Option<Vec<u8>>,
    /// It only ends the range that the element before it began.
    pub(crate) end: bool,
    /// What a map leads to, where that is a verdict: its code and chain.
    pub(crate) verdict: Option<(i32, String)>,
}

impl Element {
    /// Whether it stands for every key that is not there; such a one is the last.
    fn is_catch_all(&self) -> bool {
        self.key.is_empty()
    }
}

/// Sets by name.
pub(crate) type Sets = HashMap<String, Vec<Element>>;

/// What lies in a register.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Known(Vec<u8>),
    /// The first bytes of the source address, under a mask.
    Source(Vec<u8>),
    Unknown,
}

/// The state of connections that are new.
const NEW: u32 = 8;
/// `NFT_REG_VERDICT`.
const VERDICT: u32 = 0;

/// Judges a rule: what it does with which of the flow's packets. A verdict map gives several.
pub(crate) fn judge(expressions: &[u8], flow: &Flow, sets: &Sets) -> Vec<Judged> {
    let mut reading = Reading {
        flow,
        sets,
        registers: HashMap::new(),
        holds: Holds::always(flow.ipv6),
        judged: Vec::new(),
    };
    for expression in attributes(expressions) {
        let inner = expression.nested();
        let name = inner.get(1).and_then(|name| name.text()).unwrap_or_default().to_owned();
        let data: HashMap<u16, Vec<u8>> = inner
            .get(2)
            .map(|data| data.nested().map(|part| (part.kind, part.payload.to_vec())).collect())
            .unwrap_or_default();
        reading.step(&name, &data);
        if reading.holds == Holds::No {
            break;
        }
    }
    reading.judged
}

struct Reading<'a> {
    flow: &'a Flow,
    sets: &'a Sets,
    /// By the number of the 4-byte register where a value begins.
    registers: HashMap<u32, Value>,
    holds: Holds,
    judged: Vec<Judged>,
}

type Data = HashMap<u16, Vec<u8>>;

fn number(data: &Data, kind: u16) -> Option<u32> {
    Some(u32::from_be_bytes(data.get(&kind)?.as_slice().try_into().ok()?))
}

/// The registers have a second numbering, in steps of 16 bytes.
fn register(number: u32) -> u32 {
    if (1..=4).contains(&number) { 8 + (number - 1) * 4 } else { number }
}

/// The bytes of an attribute that holds a value.
fn value(data: &Data, kind: u16) -> Option<Vec<u8>> {
    Some(attributes(data.get(&kind)?).get(1)?.payload.to_vec())
}

/// Code and chain of an attribute that holds a verdict.
fn verdict(payload: &[u8]) -> Option<(i32, String)> {
    let inner = attributes(payload).get(2)?.nested();
    let code = i32::from_be_bytes(inner.clone().get(1)?.payload.try_into().ok()?);
    Some((code, inner.get(2).and_then(|chain| chain.text()).unwrap_or_default().to_owned()))
}

impl Reading<'_> {
    fn step(&mut self, name: &str, data: &Data) {
        match name {
            "meta" => self.load(data, 1, |reading| reading.meta(number(data, 2))),
            "payload" => {
                // Without a register to load into it writes into the packet.
                let (base, offset, length) = (number(data, 2), number(data, 3), number(data, 4));
                self.load(data, 1, |reading| reading.payload(base, offset, length));
            }
            "ct" => {
                const STATE: u32 = 0;
                self.load(data, 1, |_| match number(data, 2) {
                    Some(STATE) => Value::Known(NEW.to_ne_bytes().to_vec()),
                    _ => Value::Unknown,
                });
            }
            "fib" => {
                const ADDRESS_TYPE: u32 = 3;
                const DESTINATION: u32 = 2;
                const LOCAL: u32 = 2;
                let known = number(data, 2) == Some(ADDRESS_TYPE)
                    && number(data, 3).is_some_and(|flags| flags & DESTINATION != 0);
                self.load(data, 1, |_| {
                    if known { Value::Known(LOCAL.to_ne_bytes().to_vec()) } else { Value::Unknown }
                });
            }
            "immediate" => {
                if number(data, 1) == Some(VERDICT) {
                    if let Some((code, chain)) = data.get(&2).and_then(|payload| verdict(payload)) {
                        let holds = self.holds.clone();
                        self.decide(holds, code, chain);
                    }
                } else {
                    self.load(data, 1, |_| value(data, 2).map_or(Value::Unknown, Value::Known));
                }
            }
            "bitwise" => {
                let masked = self.bitwise(data);
                self.load(data, 2, |_| masked);
            }
            "cmp" => {
                let holds = self.compare(data);
                self.require(holds);
            }
            "range" => {
                let holds = self.range(data);
                self.require(holds);
            }
            "lookup" => self.lookup(data),
            "match" => {
                let name = data.get(&1).map(|name| text(name)).unwrap_or_default();
                let revision = number(data, 2).unwrap_or_default();
                let info = data.get(&3).map(Vec::as_slice).unwrap_or_default();
                let holds = extension::holds(&name, revision, info, self.flow);
                self.require(holds);
            }
            "target" if data.get(&1).is_some_and(|name| text(name) == "REJECT") => self.drop(),
            "reject" | "queue" => self.drop(),
            // They change nothing of what becomes of the packet.
            "counter" | "log" | "target" | "objref" | "notrack" | "last" => {}
            // A rate, a quota, what was seen before: neither opens nor closes.
            _ => self.require(Holds::Perhaps),
        }
    }

    fn require(&mut self, holds: Holds) {
        self.holds = std::mem::replace(&mut self.holds, Holds::No).and(holds);
    }

    fn load(&mut self, data: &Data, kind: u16, make: impl FnOnce(&Self) -> Value) {
        if let Some(to) = number(data, kind) {
            let made = make(self);
            self.registers.insert(register(to), made);
        }
    }

    fn drop(&mut self) {
        let holds = self.holds.clone();
        self.decide(holds, 0, String::new());
    }

    fn decide(&mut self, holds: Holds, code: i32, chain: String) {
        let Holds::From(from) = holds else { return };
        let action = match code {
            0 => Action::Drop,
            1 => Action::Accept,
            -3 => Action::Jump(chain),
            -4 => Action::Goto(chain),
            -5 => Action::Return,
            _ => return,
        };
        self.judged.push(Judged { from, action });
    }

    fn meta(&self, key: Option<u32>) -> Value {
        let known = match key {
            Some(6) => interface_key(&self.flow.interface).to_vec(),
            Some(15) => vec![if self.flow.ipv6 { nft::IPV6 } else { nft::IPV4 }],
            Some(16) => vec![self.flow.protocol],
            // The packet's kind: for this host.
            Some(19) => vec![0],
            _ => return Value::Unknown,
        };
        Value::Known(known)
    }

    fn payload(&self, base: Option<u32>, offset: Option<u32>, length: Option<u32>) -> Value {
        const NETWORK: u32 = 1;
        const TRANSPORT: u32 = 2;
        const TCP: u8 = 6;
        const SYN: u8 = 2;
        let (source, longest) = if self.flow.ipv6 { (8, 16) } else { (12, 4) };
        match (base, offset, length) {
            (Some(NETWORK), Some(offset), Some(length)) if offset == source && length <= longest => {
                Value::Source(vec![255; length as usize])
            }
            (Some(NETWORK), Some(9), Some(1)) if !self.flow.ipv6 => Value::Known(vec![self.flow.protocol]),
            (Some(NETWORK), Some(6), Some(1)) if self.flow.ipv6 => Value::Known(vec![self.flow.protocol]),
            (Some(TRANSPORT), Some(2), Some(2)) => Value::Known(self.flow.port.to_be_bytes().to_vec()),
            (Some(TRANSPORT), Some(13), Some(1)) if self.flow.protocol == TCP => Value::Known(vec![SYN]),
            _ => Value::Unknown,
        }
    }

    fn held(&self, data: &Data, kind: u16) -> Value {
        number(data, kind)
            .and_then(|from| self.registers.get(&register(from)).cloned())
            .unwrap_or(Value::Unknown)
    }

    fn bitwise(&self, data: &Data) -> Value {
        let (Some(mask), xor) = (value(data, 4), value(data, 5)) else { return Value::Unknown };
        let plain = xor.as_ref().is_none_or(|xor| xor.iter().all(|byte| *byte == 0));
        match self.held(data, 1) {
            Value::Known(bytes) if bytes.len() <= mask.len() => {
                let xor = xor.unwrap_or_default();
                let flip = |index: usize| xor.get(index).copied().unwrap_or(0);
                Value::Known(
                    bytes
                        .iter()
                        .enumerate()
                        .map(|(index, byte)| (byte & mask[index]) ^ flip(index))
                        .collect(),
                )
            }
            Value::Source(bytes) if plain && bytes.len() == mask.len() => {
                Value::Source(bytes.iter().zip(&mask).map(|(have, mask)| have & mask).collect())
            }
            _ => Value::Unknown,
        }
    }

    fn compare(&self, data: &Data) -> Holds {
        let (Some(operator), Some(wanted)) = (number(data, 2), value(data, 3)) else { return Holds::Perhaps };
        match self.held(data, 1) {
            Value::Known(bytes) => {
                // The beginning of an interface's name is compared with as many bytes.
                let bytes = &bytes[..bytes.len().min(wanted.len())];
                let holds = match operator {
                    0 => bytes == wanted,
                    1 => bytes != wanted,
                    2 => bytes < wanted.as_slice(),
                    3 => bytes <= wanted.as_slice(),
                    4 => bytes > wanted.as_slice(),
                    5 => bytes >= wanted.as_slice(),
                    _ => return Holds::Perhaps,
                };
                Holds::known(holds, self.flow.ipv6)
            }
            Value::Source(mask) => {
                let whole = mask.iter().all(|byte| *byte == 255);
                match operator {
                    0 | 1 => match self.prefix(&mask, &wanted) {
                        Some(region) => self.source(region, operator == 1),
                        None => Holds::Perhaps,
                    },
                    _ if !whole || wanted.len() != self.address_length() => Holds::Perhaps,
                    _ => {
                        let edge = big(&wanted);
                        let end = last(self.flow.ipv6);
                        let region = match operator {
                            2 => edge.checked_sub(1).map_or(Region::none(), |edge| Region::range(0, edge)),
                            3 => Region::range(0, edge),
                            4 => edge.checked_add(1).map_or(Region::none(), |edge| Region::range(edge, end)),
                            5 => Region::range(edge, end),
                            _ => return Holds::Perhaps,
                        };
                        self.source(region, false)
                    }
                }
            }
            Value::Unknown => Holds::Perhaps,
        }
    }

    fn address_length(&self) -> usize {
        if self.flow.ipv6 { 16 } else { 4 }
    }

    /// The addresses whose bytes under the mask are these; none can be told where the mask has holes.
    fn prefix(&self, mask: &[u8], wanted: &[u8]) -> Option<Region> {
        if wanted.len() != mask.len() {
            return None;
        }
        let (mut whole_mask, mut whole) = (mask.to_vec(), wanted.to_vec());
        whole_mask.resize(self.address_length(), 0);
        whole.resize(self.address_length(), 0);
        let wild = big(&whole_mask) ^ last(self.flow.ipv6);
        let first = big(&whole);
        (wild & wild.wrapping_add(1) == 0 && first & wild == 0).then(|| Region::range(first, first | wild))
    }

    fn source(&self, region: Region, inverted: bool) -> Holds {
        let region = if inverted { region.not(self.flow.ipv6) } else { region };
        if region.is_empty() { Holds::No } else { Holds::From(region) }
    }

    fn range(&self, data: &Data) -> Holds {
        let (Some(operator), Some(first), Some(end)) = (number(data, 2), value(data, 3), value(data, 4))
        else {
            return Holds::Perhaps;
        };
        match self.held(data, 1) {
            Value::Known(bytes) => {
                Holds::known((first <= bytes && bytes <= end) != (operator == 1), self.flow.ipv6)
            }
            Value::Source(mask) if mask.len() == self.address_length() && first.len() == mask.len() => {
                self.source(Region::range(big(&first), big(&end)), operator == 1)
            }
            _ => Holds::Perhaps,
        }
    }

    fn lookup(&mut self, data: &Data) {
        let set = data.get(&1).map(|name| text(name)).unwrap_or_default();
        let inverted = number(data, 5).is_some_and(|flags| flags & 1 != 0);
        let is_map = data.contains_key(&3);
        let Some(elements) = self.sets.get(&set) else { return self.require(Holds::Perhaps) };
        if !is_map {
            let holds = self.found(data, 2, elements);
            let holds = match (holds, inverted) {
                (holds, false) => holds,
                (Holds::No, true) => Holds::always(self.flow.ipv6),
                (Holds::From(region), true) => self.source(region, true),
                (Holds::Perhaps, true) => Holds::Perhaps,
            };
            return self.require(holds);
        }
        if number(data, 3) != Some(VERDICT) {
            return self.load(data, 3, |_| Value::Unknown);
        }
        // A verdict map: each element is a rule of its own.
        for (index, element) in elements.iter().enumerate() {
            let Some((code, chain)) = element.verdict.clone() else { continue };
            if element.is_catch_all() && self.found(data, 2, &elements[..index]) == Holds::Perhaps {
                continue;
            }
            let pair = &elements[index..(index + 2).min(elements.len())];
            let holds = self.holds.clone().and(self.found(data, 2, pair_of(pair)));
            self.decide(holds, code, chain);
        }
        // What is not in the map goes on; those that are were decided by what stands before.
    }

    /// What lies in the registers from the one that an attribute names, field by field, with each field's place in a key
    /// of this length: fields of a key of several begin at multiples of four bytes, as registers do.
    fn fields(&self, data: &Data, kind: u16, length: usize) -> Option<Vec<(Value, usize, usize)>> {
        let first = register(number(data, kind)?);
        let mut fields = Vec::new();
        let mut place = 0;
        while place < length {
            let held = self.registers.get(&first.checked_add(u32::try_from(place / 4).ok()?)?)?.clone();
            let size = match &held {
                Value::Known(bytes) | Value::Source(bytes) => bytes.len(),
                Value::Unknown => return None,
            };
            fields.push((held, place, size));
            place += size.next_multiple_of(4).max(4);
        }
        let last = fields.last().map_or(0, |(_, place, size)| place + size);
        // One value fills the key; of several the last may be padded.
        let fits = if fields.len() == 1 { last == length } else { last.next_multiple_of(4) == length };
        fits.then_some(fields)
    }

    /// Whether what lies in the registers is one of these.
    fn found(&self, data: &Data, kind: u16, elements: &[Element]) -> Holds {
        let Some(length) = elements.first().map(|element| element.key.len()) else { return Holds::No };
        let Some(fields) = self.fields(data, kind, length) else { return Holds::Perhaps };
        let mut ranges = Vec::new();
        for (index, element) in elements.iter().enumerate().filter(|(_, element)| !element.end) {
            let behind = elements.get(index + 1).filter(|next| next.end && fields.len() == 1);
            let (last, is_behind) = match (&element.last, behind) {
                (Some(last), _) => (last, false),
                (None, Some(end)) => (&end.key, true),
                (None, None) => (&element.key, false),
            };
            if element.is_catch_all() {
                ranges.extend(Region::all(self.flow.ipv6).ranges());
                continue;
            }
            if element.key.len() != length || last.len() != length {
                return Holds::Perhaps;
            }
            let mut from = Region::all(self.flow.ipv6);
            for (held, place, size) in &fields {
                let (first, last) = (&element.key[*place..place + size], &last[*place..place + size]);
                match held {
                    Value::Known(bytes) => {
                        let bytes = bytes.as_slice();
                        let below = if is_behind { bytes < last } else { bytes <= last };
                        if bytes < first || !below {
                            from = Region::none();
                        }
                    }
                    Value::Source(mask)
                        if mask.len() == self.address_length() && mask.iter().all(|byte| *byte == 255) =>
                    {
                        let last = big(last).saturating_sub(is_behind.into());
                        from = from.and(&Region::range(big(first), last));
                    }
                    _ => return Holds::Perhaps,
                }
            }
            ranges.extend(from.ranges());
        }
        self.source(Region::of(ranges), false)
    }
}

/// An element with the end of its range, where that stands behind it.
fn pair_of(elements: &[Element]) -> &[Element] {
    match elements {
        [_, second] if second.end => elements,
        _ => &elements[..1],
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn big(bytes: &[u8]) -> u128 {
    bytes.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_sys::netlink::nftables::{Meta, REGISTER, Rule, Verdict};
    use proptest::prelude::*;

    fn flow() -> Flow {
        Flow { ipv6: false, protocol: 6, port: 8080, interface: "eth0".to_owned() }
    }

    fn judged(rule: Rule) -> Vec<Judged> {
        judge(rule.bytes(), &flow(), &Sets::new())
    }

    #[test]
    fn rules_hold_or_not() {
        let port = |port: u16| {
            Rule::new()
                .meta(Meta::Transport, REGISTER)
                .compare(REGISTER, true, &[6])
                .transport(2, 2, REGISTER)
                .compare(REGISTER, true, &port.to_be_bytes())
        };
        let all = Region::all(false);
        assert_eq!(
            judged(port(8080).verdict(Verdict::Accept)),
            [Judged { from: all.clone(), action: Action::Accept }]
        );
        assert_eq!(judged(port(8081).verdict(Verdict::Accept)), []);
        let from = Rule::new().masked(12, &[255, 0, 0, 0], true, &[10, 0, 0, 0]).verdict(Verdict::Drop);
        let ten = Region::range(0x0a00_0000, 0x0aff_ffff);
        assert_eq!(judged(from), [Judged { from: ten, action: Action::Drop }]);
        let interface = |name| Rule::new().interface(Meta::InputName, true, name).verdict(Verdict::Jump("x"));
        assert_eq!(judged(interface("eth0")), [Judged { from: all, action: Action::Jump("x".to_owned()) }]);
        assert_eq!(judged(interface("lo")), []);
        let answers = Rule::new().connection_state(nft::STATE_ESTABLISHED).verdict(Verdict::Accept);
        assert_eq!(judged(answers), []);
        assert_eq!(
            judged(
                Rule::new()
                    .network(16, 4, REGISTER)
                    .compare(REGISTER, true, &[1, 2, 3, 4])
                    .verdict(Verdict::Drop)
            ),
            []
        );
    }

    #[test]
    fn sets_and_verdict_maps() {
        let key = |key: &[u8], end| Element { key: key.to_vec(), end, ..Element::default() };
        let sets = Sets::from([(
            "s".to_owned(),
            vec![key(&[10, 0, 0, 0], false), key(&[10, 0, 1, 0], true), key(&[11, 0, 0, 1], false)],
        )]);
        let rule = Rule::new().network(12, 4, REGISTER).in_set("s", REGISTER, false).verdict(Verdict::Accept);
        let from = Region::range(0x0a00_0000, 0x0a00_00ff).or(&Region::range(0x0b00_0001, 0x0b00_0001));
        assert_eq!(judge(rule.bytes(), &flow(), &sets), [Judged { from, action: Action::Accept }]);
        let unknown =
            Rule::new().network(12, 4, REGISTER).in_set("t", REGISTER, false).verdict(Verdict::Accept);
        assert_eq!(judge(unknown.bytes(), &flow(), &sets), []);
    }

    #[test]
    fn keys_of_several_fields_hold_by_all_of_them() {
        let key = |key: &[&[u8]]| Element { key: key.concat(), ..Element::default() };
        let ports = |port: u16| key(&[&[6, 0, 0, 0], &port.to_be_bytes(), &[0, 0]]);
        let from = |port: u16| key(&[&port.to_be_bytes(), &[0, 0], &[10, 0, 0, 5]]);
        let ranged = Element {
            last: Some([10, 0, 0, 9, 0x1f, 0x99, 0, 0].to_vec()),
            ..key(&[&[10, 0, 0, 1, 0x1f, 0x90, 0, 0]])
        };
        let sets = Sets::from([
            ("other".to_owned(), vec![ports(22)]),
            ("ours".to_owned(), vec![ports(22), ports(8080)]),
            ("from-other".to_owned(), vec![from(8081)]),
            ("from-ours".to_owned(), vec![from(8080)]),
            ("ranged".to_owned(), vec![ranged]),
            ("short".to_owned(), vec![key(&[&[6]])]),
        ]);
        let service = || Rule::new().meta(Meta::Transport, REGISTER).transport(2, 2, REGISTER + 1);
        let port_from = || Rule::new().transport(2, 2, REGISTER).network(12, 4, REGISTER + 1);
        let from_port = || Rule::new().network(12, 4, REGISTER).transport(2, 2, REGISTER + 1);
        let accepted = |rule: Rule, set: &str, inverted| {
            let rule = rule.in_set(set, REGISTER, inverted).verdict(Verdict::Accept);
            let judged = judge(rule.bytes(), &flow(), &sets);
            judged.into_iter().fold(Region::none(), |all, judged| all.or(&judged.from))
        };
        let all = Region::all(false);
        assert_eq!(accepted(service(), "other", false), Region::none());
        assert_eq!(accepted(service(), "other", true), all);
        assert_eq!(accepted(service(), "ours", false), all);
        assert_eq!(accepted(port_from(), "from-other", false), Region::none());
        assert_eq!(accepted(port_from(), "from-ours", false), Region::range(0x0a00_0005, 0x0a00_0005));
        assert_eq!(accepted(from_port(), "ranged", false), Region::range(0x0a00_0001, 0x0a00_0009));
        // A key that is shorter than what is held is not told apart.
        assert_eq!(accepted(from_port(), "short", false), Region::none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = judge(&bytes, &flow(), &Sets::new());
        }
    }
}
