//! A line for each value, an empty line between rows.

use std::io::Write;

use siltdb::arrow::array::RecordBatch;
use siltdb::arrow::datatypes::Schema;

use super::cells::Cells;
use super::text::fitted;
use super::{Render, RenderError, escaped, width};

pub(super) struct Lines {
    /// All of one width.
    names: Vec<String>,
    begun: bool,
}

impl Lines {
    pub(super) fn new(schema: &Schema) -> Self {
        let names: Vec<_> = schema.fields().iter().map(|field| escaped(field.name())).collect();
        let widest = names.iter().map(|name| width(name)).max().unwrap_or(0);
        let padded = names.iter().map(|name| {
            let mut padded = String::new();
            fitted(name, widest, true, &mut padded);
            padded
        });
        Self { names: padded.collect(), begun: false }
    }
}

impl Render for Lines {
    fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> Result<(), RenderError> {
        let cells = Cells::new(batch)?;
        let mut text = String::new();
        for row in 0..cells.rows() {
            if self.begun {
                writeln!(out)?;
            }
            self.begun = true;
            for (column, name) in self.names.iter().enumerate() {
                text.clear();
                if !cells.write(row, column, &mut text)? {
                    text.push_str("NULL");
                }
                writeln!(out, "{name} = {}", escaped(&text))?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut dyn Write) -> Result<(), RenderError> {
        Ok(())
    }
}
