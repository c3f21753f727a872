//! The bytes of nested values in rows: a run of rows of an array, child arrays after their parent.
//!
//! ```text
//! run     := nulls payload
//! nulls   := 0 | 1 bitmap              (bit set: a value is there)
//! payload := width x length bytes      fixed width, low byte first
//!          | bitmap                    boolean
//!          | length varints, bytes     text and binary
//!          | length varints, run       lists and maps: the child's rows
//!          | run                       fixed-size lists
//!          | run, run, ...             structs, one a field
//! ```
//! The type and the number of rows stand elsewhere. Compact enough for vectors of floats, and unlike
//! Arrow's IPC it bounds every allocation by the bytes that are there.

use std::sync::Arc;

use arrow_array::builder::BooleanBufferBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeListArray,
    LargeBinaryArray, LargeListArray, LargeStringArray, ListArray, MapArray, OffsetSizeTrait,
    StringArray, StringViewArray, StructArray, make_array,
};
use arrow_buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer, OffsetBuffer};
use arrow_data::ArrayData;
use arrow_schema::DataType;

use crate::bytes::{put_varint, take, take_varint};
use crate::data_type::take_flag;
use crate::physical::{Physical, each_bytes, fixed_values};
use crate::{Error, Result};

/// Appends row `index` of `array`.
pub(crate) fn put_row(array: &dyn Array, index: usize, out: &mut Vec<u8>) {
    put_run(array.slice(index, 1).as_ref(), out);
}

/// The one row of `data_type` that `bytes` hold.
pub(crate) fn decode_row(data_type: &DataType, mut bytes: &[u8]) -> Result<ArrayRef> {
    let array = take_row(data_type, &mut bytes)?;
    match bytes {
        [] => Ok(array),
        rest => Err(Error::corrupt(format!("{} bytes after a nested value", rest.len()))),
    }
}

/// Takes one row of `data_type` off the front of `bytes`.
pub(crate) fn take_row(data_type: &DataType, bytes: &mut &[u8]) -> Result<ArrayRef> {
    take_run(data_type, 1, bytes)
}

fn put_run(array: &dyn Array, out: &mut Vec<u8>) {
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => out.push(0),
        Some(nulls) => {
            out.push(1);
            put_bits(nulls.inner(), out);
        }
    }
    match array.data_type() {
        DataType::List(_) => {
            put_list(array.as_list::<i32>().offsets(), array.as_list::<i32>().values(), out)
        }
        DataType::LargeList(_) => {
            put_list(array.as_list::<i64>().offsets(), array.as_list::<i64>().values(), out)
        }
        DataType::Map(..) => put_list(array.as_map().offsets(), array.as_map().entries(), out),
        DataType::FixedSizeList(..) => put_run(array.as_fixed_size_list().values(), out),
        DataType::Struct(_) => {
            array.as_struct().columns().iter().for_each(|child| put_run(child, out))
        }
        DataType::Boolean => put_bits(array.as_boolean().values(), out),
        other => match Physical::of(other).map(|physical| (physical, physical.width())) {
            Some((_, Some(width))) => out.extend_from_slice(&fixed_values(array, width)),
            Some((Physical::Text | Physical::Binary, None)) => {
                each_bytes(array, 0..array.len(), |_, bytes| put_varint(out, bytes.len() as u64));
                each_bytes(array, 0..array.len(), |_, bytes| out.extend_from_slice(bytes));
            }
            _ => unreachable!("columns of type {other} are refused by the schema"),
        },
    }
}

fn put_bits(bits: &BooleanBuffer, out: &mut Vec<u8>) {
    let mut builder = BooleanBufferBuilder::new(bits.len());
    builder.append_buffer(bits);
    out.extend_from_slice(builder.as_slice());
}

fn put_list<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>, values: &dyn Array, out: &mut Vec<u8>) {
    for pair in offsets.windows(2) {
        put_varint(out, (pair[1] - pair[0]).as_usize() as u64);
    }
    let (first, last) = (offsets[0].as_usize(), offsets[offsets.len() - 1].as_usize());
    put_run(values.slice(first, last - first).as_ref(), out);
}

fn take_run(data_type: &DataType, rows: usize, bytes: &mut &[u8]) -> Result<ArrayRef> {
    let nulls =
        if take_flag(bytes)? { Some(NullBuffer::new(take_bits(rows, bytes)?)) } else { None };
    let array: ArrayRef = match data_type {
        DataType::Boolean => Arc::new(BooleanArray::new(take_bits(rows, bytes)?, nulls)),
        DataType::List(field) => {
            let offsets = take_offsets::<i32>(rows, bytes)?;
            let values = take_run(field.data_type(), last(&offsets), bytes)?;
            Arc::new(ListArray::try_new(field.clone(), offsets, values, nulls).map_err(damaged)?)
        }
        DataType::LargeList(field) => {
            let offsets = take_offsets::<i64>(rows, bytes)?;
            let values = take_run(field.data_type(), last(&offsets), bytes)?;
            Arc::new(
                LargeListArray::try_new(field.clone(), offsets, values, nulls).map_err(damaged)?,
            )
        }
        DataType::Map(field, sorted) => {
            let offsets = take_offsets::<i32>(rows, bytes)?;
            let values = take_run(field.data_type(), last(&offsets), bytes)?;
            let entries = values.as_struct().clone();
            Arc::new(
                MapArray::try_new(field.clone(), offsets, entries, nulls, *sorted)
                    .map_err(damaged)?,
            )
        }
        DataType::FixedSizeList(field, size) => {
            let count = usize::try_from(*size).ok().and_then(|size| size.checked_mul(rows));
            let count =
                count.ok_or_else(|| Error::corrupt(format!("{rows} lists of {size} values")))?;
            let values = take_run(field.data_type(), count, bytes)?;
            Arc::new(
                FixedSizeListArray::try_new(field.clone(), *size, values, nulls)
                    .map_err(damaged)?,
            )
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|field| take_run(field.data_type(), rows, bytes));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, nulls).map_err(damaged)?)
        }
        DataType::Utf8 => Arc::new(take_text(rows, nulls, bytes)?),
        DataType::LargeUtf8 => {
            let (offsets, values) = take_strings::<i64>(rows, bytes)?;
            Arc::new(LargeStringArray::try_new(offsets, values, nulls).map_err(damaged)?)
        }
        DataType::Utf8View => Arc::new(StringViewArray::from(&take_text(rows, nulls, bytes)?)),
        DataType::Binary => Arc::new(take_binary(rows, nulls, bytes)?),
        DataType::LargeBinary => {
            let (offsets, values) = take_strings::<i64>(rows, bytes)?;
            Arc::new(LargeBinaryArray::try_new(offsets, values, nulls).map_err(damaged)?)
        }
        DataType::BinaryView => Arc::new(BinaryViewArray::from(&take_binary(rows, nulls, bytes)?)),
        other => {
            let width = Physical::of(other).and_then(Physical::width);
            let width =
                width.ok_or_else(|| Error::corrupt(format!("a stored value of type {other}")))?;
            let size = width.checked_mul(rows);
            let size =
                size.ok_or_else(|| Error::corrupt(format!("{rows} values of {width} bytes")))?;
            fixed_array(other, rows, aligned(take(bytes, size)?), nulls)?
        }
    };
    Ok(array)
}

/// An array of fixed width (not boolean) over its values' bytes.
pub(crate) fn fixed_array(
    data_type: &DataType,
    rows: usize,
    values: Buffer,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let data =
        ArrayData::builder(data_type.clone()).len(rows).add_buffer(values).nulls(nulls).build();
    Ok(make_array(data.map_err(damaged)?))
}

fn take_text(rows: usize, nulls: Option<NullBuffer>, bytes: &mut &[u8]) -> Result<StringArray> {
    let (offsets, values) = take_strings::<i32>(rows, bytes)?;
    StringArray::try_new(offsets, values, nulls).map_err(damaged)
}

fn take_binary(rows: usize, nulls: Option<NullBuffer>, bytes: &mut &[u8]) -> Result<BinaryArray> {
    let (offsets, values) = take_strings::<i32>(rows, bytes)?;
    BinaryArray::try_new(offsets, values, nulls).map_err(damaged)
}

fn take_strings<O: OffsetSizeTrait>(
    rows: usize,
    bytes: &mut &[u8],
) -> Result<(OffsetBuffer<O>, Buffer)> {
    let offsets = take_offsets::<O>(rows, bytes)?;
    let values = aligned(take(bytes, last(&offsets))?);
    Ok((offsets, values))
}

fn take_offsets<O: OffsetSizeTrait>(rows: usize, bytes: &mut &[u8]) -> Result<OffsetBuffer<O>> {
    if rows > bytes.len() {
        return Err(Error::corrupt(format!(
            "{rows} lengths announced, {} bytes left",
            bytes.len()
        )));
    }
    let mut offsets = Vec::with_capacity(rows + 1);
    let mut end = 0usize;
    offsets.push(O::usize_as(0));
    for _ in 0..rows {
        let length = take_varint(bytes)?;
        let next = usize::try_from(length).ok().and_then(|length| end.checked_add(length));
        end = next.filter(|&next| O::from_usize(next).is_some()).ok_or_else(|| {
            Error::corrupt(format!("a nested value of {length} parts after {end} others"))
        })?;
        offsets.push(O::usize_as(end));
    }
    Ok(OffsetBuffer::new(offsets.into()))
}

fn last<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> usize {
    offsets[offsets.len() - 1].as_usize()
}

fn take_bits(rows: usize, bytes: &mut &[u8]) -> Result<BooleanBuffer> {
    Ok(BooleanBuffer::new(Buffer::from(take(bytes, rows.div_ceil(8))?), 0, rows))
}

/// A copy whose start is aligned for every Arrow type.
fn aligned(bytes: &[u8]) -> Buffer {
    let mut buffer = MutableBuffer::with_capacity(bytes.len());
    buffer.extend_from_slice(bytes);
    buffer.into()
}

fn damaged(error: arrow_schema::ArrowError) -> Error {
    Error::corrupt(format!("a stored nested value: {error}"))
}
