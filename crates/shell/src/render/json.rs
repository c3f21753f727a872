//! JSON: one array of objects, or one object a line.
//!
//! Numbers, decimals too, are numbers with all their digits; NaN and the infinities are texts, for
//! JSON has no such numbers. Lists, structs and maps are arrays and objects; dates, times and bytes
//! are texts. Of columns with the same name the later ones are called `name_2`, `name_3`.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write;

use siltdb::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use siltdb::arrow::datatypes::{DataType, Schema};
use siltdb::arrow::error::ArrowError;

use super::cells::{Cells, formatter};
use super::text::is_hidden;
use super::{Render, RenderError};

pub(super) struct Json {
    /// Quoted.
    names: Vec<String>,
    array: bool,
    begun: bool,
}

impl Json {
    pub(super) fn new(schema: &Schema, array: bool) -> Self {
        let mut taken = HashSet::new();
        let names = schema.fields().iter().map(|field| {
            let mut name = field.name().clone();
            let mut number = 2;
            while !taken.insert(name.clone()) {
                name = format!("{}_{number}", field.name());
                number += 1;
            }
            let mut quoted = String::new();
            quote(&name, &mut quoted);
            quoted
        });
        Self { names: names.collect(), array, begun: false }
    }
}

impl Render for Json {
    fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> Result<(), RenderError> {
        let cells = Cells::new(batch)?;
        let mut line = String::new();
        for row in 0..batch.num_rows() {
            line.clear();
            if self.array {
                line.push_str(if self.begun { ",\n " } else { "[" });
            }
            self.begun = true;
            line.push('{');
            for (column, name) in self.names.iter().enumerate() {
                if column > 0 {
                    line.push(',');
                }
                line.push_str(name);
                line.push(':');
                top_value(&cells, batch.column(column), row, column, &mut line)?;
            }
            line.push('}');
            if !self.array {
                line.push('\n');
            }
            out.write_all(line.as_bytes())?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), RenderError> {
        if self.array {
            out.write_all(if self.begun { b"]\n" } else { b"[]\n" })?;
        }
        Ok(())
    }
}

/// Values that are not nested are formatted by what was set up once for their batch.
fn top_value(
    cells: &Cells<'_>,
    array: &ArrayRef,
    row: usize,
    column: usize,
    out: &mut String,
) -> Result<(), ArrowError> {
    if array.data_type().is_nested() {
        return value(array, row, out);
    }
    let mut text = String::new();
    if cells.write(row, column, &mut text)? {
        scalar(array.data_type(), &text, out);
    } else {
        out.push_str("null");
    }
    Ok(())
}

fn value(array: &ArrayRef, row: usize, out: &mut String) -> Result<(), ArrowError> {
    if array.is_null(row) {
        out.push_str("null");
        return Ok(());
    }
    match array.data_type() {
        DataType::List(_) => list(&array.as_list::<i32>().value(row), out),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row), out),
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row), out),
        DataType::Struct(fields) => {
            out.push('{');
            for (number, (field, values)) in
                fields.iter().zip(array.as_struct().columns()).enumerate()
            {
                if number > 0 {
                    out.push(',');
                }
                quote(field.name(), out);
                out.push(':');
                value(values, row, out)?;
            }
            out.push('}');
            Ok(())
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            out.push('{');
            for entry in 0..entries.len() {
                if entry > 0 {
                    out.push(',');
                }
                quote(&formatter(entries.column(0))?.value(entry).try_to_string()?, out);
                out.push(':');
                value(entries.column(1), entry, out)?;
            }
            out.push('}');
            Ok(())
        }
        data_type => {
            scalar(data_type, &formatter(array)?.value(row).try_to_string()?, out);
            Ok(())
        }
    }
}

fn list(values: &ArrayRef, out: &mut String) -> Result<(), ArrowError> {
    out.push('[');
    for row in 0..values.len() {
        if row > 0 {
            out.push(',');
        }
        value(values, row, out)?;
    }
    out.push(']');
    Ok(())
}

fn scalar(data_type: &DataType, text: &str, out: &mut String) {
    let digits = |text: &str| text.ends_with(|c: char| c.is_ascii_digit());
    match data_type {
        DataType::Boolean => out.push_str(text),
        data_type if data_type.is_numeric() && digits(text) => out.push_str(text),
        _ => quote(text, out),
    }
}

/// A JSON string in which also everything a terminal might act upon is escaped.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_hidden(c) => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("a string takes any text");
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
