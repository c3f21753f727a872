//! Arrow IPC, stream or file: batches as they are, text and bytes among their columns as views.
//!
//! A file is a stream with a magic number before and an index behind it, so both are read as
//! streams, and both may be compressed or piped.

use std::io::{self, Read};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_schema::SchemaRef;

use crate::decompress::Input;
use crate::error::{Error, Result};
use crate::parquet::malformed;
use crate::reader::{BatchSource, Context};
use crate::views::{with_views, without_metadata};

/// The magic number of a file, with its padding.
const FILE_MAGIC: &[u8; 8] = b"ARROW1\0\0";
const FEATHER_1_MAGIC: &[u8; 4] = b"FEA1";

struct ArrowIpc {
    batches: StreamReader<Input>,
    schema: SchemaRef,
    /// The batch being given out in slices.
    rest: Option<RecordBatch>,
}

pub(crate) fn open(
    mut input: Input,
    context: &Context,
) -> Result<(SchemaRef, Box<dyn BatchSource>)> {
    let mut head = Vec::new();
    let read = input.by_ref().take(FILE_MAGIC.len() as u64).read_to_end(&mut head);
    read.map_err(|error| Error::io(&context.file, error))?;
    if head.starts_with(FEATHER_1_MAGIC) {
        let reason = "feather version 1 cannot be read; version 2 is Arrow IPC";
        return Err(Error::malformed(&context.file, None, reason));
    }
    if head != FILE_MAGIC {
        input = Box::new(io::Cursor::new(head).chain(input));
    }
    let batches = StreamReader::try_new(input, None).map_err(|error| {
        let reason = malformed(error, context).reason().to_owned();
        Error::malformed(&context.file, None, format!("not readable as arrow: {reason}"))
    })?;
    let schema = without_metadata(&batches.schema());
    let source = ArrowIpc { batches, schema: Arc::clone(&schema), rest: None };
    Ok((schema, Box::new(source)))
}

impl BatchSource for ArrowIpc {
    fn next_batch(&mut self, context: &mut Context) -> Result<Option<RecordBatch>> {
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match self.batches.next() {
                None => return Ok(None),
                Some(batch) => {
                    let batch = batch.map_err(|error| malformed(error, context))?;
                    with_views(&batch, &self.schema)?
                }
            },
        };
        let rows = batch.num_rows();
        if rows <= context.batch_rows {
            return Ok(Some(batch));
        }
        self.rest = Some(batch.slice(context.batch_rows, rows - context.batch_rows));
        Ok(Some(batch.slice(0, context.batch_rows)))
    }
}
