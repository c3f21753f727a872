//! Commits through the engine, without SQL: what the log, its syncs and their queue take.
//!
//! `cargo bench -p silt-parts --bench wal`. Beside the commits stands what the disk allows: appends
//! of a record's size with one fdatasync each. `SILT_BENCH_SECONDS` is how long each case lasts;
//! `SILT_BENCH_AHEAD=0` lays no log out ahead.

#![allow(missing_docs, unreachable_pub, reason = "a bench")]
#![allow(clippy::cast_possible_truncation, clippy::disallowed_methods, reason = "a bench")]

mod steady_disk;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arrow_schema::DataType;
use criterion::Criterion;
use silt_codec::{KeyOrder, TreeColumn, TreeSchema, Value, ValueRef};
use silt_parts::cpu::thread_ran;
use silt_storage::vfs::{Env, OsVfs, Vfs};
use silt_storage::{Durability, Engine, FastPaths, Options, Tree, WriteBatch};
use steady_disk::SteadyDisk;

/// A row of `events`: two integers as key, a time, a kind and a payload.
const PAYLOAD: usize = 130;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    for bytes in [200, 200_000] {
        let rate = appends(folder.path(), bytes);
        println!("appends of {bytes} B with fdatasync: {rate:.0} /s, {:.0} us", 1e6 / rate);
    }
    thousands();
    early_syncs();
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

fn appends(folder: &Path, bytes: usize) -> f64 {
    let record = vec![7; bytes];
    let mut file = File::create(folder.join("appends")).expect("a file");
    let (begin, mut count) = (Instant::now(), 0_u64);
    while begin.elapsed() < lasting() {
        file.write_all(&record).expect("written");
        file.sync_data().expect("synced");
        count += 1;
    }
    count as f64 / begin.elapsed().as_secs_f64()
}

/// Where the time of a commit of 1,000 rows goes, with keys at random among two million: making the
/// batch, what commits without a sync take, and what they take with one. What the thread itself
/// ran stands beside what passed.
fn thousands() {
    let disk = |micros| Arc::new(SteadyDisk(Duration::from_micros(micros))) as Arc<dyn Vfs>;
    let os = || Arc::new(OsVfs) as Arc<dyn Vfs>;
    let cases = [
        ("made only", None, os()),
        ("not synced", Some(Durability::Off), os()),
        ("synced", Some(Durability::Full), os()),
        ("synced in 0.2 ms", Some(Durability::Full), disk(200)),
        ("synced in 0.5 ms", Some(Durability::Full), disk(500)),
    ];
    for (name, durability, vfs) in cases {
        let one = One::new(vfs, FastPaths::default());
        let (passed, ran) = one.commits(1_000, durability, lasting());
        println!("batch of 1,000 rows, {name}: {passed:.0} us, of them {ran:.0} us run here");
    }
}

/// Commits by one writer whose sync runs beside their inserts or behind them, in turns: the median
/// and the quickest turn, which others on the machine disturb least.
fn early_syncs() {
    const TURNS: usize = 15;
    for (name, micros) in [("the disk here", None), ("0.2 ms", Some(200)), ("0.5 ms", Some(500))] {
        let both = [true, false].map(|early_sync| {
            let vfs: Arc<dyn Vfs> = match micros {
                Some(micros) => Arc::new(SteadyDisk(Duration::from_micros(micros))),
                None => Arc::new(OsVfs),
            };
            One::new(vfs, FastPaths { early_sync, ..FastPaths::default() })
        });
        for rows in [128, 1_000, 10_000] {
            let mut took = [Vec::new(), Vec::new()];
            for _ in 0..TURNS {
                for (one, took) in both.iter().zip(&mut took) {
                    let (passed, _) = one.commits(rows, Some(Durability::Full), lasting() / 20);
                    took.push(passed);
                }
            }
            took.iter_mut().for_each(|took| took.sort_by(f64::total_cmp));
            let [beside, behind] = &took;
            for (of, turn) in [("median", TURNS / 2), ("quickest", 0)] {
                let (beside, behind) = (beside[turn], behind[turn]);
                println!(
                    "commits of {rows} rows, sync of {name}, {of}: beside the inserts {beside:.0} us, behind them {behind:.0} us: {:.2}x",
                    behind / beside
                );
            }
        }
    }
}

/// A database with one writer.
struct One {
    engine: Engine,
    tree: Tree,
    count: std::cell::Cell<u64>,
    _folder: tempfile::TempDir,
}

impl One {
    fn new(vfs: Arc<dyn Vfs>, paths: FastPaths) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (engine, tree) = open_with(Env { vfs, ..Env::os() }, folder.path(), paths);
        Self { engine, tree, count: std::cell::Cell::new(0), _folder: folder }
    }

    /// Microseconds a commit takes and runs, for a while.
    fn commits(&self, rows: u64, durability: Option<Durability>, lasting: Duration) -> (f64, f64) {
        let (begin, ran, mut commits) = (Instant::now(), thread_ran(), 0_u64);
        while begin.elapsed() < lasting {
            let batch = batch_of(
                &self.tree,
                (0..rows).map(|_| {
                    self.count.set(self.count.get() + 1);
                    let number = random(self.count.get()) % 2_000_000;
                    (number / 1_000, number % 1_000)
                }),
            );
            if let Some(durability) = durability {
                self.engine.commit_with(batch, durability).expect("a commit");
            }
            commits += 1;
        }
        let micros = |took: Duration| took.as_secs_f64() * 1e6 / commits as f64;
        (micros(begin.elapsed()), micros(thread_ran() - ran))
    }
}

fn random(mut number: u64) -> u64 {
    number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn open(folder: &Path) -> (Engine, Tree) {
    open_with(Env::os(), folder, FastPaths::default())
}

fn open_with(env: Env, folder: &Path, paths: FastPaths) -> (Engine, Tree) {
    let mut options = Options { paths, ..Options::default() };
    if let Ok(bytes) = std::env::var("SILT_BENCH_AHEAD") {
        options.wal_ahead_bytes = bytes.parse().expect("a number of bytes");
    }
    let engine = Engine::open(env, folder, options).expect("a database");
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
    batch_of(tree, (first..first + rows).map(|number| (writer, number)))
}

fn batch_of(tree: &Tree, rows: impl Iterator<Item = (u64, u64)>) -> WriteBatch {
    let mut batch = WriteBatch::new();
    let (mut key, mut row) = (Vec::new(), Vec::new());
    let payload = "x".repeat(PAYLOAD);
    for (writer, number) in rows {
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
