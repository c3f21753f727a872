//! Arrow IPC, stream or file: batches as they are, text and bytes among their columns as views.
//!
//! A file is a stream with a magic number before and an index behind it, so both are read as
//! streams, and both may be compressed or piped. Messages are framed here and not by arrow's own
//! reader, which allocates whatever length a message claims before it has seen a byte of it.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::{ArrowError, SchemaRef};

use crate::decompress::Input;
use crate::error::{Error, Result};
use crate::parquet::malformed;
use crate::reader::{BatchSource, Context};
use crate::views::{with_views, without_metadata};

/// The magic number of a file. Zeroes follow, to a multiple of 8 bytes or of the writer's alignment.
const FILE_MAGIC: &[u8; 6] = b"ARROW1";
const FEATHER_1_MAGIC: &[u8; 4] = b"FEA1";
const CONTINUATION: [u8; 4] = [0xff; 4];
const END_OF_STREAM: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
/// What is read at a time before the stream begins; its first bytes are not all zero.
const WORD_BYTES: u64 = 8;
/// How much larger than its body, and by how much besides, a batch may claim to be when
/// decompressed.
const EXPANSION_MAX: u64 = 1_024;
const EXPANSION_BYTES: u64 = 1 << 30;

struct ArrowIpc {
    messages: Messages,
    decoder: StreamDecoder,
    schema: SchemaRef,
    ready: VecDeque<RecordBatch>,
}

pub(crate) fn open(
    mut input: Input,
    context: &Context,
) -> Result<(SchemaRef, Box<dyn BatchSource>)> {
    let mut word = Vec::new();
    let mut next = |word: &mut Vec<u8>| {
        word.clear();
        let read = input.by_ref().take(WORD_BYTES).read_to_end(word);
        read.map_err(|error| Error::io(&context.file, error))
    };
    next(&mut word)?;
    if word.starts_with(FEATHER_1_MAGIC) {
        let reason = "feather version 1 cannot be read; version 2 is Arrow IPC";
        return Err(Error::malformed(&context.file, None, reason));
    }
    if word.starts_with(FILE_MAGIC) {
        while next(&mut word)? > 0 && word.iter().all(|byte| *byte == 0) {}
    }
    let input: Input = Box::new(io::Cursor::new(word).chain(input));

    let mut source = ArrowIpc {
        messages: Messages { input, ended: false },
        decoder: StreamDecoder::new(),
        schema: Arc::new(arrow_schema::Schema::empty()),
        ready: VecDeque::new(),
    };
    let mut more = true;
    while source.decoder.schema().is_none() && more {
        more = source.step(context).map_err(|error| {
            let reason = format!("not readable as arrow: {}", error.reason());
            Error::malformed(&context.file, None, reason)
        })?;
    }
    let schema = source.decoder.schema().ok_or_else(|| {
        Error::malformed(&context.file, None, "not readable as arrow: there is no schema")
    })?;
    source.schema = without_metadata(&schema);
    Ok((Arc::clone(&source.schema), Box::new(source)))
}

impl ArrowIpc {
    /// Decodes one message; false at the end of the stream.
    fn step(&mut self, context: &Context) -> Result<bool> {
        let message = self.messages.next().map_err(|error| malformed(error, context))?;
        // The decoder acts on a message without a body only when more follows.
        let mut bytes = Buffer::from(message.unwrap_or(END_OF_STREAM.to_vec()));
        while !bytes.is_empty() {
            let batch =
                self.decoder.decode(&mut bytes).map_err(|error| malformed(error, context))?;
            self.ready.extend(batch);
        }
        Ok(!self.messages.ended)
    }
}

impl BatchSource for ArrowIpc {
    fn next_batch(&mut self, context: &mut Context) -> Result<Option<RecordBatch>> {
        while self.ready.is_empty() && !self.messages.ended {
            self.step(context)?;
        }
        let Some(batch) = self.ready.pop_front() else { return Ok(None) };
        let rows = batch.num_rows();
        if rows > context.batch_rows {
            self.ready.push_front(batch.slice(context.batch_rows, rows - context.batch_rows));
        }
        with_views(&batch.slice(0, rows.min(context.batch_rows)), &self.schema).map(Some)
    }
}

/// The messages of a stream, each with its prefix and its body.
struct Messages {
    input: Input,
    ended: bool,
}

impl Messages {
    fn next(&mut self) -> Result<Option<Vec<u8>>, ArrowError> {
        let mut bytes = Vec::new();
        let cut_off = || ArrowError::IpcError("the file ends within a message".to_owned());
        if !self.ended && self.read(&mut bytes, 4)? == 0 {
            self.ended = true;
        }
        if self.ended {
            return Ok(None);
        }
        // Before version 0.15 there was no continuation marker.
        if bytes == CONTINUATION {
            self.read(&mut bytes, 4)?;
        }
        let prefix = bytes.len();
        let length =
            *bytes.last_chunk().filter(|last| **last != CONTINUATION).ok_or_else(cut_off)?;
        let length = i32::from_le_bytes(length);
        if length == 0 {
            self.ended = true;
            return Ok(None);
        }
        let claimed = |length: i64| ArrowError::IpcError(format!("a message of {length} bytes"));
        let metadata_length = u64::try_from(length).map_err(|_| claimed(length.into()))?;
        if self.read(&mut bytes, metadata_length)? != metadata_length {
            return Err(cut_off());
        }
        let body_length = message(&bytes[prefix..])?.bodyLength();
        let body_length = u64::try_from(body_length).map_err(|_| claimed(body_length))?;
        let body = bytes.len();
        if self.read(&mut bytes, body_length)? != body_length {
            return Err(cut_off());
        }
        check_expansion(&message(&bytes[prefix..body])?, &bytes[body..])?;
        Ok(Some(bytes))
    }

    /// Appends as many bytes, or as many as there are: memory follows the data, not the claim.
    fn read(&mut self, bytes: &mut Vec<u8>, length: u64) -> io::Result<u64> {
        Ok(self.input.by_ref().take(length).read_to_end(bytes)? as u64)
    }
}

fn message(bytes: &[u8]) -> Result<arrow_ipc::Message<'_>, ArrowError> {
    arrow_ipc::root_as_message(bytes)
        .map_err(|error| ArrowError::IpcError(format!("no message of arrow's: {error}")))
}

/// Refuses a batch whose compressed buffers claim to be out of all proportion.
fn check_expansion(message: &arrow_ipc::Message<'_>, body: &[u8]) -> Result<(), ArrowError> {
    let dictionary = message.header_as_dictionary_batch().and_then(|batch| batch.data());
    let Some(batch) = message.header_as_record_batch().or(dictionary) else { return Ok(()) };
    let (Some(_), Some(buffers)) = (batch.compression(), batch.buffers()) else { return Ok(()) };
    let mut claimed: u64 = 0;
    for buffer in buffers {
        let start = usize::try_from(buffer.offset()).ok();
        let length = start.and_then(|start| body.get(start..)?.first_chunk::<8>());
        // -1 stands before a buffer that is not compressed after all.
        if let Some(length) =
            length.and_then(|bytes| u64::try_from(i64::from_le_bytes(*bytes)).ok())
        {
            claimed = claimed.saturating_add(if buffer.length() > 0 { length } else { 0 });
        }
    }
    if claimed > EXPANSION_BYTES + EXPANSION_MAX * body.len() as u64 {
        let body = body.len();
        let reason = format!("{body} bytes that claim to be {claimed} when decompressed");
        return Err(ArrowError::IpcError(reason));
    }
    Ok(())
}
