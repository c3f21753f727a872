//! How values lie in bytes, apart from what they mean: a date is a 32-bit integer here.
//!
//! Every format of rows and keys goes through this small set of kinds, so that a new Arrow type of
//! an old kind costs one line in [`Physical::of`].

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, types};
use arrow_buffer::{Buffer, IntervalMonthDayNano};
use arrow_schema::DataType;

use crate::{Error, Result, RowBuffer, ValueRef};

/// The kind of a column's bytes; widths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Physical {
    Boolean,
    Int(usize),
    UInt(usize),
    Float32,
    Float64,
    Decimal,
    Interval,
    Text,
    Binary,
    FixedBinary(usize),
    Nested,
}

impl Physical {
    /// The kind of this type, or `None` if no column may have it. Says nothing of nested children.
    pub(crate) fn of(data_type: &DataType) -> Option<Self> {
        use DataType as T;
        Some(match data_type {
            T::Boolean => Self::Boolean,
            T::Int8 => Self::Int(1),
            T::Int16 => Self::Int(2),
            T::Int32 | T::Date32 | T::Time32(_) => Self::Int(4),
            T::Int64 | T::Date64 | T::Time64(_) | T::Timestamp(..) | T::Duration(_) => Self::Int(8),
            T::UInt8 => Self::UInt(1),
            T::UInt16 => Self::UInt(2),
            T::UInt32 => Self::UInt(4),
            T::UInt64 => Self::UInt(8),
            T::Float32 => Self::Float32,
            T::Float64 => Self::Float64,
            T::Decimal128(..) => Self::Decimal,
            T::Interval(arrow_schema::IntervalUnit::MonthDayNano) => Self::Interval,
            T::Utf8 | T::LargeUtf8 | T::Utf8View => Self::Text,
            T::Binary | T::LargeBinary | T::BinaryView => Self::Binary,
            T::FixedSizeBinary(width) => Self::FixedBinary(usize::try_from(*width).ok()?),
            T::List(_) | T::LargeList(_) | T::FixedSizeList(..) | T::Struct(_) | T::Map(..) => {
                Self::Nested
            }
            _ => return None,
        })
    }

    /// The width of one value where all have the same; a boolean takes a byte outside Arrow.
    pub(crate) fn width(self) -> Option<usize> {
        match self {
            Self::Boolean => Some(1),
            Self::Int(width) | Self::UInt(width) | Self::FixedBinary(width) => Some(width),
            Self::Float32 => Some(4),
            Self::Float64 => Some(8),
            Self::Decimal | Self::Interval => Some(16),
            Self::Text | Self::Binary | Self::Nested => None,
        }
    }

    /// The bits of a value of at most eight bytes; `None` if it is not of this kind or does not fit.
    #[inline]
    pub(crate) fn word(self, value: ValueRef<'_>) -> Option<u64> {
        match (self, value) {
            (Self::Boolean, ValueRef::Boolean(v)) => Some(u64::from(v)),
            (Self::Int(width), ValueRef::Int(v)) => {
                (sign_extend(v.cast_unsigned(), width) == v).then_some(v.cast_unsigned())
            }
            (Self::UInt(width), ValueRef::UInt(v)) => {
                (width == 8 || v >> (8 * width) == 0).then_some(v)
            }
            (Self::Float32, ValueRef::Float(v)) => {
                let narrow = narrow(v);
                (v.is_nan() || f64::from(narrow) == v).then(|| u64::from(narrow.to_bits()))
            }
            (Self::Float64, ValueRef::Float(v)) => Some(v.to_bits()),
            _ => None,
        }
    }

    /// The bits of a value of sixteen bytes, as Arrow lays them out.
    pub(crate) fn wide_word(self, value: ValueRef<'_>) -> Option<u128> {
        match (self, value) {
            (Self::Decimal, ValueRef::Decimal(v)) => Some(v.cast_unsigned()),
            (Self::Interval, ValueRef::Interval(v)) => Some(
                u128::from(v.months.cast_unsigned())
                    | u128::from(v.days.cast_unsigned()) << 32
                    | u128::from(v.nanoseconds.cast_unsigned()) << 64,
            ),
            _ => None,
        }
    }

    /// Writes a value of fixed width, low byte first, to `out` of that width; false if it does not
    /// fit.
    #[inline]
    pub(crate) fn write(self, value: ValueRef<'_>, out: &mut [u8]) -> bool {
        match self {
            Self::Decimal | Self::Interval => match self.wide_word(value) {
                Some(word) => out.copy_from_slice(&word.to_le_bytes()),
                None => return false,
            },
            Self::FixedBinary(width) => match value {
                ValueRef::Binary(v) if v.len() == width => out.copy_from_slice(v),
                _ => return false,
            },
            _ => {
                let Some(word) = self.word(value) else { return false };
                let bytes = word.to_le_bytes();
                // By width, so that each is one store and not a call.
                match out.len() {
                    1 => out[0] = bytes[0],
                    2 => out.copy_from_slice(&bytes[..2]),
                    4 => out.copy_from_slice(&bytes[..4]),
                    _ => out.copy_from_slice(&bytes),
                }
            }
        }
        true
    }

    /// The value of these bits.
    #[inline]
    pub(crate) fn value_of_word(self, word: u64) -> Result<ValueRef<'static>> {
        Ok(match self {
            Self::Boolean if word > 1 => {
                return Err(Error::corrupt(format!("a boolean of {word}")));
            }
            Self::Boolean => ValueRef::Boolean(word == 1),
            Self::Int(width) => ValueRef::Int(sign_extend(word, width)),
            Self::UInt(_) => ValueRef::UInt(word),
            Self::Float32 => ValueRef::Float(f64::from(f32::from_bits(low_u32(word)))),
            Self::Float64 => ValueRef::Float(f64::from_bits(word)),
            _ => unreachable!("{self:?} has no word"),
        })
    }

    /// Pushes the value of these bits: what [`value_of_word`](Self::value_of_word) says, without a
    /// value in between, whose writing and reading back would take most of the time.
    #[inline]
    pub(crate) fn push_word(self, word: u64, row: &mut RowBuffer) -> Result<()> {
        match self {
            Self::Int(width) => row.push(ValueRef::Int(sign_extend(word, width))),
            Self::UInt(_) => row.push(ValueRef::UInt(word)),
            Self::Float64 => row.push(ValueRef::Float(f64::from_bits(word))),
            _ => row.push(self.value_of_word(word)?),
        }
        Ok(())
    }

    /// Pushes the value of bytes that [`write`](Self::write) wrote.
    #[inline]
    pub(crate) fn push_bytes(self, bytes: &[u8], row: &mut RowBuffer) -> Result<()> {
        match self {
            Self::Decimal | Self::Interval | Self::FixedBinary(_) => {
                row.push(self.value_of_bytes(bytes)?)
            }
            _ => self.push_word(word_of(bytes), row)?,
        }
        Ok(())
    }

    /// The value of these sixteen bytes.
    pub(crate) fn value_of_wide_word(self, word: u128) -> ValueRef<'static> {
        match self {
            Self::Decimal => ValueRef::Decimal(word.cast_signed()),
            _ => ValueRef::Interval(IntervalMonthDayNano::new(
                low_u32(low_u64(word)).cast_signed(),
                low_u32(low_u64(word >> 32)).cast_signed(),
                low_u64(word >> 64).cast_signed(),
            )),
        }
    }

    /// The value of bytes that [`write`](Self::write) wrote; `bytes` has this kind's width.
    #[inline]
    pub(crate) fn value_of_bytes(self, bytes: &[u8]) -> Result<ValueRef<'_>> {
        match self {
            Self::FixedBinary(_) => Ok(ValueRef::Binary(bytes)),
            Self::Decimal | Self::Interval => {
                let mut word = [0; 16];
                word.copy_from_slice(bytes);
                Ok(self.value_of_wide_word(u128::from_le_bytes(word)))
            }
            _ => self.value_of_word(word_of(bytes)),
        }
    }
}

/// At most eight bytes, low byte first, as a word.
#[inline]
fn word_of(bytes: &[u8]) -> u64 {
    match *bytes {
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => unreachable!("no word of {} bytes", bytes.len()),
    }
}

/// The low `width` bytes as a signed number.
#[inline]
pub(crate) fn sign_extend(word: u64, width: usize) -> i64 {
    let shift = 64 - 8 * width;
    (word << shift).cast_signed() >> shift
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
fn low_u64(word: u128) -> u64 {
    word as u64
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
fn low_u32(word: u64) -> u32 {
    word as u32
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "whoever narrows checks that nothing was lost")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// Whether arrays of type `given` hold values of the stored type as they are.
pub(crate) fn accepts(stored: &DataType, given: &DataType) -> bool {
    match (stored, given) {
        (DataType::Timestamp(stored, _), DataType::Timestamp(given, _)) => stored == given,
        (DataType::Decimal128(_, stored), DataType::Decimal128(_, given)) => stored == given,
        _ => match Physical::of(given) {
            Some(kind @ (Physical::Text | Physical::Binary)) => Physical::of(stored) == Some(kind),
            Some(Physical::Nested) => stored.equals_datatype(given),
            _ => stored == given,
        },
    }
}

/// Whether `value` may stand in a column of this type, NULL apart.
pub(crate) fn fits(data_type: &DataType, value: ValueRef<'_>) -> bool {
    let Some(physical) = Physical::of(data_type) else { return false };
    match (physical, value) {
        (Physical::Text, ValueRef::Text(_)) | (Physical::Binary, ValueRef::Binary(_)) => true,
        (Physical::FixedBinary(width), ValueRef::Binary(v)) => v.len() == width,
        (Physical::Nested, ValueRef::Nested(v)) => {
            v.len() == 1 && v.is_valid(0) && data_type.equals_datatype(v.data_type())
        }
        (Physical::Decimal | Physical::Interval, _) => physical.wide_word(value).is_some(),
        _ => physical.word(value).is_some(),
    }
}

/// What a cell of an array holds.
pub(crate) enum ArrayCell<'a> {
    Value(ValueRef<'a>),
    /// Row `.1` of a nested array.
    Nested(&'a dyn Array, usize),
}

/// The value of `array` at `index`, dispatched on its type: for single cells, not for loops.
pub(crate) fn array_cell(array: &dyn Array, index: usize) -> Result<ArrayCell<'_>> {
    use arrow_schema::TimeUnit as U;
    if index >= array.len() {
        return Err(Error::invalid(format!("row {index} of an array of {}", array.len())));
    }
    if array.is_null(index) {
        return Ok(ArrayCell::Value(ValueRef::Null));
    }
    macro_rules! int {
        ($type:ident) => {
            ValueRef::Int(i64::from(array.as_primitive::<types::$type>().value(index)))
        };
    }
    macro_rules! uint {
        ($type:ident) => {
            ValueRef::UInt(u64::from(array.as_primitive::<types::$type>().value(index)))
        };
    }
    Ok(ArrayCell::Value(match array.data_type() {
        DataType::Boolean => ValueRef::Boolean(array.as_boolean().value(index)),
        DataType::Int8 => int!(Int8Type),
        DataType::Int16 => int!(Int16Type),
        DataType::Int32 => int!(Int32Type),
        DataType::Int64 => int!(Int64Type),
        DataType::UInt8 => uint!(UInt8Type),
        DataType::UInt16 => uint!(UInt16Type),
        DataType::UInt32 => uint!(UInt32Type),
        DataType::UInt64 => uint!(UInt64Type),
        DataType::Float32 => {
            ValueRef::Float(f64::from(array.as_primitive::<types::Float32Type>().value(index)))
        }
        DataType::Float64 => {
            ValueRef::Float(array.as_primitive::<types::Float64Type>().value(index))
        }
        DataType::Decimal128(..) => {
            ValueRef::Decimal(array.as_primitive::<types::Decimal128Type>().value(index))
        }
        DataType::Date32 => int!(Date32Type),
        DataType::Date64 => int!(Date64Type),
        DataType::Time32(U::Second) => int!(Time32SecondType),
        DataType::Time32(U::Millisecond) => int!(Time32MillisecondType),
        DataType::Time64(U::Microsecond) => int!(Time64MicrosecondType),
        DataType::Time64(U::Nanosecond) => int!(Time64NanosecondType),
        DataType::Timestamp(U::Second, _) => int!(TimestampSecondType),
        DataType::Timestamp(U::Millisecond, _) => int!(TimestampMillisecondType),
        DataType::Timestamp(U::Microsecond, _) => int!(TimestampMicrosecondType),
        DataType::Timestamp(U::Nanosecond, _) => int!(TimestampNanosecondType),
        DataType::Duration(U::Second) => int!(DurationSecondType),
        DataType::Duration(U::Millisecond) => int!(DurationMillisecondType),
        DataType::Duration(U::Microsecond) => int!(DurationMicrosecondType),
        DataType::Duration(U::Nanosecond) => int!(DurationNanosecondType),
        DataType::Interval(arrow_schema::IntervalUnit::MonthDayNano) => {
            ValueRef::Interval(array.as_primitive::<types::IntervalMonthDayNanoType>().value(index))
        }
        DataType::Utf8 => ValueRef::Text(array.as_string::<i32>().value(index)),
        DataType::LargeUtf8 => ValueRef::Text(array.as_string::<i64>().value(index)),
        DataType::Utf8View => ValueRef::Text(array.as_string_view().value(index)),
        DataType::Binary => ValueRef::Binary(array.as_binary::<i32>().value(index)),
        DataType::LargeBinary => ValueRef::Binary(array.as_binary::<i64>().value(index)),
        DataType::BinaryView => ValueRef::Binary(array.as_binary_view().value(index)),
        DataType::FixedSizeBinary(_) => ValueRef::Binary(array.as_fixed_size_binary().value(index)),
        other if Physical::of(other) == Some(Physical::Nested) => {
            return Ok(ArrayCell::Nested(array, index));
        }
        other => return Err(Error::invalid(format!("values of type {other} cannot be stored"))),
    }))
}

/// The values of an array of fixed width (not boolean), one after the other.
pub(crate) fn fixed_values(array: &dyn Array, width: usize) -> Buffer {
    let data = array.to_data();
    data.buffers()[0].slice_with_length(data.offset() * width, data.len() * width)
}

/// Calls `each` with these rows of an array of text or variable binary, bytes of NULLs included.
pub(crate) fn each_bytes<'a>(
    array: &'a dyn Array,
    rows: Range<usize>,
    mut each: impl FnMut(usize, &'a [u8]),
) {
    macro_rules! walk {
        ($array:expr) => {{
            let array = $array;
            for row in rows {
                each(row, AsRef::<[u8]>::as_ref(array.value(row)));
            }
        }};
    }
    match array.data_type() {
        DataType::Utf8 => walk!(array.as_string::<i32>()),
        DataType::LargeUtf8 => walk!(array.as_string::<i64>()),
        DataType::Utf8View => walk!(array.as_string_view()),
        DataType::Binary => walk!(array.as_binary::<i32>()),
        DataType::LargeBinary => walk!(array.as_binary::<i64>()),
        DataType::BinaryView => walk!(array.as_binary_view()),
        other => unreachable!("{other} has no bytes of variable length"),
    }
}
