//! Lists, structs and maps: where each list ends, and the children as chunks of their own.
//!
//! Children are encoded as columns are, so that they shrink as columns do and the rows of a range
//! are read without the others. (Arrow IPC bytes were the first idea: its reader trusts the
//! offsets it is given, and panics on damaged ones.)
//!
//! ```text
//! list, map          block of the ends, one a row | child
//! fixed-size list    child
//! struct             child, one a field
//! child              u64 rows | u64 length | a chunk (mod.rs)
//! ```

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, GenericListArray, LargeListArray, ListArray, MapArray,
    OffsetSizeTrait, StructArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType};

use super::chunk::Chunk;
use super::cursor::{Cursor, put_len};
use super::packed::{self, IntBlock};
use super::plain::{bounds, signed};
use super::symbols::SymbolTables;
use crate::{Error, Result};

/// The chunks of a nested column's children.
#[derive(Debug)]
pub(super) struct Nested {
    ends: Option<IntBlock>,
    children: Vec<Chunk>,
}

/// The types of a nested type's children.
pub(super) fn child_types(data_type: &DataType) -> Vec<&DataType> {
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => {
            vec![field.data_type()]
        }
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        _ => Vec::new(),
    }
}

impl Nested {
    /// Reads the children of `rows` rows.
    pub(super) fn open(
        cursor: &mut Cursor,
        data_type: &DataType,
        rows: usize,
        tables: &SymbolTables,
    ) -> Result<Self> {
        let ends = match data_type {
            DataType::List(_) | DataType::LargeList(_) | DataType::Map(_, _) => {
                Some(IntBlock::open(cursor, rows)?)
            }
            _ => None,
        };
        let mut children = Vec::new();
        for child in child_types(data_type) {
            let child_rows = cursor.len()?;
            let len = cursor.len()?;
            let expected = match data_type {
                DataType::FixedSizeList(_, size) => {
                    usize::try_from(*size).ok().and_then(|size| rows.checked_mul(size))
                }
                DataType::Struct(_) => Some(rows),
                _ => Some(child_rows),
            };
            if expected != Some(child_rows) {
                return Err(Error::corrupt(format!(
                    "child of {child_rows} rows in a column of {rows} of type {data_type}"
                )));
            }
            children.push(Chunk::open(cursor.take(len)?, child, child_rows, tables)?);
        }
        Ok(Self { ends, children })
    }

    /// Adds the names of the symbol tables that the children need.
    pub(super) fn table_names(&self, names: &mut Vec<u64>) {
        self.children.iter().for_each(|child| child.table_names(names));
    }

    /// The rows of `range`.
    pub(super) fn decode(
        &self,
        data_type: &DataType,
        range: Range<usize>,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        let len = range.len();
        let array: Result<ArrayRef, ArrowError> = match data_type {
            DataType::Struct(fields) => {
                let children = self
                    .children
                    .iter()
                    .map(|child| child.decode(range.clone()))
                    .collect::<Result<Vec<_>>>()?;
                StructArray::try_new_with_length(fields.clone(), children, nulls, len)
                    .map(|array| Arc::new(array) as ArrayRef)
            }
            DataType::FixedSizeList(field, size) => {
                let width = usize::try_from(*size)
                    .map_err(|_| Error::corrupt(format!("lists of {size} elements")))?;
                let child = self.child()?.decode(range.start * width..range.end * width)?;
                FixedSizeListArray::try_new_with_length(field.clone(), *size, child, nulls, len)
                    .map(|array| Arc::new(array) as ArrayRef)
            }
            DataType::List(field) => {
                let (offsets, child) = self.lists::<i32>(range)?;
                ListArray::try_new(field.clone(), offsets, child, nulls)
                    .map(|array| Arc::new(array) as ArrayRef)
            }
            DataType::LargeList(field) => {
                let (offsets, child) = self.lists::<i64>(range)?;
                LargeListArray::try_new(field.clone(), offsets, child, nulls)
                    .map(|array| Arc::new(array) as ArrayRef)
            }
            DataType::Map(field, sorted) => {
                let (offsets, child) = self.lists::<i32>(range)?;
                let entries = child.as_struct().clone();
                MapArray::try_new(field.clone(), offsets, entries, nulls, *sorted)
                    .map(|array| Arc::new(array) as ArrayRef)
            }
            other => return Err(Error::invalid(format!("{other} is not a nested type"))),
        };
        array.map_err(|error| Error::corrupt(format!("column of type {data_type}: {error}")))
    }

    fn child(&self) -> Result<&Chunk> {
        self.children.first().ok_or_else(|| Error::corrupt("a list without a child"))
    }

    fn lists<O: OffsetSizeTrait + packed::Unpacked>(
        &self,
        range: Range<usize>,
    ) -> Result<(OffsetBuffer<O>, ArrayRef)> {
        let (ends, child) = (
            self.ends.as_ref().ok_or_else(|| Error::corrupt("a list without ends"))?,
            self.child()?,
        );
        let (start, end) = bounds(ends, range.clone())?;
        if end > child.len() {
            return Err(Error::corrupt(format!("lists end at {end} of {} elements", child.len())));
        }
        let mut offsets = vec![O::default()];
        ends.extend(range, -signed(start), &mut offsets);
        if !offsets.is_sorted() || offsets[0] < O::default() {
            return Err(Error::corrupt("the ends of a column's lists are out of order"));
        }
        Ok((OffsetBuffer::new(ScalarBuffer::from(offsets)), child.decode(start..end)?))
    }
}

/// The children of `array`, with only the elements that its rows hold.
pub(super) fn children(array: &dyn Array, out: &mut Vec<u8>) -> Result<Vec<ArrayRef>> {
    fn list<O: OffsetSizeTrait>(array: &GenericListArray<O>, out: &mut Vec<u8>) -> Vec<ArrayRef> {
        elements(array.value_offsets(), array.values().as_ref(), out)
    }
    Ok(match array.data_type() {
        DataType::List(_) => list(array.as_list::<i32>(), out),
        DataType::LargeList(_) => list(array.as_list::<i64>(), out),
        DataType::Map(_, _) => {
            let map = array.as_map();
            elements(map.value_offsets(), map.entries(), out)
        }
        DataType::FixedSizeList(_, _) => vec![array.as_fixed_size_list().values().clone()],
        DataType::Struct(_) => array.as_struct().columns().to_vec(),
        other => return Err(Error::invalid(format!("{other} is not a nested type"))),
    })
}

fn elements<O: OffsetSizeTrait>(
    offsets: &[O],
    values: &dyn Array,
    out: &mut Vec<u8>,
) -> Vec<ArrayRef> {
    let (first, last) = match offsets {
        [first, .., last] => (first.as_usize(), last.as_usize()),
        _ => (0, 0),
    };
    let ends: Vec<i64> = offsets.iter().skip(1).map(|end| signed(end.as_usize() - first)).collect();
    packed::write(&ends, out);
    vec![values.slice(first, last - first)]
}

/// Appends the head of a child of `rows`; its chunk follows. Answers with what to end it by.
pub(super) fn begin_child(rows: usize, out: &mut Vec<u8>) -> usize {
    put_len(rows, out);
    put_len(0, out);
    out.len()
}

/// Fills in the length of the child that began at `start`.
pub(super) fn end_child(start: usize, out: &mut [u8]) {
    let len = (out.len() - start) as u64;
    out[start - 8..start].copy_from_slice(&len.to_le_bytes());
}
