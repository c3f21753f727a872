//! Parquet: batches as they are, text and bytes among their columns as views.

use std::fs::File;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;

use crate::error::{Error, Result};
use crate::options::Options;
use crate::reader::{BatchSource, Context};
use crate::views::{with_views, without_metadata};

struct Parquet {
    batches: ParquetRecordBatchReader,
    schema: SchemaRef,
    rows: u64,
    rows_total: u64,
    bytes_total: u64,
}

pub(crate) fn open(
    file: File,
    options: &Options,
    context: &Context,
) -> Result<(SchemaRef, Box<dyn BatchSource>)> {
    let malformed = |error: ParquetError| {
        let reason = error.to_string();
        let reason = reason.strip_prefix("Parquet error: ").unwrap_or(&reason);
        Error::malformed(&context.file, None, format!("not readable as parquet: {reason}"))
    };
    let metadata =
        ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(malformed)?;
    let rows_total = metadata.metadata().file_metadata().num_rows();
    let schema = without_metadata(metadata.schema());
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    let batches = builder.with_batch_size(options.batch_rows).build().map_err(malformed)?;
    let bytes_total = context.progress.bytes_total().unwrap_or(0);
    let rows_total = u64::try_from(rows_total).unwrap_or(0);
    let source = Parquet { batches, schema: Arc::clone(&schema), rows: 0, rows_total, bytes_total };
    Ok((schema, Box::new(source)))
}

impl BatchSource for Parquet {
    fn next_batch(&mut self, context: &mut Context) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.batches.next() else { return Ok(None) };
        let batch = batch.map_err(|error| malformed(error, context))?;
        self.rows += batch.num_rows() as u64;
        // Pages are read here and there; the share of the rows stands for that of the bytes.
        if let Some(share) = (self.bytes_total * self.rows).checked_div(self.rows_total) {
            let bytes = context.progress.bytes_counter();
            bytes.store(share, std::sync::atomic::Ordering::Relaxed);
        }
        with_views(&batch, &self.schema).map(Some)
    }
}

pub(crate) fn malformed(error: ArrowError, context: &Context) -> Error {
    let reason = match error {
        ArrowError::IoError(_, error) => return Error::io(&context.file, error),
        ArrowError::ParquetError(reason) | ArrowError::IpcError(reason) => reason,
        error => error.to_string(),
    };
    Error::malformed(&context.file, None, reason)
}
