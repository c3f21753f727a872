//! Where a merge's entries come from: [`MemtableSource`] and [`FileSource`]. Each gives at most
//! one entry a key: the newest that the snapshot sees of *this* source, a delete included, since it
//! hides what older sources hold.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use silt_codec::{BatchBuilder, KeyBuffer, Schemas};

use super::KeyRange;
use super::merge::EntrySource;
use crate::memtable::TreeMemtable;
use crate::sstable::EntryBatch;
use crate::{OpKind, Result, SeqNo};

/// A stretch of a memtable.
pub(crate) struct MemtableSource {
    memtable: Arc<TreeMemtable>,
    /// What is left to read.
    range: KeyRange,
    reverse: bool,
    snapshot: SeqNo,
    rows_max: usize,
    builder: BatchBuilder,
    is_done: bool,
}

impl MemtableSource {
    pub(crate) fn new(
        memtable: Arc<TreeMemtable>,
        range: KeyRange,
        reverse: bool,
        snapshot: SeqNo,
        schemas: &Schemas,
        projection: &[usize],
        rows_max: usize,
    ) -> Self {
        let builder = BatchBuilder::new(schemas, projection, rows_max.min(1_024));
        Self { memtable, range, reverse, snapshot, rows_max, builder, is_done: false }
    }
}

/// Entries on their way from a memtable to a batch.
struct Gathered<'a> {
    builder: &'a mut BatchBuilder,
    keys: KeyBuffer,
    seqs: Vec<SeqNo>,
    kinds: Vec<OpKind>,
    failed: Result<()>,
}

impl Gathered<'_> {
    fn push(&mut self, key: &[u8], seq: SeqNo, kind: OpKind, row: &[u8]) {
        let row = (kind == OpKind::Put).then_some(row);
        if let Err(error) = self.builder.push(key, row) {
            self.failed = Err(error.into());
        }
        self.keys.push(key);
        self.seqs.push(seq);
        self.kinds.push(kind);
    }
}

impl EntrySource for MemtableSource {
    fn next_entries(&mut self) -> Result<Option<EntryBatch>> {
        if self.is_done {
            return Ok(None);
        }
        let Self { memtable, range, builder, snapshot, rows_max, .. } = self;
        let mut gathered = Gathered {
            builder,
            keys: KeyBuffer::new(),
            seqs: Vec::new(),
            kinds: Vec::new(),
            failed: Ok(()),
        };
        let is_done = if self.reverse {
            visit_reverse(memtable, range, *snapshot, *rows_max, &mut gathered)
        } else {
            visit_forward(memtable, range, *snapshot, *rows_max, &mut gathered)
        };
        self.is_done = is_done;
        let Gathered { keys, seqs, kinds, failed, .. } = gathered;
        failed?;
        let Some(last) = keys.len().checked_sub(1) else { return Ok(None) };
        let resume = Bound::Excluded(keys.get(last).to_vec());
        if self.reverse {
            self.range.end = resume;
        } else {
            self.range.start = resume;
        }
        let columns = self.builder.finish()?;
        Ok(Some(EntryBatch { keys, columns, seqs, kinds }))
    }
}

/// Gathers up to `rows_max` entries; whether these were the last.
fn visit_forward(
    memtable: &TreeMemtable,
    range: &KeyRange,
    snapshot: SeqNo,
    rows_max: usize,
    gathered: &mut Gathered<'_>,
) -> bool {
    let mut is_done = true;
    memtable.visit(range.bounds(), false, |entry| {
        if entry.seq > snapshot {
            return ControlFlow::Continue(());
        }
        let count = gathered.keys.len();
        if count > 0 && gathered.keys.get(count - 1) == entry.key {
            return ControlFlow::Continue(());
        }
        if count == rows_max || gathered.failed.is_err() {
            is_done = false;
            return ControlFlow::Break(());
        }
        gathered.push(entry.key, entry.seq, entry.kind, entry.row);
        ControlFlow::Continue(())
    });
    is_done
}

/// The same from the end: a key's newest visible version is the last one met, so it is held
/// until the next key comes.
fn visit_reverse(
    memtable: &TreeMemtable,
    range: &KeyRange,
    snapshot: SeqNo,
    rows_max: usize,
    gathered: &mut Gathered<'_>,
) -> bool {
    let mut is_done = true;
    let mut held: Option<(SeqNo, OpKind)> = None;
    let mut key = Vec::new();
    let mut row = Vec::new();
    memtable.visit(range.bounds(), true, |entry| {
        if entry.seq > snapshot {
            return ControlFlow::Continue(());
        }
        if held.is_some() && key != entry.key {
            if let Some((seq, kind)) = held.take() {
                gathered.push(&key, seq, kind, &row);
            }
            if gathered.keys.len() == rows_max || gathered.failed.is_err() {
                is_done = false;
                return ControlFlow::Break(());
            }
        }
        key.clear();
        key.extend_from_slice(entry.key);
        row.clear();
        row.extend_from_slice(entry.row);
        held = Some((entry.seq, entry.kind));
        ControlFlow::Continue(())
    });
    if let Some((seq, kind)) = held {
        gathered.push(&key, seq, kind, &row);
    }
    is_done
}
