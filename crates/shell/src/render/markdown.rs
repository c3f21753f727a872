//! A Markdown table.

use std::io::Write;

use siltdb::arrow::array::RecordBatch;
use siltdb::arrow::datatypes::Schema;

use super::cells::{Cells, is_number};
use super::{Render, RenderError, escaped};

pub(super) struct Markdown {
    columns: Vec<(String, bool)>,
    begun: bool,
}

impl Markdown {
    pub(super) fn new(schema: &Schema) -> Self {
        let columns = schema.fields().iter();
        let columns = columns.map(|field| (field.name().clone(), is_number(field.data_type())));
        Self { columns: columns.collect(), begun: false }
    }

    fn begin(&mut self, out: &mut dyn Write) -> Result<(), RenderError> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        let mut line = String::from("|");
        for (name, _) in &self.columns {
            cell(name, &mut line);
        }
        line.push_str("\n|");
        for (_, number) in &self.columns {
            line.push_str(if *number { "---:|" } else { "---|" });
        }
        line.push('\n');
        Ok(out.write_all(line.as_bytes())?)
    }
}

fn cell(text: &str, line: &mut String) {
    line.push(' ');
    line.push_str(&escaped(text).replace('|', "\\|"));
    line.push_str(" |");
}

impl Render for Markdown {
    fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> Result<(), RenderError> {
        self.begin(out)?;
        let cells = Cells::new(batch)?;
        let (mut line, mut text) = (String::new(), String::new());
        for row in 0..cells.rows() {
            line.clear();
            line.push('|');
            for column in 0..self.columns.len() {
                text.clear();
                if !cells.write(row, column, &mut text)? {
                    text.push_str("NULL");
                }
                cell(&text, &mut line);
            }
            line.push('\n');
            out.write_all(line.as_bytes())?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), RenderError> {
        self.begin(out)
    }
}
