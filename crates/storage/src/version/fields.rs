//! Numbers and byte strings in manifest records: varints, and lengths before bytes.

use crate::wal::WalPosition;

/// Appends `value` in seven-bit groups, lowest first.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends a signed number: zigzag, then as a varint.
pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends the length and the bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends segment and offset.
pub(super) fn put_position(out: &mut Vec<u8>, position: WalPosition) {
    put_varint(out, position.segment);
    put_varint(out, position.offset);
}

/// Takes fields off the front of a record. An error says what is wrong; the caller knows where.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

/// What is wrong with a record.
pub(super) type FieldResult<T> = Result<T, String>;

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What was not taken yet; `advance_to` goes on behind it.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn advance_to(&mut self, rest: &'a [u8]) {
        self.rest = rest;
    }

    pub(super) fn byte(&mut self) -> FieldResult<u8> {
        let (first, rest) = self.rest.split_first().ok_or("the record ends early")?;
        self.rest = rest;
        Ok(*first)
    }

    pub(super) fn varint(&mut self) -> FieldResult<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number has more than 64 bits".to_owned())
    }

    pub(super) fn signed(&mut self) -> FieldResult<i64> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    pub(super) fn number<T: TryFrom<u64>>(&mut self, what: &str) -> FieldResult<T> {
        let value = self.varint()?;
        T::try_from(value).map_err(|_| format!("{what} is {value}, too great"))
    }

    pub(super) fn bytes(&mut self) -> FieldResult<&'a [u8]> {
        let len = self.varint()?;
        let taken = usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
        let left = self.rest.len();
        let (bytes, rest) =
            taken.ok_or_else(|| format!("a field of {len} bytes where {left} are left"))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> FieldResult<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or("the record ends early")?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn position(&mut self) -> FieldResult<WalPosition> {
        Ok(WalPosition::new(self.varint()?, self.varint()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX];
        for number in numbers {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            let mut fields = Fields::new(&bytes);
            assert_eq!(fields.varint(), Ok(number));
            assert!(fields.is_empty());
        }
        for number in [0, 1, -1, 63, -64, i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            put_signed(&mut bytes, number);
            assert_eq!(Fields::new(&bytes).signed(), Ok(number));
        }
    }

    #[test]
    fn lengths_beyond_the_record_are_refused_without_allocating() {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, u64::MAX);
        bytes.push(1);
        assert!(Fields::new(&bytes).bytes().unwrap_err().contains("where 1 are left"));
        assert!(Fields::new(&[0xff; 10]).varint().is_err());
        assert!(Fields::new(&[0x80]).varint().is_err());
        assert!(Fields::new(&[]).byte().is_err());
    }
}
