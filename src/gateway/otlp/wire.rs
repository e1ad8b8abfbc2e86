//! Protobuf on the wire: reading and writing fields one by one, without building the messages.

/// Why bytes are not the protobuf message that they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("the message ends inside a field")]
    Short,
    /// A variable-length integer has more than ten bytes.
    #[error("an integer is too long")]
    Integer,
    /// A field's number or wire type is none that exists.
    #[error("a field has an impossible key")]
    Key,
    /// A field has another wire type than its number says.
    #[error("the field '{0}' has the wrong type")]
    Type(&'static str),
    /// A text field is not UTF-8.
    #[error("the field '{0}' is not UTF-8")]
    Text(&'static str),
    /// Messages are nested deeper than [`super::stamp::MAX_DEPTH`].
    #[error("the message is nested too deeply")]
    Depth,
    /// Decoded, the message would take more than [`super::stamp::MAX_DECODED`] bytes.
    #[error("the message has too many parts")]
    Large,
}

/// What stands on the wire after a field's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A variable-length integer.
    Varint(u64),
    /// Eight bytes.
    Eight,
    /// A length and as many bytes.
    Bytes(&'a [u8]),
    /// Four bytes.
    Four,
}

/// A field, read.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// Its number.
    pub number: u32,
    /// What it holds.
    pub value: Value<'a>,
    /// Key and value as they stand.
    pub whole: &'a [u8],
}

/// The fields of a message, in the order they stand.
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Reads `message`.
    pub fn new(message: &'a [u8]) -> Fields<'a> {
        Fields { rest: message }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<Raw<'a>, WireError> {
        let start = self.rest;
        let key = varint(&mut self.rest)?;
        let number = u32::try_from(key >> 3).map_err(|_| WireError::Key)?;
        if number == 0 || key > u64::from(u32::MAX) {
            return Err(WireError::Key);
        }
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut self.rest)?),
            1 => {
                self.take(8)?;
                Value::Eight
            }
            2 => {
                let len = varint(&mut self.rest)?;
                Value::Bytes(self.take(usize::try_from(len).map_err(|_| WireError::Short)?)?)
            }
            5 => {
                self.take(4)?;
                Value::Four
            }
            // 3 and 4 are groups, which proto3 never had.
            _ => return Err(WireError::Key),
        };
        let whole = &start[..start.len() - self.rest.len()];
        Ok(Raw { number, value, whole })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Raw<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Reads a variable-length integer off the front of `from`.
pub fn varint(from: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0u64;
    for (i, &byte) in from.iter().take(10).enumerate() {
        if i == 9 && byte > 1 {
            return Err(WireError::Integer);
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *from = &from[i + 1..];
            return Ok(value);
        }
    }
    Err(if from.len() < 10 { WireError::Short } else { WireError::Integer })
}

/// Appends a variable-length integer.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field's key.
pub fn put_key(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

/// Appends a field of bytes.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_key(out, number, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a field whose content `write` appends; `guess` is its length, if that is about known.
pub fn put_nested<E>(
    out: &mut Vec<u8>,
    number: u32,
    guess: usize,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    put_key(out, number, 2);
    let at = out.len();
    let room = varint_len(guess as u64);
    out.resize(at + room, 0);
    write(out)?;
    let len = out.len() - at - room;
    let need = varint_len(len as u64);
    if need != room {
        // The guess was wrong, which is rare: the content moves by a byte or so.
        let end = out.len();
        if need > room {
            out.resize(end + need - room, 0);
        }
        out.copy_within(at + room..end, at + need);
        out.truncate(at + need + len);
    }
    let mut rest = len as u64;
    for byte in &mut out[at..at + need] {
        *byte = rest as u8 | 0x80;
        rest >>= 7;
    }
    out[at + need - 1] &= 0x7f;
    Ok(())
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_read_as_written() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(bytes.len(), varint_len(value));
            let mut rest = &bytes[..];
            assert_eq!((varint(&mut rest), rest), (Ok(value), &[][..]));
        }
        assert_eq!(varint(&mut &[0x80; 9][..]), Err(WireError::Short));
        assert_eq!(varint(&mut &[0xff; 11][..]), Err(WireError::Integer));
    }

    #[test]
    fn a_wrong_guess_of_the_length_moves_the_content() {
        for guess in [0, 200, 20_000] {
            for len in [0usize, 127, 128, 300, 20_000] {
                let content = vec![7; len];
                let (mut want, mut got) = (vec![1, 2, 3], vec![1, 2, 3]);
                put_bytes(&mut want, 4, &content);
                let written: Result<(), WireError> = put_nested(&mut got, 4, guess, |out| {
                    out.extend_from_slice(&content);
                    Ok(())
                });
                assert_eq!((written, got), (Ok(()), want), "guess {guess}, length {len}");
            }
        }
    }

    #[test]
    fn what_is_no_field_is_refused() {
        let read = |bytes: &[u8]| Fields::new(bytes).collect::<Result<Vec<_>, _>>().map(|f| f.len());
        assert_eq!(read(&[]), Ok(0));
        assert_eq!(read(&[0x08, 0x01]), Ok(1));
        assert_eq!(read(&[0x00, 0x01]), Err(WireError::Key), "number 0");
        assert_eq!(read(&[0x0b]), Err(WireError::Key), "a group");
        assert_eq!(read(&[0x0a, 0x05, 1, 2]), Err(WireError::Short));
        assert_eq!(read(&[0x09, 1, 2, 3]), Err(WireError::Short));
        let huge = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(read(&huge), Err(WireError::Short));
    }
}
