//! [`ColumnFront`]: a chunk of strings of which only the first bytes are in memory.
//!
//! The bytes in which its strings are stored, plain or as symbols' codes, come last in such a
//! chunk and are most of it. What stands in front says where each string lies among them, so that
//! whoever wants one string of a chunk that is not in memory reads the front, keeps it, and reads
//! a few bytes a string.

use std::ops::Range;
use std::sync::Arc;

use arrow_buffer::Buffer;
use arrow_schema::DataType;

use super::chunk::{Body, Chunk, push_bytes};
use super::cursor::Cursor;
use super::symbols::SymbolTables;
use super::{ALIGNMENT, CHUNK_ROWS_MAX};
use crate::{Error, Result, RowBuffer, ValueRef};

/// The front of a chunk of strings, cheap to clone.
#[derive(Clone, Debug)]
pub struct ColumnFront(Arc<Front>);

#[derive(Debug)]
struct Front {
    chunk: Chunk,
    /// Where the stored strings lie in the chunk, without their padding.
    stored: Range<usize>,
}

impl ColumnFront {
    /// Opens the front of a chunk of `len` bytes and `rows` values of `data_type`; `tables` are
    /// those of the column's file.
    ///
    /// `bytes` are the chunk's first, [`front_bytes`](super::EncodedChunk::front_bytes) at least
    /// and not all, in memory aligned to eight bytes; else they are copied.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no encoder wrote in front of strings.
    pub fn open(
        bytes: Buffer,
        len: usize,
        data_type: &DataType,
        rows: usize,
        tables: &SymbolTables,
    ) -> Result<Self> {
        if rows > CHUNK_ROWS_MAX || bytes.len() >= len {
            return Err(Error::corrupt(format!(
                "front of {} bytes of a column chunk of {rows} rows and {len} bytes",
                bytes.len()
            )));
        }
        let aligned = bytes.as_ptr().align_offset(ALIGNMENT) == 0;
        let bytes = if aligned { bytes } else { Buffer::from_slice_ref(&bytes) };
        let mut cursor = Cursor::of_front(bytes, len);
        let chunk = Chunk::read(&mut cursor, data_type, rows, tables)?;
        let Some(stored) = cursor.stored().filter(|_| matches!(chunk.body, Body::Strings(_)))
        else {
            return Err(Error::corrupt("front of a column chunk that holds no strings"));
        };
        Ok(Self(Arc::new(Front { chunk, stored })))
    }

    /// Where in the chunk the string at `row` is stored; none if the row is null.
    ///
    /// # Errors
    /// `Invalid` for a row past the end; `Corrupt` if there is no such place.
    pub fn place(&self, row: usize) -> Result<Option<Range<usize>>> {
        let Front { chunk, stored } = &*self.0;
        if row >= chunk.len() {
            return Err(chunk.past_end(row));
        }
        let Body::Strings(strings) = &chunk.body else { return Ok(None) };
        if chunk.is_null(row) {
            return Ok(None);
        }
        let place = strings.place(row)?;
        if place.end > stored.len() {
            return Err(super::plain::out_of_range(place.start, place.end, stored.len()));
        }
        Ok(Some(stored.start + place.start..stored.start + place.end))
    }

    /// Appends the value at `row` to `out`: `bytes` are what the chunk has at its
    /// [`place`](Self::place), and nothing for a null.
    ///
    /// # Errors
    /// `Invalid` for a row past the end; `Corrupt` if the bytes are not a value.
    pub fn value(&self, row: usize, bytes: &[u8], out: &mut RowBuffer) -> Result<()> {
        let chunk = &self.0.chunk;
        if row >= chunk.len() {
            return Err(chunk.past_end(row));
        }
        match &chunk.body {
            Body::Strings(strings) if !chunk.is_null(row) => {
                strings.with_stored(bytes, |bytes| push_bytes(chunk.kind, bytes, out))?
            }
            _ => {
                out.push(ValueRef::Null);
                Ok(())
            }
        }
    }
}
