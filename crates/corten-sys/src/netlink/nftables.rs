//! nftables: tables, chains, rules, sets and their elements (linux/netfilter/nf_tables.h).
//!
//! All changes of one [`Batch`] between [`begin`] and [`end`] happen together or not at all. Numbers are in network
//! byte order; so are addresses and ports in keys. A rule is a list of expressions that work on registers: each
//! loads, compares or acts, and the first that does not match ends the rule.

mod read;
mod rewrite;
mod rule;

pub use read::{Change, ListedElement, ListedRule, changed, listed_elements, rules, sets};
pub use rewrite::flush_chain;
pub use rule::{Meta, Rule, STATE_ESTABLISHED, STATE_RELATED, Verdict, add_rule, interface_key};

use super::message::{Attributes, Batch, Message, flag};
use super::socket::{NetlinkError, Socket};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const GET_TABLE: u16 = NEW_TABLE + 1;
const DELETE_TABLE: u16 = NEW_TABLE + 2;
const NEW_CHAIN: u16 = NEW_TABLE + 3;
const GET_CHAIN: u16 = NEW_TABLE + 4;
const NEW_RULE: u16 = NEW_TABLE + 6;
const NEW_SET: u16 = NEW_TABLE + 9;
const NEW_ELEMENT: u16 = NEW_TABLE + 12;
const GET_ELEMENT: u16 = NEW_TABLE + 13;
const DELETE_ELEMENT: u16 = NEW_TABLE + 14;

/// `NFPROTO_INET`: a table for IPv4 and IPv6.
pub const INET: u8 = 1;
/// `NFPROTO_IPV4`.
pub const IPV4: u8 = 2;
/// `NFPROTO_IPV6`.
pub const IPV6: u8 = 10;

/// The first of the sixteen 4-byte registers; a value of 16 bytes takes four of them.
pub const REGISTER: u32 = 8;

/// Table flag: only the socket that made it may change it, and `flush ruleset` leaves it alone. Linux 5.12.
pub const TABLE_OWNER: u32 = 2;
/// Table flag: it stays when its owner goes. Linux 6.9.
pub const TABLE_PERSIST: u32 = 4;

/// Set flag: keys are the beginnings and ends of ranges.
pub const SET_INTERVAL: u32 = 4;
/// Set flag: keys have values.
const SET_MAP: u32 = 8;
/// Element flag: this key is the end of a range.
const ELEMENT_END: u32 = 1;

/// Numbers by which `nft` knows the types of keys, so that it can print them.
pub mod data_type {
    /// `nf_proto`
    pub const FAMILY: u32 = 2;
    /// `ipv4_addr`
    pub const IPV4: u32 = 7;
    /// `ipv6_addr`
    pub const IPV6: u32 = 8;
    /// `inet_proto`
    pub const PROTOCOL: u32 = 12;
    /// `inet_service`
    pub const PORT: u32 = 13;
    /// `ifname`
    pub const INTERFACE: u32 = 41;

    /// A key of several parts.
    pub const fn concat(parts: &[u32]) -> u32 {
        let (mut number, mut index) = (0, 0);
        while index < parts.len() {
            number = (number << 6) | parts[index];
            index += 1;
        }
        number
    }
}

fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

/// Begins the changes that happen together.
pub fn begin(batch: &mut Batch) {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    batch.message(BATCH_BEGIN, 0, "change the firewall", &[0, 0, high, low], |_| {});
}

/// Ends them. Nothing may follow.
pub fn end(batch: &mut Batch) {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    // The last change answers, not this marker.
    let last = batch.last;
    batch.message(BATCH_END, 0, "change the firewall", &[0, 0, high, low], |_| {});
    batch.last = last;
    batch.operations.pop();
}

/// Makes a table in the family [`INET`], or finds it.
pub fn add_table(batch: &mut Batch, table: &str, flags: u32) {
    batch.message(NEW_TABLE, flag::CREATE, "make a table", &header(INET), |batch| {
        batch.attribute_text(1, table);
        batch.attribute_be32(2, flags);
    });
}

/// What a refused removal of a table is called in its error.
pub const DELETING_TABLE: &str = "remove a table";

/// Removes a table with everything in it. Only its owner may, where it has one.
pub fn delete_table(batch: &mut Batch, table: &str) {
    batch.message(DELETE_TABLE, 0, DELETING_TABLE, &header(INET), |batch| batch.attribute_text(1, table));
}

/// Where a chain sees packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Arrived, before the routing decision.
    Prerouting,
    /// For this host.
    Input,
    /// For another host.
    Forward,
    /// Made by this host.
    Output,
    /// About to leave.
    Postrouting,
}

/// Makes a chain that the kernel calls. `kind` is `filter` or `nat`; its policy is accept.
pub fn add_base_chain(batch: &mut Batch, table: &str, chain: &str, kind: &str, hook: Hook, priority: i32) {
    batch.message(NEW_CHAIN, flag::CREATE, "make a chain", &header(INET), |batch| {
        batch.attribute_text(1, table);
        batch.attribute_text(3, chain);
        batch.nested(4, |batch| {
            batch.attribute_be32(1, hook as u32);
            batch.attribute(2, &priority.to_be_bytes());
        });
        batch.attribute_be32(5, 1);
        batch.attribute_text(7, kind);
    });
}

/// Makes a chain that rules jump to.
pub fn add_chain(batch: &mut Batch, table: &str, chain: &str) {
    batch.message(NEW_CHAIN, flag::CREATE, "make a chain", &header(INET), |batch| {
        batch.attribute_text(1, table);
        batch.attribute_text(3, chain);
    });
}

/// A set, or a map where values have a length.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    /// Its name.
    pub name: &'a str,
    /// [`data_type`] of the key.
    pub key_type: u32,
    /// Bytes of the key, each part padded to four.
    pub key_length: u32,
    /// [`data_type`] of the value.
    pub value_type: u32,
    /// Bytes of the value; 0 for a set.
    pub value_length: u32,
    /// [`SET_INTERVAL`] or 0.
    pub flags: u32,
}

/// Makes a set.
pub fn add_set(batch: &mut Batch, table: &str, set: &Set<'_>) {
    let number = batch.len() as u32;
    batch.message(NEW_SET, flag::CREATE, "make a set", &header(INET), |batch| {
        batch.attribute_text(1, table);
        batch.attribute_text(2, set.name);
        batch.attribute_be32(3, set.flags | if set.value_length > 0 { SET_MAP } else { 0 });
        batch.attribute_be32(4, set.key_type);
        batch.attribute_be32(5, set.key_length);
        if set.value_length > 0 {
            batch.attribute_be32(6, set.value_type);
            batch.attribute_be32(7, set.value_length);
        }
        batch.attribute_be32(10, number);
    });
}

/// One element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// The key.
    pub key: Vec<u8>,
    /// The value, empty in a set.
    pub value: Vec<u8>,
    /// The key ends a range of a set with [`SET_INTERVAL`].
    pub end: bool,
}

impl Element {
    /// A member of a set.
    pub fn key(key: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), value: Vec::new(), end: false }
    }

    /// An entry of a map.
    pub fn entry(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), value: value.into(), end: false }
    }

    /// The end of a range (the first key behind it).
    pub fn end(key: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), value: Vec::new(), end: true }
    }
}

/// Adds elements. A map entry that exists with another value is refused, one with the same value is fine.
pub fn add_elements(batch: &mut Batch, table: &str, set: &str, elements: &[Element]) {
    // An attribute is at most 64 KiB long.
    for elements in elements.chunks(400) {
        batch.message(NEW_ELEMENT, flag::CREATE, "add elements", &header(INET), |batch| {
            write_elements(batch, table, set, elements, true);
        });
    }
}

/// Removes elements; one that is missing refuses the whole batch.
pub fn delete_elements(batch: &mut Batch, table: &str, set: &str, elements: &[Element]) {
    for elements in elements.chunks(400) {
        batch.message(DELETE_ELEMENT, 0, "remove elements", &header(INET), |batch| {
            write_elements(batch, table, set, elements, false);
        });
    }
}

fn write_elements(batch: &mut Batch, table: &str, set: &str, elements: &[Element], values: bool) {
    batch.attribute_text(1, table);
    batch.attribute_text(2, set);
    batch.nested(3, |batch| {
        for element in elements {
            batch.nested(1, |batch| {
                batch.nested(1, |batch| batch.attribute(1, &element.key));
                if values && !element.value.is_empty() {
                    batch.nested(2, |batch| batch.attribute(1, &element.value));
                }
                if element.end {
                    batch.attribute_be32(3, ELEMENT_END);
                }
            });
        }
    });
}

/// Lists a set's elements. A set that does not exist has none.
pub fn elements(socket: &mut Socket, table: &str, set: &str) -> Result<Vec<Element>, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(GET_ELEMENT, flag::DUMP, "list elements", &header(INET), |batch| {
        batch.attribute_text(1, table);
        batch.attribute_text(2, set);
    });
    let mut elements = Vec::new();
    match socket.dump(&batch, |message| read_elements(message.attributes(4), &mut elements)) {
        Err(error) if error.is_missing() => Ok(Vec::new()),
        other => other.map(|_| elements),
    }
}

fn read_elements(attributes: Attributes<'_>, elements: &mut Vec<Element>) {
    let Some(list) = attributes.get(3) else { return };
    for element in list.nested() {
        let value = |kind| {
            element
                .nested()
                .get(kind)
                .and_then(|data| data.nested().get(1))
                .map(|value| value.payload.to_vec())
        };
        let flags = element.nested().get(3).and_then(|flags| flags.be32()).unwrap_or(0);
        if let Some(key) = value(1) {
            elements.push(Element {
                key,
                value: value(2).unwrap_or_default(),
                end: flags & ELEMENT_END != 0,
            });
        }
    }
}

/// A table's flags, where it exists in the family [`INET`].
pub fn table_flags(socket: &mut Socket, table: &str) -> Result<Option<u32>, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(GET_TABLE, 0, "find a table", &header(INET), |batch| batch.attribute_text(1, table));
    match socket.get(batch, |message| message.attributes(4).get(2).and_then(|flags| flags.be32())) {
        Err(error) if error.is_missing() => Ok(None),
        other => other,
    }
}

/// A chain that the kernel calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseChain {
    /// `NFPROTO_*`.
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// `filter`, `nat`, `route`.
    pub kind: String,
    /// The hook's number; see [`Hook`].
    pub hook: u32,
    /// Whether a packet that no rule decides is dropped.
    pub drops: bool,
}

/// Lists the base chains of all tables.
pub fn base_chains(socket: &mut Socket) -> Result<Vec<BaseChain>, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(GET_CHAIN, flag::DUMP, "list chains", &header(0), |_| {});
    let mut chains = Vec::new();
    socket.dump(&batch, |message| chains.extend(read_chain(message)))?;
    Ok(chains)
}

fn read_chain(message: Message<'_>) -> Option<BaseChain> {
    if message.kind != NEW_CHAIN {
        return None;
    }
    let attributes = message.attributes(4);
    Some(BaseChain {
        family: *message.payload.first()?,
        table: attributes.get(1)?.text()?.to_owned(),
        name: attributes.get(3)?.text()?.to_owned(),
        kind: attributes.get(7)?.text()?.to_owned(),
        hook: attributes.get(4)?.nested().get(1)?.be32()?,
        drops: attributes.get(5)?.be32()? == 0,
    })
}

#[cfg(test)]
mod tests {
    use super::super::message::messages;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn elements_read_back() {
        let written = vec![
            Element::entry([0, 0, 0, 6, 0, 80, 0, 0], [10, 0, 0, 2, 0, 80, 0, 0]),
            Element::key([1, 2, 3, 4]),
            Element::end([1, 2, 3, 5]),
        ];
        let mut batch = Batch::new();
        add_elements(&mut batch, "t", "s", &written);
        let mut read = Vec::new();
        read_elements(messages(batch.bytes()).next().unwrap().attributes(4), &mut read);
        assert_eq!(read, written);
    }

    #[test]
    fn many_elements_take_several_messages() {
        let elements: Vec<_> =
            (0..2000_u32).map(|number| Element::entry([0; 28], number.to_be_bytes())).collect();
        let mut batch = Batch::new();
        begin(&mut batch);
        add_elements(&mut batch, "t", "s", &elements);
        end(&mut batch);
        assert!(!batch.overflow);
        assert_eq!(messages(batch.bytes()).count(), 7);
    }

    #[test]
    fn types_of_keys_are_joined_as_nft_does() {
        assert_eq!(
            data_type::concat(&[data_type::IPV4, data_type::PROTOCOL, data_type::PORT]),
            7 * 64 * 64 + 12 * 64 + 13
        );
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0_u16..16) {
            let message = Message { kind: NEW_TABLE + kind, flags: 0, sequence: 0, payload: &bytes };
            let mut elements = Vec::new();
            read_elements(message.attributes(4), &mut elements);
            let _ = read_chain(message);
        }
    }
}
