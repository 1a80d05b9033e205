//! The encoding shared by all netlink families: messages of a 16-byte head, a fixed header and attributes, everything
//! aligned to four bytes (linux/netlink.h).

/// `NLM_F_REQUEST`: always set on what we send.
const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`: the kernel answers even when all is well.
pub(super) const ACK: u16 = 0x4;
/// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`, which are no part of an attribute's number.
const ATTRIBUTE_FLAGS: u16 = 0xc000;
const NESTED: u16 = 0x8000;
/// Bytes of a message's head.
const HEAD: usize = 16;

/// What to do with an object that exists or does not (`NLM_F_*`); several may be added.
pub mod flag {
    /// Make it.
    pub const CREATE: u16 = 0x400;
    /// Fail where it exists.
    pub const EXCLUSIVE: u16 = 0x200;
    /// Replace it where it exists.
    pub const REPLACE: u16 = 0x100;
    /// Put it last.
    pub const APPEND: u16 = 0x800;
    /// All objects (`NLM_F_ROOT | NLM_F_MATCH`).
    pub const DUMP: u16 = 0x300;
}

/// Messages that are sent as one.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) bytes: Vec<u8>,
    /// Where the last message's head begins.
    pub(super) last: usize,
    /// What each message does, for the error text; the index is the sequence number.
    pub(super) operations: Vec<&'static str>,
    /// An attribute grew over 65,535 bytes, so that its length does not fit: the batch is refused when sent.
    pub(super) overflow: bool,
}

impl Batch {
    /// No messages yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// The bytes as they are sent, apart from the flag that asks for an answer.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a message: its kind, flags of [`flag`], what it does (for errors), its fixed header, and its attributes.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        operation: &'static str,
        header: &[u8],
        body: impl FnOnce(&mut Self),
    ) {
        let start = self.bytes.len();
        self.last = start;
        let sequence = self.operations.len() as u32;
        self.operations.push(operation);
        self.bytes.extend_from_slice(&0_u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0_u32.to_ne_bytes());
        self.raw(header);
        body(self);
        let length = self.bytes.len() - start;
        self.bytes[start..start + 4].copy_from_slice(&(length as u32).to_ne_bytes());
    }

    /// Adds bytes and the padding behind them.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }

    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(length, 0);
    }

    /// Adds an attribute.
    pub fn attribute(&mut self, kind: u16, payload: &[u8]) {
        let Ok(length) = u16::try_from(payload.len() + 4) else {
            self.overflow = true;
            return;
        };
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.raw(payload);
    }

    /// Adds an attribute that holds attributes.
    pub fn nested(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        body(self);
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => self.overflow = true,
        }
    }

    /// Adds an attribute of one byte.
    pub fn attribute_u8(&mut self, kind: u16, value: u8) {
        self.attribute(kind, &[value]);
    }

    /// Adds a number in the machine's byte order (rtnetlink).
    pub fn attribute_u32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    /// Adds a number in network byte order (nfnetlink).
    pub fn attribute_be32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// Adds a text with the zero byte that ends it; a zero byte inside ends it early for the kernel.
    pub fn attribute_text(&mut self, kind: u16, text: &str) {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        self.attribute(kind, &bytes);
    }
}

/// One message of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its number; families give the meaning.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// The number of the request that it answers.
    pub sequence: u32,
    /// Header and attributes.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The attributes behind a fixed header of this many bytes; none where the message is shorter.
    pub fn attributes(&self, header: usize) -> Attributes<'a> {
        attributes(self.payload.get(header.next_multiple_of(4)..).unwrap_or_default())
    }
}

/// Reads messages until the bytes end or do not parse.
pub fn messages(bytes: &[u8]) -> Messages<'_> {
    Messages { bytes }
}

/// See [`messages`].
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = u32_at(self.bytes, 0)? as usize;
        if length < HEAD || length > self.bytes.len() {
            self.bytes = &[];
            return None;
        }
        let message = Message {
            kind: u16_at(self.bytes, 4)?,
            flags: u16_at(self.bytes, 6)?,
            sequence: u32_at(self.bytes, 8)?,
            payload: &self.bytes[HEAD..length],
        };
        self.bytes = self.bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its number, without flags.
    pub kind: u16,
    /// Its bytes.
    pub payload: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The attributes inside.
    pub fn nested(&self) -> Attributes<'a> {
        attributes(self.payload)
    }

    /// A number in the machine's byte order.
    pub fn u32(&self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.payload.try_into().ok()?))
    }

    /// A number in network byte order.
    pub fn be32(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.payload.try_into().ok()?))
    }

    /// A port number.
    pub fn be16(&self) -> Option<u16> {
        Some(u16::from_be_bytes(self.payload.try_into().ok()?))
    }

    /// A text up to its zero byte.
    pub fn text(&self) -> Option<&'a str> {
        let end = self.payload.iter().position(|byte| *byte == 0).unwrap_or(self.payload.len());
        std::str::from_utf8(&self.payload[..end]).ok()
    }

    /// An IPv4 or IPv6 address, told by its length.
    pub fn address(&self) -> Option<std::net::IpAddr> {
        if let Ok(bytes) = <[u8; 4]>::try_from(self.payload) {
            Some(bytes.into())
        } else {
            Some(<[u8; 16]>::try_from(self.payload).ok()?.into())
        }
    }
}

/// Reads attributes until the bytes end or do not parse.
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes { bytes }
}

/// See [`attributes`].
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// The first attribute with this number.
    pub fn get(&self, kind: u16) -> Option<Attribute<'a>> {
        self.clone().find(|attribute| attribute.kind == kind)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let length = usize::from(u16_at(self.bytes, 0)?);
        let kind = u16_at(self.bytes, 2)?;
        if length < 4 || length > self.bytes.len() {
            self.bytes = &[];
            return None;
        }
        let payload = &self.bytes[4..length];
        self.bytes = self.bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Attribute { kind: kind & !ATTRIBUTE_FLAGS, payload })
    }
}

pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A tree of attributes as it is written and read again.
    #[derive(Clone, Debug, PartialEq)]
    enum Tree {
        Leaf(u16, Vec<u8>),
        Node(u16, Vec<Tree>),
    }

    fn write(tree: &Tree, batch: &mut Batch) {
        match tree {
            Tree::Leaf(kind, payload) => batch.attribute(*kind, payload),
            Tree::Node(kind, children) => {
                batch.nested(*kind, |batch| children.iter().for_each(|tree| write(tree, batch)));
            }
        }
    }

    fn matches(tree: &Tree, attribute: &Attribute<'_>) -> bool {
        match tree {
            Tree::Leaf(kind, payload) => *kind == attribute.kind && payload == attribute.payload,
            Tree::Node(kind, children) => {
                let inner: Vec<_> = attribute.nested().collect();
                *kind == attribute.kind
                    && inner.len() == children.len()
                    && children.iter().zip(&inner).all(|(tree, attribute)| matches(tree, attribute))
            }
        }
    }

    fn trees() -> impl Strategy<Value = Vec<Tree>> {
        let leaf = (0_u16..0x3fff, prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(kind, payload)| Tree::Leaf(kind, payload));
        let tree = leaf.prop_recursive(4, 40, 6, |inner| {
            (0_u16..0x3fff, prop::collection::vec(inner, 0..6))
                .prop_map(|(kind, children)| Tree::Node(kind, children))
        });
        prop::collection::vec(tree, 0..6)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(messages_in in prop::collection::vec((any::<u16>(), any::<[u8; 8]>(), trees()), 0..5)) {
            let mut batch = Batch::new();
            for (kind, header, trees) in &messages_in {
                batch.message(*kind, 0, "test", header, |batch| trees.iter().for_each(|tree| write(tree, batch)));
            }
            let read: Vec<_> = messages(batch.bytes()).collect();
            prop_assert_eq!(read.len(), messages_in.len());
            for (index, (message, (kind, header, trees))) in read.iter().zip(&messages_in).enumerate() {
                prop_assert_eq!(message.kind, *kind);
                prop_assert_eq!(message.sequence as usize, index);
                prop_assert_eq!(&message.payload[..8], header);
                let inner: Vec<_> = message.attributes(8).collect();
                prop_assert_eq!(inner.len(), trees.len());
                prop_assert!(trees.iter().zip(&inner).all(|(tree, attribute)| matches(tree, attribute)));
            }
        }

        #[test]
        fn garbage_ends_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            fn descend(attributes: Attributes<'_>, depth: usize) -> usize {
                attributes.map(|attribute| {
                    let _ = (attribute.text(), attribute.u32(), attribute.be32(), attribute.be16(), attribute.address());
                    if depth < 8 { 1 + descend(attribute.nested(), depth + 1) } else { 1 }
                }).sum()
            }
            let total: usize = messages(&bytes).map(|message| descend(message.attributes(4), 0)).sum();
            prop_assert!(total + descend(attributes(&bytes), 0) <= 8 * bytes.len());
        }

        #[test]
        fn damage_never_panics(at in 0_usize..400, value in any::<u8>(), trees in trees()) {
            let mut batch = Batch::new();
            batch.message(1, 0, "test", &[0; 4], |batch| trees.iter().for_each(|tree| write(tree, batch)));
            let mut bytes = batch.bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = value;
            for message in messages(&bytes) {
                for attribute in message.attributes(4) {
                    attribute.nested().for_each(drop);
                }
            }
        }
    }

    #[test]
    fn an_attribute_that_is_too_long_is_noticed() {
        let mut batch = Batch::new();
        batch.message(1, 0, "test", &[], |batch| batch.attribute(1, &vec![0; 70_000]));
        assert!(batch.overflow);
        let mut batch = Batch::new();
        batch.message(1, 0, "test", &[], |batch| {
            batch.nested(1, |batch| (0..70).for_each(|_| batch.attribute(1, &[0; 1000])));
        });
        assert!(batch.overflow);
    }
}
