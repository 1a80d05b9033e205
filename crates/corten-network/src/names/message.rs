//! DNS messages (RFC 1035, EDNS of RFC 6891): read a query, write its reply, look over a server's reply.
//!
//! Only what a resolver between programs and servers needs: a query is read to the end of its records, so that it is
//! known to be whole; the records of a server's reply are passed on as they came. Everything read here was written by
//! others and may be anything.

use std::net::IpAddr;

/// Bytes of the head of every message.
pub const HEAD: usize = 12;
/// The longest message, over TCP.
pub const LONGEST: usize = 65_535;
/// The longest message over UDP for those who do not say how much they take.
pub const LEAST: usize = 512;
/// The longest name on the wire, its zero byte included.
const NAME: usize = 255;
/// What we take over UDP, told to those who tell it us: a size that is not cut into fragments on the way.
const OUR_SIZE: u16 = 1232;

const RESPONSE: u16 = 0x8000;
const OPERATION: u16 = 0x7800;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;
const CHECKING_DISABLED: u16 = 0x0010;

/// The class of everything on the internet.
pub const INTERNET: u16 = 1;

/// Types of records that are answered here.
pub mod kind {
    /// An IPv4 address.
    pub const A: u16 = 1;
    /// A name.
    pub const PTR: u16 = 12;
    /// A mail server.
    pub const MX: u16 = 15;
    /// An IPv6 address.
    pub const AAAA: u16 = 28;
    /// What a side can do (EDNS), among the additional records.
    pub const OPT: u16 = 41;
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Answered, perhaps with nothing.
    NoError = 0,
    /// The query could not be read.
    FormatError = 1,
    /// No server could answer it.
    ServerFailure = 2,
    /// An operation that is none of ours.
    NotImplemented = 4,
    /// Too much is asked at present.
    Refused = 5,
}

/// A message that is no query that can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has no head, or is a reply itself: an answer would go to nobody, or round in circles.
    Ignored,
    /// It is answered with this code.
    Answered(Code),
}

/// A name in lower case, its labels joined by dots, without the last dot.
#[derive(Clone, Copy)]
pub struct Name {
    bytes: [u8; NAME],
    length: usize,
    plain: bool,
}

impl Name {
    /// The name as text, where it can be one of ours: printable, and no label with a dot in it.
    pub fn text(&self) -> Option<&str> {
        self.plain.then(|| std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default())
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", String::from_utf8_lossy(&self.bytes[..self.length]).escape_debug())
    }
}

/// A query as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// All of it.
    pub message: &'a [u8],
    /// What it asks for.
    pub name: Name,
    /// [`kind`] of record.
    pub kind: u16,
    /// [`INTERNET`], for all practical purposes.
    pub class: u16,
    /// The most bytes of a reply over UDP that its sender takes, where it says so.
    pub size: Option<u16>,
    /// Where the question ends.
    end: usize,
}

fn number(message: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(offset..offset + 2)?.try_into().ok()?))
}

/// The number by which sender and answerer know a message.
pub fn id(message: &[u8]) -> Option<u16> {
    number(message, 0)
}

/// Gives a message another number.
pub fn set_id(message: &mut [u8], id: u16) {
    if let Some(place) = message.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

/// Reads a name that is not compressed, as that of a question has to be. Where it ends.
fn read_name(message: &[u8], start: usize) -> Option<(Name, usize)> {
    let mut name = Name { bytes: [0; NAME], length: 0, plain: true };
    let mut at = start;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        // The two highest bits mark pointers and what never came to be.
        if length > 63 || at + length - start >= NAME {
            return None;
        }
        let label = message.get(at..at + length)?;
        if name.length > 0 {
            name.bytes[name.length] = b'.';
            name.length += 1;
        }
        for byte in label {
            name.plain &= byte.is_ascii_graphic() && *byte != b'.';
            name.bytes[name.length] = byte.to_ascii_lowercase();
            name.length += 1;
        }
        at += length;
    }
}

/// Where a name ends that may be compressed.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *message.get(at)?;
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + usize::from(length),
            192.. => return (at + 2 <= message.len()).then_some(at + 2),
            _ => return None,
        }
    }
}

/// Reads a query.
pub fn read_query(message: &[u8]) -> Result<Query<'_>, Refusal> {
    let counts = |index: usize| number(message, 4 + 2 * index).ok_or(Refusal::Ignored);
    let flags = number(message, 2).ok_or(Refusal::Ignored)?;
    let (questions, answers, authorities, additional) = (counts(0)?, counts(1)?, counts(2)?, counts(3)?);
    if flags & RESPONSE != 0 {
        return Err(Refusal::Ignored);
    }
    if flags & OPERATION != 0 {
        return Err(Refusal::Answered(Code::NotImplemented));
    }
    if questions != 1 {
        return Err(Refusal::Answered(Code::FormatError));
    }
    read_body(message, u32::from(answers) + u32::from(authorities) + u32::from(additional))
        .ok_or(Refusal::Answered(Code::FormatError))
}

fn read_body(message: &[u8], records: u32) -> Option<Query<'_>> {
    let (name, at) = read_name(message, HEAD)?;
    let (kind, class, end) = (number(message, at)?, number(message, at + 2)?, at + 4);
    let mut query = Query { message, name, kind, class, size: None, end };
    let mut at = end;
    for _ in 0..records {
        let fixed = skip_name(message, at)?;
        let (kind, class, length) =
            (number(message, fixed)?, number(message, fixed + 2)?, number(message, fixed + 8)?);
        if kind == self::kind::OPT {
            query.size = Some(class);
        }
        at = fixed + 10 + usize::from(length);
        if at > message.len() {
            return None;
        }
    }
    Some(query)
}

impl Query<'_> {
    /// How long a reply may be.
    pub fn limit(&self, tcp: bool) -> usize {
        match self.size {
            _ if tcp => LONGEST,
            Some(size) => usize::from(size).max(LEAST),
            None => LEAST,
        }
    }

    /// Whether a message is a server's reply to this query, sent under another number.
    pub fn is_answered_by(&self, reply: &[u8], id: u16) -> bool {
        let ours = &self.message[HEAD..self.end];
        let same_question = reply.get(HEAD..self.end).is_some_and(|theirs| ours.eq_ignore_ascii_case(theirs));
        self::id(reply) == Some(id)
            && number(reply, 2).is_some_and(|flags| flags & RESPONSE != 0)
            && number(reply, 4) == Some(1)
            && same_question
    }
}

/// A record that is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A or AAAA.
    Address(IpAddr),
    /// PTR, a name in labels joined by dots.
    Name(&'a str),
}

/// The reply with these records, cut to what the asker takes and marked so.
pub fn reply(query: &Query<'_>, code: Code, answers: &[Answer<'_>], lifetime: u32, limit: usize) -> Vec<u8> {
    let mut reply = start(query.message, code);
    reply.extend_from_slice(&query.message[HEAD..query.end]);
    set(&mut reply, 4, 1);
    let options = if query.size.is_some() { 11 } else { 0 };
    let mut count = 0;
    for answer in answers {
        let before = reply.len();
        // A pointer to the question's name.
        reply.extend_from_slice(&[0xc0, HEAD as u8]);
        let kind = match answer {
            Answer::Address(IpAddr::V4(_)) => kind::A,
            Answer::Address(IpAddr::V6(_)) => kind::AAAA,
            Answer::Name(_) => kind::PTR,
        };
        for part in [kind, INTERNET] {
            reply.extend_from_slice(&part.to_be_bytes());
        }
        reply.extend_from_slice(&lifetime.to_be_bytes());
        let length = reply.len();
        reply.extend_from_slice(&[0, 0]);
        match answer {
            Answer::Address(IpAddr::V4(address)) => reply.extend_from_slice(&address.octets()),
            Answer::Address(IpAddr::V6(address)) => reply.extend_from_slice(&address.octets()),
            Answer::Name(name) => write_name(&mut reply, name),
        }
        let written = (reply.len() - length - 2) as u16;
        set(&mut reply, length, written);
        if reply.len() + options > limit {
            reply.truncate(before);
            let flags = number(&reply, 2).unwrap_or_default();
            set(&mut reply, 2, flags | TRUNCATED);
            break;
        }
        count += 1;
    }
    set(&mut reply, 6, count);
    if options > 0 {
        reply.push(0);
        for part in [kind::OPT, OUR_SIZE, 0, 0, 0] {
            reply.extend_from_slice(&part.to_be_bytes());
        }
        set(&mut reply, 10, 1);
    }
    reply
}

/// A server's reply for an asker who takes no more than this: whole, or its question alone and the mark that it was
/// cut, so that the asker comes again over TCP.
pub fn pass_on(query: &Query<'_>, mut reply: Vec<u8>, limit: usize) -> Vec<u8> {
    if let Some(id) = id(query.message) {
        set_id(&mut reply, id);
    }
    if reply.len() > limit {
        reply.truncate(query.end);
        let flags = number(&reply, 2).unwrap_or_default();
        set(&mut reply, 2, flags | TRUNCATED);
        for place in [6, 8, 10] {
            set(&mut reply, place, 0);
        }
    }
    reply
}

/// The reply to a message that was not read whole: its head alone.
pub fn refuse(message: &[u8], code: Code) -> Vec<u8> {
    start(message, code)
}

/// The code of a server's reply, where it is one that another server may do better than.
pub fn is_failure(reply: &[u8]) -> bool {
    let code = reply.get(3).map_or(0, |byte| byte & 15);
    code == Code::ServerFailure as u8 || code == Code::Refused as u8
}

/// The head of a reply, with nothing behind it yet.
fn start(message: &[u8], code: Code) -> Vec<u8> {
    let mut reply = Vec::with_capacity(128);
    reply.extend_from_slice(&message[..2]);
    let asked = number(message, 2).unwrap_or_default();
    let kept = asked & (OPERATION | RECURSION_DESIRED | CHECKING_DISABLED);
    let flags = RESPONSE | RECURSION_AVAILABLE | kept | code as u16;
    reply.extend_from_slice(&flags.to_be_bytes());
    reply.resize(HEAD, 0);
    reply
}

fn set(message: &mut [u8], offset: usize, value: u16) {
    message[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
}

/// Writes a name; what is too long for a label or a name ends it.
fn write_name(message: &mut Vec<u8>, name: &str) {
    let start = message.len();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        if label.len() > 63 || message.len() - start + label.len() + 2 > NAME {
            break;
        }
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` stands for.
pub fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(front) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0_u8; 4];
        let mut labels = front.split('.');
        for octet in octets.iter_mut().rev() {
            let label = labels.next()?;
            *octet = label.parse().ok().filter(|_| !label.starts_with('+'))?;
        }
        return labels.next().is_none().then_some(octets.into());
    }
    let front = name.strip_suffix(".ip6.arpa")?;
    let mut address = 0_u128;
    let mut count = 0;
    for (index, label) in front.split('.').enumerate() {
        let digit = u128::from_str_radix(label, 16).ok().filter(|_| label.len() == 1 && index < 32)?;
        address |= digit << (4 * index);
        count += 1;
    }
    (count == 32).then(|| IpAddr::V6(address.into()))
}

#[cfg(test)]
#[path = "message_tests.rs"]
pub(super) mod tests;
