//! [`ColumnNumbers`]: a stretch of a chunk as whole numbers of 64 bits, and bounds that they keep:
//! for who computes with many columns at once, and must know before that nothing overflows.

use std::ops::Range;

use super::chunk::{Body, Chunk};
use super::constant::Constant;
use super::packed::IntBlock;
use super::{ColumnChunk, Result};
use crate::Error;

/// Rows that are packed together: stretches that begin and end at multiples of this are unpacked
/// once.
pub const NUMBERS_TOGETHER: usize = super::bits::VECTOR;

/// The numbers of some rows of a chunk, none of them null.
#[derive(Clone, Debug)]
pub struct ColumnNumbers {
    chunk: ColumnChunk,
    range: Range<usize>,
    low: i64,
    high: i64,
}

impl ColumnChunk {
    /// The whole numbers or decimals of `range`, if they are stored as such numbers and none is
    /// null.
    ///
    /// # Errors
    /// `Invalid` for a range past the end.
    pub fn numbers(&self, range: Range<usize>) -> Result<Option<ColumnNumbers>> {
        let rows = self.len();
        if range.start > range.end || range.end > rows {
            return Err(Error::invalid(format!("rows {range:?} of a column chunk of {rows}")));
        }
        if self.0.nulls.is_some() || self.0.kind.bias() != 0 {
            return Ok(None);
        }
        let bounds = match self.0.numbered() {
            Some(Numbered::One(number)) => (number, number),
            Some(Numbered::Many(block)) => block.bounds(range.clone()),
            None => return Ok(None),
        };
        Ok(Some(ColumnNumbers { chunk: self.clone(), range, low: bounds.0, high: bounds.1 }))
    }
}

impl ColumnNumbers {
    /// No number is less than the first of these or greater than the second.
    pub fn bounds(&self) -> (i64, i64) {
        (self.low, self.high)
    }

    /// Appends the numbers of `rows`, counted from the first of these.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn extend(&self, rows: Range<usize>, out: &mut Vec<i64>) {
        assert!(rows.end <= self.range.len(), "rows {rows:?} of {}", self.range.len());
        match self.chunk.0.numbered() {
            Some(Numbered::One(number)) => out.resize(out.len() + rows.len(), number),
            Some(Numbered::Many(block)) => {
                let start = self.range.start;
                block.extend(start + rows.start..start + rows.end, 0, out);
            }
            None => unreachable!("such a chunk gives no numbers"),
        }
    }
}

enum Numbered<'a> {
    One(i64),
    Many(&'a IntBlock),
}

impl Chunk {
    fn numbered(&self) -> Option<Numbered<'_>> {
        match &self.body {
            Body::Constant(constant) => Constant::number(constant).map(Numbered::One),
            Body::Ints(block) => Some(Numbered::Many(block)),
            _ => None,
        }
    }
}
