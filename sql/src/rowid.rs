//! Numbers for the rows of tables without PRIMARY KEY.
//!
//! The hidden key `_rowid` counts up from 1. The next number stands in memory only: it is one more
//! than the greatest in the table when the table is first written to after opening. So numbers of
//! rows deleted at the end may be given again after a reopening, never while a row has them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use silt_storage::{KeyRange, ScanOrder, ScanRequest, Snapshot, Tree, TreeId};

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;

use crate::{Error, ErrorKind, Result};

/// The next number of each table written to.
#[derive(Debug, Default)]
pub(crate) struct RowIds {
    next: Mutex<HashMap<TreeId, Arc<Mutex<Option<i64>>>>>,
}

impl RowIds {
    /// Takes `count` numbers in a row; gives the first.
    ///
    /// # Errors
    /// `ResourcesExhausted` if there are no more; what reading the table fails with.
    pub(crate) fn take(&self, tree: &Tree, snapshot: &Snapshot, count: usize) -> Result<i64> {
        let next = Arc::clone(self.next.lock().entry(tree.id()).or_default());
        let mut next = next.lock();
        // Whoever comes first reads at its own snapshot. No row can be newer: rows get numbers
        // only here.
        let first = match *next {
            Some(first) => first,
            None => greatest(tree, snapshot)?
                .map_or(Some(1), |last| last.checked_add(1))
                .ok_or_else(full)?,
        };
        let after = i64::try_from(count).ok().and_then(|count| first.checked_add(count));
        *next = Some(after.ok_or_else(full)?);
        Ok(first)
    }

    /// Forgets a tree that is gone.
    pub(crate) fn forget(&self, tree: TreeId) {
        self.next.lock().remove(&tree);
    }
}

fn full() -> Error {
    Error::new(ErrorKind::ResourcesExhausted, "the table has no row numbers left")
}

fn greatest(tree: &Tree, snapshot: &Snapshot) -> Result<Option<i64>> {
    let request = ScanRequest {
        order: ScanOrder::Reverse,
        limit: Some(1),
        batch_rows: 1,
        ..ScanRequest::new(KeyRange::all(), vec![0])
    };
    match tree.scan(&request, snapshot)?.next() {
        None => Ok(None),
        Some(batch) => {
            let batch = batch?;
            let numbers = batch.column(0).as_primitive::<Int64Type>();
            Ok(numbers.values().first().copied())
        }
    }
}
