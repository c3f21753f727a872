//! Rows as Flight messages.
//!
//! A [`FlightStream`] is polled by tonic when the client's window has room, and polls the statement
//! only then: what a client does not read is not computed, but for the few batches that the
//! statement works ahead. Each batch becomes the types that were announced ([`wire_schema`]), is
//! cut into messages of the size that was asked for, and each is encoded when its turn comes.
//! Dropping the stream, as tonic does when the client goes away, drops the statement.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_flight::{FlightData, SchemaAsIpc};
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::ipc::CompressionType;
use datafusion::arrow::ipc::writer::{
    DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions,
};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use futures::{FutureExt, Stream};
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::status::status;

/// The request header by which a client asks for compressed bodies: `lz4`, `zstd` or `none`.
pub(crate) const COMPRESSION: &str = "silt-compression";

/// The schema of rows as clients get them: every client knows its types. Text and blobs have
/// offsets instead of views, dictionaries are spelled out.
pub(crate) fn wire_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<FieldRef> = schema.fields().iter().map(wire_field).collect();
    Arc::new(Schema::new(fields))
}

fn wire_field(field: &FieldRef) -> FieldRef {
    let data_type = wire_type(field.data_type());
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
}

fn wire_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => wire_type(values),
        DataType::List(item) | DataType::ListView(item) => DataType::List(wire_field(item)),
        DataType::LargeList(item) | DataType::LargeListView(item) => {
            DataType::LargeList(wire_field(item))
        }
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(wire_field(item), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(wire_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(wire_field(entries), *sorted),
        other => other.clone(),
    }
}

/// How rows are encoded.
#[derive(Clone, Debug)]
pub(crate) struct Encoding {
    options: IpcWriteOptions,
    batch_bytes: usize,
}

impl Encoding {
    /// As the request's headers ask for it.
    ///
    /// # Errors
    /// `InvalidArgument` for a compression that is not known.
    pub(crate) fn asked_for(headers: &MetadataMap, batch_bytes: usize) -> Result<Self, Status> {
        let compression = match headers.get(COMPRESSION).map(|value| value.as_bytes()) {
            None | Some(b"none") => None,
            Some(b"lz4") => Some(CompressionType::LZ4_FRAME),
            Some(_) => {
                return Err(Status::invalid_argument(format!(
                    "header {COMPRESSION} is neither lz4 nor none"
                )));
            }
        };
        let options = IpcWriteOptions::default().try_with_compression(compression);
        let options = options.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Self { options, batch_bytes: batch_bytes.max(1) })
    }
}

/// The rows of a statement, as they come.
pub(crate) type Rows = BoxStream<'static, silt_sql::Result<RecordBatch>>;

/// The messages of one DoGet: the schema, then rows.
pub(crate) struct FlightStream {
    schema: SchemaRef,
    encoding: Encoding,
    /// Until it is sent.
    head: Option<FlightData>,
    rows: Option<Rows>,
    /// What is left of the last batch, in messages not yet encoded.
    pieces: VecDeque<RecordBatch>,
    /// Ready when somebody asks for the end.
    cancelled: BoxFuture<'static, ()>,
    tracker: DictionaryTracker,
    context: IpcWriteContext,
    /// Dropped with the stream.
    _held: Box<dyn Send>,
}

impl FlightStream {
    /// Rows with the announced `schema`. `held` lives as long as the stream does.
    pub(crate) fn new(
        schema: SchemaRef,
        rows: Rows,
        encoding: Encoding,
        cancelled: BoxFuture<'static, ()>,
        held: Box<dyn Send>,
    ) -> Self {
        let head = Some(SchemaAsIpc::new(&schema, &encoding.options).into());
        Self {
            schema,
            encoding,
            head,
            rows: Some(rows),
            pieces: VecDeque::new(),
            cancelled,
            tracker: DictionaryTracker::new(false),
            context: IpcWriteContext::default(),
            _held: held,
        }
    }

    fn end(&mut self, status: Status) -> Poll<Option<Result<FlightData, Status>>> {
        self.rows = None;
        self.pieces.clear();
        Poll::Ready(Some(Err(status)))
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<FlightData, Status> {
        let Self { encoding, tracker, context, .. } = self;
        let encoded =
            IpcDataGenerator::default().encode(batch, tracker, &encoding.options, context);
        let (_, data) = encoded.map_err(|error| broken(&error))?;
        Ok(data.into())
    }
}

impl Stream for FlightStream {
    type Item = Result<FlightData, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(head) = this.head.take() {
            return Poll::Ready(Some(Ok(head)));
        }
        if this.rows.is_none() && this.pieces.is_empty() {
            return Poll::Ready(None);
        }
        if this.cancelled.poll_unpin(context).is_ready() {
            return this.end(Status::cancelled("the statement was cancelled"));
        }
        loop {
            if let Some(piece) = this.pieces.pop_front() {
                return match this.encode(&piece) {
                    Ok(data) => Poll::Ready(Some(Ok(data))),
                    Err(status) => this.end(status),
                };
            }
            let Some(rows) = &mut this.rows else { return Poll::Ready(None) };
            match rows.poll_next_unpin(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    this.rows = None;
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => return this.end(status(&error)),
                Poll::Ready(Some(Ok(batch))) => {
                    match pieces(&batch, &this.schema, this.encoding.batch_bytes) {
                        Ok(pieces) => this.pieces.extend(pieces),
                        Err(status) => return this.end(status),
                    }
                }
            }
        }
    }
}

/// A batch as announced, cut so that no piece of several rows has more than `most` bytes.
fn pieces(
    batch: &RecordBatch,
    schema: &SchemaRef,
    most: usize,
) -> Result<Vec<RecordBatch>, Status> {
    if batch.num_columns() != schema.fields().len() {
        return Err(Status::aborted("the table changed since the statement was prepared"));
    }
    let mut done = Vec::new();
    // Views are cut before they are copied: text with offsets holds at most 2 GiB a piece.
    let mut waiting = vec![batch.clone()];
    while let Some(batch) = waiting.pop() {
        if batch.num_rows() == 0 {
            continue;
        }
        if batch.num_rows() > 1 && bytes(&batch) > most {
            let half = batch.num_rows() / 2;
            waiting.push(batch.slice(half, batch.num_rows() - half));
            waiting.push(batch.slice(0, half));
        } else {
            done.push(announced(&batch, schema)?);
        }
    }
    Ok(done)
}

/// The bytes that a batch has on the wire, about.
fn bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column_bytes(column)).sum()
}

fn column_bytes(column: &dyn Array) -> usize {
    use datafusion::arrow::array::AsArray;
    let views = |views: &[u128]| -> usize {
        // The lower half of a view's first word is the length of its value.
        #[expect(clippy::cast_possible_truncation, reason = "the length is the lower 32 bits")]
        let length = |view: &u128| *view as u32 as usize;
        views.iter().map(|view| length(view) + size_of::<i32>()).sum()
    };
    match column.data_type() {
        DataType::Utf8View => views(column.as_string_view().views()),
        DataType::BinaryView => views(column.as_binary_view().views()),
        _ => {
            let data = column.to_data();
            data.get_slice_memory_size().unwrap_or_else(|_| data.get_buffer_memory_size())
        }
    }
}

fn announced(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Status> {
    let column = |(field, column): (&FieldRef, &ArrayRef)| match field.data_type() {
        same if same == column.data_type() => Ok(Arc::clone(column)),
        other => cast(column, other).map_err(|error| broken(&error)),
    };
    let columns = schema.fields().iter().zip(batch.columns()).map(column);
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| broken(&error))
}

fn broken(error: &dyn std::fmt::Display) -> Status {
    tracing::error!(%error, "rows are not what was announced");
    Status::internal("the rows are not what was announced: see the server's log")
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Int64Array, StringViewArray};

    #[test]
    fn long_batches_are_cut_where_their_bytes_are() {
        let text = |row: usize| if row == 10 { "x".repeat(100_000) } else { "y".to_owned() };
        let texts: StringViewArray = (0..1_000).map(|row| Some(text(row))).collect();
        let numbers = Int64Array::from_iter_values(0..1_000);
        let batch = RecordBatch::try_from_iter([
            ("n", Arc::new(numbers) as ArrayRef),
            ("t", Arc::new(texts) as ArrayRef),
        ])
        .unwrap();
        let schema = wire_schema(&batch.schema());
        assert_eq!(schema.field(1).data_type(), &DataType::Utf8);
        let cut = pieces(&batch, &schema, 4_096).unwrap();
        assert!(cut.len() > 4 && cut.len() < 40, "{}", cut.len());
        assert!(cut.iter().all(|piece| piece.num_rows() == 1 || bytes(piece) <= 4_096));
        let rows: Vec<i64> = cut
            .iter()
            .flat_map(|piece| {
                let column = piece.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
                column.values().to_vec()
            })
            .collect();
        assert_eq!(rows, (0..1_000).collect::<Vec<i64>>());
    }
}
