//! Rows of a query one by one, their values as Rust's own types.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::scalar::ScalarValue;
use silt_sql::FoundRow;

use crate::{ArrowRows, Error, ErrorKind, Result};

/// The rows of a query. The statement runs while they are read and stops when this is dropped.
#[derive(Debug)]
pub struct Rows {
    batches: ArrowRows,
    batch: Option<Arc<RecordBatch>>,
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
                return Some(Ok(Row(Held::Part(Arc::clone(batch), self.next - 1))));
            }
            if let Some(row) = self.batches.take_found() {
                return Some(Ok(row.into()));
            }
            self.next = 0;
            match self.batches.next()? {
                Ok(batch) => self.batch = Some(Arc::new(batch)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// One row of a query.
#[derive(Clone, Debug)]
pub struct Row(Held);

#[derive(Clone, Debug)]
enum Held {
    /// A row of a batch, by its place there.
    Part(Arc<RecordBatch>, usize),
    /// The values of a lookup.
    Found(Arc<FoundRow>),
}

impl From<FoundRow> for Row {
    fn from(row: FoundRow) -> Self {
        Self(Held::Found(Arc::new(row)))
    }
}

impl Row {
    pub(crate) fn part(batch: Arc<RecordBatch>, index: usize) -> Self {
        Self(Held::Part(batch, index))
    }

    /// The number of columns.
    pub fn len(&self) -> usize {
        self.schema().fields().len()
    }

    /// Whether there is no column.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names and types of the columns.
    pub fn schema(&self) -> &SchemaRef {
        match &self.0 {
            Held::Part(batch, _) => batch.schema_ref(),
            Held::Found(row) => row.schema(),
        }
    }

    /// The value of a column, by position or name.
    ///
    /// # Errors
    /// `NotFound` if there is no such column; `Invalid` if its value is NULL and `T` is not an
    /// `Option`, or does not fit `T`.
    pub fn get<T: FromValue>(&self, column: impl RowIndex) -> Result<T> {
        let schema = self.schema();
        let column = column.position(schema)?;
        let value = match &self.0 {
            Held::Part(batch, index) => ScalarValue::try_from_array(batch.column(column), *index)?,
            Held::Found(row) => row.value(column)?,
        };
        T::from_value(value).map_err(|value| {
            let name = schema.field(column).name();
            let wanted = std::any::type_name::<T>();
            let what =
                if value.is_null() { "NULL".to_owned() } else { value.data_type().to_string() };
            Error::invalid(format!("column {name} holds {what}, which does not fit {wanted}"))
        })
    }

    /// The batch that the row is part of, and its place there. A row that was looked up by its key
    /// becomes a batch of its own.
    ///
    /// # Errors
    /// `Internal` if a value is not of its column's type.
    pub fn as_arrow(&self) -> Result<(&RecordBatch, usize)> {
        match &self.0 {
            Held::Part(batch, index) => Ok((batch, *index)),
            Held::Found(row) => Ok((row.to_batch()?, 0)),
        }
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
    Some(match *value {
        ScalarValue::Int8(Some(number)) => number.into(),
        ScalarValue::Int16(Some(number)) => number.into(),
        ScalarValue::Int32(Some(number)) => number.into(),
        ScalarValue::Int64(Some(number)) => number.into(),
        ScalarValue::UInt8(Some(number)) => number.into(),
        ScalarValue::UInt16(Some(number)) => number.into(),
        ScalarValue::UInt32(Some(number)) => number.into(),
        ScalarValue::UInt64(Some(number)) => number.into(),
        _ => return None,
    })
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
        if let ScalarValue::Float64(Some(number)) = value {
            return Ok(number);
        }
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
