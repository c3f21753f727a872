//! How Arrow's types are stored: a handful of physical kinds.
//!
//! Whole numbers of every type meet in one domain, `i64` in the column's order: `UInt64` with its
//! topmost bit flipped, all others widened. Packing, searching and filtering know nothing else.

use std::sync::Arc;

use arrow_array::types::{
    Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BinaryViewArray, LargeBinaryArray,
    LargeStringArray, PrimitiveArray, StringArray, StringViewArray, make_array,
};
use arrow_buffer::{ArrowNativeType, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_data::ArrayData;
use arrow_schema::{DataType, IntervalUnit, TimeUnit};

use super::CompareOp;
use super::packed::{Interval, Unpacked};
use super::views::{binary_views, binary_views_at, text_views, text_views_at};
use crate::{Error, Result, ValueRef};

/// The physical kind of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Int(IntKind),
    Float32,
    Float64,
    Decimal,
    Interval,
    Text(Layout),
    Binary(Layout),
    /// FixedSizeBinary of this many bytes a value.
    Fixed(usize),
    Nested,
}

/// A type of whole numbers up to eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IntKind {
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
}

/// The three layouts Arrow has for text and binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    View,
    Offsets32,
    Offsets64,
}

/// Where a value stands beside the whole numbers of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    BelowAll,
    At(i64),
    AboveAll,
}

/// Runs `$body` with `$native` naming the Rust type of `$int`.
macro_rules! with_native {
    ($int:expr, $native:ident => $body:expr) => {
        match $int {
            $crate::column::kind::IntKind::I8 | $crate::column::kind::IntKind::U8 => {
                type $native = u8;
                $body
            }
            $crate::column::kind::IntKind::I16 | $crate::column::kind::IntKind::U16 => {
                type $native = u16;
                $body
            }
            $crate::column::kind::IntKind::I32 | $crate::column::kind::IntKind::U32 => {
                type $native = u32;
                $body
            }
            $crate::column::kind::IntKind::I64 | $crate::column::kind::IntKind::U64 => {
                type $native = u64;
                $body
            }
        }
    };
}
pub(super) use with_native;

impl Kind {
    /// The kind that stores `data_type`.
    ///
    /// # Errors
    /// `Invalid` for a type that columns cannot have.
    pub(super) fn of(data_type: &DataType) -> Result<Self> {
        Ok(match data_type {
            DataType::Boolean => Self::Boolean,
            DataType::Int8 => Self::Int(IntKind::I8),
            DataType::Int16 => Self::Int(IntKind::I16),
            DataType::Int32 | DataType::Date32 | DataType::Time32(_) => Self::Int(IntKind::I32),
            DataType::Int64
            | DataType::Date64
            | DataType::Time64(_)
            | DataType::Timestamp(_, _)
            | DataType::Duration(_) => Self::Int(IntKind::I64),
            DataType::UInt8 => Self::Int(IntKind::U8),
            DataType::UInt16 => Self::Int(IntKind::U16),
            DataType::UInt32 => Self::Int(IntKind::U32),
            DataType::UInt64 => Self::Int(IntKind::U64),
            DataType::Float32 => Self::Float32,
            DataType::Float64 => Self::Float64,
            DataType::Decimal128(_, _) => Self::Decimal,
            DataType::Interval(IntervalUnit::MonthDayNano) => Self::Interval,
            DataType::Utf8View => Self::Text(Layout::View),
            DataType::Utf8 => Self::Text(Layout::Offsets32),
            DataType::LargeUtf8 => Self::Text(Layout::Offsets64),
            DataType::BinaryView => Self::Binary(Layout::View),
            DataType::Binary => Self::Binary(Layout::Offsets32),
            DataType::LargeBinary => Self::Binary(Layout::Offsets64),
            DataType::FixedSizeBinary(size) if *size > 0 => Self::Fixed(size.as_usize()),
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(_, _)
            | DataType::Struct(_)
            | DataType::Map(_, _) => Self::Nested,
            other => return Err(Error::invalid(format!("columns of type {other} are not stored"))),
        })
    }

    /// Whether rows share the memory of equal strings.
    pub(super) fn is_view(self) -> bool {
        matches!(self, Self::Text(Layout::View) | Self::Binary(Layout::View))
    }

    /// The bytes of one value in Arrow's memory, views instead of text.
    pub(super) fn value_bytes(self) -> usize {
        match self {
            Self::Boolean | Self::Nested => 1,
            Self::Int(int) => int.bytes(),
            Self::Float32 => 4,
            Self::Float64 => 8,
            Self::Decimal | Self::Interval | Self::Text(_) | Self::Binary(_) => 16,
            Self::Fixed(size) => size,
        }
    }

    /// The value that `ordered` stands for in a column of whole numbers.
    pub(super) fn int_value(self, ordered: i64) -> ValueRef<'static> {
        match self {
            Self::Int(int) if int.is_signed() => ValueRef::Int(ordered),
            Self::Int(int) => ValueRef::UInt(ordered.wrapping_add(int.bias()).cast_unsigned()),
            _ => ValueRef::Decimal(ordered.into()),
        }
    }

    /// Where `value` stands among the whole numbers of such a column; `None` if it is none.
    pub(super) fn place(self, value: &ValueRef<'_>) -> Option<Place> {
        let number = match (self, value) {
            (Self::Int(_), ValueRef::Int(number)) => i128::from(*number),
            (Self::Int(_), ValueRef::UInt(number)) => i128::from(*number),
            (Self::Decimal, ValueRef::Decimal(number)) => *number,
            _ => return None,
        };
        let number = match self {
            Self::Int(IntKind::U64) => number.saturating_add(i128::from(i64::MIN)),
            _ => number,
        };
        Some(match i64::try_from(number) {
            Ok(number) => Place::At(number),
            Err(_) if number < 0 => Place::BelowAll,
            Err(_) => Place::AboveAll,
        })
    }

    /// What to add to an ordered number to get the column's own.
    pub(super) fn bias(self) -> i64 {
        match self {
            Self::Int(int) => int.bias(),
            _ => 0,
        }
    }
}

impl IntKind {
    /// The bytes of one value.
    pub(super) fn bytes(self) -> usize {
        with_native!(self, Native => size_of::<Native>())
    }

    fn is_signed(self) -> bool {
        matches!(self, Self::I8 | Self::I16 | Self::I32 | Self::I64)
    }

    fn bias(self) -> i64 {
        match self {
            Self::U64 => i64::MIN,
            _ => 0,
        }
    }

    /// The numbers of `data` in the column's order.
    pub(super) fn ordered(self, data: &ArrayData) -> Vec<i64> {
        fn widen<T: ArrowNativeType>(data: &ArrayData, ordered: impl Fn(T) -> i64) -> Vec<i64> {
            data.buffer::<T>(0)[..data.len()].iter().map(|&number| ordered(number)).collect()
        }
        match self {
            Self::I8 => widen::<i8>(data, i64::from),
            Self::I16 => widen::<i16>(data, i64::from),
            Self::I32 => widen::<i32>(data, i64::from),
            Self::I64 => widen::<i64>(data, |number| number),
            Self::U8 => widen::<u8>(data, i64::from),
            Self::U16 => widen::<u16>(data, i64::from),
            Self::U32 => widen::<u32>(data, i64::from),
            Self::U64 => widen::<u64>(data, |number| number.cast_signed().wrapping_sub(i64::MIN)),
        }
    }

    /// The number at `index` of plain `bytes`, in the column's order.
    #[inline]
    pub(super) fn read(self, bytes: &Buffer, index: usize) -> i64 {
        match self {
            Self::I8 => bytes.typed_data::<i8>()[index].into(),
            Self::I16 => bytes.typed_data::<i16>()[index].into(),
            Self::I32 => bytes.typed_data::<i32>()[index].into(),
            Self::I64 => bytes.typed_data::<i64>()[index],
            Self::U8 => bytes.typed_data::<u8>()[index].into(),
            Self::U16 => bytes.typed_data::<u16>()[index].into(),
            Self::U32 => bytes.typed_data::<u32>()[index].into(),
            Self::U64 => bytes.typed_data::<u64>()[index].cast_signed().wrapping_sub(i64::MIN),
        }
    }
}

impl Place {
    /// The numbers that compare so with a value of this place.
    pub(super) fn interval(self, op: CompareOp) -> Interval {
        let at = match self {
            Self::At(at) => at,
            Self::BelowAll => {
                return match op {
                    CompareOp::NotEq | CompareOp::Gt | CompareOp::GtEq => Interval::ALL,
                    CompareOp::Eq | CompareOp::Lt | CompareOp::LtEq => Interval::NONE,
                };
            }
            Self::AboveAll => {
                return match op {
                    CompareOp::NotEq | CompareOp::Lt | CompareOp::LtEq => Interval::ALL,
                    CompareOp::Eq | CompareOp::Gt | CompareOp::GtEq => Interval::NONE,
                };
            }
        };
        match op {
            CompareOp::Eq => Interval::new(at, at),
            CompareOp::NotEq => Interval { low: at, high: at, negated: true },
            CompareOp::Lt => {
                at.checked_sub(1).map_or(Interval::NONE, |high| Interval::new(i64::MIN, high))
            }
            CompareOp::LtEq => Interval::new(i64::MIN, at),
            CompareOp::Gt => {
                at.checked_add(1).map_or(Interval::NONE, |low| Interval::new(low, i64::MAX))
            }
            CompareOp::GtEq => Interval::new(at, i64::MAX),
        }
    }
}

/// An array of `data_type`, which is of fixed width, over `values`.
pub(super) fn fixed_array(
    data_type: &DataType,
    len: usize,
    values: Buffer,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    // Those of most columns without a description that is made first and looked through then.
    match data_type {
        DataType::Int64 => return primitive::<Int64Type>(len, values, nulls).map(boxed),
        DataType::Int32 => return primitive::<Int32Type>(len, values, nulls).map(boxed),
        DataType::UInt64 => return primitive::<UInt64Type>(len, values, nulls).map(boxed),
        DataType::Float64 => return primitive::<Float64Type>(len, values, nulls).map(boxed),
        DataType::Date32 => return primitive::<Date32Type>(len, values, nulls).map(boxed),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let array = primitive::<TimestampMicrosecondType>(len, values, nulls)?;
            return Ok(boxed(array.with_timezone_opt(zone.clone())));
        }
        _ => {}
    }
    let data = ArrayData::builder(data_type.clone())
        .len(len)
        .add_buffer(values)
        .nulls(nulls)
        .align_buffers(true)
        .build()?;
    Ok(make_array(data))
}

/// An array of this type, whose values are no wider than chunks are aligned to.
fn primitive<T: ArrowPrimitiveType>(
    len: usize,
    values: Buffer,
    nulls: Option<NullBuffer>,
) -> Result<PrimitiveArray<T>> {
    Ok(PrimitiveArray::try_new(ScalarBuffer::new(values, 0, len), nulls)?)
}

fn boxed(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}

/// An array of whole numbers, each `of(base)`, or decimals.
pub(super) fn ints_array<F>(
    kind: Kind,
    data_type: &DataType,
    len: usize,
    nulls: Option<NullBuffer>,
    fill: F,
) -> Result<ArrayRef>
where
    F: IntFill,
{
    let values = match kind {
        Kind::Int(int) => {
            with_native!(int, Native => Buffer::from_vec(fill.fill::<Native>(kind.bias())))
        }
        _ => Buffer::from_vec(fill.fill::<i128>(0)),
    };
    fixed_array(data_type, len, values, nulls)
}

/// Something that yields whole numbers in any width.
pub(super) trait IntFill {
    /// All of them, each plus `bias`.
    fn fill<T: Unpacked + ArrowNativeType>(self, bias: i64) -> Vec<T>;
}

/// An array of text or binary over `values`, cut at `offsets`; text is checked here, all at once.
///
/// Views point into `values`.
pub(super) fn bytes_array(
    kind: Kind,
    offsets: Vec<i32>,
    values: Buffer,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    check_ascending(&offsets)?;
    let corrupt = |error| Error::corrupt(format!("strings of a column: {error}"));
    Ok(match kind {
        Kind::Fixed(size) => {
            let width = i32::try_from(size)
                .map_err(|_| Error::invalid(format!("values of {size} bytes")))?;
            if offsets.windows(2).any(|pair| pair[1] - pair[0] != width) {
                return Err(Error::corrupt(format!(
                    "values of a column are not all of {size} bytes"
                )));
            }
            return fixed_array(
                &DataType::FixedSizeBinary(width),
                offsets.len() - 1,
                values,
                nulls,
            );
        }
        Kind::Text(Layout::View) => Arc::new(text_views(offsets, values, nulls)?),
        Kind::Text(layout) => {
            let array = StringArray::try_new(checked(offsets), values, nulls).map_err(corrupt)?;
            if layout == Layout::Offsets32 {
                return Ok(Arc::new(array));
            }
            let (offsets, values, nulls) = array.into_parts();
            Arc::new(LargeStringArray::try_new(wide(&offsets), values, nulls).map_err(corrupt)?)
        }
        Kind::Binary(Layout::Offsets32) => {
            Arc::new(BinaryArray::try_new(checked(offsets), values, nulls).map_err(corrupt)?)
        }
        Kind::Binary(Layout::Offsets64) => {
            let offsets = wide(&checked(offsets));
            Arc::new(LargeBinaryArray::try_new(offsets, values, nulls).map_err(corrupt)?)
        }
        _ => Arc::new(binary_views(offsets, values, nulls)?),
    })
}

/// As [`bytes_array`], of views: each row has the string at its place between the offsets.
pub(super) fn bytes_array_at(
    kind: Kind,
    offsets: Vec<i32>,
    values: Buffer,
    places: &[u32],
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    check_ascending(&offsets)?;
    Ok(match kind {
        Kind::Text(_) => Arc::new(text_views_at(offsets, values, places, nulls)?),
        _ => Arc::new(binary_views_at(&offsets, values, places, nulls)?),
    })
}

fn check_ascending(offsets: &[i32]) -> Result<()> {
    match offsets.first().is_some_and(|&first| first >= 0) && offsets.is_sorted() {
        true => Ok(()),
        false => Err(Error::corrupt("the ends of a column's strings are out of order")),
    }
}

/// Offsets that were seen to be in order.
fn checked(offsets: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

fn wide(offsets: &OffsetBuffer<i32>) -> OffsetBuffer<i64> {
    OffsetBuffer::new(offsets.iter().map(|&offset| i64::from(offset)).collect())
}

/// The null rows of `range`.
pub(super) fn slice_nulls(
    nulls: Option<&NullBuffer>,
    start: usize,
    len: usize,
) -> Option<NullBuffer> {
    nulls.map(|nulls| nulls.slice(start, len)).filter(|nulls| nulls.null_count() > 0)
}

/// The values of a text, binary or fixed-size binary array as byte strings; nulls are empty.
pub(super) fn byte_strings(array: &dyn Array) -> Option<Vec<&[u8]>> {
    fn all<'a, T: AsRef<[u8]> + ?Sized + 'a>(
        values: impl Iterator<Item = Option<&'a T>>,
    ) -> Vec<&'a [u8]> {
        values.map(|value| value.map_or(&[] as &[u8], AsRef::as_ref)).collect()
    }
    let any = array.as_any();
    Some(if let Some(array) = any.downcast_ref::<StringViewArray>() {
        all(array.iter())
    } else if let Some(array) = any.downcast_ref::<BinaryViewArray>() {
        all(array.iter())
    } else if let Some(array) = any.downcast_ref::<StringArray>() {
        all(array.iter())
    } else if let Some(array) = any.downcast_ref::<BinaryArray>() {
        all(array.iter())
    } else if let Some(array) = any.downcast_ref::<LargeStringArray>() {
        all(array.iter())
    } else if let Some(array) = any.downcast_ref::<LargeBinaryArray>() {
        all(array.iter())
    } else {
        let array = any.downcast_ref::<arrow_array::FixedSizeBinaryArray>()?;
        all(array.iter())
    })
}
