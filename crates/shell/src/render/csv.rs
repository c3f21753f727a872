//! Values with delimiters between, as `silt ingest` reads them back: NULL is empty, an empty text
//! is `""`.

use std::io::Write;

use siltdb::arrow::array::RecordBatch;
use siltdb::arrow::datatypes::Schema;

use super::cells::Cells;
use super::text::is_hidden;
use super::{Audience, Render, RenderError, escaped};

pub(super) struct Csv {
    delimiter: char,
    terminal: bool,
    header: Option<Vec<String>>,
}

impl Csv {
    pub(super) fn new(schema: &Schema, delimiter: u8, audience: Audience) -> Self {
        let header = schema.fields().iter().map(|field| field.name().clone()).collect();
        let delimiter = char::from(delimiter);
        Self { delimiter, terminal: audience.terminal, header: Some(header) }
    }

    fn field(&self, text: &str, line: &mut String) {
        // Line ends and tabs are harmless on a terminal, and part of the format.
        let harmful = |c: char| is_hidden(c) && !matches!(c, '\n' | '\t');
        let shown: String;
        let text = if self.terminal && text.chars().any(harmful) {
            let mut letter = [0; 4];
            let mut escape = |c: char| match harmful(c) {
                true => escaped(c.encode_utf8(&mut letter)).into_owned(),
                false => c.to_string(),
            };
            shown = text.chars().map(&mut escape).collect();
            &shown
        } else {
            text
        };
        let special = |c: char| matches!(c, '"' | '\n' | '\r') || c == self.delimiter;
        if text.is_empty() || text.contains(special) {
            line.push('"');
            line.push_str(&text.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(text);
        }
    }

    fn header(&mut self, out: &mut dyn Write) -> Result<(), RenderError> {
        if let Some(names) = self.header.take() {
            let mut line = String::new();
            for (column, name) in names.iter().enumerate() {
                if column > 0 {
                    line.push(self.delimiter);
                }
                self.field(name, &mut line);
            }
            line.push('\n');
            out.write_all(line.as_bytes())?;
        }
        Ok(())
    }
}

impl Render for Csv {
    fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> Result<(), RenderError> {
        self.header(out)?;
        let cells = Cells::new(batch)?;
        let (mut line, mut text) = (String::new(), String::new());
        for row in 0..cells.rows() {
            line.clear();
            for column in 0..batch.num_columns() {
                if column > 0 {
                    line.push(self.delimiter);
                }
                text.clear();
                if cells.write(row, column, &mut text)? {
                    self.field(&text, &mut line);
                }
            }
            line.push('\n');
            out.write_all(line.as_bytes())?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), RenderError> {
        self.header(out)
    }
}
