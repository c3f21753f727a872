//! Rows that clients send: parameters, and whole tables into the bulk path.
//!
//! What is decoded on tonic's threads goes through a short channel to the thread that loads, which
//! commits when the client has said that this was all. A client that goes away before leaves
//! nothing behind.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::server::PeekableFlightDataStream;
use arrow_flight::sql::{
    CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption,
};
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::ipc::root_as_message;
use futures::{FutureExt, StreamExt, TryStreamExt};
use silt_sql::{AppendMode, Error, ErrorKind, IfExists, IngestTarget, Session};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Status;

use super::FlightService;
use super::bodies::Bodies;
use super::statement::transaction_of;
use crate::session::ClientSession;
use crate::status::status;
use crate::work::Ends;

/// Batches between the thread that reads from the client and the one that loads: so many that the
/// client need not wait while a run of them is written,
const BATCHES_AHEAD: usize = 64;
/// and so many bytes of them.
const BYTES_AHEAD: u32 = 32 << 20;
/// A compressed message may not claim to hold more than this, nor more than
/// [`EXPANSION_MAX`] times its size.
const MESSAGE_DECODED_BYTES_MAX: u64 = 1 << 30;
/// As for the database's own files.
const EXPANSION_MAX: u64 = 1_000;
/// Rows of parameters, in bytes, that are bound at a time.
const PARAMETER_BYTES_MAX: usize = 256 << 20;

/// Batches that a client sends.
pub(super) fn batches(stream: PeekableFlightDataStream) -> FlightRecordBatchStream {
    let bodies = Bodies::default();
    let messages = stream.map_err(FlightError::from).try_filter_map(move |mut data| {
        let bodies = bodies.clone();
        async move {
            if data.data_header.is_empty() {
                // Only a descriptor.
                return Ok(None);
            }
            check_expansion(&data)?;
            data.data_body = bodies.aligned(data.data_body);
            Ok(Some(data))
        }
    });
    FlightRecordBatchStream::new_from_flight_data(messages)
}

/// Refuses a compressed message that claims to hold more than can be believed: what it claims is
/// allocated.
fn check_expansion(data: &FlightData) -> Result<(), FlightError> {
    let message = root_as_message(&data.data_header)
        .map_err(|error| FlightError::DecodeError(format!("not an Arrow message: {error}")))?;
    let batch = match message.header_as_dictionary_batch() {
        Some(dictionary) => dictionary.data(),
        None => message.header_as_record_batch(),
    };
    let Some(batch) = batch.filter(|batch| batch.compression().is_some()) else { return Ok(()) };
    let claimed = |offset: i64| {
        let start = usize::try_from(offset).ok()?;
        let bytes = data.data_body.get(start..start.checked_add(8)?)?;
        let length = i64::from_le_bytes(bytes.try_into().ok()?);
        // -1 says that the buffer is not compressed.
        Some(u64::try_from(length).unwrap_or(0))
    };
    let buffers = batch.buffers().into_iter().flatten().filter(|buffer| buffer.length() > 0);
    let sum = buffers.filter_map(|buffer| claimed(buffer.offset())).fold(0, u64::saturating_add);
    let most = (data.data_body.len() as u64).saturating_mul(EXPANSION_MAX);
    if sum > most.min(MESSAGE_DECODED_BYTES_MAX) {
        return Err(FlightError::DecodeError(format!(
            "a message of {} bytes claims to hold {sum}",
            data.data_body.len()
        )));
    }
    Ok(())
}

/// The next batch. Arrow's decoder checks much, and panics at lengths that do not fit together.
async fn next(batches: &mut FlightRecordBatchStream) -> Option<Result<RecordBatch, FlightError>> {
    let next = AssertUnwindSafe(batches.next()).catch_unwind().await;
    next.unwrap_or_else(|_| {
        let message = "the message does not fit together".to_owned();
        Some(Err(FlightError::DecodeError(message)))
    })
}

/// The bytes of a batch's rows; its columns lie in one message, which each of them keeps whole.
fn bytes_of(batch: &RecordBatch) -> usize {
    let of = |column: &ArrayRef| {
        let bytes = column.to_data().get_slice_memory_size();
        bytes.unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(of).sum()
}

/// All rows of parameters that a client sends.
pub(super) async fn parameters(
    stream: PeekableFlightDataStream,
) -> Result<Vec<RecordBatch>, Status> {
    let mut batches = batches(stream);
    let (mut all, mut bytes) = (Vec::new(), 0);
    while let Some(batch) = next(&mut batches).await {
        let batch = batch.map_err(read_error)?;
        bytes += bytes_of(&batch);
        if bytes > PARAMETER_BYTES_MAX {
            return Err(Status::resource_exhausted(format!(
                "the parameters have more than {PARAMETER_BYTES_MAX} bytes: send less at a time, or ingest"
            )));
        }
        all.push(batch);
    }
    Ok(all)
}

fn read_error(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => Status::invalid_argument(format!("the rows cannot be read: {other}")),
    }
}

/// What the loading thread hears.
enum Sent {
    /// With its share of what may wait.
    Batch(RecordBatch, Option<OwnedSemaphorePermit>),
    /// This was all: commit. A channel that closes without it was cut off.
    End,
    /// The client went away, or sent what cannot be read.
    Failed(Error),
}

/// Batches that come through a channel.
struct Received(mpsc::Receiver<Sent>, bool);

impl Iterator for Received {
    type Item = silt_sql::Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.1 {
            return None;
        }
        match self.0.blocking_recv() {
            Some(Sent::Batch(batch, _waited)) => Some(Ok(batch)),
            Some(Sent::End) => {
                self.1 = true;
                None
            }
            Some(Sent::Failed(error)) => {
                self.1 = true;
                Some(Err(error))
            }
            None => {
                self.1 = true;
                let message = "the client went away before it had sent all rows";
                Some(Err(Error::new(ErrorKind::Interrupted, message)))
            }
        }
    }
}

impl FlightService {
    /// Loads the rows of a stream into a table, in one commit.
    pub(super) async fn ingest(
        &self,
        session: &ClientSession,
        command: CommandStatementIngest,
        stream: PeekableFlightDataStream,
    ) -> Result<i64, Status> {
        let target = target(&command)?;
        let transaction = transaction_of(session, command.transaction_id)?;
        let mut batches = batches(stream);
        let idle = self.options.ingest_idle;
        let first = tokio::time::timeout(idle, next(&mut batches)).await;
        let first = first.unwrap_or_else(|_| Some(Err(silent(idle))));
        let first = first.transpose().map_err(read_error)?;
        let schema = batches.schema().cloned();
        let schema = schema.ok_or_else(|| Status::invalid_argument("no schema was sent"))?;

        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let room = Arc::new(Semaphore::new(BYTES_AHEAD as usize));
        let mut own = session.sql(&self.shared);
        // A client that goes away while its rows are sorted and merged ends that, too.
        let ends = Ends::default();
        let load = self.loaders.run_until(std::future::pending(), &ends, move |handle| {
            let mut rows = Received(receiver, false);
            let mut load = |session: &mut Session| {
                let schema = SchemaRef::clone(&schema);
                let counts = session.ingest_until(schema, &mut rows, &target, handle);
                counts.map_err(|error| status(&error))
            };
            match &transaction {
                Some(transaction) => transaction.with(load),
                None => load(&mut own),
            }
        });
        let send = async move {
            let mut batch = first.map(Ok);
            while let Some(received) = batch {
                let sent = match received {
                    Ok(batch) => {
                        let bytes = u32::try_from(bytes_of(&batch));
                        let bytes = bytes.unwrap_or(u32::MAX).min(BYTES_AHEAD);
                        // Who loads gives its share back, also when it has failed.
                        let room = Arc::clone(&room).acquire_many_owned(bytes).await;
                        Sent::Batch(batch, room.ok())
                    }
                    Err(error) => Sent::Failed(unreadable(error)),
                };
                let failed = matches!(sent, Sent::Failed(_));
                if sender.send(sent).await.is_err() || failed {
                    // Who loads has failed, and says why.
                    return;
                }
                batch = match tokio::time::timeout(idle, next(&mut batches)).await {
                    Ok(batch) => batch,
                    Err(_) => Some(Err(silent(idle))),
                };
            }
            drop(sender.send(Sent::End).await);
        };
        let (counts, ()) = futures::join!(load, send);
        Ok(i64::try_from(counts?.written).unwrap_or(i64::MAX))
    }
}

/// Why a load ends whose client sends nothing.
fn silent(idle: Duration) -> FlightError {
    let seconds = idle.as_secs_f64();
    let message = format!("no rows came for {seconds} s (--ingest-idle)");
    FlightError::Tonic(Box::new(Status::deadline_exceeded(message)))
}

fn unreadable(error: FlightError) -> Error {
    match error {
        FlightError::Tonic(status) => Error::new(
            ErrorKind::Interrupted,
            format!("the client's stream ended: {}", status.message()),
        ),
        other => Error::invalid(format!("the rows cannot be read: {other}")),
    }
}

/// Where rows go, as the client says it.
fn target(command: &CommandStatementIngest) -> Result<IngestTarget, Status> {
    if command.temporary {
        return Err(Status::unimplemented("temporary tables are not supported yet"));
    }
    if let Some(catalog) = command.catalog.as_deref()
        && !matches!(catalog, "" | silt_catalog::CATALOG_NAME)
    {
        return Err(Status::not_found(format!(
            "database \"{catalog}\" does not exist: this one is \"{}\"",
            silt_catalog::CATALOG_NAME
        )));
    }
    let namespace = command.schema.as_deref().filter(|schema| !schema.is_empty());
    let namespace = namespace.unwrap_or(silt_catalog::MAIN_NAMESPACE);
    let options = command.table_definition_options.unwrap_or(TableDefinitionOptions {
        if_not_exist: TableNotExistOption::Fail.into(),
        if_exists: TableExistsOption::Append.into(),
    });
    let create_if_missing = match options.if_not_exist() {
        TableNotExistOption::Create => true,
        TableNotExistOption::Fail => false,
        TableNotExistOption::Unspecified => {
            return Err(Status::invalid_argument("what to do with a missing table is not said"));
        }
    };
    let if_exists = match options.if_exists() {
        TableExistsOption::Append => IfExists::Append,
        TableExistsOption::Fail => IfExists::Fail,
        TableExistsOption::Replace => IfExists::Replace,
        TableExistsOption::Unspecified => {
            return Err(Status::invalid_argument(
                "what to do with a table that exists is not said",
            ));
        }
    };
    let (key, on_conflict) = own_options(&command.options)?;
    Ok(IngestTarget {
        table: format!("{}.{}", quoted(namespace), quoted(&command.table)),
        key,
        create_if_missing,
        if_exists,
        on_conflict,
    })
}

/// The options that are ours: `key` names the primary key's columns of a table that is made,
/// `on_conflict` says what happens to a row whose key is there.
fn own_options(options: &HashMap<String, String>) -> Result<(Vec<String>, AppendMode), Status> {
    let (mut key, mut on_conflict) = (Vec::new(), AppendMode::Insert);
    for (name, value) in options {
        match (name.as_str(), value.as_str()) {
            ("key", columns) => {
                key = columns.split(',').map(|column| column.trim().to_owned()).collect();
            }
            ("on_conflict", "fail") => on_conflict = AppendMode::Insert,
            ("on_conflict", "replace") => on_conflict = AppendMode::Upsert,
            ("on_conflict", "ignore") => on_conflict = AppendMode::Ignore,
            ("on_conflict", other) => {
                return Err(Status::invalid_argument(format!(
                    "on_conflict is \"{other}\", not fail, replace or ignore"
                )));
            }
            (other, _) => {
                return Err(Status::invalid_argument(format!("ingest has no option \"{other}\"")));
            }
        }
    }
    Ok((key, on_conflict))
}

/// A name as SQL writes it whatever it holds.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
