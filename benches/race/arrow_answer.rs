//! The [`Answer`] of a batch.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};

use crate::record::Answer;
use crate::tables::Result;

/// Adds all cells of a batch.
pub fn add(answer: &mut Answer, batch: &RecordBatch) -> Result<()> {
    answer.rows += batch.num_rows() as u64;
    for column in batch.columns() {
        add_column(answer, column)?;
    }
    Ok(())
}

fn add_column(answer: &mut Answer, column: &ArrayRef) -> Result<()> {
    match column.data_type() {
        DataType::Int8 => integers::<Int8Type>(answer, column),
        DataType::Int16 => integers::<Int16Type>(answer, column),
        DataType::Int32 => integers::<Int32Type>(answer, column),
        DataType::Int64 => integers::<Int64Type>(answer, column),
        DataType::UInt8 => integers::<UInt8Type>(answer, column),
        DataType::UInt16 => integers::<UInt16Type>(answer, column),
        DataType::UInt32 => integers::<UInt32Type>(answer, column),
        DataType::UInt64 => {
            let values = column.as_primitive::<UInt64Type>().iter().flatten();
            values.for_each(|value| answer.integer(value as i64));
        }
        DataType::Date32 => integers::<Date32Type>(answer, column),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            integers::<TimestampMicrosecondType>(answer, column);
        }
        DataType::Float32 => floats::<Float32Type>(answer, column, f64::from),
        DataType::Float64 => floats::<Float64Type>(answer, column, |value| value),
        DataType::Decimal128(_, digits) => {
            let unit = 10_f64.powi(i32::from(*digits));
            floats::<Decimal128Type>(answer, column, |value| value as f64 / unit);
        }
        DataType::Utf8 => texts(answer, column.as_string::<i32>().iter()),
        DataType::LargeUtf8 => texts(answer, column.as_string::<i64>().iter()),
        DataType::Utf8View => texts(answer, column.as_string_view().iter()),
        DataType::Null => {}
        other => return Err(format!("an answer has a column of {other}").into()),
    }
    Ok(())
}

fn integers<T>(answer: &mut Answer, column: &ArrayRef)
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    for value in column.as_primitive::<T>().iter().flatten() {
        answer.integer(value.into());
    }
}

fn floats<T: ArrowPrimitiveType>(
    answer: &mut Answer,
    column: &ArrayRef,
    convert: impl Fn(T::Native) -> f64,
) {
    for value in column.as_primitive::<T>().iter().flatten() {
        answer.float(convert(value));
    }
}

fn texts<'a>(answer: &mut Answer, values: impl Iterator<Item = Option<&'a str>>) {
    values.flatten().for_each(|text| answer.text(text));
}
