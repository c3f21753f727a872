//! Text and bytes leave this crate as views, whatever they were in the file.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef};

use crate::error::{Error, ErrorKind, Result};

/// The chosen columns, text and bytes among them as views.
pub(crate) fn text_as_views(
    schema: &Schema,
    columns: impl IntoIterator<Item = usize>,
) -> SchemaRef {
    let fields = columns.into_iter().map(|column| {
        let field = schema.field(column);
        match view_type(field.data_type()) {
            Some(data_type) => Arc::new(field.clone().with_data_type(data_type)),
            None => Arc::clone(&schema.fields()[column]),
        }
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The view that stands for a type of text or bytes; dictionaries become their values.
pub(crate) fn view_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => Some(DataType::Utf8View),
        DataType::Binary | DataType::LargeBinary => Some(DataType::BinaryView),
        DataType::Dictionary(_, values) => Some(view_type(values).unwrap_or((**values).clone())),
        _ => None,
    }
}

/// All columns, text and bytes as views, without the metadata of the file's writer.
pub(crate) fn without_metadata(schema: &Schema) -> SchemaRef {
    let schema = text_as_views(schema, 0..schema.fields().len());
    let fields = schema.fields().iter().map(|field| (**field).clone().with_metadata([].into()));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The batch with its columns cast to the types of `schema`.
pub(crate) fn with_views(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let internal = |error: ArrowError| Error::new(ErrorKind::Internal, error.to_string());
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| {
        if column.data_type() == field.data_type() {
            Ok(Arc::clone(column))
        } else {
            arrow_cast::cast(column, field.data_type())
        }
    });
    let columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>().map_err(internal)?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(internal)
}
