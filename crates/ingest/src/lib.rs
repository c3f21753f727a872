//! Files to streams of record batches. First on the path of a load; knows no table, and where the
//! rows will go is its caller's affair.
//!
//! ```
//! use silt_ingest::{Format, Options, Source, open};
//!
//! let text = "id,name,born\n1,Ada,1815-12-10\n2,Alan,\n";
//! let source = Source::Reader { name: "people".into(), input: Box::new(text.as_bytes()) };
//! let options = Options { format: Some(Format::Csv), ..Options::default() };
//! let reader = open(source, &options)?;
//!
//! let types: Vec<String> = reader.schema().fields().iter().map(|f| f.data_type().to_string()).collect();
//! assert_eq!(types, ["Int64", "Utf8View", "Date32"]);
//! let rows: usize = reader.map(|batch| batch.map(|batch| batch.num_rows())).sum::<Result<_, _>>()?;
//! assert_eq!(rows, 2);
//! # Ok::<(), silt_ingest::Error>(())
//! ```
//!
//! [`open`] finds the format by the file's name or by [`Options::format`], undoes gzip and
//! Zstandard, and for CSV and JSON infers the columns from a sample unless the caller gives a
//! [`Target`]. The [`Reader`] then gives batches of at most 8,192 rows; text is always
//! `Utf8View`. Memory is bounded by the batch (16 MiB of text) and the longest line
//! ([`LINE_BYTES_MAX`]), never by the file; Parquet adds one page a column, Arrow IPC one of the
//! file's own batches.
//!
//! A malformed line ends the reading with an [`Error`] that names file, line and reason, or, with
//! [`OnError::Skip`], is counted and handed to [`Reader::on_reject`].

mod arrow_ipc;
mod buffer;
mod column;
mod csv;
mod decompress;
mod error;
mod files;
mod infer;
mod json;
mod options;
mod parquet;
mod rdf;
mod reader;
mod records;
mod values;
mod views;
mod xml;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::{Error, ErrorKind, Result};
pub use files::RejectsFile;
pub use options::{Format, Matching, OnError, Options, Target};
pub use rdf::STATEMENT_SCHEMA;
pub use reader::{Progress, Reader, Reject, RejectSink};

use decompress::{Counted, decompress};
use reader::Context;

/// The length of a line, or of a record that spans lines, beyond which it is malformed.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// Where the bytes come from.
pub enum Source {
    /// A file.
    Path(PathBuf),
    /// Standard input; the format has to be said.
    Stdin,
    /// Anything else, under the name that errors give it; the format has to be said.
    Reader {
        /// The name in errors and refused lines.
        name: String,
        /// The bytes.
        input: Box<dyn Read + Send>,
    },
}

impl Source {
    /// The source a user named: `-` is standard input, anything else a file.
    pub fn from_argument(argument: &str) -> Self {
        if argument == "-" { Self::Stdin } else { Self::Path(argument.into()) }
    }
}

/// Opens a source and finds out its columns; rows are read as the [`Reader`] is asked for them.
///
/// # Errors
/// `NotFound` and `Io` with the file's name; `Invalid` if the format is not known or the options do
/// not fit it; `Malformed` if columns are to be inferred and nothing can be.
pub fn open(source: Source, options: &Options) -> Result<Reader> {
    options.validate()?;
    let (name, format) = match &source {
        Source::Path(path) => (path.display().to_string(), Format::from_path(path)),
        Source::Stdin => ("<stdin>".to_owned(), None),
        Source::Reader { name, .. } => (name.clone(), None),
    };
    let file: Arc<str> = name.into();
    let format = options.format.or(format).ok_or_else(|| {
        let reason = "the name tells no format; say csv, tsv, json, parquet, arrow, nt, nq, ttl, trig, rdf or jsonld";
        Error::invalid(reason).in_file(&file)
    })?;
    reader::without_panic(&file, || open_as(source, &file, format, options))
        .map_err(|error| error.in_file(&file))
}

fn open_as(source: Source, file: &Arc<str>, format: Format, options: &Options) -> Result<Reader> {
    let mut base = None;
    let (input, total): (decompress::Input, _) = match source {
        Source::Path(path) => {
            let (opened, total) = files::open(&path, file)?;
            if format == Format::Parquet {
                let context = Context::new(Arc::clone(file), options, Progress::new(total));
                let (schema, source) = parquet::open(opened, options, &context)?;
                return Ok(Reader::new(schema, source, context));
            }
            base = file_iri(&path);
            (Box::new(opened), total)
        }
        Source::Stdin => (Box::new(std::io::stdin()), None),
        Source::Reader { input, .. } => (input, None),
    };
    let progress = Progress::new(total);
    let input = Box::new(Counted::new(input, progress.bytes_counter()));
    let context = Context::new(Arc::clone(file), options, progress);
    let (input, _) = decompress(input).map_err(|error| Error::io(file, error))?;
    let (schema, source) = match format {
        Format::Csv | Format::Tsv => csv::open(input, format, options, &context)?,
        Format::Json => json::open(input, options, &context)?,
        Format::Arrow => arrow_ipc::open(input, &context)?,
        Format::Parquet => {
            return Err(Error::invalid("parquet is read from its end, so it must be a file"));
        }
        Format::NTriples
        | Format::NQuads
        | Format::Turtle
        | Format::TriG
        | Format::RdfXml
        | Format::JsonLd => rdf::open(input, format, options, base)?,
    };
    Ok(Reader::new(schema, source, context))
}

/// The `file:` IRI of a path, by RFC 8089.
fn file_iri(path: &Path) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    let mut iri = "file://".to_owned();
    for byte in path.to_str()?.replace('\\', "/").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' | b':' => {
                iri.push(char::from(byte));
            }
            _ => iri.push_str(&format!("%{byte:02X}")),
        }
    }
    Some(iri)
}
