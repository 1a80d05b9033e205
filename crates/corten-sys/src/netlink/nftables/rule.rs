//! Rules: expressions that load, compare and act, one after the other.

use super::super::message::{Batch, flag};
use super::{INET, NEW_RULE, REGISTER, header};

/// What is known of a packet apart from its bytes (`NFT_META_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    /// The name of the interface it came in by, 16 bytes.
    InputName = 6,
    /// The name of the interface it leaves by, 16 bytes.
    OutputName = 7,
    /// [`IPV4`] or [`IPV6`], 1 byte.
    Family = 15,
    /// The transport protocol, 1 byte.
    Transport = 16,
    /// The driver of the interface it came in by, 16 bytes.
    InputKind = 26,
    /// The driver of the interface it leaves by, 16 bytes.
    OutputKind = 27,
}

/// Where a rule goes when it matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// The packet passes this hook's chain.
    Accept,
    /// The packet is gone.
    Drop,
    /// On in another chain, and back.
    Jump(&'a str),
    /// Back to the caller.
    Return,
}

/// A rule's expressions, added one after the other.
#[derive(Debug, Default)]
pub struct Rule {
    expressions: Batch,
}

impl Rule {
    /// A rule that matches everything and does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Its expressions, as they are sent and listed.
    pub fn bytes(&self) -> &[u8] {
        self.expressions.bytes()
    }

    pub(super) fn expression(mut self, name: &str, body: impl FnOnce(&mut Batch)) -> Self {
        self.expressions.nested(1, |batch| {
            batch.attribute_text(1, name);
            batch.nested(2, body);
        });
        self
    }

    /// Loads what is known of the packet.
    pub fn meta(self, key: Meta, register: u32) -> Self {
        self.expression("meta", |batch| {
            batch.attribute_be32(1, register);
            batch.attribute_be32(2, key as u32);
        })
    }

    /// Loads bytes of the network header.
    pub fn network(self, offset: u32, length: u32, register: u32) -> Self {
        self.payload(1, offset, length, register)
    }

    /// Loads bytes of the transport header.
    pub fn transport(self, offset: u32, length: u32, register: u32) -> Self {
        self.payload(2, offset, length, register)
    }

    fn payload(self, base: u32, offset: u32, length: u32, register: u32) -> Self {
        self.expression("payload", |batch| {
            batch.attribute_be32(1, register);
            batch.attribute_be32(2, base);
            batch.attribute_be32(3, offset);
            batch.attribute_be32(4, length);
        })
    }

    /// Matches where the register holds (or does not hold) these bytes.
    pub fn compare(self, register: u32, equal: bool, value: &[u8]) -> Self {
        self.expression("cmp", |batch| {
            batch.attribute_be32(1, register);
            batch.attribute_be32(2, u32::from(!equal));
            batch.nested(3, |batch| batch.attribute(1, value));
        })
    }

    /// Matches IPv4 or IPv6.
    pub fn family(self, family: u8) -> Self {
        self.meta(Meta::Family, REGISTER).compare(REGISTER, true, &[family])
    }

    /// Matches an interface by its name.
    pub fn interface(self, key: Meta, equal: bool, name: &str) -> Self {
        self.meta(key, REGISTER).compare(REGISTER, equal, &interface_key(name))
    }

    /// Matches an IPv4 or IPv6 network at an offset of the network header.
    pub fn masked(self, offset: u32, mask: &[u8], equal: bool, value: &[u8]) -> Self {
        let length = mask.len() as u32;
        self.network(offset, length, REGISTER).bitwise(REGISTER, mask).compare(REGISTER, equal, value)
    }

    fn bitwise(self, register: u32, mask: &[u8]) -> Self {
        self.expression("bitwise", |batch| {
            batch.attribute_be32(1, register);
            batch.attribute_be32(2, register);
            batch.attribute_be32(3, mask.len() as u32);
            batch.nested(4, |batch| batch.attribute(1, mask));
            batch.nested(5, |batch| batch.attribute(1, &vec![0; mask.len()]));
        })
    }

    /// Matches where one of these bits of the connection's state is set ([`STATE_ESTABLISHED`] …).
    pub fn connection_state(self, bits: u32) -> Self {
        self.connection(0, bits)
    }

    /// Matches where the connection's destination was changed (by whomever).
    pub fn destination_changed(self) -> Self {
        const STATUS: u32 = 2;
        const DESTINATION_NAT: u32 = 1 << 5;
        self.connection(STATUS, DESTINATION_NAT)
    }

    fn connection(self, key: u32, bits: u32) -> Self {
        self.expression("ct", |batch| {
            batch.attribute_be32(1, REGISTER);
            batch.attribute_be32(2, key);
        })
        .bitwise(REGISTER, &bits.to_ne_bytes())
        .compare(REGISTER, false, &[0; 4])
    }

    /// Matches where the destination is one of this host's addresses.
    pub fn destination_is_local(self) -> Self {
        const ADDRESS_TYPE: u32 = 3;
        const DESTINATION: u32 = 2;
        const LOCAL: u32 = 2;
        self.expression("fib", |batch| {
            batch.attribute_be32(1, REGISTER);
            batch.attribute_be32(2, ADDRESS_TYPE);
            batch.attribute_be32(3, DESTINATION);
        })
        .compare(REGISTER, true, &LOCAL.to_ne_bytes())
    }

    /// Matches where the key in the registers from `register` on is in the set, or is not.
    pub fn in_set(self, set: &str, register: u32, inverted: bool) -> Self {
        self.expression("lookup", |batch| {
            batch.attribute_text(1, set);
            batch.attribute_be32(2, register);
            if inverted {
                batch.attribute_be32(5, 1);
            }
        })
    }

    /// Matches where the map has the key, and puts its value where the key was.
    pub fn in_map(self, map: &str, register: u32) -> Self {
        self.expression("lookup", |batch| {
            batch.attribute_text(1, map);
            batch.attribute_be32(2, register);
            batch.attribute_be32(3, register);
        })
    }

    /// Changes the destination to the address and port in registers.
    pub fn change_destination(self, family: u8, address: u32, port: u32) -> Self {
        const DESTINATION: u32 = 1;
        self.expression("nat", |batch| {
            batch.attribute_be32(1, DESTINATION);
            batch.attribute_be32(2, u32::from(family));
            batch.attribute_be32(3, address);
            batch.attribute_be32(5, port);
        })
    }

    /// Gives the packet this host's address.
    pub fn masquerade(self) -> Self {
        self.expression("masq", |_| {})
    }

    /// Ends the rule.
    pub fn verdict(self, verdict: Verdict<'_>) -> Self {
        let (code, chain) = match verdict {
            Verdict::Drop => (0_i32, None),
            Verdict::Accept => (1, None),
            Verdict::Jump(chain) => (-3, Some(chain)),
            Verdict::Return => (-5, None),
        };
        self.expression("immediate", |batch| {
            batch.attribute_be32(1, 0);
            batch.nested(2, |batch| {
                batch.nested(2, |batch| {
                    batch.attribute(1, &code.to_be_bytes());
                    if let Some(chain) = chain {
                        batch.attribute_text(2, chain);
                    }
                });
            });
        })
    }
}

/// The connection has been seen in both directions.
pub const STATE_ESTABLISHED: u32 = 2;
/// The packet belongs to a known connection (an error message about it).
pub const STATE_RELATED: u32 = 4;

/// An interface's name as a key: 16 bytes.
pub fn interface_key(name: &str) -> [u8; 16] {
    let mut key = [0; 16];
    let length = name.len().min(15);
    key[..length].copy_from_slice(&name.as_bytes()[..length]);
    key
}

/// Adds a rule at the end of a chain.
pub fn add_rule(batch: &mut Batch, table: &str, chain: &str, rule: &Rule) {
    batch.message(NEW_RULE, flag::CREATE | flag::APPEND, "add a rule", &header(INET), |batch| {
        batch.attribute_text(1, table);
        batch.attribute_text(2, chain);
        batch.nested(4, |batch| batch.bytes.extend_from_slice(&rule.expressions.bytes));
    });
}
