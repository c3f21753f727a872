//! One column of an Arrow batch, value by value: behind [`BatchBuilder`](crate::BatchBuilder) and
//! [`array_of`](crate::array_of).

use std::sync::Arc;

use arrow_array::builder::{BinaryViewBuilder, StringViewBuilder};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, LargeBinaryArray, LargeStringArray, StringArray,
    new_empty_array, new_null_array,
};
use arrow_buffer::{BooleanBufferBuilder, MutableBuffer, NullBufferBuilder};
use arrow_schema::DataType;

use crate::bytes::as_text;
use crate::data_type::stored_type;
use crate::physical::{Physical, fits};
use crate::{Error, Result, ValueRef, nested};

/// A cell of a row, as its bytes lie there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RawCell<'a> {
    Null,
    /// A value of fixed width.
    Fixed(&'a [u8]),
    /// Text, binary, or the bytes of a nested value.
    Bytes(&'a [u8]),
}

#[derive(Debug)]
pub(crate) struct ColumnBuilder {
    data_type: DataType,
    physical: Physical,
    /// Unused for views, whose builders keep their own.
    nulls: NullBufferBuilder,
    values: Values,
    capacity: usize,
}

#[derive(Debug)]
enum Values {
    Bits(BooleanBufferBuilder),
    Fixed(MutableBuffer, usize),
    Text(StringViewBuilder),
    Binary(BinaryViewBuilder),
    /// Arrays of one row; `None` for NULL.
    Nested(Vec<Option<ArrayRef>>),
}

impl ColumnBuilder {
    /// `None` if the type cannot be stored.
    pub(crate) fn new(data_type: &DataType, capacity: usize) -> Option<Self> {
        stored_type(data_type)?;
        let physical = Physical::of(data_type)?;
        Some(Self {
            data_type: data_type.clone(),
            physical,
            nulls: NullBufferBuilder::new(capacity),
            values: Values::new(physical, capacity),
            capacity,
        })
    }

    pub(crate) fn push_null(&mut self) {
        match &mut self.values {
            Values::Bits(bits) => bits.append(false),
            Values::Fixed(bytes, width) => bytes.extend_zeros(*width),
            Values::Text(builder) => return builder.append_null(),
            Values::Binary(builder) => return builder.append_null(),
            Values::Nested(arrays) => return arrays.push(None),
        }
        self.nulls.append_null();
    }

    /// Appends a value; false if it is not of this type.
    #[must_use]
    pub(crate) fn push(&mut self, value: ValueRef<'_>) -> bool {
        match (&mut self.values, value) {
            (_, ValueRef::Null) => {
                self.push_null();
                return true;
            }
            (Values::Bits(bits), ValueRef::Boolean(v)) => bits.append(v),
            (Values::Fixed(bytes, width), value) => {
                let start = bytes.len();
                bytes.extend_zeros(*width);
                if !self.physical.write(value, &mut bytes.as_slice_mut()[start..]) {
                    bytes.truncate(start);
                    return false;
                }
            }
            (Values::Text(builder), ValueRef::Text(v)) => {
                return builder.try_append_value(v).is_ok();
            }
            (Values::Binary(builder), ValueRef::Binary(v)) => {
                return builder.try_append_value(v).is_ok();
            }
            (Values::Nested(arrays), ValueRef::Nested(v)) => {
                let fitting = fits(&self.data_type, value);
                if fitting {
                    arrays.push(Some(v.clone()));
                }
                return fitting;
            }
            _ => return false,
        }
        self.nulls.append_non_null();
        true
    }

    /// Appends what a row holds in a column of this type.
    #[inline]
    pub(crate) fn push_raw(&mut self, cell: RawCell<'_>) -> Result<()> {
        match (&mut self.values, cell) {
            (_, RawCell::Null) => {
                self.push_null();
                return Ok(());
            }
            (Values::Fixed(bytes, _), RawCell::Fixed(cell)) => extend_fixed(bytes, cell),
            (Values::Bits(bits), RawCell::Fixed(cell)) => match cell {
                [0] => bits.append(false),
                [1] => bits.append(true),
                other => return Err(Error::corrupt(format!("a boolean of {other:?}"))),
            },
            (Values::Text(builder), RawCell::Bytes(bytes)) => {
                return Ok(builder.try_append_value(as_text(bytes)?)?);
            }
            (Values::Binary(builder), RawCell::Bytes(bytes)) => {
                return Ok(builder.try_append_value(bytes)?);
            }
            (Values::Nested(arrays), RawCell::Bytes(bytes)) => {
                arrays.push(Some(nested::decode_row(&self.data_type, bytes)?));
                return Ok(());
            }
            (_, cell) => unreachable!("{cell:?} in a column of type {}", self.data_type),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// The array; the builder is empty and may be used again.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        let next = Values::new(self.physical, self.capacity);
        let nulls = self.nulls.finish();
        Ok(match std::mem::replace(&mut self.values, next) {
            Values::Bits(mut bits) => Arc::new(BooleanArray::new(bits.finish(), nulls)),
            Values::Fixed(bytes, width) => {
                let rows = bytes.len() / width;
                nested::fixed_array(&self.data_type, rows, bytes.into(), nulls)?
            }
            Values::Text(mut builder) => {
                let views = builder.finish();
                match self.data_type {
                    DataType::Utf8 => Arc::new(StringArray::from_iter(views.iter())),
                    DataType::LargeUtf8 => Arc::new(LargeStringArray::from_iter(views.iter())),
                    _ => Arc::new(views),
                }
            }
            Values::Binary(mut builder) => {
                let views = builder.finish();
                match self.data_type {
                    DataType::Binary => Arc::new(BinaryArray::from_iter(views.iter())),
                    DataType::LargeBinary => Arc::new(LargeBinaryArray::from_iter(views.iter())),
                    _ => Arc::new(views),
                }
            }
            Values::Nested(arrays) => concat(&self.data_type, &arrays)?,
        })
    }
}

impl Values {
    fn new(physical: Physical, capacity: usize) -> Self {
        match physical {
            Physical::Boolean => Self::Bits(BooleanBufferBuilder::new(capacity)),
            Physical::Text => Self::Text(StringViewBuilder::with_capacity(capacity)),
            Physical::Binary => Self::Binary(BinaryViewBuilder::with_capacity(capacity)),
            Physical::Nested => Self::Nested(Vec::new()),
            Physical::Int(width) | Physical::UInt(width) | Physical::FixedBinary(width) => {
                Self::Fixed(
                    MutableBuffer::with_capacity(
                        width.saturating_mul(capacity).min(PREALLOCATED_BYTES),
                    ),
                    width,
                )
            }
            Physical::Float32 => Self::new(Physical::Int(4), capacity),
            Physical::Float64 => Self::new(Physical::Int(8), capacity),
            Physical::Decimal | Physical::Interval => Self::new(Physical::Int(16), capacity),
        }
    }
}

/// By width, so that each is one store and not a call.
#[inline]
fn extend_fixed(bytes: &mut MutableBuffer, cell: &[u8]) {
    match *cell {
        [a] => bytes.extend_from_slice(&[a]),
        [a, b] => bytes.extend_from_slice(&[a, b]),
        [a, b, c, d] => bytes.extend_from_slice(&[a, b, c, d]),
        [a, b, c, d, e, f, g, h] => bytes.extend_from_slice(&[a, b, c, d, e, f, g, h]),
        _ => match <&[u8; 16]>::try_from(cell) {
            Ok(cell) => bytes.extend_from_slice(cell),
            Err(_) => bytes.extend_from_slice(cell),
        },
    }
}

/// Room is made for a column's values ahead of them up to this size; wide ones grow as they come.
const PREALLOCATED_BYTES: usize = 1 << 20;

fn concat(data_type: &DataType, arrays: &[Option<ArrayRef>]) -> Result<ArrayRef> {
    if arrays.is_empty() {
        return Ok(new_empty_array(data_type));
    }
    // Made only where wanted: NULL of a fixed-size list takes the room of one.
    let null = arrays.iter().any(Option::is_none).then(|| new_null_array(data_type, 1));
    let arrays = arrays.iter().filter_map(|array| array.as_ref().or(null.as_ref()));
    let parts = arrays.map(|array| as_stored(data_type, array)).collect::<Result<Vec<_>>>()?;
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    Ok(arrow_select::concat::concat(&parts)?)
}

/// The same array under the column's own field names.
fn as_stored(data_type: &DataType, array: &ArrayRef) -> Result<ArrayRef> {
    if array.data_type() == data_type {
        return Ok(array.clone());
    }
    let mut bytes = Vec::new();
    nested::put_row(array, 0, &mut bytes);
    nested::decode_row(data_type, &bytes)
}
