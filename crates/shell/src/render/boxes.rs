//! A table with lines around, as wide as its values or the terminal.
//!
//! Widths come from the first thousand rows. Later values that are wider are cut on a terminal,
//! and elsewhere push their row's border out: nothing is lost on its way to a file. Columns that
//! do not fit a terminal are narrowed, the widest first; if that is not enough the last are left
//! out and counted below. A value of several lines, such as a plan, is a row of as many.

use std::io::Write;

use siltdb::arrow::array::RecordBatch;
use siltdb::arrow::datatypes::Schema;

use super::cells::{Cells, is_number};
use super::text::{escaped, fitted, width};
use super::{Audience, Render, RenderError};

/// Rows that widths are taken from.
const SAMPLE_ROWS: usize = 1_000;
/// The least columns a value is cut to.
const WIDTH_MIN: usize = 6;
/// `│ ` before and ` ` behind each value.
const FRAME: usize = 3;
const NULL: &str = "NULL";

/// The lines of a value, one at least.
type Cell = Vec<String>;

pub(super) struct Boxes {
    names: Vec<String>,
    right: Vec<bool>,
    audience: Audience,
    widths: Vec<usize>,
    /// Rows held back until the widths are known.
    sample: Vec<Vec<Cell>>,
    shown: Option<usize>,
    rows: u64,
}

impl Boxes {
    pub(super) fn new(schema: &Schema, audience: Audience) -> Self {
        let fields = schema.fields();
        let names: Vec<String> =
            fields.iter().map(|field| escaped(field.name()).into_owned()).collect();
        let widths = names.iter().map(|name| width(name)).collect();
        let right = fields.iter().map(|field| is_number(field.data_type())).collect();
        Self { names, right, audience, widths, sample: Vec::new(), shown: None, rows: 0 }
    }

    /// Settles the widths and writes what was held back. Gives the number of columns shown.
    fn begin(&mut self, out: &mut dyn Write) -> Result<usize, RenderError> {
        if let Some(shown) = self.shown {
            return Ok(shown);
        }
        for row in &self.sample {
            for (column, cell) in row.iter().enumerate() {
                self.widths[column] = self.widths[column].max(widest(cell));
            }
        }
        let shown = match self.audience.width {
            Some(columns) => fit(&mut self.widths, columns),
            None => self.widths.len(),
        };
        self.shown = Some(shown);
        self.border(out, ['┌', '┬', '┐'])?;
        let mut line = String::new();
        for (name, width) in self.names.iter().zip(&self.widths).take(shown) {
            line.push_str("│ ");
            fitted(name, *width, false, &mut line);
            line.push(' ');
        }
        line.push_str("│\n");
        out.write_all(line.as_bytes())?;
        self.border(out, ['├', '┼', '┤'])?;
        for row in std::mem::take(&mut self.sample) {
            self.row(out, &row)?;
        }
        Ok(shown)
    }

    fn border(
        &self,
        out: &mut dyn Write,
        [left, middle, right]: [char; 3],
    ) -> Result<(), RenderError> {
        let mut line = String::from(left);
        for (column, width) in self.widths.iter().take(self.shown.unwrap_or(0)).enumerate() {
            if column > 0 {
                line.push(middle);
            }
            line.extend(std::iter::repeat_n('─', width + 2));
        }
        line.push(right);
        line.push('\n');
        Ok(out.write_all(line.as_bytes())?)
    }

    fn row(&self, out: &mut dyn Write, cells: &[Cell]) -> Result<(), RenderError> {
        let cells = &cells[..cells.len().min(self.shown.unwrap_or(0))];
        let height = cells.iter().map(Vec::len).max().unwrap_or(1);
        let mut text = String::new();
        for line in 0..height {
            for (column, cell) in cells.iter().enumerate() {
                text.push_str("│ ");
                let room = self.widths[column];
                let room =
                    if self.audience.width.is_none() { room.max(widest(cell)) } else { room };
                let part = cell.get(line).map_or("", String::as_str);
                fitted(part, room, self.right[column], &mut text);
                text.push(' ');
            }
            text.push_str("│\n");
        }
        Ok(out.write_all(text.as_bytes())?)
    }
}

fn widest(cell: &Cell) -> usize {
    cell.iter().map(|line| width(line)).max().unwrap_or(0)
}

/// A text's lines, without what could move a terminal's cursor; a last line's end makes no other.
fn lines(text: &str) -> Cell {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.split('\n').map(|line| escaped(line).into_owned()).collect()
}

/// Narrows the widest columns until all fit, and gives the number of those that do at all.
fn fit(widths: &mut [usize], columns: usize) -> usize {
    let frame = |count: usize| count * FRAME + 1;
    let mut shown = widths.len();
    let least = |count: usize, widths: &[usize]| -> usize {
        widths[..count].iter().map(|width| (*width).min(WIDTH_MIN)).sum::<usize>() + frame(count)
    };
    while shown > 1 && least(shown, widths) > columns {
        shown -= 1;
    }
    let room = columns.saturating_sub(frame(shown));
    let total = |cap: usize, widths: &[usize]| -> usize {
        widths[..shown].iter().map(|width| (*width).min(cap)).sum()
    };
    let widest = widths[..shown].iter().copied().max().unwrap_or(0);
    // The greatest cap under which all fit, by bisection.
    let (mut low, mut high) = (1, widest.max(1));
    while low < high {
        let middle = (low + high).div_ceil(2);
        if total(middle, widths) <= room { low = middle } else { high = middle - 1 }
    }
    let mut spare = room.saturating_sub(total(low, widths));
    for width in &mut widths[..shown] {
        if *width > low {
            let extra = spare.min(*width - low).min(1);
            spare -= extra;
            *width = low + extra;
        }
    }
    shown
}

impl Render for Boxes {
    fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> Result<(), RenderError> {
        let cells = Cells::new(batch)?;
        for row in 0..cells.rows() {
            self.rows += 1;
            let mut texts = Vec::with_capacity(self.names.len());
            for column in 0..self.names.len() {
                let mut text = String::new();
                if !cells.write(row, column, &mut text)? {
                    text.push_str(NULL);
                }
                texts.push(lines(&text));
            }
            if self.shown.is_some() {
                self.row(out, &texts)?;
            } else {
                self.sample.push(texts);
                if self.sample.len() == SAMPLE_ROWS {
                    self.begin(out)?;
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), RenderError> {
        let shown = self.begin(out)?;
        self.border(out, ['└', '┴', '┘'])?;
        if self.audience.terminal {
            let plural = if self.rows == 1 { "" } else { "s" };
            write!(out, "{} row{plural}", self.rows)?;
            if shown < self.names.len() {
                write!(out, ", {shown} of {} columns shown", self.names.len())?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}
