//! Sums of a stretch of a chunk by group, from packed integers as they lie.

use std::ops::Range;

use arrow_buffer::BooleanBuffer;

use super::ColumnChunk;
use super::chunk::{Body, Chunk};
use super::packed::Sums;
use crate::{Error, Result};

impl ColumnChunk {
    /// Adds the numbers of `range` to `sums`, each to that of its group: `groups` has a number
    /// below `sums.len()` for each row, and if there is none all rows are of group 0. Of `selected`
    /// rows only those whose bit is set count.
    ///
    /// Says whether it was done: only for whole numbers and decimals stored as packed integers of
    /// moderate size, without NULL among them. If not, `sums` are as they were.
    ///
    /// # Errors
    /// `Invalid` for a range past the end.
    ///
    /// # Panics
    /// If there is not one group, or bit, for each row, or a group has no sum.
    pub fn add_up(
        &self,
        range: Range<usize>,
        groups: Option<&[u32]>,
        selected: Option<&BooleanBuffer>,
        sums: &mut [i128],
    ) -> Result<bool> {
        self.0.add_up(range, groups, selected, sums)
    }
}

impl Chunk {
    fn add_up(
        &self,
        range: Range<usize>,
        groups: Option<&[u32]>,
        selected: Option<&BooleanBuffer>,
        sums: &mut [i128],
    ) -> Result<bool> {
        if range.start > range.end || range.end > self.rows {
            let rows = self.rows;
            return Err(Error::invalid(format!("rows {range:?} of a column chunk of {rows}")));
        }
        assert!(groups.is_none_or(|groups| groups.len() == range.len()), "one group a row");
        let Body::Ints(ints) = &self.body else { return Ok(false) };
        if self.nulls.is_some() || self.kind.bias() != 0 {
            return Ok(false);
        }
        let groups = groups.map_or(Sums::One, Sums::Many);
        Ok(ints.add_up(range, groups, selected, sums))
    }
}
