//! Rows of a query one by one, their values as Rust's own types.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::scalar::ScalarValue;

use crate::{ArrowRows, Error, ErrorKind, Result};

/// The rows of a query. The statement runs while they are read and stops when this is dropped.
#[derive(Debug)]
pub struct Rows {
    batches: ArrowRows,
    batch: Option<RecordBatch>,
    next: usize,
}

impl Rows {
    pub(crate) fn new(batches: ArrowRows) -> Self {
        Self { batches, batch: None, next: 0 }
    }

    /// Names and types of the columns.
    pub fn schema(&self) -> &SchemaRef {
        self.batches.schema()
    }
}

impl Iterator for Rows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = &self.batch
                && self.next < batch.num_rows()
            {
                self.next += 1;
                return Some(Ok(Row { batch: batch.clone(), index: self.next - 1 }));
            }
            self.next = 0;
            match self.batches.next()? {
                Ok(batch) => self.batch = Some(batch),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// One row of a query.
#[derive(Clone, Debug)]
pub struct Row {
    batch: RecordBatch,
    index: usize,
}

impl Row {
    /// The number of columns.
    pub fn len(&self) -> usize {
        self.batch.num_columns()
    }

    /// Whether there is no column.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a column, by position or name.
    ///
    /// # Errors
    /// `NotFound` if there is no such column; `Invalid` if its value is NULL and `T` is not an
    /// `Option`, or does not fit `T`.
    pub fn get<T: FromValue>(&self, column: impl RowIndex) -> Result<T> {
        let schema = self.batch.schema_ref();
        let column = column.position(schema)?;
        let value = ScalarValue::try_from_array(self.batch.column(column), self.index)?;
        T::from_value(value).map_err(|value| {
            let name = schema.field(column).name();
            let wanted = std::any::type_name::<T>();
            let what =
                if value.is_null() { "NULL".to_owned() } else { value.data_type().to_string() };
            Error::invalid(format!("column {name} holds {what}, which does not fit {wanted}"))
        })
    }

    /// The batch that the row is part of, and its place there.
    pub fn as_arrow(&self) -> (&RecordBatch, usize) {
        (&self.batch, self.index)
    }
}

/// Names a column of a row: by position from 0, or by name.
pub trait RowIndex {
    /// Its position.
    ///
    /// # Errors
    /// `NotFound` if there is no such column.
    fn position(&self, schema: &SchemaRef) -> Result<usize>;
}

impl RowIndex for usize {
    fn position(&self, schema: &SchemaRef) -> Result<usize> {
        let columns = schema.fields().len();
        (*self < columns).then_some(*self).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("there is no column {self}, there are {columns}"),
            )
        })
    }
}

impl RowIndex for &str {
    fn position(&self, schema: &SchemaRef) -> Result<usize> {
        schema.column_with_name(self).map(|(position, _)| position).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no column \"{self}\""))
        })
    }
}

/// A Rust type that values of a row can become.
pub trait FromValue: Sized {
    /// The value, or what was given if it does not fit.
    ///
    /// # Errors
    /// The value itself.
    fn from_value(value: ScalarValue) -> Result<Self, ScalarValue>;
}

fn integer(value: &ScalarValue) -> Option<i128> {
    match value.cast_to(&DataType::Int64) {
        _ if !value.data_type().is_integer() => None,
        Ok(ScalarValue::Int64(Some(number))) => Some(number.into()),
        _ => match value {
            ScalarValue::UInt64(Some(number)) => Some((*number).into()),
            _ => None,
        },
    }
}

macro_rules! from_integer {
    ($($rust:ty),*) => {$(
        impl FromValue for $rust {
            fn from_value(value: ScalarValue) -> Result<Self, ScalarValue> {
                integer(&value).and_then(|number| number.try_into().ok()).ok_or(value)
            }
        }
    )*};
}

from_integer!(i8, i16, i32, i64, i128, u8, u16, u32, u64, usize);

impl FromValue for f64 {
    fn from_value(value: ScalarValue) -> Result<Self, ScalarValue> {
        match value.data_type() {
            data_type if data_type.is_numeric() => match value.cast_to(&DataType::Float64) {
                Ok(ScalarValue::Float64(Some(number))) => Ok(number),
                _ => Err(value),
            },
            _ => Err(value),
        }
    }
}

impl FromValue for bool {
    fn from_value(value: ScalarValue) -> Result<Self, ScalarValue> {
        match value {
            ScalarValue::Boolean(Some(value)) => Ok(value),
            value => Err(value),
        }
    }
}

impl FromValue for String {
    fn from_value(value: ScalarValue) -> Result<Self, ScalarValue> {
        match value {
            ScalarValue::Utf8(Some(text))
            | ScalarValue::LargeUtf8(Some(text))
            | ScalarValue::Utf8View(Some(text)) => Ok(text),
            value => Err(value),
        }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: ScalarValue) -> Result<Self, ScalarValue> {
        match value {
            ScalarValue::Binary(Some(bytes))
            | ScalarValue::LargeBinary(Some(bytes))
            | ScalarValue::BinaryView(Some(bytes))
            | ScalarValue::FixedSizeBinary(_, Some(bytes)) => Ok(bytes),
            value => Err(value),
        }
    }
}

impl FromValue for ScalarValue {
    fn from_value(value: ScalarValue) -> Result<Self, ScalarValue> {
        Ok(value)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: ScalarValue) -> Result<Self, ScalarValue> {
        if value.is_null() { Ok(None) } else { T::from_value(value).map(Some) }
    }
}
