//! [`Pending`]: entries that wait for their row group, and where groups are cut.

use std::collections::VecDeque;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use silt_codec::TreeSchema;

use crate::sstable::EntryBatch;
use crate::{Error, OpKind, Result, SeqNo};

/// The entries of one row group.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) columns: Vec<ArrayRef>,
    pub(super) seqs: Vec<SeqNo>,
    pub(super) kinds: Vec<OpKind>,
    pub(super) first_key: Box<[u8]>,
    pub(super) last_key: Box<[u8]>,
    pub(super) one_version: bool,
    /// The group before holds newer versions of the first key.
    pub(super) continued: bool,
}

/// Entries in order, from any number of batches.
///
/// Groups are cut between keys (RULES.md 18): if the limit falls among the versions of a key, the
/// group ends before that key; if it begins with it, the versions fill groups of their own.
#[derive(Debug)]
pub(super) struct Pending {
    rows_max: usize,
    bytes_max: usize,
    pieces: VecDeque<Piece>,
    /// Whether each entry starts a new key.
    starts: VecDeque<bool>,
    /// Raw bytes of each entry, and of all.
    sizes: VecDeque<u32>,
    bytes: usize,
    fixed_bytes: u32,
    /// Columns whose values have no fixed size.
    variable: Vec<usize>,
}

/// What is left of a batch.
#[derive(Debug)]
struct Piece {
    entries: EntryBatch,
    from: usize,
}

impl Piece {
    fn len(&self) -> usize {
        self.entries.len() - self.from
    }
}

impl Pending {
    pub(super) fn new(schema: &TreeSchema, rows_max: usize, bytes_max: usize) -> Self {
        let widths = schema.columns.iter().map(|column| fixed_width(&column.data_type));
        let variable =
            widths.clone().enumerate().filter(|(_, width)| width.is_none()).map(|(at, _)| at);
        Self {
            rows_max: rows_max.max(1),
            bytes_max,
            pieces: VecDeque::new(),
            starts: VecDeque::new(),
            sizes: VecDeque::new(),
            bytes: 0,
            variable: variable.collect(),
            fixed_bytes: widths.flatten().fold(0, u32::saturating_add),
        }
    }

    /// Adds entries; `starts` says which of them start a new key.
    pub(super) fn push(&mut self, entries: EntryBatch, starts: &[bool]) {
        let mut sizes = vec![self.fixed_bytes; entries.len()];
        for &column in &self.variable {
            add_sizes(&entries.columns[column], &mut sizes);
        }
        self.bytes += sizes.iter().map(|&size| size as usize).sum::<usize>();
        self.sizes.extend(sizes);
        self.starts.extend(starts);
        self.pieces.push_back(Piece { entries, from: 0 });
    }

    /// Takes the next group, if its end is known: a group ends where another key starts, or with
    /// the file (`all`).
    pub(super) fn next_group(&mut self, all: bool) -> Result<Option<Rows>> {
        match self.next_cut(all) {
            Some(rows) => self.take(rows).map(Some),
            None => Ok(None),
        }
    }

    fn next_cut(&self, all: bool) -> Option<usize> {
        let len = self.starts.len();
        let first_starts = *self.starts.front()?;
        let fits = len <= self.rows_max && self.bytes <= self.bytes_max;
        if fits && !all && first_starts {
            return None;
        }
        let limit = if fits { len } else { self.limit() };
        if !first_starts {
            // Versions that continue the group before: a group of their own.
            let end = self.starts.iter().take(limit + 1).position(|&start| start);
            return match end {
                Some(end) => Some(end),
                None if limit < len || all => Some(limit),
                None => None,
            };
        }
        if limit == len {
            return all.then_some(len);
        }
        let cut = (1..=limit).rev().find(|&row| self.starts[row]);
        Some(cut.unwrap_or(limit))
    }

    /// How many entries a group may have, key borders aside.
    fn limit(&self) -> usize {
        let mut bytes = 0;
        let within = self.sizes.iter().take(self.rows_max).take_while(|&&size| {
            bytes += size as usize;
            bytes <= self.bytes_max
        });
        within.count().max(1)
    }

    fn take(&mut self, rows: usize) -> Result<Rows> {
        let starts: Vec<bool> = self.starts.drain(..rows).collect();
        self.bytes -= self.sizes.drain(..rows).map(|size| size as usize).sum::<usize>();

        let mut group = Rows {
            columns: Vec::new(),
            seqs: Vec::with_capacity(rows),
            kinds: Vec::with_capacity(rows),
            first_key: Box::default(),
            last_key: Box::default(),
            one_version: starts.iter().all(|&start| start),
            continued: !starts[0],
        };
        let mut column_parts: Vec<Vec<ArrayRef>> = Vec::new();
        let mut missing = rows;
        while missing > 0 {
            let piece = self
                .pieces
                .front_mut()
                .ok_or_else(|| Error::internal("fewer entries wait than were counted"))?;
            let (from, len) = (piece.from, piece.len().min(missing));
            let entries = &piece.entries;
            group.seqs.extend_from_slice(&entries.seqs[from..from + len]);
            group.kinds.extend_from_slice(&entries.kinds[from..from + len]);
            if missing == rows {
                group.first_key = entries.keys.get(from).into();
            }
            if missing == len {
                group.last_key = entries.keys.get(from + len - 1).into();
            }
            column_parts.push(entries.columns.iter().map(|c| c.slice(from, len)).collect());
            missing -= len;
            piece.from += len;
            if piece.len() == 0 {
                self.pieces.pop_front();
            }
        }
        group.columns = join(&column_parts)?;
        Ok(group)
    }
}

/// Columns of several pieces as one.
fn join(pieces: &[Vec<ArrayRef>]) -> Result<Vec<ArrayRef>> {
    if let [piece] = pieces {
        return Ok(piece.clone());
    }
    let columns = pieces.first().map_or(0, Vec::len);
    let column = |column: usize| {
        let parts: Vec<&dyn Array> = pieces.iter().map(|piece| piece[column].as_ref()).collect();
        Ok(arrow_select::concat::concat(&parts)?)
    };
    (0..columns).map(column).collect()
}

/// Bytes of a value, if all values of the type have as many.
fn fixed_width(data_type: &DataType) -> Option<u32> {
    match data_type {
        DataType::Boolean => Some(1),
        DataType::FixedSizeBinary(width) => u32::try_from(*width).ok(),
        other => other.primitive_width().and_then(|width| u32::try_from(width).ok()),
    }
}

/// Adds the bytes of each value.
fn add_sizes(array: &ArrayRef, sizes: &mut [u32]) {
    // The length stands in the lower half of a view's first word.
    let add_views = |views: &[u128], sizes: &mut [u32]| {
        for (size, view) in sizes.iter_mut().zip(views) {
            let len = u32::try_from(view & u128::from(u32::MAX)).unwrap_or(u32::MAX);
            *size = size.saturating_add(len);
        }
    };
    match array.data_type() {
        DataType::Utf8View => add_views(array.as_string_view().views(), sizes),
        DataType::BinaryView => add_views(array.as_binary_view().views(), sizes),
        _ => {
            // Offsets or children: an average does.
            let bytes = array.to_data().get_slice_memory_size().unwrap_or(0);
            let each = u32::try_from(bytes / array.len().max(1)).unwrap_or(u32::MAX);
            for size in sizes {
                *size = size.saturating_add(each);
            }
        }
    }
}
