//! Which Arrow types are stored, and their bytes in the manifest and in nested values.
//!
//! The tags below are persistent: a number once given keeps its meaning.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};

use crate::bytes::{put_bytes, put_varint, take_byte, take_count, take_str, take_u32};
use crate::physical::Physical;
use crate::row::ROW_BYTES_MAX;
use crate::{Error, Result};

/// How deep types may nest.
const DEPTH_MAX: usize = 32;

/// Whether a column may have this type: one of the canonical types, or nested ones of supported
/// children, at most 32 levels deep.
pub fn is_supported(data_type: &DataType) -> bool {
    stored_type(data_type).as_ref() == Some(data_type)
}

/// The type that values of this type are stored as: text and binary become views, all else stays as
/// it is; `None` if they cannot be stored. Children of nested types stay as they are.
pub fn stored_type(data_type: &DataType) -> Option<DataType> {
    if !is_storable(data_type, DEPTH_MAX, ROW_BYTES_MAX) {
        return None;
    }
    Some(match Physical::of(data_type)? {
        Physical::Text => DataType::Utf8View,
        Physical::Binary => DataType::BinaryView,
        _ => data_type.clone(),
    })
}

/// Every value of a storable type takes at least a bit, so that the length of what is read bounds
/// what reading allocates: hence no empty structs and nothing of width 0. And one value takes no
/// more than a row may, NULLs of fixed-size lists included: `room` says how much is left.
fn is_storable(data_type: &DataType, depth: usize, room: usize) -> bool {
    let nested =
        |field: &FieldRef, room| depth > 0 && is_storable(field.data_type(), depth - 1, room);
    let child = |field: &FieldRef| nested(field, room);
    let fits = |size: i32| usize::try_from(size).ok().filter(|size| (1..=room).contains(size));
    match data_type {
        DataType::List(field) | DataType::LargeList(field) => child(field),
        DataType::FixedSizeList(field, size) => {
            fits(*size).is_some_and(|size| nested(field, room / size))
        }
        DataType::Struct(fields) => !fields.is_empty() && fields.iter().all(child),
        DataType::Map(field, _) => {
            let entries =
                matches!(field.data_type(), DataType::Struct(fields) if fields.len() == 2);
            entries && !field.is_nullable() && child(field)
        }
        DataType::FixedSizeBinary(width) => fits(*width).is_some(),
        _ => Physical::of(data_type).is_some(),
    }
}

/// Appends the bytes of a type; what is not storable has none and becomes tag 0.
pub(crate) fn put_data_type(out: &mut Vec<u8>, data_type: &DataType) {
    use DataType as T;
    match data_type {
        T::Boolean => out.push(1),
        T::Int8 => out.push(2),
        T::Int16 => out.push(3),
        T::Int32 => out.push(4),
        T::Int64 => out.push(5),
        T::UInt8 => out.push(6),
        T::UInt16 => out.push(7),
        T::UInt32 => out.push(8),
        T::UInt64 => out.push(9),
        T::Float32 => out.push(10),
        T::Float64 => out.push(11),
        T::Decimal128(precision, scale) => out.extend([12, *precision, scale.cast_unsigned()]),
        T::Date32 => out.push(13),
        T::Date64 => out.push(14),
        T::Time32(unit) => out.extend([15, unit_number(*unit)]),
        T::Time64(unit) => out.extend([16, unit_number(*unit)]),
        T::Timestamp(unit, zone) => {
            out.extend([17, unit_number(*unit), u8::from(zone.is_some())]);
            if let Some(zone) = zone {
                put_bytes(out, zone.as_bytes());
            }
        }
        T::Duration(unit) => out.extend([18, unit_number(*unit)]),
        T::Interval(IntervalUnit::MonthDayNano) => out.push(19),
        T::Utf8 => out.push(20),
        T::LargeUtf8 => out.push(21),
        T::Utf8View => out.push(22),
        T::Binary => out.push(23),
        T::LargeBinary => out.push(24),
        T::BinaryView => out.push(25),
        T::FixedSizeBinary(width) => {
            out.push(26);
            put_size(out, *width);
        }
        T::List(field) => {
            out.push(27);
            put_field(out, field);
        }
        T::LargeList(field) => {
            out.push(28);
            put_field(out, field);
        }
        T::FixedSizeList(field, size) => {
            out.push(29);
            put_size(out, *size);
            put_field(out, field);
        }
        T::Struct(fields) => {
            out.push(30);
            put_varint(out, fields.len() as u64);
            fields.iter().for_each(|field| put_field(out, field));
        }
        T::Map(field, sorted) => {
            out.extend([31, u8::from(*sorted)]);
            put_field(out, field);
        }
        _ => out.push(0),
    }
}

/// Takes a type off the front of `bytes`; it is storable.
pub(crate) fn take_data_type(bytes: &mut &[u8]) -> Result<DataType> {
    let data_type = take_nested_type(bytes, DEPTH_MAX)?;
    match is_storable(&data_type, DEPTH_MAX, ROW_BYTES_MAX) {
        true => Ok(data_type),
        false => Err(Error::corrupt(format!("type {data_type} cannot be stored"))),
    }
}

fn take_nested_type(bytes: &mut &[u8], depth: usize) -> Result<DataType> {
    use DataType as T;
    Ok(match take_byte(bytes)? {
        1 => T::Boolean,
        2 => T::Int8,
        3 => T::Int16,
        4 => T::Int32,
        5 => T::Int64,
        6 => T::UInt8,
        7 => T::UInt16,
        8 => T::UInt32,
        9 => T::UInt64,
        10 => T::Float32,
        11 => T::Float64,
        12 => {
            let (precision, scale) = (take_byte(bytes)?, take_byte(bytes)?.cast_signed());
            if !(1..=38).contains(&precision) || scale > precision.cast_signed() {
                return Err(Error::corrupt(format!(
                    "decimal of precision {precision} and scale {scale}"
                )));
            }
            T::Decimal128(precision, scale)
        }
        13 => T::Date32,
        14 => T::Date64,
        15 => match take_unit(bytes)? {
            unit @ (TimeUnit::Second | TimeUnit::Millisecond) => T::Time32(unit),
            unit => return Err(Error::corrupt(format!("32-bit time in {unit:?}s"))),
        },
        16 => match take_unit(bytes)? {
            unit @ (TimeUnit::Microsecond | TimeUnit::Nanosecond) => T::Time64(unit),
            unit => return Err(Error::corrupt(format!("64-bit time in {unit:?}s"))),
        },
        17 => {
            let unit = take_unit(bytes)?;
            let zone = if take_flag(bytes)? { Some(Arc::from(take_str(bytes)?)) } else { None };
            T::Timestamp(unit, zone)
        }
        18 => T::Duration(take_unit(bytes)?),
        19 => T::Interval(IntervalUnit::MonthDayNano),
        20 => T::Utf8,
        21 => T::LargeUtf8,
        22 => T::Utf8View,
        23 => T::Binary,
        24 => T::LargeBinary,
        25 => T::BinaryView,
        26 => T::FixedSizeBinary(take_size(bytes)?),
        27 => T::List(take_field(bytes, depth)?),
        28 => T::LargeList(take_field(bytes, depth)?),
        29 => {
            let size = take_size(bytes)?;
            T::FixedSizeList(take_field(bytes, depth)?, size)
        }
        30 => {
            let count = take_count(bytes, "struct fields")?;
            T::Struct((0..count).map(|_| take_field(bytes, depth)).collect::<Result<Fields>>()?)
        }
        31 => {
            let sorted = take_flag(bytes)?;
            T::Map(take_field(bytes, depth)?, sorted)
        }
        other => return Err(Error::corrupt(format!("unknown type number {other}"))),
    })
}

fn put_field(out: &mut Vec<u8>, field: &Field) {
    put_bytes(out, field.name().as_bytes());
    out.push(u8::from(field.is_nullable()));
    let mut metadata: Vec<_> = field.metadata().iter().collect();
    metadata.sort();
    put_varint(out, metadata.len() as u64);
    for (key, value) in metadata {
        put_bytes(out, key.as_bytes());
        put_bytes(out, value.as_bytes());
    }
    put_data_type(out, field.data_type());
}

fn take_field(bytes: &mut &[u8], depth: usize) -> Result<FieldRef> {
    let depth = depth.checked_sub(1).ok_or_else(|| {
        Error::corrupt(format!("a type nested more than {DEPTH_MAX} levels deep"))
    })?;
    let name = take_str(bytes)?.to_owned();
    let nullable = take_flag(bytes)?;
    let mut metadata = HashMap::new();
    for _ in 0..take_count(bytes, "metadata entries")? {
        let key = take_str(bytes)?.to_owned();
        metadata.insert(key, take_str(bytes)?.to_owned());
    }
    let data_type = take_nested_type(bytes, depth)?;
    Ok(Arc::new(Field::new(name, data_type, nullable).with_metadata(metadata)))
}

fn put_size(out: &mut Vec<u8>, size: i32) {
    put_varint(out, u64::from(size.cast_unsigned()));
}

fn take_size(bytes: &mut &[u8]) -> Result<i32> {
    Ok(take_u32(bytes, "size")?.cast_signed())
}

/// Takes a byte that is 0 or 1.
pub(crate) fn take_flag(bytes: &mut &[u8]) -> Result<bool> {
    match take_byte(bytes)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Error::corrupt(format!("a flag of {other}"))),
    }
}

fn unit_number(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    }
}

fn take_unit(bytes: &mut &[u8]) -> Result<TimeUnit> {
    Ok(match take_byte(bytes)? {
        0 => TimeUnit::Second,
        1 => TimeUnit::Millisecond,
        2 => TimeUnit::Microsecond,
        3 => TimeUnit::Nanosecond,
        other => return Err(Error::corrupt(format!("unknown time unit {other}"))),
    })
}
