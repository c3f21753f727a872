//! [`ColumnCodes`]: a stretch of a chunk as its distinct values and a number a row, where it is
//! stored so. Who groups by the column looks at each distinct value once.

use std::ops::Range;

use arrow_array::ArrayRef;
use arrow_buffer::NullBuffer;

use super::chunk::{Body, Chunk};
use super::kind::slice_nulls;
use super::{ColumnChunk, Result};
use crate::Error;

/// Rows as positions among distinct values.
#[derive(Clone, Debug)]
pub struct ColumnCodes {
    /// The values, each once, of the column's type and without nulls. Some may stand in no row.
    pub values: ArrayRef,
    /// For each row its value's position; none if all rows have the first.
    pub codes: Option<Vec<u32>>,
    /// The rows that are null; their codes mean nothing.
    pub nulls: Option<NullBuffer>,
}

impl ColumnChunk {
    /// The values of `range` as codes, if the chunk is stored so: a constant or a dictionary.
    ///
    /// # Errors
    /// `Invalid` for a range past the end; `Corrupt` if the bytes are not values.
    pub fn codes(&self, range: Range<usize>) -> Result<Option<ColumnCodes>> {
        self.0.codes(range)
    }
}

impl Chunk {
    fn codes(&self, range: Range<usize>) -> Result<Option<ColumnCodes>> {
        if range.start > range.end || range.end > self.rows {
            return Err(Error::invalid(format!(
                "rows {range:?} of a column chunk of {}",
                self.rows
            )));
        }
        let nulls = slice_nulls(self.nulls.as_ref(), range.start, range.len());
        Ok(match &self.body {
            Body::Constant(constant) => {
                let values = constant.decode(&self.data_type, 1, None)?;
                Some(ColumnCodes { values, codes: None, nulls })
            }
            Body::Dictionary(dictionary) => {
                let (values, codes) = dictionary.codes(self.kind, range)?;
                Some(ColumnCodes { values, codes: Some(codes), nulls })
            }
            _ => None,
        })
    }
}
