//! The trees that the tests write, their rows as plain Rust, and the model of what they hold.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow_schema::DataType;
use silt_codec::{KeyOrder, TreeColumn, TreeSchema, Value, ValueRef};
use silt_storage::vfs::{Env, ManualClock, SeededRandom, Vfs};
use silt_storage::{
    BulkOutcome, Engine, KeyRange, OnDuplicate, Options, ReadCounters, ScanRequest, SeqNo,
    Snapshot, Tree, TreeDescription, TreeId, WriteBatch,
};

/// A key: (a ascending, b descending).
pub type Key = (i64, String);
/// What stands behind it.
pub type Row = (Option<i64>, String);

/// (a BIGINT, b TEXT DESC) -> (v BIGINT NULL, w TEXT).
pub fn schema() -> TreeSchema {
    let column =
        |id, data_type, nullable| TreeColumn { id, data_type, nullable, frozen: Value::Null };
    TreeSchema {
        version: 1,
        columns: vec![
            column(1, DataType::Int64, false),
            column(2, DataType::Utf8View, false),
            column(3, DataType::Int64, true),
            column(4, DataType::Utf8View, false),
        ],
        key: vec![KeyOrder { descending: false }, KeyOrder { descending: true }],
    }
}

/// Small enough that four levels fill within seconds.
pub fn small_options() -> Options {
    Options {
        memory_bytes: 1 << 20,
        memtable_bytes: 4 << 10,
        transaction_bytes: 2 << 10,
        wal_segment_bytes: 32 << 10,
        wal_bytes_max: 128 << 10,
        file_bytes: 16 << 10,
        group_rows: 64,
        group_bytes: 8 << 10,
        level0_runs: 2,
        fanout: 3,
        background: false,
        ..Options::default()
    }
}

pub fn env(vfs: Arc<dyn Vfs>, seed: u64) -> Env {
    Env {
        vfs,
        clock: Arc::new(ManualClock::new(1_000_000)),
        random: Arc::new(SeededRandom::new(seed)),
    }
}

pub fn dir() -> &'static Path {
    Path::new("/db")
}

pub fn key_bytes(tree: &Tree, key: &Key) -> Vec<u8> {
    let mut bytes = Vec::new();
    let values = [ValueRef::Int(key.0), ValueRef::Text(&key.1)];
    tree.key_codec().encode_values(&values, &mut bytes).unwrap();
    bytes
}

pub fn row_bytes(tree: &Tree, row: &Row) -> Vec<u8> {
    let mut bytes = Vec::new();
    let values = [row.0.map_or(ValueRef::Null, ValueRef::Int), ValueRef::Text(&row.1)];
    tree.row_codec().encode_values(&values, &mut bytes).unwrap();
    bytes
}

/// Rows as the columns of a bulk load.
pub fn columns(rows: &[(Key, Row)]) -> Vec<ArrayRef> {
    vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(key, _)| key.0))),
        Arc::new(StringViewArray::from_iter_values(rows.iter().map(|(key, _)| &key.1))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|(_, row)| row.0))),
        Arc::new(StringViewArray::from_iter_values(rows.iter().map(|(_, row)| &row.1))),
    ]
}

/// Rows out of a batch of all four columns.
pub fn rows(batch: &RecordBatch) -> Vec<(Key, Row)> {
    let a = batch.column(0).as_primitive::<Int64Type>();
    let b = batch.column(1).as_string_view();
    let v = batch.column(2).as_primitive::<Int64Type>();
    let w = batch.column(3).as_string_view();
    (0..batch.num_rows())
        .map(|i| {
            let key = (a.value(i), b.value(i).to_owned());
            (key, ((!v.is_null(i)).then(|| v.value(i)), w.value(i).to_owned()))
        })
        .collect()
}

/// Everything a tree holds at a snapshot, by a forward scan.
pub fn contents(tree: &Tree, snapshot: &Snapshot) -> silt_storage::Result<Vec<(Key, Row)>> {
    let request = ScanRequest {
        order: silt_storage::ScanOrder::Forward,
        counters: Arc::new(ReadCounters::new()),
        ..ScanRequest::new(KeyRange::all(), vec![0, 1, 2, 3])
    };
    let mut all = Vec::new();
    for batch in tree.scan(&request, snapshot)? {
        all.extend(rows(&batch?));
    }
    Ok(all)
}

/// What every commit did, so that the state at any number can be told.
#[derive(Clone, Debug, Default)]
pub struct Model {
    versions: BTreeMap<(u32, Key), Versions>,
}

/// What a key held from each number on.
type Versions = Vec<(SeqNo, Option<Row>)>;

/// One change of one commit.
pub type Change = (u32, Key, Option<Row>);

impl Model {
    pub fn apply(&mut self, seq: SeqNo, changes: &[Change]) {
        for (tree, key, row) in changes {
            self.versions.entry((*tree, key.clone())).or_default().push((seq, row.clone()));
        }
    }

    pub fn get(&self, tree: u32, key: &Key, seq: SeqNo) -> Option<Row> {
        let versions = self.versions.get(&(tree, key.clone()))?;
        versions.iter().rev().find(|(at, _)| *at <= seq)?.1.clone()
    }

    /// The number of a key's newest version; 0 if it has none.
    pub fn newest(&self, tree: u32, key: &Key) -> SeqNo {
        let versions = self.versions.get(&(tree, key.clone()));
        versions.and_then(|versions| versions.last()).map_or(0, |(seq, _)| *seq)
    }

    /// The rows of a tree at a number, in key order: a ascending, b descending.
    pub fn contents(&self, tree: u32, seq: SeqNo) -> Vec<(Key, Row)> {
        let range = (tree, (i64::MIN, String::new()))..;
        let mut rows: Vec<(Key, Row)> = self
            .versions
            .range(range)
            .take_while(|((at, _), _)| *at == tree)
            .filter_map(|((_, key), versions)| {
                let (_, row) = versions.iter().rev().find(|(at, _)| *at <= seq)?;
                Some((key.clone(), row.clone()?))
            })
            .collect();
        rows.sort_by(|(x, _), (y, _)| x.0.cmp(&y.0).then_with(|| y.1.cmp(&x.1)));
        rows
    }
}

/// The batch that makes `changes`; a later change of a key replaces an earlier one.
pub fn batch(engine: &Engine, changes: &[Change]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for (tree, key, row) in changes {
        let tree = engine.tree(TreeId(*tree)).unwrap();
        let key = key_bytes(&tree, key);
        match row {
            Some(row) => batch.put(tree.id(), &key, &row_bytes(&tree, row)),
            None => batch.delete(tree.id(), &key),
        }
    }
    batch
}

/// Rows that say their own number in every column.
pub fn numbered(numbers: impl IntoIterator<Item = i64>) -> Vec<(Key, Row)> {
    let row = |n| ((n, "k".to_owned()), (Some(10 * n), format!("row {n:07}")));
    numbers.into_iter().map(row).collect()
}

/// Loads `rows` in bulk, beside the changes of `with`; they replace what is there.
pub fn load(
    engine: &Engine,
    tree: u32,
    rows: &[(Key, Row)],
    with: WriteBatch,
) -> silt_storage::Result<BulkOutcome> {
    let mut load = engine.bulk_load(TreeId(tree), OnDuplicate::Replace)?;
    load.push(columns(rows))?;
    load.finish(with)
}

/// One tree's memtables and files.
pub fn shape(engine: &Engine, tree: u32) -> TreeDescription {
    engine.describe().trees.into_iter().find(|found| found.id == TreeId(tree)).unwrap()
}

/// A source of choices that prints nothing itself: tests print the seed it began with.
pub struct Dice(SeededRandom);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(SeededRandom::new(seed))
    }

    pub fn below(&self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    pub fn chance(&self, percent: u64) -> bool {
        self.0.chance(percent)
    }

    pub fn key(&self, space: u64) -> Key {
        let n = self.below(space);
        (n as i64 / 7 - 10, format!("k{:02}", n % 7))
    }

    pub fn row(&self) -> Row {
        let v = (!self.chance(20)).then(|| self.below(1_000) as i64 - 500);
        let w = match self.below(4) {
            0 => String::new(),
            1 => "the same words again and again".to_owned(),
            _ => format!("text {}", self.below(1 << 40)),
        };
        (v, w)
    }
}
