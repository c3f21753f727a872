//! Bulk loads: rows that become SSTables without passing log and memtable.

use arrow_array::ArrayRef;

use crate::{Result, SeqNo, WriteBatch};

/// What a bulk load does about a key that is there already, in the tree or earlier in the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDuplicate {
    /// The load fails with [`Error::duplicate`](crate::Error::duplicate).
    Error,
    /// The new row takes its place; within the load the last one wins.
    Replace,
    /// The row that is there stays; within the load the first one wins.
    Keep,
}

/// A bulk load under way. Dropping it leaves no trace.
#[derive(Debug)]
pub struct BulkLoad {}

/// What a bulk load did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkOutcome {
    /// The number of its commit.
    pub seq: SeqNo,
    /// Rows it wrote.
    pub rows: u64,
    /// Rows it left out under [`OnDuplicate::Keep`].
    pub kept: u64,
}

impl BulkLoad {
    /// Adds rows: all columns of the tree's current schema, in its order, of equal length.
    pub fn push(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let _ = columns;
        todo!()
    }

    /// Sorts, writes and syncs the files, checks the keys, and commits them together with the
    /// changes of `with`, which must not touch the loaded tree.
    ///
    /// # Errors
    /// `AlreadyExists` under [`OnDuplicate::Error`]; `Conflict` if a key of the load, or of `with`,
    /// was committed since the load or its batch began; what [`Engine::commit`](crate::Engine::commit) fails with.
    pub fn finish(self, with: WriteBatch) -> Result<BulkOutcome> {
        let _ = with;
        todo!()
    }
}
