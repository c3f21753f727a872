//! One value for all rows that are not null.
//!
//! ```text
//! boolean, integer, float   u64
//! decimal                   i128
//! interval                  i32 months | i32 days | i64 nanoseconds
//! strings                   u64 length | bytes
//! ```

use std::sync::OnceLock;

use arrow_array::{ArrayRef, UInt32Array};
use arrow_buffer::{ArrowNativeType, Buffer, IntervalMonthDayNano, NullBuffer};
use arrow_schema::DataType;

use super::alp::Float;
use super::cursor::{Cursor, put_array, put_len, put_u64};
use super::kind::{IntFill, Kind, bytes_array, fixed_array, ints_array};
use super::packed::Unpacked;
use super::strings::check_raw;
use crate::{Error, Result, ValueRef};

/// The value, in the form its kind is read in.
#[derive(Debug)]
pub(super) enum Single {
    Boolean(bool),
    /// In the column's order.
    Int(i64),
    Float32(f32),
    Float64(f64),
    Decimal(i128),
    Interval(IntervalMonthDayNano),
    Bytes(Buffer),
}

/// A constant and, once decoded, an array of its one value.
#[derive(Debug)]
pub(super) struct Constant {
    value: Single,
    kind: Kind,
    one: OnceLock<ArrayRef>,
}

impl Constant {
    /// Reads the value of a column of `kind`.
    pub(super) fn open(cursor: &mut Cursor, kind: Kind) -> Result<Self> {
        let value = match kind {
            Kind::Boolean => match cursor.u64()? {
                word @ (0 | 1) => Single::Boolean(word == 1),
                other => {
                    return Err(Error::corrupt(format!("boolean {other} in a constant chunk")));
                }
            },
            Kind::Int(_) => Single::Int(cursor.u64()?.cast_signed()),
            Kind::Float32 => Single::Float32(Float::from_word(cursor.u64()?)),
            Kind::Float64 => Single::Float64(Float::from_word(cursor.u64()?)),
            Kind::Decimal => Single::Decimal(
                i128::from(cursor.u64()?) | i128::from(cursor.u64()?.cast_signed()) << 64,
            ),
            Kind::Interval => {
                let [m0, m1, m2, m3, d0, d1, d2, d3] = cursor.u64()?.to_le_bytes();
                let (months, days) =
                    (i32::from_le_bytes([m0, m1, m2, m3]), i32::from_le_bytes([d0, d1, d2, d3]));
                Single::Interval(IntervalMonthDayNano::new(
                    months,
                    days,
                    cursor.u64()?.cast_signed(),
                ))
            }
            Kind::Text(_) | Kind::Binary(_) | Kind::Fixed(_) => {
                let len = cursor.len()?;
                let bytes = cursor.take(len)?;
                if let Kind::Text(_) = kind {
                    std::str::from_utf8(&bytes)
                        .map_err(|error| Error::corrupt(format!("constant text: {error}")))?;
                }
                match kind {
                    Kind::Fixed(size) if size != len => {
                        return Err(Error::corrupt(format!(
                            "constant of {len} bytes in a column of {size}"
                        )));
                    }
                    _ => Single::Bytes(bytes),
                }
            }
            Kind::Nested => return Err(Error::corrupt("a nested column has no constant")),
        };
        Ok(Self { value, kind, one: OnceLock::new() })
    }

    /// The value.
    #[inline]
    pub(super) fn value(&self) -> ValueRef<'_> {
        match &self.value {
            Single::Boolean(value) => ValueRef::Boolean(*value),
            Single::Int(value) => self.kind.int_value(*value),
            Single::Float32(value) => ValueRef::Float((*value).into()),
            Single::Float64(value) => ValueRef::Float(*value),
            Single::Decimal(value) => ValueRef::Decimal(*value),
            Single::Interval(value) => ValueRef::Interval(*value),
            Single::Bytes(bytes) => match self.kind {
                // Checked on opening, so the alternative is never taken.
                Kind::Text(_) => ValueRef::Text(std::str::from_utf8(bytes).unwrap_or_default()),
                _ => ValueRef::Binary(bytes),
            },
        }
    }

    /// The whole number, in the column's order, or decimal that it is, if it has 64 bits.
    pub(super) fn number(&self) -> Option<i64> {
        match self.value {
            Single::Int(value) => Some(value),
            Single::Decimal(value) => i64::try_from(value).ok(),
            _ => None,
        }
    }

    /// `len` rows of it.
    pub(super) fn decode(
        &self,
        data_type: &DataType,
        len: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        match self.value {
            Single::Int(value) => {
                ints_array(self.kind, data_type, len, nulls, Repeat { value, len })
            }
            Single::Decimal(value) => {
                fixed_array(data_type, len, Buffer::from_vec(vec![value; len]), nulls)
            }
            Single::Interval(value) => {
                fixed_array(data_type, len, Buffer::from_vec(vec![value; len]), nulls)
            }
            Single::Float32(value) => {
                fixed_array(data_type, len, Buffer::from_vec(vec![value; len]), nulls)
            }
            Single::Float64(value) => {
                fixed_array(data_type, len, Buffer::from_vec(vec![value; len]), nulls)
            }
            Single::Boolean(_) | Single::Bytes(_) => {
                if let (Single::Bytes(bytes), false) = (&self.value, self.kind.is_view()) {
                    check_raw(std::iter::once(Ok(bytes.len().saturating_mul(len))))?;
                }
                let one = match self.one.get() {
                    Some(one) => one,
                    None => {
                        let array = self.array(data_type)?;
                        self.one.get_or_init(|| array)
                    }
                };
                Ok(arrow_select::take::take(
                    one,
                    &UInt32Array::new(vec![0; len].into(), nulls),
                    None,
                )?)
            }
        }
    }

    fn array(&self, data_type: &DataType) -> Result<ArrayRef> {
        match &self.value {
            Single::Bytes(bytes) => match self.kind {
                Kind::Fixed(_) => fixed_array(data_type, 1, bytes.clone(), None),
                kind => {
                    let len = i32::try_from(bytes.len())
                        .map_err(|_| Error::corrupt("constant of more than 2 GiB"))?;
                    bytes_array(kind, vec![0, len], bytes.clone(), None)
                }
            },
            Single::Boolean(value) => {
                fixed_array(data_type, 1, Buffer::from([u8::from(*value)]), None)
            }
            _ => Err(Error::corrupt("a constant of fixed width is repeated by itself")),
        }
    }
}

struct Repeat {
    value: i64,
    len: usize,
}

impl IntFill for Repeat {
    fn fill<T: Unpacked + ArrowNativeType>(self, bias: i64) -> Vec<T> {
        vec![T::of(self.value.wrapping_add(bias), 0); self.len]
    }
}

/// Appends a value of fixed width, or a string, as the body of a constant chunk.
pub(super) fn write(value: &Single, out: &mut Vec<u8>) {
    match value {
        Single::Boolean(value) => put_u64((*value).into(), out),
        Single::Int(value) => put_u64(value.cast_unsigned(), out),
        Single::Float32(value) => put_u64(value.to_word(), out),
        Single::Float64(value) => put_u64(value.to_word(), out),
        Single::Decimal(value) => out.extend_from_slice(&value.to_le_bytes()),
        Single::Interval(value) => {
            out.extend_from_slice(&value.months.to_le_bytes());
            out.extend_from_slice(&value.days.to_le_bytes());
            out.extend_from_slice(&value.nanoseconds.to_le_bytes());
        }
        Single::Bytes(bytes) => {
            put_len(bytes.len(), out);
            put_array(bytes.as_slice(), out);
        }
    }
}
