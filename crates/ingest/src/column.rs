//! One column of a batch being filled from text.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryViewBuilder, BooleanBuilder, FixedSizeBinaryBuilder, PrimitiveBuilder, StringViewBuilder,
};
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, SchemaRef, TimeUnit};

use crate::error::{Error, ErrorKind, Result};
use crate::values::{self, Class};

/// The bytes of text at which a batch ends early, so that its memory is bounded whatever its rows.
pub(crate) const BATCH_BYTES: usize = 16 << 20;

/// The Arrow type of an inferred column; one without any value is TEXT.
pub(crate) fn inferred_type(class: Class) -> DataType {
    match class {
        Class::Null | Class::Text => DataType::Utf8View,
        Class::Boolean => DataType::Boolean,
        Class::BigInt => DataType::Int64,
        Class::Double => DataType::Float64,
        Class::Date => DataType::Date32,
        Class::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        Class::Instant => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    }
}

/// The rows of a batch being filled, column by column.
pub(crate) struct Rows {
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
    bytes: usize,
    /// Rows that turned out malformed when some of their columns were in already.
    dropped: Vec<usize>,
}

struct Column {
    name: String,
    type_name: String,
    nullable: bool,
    builder: Box<dyn TextBuilder>,
}

impl Rows {
    /// # Errors
    /// `Invalid` for a column of a type that no text can be read as.
    pub(crate) fn new(schema: SchemaRef) -> Result<Self> {
        let columns =
            schema.fields().iter().map(|field| Column::new(field)).collect::<Result<_>>()?;
        Ok(Self { schema, columns, rows: 0, bytes: 0, dropped: Vec::new() })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn is_full(&self, batch_rows: usize) -> bool {
        self.rows >= batch_rows || self.bytes >= BATCH_BYTES
    }

    /// Adds a row; `cell(i)` is the text of column `i`, or `None` for NULL. On an error, which says
    /// column and value, the row is taken back.
    pub(crate) fn push<'a>(
        &mut self,
        cell: impl Fn(usize) -> Option<&'a str>,
    ) -> Result<(), String> {
        let mut wrong = None;
        for (index, column) in self.columns.iter_mut().enumerate() {
            let cell = if wrong.is_some() { None } else { cell(index) };
            match cell {
                Some(text) => {
                    self.bytes += text.len();
                    if !column.builder.push(text) {
                        column.builder.push_null();
                        wrong = Some(format!(
                            "column {:?}: {} is not a {}",
                            column.name,
                            shortened(text),
                            column.type_name
                        ));
                    }
                }
                None => {
                    column.builder.push_null();
                    if !column.nullable && wrong.is_none() {
                        wrong = Some(format!("column {:?} is NULL but must not be", column.name));
                    }
                }
            }
        }
        if wrong.is_some() {
            self.dropped.push(self.rows);
        }
        self.rows += 1;
        wrong.map_or(Ok(()), Err)
    }

    /// The rows so far, none of them afterwards.
    pub(crate) fn finish(&mut self) -> Result<Option<RecordBatch>> {
        if self.rows == 0 {
            return Ok(None);
        }
        let mut arrays: Vec<ArrayRef> =
            self.columns.iter_mut().map(|column| column.builder.finish()).collect();
        if !self.dropped.is_empty() {
            let mut keep = vec![true; self.rows];
            for row in self.dropped.drain(..) {
                keep[row] = false;
            }
            let keep = arrow_array::BooleanArray::from(keep);
            for array in &mut arrays {
                *array = arrow_select::filter::filter(array, &keep).map_err(internal)?;
            }
        }
        (self.rows, self.bytes) = (0, 0);
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).map(Some).map_err(internal)
    }
}

fn internal(error: ArrowError) -> Error {
    Error::new(ErrorKind::Internal, error.to_string())
}

/// A value as an error message shows it: quoted, and no longer than a line.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

impl Column {
    fn new(field: &Field) -> Result<Self> {
        let (type_name, builder) = text_builder(field.data_type()).ok_or_else(|| {
            let (name, data_type) = (field.name(), field.data_type());
            Error::invalid(format!("column {name:?}: text cannot be read as {data_type}"))
        })?;
        Ok(Self { name: field.name().clone(), type_name, nullable: field.is_nullable(), builder })
    }
}

/// Parses and keeps the values of a column.
trait TextBuilder: Send {
    /// False, and nothing added, if `text` is not of the column's type.
    fn push(&mut self, text: &str) -> bool;
    fn push_null(&mut self);
    fn finish(&mut self) -> ArrayRef;
}

struct Primitive<T: ArrowPrimitiveType, P> {
    builder: PrimitiveBuilder<T>,
    parse: P,
}

impl<T: ArrowPrimitiveType, P: Fn(&str) -> Option<T::Native> + Send> TextBuilder
    for Primitive<T, P>
{
    fn push(&mut self, text: &str) -> bool {
        let value = (self.parse)(text.trim_ascii());
        value.inspect(|value| self.builder.append_value(*value)).is_some()
    }

    fn push_null(&mut self) {
        self.builder.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.builder.finish())
    }
}

impl TextBuilder for StringViewBuilder {
    fn push(&mut self, text: &str) -> bool {
        self.append_value(text);
        true
    }

    fn push_null(&mut self) {
        self.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(Self::finish(self))
    }
}

impl TextBuilder for BooleanBuilder {
    fn push(&mut self, text: &str) -> bool {
        let value = values::boolean(text.trim_ascii());
        value.inspect(|value| self.append_value(*value)).is_some()
    }

    fn push_null(&mut self) {
        self.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(Self::finish(self))
    }
}

impl TextBuilder for BinaryViewBuilder {
    fn push(&mut self, text: &str) -> bool {
        let value = values::binary(text);
        value.inspect(|value| self.append_value(value)).is_some()
    }

    fn push_null(&mut self) {
        self.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(Self::finish(self))
    }
}

/// UUIDs.
impl TextBuilder for FixedSizeBinaryBuilder {
    fn push(&mut self, text: &str) -> bool {
        values::uuid(text.trim_ascii()).is_some_and(|value| self.append_value(value).is_ok())
    }

    fn push_null(&mut self) {
        self.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(Self::finish(self))
    }
}

fn primitive<T: ArrowPrimitiveType>(
    data_type: &DataType,
    parse: impl Fn(&str) -> Option<T::Native> + Send + 'static,
) -> Box<dyn TextBuilder> {
    let builder = PrimitiveBuilder::<T>::new().with_data_type(data_type.clone());
    Box::new(Primitive { builder, parse })
}

fn parsed<T: ArrowPrimitiveType>(data_type: &DataType) -> Box<dyn TextBuilder>
where
    T::Native: std::str::FromStr,
{
    primitive::<T>(data_type, |text| text.parse().ok())
}

/// The SQL name of a type, and a builder for it; `None` where text is not a way to write it.
fn text_builder(data_type: &DataType) -> Option<(String, Box<dyn TextBuilder>)> {
    let (name, builder): (&str, Box<dyn TextBuilder>) = match data_type {
        DataType::Utf8View => ("TEXT", Box::new(StringViewBuilder::new())),
        DataType::BinaryView => {
            ("BYTEA (\\x and hexadecimal digits)", Box::new(BinaryViewBuilder::new()))
        }
        DataType::FixedSizeBinary(16) => ("UUID", Box::new(FixedSizeBinaryBuilder::new(16))),
        DataType::Boolean => ("BOOLEAN", Box::new(BooleanBuilder::new())),
        DataType::Int8 => ("TINYINT", parsed::<Int8Type>(data_type)),
        DataType::Int16 => ("SMALLINT", parsed::<Int16Type>(data_type)),
        DataType::Int32 => ("INTEGER", parsed::<Int32Type>(data_type)),
        DataType::Int64 => ("BIGINT", parsed::<Int64Type>(data_type)),
        DataType::UInt8 => ("TINYINT UNSIGNED", parsed::<UInt8Type>(data_type)),
        DataType::UInt16 => ("SMALLINT UNSIGNED", parsed::<UInt16Type>(data_type)),
        DataType::UInt32 => ("INTEGER UNSIGNED", parsed::<UInt32Type>(data_type)),
        DataType::UInt64 => ("BIGINT UNSIGNED", parsed::<UInt64Type>(data_type)),
        DataType::Float32 => ("REAL", parsed::<Float32Type>(data_type)),
        DataType::Float64 => ("DOUBLE", parsed::<Float64Type>(data_type)),
        DataType::Date32 => ("DATE (YYYY-MM-DD)", primitive::<Date32Type>(data_type, values::date)),
        DataType::Time64(TimeUnit::Microsecond) => {
            ("TIME (HH:MM:SS)", primitive::<Time64MicrosecondType>(data_type, values::time))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let name = if zone.is_some() { "TIMESTAMP WITH TIME ZONE" } else { "TIMESTAMP" };
            let parse = |text: &str| values::timestamp(text).map(|(micros, _)| micros);
            (name, primitive::<TimestampMicrosecondType>(data_type, parse))
        }
        DataType::Decimal128(precision, scale) => {
            let (precision, scale) = (*precision, *scale);
            let parse = move |text: &str| values::decimal(text, precision, scale);
            let builder = primitive::<Decimal128Type>(data_type, parse);
            return Some((format!("DECIMAL({precision}, {scale})"), builder));
        }
        _ => return None,
    };
    Some((name.to_owned(), builder))
}
