//! Commits through the engine, without SQL: what the log, its syncs and their queue take.
//!
//! `cargo bench -p silt-parts --bench wal`. Beside the commits stands what the disk allows: appends
//! of a record's size with one fdatasync each. `SILT_BENCH_SECONDS` is how long each case lasts;
//! `SILT_BENCH_AHEAD=0` lays no log out ahead.

#![allow(missing_docs, unreachable_pub, reason = "a bench")]
#![allow(clippy::cast_possible_truncation, clippy::disallowed_methods, reason = "a bench")]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arrow_schema::DataType;
use criterion::Criterion;
use silt_codec::{KeyOrder, TreeColumn, TreeSchema, Value, ValueRef};
use silt_storage::vfs::Env;
use silt_storage::{Engine, Options, Tree, WriteBatch};

/// A row of `events`: two integers as key, a time, a kind and a payload.
const PAYLOAD: usize = 130;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    println!("appends of 200 B with fdatasync: {:.0} /s", appends(folder.path()));
    for (writers, rows) in [(1, 1), (2, 1), (8, 1), (1, 1_000), (8, 1_000)] {
        let (rate, syncs) = commits(folder.path(), writers, rows);
        println!(
            "{writers} writers, {rows} rows a commit: {:.0} commits/s, {:.0} k rows/s, {:.2} commits a sync",
            rate,
            rate * rows as f64 / 1e3,
            rate / syncs
        );
    }
    latency();
}

/// How long one commit of one row takes, by Criterion.
fn latency() {
    let folder = tempfile::tempdir().expect("a folder");
    let (engine, tree) = open(folder.path());
    let mut row = 0;
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(10);
    criterion.bench_function("commit of one row", |bencher| {
        bencher.iter(|| {
            row += 1;
            engine.commit(batch(&tree, 0, row, 1)).expect("a commit")
        });
    });
}

fn lasting() -> Duration {
    let seconds = std::env::var("SILT_BENCH_SECONDS");
    Duration::from_secs_f64(seconds.map_or(3.0, |text| text.parse().expect("a number")))
}

fn appends(folder: &Path) -> f64 {
    let mut file = File::create(folder.join("appends")).expect("a file");
    let (begin, mut count) = (Instant::now(), 0_u64);
    while begin.elapsed() < lasting() {
        file.write_all(&[7; 200]).expect("written");
        file.sync_data().expect("synced");
        count += 1;
    }
    count as f64 / begin.elapsed().as_secs_f64()
}

fn open(folder: &Path) -> (Engine, Tree) {
    let mut options = Options::default();
    if let Ok(bytes) = std::env::var("SILT_BENCH_AHEAD") {
        options.wal_ahead_bytes = bytes.parse().expect("a number of bytes");
    }
    let engine = Engine::open(Env::os(), folder, options).expect("a database");
    let tree = engine.create_tree(schema()).and_then(|id| engine.tree(id)).expect("a tree");
    (engine, tree)
}

/// Commits and syncs a second.
fn commits(folder: &Path, writers: u64, rows: u64) -> (f64, f64) {
    let (engine, tree) = open(&folder.join(format!("{writers} {rows}")));
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let syncs = || engine.describe().counters.wal_syncs;
    let (before, begin) = (syncs(), Instant::now());
    thread::scope(|scope| {
        for writer in 0..writers {
            let (engine, tree, stop, count) = (&engine, &tree, &stop, &count);
            scope.spawn(move || {
                let mut next = 0;
                while !stop.load(Ordering::Relaxed) {
                    engine.commit(batch(tree, writer, next, rows)).expect("a commit");
                    next += rows;
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        thread::sleep(lasting());
        stop.store(true, Ordering::Relaxed);
    });
    let seconds = begin.elapsed().as_secs_f64();
    (count.load(Ordering::Relaxed) as f64 / seconds, (syncs() - before) as f64 / seconds)
}

fn batch(tree: &Tree, writer: u64, first: u64, rows: u64) -> WriteBatch {
    let mut batch = WriteBatch::new();
    let (mut key, mut row) = (Vec::new(), Vec::new());
    let payload = "x".repeat(PAYLOAD);
    for number in first..first + rows {
        key.clear();
        row.clear();
        let ids = [ValueRef::Int(writer as i64), ValueRef::Int(number as i64)];
        tree.key_codec().encode_values(&ids, &mut key).expect("a key");
        let values =
            [ValueRef::Int(number as i64), ValueRef::Text("message"), ValueRef::Text(&payload)];
        tree.row_codec().encode_values(&values, &mut row).expect("a row");
        batch.put(tree.id(), &key, &row);
    }
    batch
}

fn schema() -> TreeSchema {
    let column =
        |id, data_type, nullable| TreeColumn { id, data_type, nullable, frozen: Value::Null };
    TreeSchema {
        version: 1,
        columns: vec![
            column(1, DataType::Int64, false),
            column(2, DataType::Int64, false),
            column(3, DataType::Int64, true),
            column(4, DataType::Utf8View, true),
            column(5, DataType::Utf8View, true),
        ],
        key: vec![KeyOrder::default(); 2],
    }
}
