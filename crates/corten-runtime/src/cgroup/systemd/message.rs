//! Messages of D-Bus, as far as a talk with systemd needs them: calls are written, answers and signals are read.
//!
//! Source: D-Bus Specification, "Message Protocol" and "Marshaling (Wire Format)".

/// A value in a variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Flag(bool),
    Number32(u32),
    Number64(u64),
    Signed32(i32),
    Signed64(i64),
    Numbers(Vec<u32>),
    Bytes(Vec<u8>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Text(_) => "s",
            Self::Flag(_) => "b",
            Self::Number32(_) => "u",
            Self::Number64(_) => "t",
            Self::Signed32(_) => "i",
            Self::Signed64(_) => "x",
            Self::Numbers(_) => "au",
            Self::Bytes(_) => "ay",
        }
    }
}

/// What is given in a call.
#[derive(Clone, Debug)]
pub(super) enum Argument<'a> {
    Text(&'a str),
    Flag(bool),
    /// `a(sv)`
    Properties(&'a [(String, Value)]),
    /// `a(sa(sv))` without entries.
    NoUnits,
}

impl Argument<'_> {
    fn signature(&self) -> &'static str {
        match self {
            Self::Text(_) => "s",
            Self::Flag(_) => "b",
            Self::Properties(_) => "a(sv)",
            Self::NoUnits => "a(sa(sv))",
        }
    }
}

/// Every value begins at a multiple of its size, counted from the message's (here: the body's) begin.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, to: usize) {
        while !self.bytes.len().is_multiple_of(to) {
            self.bytes.push(0);
        }
    }

    fn number32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    fn number64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend(value.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number32(text.len() as u32);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.bytes.push(text.len() as u8);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    /// An array: its length in bytes does not count the gap before the first element.
    fn array(&mut self, element: usize, fill: impl FnOnce(&mut Self)) {
        self.number32(0);
        let length_at = self.bytes.len() - 4;
        self.align(element);
        let begin = self.bytes.len();
        fill(self);
        let length = (self.bytes.len() - begin) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Text(text) => self.text(text),
            Value::Flag(flag) => self.number32(u32::from(*flag)),
            Value::Number32(number) => self.number32(*number),
            Value::Signed32(number) => self.number32(*number as u32),
            Value::Number64(number) => self.number64(*number),
            Value::Signed64(number) => self.number64(*number as u64),
            Value::Numbers(numbers) => {
                self.array(4, |writer| numbers.iter().for_each(|number| writer.number32(*number)));
            }
            Value::Bytes(bytes) => self.array(1, |writer| writer.bytes.extend(bytes)),
        }
    }

    fn argument(&mut self, argument: &Argument<'_>) {
        match argument {
            Argument::Text(text) => self.text(text),
            Argument::Flag(flag) => self.number32(u32::from(*flag)),
            Argument::Properties(properties) => self.array(8, |writer| {
                for (name, value) in *properties {
                    writer.align(8);
                    writer.text(name);
                    writer.variant(value);
                }
            }),
            Argument::NoUnits => self.array(8, |_| ()),
        }
    }
}

const METHOD_CALL: u8 = 1;
/// An answer that says why not.
pub(super) const ERROR: u8 = 3;
/// Told to everybody.
pub(super) const SIGNAL: u8 = 4;

/// A call of a method of systemd's manager.
pub(super) fn call(serial: u32, member: &str, arguments: &[Argument<'_>]) -> Vec<u8> {
    let mut body = Writer::default();
    for argument in arguments {
        body.argument(argument);
    }
    let signature: String = arguments.iter().map(Argument::signature).collect();

    let mut writer = Writer::default();
    writer.bytes.extend([b'l', METHOD_CALL, 0, 1]);
    writer.number32(body.bytes.len() as u32);
    writer.number32(serial);
    writer.array(8, |writer| {
        let texts = [
            (1, "o", "/org/freedesktop/systemd1"),
            (2, "s", "org.freedesktop.systemd1.Manager"),
            (3, "s", member),
            (6, "s", "org.freedesktop.systemd1"),
        ];
        for (code, kind, text) in texts {
            writer.align(8);
            writer.bytes.push(code);
            writer.signature(kind);
            writer.text(text);
        }
        if !signature.is_empty() {
            writer.align(8);
            writer.bytes.push(8);
            writer.signature("g");
            writer.signature(&signature);
        }
    });
    writer.align(8);
    writer.bytes.extend(body.bytes);
    writer.bytes
}

/// The first bytes of a message, which tell how long it is.
pub(super) const HEAD: usize = 16;

/// No message of systemd that is for us is longer, in bytes.
const LONGEST: usize = 1 << 20;

/// How long a message is in all, of its first [`HEAD`] bytes; none where it is no message.
pub(super) fn length(head: &[u8]) -> Option<usize> {
    let number = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?) as usize);
    if head.first() != Some(&b'l') || head.get(3) != Some(&1) {
        return None;
    }
    let (body, fields) = (number(4)?, number(12)?);
    let length = HEAD.checked_add(fields)?.checked_next_multiple_of(8)?.checked_add(body)?;
    (length <= LONGEST).then_some(length)
}

/// A message that came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    /// Which call it answers.
    pub(super) answers: Option<u32>,
    /// The name of a signal.
    pub(super) member: String,
    /// The name of an error.
    pub(super) error: String,
    /// The texts and paths of the body, in order; all else in it is passed over.
    pub(super) texts: Vec<String>,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn number32(&mut self) -> Option<u32> {
        self.align(4);
        let bytes = self.bytes.get(self.at..self.at.checked_add(4)?)?;
        self.at += 4;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    fn of_length(&mut self, length: usize) -> Option<&'a str> {
        let end = self.at.checked_add(length)?;
        let text = std::str::from_utf8(self.bytes.get(self.at..end)?).ok()?;
        // The byte behind it is 0.
        self.at = end + 1;
        Some(text)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.number32()? as usize;
        self.of_length(length)
    }

    fn signature(&mut self) -> Option<&'a str> {
        let length = usize::from(self.byte()?);
        self.of_length(length)
    }
}

impl Message {
    /// Reads a whole message; none where it is not one.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        if length(bytes)? != bytes.len() {
            return None;
        }
        let mut message = Self { kind: bytes[1], ..Self::default() };
        let mut signature = "";
        let mut reader = Reader { bytes, at: 12 };
        let fields = reader.number32()? as usize;
        let end = HEAD + fields;
        loop {
            reader.align(8);
            if reader.at >= end {
                break;
            }
            let code = reader.byte()?;
            let kind = reader.signature()?;
            match kind {
                "s" | "o" => {
                    let text = reader.text()?;
                    match code {
                        3 => text.clone_into(&mut message.member),
                        4 => text.clone_into(&mut message.error),
                        _ => {}
                    }
                }
                "u" => {
                    let number = reader.number32()?;
                    if code == 5 {
                        message.answers = Some(number);
                    }
                }
                "g" => {
                    let text = reader.signature()?;
                    if code == 8 {
                        signature = text;
                    }
                }
                _ => return None,
            }
        }
        let mut body = Reader { bytes: &bytes[end.next_multiple_of(8)..], at: 0 };
        for kind in signature.chars() {
            match kind {
                's' | 'o' => message.texts.push(body.text()?.to_owned()),
                'u' => drop(body.number32()?),
                // Nothing behind it is wanted.
                _ => break,
            }
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const METHOD_RETURN: u8 = 2;

    /// An answer or a signal as systemd writes it.
    fn written(
        kind: u8,
        fields: &[(u8, &str, &str)],
        answers: Option<u32>,
        body: impl Fn(&mut Writer),
    ) -> Vec<u8> {
        let mut content = Writer::default();
        body(&mut content);
        let mut writer = Writer::default();
        writer.bytes.extend([b'l', kind, 1, 1]);
        writer.number32(content.bytes.len() as u32);
        writer.number32(7);
        writer.array(8, |writer| {
            for (code, signature, text) in fields {
                writer.align(8);
                writer.bytes.push(*code);
                writer.signature(signature);
                if *signature == "g" { writer.signature(text) } else { writer.text(text) }
            }
            if let Some(serial) = answers {
                writer.align(8);
                writer.bytes.push(5);
                writer.signature("u");
                writer.number32(serial);
            }
        });
        writer.align(8);
        writer.bytes.extend(content.bytes);
        writer.bytes
    }

    #[test]
    fn a_call_is_as_the_specification_lays_it_out() {
        let properties = vec![
            ("PIDs".to_owned(), Value::Numbers(vec![1, 2])),
            ("Delegate".to_owned(), Value::Flag(true)),
            ("TasksMax".to_owned(), Value::Number64(u64::MAX)),
        ];
        let bytes = call(
            3,
            "Stop",
            &[Argument::Text("a.scope"), Argument::Properties(&properties), Argument::NoUnits],
        );
        assert_eq!(length(&bytes), Some(bytes.len()));
        assert_eq!(bytes[..4], [b'l', 1, 0, 1]);
        let read = Message::read(&bytes).unwrap();
        assert_eq!((read.member.as_str(), read.texts[0].as_str()), ("Stop", "a.scope"));
        let body = &bytes[bytes.len() - u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize..];
        // s: length, text, 0; then the array begins at a multiple of 4 and its elements at one of 8.
        assert_eq!(body[..12], *b"\x07\0\0\0a.scope\0");
        assert_eq!(body[16..32], *b"\x04\0\0\0PIDs\0\x02au\0\0\0\0");
        assert_eq!(body[32..44], *b"\x08\0\0\0\x01\0\0\0\x02\0\0\0");
    }

    #[test]
    fn answers_and_signals_are_read() {
        let answer = written(METHOD_RETURN, &[(8, "g", "o")], Some(9), |body| body.text("/job/1"));
        let read = Message::read(&answer).unwrap();
        assert_eq!(
            (read.kind, read.answers, read.texts),
            (METHOD_RETURN, Some(9), vec!["/job/1".to_owned()])
        );
        let signal = written(SIGNAL, &[(3, "s", "JobRemoved"), (8, "g", "uoss")], None, |body| {
            body.number32(4);
            for text in ["/job/1", "a.scope", "done"] {
                body.text(text);
            }
        });
        let read = Message::read(&signal).unwrap();
        assert_eq!((read.member.as_str(), read.texts[2].as_str()), ("JobRemoved", "done"));
        let error =
            written(ERROR, &[(4, "s", "org.x.NoSuchUnit"), (8, "g", "s")], Some(9), |body| body.text("no"));
        assert_eq!(Message::read(&error).unwrap().error, "org.x.NoSuchUnit");
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0..200_usize, byte: u8) {
            let _ = Message::read(&bytes);
            let mut signal = written(SIGNAL, &[(3, "s", "JobRemoved"), (8, "g", "uoss")], Some(1), |body| {
                body.number32(4);
                for text in ["/job/1", "a.scope", "done"] {
                body.text(text);
            }
            });
            let at = at % signal.len();
            signal[at] = byte;
            if let Some(length) = length(&signal) {
                signal.resize(length.min(4096), 0);
            }
            let _ = Message::read(&signal);
        }
    }
}
