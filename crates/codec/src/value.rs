//! Single values: owned ([`Value`]), borrowed ([`ValueRef`]), and a row of them in one reusable
//! allocation ([`RowBuffer`]).
//!
//! A value is physical: what it means (a date, a timestamp, a decimal's scale) stands in the
//! column's Arrow type. Integers, dates, times and timestamps are all `Int` or `UInt`.

use std::cmp::Ordering;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::IntervalMonthDayNano;
use arrow_schema::DataType;

use crate::bytes::{
    put_bytes, put_varint, take, take_array, take_byte, take_bytes, take_str, take_varint,
};
use crate::column_builder::ColumnBuilder;
use crate::data_type::{put_data_type, take_data_type, take_flag};
use crate::physical::{ArrayCell, Physical, array_cell};
use crate::{Error, Result, nested};

/// One value, owned.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL's NULL.
    Null,
    /// A boolean.
    Boolean(bool),
    /// Int8 to Int64, Date32, Time64, Timestamp and Duration, as stored.
    Int(i64),
    /// UInt8 to UInt64.
    UInt(u64),
    /// Float32 (widened) and Float64.
    Float(f64),
    /// Decimal128: the unscaled number.
    Decimal(i128),
    /// Interval(MonthDayNano).
    Interval(IntervalMonthDayNano),
    /// Utf8View (also Utf8, LargeUtf8 on the way in).
    Text(String),
    /// BinaryView and FixedSizeBinary (also Binary, LargeBinary on the way in).
    Binary(Vec<u8>),
    /// List, struct, map, fixed-size list: an array of one row.
    Nested(ArrayRef),
}

/// One value, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// SQL's NULL.
    Null,
    /// See [`Value::Boolean`].
    Boolean(bool),
    /// See [`Value::Int`].
    Int(i64),
    /// See [`Value::UInt`].
    UInt(u64),
    /// See [`Value::Float`].
    Float(f64),
    /// See [`Value::Decimal`].
    Decimal(i128),
    /// See [`Value::Interval`].
    Interval(IntervalMonthDayNano),
    /// See [`Value::Text`].
    Text(&'a str),
    /// See [`Value::Binary`].
    Binary(&'a [u8]),
    /// See [`Value::Nested`].
    Nested(&'a ArrayRef),
}

impl Value {
    /// The same value, borrowed.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Boolean(v) => ValueRef::Boolean(*v),
            Self::Int(v) => ValueRef::Int(*v),
            Self::UInt(v) => ValueRef::UInt(*v),
            Self::Float(v) => ValueRef::Float(*v),
            Self::Decimal(v) => ValueRef::Decimal(*v),
            Self::Interval(v) => ValueRef::Interval(*v),
            Self::Text(v) => ValueRef::Text(v),
            Self::Binary(v) => ValueRef::Binary(v),
            Self::Nested(v) => ValueRef::Nested(v),
        }
    }

    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl Value {
    /// The value of `array` at `index`.
    ///
    /// # Errors
    /// `Invalid` for a type that is not stored or an index past the end.
    pub fn from_array(array: &dyn Array, index: usize) -> Result<Self> {
        Ok(match array_cell(array, index)? {
            ArrayCell::Value(value) => value.to_value(),
            ArrayCell::Nested(array, index) => Self::Nested(array.slice(index, 1)),
        })
    }

    /// Appends the value's bytes: a tag, then what it holds. The tags are persistent.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(0),
            Self::Boolean(v) => out.extend([1, u8::from(*v)]),
            Self::Int(v) => {
                out.push(2);
                // The sign goes last (zigzag), so that small negative numbers are short too.
                put_varint(out, (v.cast_unsigned() << 1) ^ (v >> 63).cast_unsigned());
            }
            Self::UInt(v) => {
                out.push(3);
                put_varint(out, *v);
            }
            Self::Float(v) => {
                out.push(4);
                out.extend(v.to_bits().to_le_bytes());
            }
            Self::Decimal(v) => {
                out.push(5);
                out.extend(v.to_le_bytes());
            }
            Self::Interval(_) => {
                let mut bytes = [0; 16];
                Physical::Interval.write(self.as_ref(), &mut bytes);
                out.push(6);
                out.extend(bytes);
            }
            Self::Text(v) => {
                out.push(7);
                put_bytes(out, v.as_bytes());
            }
            Self::Binary(v) => {
                out.push(8);
                put_bytes(out, v);
            }
            Self::Nested(v) => {
                out.push(9);
                put_data_type(out, v.data_type());
                nested::put_row(v, 0, out);
            }
        }
    }

    /// Takes a value off the front of `bytes`.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no value has.
    pub fn decode(bytes: &mut &[u8]) -> Result<Self> {
        Ok(match take_byte(bytes)? {
            0 => Self::Null,
            1 => Self::Boolean(take_flag(bytes)?),
            2 => {
                let folded = take_varint(bytes)?;
                Self::Int((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
            }
            3 => Self::UInt(take_varint(bytes)?),
            4 => Self::Float(f64::from_bits(u64::from_le_bytes(take_array(bytes)?))),
            5 => Self::Decimal(i128::from_le_bytes(take_array(bytes)?)),
            6 => Physical::Interval.value_of_bytes(take(bytes, 16)?)?.to_value(),
            7 => Self::Text(take_str(bytes)?.to_owned()),
            8 => Self::Binary(take_bytes(bytes)?.to_vec()),
            9 => {
                let data_type = take_data_type(bytes)?;
                if Physical::of(&data_type) != Some(Physical::Nested) {
                    return Err(Error::corrupt(format!("a nested value of type {data_type}")));
                }
                Self::Nested(nested::take_row(&data_type, bytes)?)
            }
            other => return Err(Error::corrupt(format!("unknown value number {other}"))),
        })
    }
}

/// An array of `data_type` that holds `values`.
///
/// # Errors
/// `Invalid` if a value is not of that type.
pub fn array_of(data_type: &DataType, values: &[Value]) -> Result<ArrayRef> {
    let mut builder = ColumnBuilder::new(data_type, values.len())
        .ok_or_else(|| Error::invalid(format!("values of type {data_type} cannot be stored")))?;
    for value in values {
        if !builder.push(value.as_ref()) {
            return Err(Error::invalid(format!("{value:?} in an array of type {data_type}")));
        }
    }
    builder.finish()
}

impl ValueRef<'_> {
    /// The order of keys and zone maps: NULL first, -0.0 equal to 0.0, NaN equal to itself and
    /// above every number, text and binary by bytes.
    ///
    /// Values of one column always compare so. Others have a fixed order too, by kind; so have
    /// nested values and intervals, by what they hold and not by what it means.
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Self::Binary(a), Self::Binary(b)) => a.cmp(b),
            (Self::UInt(a), Self::UInt(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => normal_f64(*a).total_cmp(&normal_f64(*b)),
            (Self::Decimal(a), Self::Decimal(b)) => a.cmp(b),
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::Interval(a), Self::Interval(b)) => {
                (a.months, a.days, a.nanoseconds).cmp(&(b.months, b.days, b.nanoseconds))
            }
            (Self::Nested(_), Self::Nested(_)) => self.to_bytes().cmp(&other.to_bytes()),
            _ => self.kind_number().cmp(&other.kind_number()),
        }
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.to_value().encode(&mut bytes);
        bytes
    }

    fn kind_number(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Boolean(_) => 1,
            Self::Int(_) => 2,
            Self::UInt(_) => 3,
            Self::Float(_) => 4,
            Self::Decimal(_) => 5,
            Self::Interval(_) => 6,
            Self::Text(_) => 7,
            Self::Binary(_) => 8,
            Self::Nested(_) => 9,
        }
    }

    /// The same value, owned.
    pub fn to_value(&self) -> Value {
        match *self {
            Self::Null => Value::Null,
            Self::Boolean(v) => Value::Boolean(v),
            Self::Int(v) => Value::Int(v),
            Self::UInt(v) => Value::UInt(v),
            Self::Float(v) => Value::Float(v),
            Self::Decimal(v) => Value::Decimal(v),
            Self::Interval(v) => Value::Interval(v),
            Self::Text(v) => Value::Text(v.to_owned()),
            Self::Binary(v) => Value::Binary(v.to_vec()),
            Self::Nested(v) => Value::Nested(v.clone()),
        }
    }

    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, ValueRef::Null)
    }
}

/// A row of values in allocations that are kept from one row to the next.
#[derive(Debug, Default)]
pub struct RowBuffer {
    slots: Vec<Slot>,
    text: String,
    bytes: Vec<u8>,
    nested: Vec<ArrayRef>,
    scratch: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    Null,
    Boolean(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Decimal(i128),
    Interval(IntervalMonthDayNano),
    Text(usize, usize),
    Binary(usize, usize),
    Nested(usize),
}

impl RowBuffer {
    /// An empty row.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the values, keeps the memory.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.text.clear();
        self.bytes.clear();
        self.nested.clear();
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Appends a value, copying its bytes.
    #[inline]
    pub fn push(&mut self, value: ValueRef<'_>) {
        let slot = match value {
            ValueRef::Null => Slot::Null,
            ValueRef::Boolean(v) => Slot::Boolean(v),
            ValueRef::Int(v) => Slot::Int(v),
            ValueRef::UInt(v) => Slot::UInt(v),
            ValueRef::Float(v) => Slot::Float(v),
            ValueRef::Decimal(v) => Slot::Decimal(v),
            ValueRef::Interval(v) => Slot::Interval(v),
            ValueRef::Text(v) => {
                let start = self.text.len();
                self.text.push_str(v);
                Slot::Text(start, self.text.len())
            }
            ValueRef::Binary(v) => {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(v);
                Slot::Binary(start, self.bytes.len())
            }
            ValueRef::Nested(v) => {
                self.nested.push(v.clone());
                Slot::Nested(self.nested.len() - 1)
            }
        };
        self.slots.push(slot);
    }

    /// Appends the value of `array` at `index`.
    ///
    /// # Errors
    /// As [`Value::from_array`].
    pub fn push_from_array(&mut self, array: &dyn Array, index: usize) -> Result<()> {
        match array_cell(array, index)? {
            ArrayCell::Value(value) => self.push(value),
            ArrayCell::Nested(array, index) => self.push_nested(array.slice(index, 1)),
        }
        Ok(())
    }

    /// Appends a nested value without another count of its owners.
    pub(crate) fn push_nested(&mut self, value: ArrayRef) {
        self.slots.push(Slot::Nested(self.nested.len()));
        self.nested.push(value);
    }

    /// Memory for whoever needs some while pushing; give it back with `keep_scratch`.
    pub(crate) fn take_scratch(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.scratch)
    }

    pub(crate) fn keep_scratch(&mut self, scratch: Vec<u8>) {
        self.scratch = scratch;
    }

    /// The value at `index`.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    pub fn get(&self, index: usize) -> ValueRef<'_> {
        match self.slots[index] {
            Slot::Null => ValueRef::Null,
            Slot::Boolean(v) => ValueRef::Boolean(v),
            Slot::Int(v) => ValueRef::Int(v),
            Slot::UInt(v) => ValueRef::UInt(v),
            Slot::Float(v) => ValueRef::Float(v),
            Slot::Decimal(v) => ValueRef::Decimal(v),
            Slot::Interval(v) => ValueRef::Interval(v),
            Slot::Text(start, end) => ValueRef::Text(&self.text[start..end]),
            Slot::Binary(start, end) => ValueRef::Binary(&self.bytes[start..end]),
            Slot::Nested(index) => ValueRef::Nested(&self.nested[index]),
        }
    }

    /// The values in order.
    pub fn iter(&self) -> impl Iterator<Item = ValueRef<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }
}

// The bits of `f64::NAN` are not promised to stay; those of a key are.
const NAN_64: u64 = 0x7ff8_0000_0000_0000;
const NAN_32: u32 = 0x7fc0_0000;

/// -0.0 as 0.0, and every NaN as the one that orders above all numbers.
#[inline]
pub(crate) fn normal_f64(value: f64) -> f64 {
    if value.is_nan() { f64::from_bits(NAN_64) } else { value + 0.0 }
}

/// As [`normal_f64`].
#[inline]
pub(crate) fn normal_f32(value: f32) -> f32 {
    if value.is_nan() { f32::from_bits(NAN_32) } else { value + 0.0 }
}
