//! Messages of D-Bus as bytes: as much of the specification as calls to systemd need.
//!
//! What comes from the bus is checked as it is read: every read can fail, none can panic.

use anyhow::{Context, Result, bail};

/// Kinds of messages.
const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// Fields of a header.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Bytes of a header before its fields.
pub(super) const FIXED: usize = 16;

/// Longest message that is taken. systemd's answers are a few hundred bytes.
const LENGTH_MAX: usize = 1 << 20;

/// A value, as far as properties of units are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Bool(bool),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    String(String),
    Strings(Vec<String>),
    Numbers(Vec<u32>),
    Bytes(Vec<u8>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Value::Bool(_) => "b",
            Value::I32(_) => "i",
            Value::U32(_) => "u",
            Value::I64(_) => "x",
            Value::U64(_) => "t",
            Value::String(_) => "s",
            Value::Strings(_) => "as",
            Value::Numbers(_) => "au",
            Value::Bytes(_) => "ay",
        }
    }
}

/// Builds a message, or a part of one that starts where a message does.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.u32(value.into());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.align(8);
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn string(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend(text.bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.bytes());
        self.0.push(0);
    }

    /// An array whose elements begin at multiples of `align`; `fill` writes them.
    pub(super) fn array(&mut self, align: usize, fill: impl FnOnce(&mut Writer)) {
        self.u32(0);
        let length_at = self.0.len() - 4;
        self.align(align);
        let start = self.0.len();
        fill(self);
        let length = (self.0.len() - start) as u32;
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// `a(sv)`: names and values.
    pub(super) fn properties(&mut self, properties: &[(&str, Value)]) {
        self.array(8, |w| {
            for (name, value) in properties {
                w.align(8);
                w.string(name);
                w.variant(value);
            }
        });
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Bool(value) => self.bool(*value),
            Value::I32(value) => self.u32(value.cast_unsigned()),
            Value::U32(value) => self.u32(*value),
            Value::I64(value) => self.u64(value.cast_unsigned()),
            Value::U64(value) => self.u64(*value),
            Value::String(text) => self.string(text),
            Value::Strings(list) => self.array(4, |w| list.iter().for_each(|text| w.string(text))),
            Value::Numbers(numbers) => self.array(4, |w| numbers.iter().for_each(|number| w.u32(*number))),
            Value::Bytes(bytes) => self.array(1, |w| w.0.extend(bytes)),
        }
    }

    fn field(&mut self, code: u8, signature: &str, text: &str) {
        self.align(8);
        self.0.push(code);
        self.signature(signature);
        match signature {
            "g" => self.signature(text),
            _ => self.string(text),
        }
    }
}

/// What is called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) signature: &'a str,
}

impl Call<'_> {
    /// The whole message, with what `fill` writes as its body.
    pub(super) fn message(&self, serial: u32, fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut body = Writer::default();
        fill(&mut body);
        let mut message = Writer(vec![b'l', CALL, 0, 1]);
        message.u32(body.0.len() as u32);
        message.u32(serial);
        message.array(8, |w| {
            w.field(PATH, "o", self.path);
            w.field(INTERFACE, "s", self.interface);
            w.field(MEMBER, "s", self.member);
            w.field(DESTINATION, "s", self.destination);
            if !self.signature.is_empty() {
                w.field(SIGNATURE, "g", self.signature);
            }
        });
        message.align(8);
        message.0.extend(body.0);
        message.0
    }
}

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// To the call of this serial number.
    Return {
        to: u32,
        body: Vec<u8>,
    },
    /// The same of a call that failed: the error's name and its text.
    Error {
        to: u32,
        name: String,
        text: String,
    },
    Signal {
        member: String,
        body: Vec<u8>,
    },
    /// Calls, and what later versions have.
    Other,
}

/// Length of the message that begins with these bytes, of which there are [`FIXED`].
pub(super) fn length(fixed: &[u8]) -> Result<usize> {
    if fixed.first() != Some(&b'l') {
        bail!("the bus speaks another byte order");
    }
    let mut reader = Reader { bytes: fixed, at: 4 };
    let (body, _, fields) = (reader.u32()? as usize, reader.u32()?, reader.u32()? as usize);
    match body.saturating_add(fields) {
        too_long if too_long > LENGTH_MAX => bail!("a message of {too_long} bytes"),
        _ => Ok((FIXED + fields).next_multiple_of(8) + body),
    }
}

/// Takes a message apart.
pub(super) fn parse(message: &[u8]) -> Result<Message> {
    let mut reader = Reader { bytes: message, at: 12 };
    let end = FIXED + reader.u32()? as usize;
    let (mut to, mut member, mut error, mut signature) = (0, String::new(), String::new(), String::new());
    while reader.at < end {
        reader.align(8);
        let code = reader.byte()?;
        let kind = reader.signature()?;
        match (code, kind.as_str()) {
            (REPLY_SERIAL, _) => to = reader.u32()?,
            (MEMBER, _) => member = reader.string()?,
            (ERROR_NAME, _) => error = reader.string()?,
            (SIGNATURE, _) => signature = reader.signature()?,
            (_, "s" | "o") => drop(reader.string()?),
            (_, "u") => drop(reader.u32()?),
            (_, "g") => drop(reader.signature()?),
            (_, kind) => bail!("a header with a field of type {kind}"),
        }
    }
    reader.align(8);
    let body = message.get(reader.at..).context("a message without its body")?.to_vec();
    Ok(match message.get(1).copied() {
        Some(RETURN) => Message::Return { to, body },
        Some(ERROR) => {
            let text = if signature.starts_with('s') { Reader::new(&body).string()? } else { String::new() };
            Message::Error { to, name: error, text }
        }
        Some(SIGNAL) => Message::Signal { member, body },
        _ => Message::Other,
    })
}

/// Reads values in their order.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count).context("a length without end")?;
        let taken = self.bytes.get(self.at..end).context("a message that ends too early")?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?.first().copied().unwrap_or(0))
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.align(4);
        Ok(u32::from_le_bytes(self.take(4)?.try_into()?))
    }

    pub(super) fn string(&mut self) -> Result<String> {
        let length = self.u32()? as usize;
        self.text(length)
    }

    pub(super) fn signature(&mut self) -> Result<String> {
        let length = self.byte()?.into();
        self.text(length)
    }

    fn text(&mut self, length: usize) -> Result<String> {
        let text = String::from_utf8(self.take(length)?.to_vec()).context("a string that is none")?;
        self.take(1)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call<'_> = Call { destination: "a.b", path: "/c", interface: "d.e", member: "F", signature: "s" };

    #[test]
    fn messages_are_as_long_as_they_say() {
        let message = CALL.message(7, |w| w.string("text"));
        assert_eq!(length(&message[..FIXED]).ok(), Some(message.len()));
        assert_eq!(message.len() % 8, 9 % 8, "the body of nine bytes begins at a multiple of eight");
        assert_eq!(parse(&message).ok(), Some(Message::Other));
    }

    #[test]
    fn replies_are_told_apart() {
        let mut reply = Writer(vec![b'l', ERROR, 0, 1]);
        reply.u32(8);
        reply.u32(1);
        reply.array(8, |w| {
            w.field(ERROR_NAME, "s", "x.y");
            w.align(8);
            w.0.push(REPLY_SERIAL);
            w.signature("u");
            w.u32(9);
            w.field(SIGNATURE, "g", "s");
        });
        reply.align(8);
        reply.string("why");
        let expected = Message::Error { to: 9, name: "x.y".into(), text: "why".into() };
        assert_eq!(parse(&reply.0).ok(), Some(expected));
        // Cut off anywhere it is an error and nothing worse.
        for end in 0..reply.0.len() {
            let _ = parse(&reply.0[..end]);
        }
    }

    #[test]
    fn values_are_aligned() {
        let mut writer = Writer::default();
        writer.properties(&[("A", Value::U64(1)), ("B", Value::Bytes(vec![5]))]);
        let expected = [
            &[52, 0, 0, 0, 0, 0, 0, 0][..],
            &[1, 0, 0, 0, b'A', 0, 1, b't', 0, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, b'B', 0, 2, b'a', b'y', 0, 0, 0, 1, 0, 0, 0, 5],
        ];
        let length = writer.0.len();
        assert_eq!(writer.0[8..], expected[1..].concat()[..length - 8]);
        assert_eq!(writer.0[0] as usize, length - 8);
    }
}
