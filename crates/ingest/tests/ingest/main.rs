//! The crate through its public door: each format, its errors, and inputs that are none.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests may fail, and read files"
)]

mod columnar;
mod csv;
mod hostile;
mod json;
mod rdf;
mod w3c;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arrow_array::RecordBatch;
use arrow_schema::DataType;
use silt_ingest::{Error, Format, Options, Reader, Source, open};

/// The folder of test data that is not part of the project, or a word that it is absent.
fn test_data() -> Option<PathBuf> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
    let folder = std::env::var_os("SILT_TEST_DATA").map_or_else(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no test data");
    None
}

fn options(format: Format) -> Options {
    Options { format: Some(format), ..Options::default() }
}

fn reader(text: impl Into<Vec<u8>>, options: &Options) -> Result<Reader, Error> {
    let input = Box::new(std::io::Cursor::new(text.into()));
    open(Source::Reader { name: "input".into(), input }, options)
}

/// `name type` of every column.
fn columns(reader: &Reader) -> Vec<String> {
    let fields = reader.schema().fields().iter();
    fields.map(|field| format!("{} {}", field.name(), field.data_type())).collect()
}

/// Every row as its values joined by `|`, NULL as `NULL`.
fn rows(batches: &[RecordBatch]) -> Vec<String> {
    let mut out = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch.columns().iter().map(|column| texts(column)).collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<&str> = columns.iter().map(|column| column[row].as_str()).collect();
            out.push(cells.join("|"));
        }
    }
    out
}

fn texts(column: &dyn arrow_array::Array) -> Vec<String> {
    // Times with a zone are shown in UTC; naming other zones needs a table of them.
    let zoneless = match column.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            Some(arrow_cast::cast(column, &DataType::Timestamp(*unit, None)).unwrap())
        }
        _ => None,
    };
    let column = zoneless.as_deref().unwrap_or(column);
    let options = arrow_cast::display::FormatOptions::new().with_null("NULL");
    let formatter = arrow_cast::display::ArrayFormatter::try_new(column, &options).unwrap();
    (0..column.len()).map(|row| formatter.value(row).to_string()).collect()
}

fn all(reader: Reader) -> Result<Vec<String>, Error> {
    Ok(rows(&reader.collect::<Result<Vec<_>, _>>()?))
}

/// Rows of `text`, and what was refused as `line: reason: text`.
fn with_rejects(text: &str, options: &Options) -> (Vec<String>, Vec<String>) {
    let mut reader = reader(text, options).unwrap();
    let progress = reader.progress();
    let rejects = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&rejects);
    reader.on_reject(Box::new(move |reject| {
        let line = reject.line.unwrap_or(0);
        let text = String::from_utf8_lossy(reject.text);
        sink.lock().unwrap().push(format!("{line}: {}: {text}", reject.reason));
        Ok(())
    }));
    let rows = all(reader).unwrap();
    let rejects = std::mem::take(&mut *rejects.lock().unwrap());
    assert_eq!(progress.rejected(), rejects.len() as u64);
    assert_eq!(progress.rows(), rows.len() as u64);
    (rows, rejects)
}
