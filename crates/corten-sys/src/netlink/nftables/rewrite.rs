//! Expressions that change a packet's bytes.

use super::Rule;

/// `NFT_PAYLOAD_TRANSPORT_HEADER`.
const TRANSPORT_HEADER: u32 = 2;
/// `NFT_PAYLOAD_CSUM_INET`.
const INTERNET_CHECKSUM: u32 = 1;

impl Rule {
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
