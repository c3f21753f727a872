//! The values of a batch as text.

use siltdb::arrow::array::{Array, AsArray, RecordBatch};
use siltdb::arrow::datatypes::DataType;
use siltdb::arrow::error::ArrowError;
use siltdb::arrow::util::display::{ArrayFormatter, FormatOptions};

/// Texts of a batch's values, asked for one by one.
pub(super) struct Cells<'a> {
    columns: Vec<Column<'a>>,
    rows: usize,
}

enum Column<'a> {
    Formatted(ArrayFormatter<'a>, &'a dyn Array),
    Bytes(&'a dyn Array),
}

impl<'a> Cells<'a> {
    pub(super) fn new(batch: &'a RecordBatch) -> Result<Self, ArrowError> {
        let columns = batch.columns().iter().map(|array| {
            Ok(match array.data_type() {
                DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(_) => Column::Bytes(array.as_ref()),
                _ => Column::Formatted(formatter(array.as_ref())?, array.as_ref()),
            })
        });
        Ok(Self { columns: columns.collect::<Result<_, ArrowError>>()?, rows: batch.num_rows() })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Appends the text of a value; false, and nothing appended, for NULL.
    pub(super) fn write(
        &self,
        row: usize,
        column: usize,
        out: &mut String,
    ) -> Result<bool, ArrowError> {
        match &self.columns[column] {
            Column::Formatted(_, array) | Column::Bytes(array) if array.is_null(row) => Ok(false),
            Column::Formatted(formatter, _) => {
                formatter.value(row).write(out)?;
                Ok(true)
            }
            Column::Bytes(array) => {
                out.push_str("\\x");
                for byte in bytes(*array, row) {
                    out.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
                    out.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
                }
                Ok(true)
            }
        }
    }
}

fn bytes(array: &dyn Array, row: usize) -> &[u8] {
    match array.data_type() {
        DataType::Binary => array.as_binary::<i32>().value(row),
        DataType::LargeBinary => array.as_binary::<i64>().value(row),
        DataType::BinaryView => array.as_binary_view().value(row),
        DataType::FixedSizeBinary(_) => array.as_fixed_size_binary().value(row),
        _ => &[],
    }
}

/// Text of a column's values as SQL writes them; those of nested values too.
pub(super) fn formatter(array: &dyn Array) -> Result<ArrayFormatter<'_>, ArrowError> {
    const OPTIONS: FormatOptions<'static> = FormatOptions::new()
        .with_display_error(false)
        .with_null("NULL")
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"))
        .with_datetime_format(Some("%Y-%m-%d %H:%M:%S%.f"));
    ArrayFormatter::try_new(array, &OPTIONS)
}

/// Numbers stand at the right of their column.
pub(super) fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}
