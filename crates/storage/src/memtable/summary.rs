//! [`MemSummary`]: about what a memtable holds, for those who plan reads.
//!
//! Files bring statistics with them; a memtable's are worked out when they are first asked for, of
//! a bounded number of its rows, and anew when it holds twice as many. So all of them together cost
//! a row at most as much as one visit does, and nothing if nobody plans.

use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;
use silt_codec::{ColumnId, ZoneMap};

use super::TreeMemtable;
use crate::batch::EntryBytes;
use crate::key::key_hash;
use crate::{OpKind, Result};

/// What rows of a memtable were found to be like. Estimates, all of it: rows were left out, and
/// others came since.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemSummary {
    /// Entries that it held.
    pub(crate) entries: u64,
    /// Keys whose newest entry is a row.
    pub(crate) rows: u64,
    /// The columns of the schema that was current.
    pub(crate) columns: Vec<ColumnSummary>,
}

/// See [`MemSummary`].
#[derive(Clone, Debug)]
pub(crate) struct ColumnSummary {
    pub(crate) id: ColumnId,
    /// Of the rows that were looked at.
    pub(crate) zone: ZoneMap,
    /// About how many values all rows have; none of a type that is not counted.
    pub(crate) distinct: Option<u64>,
}

impl MemSummary {
    /// Rows among so many entries like those that were there.
    pub(crate) fn rows_of(&self, entries: u64) -> u64 {
        let rows = u128::from(entries) * u128::from(self.rows) / u128::from(self.entries.max(1));
        u64::try_from(rows).unwrap_or(entries)
    }

    /// What is known of a column's bounds.
    pub(crate) fn zone(&self, id: ColumnId) -> Option<ZoneMap> {
        Some(self.column(id)?.zone.clone())
    }

    /// About how many values a column has.
    pub(crate) fn distinct(&self, id: ColumnId) -> Option<u64> {
        self.column(id)?.distinct
    }

    fn column(&self, id: ColumnId) -> Option<&ColumnSummary> {
        self.columns.iter().find(|column| column.id == id)
    }
}

/// Some of a memtable's rows, as likely one as another.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Entries in the memtable.
    pub(crate) entries: u64,
    /// Rows among them, looked at or not.
    pub(crate) rows: u64,
    /// Those looked at, by key.
    pub(crate) taken: Vec<EntryBytes>,
}

/// The last summary of a memtable.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<Option<Arc<MemSummary>>>);

impl TreeMemtable {
    /// What `work_out` makes of about `rows_max` rows, now or when there were half as many entries;
    /// nothing if it fails, since who reads the rows will hear of it.
    pub(crate) fn summary(
        &self,
        rows_max: usize,
        work_out: impl FnOnce(Sample) -> Result<MemSummary>,
    ) -> Arc<MemSummary> {
        let mut last = self.summary.0.lock();
        match &*last {
            Some(known) if self.len() as u64 <= known.entries * 2 => Arc::clone(known),
            _ => {
                let sample = self.sample(rows_max);
                let entries = sample.entries;
                let empty = |_| MemSummary { entries, rows: entries, columns: Vec::new() };
                let made = Arc::new(work_out(sample).unwrap_or_else(empty));
                *last = Some(Arc::clone(&made));
                made
            }
        }
    }

    /// A key is in it or not by its hash: of neighbours, which are alike, some are and some are not.
    fn sample(&self, rows_max: usize) -> Sample {
        let entries = self.len() as u64;
        let mut sample = Sample { entries, rows: 0, taken: Vec::new() };
        let rows_max = rows_max as u64;
        self.visit_newest(|entry| {
            if entry.kind == OpKind::Put {
                sample.rows += 1;
                if entries <= rows_max || key_hash(entry.key) % entries < rows_max {
                    sample.taken.push(entry.bytes.clone());
                }
            }
            ControlFlow::Continue(())
        });
        sample
    }
}
