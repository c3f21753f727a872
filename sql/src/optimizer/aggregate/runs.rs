//! [`Runs`]: groups whose keys come one after the other, each once.

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::concat;
use datafusion::arrow::compute::kernels::cmp::not_distinct;
use datafusion::common::Result;
use datafusion::logical_expr::EmitTo;
use datafusion::physical_plan::aggregates::group_values::GroupValues;

/// Keys in the order they came in. Of those that come together no two are equal; the first may be
/// the last of those before.
#[derive(Debug, Default)]
pub(super) struct Runs {
    columns: Vec<ArrayRef>,
    len: usize,
}

impl GroupValues for Runs {
    fn intern(&mut self, cols: &[ArrayRef], groups: &mut Vec<usize>) -> Result<()> {
        groups.clear();
        let rows = cols.first().map_or(0, |column| column.len());
        if rows == 0 {
            return Ok(());
        }
        let mut known = usize::from(self.len > 0);
        for (held, column) in self.columns.iter().zip(cols).filter(|_| self.len > 0) {
            let same = not_distinct(&held.slice(self.len - 1, 1), &column.slice(0, 1))?;
            known = known.min(usize::from(same.value(0)));
        }
        let first = self.len - known;
        groups.extend(first..first + rows);
        let column = |(at, column): (usize, &ArrayRef)| {
            let new = column.slice(known, rows - known);
            match self.columns.get(at) {
                Some(held) => Ok(concat(&[held, &new])?),
                None => Ok(new),
            }
        };
        self.columns = cols.iter().enumerate().map(column).collect::<Result<_>>()?;
        self.len = first + rows;
        Ok(())
    }

    fn size(&self) -> usize {
        self.columns.iter().map(|column| column.get_array_memory_size()).sum()
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn len(&self) -> usize {
        self.len
    }

    fn emit(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let count = match emit_to {
            EmitTo::All => self.len,
            EmitTo::First(count) => count,
        };
        let left = self.len - count;
        let rest = self.columns.iter().map(|column| column.slice(count, left)).collect();
        let columns = std::mem::replace(&mut self.columns, rest);
        self.len = left;
        Ok(columns.into_iter().map(|column| column.slice(0, count)).collect())
    }

    fn clear_shrink(&mut self, _num_rows: usize) {
        *self = Self::default();
    }
}
