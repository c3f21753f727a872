//! [`Scan`]: the rows of a key range, batch by batch.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::ScanRequest;
use crate::state::TreeState;
use crate::{Result, Snapshot};

/// A running scan. It may move between threads.
pub struct Scan {
    schema: SchemaRef,
}

impl Scan {
    /// The schema of its batches: columns are named by their ids.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

/// See [`Tree::scan`](crate::Tree::scan).
pub(crate) fn scan(tree: &TreeState, request: &ScanRequest, snapshot: &Snapshot) -> Result<Scan> {
    let _ = (tree, request, snapshot);
    todo!()
}
