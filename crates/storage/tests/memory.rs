//! Much data through a small memory: right answers, and a peak that is measured and bounded.
//!
//! A binary of its own, for its allocator counts every allocation of the process.

#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]
#![allow(clippy::disallowed_methods, reason = "tests stand outside the engine")]
#![allow(clippy::cast_possible_truncation, reason = "small numbers throughout")]

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow_schema::DataType;
use peak_alloc::PeakAlloc;
use silt_codec::{KeyOrder, RowBuffer, TreeColumn, TreeSchema, Value, ValueRef};
use silt_storage::vfs::{Env, SeededRandom};
use silt_storage::{
    Engine, KeyRange, OnDuplicate, Options, ReadCounters, ScanOrder, ScanRequest, Tree, TreeId,
    WriteBatch,
};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const MIB: usize = 1 << 20;
const MEMORY_BYTES: usize = 8 * MIB;
const ROWS: u64 = 1_000_000;
const TEXT_BYTES: usize = 200;

/// Rows whose text no encoding makes smaller: any of them can be told from its key.
struct Source {
    letters: String,
}

impl Source {
    fn new() -> Self {
        let dice = SeededRandom::new(8);
        let letters = (0..4 * MIB).map(|_| char::from(b'0' + dice.below(75) as u8)).collect();
        Self { letters }
    }

    fn mixed(n: u64) -> u64 {
        (n ^ 0x5555).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn v(n: u64, generation: u64) -> i64 {
        (Self::mixed(n) >> 20) as i64 + generation as i64
    }

    fn w(&self, n: u64, generation: u64) -> &str {
        let room = (self.letters.len() - TEXT_BYTES) as u64;
        let at = ((Self::mixed(n) >> 8) + generation * 7_919) % room;
        &self.letters[at as usize..at as usize + TEXT_BYTES]
    }

    fn columns(
        &self,
        numbers: impl Iterator<Item = u64> + Clone,
        generation: u64,
    ) -> Vec<ArrayRef> {
        let numbers = || numbers.clone();
        vec![
            Arc::new(Int64Array::from_iter_values(numbers().map(|n| n as i64))),
            Arc::new(Int64Array::from_iter_values(numbers().map(|n| Self::v(n, generation)))),
            Arc::new(StringViewArray::from_iter_values(numbers().map(|n| self.w(n, generation)))),
        ]
    }

    fn check(&self, batch: &RecordBatch, mut next: u64, generation: impl Fn(u64) -> u64) -> u64 {
        let n = batch.column(0).as_primitive::<Int64Type>();
        let v = batch.column(1).as_primitive::<Int64Type>();
        let w = batch.column(2).as_string_view();
        for i in 0..batch.num_rows() {
            let generation = generation(next);
            assert_eq!(n.value(i), next as i64);
            assert_eq!(v.value(i), Self::v(next, generation), "row {next}");
            assert!(w.value(i) == self.w(next, generation), "row {next}");
            next += 1;
        }
        next
    }
}

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

/// Runs one phase and gives the most that stood on the heap above what stood there before.
fn measured<T>(base: usize, what: &str, phase: impl FnOnce() -> T) -> (T, usize) {
    HEAP.reset_peak_usage();
    let result = phase();
    let peak = HEAP.peak_usage().saturating_sub(base);
    let now = HEAP.current_usage().saturating_sub(base);
    println!("{what}: peak {:.1} MiB, after it {:.1} MiB", mib(peak), mib(now));
    (result, peak)
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / MIB as f64
}

fn check_all(source: &Source, engine: &Engine, tree: &Tree, generation: impl Fn(u64) -> u64) {
    let request = ScanRequest {
        order: ScanOrder::Forward,
        ..ScanRequest::new(KeyRange::all(), vec![0, 1, 2])
    };
    let mut next = 0;
    for batch in tree.scan(&request, &engine.snapshot()).unwrap() {
        next = source.check(&batch.unwrap(), next, &generation);
    }
    assert_eq!(next, ROWS);
}

fn check_gets(source: &Source, engine: &Engine, tree: &Tree, generation: impl Fn(u64) -> u64) {
    let (dice, snapshot) = (SeededRandom::new(2), engine.snapshot());
    let (counters, mut row, mut key) = (ReadCounters::new(), RowBuffer::new(), Vec::new());
    for _ in 0..3_000 {
        let n = dice.below(ROWS);
        key.clear();
        tree.key_codec().encode_values(&[ValueRef::Int(n as i64)], &mut key).unwrap();
        assert!(tree.get(&key, &[1, 2], &snapshot, &counters, &mut row).unwrap());
        let generation = generation(n);
        let (v, w) = (Source::v(n, generation), source.w(n, generation));
        assert!(row.iter().eq([ValueRef::Int(v), ValueRef::Text(w)]), "row {n}");
    }
}

#[test]
fn memory_of_8_mib_serves_200_mib_of_data() {
    let source = Source::new();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("db");
    let options = Options { memory_bytes: MEMORY_BYTES, background: false, ..Options::default() };
    let base = HEAP.current_usage();
    let open = || Engine::open(Env::os(), &dir, options.clone()).unwrap();
    let engine = open();
    let id = engine.create_tree(schema()).unwrap();
    let mut peaks = Vec::new();

    let ((), peak) = measured(base, "bulk loads in key order", || {
        for part in 0..4 {
            let numbers = part * ROWS / 4..(part + 1) * ROWS / 4;
            let mut load = engine.bulk_load(id, OnDuplicate::Error).unwrap();
            for first in numbers.clone().step_by(2_000) {
                load.push(source.columns(first..(first + 2_000).min(numbers.end), 0)).unwrap();
            }
            load.finish(WriteBatch::new()).unwrap();
        }
    });
    peaks.push(("bulk loads", peak));
    let bytes = bytes_of(&engine, id);
    assert!(bytes >= 190 * MIB as u64, "only {bytes} bytes on disk");

    let tree = engine.tree(id).unwrap();
    peaks.push(("gets", measured(base, "gets", || check_gets(&source, &engine, &tree, |_| 0)).1));
    peaks.push(("scan", measured(base, "scan", || check_all(&source, &engine, &tree, |_| 0)).1));

    // New values for every fifth row, in no order, and then for every seventh by commits.
    let generation =
        |n: u64| if n.is_multiple_of(7) && n < 70_000 { 2 } else { u64::from(n.is_multiple_of(5)) };
    let ((), peak) = measured(base, "bulk load in no order", || {
        let mut load = engine.bulk_load(id, OnDuplicate::Replace).unwrap();
        let count = ROWS / 5;
        for first in (0..count).step_by(2_000) {
            let numbers = (first..first + 2_000).map(|at| at * 7_919 % count * 5);
            load.push(source.columns(numbers, 1)).unwrap();
        }
        load.finish(WriteBatch::new()).unwrap();
    });
    peaks.push(("bulk load in no order", peak));
    let ((), peak) = measured(base, "commits and flushes", || {
        for first in (0..10_000).step_by(100) {
            let mut batch = WriteBatch::new();
            for n in (first..first + 100).map(|n| n * 7) {
                put(&tree, &mut batch, n, Source::v(n, 2), source.w(n, 2));
            }
            engine.commit(batch).unwrap();
            while engine.run_job().unwrap() {}
        }
    });
    peaks.push(("commits", peak));
    let ((), peak) =
        measured(base, "merging scan", || check_all(&source, &engine, &tree, generation));
    peaks.push(("merging scan", peak));
    let ((), peak) = measured(base, "compaction", || engine.compact(id).unwrap());
    peaks.push(("compaction", peak));
    drop(tree);
    engine.close().unwrap();
    drop(engine);

    let (engine, peak) = measured(base, "opening", open);
    peaks.push(("opening", peak));
    let tree = engine.tree(id).unwrap();
    let ((), peak) = measured(base, "gets after all", || {
        check_gets(&source, &engine, &tree, generation);
    });
    peaks.push(("gets after all", peak));
    peaks.push((
        "scan",
        measured(base, "scan", || check_all(&source, &engine, &tree, generation)).1,
    ));

    for (what, peak) in peaks {
        let reads = ["gets", "scan", "merging scan", "opening", "gets after all"];
        let most = if reads.contains(&what) { READ_PEAK_BYTES_MAX } else { WRITE_PEAK_BYTES_MAX };
        assert!(peak <= most, "{what}: peak {:.1} MiB", mib(peak));
    }
}

/// The memory of the options, and the row groups of 1.7 MiB that a read, or a merge, has in hand.
/// Measured: reads 7 MiB, merging ones 14; loads in key order 11, in no order 25 (all 200 MiB of
/// them so: 29); compaction 21.
const READ_PEAK_BYTES_MAX: usize = MEMORY_BYTES + 12 * MIB;
const WRITE_PEAK_BYTES_MAX: usize = MEMORY_BYTES + 32 * MIB;

fn bytes_of(engine: &Engine, id: TreeId) -> u64 {
    let trees = engine.describe().trees;
    let tree = trees.iter().find(|tree| tree.id == id).unwrap();
    tree.levels.iter().map(|level| level.bytes).sum()
}

fn put(tree: &Tree, batch: &mut WriteBatch, n: u64, v: i64, w: &str) {
    let (mut key, mut row) = (Vec::new(), Vec::new());
    tree.key_codec().encode_values(&[ValueRef::Int(n as i64)], &mut key).unwrap();
    tree.row_codec().encode_values(&[ValueRef::Int(v), ValueRef::Text(w)], &mut row).unwrap();
    batch.put(tree.id(), &key, &row);
}
