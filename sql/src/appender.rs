//! [`Appender`]: rows into one table without SQL, through the same gate.

use datafusion::arrow::array::RecordBatch;
use datafusion::scalar::ScalarValue;

use crate::Result;

/// What happens to a row whose key is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppendMode {
    /// The append fails.
    #[default]
    Insert,
    /// The new row replaces the old.
    Upsert,
    /// The old row stays.
    Ignore,
}

/// Rows for one table, committed in parts: each [`flush`](Self::flush) is one commit.
#[derive(Debug)]
pub struct Appender {
    mode: AppendMode,
}

impl Appender {
    /// What happens to a row whose key is there already.
    pub fn mode(&self) -> AppendMode {
        self.mode
    }

    /// Adds a row: one value for each column of the table, in its order.
    ///
    /// # Errors
    /// `Invalid` if their number is wrong or one does not fit its column.
    pub fn append_row(&mut self, row: Vec<ScalarValue>) -> Result<()> {
        let _ = row;
        todo!("appender")
    }

    /// Adds rows: the columns by name, missing ones take their DEFAULT.
    ///
    /// # Errors
    /// `NotFound` for a column that the table has not.
    pub fn append_batch(&mut self, batch: RecordBatch) -> Result<()> {
        let _ = batch;
        todo!("appender")
    }

    /// Commits what was added and gives the number of rows since the last time.
    ///
    /// # Errors
    /// `AlreadyExists` for a key that is there (mode insert); nothing of this part is then kept.
    pub fn flush(&mut self) -> Result<u64> {
        todo!("appender")
    }

    /// Flushes and closes. Dropping an appender forgets what was not flushed.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn finish(mut self) -> Result<u64> {
        self.flush()
    }
}
