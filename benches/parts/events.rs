//! A tree of events, (agent_id, seq) -> (ts, kind, payload), and one of triples: bulk-loaded, then
//! upserted at random keys.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringViewArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, TimeUnit};
use silt_codec::{KeyOrder, TreeColumn, TreeSchema, Value, ValueRef};
use silt_storage::vfs::Env;
use silt_storage::{
    Durability, Engine, JobKind, MemtableKind, OnDuplicate, Options, Tree, TreeId, WriteBatch,
};
use tempfile::TempDir;

use crate::data::{GROUP, random, scale};

/// Rows of an agent.
pub const ROWS_PER_AGENT: u64 = 1_000;
/// Rows of a subject.
pub const ROWS_PER_SUBJECT: u64 = 10;
/// Rows of a transaction.
const ROWS_PER_COMMIT: u64 = 1_000;

const KINDS: [&str; 8] =
    ["message", "tool_call", "tool_result", "thought", "error", "plan", "handoff", "score"];

/// A database with one tree of each.
pub struct Database {
    pub engine: Engine,
    pub events: Tree,
    pub triples: Tree,
    pub agents: u64,
    pub subjects: u64,
    _folder: TempDir,
}

impl Database {
    /// 2 M events and 5 M triples at scale 1, in files that nothing overlaps.
    pub fn loaded() -> Self {
        let database = Self::empty(MemtableKind::Leaves, 32 << 20);
        let Self { engine, agents, subjects, .. } = &database;
        let rows = agents * ROWS_PER_AGENT;
        load(engine, database.events.id(), rows, event_columns);
        load(engine, database.triples.id(), subjects * ROWS_PER_SUBJECT, triple_columns);
        database
    }

    /// 2 M events at scale 1, likewise.
    pub fn of_events(options: Options) -> Self {
        let database = Self::empty_with(options);
        let rows = database.agents * ROWS_PER_AGENT;
        load(&database.engine, database.events.id(), rows, event_columns);
        database
    }

    /// No rows yet. Jobs are run where the bench wants them.
    pub fn empty(memtable_kind: MemtableKind, memtable_bytes: usize) -> Self {
        Self::empty_with(Options { memtable_kind, memtable_bytes, ..Self::options() })
    }

    /// No jobs in the background, no syncs, room for all.
    pub fn options() -> Options {
        Options {
            background: false,
            durability: Durability::Off,
            memory_bytes: 1 << 30,
            ..Options::default()
        }
    }

    fn empty_with(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = Engine::open(Env::os(), folder.path(), options).expect("a database");
        let tree = |types: &[DataType], key: usize| {
            let id = engine.create_tree(schema(types, key)).expect("a tree");
            engine.tree(id).expect("the tree is there")
        };
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let text = || DataType::Utf8View;
        let events = tree(&[DataType::Int64, DataType::Int64, micros.clone(), text(), text()], 2);
        let triples = tree(&[text(), text(), text(), micros, DataType::Int64], 3);
        let agents = (2_000.0 * scale()).max(1.0) as u64;
        let subjects = (500_000.0 * scale()).max(1.0) as u64;
        Self { engine, events, triples, agents, subjects, _folder: folder }
    }

    /// Upserts so many random events, flushing memtables that are full and compacting nothing.
    pub fn upsert(&self, rows: u64) {
        for first in (0..rows).step_by(ROWS_PER_COMMIT as usize) {
            let mut batch = WriteBatch::new();
            for row in first..rows.min(first + ROWS_PER_COMMIT) {
                let number = random(row * 2 + 1) % (self.agents * ROWS_PER_AGENT);
                let (key, row) = self.event(number, row);
                batch.put(self.events.id(), &key, &row);
            }
            self.engine.commit(batch).expect("a commit");
            while let Some(JobKind::Flush(_) | JobKind::Log) = self.engine.next_job() {
                self.engine.run_job().expect("a flush");
            }
        }
    }

    /// The key and a row of an event.
    pub fn event(&self, number: u64, salt: u64) -> (Vec<u8>, Vec<u8>) {
        let mut row = Vec::new();
        let payload = payload(number ^ salt << 32);
        let values = [
            ValueRef::Int(ts(number)),
            ValueRef::Text(kind(number + salt)),
            ValueRef::Text(&payload),
        ];
        self.events.row_codec().encode_values(&values, &mut row).expect("a row");
        (self.event_key(number), row)
    }

    pub fn event_key(&self, number: u64) -> Vec<u8> {
        self.event_prefix(&[number / ROWS_PER_AGENT, number % ROWS_PER_AGENT])
    }

    /// The bytes of the first key columns.
    pub fn event_prefix(&self, values: &[u64]) -> Vec<u8> {
        let values: Vec<ValueRef<'_>> = values.iter().map(|v| ValueRef::Int(*v as i64)).collect();
        let mut key = Vec::new();
        self.events.key_codec().encode_values(&values, &mut key).expect("a key");
        key
    }

    pub fn triple_prefix(&self, subject: u64) -> Vec<u8> {
        let mut key = Vec::new();
        let values = [ValueRef::Text(&entity(subject))];
        self.triples.key_codec().encode_values(&values, &mut key).expect("a key");
        key
    }

    /// What lies where, in words.
    pub fn shape(&self) -> String {
        let description = self.engine.describe();
        let of = |tree: &Tree| {
            let tree = description.trees.iter().find(|other| other.id == tree.id());
            tree.map_or(String::new(), |tree| {
                let memtables: Vec<u64> =
                    tree.memtables.iter().map(|table| table.entries).collect();
                let files: Vec<usize> = tree.levels.iter().map(|level| level.files.len()).collect();
                format!("memtables of {memtables:?} rows, files a level {files:?}")
            })
        };
        format!("events: {}; triples: {}", of(&self.events), of(&self.triples))
    }
}

fn schema(types: &[DataType], key: usize) -> TreeSchema {
    let column = |(index, data_type): (usize, &DataType)| TreeColumn {
        id: index as u32 + 1,
        data_type: data_type.clone(),
        nullable: index >= key,
        frozen: Value::Null,
    };
    TreeSchema {
        version: 1,
        columns: types.iter().enumerate().map(column).collect(),
        key: vec![KeyOrder::default(); key],
    }
}

fn load(
    engine: &Engine,
    tree: TreeId,
    rows: u64,
    columns: fn(std::ops::Range<u64>) -> Vec<ArrayRef>,
) {
    let mut load = engine.bulk_load(tree, OnDuplicate::Error).expect("a load");
    for first in (0..rows).step_by(GROUP) {
        load.push(columns(first..rows.min(first + GROUP as u64))).expect("rows are taken");
    }
    load.finish(WriteBatch::new()).expect("the load commits");
}

fn event_columns(rows: std::ops::Range<u64>) -> Vec<ArrayRef> {
    let ints = |of: fn(u64) -> u64| {
        Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| of(row) as i64))) as ArrayRef
    };
    vec![
        ints(|row| row / ROWS_PER_AGENT),
        ints(|row| row % ROWS_PER_AGENT),
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.clone().map(ts))),
        Arc::new(StringViewArray::from_iter_values(rows.clone().map(kind))),
        Arc::new(StringViewArray::from_iter_values(rows.map(payload))),
    ]
}

fn triple_columns(rows: std::ops::Range<u64>) -> Vec<ArrayRef> {
    let texts = |of: &dyn Fn(u64) -> String| {
        Arc::new(StringViewArray::from_iter_values(rows.clone().map(of))) as ArrayRef
    };
    let object = |row: u64| {
        let part = random(row * 5) as f64 / u64::MAX as f64;
        entity((part.powf(1.5) * 500_000.0) as u64)
    };
    vec![
        texts(&|row| entity(row / ROWS_PER_SUBJECT)),
        texts(&|row| format!("p{:02}", row % ROWS_PER_SUBJECT * 5)),
        texts(&object),
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.clone().map(ts))),
        Arc::new(Int64Array::from_iter_values(
            rows.clone().map(|row| (random(row) % 10_000) as i64),
        )),
    ]
}

fn entity(number: u64) -> String {
    format!("entity/{number:07}")
}

/// Agents write in turn, every 5 ms with jitter.
fn ts(row: u64) -> i64 {
    let (agent, seq) = (row / ROWS_PER_AGENT, row % ROWS_PER_AGENT);
    1_700_000_000_000_000 + (seq * 2_000 + agent) as i64 * 5_000 + (random(row) % 1_000) as i64
}

fn kind(row: u64) -> &'static str {
    KINDS[(random(row * 11) % 8) as usize]
}

fn payload(row: u64) -> String {
    let [a, b, c] = [1, 2, 3].map(|salt| random(row.wrapping_mul(salt)));
    format!(
        r#"{{"tool":"tool{}","cost":0.{:04},"tokens":{},"ok":{},"id":"{a:016x}{b:016x}{c:016x}"}}"#,
        a % 6,
        b % 10_000,
        c % 4_096,
        a % 7 > 0,
    )
}
