//! Single values: owned ([`Value`]), borrowed ([`ValueRef`]), and a row of them in one reusable
//! allocation ([`RowBuffer`]).
//!
//! A value is physical: what it means (a date, a timestamp, a decimal's scale) stands in the
//! column's Arrow type. Integers, dates, times and timestamps are all `Int` or `UInt`.

use std::cmp::Ordering;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::IntervalMonthDayNano;
use arrow_schema::DataType;

use crate::Result;

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
    pub fn from_array(_array: &dyn Array, _index: usize) -> Result<Self> {
        todo!()
    }

    /// Appends the value's bytes.
    pub fn encode(&self, _out: &mut Vec<u8>) {
        todo!()
    }

    /// Takes a value off the front of `bytes`.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no value has.
    pub fn decode(_bytes: &mut &[u8]) -> Result<Self> {
        todo!()
    }
}

/// An array of `data_type` that holds `values`.
///
/// # Errors
/// `Invalid` if a value is not of that type.
pub fn array_of(_data_type: &DataType, _values: &[Value]) -> Result<ArrayRef> {
    todo!()
}

impl ValueRef<'_> {
    /// The order of keys and zone maps: NULL first, -0.0 equal to 0.0, NaN equal to itself and
    /// above every number, text and binary by bytes.
    pub fn compare(&self, _other: &Self) -> Ordering {
        todo!()
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
    pub fn push_from_array(&mut self, _array: &dyn Array, _index: usize) -> Result<()> {
        todo!()
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
