//! Results as text, in the modes a user can choose.
//!
//! All of them stream; the box looks at a first thousand rows for its widths. Control characters
//! are shown escaped wherever a terminal, or a person, may read the text.

mod boxes;
mod cells;
mod csv;
mod json;
mod line;
mod markdown;
mod text;

use std::io::Write;

use siltdb::arrow::array::RecordBatch;
use siltdb::arrow::datatypes::Schema;

pub(crate) use text::{escaped, width};

/// How results are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// A table with lines around.
    #[default]
    Box,
    /// Comma-separated values with a header; NULL is empty, an empty text is "".
    Csv,
    /// The same, separated by tabs.
    Tsv,
    /// One array of objects.
    Json,
    /// One object a line.
    Jsonl,
    /// A Markdown table.
    Markdown,
    /// A line for each value.
    Line,
}

/// What a renderer may assume about who reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Audience {
    /// Escape what a terminal would act on.
    pub(crate) terminal: bool,
    /// Columns there are, if text is to be cut to them.
    pub(crate) width: Option<usize>,
}

/// Why a result could not be shown.
#[derive(Debug)]
pub(crate) enum RenderError {
    /// Standard output is gone or full.
    Output(std::io::Error),
    /// A value has no text.
    Value(siltdb::Error),
}

impl From<std::io::Error> for RenderError {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<siltdb::arrow::error::ArrowError> for RenderError {
    fn from(error: siltdb::arrow::error::ArrowError) -> Self {
        Self::Value(error.into())
    }
}

/// Writes one result: all its batches, then the end.
pub(crate) trait Render {
    fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> Result<(), RenderError>;
    fn finish(&mut self, out: &mut dyn Write) -> Result<(), RenderError>;
}

/// A renderer for one result with these columns.
pub(crate) fn renderer(mode: Mode, schema: &Schema, audience: Audience) -> Box<dyn Render> {
    match mode {
        Mode::Box => Box::new(boxes::Boxes::new(schema, audience)),
        Mode::Csv => Box::new(csv::Csv::new(schema, b',', audience)),
        Mode::Tsv => Box::new(csv::Csv::new(schema, b'\t', audience)),
        Mode::Json => Box::new(json::Json::new(schema, true)),
        Mode::Jsonl => Box::new(json::Json::new(schema, false)),
        Mode::Markdown => Box::new(markdown::Markdown::new(schema)),
        Mode::Line => Box::new(line::Lines::new(schema)),
    }
}

#[cfg(test)]
mod tests;
