//! Protobuf by field numbers alone: it knows no names, so that it cannot repeat an error of the generated code.

/// A field: its number and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

/// A message as its fields, in the order in which they came.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Fields(pub(crate) Vec<(u32, Value)>);

impl Fields {
    pub(crate) fn read(mut bytes: &[u8]) -> Fields {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let value = match tag & 7 {
                0 => Value::Number(varint(&mut bytes)),
                1 => Value::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
                2 => {
                    let length = varint(&mut bytes) as usize;
                    Value::Bytes(take(&mut bytes, length).to_vec())
                }
                other => panic!("wire type {other}"),
            };
            fields.push(((tag >> 3) as u32, value));
        }
        Fields(fields)
    }

    pub(crate) fn all(&self, number: u32) -> Vec<Fields> {
        let of = |(_, value): &(u32, Value)| match value {
            Value::Bytes(bytes) => Fields::read(bytes),
            Value::Number(n) => panic!("{number} is the number {n}"),
        };
        self.0.iter().filter(|(n, _)| *n == number).map(of).collect()
    }

    pub(crate) fn message(&self, number: u32) -> Option<Fields> {
        self.all(number).pop()
    }

    pub(crate) fn text(&self, number: u32) -> Option<String> {
        self.0.iter().find(|(n, _)| *n == number).map(|(_, value)| match value {
            Value::Bytes(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            Value::Number(n) => panic!("{number} is the number {n}"),
        })
    }

    pub(crate) fn number(&self, number: u32) -> u64 {
        self.0.iter().find(|(n, _)| *n == number).map_or(0, |(_, value)| match value {
            Value::Number(n) => *n,
            Value::Bytes(bytes) => panic!("{number} is {bytes:?}"),
        })
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (head, rest) = bytes.split_at(length);
    *bytes = rest;
    head
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

/// A field that holds bytes, text or a message.
pub(crate) fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(content);
    out
}

/// A field that holds a number below 128, or true.
pub(crate) fn small(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

/// A map of texts.
pub(crate) fn map(number: u8, entries: &[(&str, &str)]) -> Vec<u8> {
    let entry = |(key, value): &(&str, &str)| {
        field(number, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
    };
    entries.iter().flat_map(entry).collect()
}
