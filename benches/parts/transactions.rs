//! What a transaction costs: its commits beside those without one, reads that see its own rows
//! beside those at a snapshot, and writes beyond its memory.
//!
//! `cargo bench -p silt-parts --bench transactions`. Commits are not synced, so that what is
//! measured is work.

#![allow(missing_docs, unreachable_pub, reason = "a bench")]
#![allow(clippy::cast_possible_truncation, clippy::disallowed_methods, reason = "a bench")]

use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, Int64Array, StringViewArray};
use arrow_schema::DataType;
use silt_codec::{KeyOrder, RowBuffer, TreeColumn, TreeSchema, Value, ValueRef};
use silt_storage::vfs::Env;
use silt_storage::{
    Durability, Engine, KeyRange, OnDuplicate, Options, ReadCounters, ScanRequest, Snapshot, Tree,
    WriteBatch,
};

const ROWS: u64 = 1_000_000;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { durability: Durability::Off, ..Options::default() };
    let engine = Engine::open(Env::os(), folder.path(), options).expect("a database");
    let id = engine.create_tree(schema()).expect("a tree");
    let bench = Bench { tree: engine.tree(id).expect("the tree is there"), engine };
    let mut load = bench.engine.bulk_load(id, OnDuplicate::Error).expect("a load");
    for first in (0..ROWS).step_by(8_192) {
        load.push(columns(first..ROWS.min(first + 8_192))).expect("rows are taken");
    }
    load.finish(WriteBatch::new()).expect("the load commits");
    for rows in [1, 100, 10_000] {
        bench.commits(rows);
    }
    bench.reads();
    bench.large();
}

struct Bench {
    engine: Engine,
    tree: Tree,
}

impl Bench {
    /// Commits of so many rows, about half a million rows in all.
    fn commits(&self, rows: u64) {
        let count = (500_000 / rows).min(50_000);
        let each = |what: &str, commit: &dyn Fn(WriteBatch)| {
            let begin = Instant::now();
            for number in 0..count {
                commit(self.batch(ROWS + number * rows..ROWS + (number + 1) * rows));
            }
            let micros = begin.elapsed().as_secs_f64() * 1e6 / count as f64;
            println!("commit of {rows} rows, {what}: {micros:.2} us");
        };
        each("batches made only", &drop);
        each("no transaction", &|batch| {
            self.engine.commit(batch).expect("commits");
        });
        each("a transaction", &|batch| {
            let transaction = self.engine.begin();
            transaction.apply(batch).expect("applies");
            transaction.commit().expect("commits");
        });
        self.engine.flush().expect("flushes");
        self.engine.compact(self.tree.id()).expect("compacts");
    }

    fn reads(&self) {
        self.read("no transaction", &self.engine.snapshot());
        let transaction = self.engine.begin();
        for number in 0..10 {
            transaction.apply(self.scattered(number)).expect("applies");
        }
        self.read("10,000 own rows in memory", &transaction.snapshot());
        let mut load = transaction.bulk_load(self.tree.id(), OnDuplicate::Replace).expect("a load");
        load.push(columns(ROWS / 2..ROWS / 2 + 10_000)).expect("rows are taken");
        load.finish(WriteBatch::new()).expect("joins");
        self.read("20,000 own rows in files", &transaction.snapshot());
        let begin = Instant::now();
        (0..100_000).for_each(|_| drop(transaction.snapshot()));
        println!("snapshot: {:.0} ns", begin.elapsed().as_secs_f64() * 1e4);
    }

    fn read(&self, what: &str, snapshot: &Snapshot) {
        let counters = ReadCounters::new();
        let mut row = RowBuffer::new();
        let begin = Instant::now();
        for number in 0..100_000_u64 {
            let key = self.key(number * 7_919 % ROWS);
            let found = self.tree.get(&key, &[1], snapshot, &counters, &mut row);
            assert!(found.expect("reads"), "the row is there");
        }
        println!("get, {what}: {:.2} us", begin.elapsed().as_secs_f64() * 10.0);
        for time in ["first", "again"] {
            let begin = Instant::now();
            let request = ScanRequest::new(KeyRange::all(), vec![1]);
            let scan = self.tree.scan(&request, snapshot).expect("a scan");
            let rows: usize = scan.map(|batch| batch.expect("rows").num_rows()).sum();
            let millis = begin.elapsed().as_secs_f64() * 1e3;
            println!("scan of {rows} rows, {what}, {time}: {millis:.1} ms");
        }
    }

    /// Two million rows in statements of 10,000: in commits, then in one transaction that spills.
    fn large(&self) {
        let statements = || (0..200_u64).map(|n| self.batch(n * 10_000..(n + 1) * 10_000));
        let begin = Instant::now();
        for batch in statements() {
            self.engine.commit(batch).expect("commits");
        }
        println!("2,000,000 rows in 200 commits: {:.2} s", begin.elapsed().as_secs_f64());
        self.engine.flush().expect("flushes");
        let begin = Instant::now();
        let transaction = self.engine.begin();
        statements().for_each(|batch| transaction.apply(batch).expect("applies"));
        let applied = begin.elapsed().as_secs_f64();
        let memory = self.engine.describe().transactions[0].memory_bytes >> 20;
        let bytes = transaction.bytes() >> 20;
        transaction.commit().expect("commits");
        println!(
            "2,000,000 rows in one transaction: {applied:.2} s applied ({memory} MiB in memory of \
             {bytes}), {:.2} s in all",
            begin.elapsed().as_secs_f64()
        );
    }

    fn key(&self, number: u64) -> Vec<u8> {
        let mut key = Vec::new();
        let values = [ValueRef::Int(number as i64)];
        self.tree.key_codec().encode_values(&values, &mut key).expect("a key");
        key
    }

    fn put(&self, batch: &mut WriteBatch, number: u64) {
        let mut row = Vec::new();
        let text = text(number);
        let values = [ValueRef::Int(number as i64 * 3), ValueRef::Text(&text)];
        self.tree.row_codec().encode_values(&values, &mut row).expect("a row");
        batch.put(self.tree.id(), &self.key(number), &row);
    }

    fn batch(&self, numbers: std::ops::Range<u64>) -> WriteBatch {
        let mut batch = WriteBatch::new();
        numbers.for_each(|number| self.put(&mut batch, number));
        batch
    }

    /// A thousand rows all over the tree.
    fn scattered(&self, seed: u64) -> WriteBatch {
        let mut batch = WriteBatch::new();
        (0..1_000).for_each(|n| self.put(&mut batch, (n * 1_000 + seed * 97) % ROWS));
        batch
    }
}

fn text(number: u64) -> String {
    format!("row {number} and some words")
}

fn columns(rows: std::ops::Range<u64>) -> Vec<ArrayRef> {
    vec![
        Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| row as i64))),
        Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| row as i64 * 3))),
        Arc::new(StringViewArray::from_iter_values(rows.map(text))),
    ]
}

/// (k BIGINT) -> (v BIGINT, w TEXT).
fn schema() -> TreeSchema {
    let column = |id, data_type| TreeColumn { id, data_type, nullable: false, frozen: Value::Null };
    TreeSchema {
        version: 1,
        columns: vec![
            column(1, DataType::Int64),
            column(2, DataType::Int64),
            column(3, DataType::Utf8View),
        ],
        key: vec![KeyOrder { descending: false }],
    }
}
