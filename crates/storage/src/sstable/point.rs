//! One row of a group that is not in memory, where the cache has no room for all of it.
//!
//! A chunk of long strings is hundreds of KiB, of which a get wants some dozens of bytes. To read
//! it whole for that costs the read, its checksum, and another chunk that leaves the cache, which
//! the next get wants. So where the cache is nearly full, a get keeps the front of such a chunk,
//! which says where each string lies, and reads the pieces of 4 KiB in which one lies anew each
//! time: the operating system has them, or they are one read of the disk. Each piece is checked
//! each time by its checksum in the group's header.
//!
//! Fronts are a small part of a table: with them in the cache, the cost of a get no longer grows
//! with the table.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::Ordering;

use arrow_buffer::Buffer;
use silt_codec::{ColumnFront, RowBuffer, SymbolTables};

use super::group::{GroupBlock, RowGroup};
use super::group_header::PIECE_BYTES;
use crate::Result;

/// After so many rows it is asked whether the cache has room for the chunks by now.
const ROWS_TO_ASK: u32 = 16;

/// Pieces that a row costs, all in all.
const PIECES_A_ROW: u64 = 4;

/// Memory for pieces above this is given back.
const SCRATCH_BYTES_KEPT: usize = 1 << 20;

thread_local! {
    /// Pieces, while one string is taken out of them.
    static PIECES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl GroupBlock {
    /// Checks and opens the front of a chunk.
    pub(super) fn open_front(&self, slot: usize, bytes: Buffer) -> Result<()> {
        self.check_pieces(slot, 0, &bytes)?;
        let entry = &self.header.chunks[slot];
        let none = SymbolTables::default();
        let front = ColumnFront::open(
            bytes,
            entry.length as usize,
            self.data_type(entry.column)?,
            self.header.rows as usize,
            self.tables_of(slot)?.unwrap_or(&none),
        )
        .map_err(|error| self.locate(slot, error))?;
        // Another thread may have been as quick; its front is the same.
        let _ = self.fronts[slot].set(front);
        Ok(())
    }

    /// Checks whole pieces of a chunk from number `first` on.
    fn check_pieces(&self, slot: usize, first: usize, bytes: &[u8]) -> Result<()> {
        let entry = &self.header.chunks[slot];
        let Some((number, stored, computed)) = entry.damaged_piece(first, bytes) else {
            return Ok(());
        };
        Err(self.file.corrupt(
            self.chunk_offset(slot) + (number * PIECE_BYTES) as u64,
            format_args!(
                "checksum of a piece of column {}: stored {stored:016x}, computed {computed:016x}",
                entry.column
            ),
        ))
    }

    /// Reads and checks the pieces that hold `place` of a chunk, and calls `f` with its bytes.
    fn with_bytes<R>(
        &self,
        slot: usize,
        place: Range<usize>,
        f: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        if place.is_empty() {
            return f(&[]);
        }
        let first = place.start / PIECE_BYTES;
        let start = first * PIECE_BYTES;
        let end = place.end.next_multiple_of(PIECE_BYTES).min(self.span(slot).len());
        PIECES.with_borrow_mut(|pieces| {
            if pieces.len() < end - start {
                pieces.resize(end - start, 0);
            }
            let bytes = &mut pieces[..end - start];
            self.file.read_into(self.chunk_offset(slot) + start as u64, bytes)?;
            self.check_pieces(slot, first, bytes)?;
            let answer = f(&bytes[place.start - start..place.end - start]);
            if pieces.len() > SCRATCH_BYTES_KEPT {
                *pieces = Vec::new();
            }
            answer
        })
    }

    /// The bytes that are missing of `slots`, or of those of them that have a front.
    fn missing_bytes(&self, slots: &[usize], with_front: bool) -> u64 {
        let missing = slots.iter().filter(|&&slot| self.chunks[slot].get().is_none());
        let entries = missing.map(|&slot| &self.header.chunks[slot]);
        let entries = entries.filter(|entry| !with_front || entry.front_pieces > 0);
        entries.map(|entry| u64::from(entry.length)).sum()
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.cache.upgrade().is_some_and(|cache| cache.has_room(bytes))
    }
}

impl RowGroup {
    /// Whether a few rows of these columns are read better one by one than by whole chunks.
    pub(crate) fn is_better_by_row(&self, columns: &[usize], rows: usize) -> bool {
        let slots = self.slots(columns);
        let bytes = self.block.missing_bytes(&slots, true);
        let by_row = rows as u64 * PIECES_A_ROW * PIECE_BYTES as u64;
        by_row < bytes && !self.block.has_room(self.block.missing_bytes(&slots, false))
    }

    /// Reads what is missing of these columns, or of long strings only the front; whether all
    /// chunks are there now.
    pub(super) fn load_for_row(&self, columns: &[usize]) -> Result<bool> {
        let block = &*self.block;
        let slots = self.slots(columns);
        let is_there =
            |slot: usize| block.chunks[slot].get().is_some() || block.fronts[slot].get().is_some();
        let has_fronts = slots.iter().all(|&slot| is_there(slot));
        let rows = block.front_rows.fetch_add(1, Ordering::Relaxed);
        if has_fronts && !rows.is_multiple_of(ROWS_TO_ASK) {
            return Ok(false);
        }
        let has_no_front = block.missing_bytes(&slots, true) == 0;
        if has_no_front || block.has_room(block.missing_bytes(&slots, false)) {
            self.load(columns)?;
            return Ok(true);
        }
        if !has_fronts {
            block.load_spans(&slots, is_there, |slot| {
                let Range { start, end } = block.span(slot);
                match block.header.chunks[slot].front_bytes() {
                    Some(front) => start..start + front,
                    None => start..end,
                }
            })?;
            self.block.weigh();
        }
        Ok(false)
    }

    /// As [`row`](Self::row), of columns of which at least fronts are there.
    pub(super) fn row_by_fronts(
        &self,
        projection: &[usize],
        row: usize,
        out: &mut RowBuffer,
    ) -> Result<()> {
        for &column in projection {
            let slot = self.block.slot(column, self.schema.columns[column].id);
            let missing = slot.filter(|&slot| self.block.chunks[slot].get().is_none());
            let front = missing.and_then(|slot| Some((slot, self.block.fronts[slot].get()?)));
            let Some((slot, front)) = front else {
                self.value(column, row, out)?;
                continue;
            };
            let located = |error| self.block.locate(slot, error);
            let place = front.place(row).map_err(located)?.unwrap_or_default();
            self.block
                .with_bytes(slot, place, |bytes| front.value(row, bytes, out).map_err(located))?;
        }
        Ok(())
    }
}
