//! Expressions that change a packet's bytes, that look at how a connection began, and the emptying of chains.

use super::{NEW_RULE, REGISTER, Rule, header};
use crate::netlink::message::Batch;

/// `NFT_PAYLOAD_TRANSPORT_HEADER`.
const TRANSPORT_HEADER: u32 = 2;
/// `NFT_PAYLOAD_CSUM_INET`.
const INTERNET_CHECKSUM: u32 = 1;

/// `NFT_MSG_DELRULE`.
const DELETE_RULE: u16 = NEW_RULE + 2;

/// Removes every rule of a chain.
pub fn flush_chain(batch: &mut Batch, table: &str, chain: &str) {
    batch.message(DELETE_RULE, 0, "empty a chain", &header(super::INET), |batch| {
        batch.attribute_text(1, table);
        batch.attribute_text(2, chain);
    });
}

impl Rule {
    /// Loads the port that the connection was made to, before it was redirected.
    pub fn original_port(self, register: u32) -> Self {
        const DESTINATION_PORT: u32 = 12;
        const ORIGINAL: u8 = 0;
        self.expression("ct", |batch| {
            batch.attribute_be32(1, register);
            batch.attribute_be32(2, DESTINATION_PORT);
            batch.attribute_u8(3, ORIGINAL);
        })
    }

    /// Matches where the bytes at an offset of the network header lie between these, both in it.
    pub fn between(self, offset: u32, first: &[u8], last: &[u8]) -> Self {
        self.network(offset, first.len() as u32, REGISTER).expression("range", |batch| {
            batch.attribute_be32(1, REGISTER);
            batch.attribute_be32(2, 0);
            batch.nested(3, |batch| batch.attribute(1, first));
            batch.nested(4, |batch| batch.attribute(1, last));
        })
    }

    /// Puts these bytes into a register.
    pub fn load(self, register: u32, value: &[u8]) -> Self {
        self.expression("immediate", |batch| {
            batch.attribute_be32(1, register);
            batch.nested(2, |batch| batch.attribute(1, value));
        })
    }

    /// Writes a register's first bytes into the transport header, and mends the checksum that lies at this offset of it.
    pub fn write_transport(self, offset: u32, length: u32, register: u32, checksum: u32) -> Self {
        self.expression("payload", |batch| {
            batch.attribute_be32(2, TRANSPORT_HEADER);
            batch.attribute_be32(3, offset);
            batch.attribute_be32(4, length);
            batch.attribute_be32(5, register);
            batch.attribute_be32(6, INTERNET_CHECKSUM);
            batch.attribute_be32(7, checksum);
        })
    }
}
