//! Zone maps: what a chunk holds, said in two values and a count.

use crate::{Result, Value};

/// The least and greatest value of a chunk, file or table column, in the order of keys.
///
/// Bounds are never narrower than the values. Long text and binary is cut: the least downward, the
/// greatest upward. A bound is `Null` if there is no value (`value_count` is 0) or no bound is known.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneMap {
    /// Not above any value.
    pub min: Value,
    /// Not below any value.
    pub max: Value,
    /// Whether `min` is itself a value of the column.
    pub min_exact: bool,
    /// Whether `max` is itself a value of the column.
    pub max_exact: bool,
    /// The number of nulls.
    pub null_count: u32,
    /// The number of values that are not null.
    pub value_count: u32,
}

impl ZoneMap {
    /// The zone map of both together.
    pub fn merge(&mut self, _other: &Self) {
        todo!()
    }

    /// Appends the bytes of this zone map.
    pub fn encode(&self, _out: &mut Vec<u8>) {
        todo!()
    }

    /// Takes a zone map off the front of `bytes`.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no zone map has.
    pub fn decode(_bytes: &mut &[u8]) -> Result<Self> {
        todo!()
    }
}
