//! What other programs have in their tables: rules and sets, as the kernel lists them.

use super::{GET_ELEMENT, NEW_RULE, NEW_SET, header};
use crate::netlink::message::{Attributes, Batch, Message, flag};
use crate::netlink::socket::{NetlinkError, Socket};

/// `NFT_MSG_GETRULE`.
const GET_RULE: u16 = NEW_RULE + 1;
/// `NFT_MSG_GETSET`.
const GET_SET: u16 = NEW_SET + 1;

/// A rule as it lies in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRule {
    /// Its chain.
    pub chain: String,
    /// Its expressions, attributes of kind 1.
    pub expressions: Vec<u8>,
}

/// An element of a set or map as it lies in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedElement {
    /// The key, or the first of a range; empty for what stands for every other key.
    pub key: Vec<u8>,
    /// The last key, where the element has both ends.
    pub last: Option<Vec<u8>>,
    /// The key is the first behind the range before.
    pub end: bool,
    /// Code and chain, where the element leads to a verdict.
    pub verdict: Option<(i32, String)>,
}

/// Lists the rules of a table, in their order.
pub fn rules(socket: &mut Socket, family: u8, table: &str) -> Result<Vec<ListedRule>, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(GET_RULE, flag::DUMP, "list rules", &header(family), |batch| {
        batch.attribute_text(1, table);
    });
    let mut rules = Vec::new();
    socket.dump(&batch, |message| {
        let attributes = message.attributes(4);
        // Kernels that do not select by table list all.
        let of_table = message.payload.first() == Some(&family)
            && attributes.get(1).and_then(|name| name.text()) == Some(table);
        if message.kind == NEW_RULE && of_table {
            let chain = attributes.get(2).and_then(|chain| chain.text()).unwrap_or_default().to_owned();
            let expressions = attributes.get(4).map(|list| list.payload.to_vec()).unwrap_or_default();
            rules.push(ListedRule { chain, expressions });
        }
    })?;
    Ok(rules)
}

/// The names of a table's sets and maps.
pub fn sets(socket: &mut Socket, family: u8, table: &str) -> Result<Vec<String>, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(GET_SET, flag::DUMP, "list sets", &header(family), |batch| batch.attribute_text(1, table));
    let mut names = Vec::new();
    socket.dump(&batch, |message| {
        let attributes = message.attributes(4);
        if message.kind == NEW_SET && attributes.get(1).and_then(|name| name.text()) == Some(table) {
            names.extend(attributes.get(2).and_then(|name| name.text()).map(str::to_owned));
        }
    })?;
    Ok(names)
}

/// Lists the elements of any table's set, in the order of their keys; what stands for every other key is the last.
pub fn listed_elements(
    socket: &mut Socket,
    family: u8,
    table: &str,
    set: &str,
) -> Result<Vec<ListedElement>, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(GET_ELEMENT, flag::DUMP, "list elements", &header(family), |batch| {
        batch.attribute_text(1, table);
        batch.attribute_text(2, set);
    });
    let mut elements = Vec::new();
    match socket.dump(&batch, |message| read_elements(&message.attributes(4), &mut elements)) {
        Err(error) if error.is_missing() => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(_) => {
            elements.sort_by(|left, right| {
                let keys = left.key.is_empty().cmp(&right.key.is_empty()).then(left.key.cmp(&right.key));
                keys.then(right.end.cmp(&left.end))
            });
            Ok(elements)
        }
    }
}

/// What a message of [`super::super::Socket::listen`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something of this table changed.
    Of(String),
    /// This table is gone.
    Gone(String),
    /// A batch of changes ended.
    Nothing,
}

/// Reads what changed in nftables.
pub fn changed(message: &Message<'_>) -> Change {
    const NEW_GENERATION: u16 = super::NEW_TABLE + 15;
    let table = message.attributes(4).get(1).and_then(|name| name.text().map(str::to_owned));
    match (message.kind, table) {
        (NEW_GENERATION, _) | (_, None) => Change::Nothing,
        (super::DELETE_TABLE, Some(table)) => Change::Gone(table),
        (_, Some(table)) => Change::Of(table),
    }
}

fn read_elements(attributes: &Attributes<'_>, elements: &mut Vec<ListedElement>) {
    const END: u32 = 1;
    const CATCH_ALL: u32 = 2;
    let Some(list) = attributes.get(3) else { return };
    for element in list.nested() {
        let part = |kind| element.nested().get(kind);
        let bytes = |kind| Some(part(kind)?.nested().get(1)?.payload.to_vec());
        let flags = part(3).and_then(|flags| flags.be32()).unwrap_or(0);
        let verdict = part(2).and_then(|data| {
            let inner = data.nested().get(2)?.nested();
            let code = i32::from_be_bytes(inner.get(1)?.payload.try_into().ok()?);
            Some((code, inner.get(2).and_then(|chain| chain.text()).unwrap_or_default().to_owned()))
        });
        if flags & CATCH_ALL != 0 {
            elements.push(ListedElement { key: Vec::new(), last: None, end: false, verdict });
        } else if let Some(key) = bytes(1) {
            elements.push(ListedElement { key, last: bytes(10), end: flags & END != 0, verdict });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::attributes;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            read_elements(&attributes(&bytes), &mut Vec::new());
            let _ = changed(&Message { kind: super::super::DELETE_TABLE, flags: 0, sequence: 0, payload: &bytes });
        }
    }
}
