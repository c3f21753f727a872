//! The peers: what each can do, behind one trait. DuckDB runs in Python and has its own driver.

mod fjall;
mod keyvalue;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod silt;
mod sqlite;

pub mod duckdb;

use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use crate::data::{Chunk, Form, Key};
use crate::record::Answer;
use crate::steps::{Lookup, Range};
use crate::tables::{Dialect, Result, Table};

/// All peers, ours first.
#[cfg(not(feature = "rocksdb"))]
pub const PEERS: [&str; 5] = ["silt", "sqlite", "redb", "fjall", "duckdb"];
/// All peers, ours first.
#[cfg(feature = "rocksdb")]
pub const PEERS: [&str; 6] = ["silt", "sqlite", "redb", "fjall", "rocksdb", "duckdb"];

/// What is printed beside a peer's figures.
#[derive(Clone, Debug)]
pub struct About {
    pub version: String,
    /// Which keys it keeps unique, and how it does so in a bulk load.
    pub enforces: &'static str,
    /// When a commit is on the disk.
    pub syncs: &'static str,
}

/// What has several ways in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    Insert,
    Upsert,
    Get,
    Range,
}

/// Writes a chunk in one transaction.
pub type Write<'a> = &'a mut dyn FnMut(&Chunk) -> Result<()>;
/// Prepares to write on the thread that calls it, and hands over how.
pub type Writer = Box<dyn FnOnce(&mut dyn FnMut(Write<'_>) -> Result<()>) -> Result<()> + Send>;
/// Asks for [`GROUP`](crate::queries::GROUP).
pub type Reader = Box<dyn FnMut() -> Result<Answer> + Send>;

/// A database in this process. Loops are the peer's, so that it may prepare a statement before.
pub trait Peer {
    /// What is printed beside its figures.
    fn about(&self) -> Result<About>;

    /// The language of its questions; none for a key-value store.
    fn dialect(&self) -> Option<Dialect>;

    /// Whether the 22 queries of TPC-H end in good time.
    fn answers_tpch(&self) -> bool {
        false
    }

    /// Its ways to do a task, the first without a name if it is the only one.
    fn doors(&self, task: Task) -> &'static [&'static str];

    /// The form of a chunk that its writer through a door takes.
    fn form(&self, _door: &str) -> Form {
        Form::Rows
    }

    /// Makes a table, by its name or another.
    fn create(&mut self, table: &Table, name: &str, schema: &SchemaRef) -> Result<()>;

    /// Loads all rows in one commit, durable when this returns; gives their number.
    fn load(
        &mut self,
        table: &Table,
        schema: &SchemaRef,
        batches: &mut dyn Iterator<Item = RecordBatch>,
    ) -> Result<u64>;

    /// Lets what waits in the log reach its place, as far as the peer leaves that to its caller.
    fn rest(&mut self) -> Result<()> {
        Ok(())
    }

    /// Something that writes `rows` rows a transaction into `table`, from any thread.
    fn writer(&self, door: &str, task: Task, table: &str, rows: usize) -> Result<Writer>;

    /// Something that asks, from any thread.
    fn reader(&self) -> Result<Reader>;

    /// Looks up each key.
    fn gets(&mut self, door: &str, lookup: Lookup, keys: &[Key]) -> Result<Answer>;

    /// Reads the range of each key.
    fn ranges(&mut self, door: &str, range: Range, keys: &[Key]) -> Result<Answer>;

    /// Asks a question.
    fn ask(&mut self, sql: &str) -> Result<Answer>;

    /// The number of rows of a table.
    fn count(&mut self, table: &str) -> Result<u64>;

    /// Writes rows whatever was there, each batch in a transaction of its own.
    fn rewrite(&mut self, table: &Table, batches: &[RecordBatch]) -> Result<()>;

    /// Tidies a table by hand, if there is such a thing; tells whether there is.
    fn optimize(&mut self, _table: &str) -> Result<bool> {
        Ok(false)
    }

    /// Inserts so many rows of a table into another one; their number.
    fn copy(&mut self, _from: &str, _to: &str, _rows: u64) -> Result<u64> {
        Err("this peer is not asked to copy tables".into())
    }

    /// Drops a table.
    fn remove(&mut self, _table: &str) -> Result<()> {
        Err("this peer is not asked to drop tables".into())
    }

    /// Deletes half of the events: every second of an agent.
    fn delete_half(&mut self) -> Result<u64>;

    /// Closes the database.
    fn close(&mut self) -> Result<()>;

    /// Opens it again.
    fn open(&mut self) -> Result<()>;
}

/// Opens a peer over an empty folder.
pub fn open(name: &str, folder: &Path, without: &[String]) -> Result<Box<dyn Peer>> {
    let folder: PathBuf = folder.to_owned();
    match name {
        "silt" => Ok(Box::new(silt::Silt::new(folder, without)?)),
        "sqlite" => Ok(Box::new(sqlite::Sqlite::new(folder)?)),
        "redb" => Ok(Box::new(keyvalue::KeyValue::<redb::Redb>::new(folder)?)),
        "fjall" => Ok(Box::new(keyvalue::KeyValue::<fjall::Fjall>::new(folder)?)),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => Ok(Box::new(keyvalue::KeyValue::<rocksdb::RocksDb>::new(folder)?)),
        other => Err(format!("there is no peer {other}").into()),
    }
}
