//! The stream that [`open`](crate::open) gives, and what every format's part shares: progress,
//! and the one decision at a malformed line.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use crate::error::{Error, ErrorKind, Result};
use crate::options::{OnError, Options};

/// A line, or another piece of input, that was refused.
#[derive(Clone, Copy, Debug)]
pub struct Reject<'a> {
    /// The file, as the caller named it.
    pub file: &'a str,
    /// The line, counted from 1, where the format has lines.
    pub line: Option<u64>,
    /// Why.
    pub reason: &'a str,
    /// The refused bytes without their line end; empty where the parser does not give them up
    /// (Turtle, TriG).
    pub text: &'a [u8],
}

/// Receives refused lines.
pub type RejectSink = Box<dyn FnMut(&Reject<'_>) -> io::Result<()> + Send>;

/// How far a [`Reader`] is. Clones look at the same counters, so that one may be watched while the
/// reader is away in a load.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    bytes: Arc<AtomicU64>,
    lines: AtomicU64,
    rows: AtomicU64,
    rejected: AtomicU64,
    total: Option<u64>,
}

impl Progress {
    pub(crate) fn new(total: Option<u64>) -> Self {
        Self { counters: Arc::new(Counters { total, ..Counters::default() }) }
    }

    /// Bytes of the file consumed, before decompression.
    pub fn bytes(&self) -> u64 {
        let bytes = self.counters.bytes.load(Ordering::Relaxed);
        self.counters.total.map_or(bytes, |total| bytes.min(total))
    }

    /// Bytes of the whole file, where it is a regular one.
    pub fn bytes_total(&self) -> Option<u64> {
        self.counters.total
    }

    /// Lines consumed, where the format has lines.
    pub fn lines(&self) -> u64 {
        self.counters.lines.load(Ordering::Relaxed)
    }

    /// Rows given out.
    pub fn rows(&self) -> u64 {
        self.counters.rows.load(Ordering::Relaxed)
    }

    /// Lines refused.
    pub fn rejected(&self) -> u64 {
        self.counters.rejected.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.counters.bytes)
    }

    pub(crate) fn set_lines(&self, lines: u64) {
        self.counters.lines.store(lines, Ordering::Relaxed);
    }
}

/// What a format's part needs besides its input.
pub(crate) struct Context {
    pub(crate) file: Arc<str>,
    pub(crate) on_error: OnError,
    pub(crate) batch_rows: usize,
    pub(crate) progress: Progress,
    sink: Option<RejectSink>,
}

impl Context {
    pub(crate) fn new(file: Arc<str>, options: &Options, progress: Progress) -> Self {
        Self {
            file,
            on_error: options.on_error,
            batch_rows: options.batch_rows,
            progress,
            sink: None,
        }
    }

    /// Ends the reading, or counts and hands on what was refused.
    pub(crate) fn refuse(&mut self, line: Option<u64>, reason: &str, text: &[u8]) -> Result<()> {
        if self.on_error == OnError::Stop {
            return Err(Error::malformed(&self.file, line, reason));
        }
        self.progress.counters.rejected.fetch_add(1, Ordering::Relaxed);
        let Some(sink) = &mut self.sink else { return Ok(()) };
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        sink(&Reject { file: &self.file, line, reason, text }).map_err(|error| {
            let message = format!("cannot write the refused lines: {error}");
            Error::new(ErrorKind::Io, message)
        })
    }
}

/// One format's part: gives batches until there are no more. After an error it is not asked again.
pub(crate) trait BatchSource: Send {
    fn next_batch(&mut self, context: &mut Context) -> Result<Option<RecordBatch>>;
}

/// A stream of record batches, all of one schema, none of them empty.
///
/// After an error it ends.
pub struct Reader {
    schema: SchemaRef,
    source: Box<dyn BatchSource>,
    context: Context,
    done: bool,
}

impl Reader {
    pub(crate) fn new(schema: SchemaRef, source: Box<dyn BatchSource>, context: Context) -> Self {
        Self { schema, source, context, done: false }
    }

    /// The columns of every batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The file, as the caller named it; `<stdin>` for standard input.
    pub fn file(&self) -> &str {
        &self.context.file
    }

    /// How far the reading is; the answer goes on counting.
    pub fn progress(&self) -> Progress {
        self.context.progress.clone()
    }

    /// Gives refused lines to `sink` from here on, if they are [skipped](OnError::Skip).
    pub fn on_reject(&mut self, sink: RejectSink) {
        self.context.sink = Some(sink);
    }
}

/// Turns a panic of a parser, of damaged Parquet files say, into an error.
pub(crate) fn without_panic<T>(file: &Arc<str>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let reason = "the parser cannot cope with this input (it panicked)";
        Err(Error::malformed(file, None, reason))
    })
}

impl Iterator for Reader {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            let Self { source, context, .. } = self;
            let file = Arc::clone(&context.file);
            match without_panic(&file, || source.next_batch(context)) {
                Ok(Some(batch)) if batch.num_rows() == 0 => {}
                Ok(Some(batch)) => {
                    let rows = &self.context.progress.counters.rows;
                    rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                    return Some(Ok(batch));
                }
                Ok(None) => self.done = true,
                Err(error) => {
                    self.done = true;
                    return Some(Err(error.in_file(&self.context.file)));
                }
            }
        }
        None
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.context.file;
        f.debug_struct("Reader").field("file", file).field("schema", &self.schema).finish()
    }
}
