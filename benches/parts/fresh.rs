//! Counts by kind over a table that a writer changes without pause: what fresh rows cost readers.
//!
//! `cargo bench -p silt-parts --bench fresh`; `SILT_BENCH_SCALE=0.1` for a short one,
//! `SILT_BENCH_WITHOUT=shadows_ahead` for one without bitmaps made ahead. The table is
//! `events` of the race, its key in no order with upserts before; questions read the one column
//! raw, as a pushed-down aggregate does, on all cores.

#![allow(missing_docs, unreachable_pub, reason = "a bench")]
#![allow(clippy::cast_possible_truncation, clippy::disallowed_methods, reason = "a bench")]

#[allow(dead_code, reason = "its tables are for others")]
mod data;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Int64Array, StringViewArray};
use arrow_schema::DataType;
use silt_codec::{KeyOrder, TreeColumn, TreeSchema, Value, ValueRef};
use silt_parts::cpu::{process_ran, thread_ran};
use silt_storage::vfs::Env;
use silt_storage::{
    EncodedRows, Engine, KeyRange, OnDuplicate, Options, ReadCounters, ScanOrder, ScanRequest,
    Snapshot, Tree, TreeId, WriteBatch,
};

use data::{random, scale};

const KINDS: [&str; 8] =
    ["session", "message", "tool_call", "tool_result", "memory", "reply", "error", "retry"];
const EVENTS_PER_AGENT: u64 = 1_000;
/// Rows of a commit.
const CHUNK: u64 = 1_000;
/// Sets of upserts before anything is asked, each a quarter of the table.
const SETS: u64 = 3;
/// Commits between questions asked in turn.
const BETWEEN: usize = 50;
/// The reader asks this often.
const READ_EVERY: Duration = Duration::from_millis(100);
/// Columns of the tree.
const KIND: usize = 3;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(folder.path());
    bench.load();
    for set in 0..SETS {
        bench.upsert(set);
    }
    bench.in_turn();
    if seconds() == 0.0 {
        return;
    }
    bench.mixed();
    let bench = bench.reopen(folder.path());
    bench.delete_half();
}

fn options() -> Options {
    let mut options = Options::default();
    if std::env::var("SILT_BENCH_WITHOUT").is_ok_and(|path| path == "shadows_ahead") {
        options.paths.shadows_ahead = false;
    }
    options
}

/// How long writer and reader are beside one another; 0 ends the bench before.
fn seconds() -> f64 {
    let seconds = std::env::var("SILT_BENCH_SECONDS");
    seconds.map_or(10.0, |text| text.parse().expect("a number of seconds"))
}

/// A question's.
struct Answer {
    rows: u64,
    /// Of its threads together.
    ran: Duration,
    counters: Arc<ReadCounters>,
}

/// Milliseconds that questions took, and that their threads ran.
#[derive(Default)]
struct Times {
    took: Vec<f64>,
    ran: Vec<f64>,
}

struct Bench {
    engine: Engine,
    tree: Tree,
    agents: u64,
}

impl Bench {
    fn new(folder: &Path) -> Self {
        let engine = Engine::open(Env::os(), folder, options()).expect("a database");
        let id = engine.create_tree(schema()).expect("a tree");
        let tree = engine.tree(id).expect("the tree is there");
        Self { engine, tree, agents: (2_000.0 * scale()) as u64 }
    }

    fn rows(&self) -> u64 {
        self.agents * EVENTS_PER_AGENT
    }

    /// Rows in the order of time: the agents take turns.
    fn load(&self) {
        let begin = Instant::now();
        let mut load = self.engine.bulk_load(self.tree.id(), OnDuplicate::Error).expect("a load");
        for first in (0..self.rows()).step_by(8_192) {
            let rows = first..self.rows().min(first + 8_192);
            load.push(self.columns(rows)).expect("rows are taken");
        }
        load.finish(WriteBatch::new()).expect("the load commits");
        println!("{} rows loaded in {:.1} s", self.rows(), begin.elapsed().as_secs_f64());
    }

    fn columns(&self, rows: std::ops::Range<u64>) -> Vec<ArrayRef> {
        let ints = |of: &dyn Fn(u64) -> u64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| of(row) as i64)))
        };
        vec![
            ints(&|row| row % self.agents),
            ints(&|row| row / self.agents),
            ints(&|row| row * 5_000),
            Arc::new(StringViewArray::from_iter_values(rows.clone().map(|row| kind(0, row)))),
            Arc::new(StringViewArray::from_iter_values(rows.clone().map(|row| payload(0, row)))),
        ]
    }

    /// Keys in no order, none twice in a chunk.
    fn batch(&self, set: u64, chunk: u64) -> WriteBatch {
        let (keys, rows) = (self.tree.key_codec(), self.tree.row_codec());
        let (mut key, mut row) = (Vec::new(), Vec::new());
        let mut batch = WriteBatch::new();
        let width = self.rows() / CHUNK;
        for index in chunk * CHUNK..(chunk + 1) * CHUNK {
            let place = index % CHUNK * width + random(set * 1_000_003 + index) % width;
            let ids = [place % self.agents, place / self.agents].map(|id| ValueRef::Int(id as i64));
            let payload = payload(set + 1, index);
            let values = [
                ValueRef::Int(index as i64),
                ValueRef::Text(kind(set + 1, index)),
                ValueRef::Text(&payload),
            ];
            key.clear();
            row.clear();
            keys.encode_values(&ids, &mut key).expect("a key");
            rows.encode_values(&values, &mut row).expect("a row");
            batch.put(self.tree.id(), &key, &row);
        }
        batch
    }

    fn upsert(&self, set: u64) {
        let chunks: Vec<WriteBatch> =
            (0..self.rows() / 4 / CHUNK).map(|chunk| self.batch(set, chunk)).collect();
        let (count, begin) = (chunks.len() as u64 * CHUNK, Instant::now());
        for chunk in chunks {
            self.engine.commit(chunk).expect("a commit");
        }
        let seconds = begin.elapsed().as_secs_f64();
        println!("upserts: {:.0} k rows/s", count as f64 / seconds / 1e3);
    }

    /// Rows by kind, on all cores.
    fn ask(&self) -> Answer {
        let snapshot = self.engine.snapshot();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let ranges = self.tree.split(&KeyRange::all(), cores, &snapshot).expect("ranges");
        let counters = Arc::new(ReadCounters::new());
        let counted: Vec<(u64, Duration)> = thread::scope(|scope| {
            let count = |range: KeyRange| {
                let (snapshot, counters) = (&snapshot, &counters);
                let counted =
                    move || (count_by_kind(&self.tree, range, snapshot, counters), thread_ran());
                let reader = thread::Builder::new().name("reader".to_owned());
                reader.spawn_scoped(scope, counted).expect("a thread")
            };
            let threads: Vec<_> = ranges.into_iter().map(count).collect();
            threads.into_iter().map(|thread| thread.join().expect("counted")).collect()
        });
        let rows = counted.iter().map(|(rows, _)| rows).sum();
        Answer { rows, ran: counted.iter().map(|(_, ran)| *ran).sum(), counters }
    }

    /// Upserts and questions in turn: what a question costs, whatever else the machine does.
    fn in_turn(&self) {
        let chunks: Vec<WriteBatch> =
            (0..self.rows() / 4 / CHUNK).map(|chunk| self.batch(SETS + 1, chunk)).collect();
        let mut times = Times::default();
        let before = process_ran();
        for chunks in (0..4).flat_map(|_| chunks.chunks(BETWEEN)) {
            chunks.iter().for_each(|chunk| {
                self.engine.commit(chunk.clone()).expect("a commit");
            });
            let asked = Instant::now();
            let answer = self.ask();
            assert_eq!(answer.rows, self.rows());
            times.took.push(asked.elapsed().as_secs_f64() * 1e3);
            times.ran.push(answer.ran.as_secs_f64() * 1e3);
        }
        let ran = process_ran() - before;
        tell(&format!("every {} rows", BETWEEN as u64 * CHUNK), &mut times);
        let (each, all) = (times.ran.len() as f64, times.ran.iter().sum::<f64>());
        println!(
            "  all threads ran {:.2} s, readers {:.1} ms a question",
            ran.as_secs_f64(),
            all / each
        );
    }

    fn mixed(&self) {
        let lasting = Duration::from_secs_f64(seconds());
        let chunks: Vec<WriteBatch> =
            (0..self.rows() / 4 / CHUNK).map(|chunk| self.batch(SETS, chunk)).collect();
        let stop = AtomicBool::new(false);
        let (alone, _) = self.write(&chunks, &stop, lasting / 4);
        println!("writer alone: {:.0} k rows/s", alone / 1e3);
        let mut calm = self.read(&stop, lasting / 4);
        tell("reader alone", &mut calm);
        thread::scope(|scope| {
            let reader = scope.spawn(|| self.read(&stop, lasting * 2));
            let (beside, slowest) = self.write(&chunks, &stop, lasting);
            stop.store(true, Ordering::Relaxed);
            let mut times = reader.join().expect("read");
            println!(
                "writer beside a reader: {:.0} k rows/s, slowest commit {:.0} ms",
                beside / 1e3,
                slowest * 1e3
            );
            tell("reader beside a writer", &mut times);
        });
    }

    /// Rows a second, and the seconds of the slowest commit.
    fn write(&self, chunks: &[WriteBatch], stop: &AtomicBool, lasting: Duration) -> (f64, f64) {
        let begin = Instant::now();
        let (mut written, mut slowest) = (0, 0.0_f64);
        while begin.elapsed() < lasting && !stop.load(Ordering::Relaxed) {
            let chunk = chunks[written % chunks.len()].clone();
            let one = Instant::now();
            self.engine.commit(chunk).expect("a commit");
            slowest = slowest.max(one.elapsed().as_secs_f64());
            written += 1;
        }
        ((written as u64 * CHUNK) as f64 / begin.elapsed().as_secs_f64(), slowest)
    }

    /// Milliseconds of each question.
    fn read(&self, stop: &AtomicBool, lasting: Duration) -> Times {
        let begin = Instant::now();
        let mut times = Times::default();
        while begin.elapsed() < lasting && !stop.load(Ordering::Relaxed) {
            let asked = Instant::now();
            let answer = self.ask();
            let took = asked.elapsed();
            assert_eq!(answer.rows, self.rows());
            times.took.push(took.as_secs_f64() * 1e3);
            times.ran.push(answer.ran.as_secs_f64() * 1e3);
            thread::sleep(READ_EVERY.saturating_sub(took));
        }
        times
    }

    fn reopen(self, folder: &Path) -> Self {
        let (id, agents) = (self.tree.id(), self.agents);
        self.engine.close().expect("closed");
        drop(self);
        let begin = Instant::now();
        let engine = Engine::open(Env::os(), folder, options()).expect("a database");
        let tree = engine.tree(id).expect("the tree is there");
        let bench = Self { engine, tree, agents };
        println!("open: {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
        bench.ask_thrice("after opening", bench.rows());
        bench
    }

    fn delete_half(&self) {
        let begin = Instant::now();
        let keys = self.tree.key_codec();
        let id: TreeId = self.tree.id();
        let mut batch = WriteBatch::new();
        for row in (0..self.rows()).filter(|row| (row / self.agents).is_multiple_of(2)) {
            let ids = [row % self.agents, row / self.agents].map(|id| ValueRef::Int(id as i64));
            let mut key = Vec::new();
            keys.encode_values(&ids, &mut key).expect("a key");
            batch.delete(id, &key);
        }
        self.engine.commit(batch).expect("a commit");
        println!("delete half: {:.0} ms", begin.elapsed().as_secs_f64() * 1e3);
        self.ask_thrice("after delete", self.rows() / 2);
        for _ in 0..4 {
            thread::sleep(Duration::from_millis(500));
            self.ask_thrice("half a second later", self.rows() / 2);
        }
    }

    fn ask_thrice(&self, when: &str, rows: u64) {
        let mut times = Vec::new();
        for _ in 0..3 {
            let begin = Instant::now();
            let answer = self.ask();
            let took = begin.elapsed().as_secs_f64() * 1e3;
            assert_eq!(answer.rows, rows);
            let built = answer.counters.shadows_built.get();
            times.push(format!("{took:.1} ms ({built} bitmaps built)"));
        }
        println!("{when}: {}", times.join(", "));
    }
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

fn kind(set: u64, row: u64) -> &'static str {
    KINDS[(random(set * 7 + row * 3) % 8) as usize]
}

fn payload(set: u64, row: u64) -> String {
    let digits = |what| random(set * 31 + row * 5 + what);
    format!(
        "{{\"tool\":\"search\",\"cost\":0.{:05},\"tokens\":{},\"trace\":\"{:016x}{:016x}{:016x}\"}}",
        digits(0) % 100_000,
        digits(1) % 8_000,
        digits(2),
        digits(3),
        digits(4)
    )
}

/// The rows of a range, counted kind by kind.
fn count_by_kind(
    tree: &Tree,
    range: KeyRange,
    snapshot: &Snapshot,
    counters: &Arc<ReadCounters>,
) -> u64 {
    let request = ScanRequest {
        order: ScanOrder::Unordered,
        shadows: true,
        counters: Arc::clone(counters),
        ..ScanRequest::new(range, vec![KIND])
    };
    let mut scan = tree.scan(&request, snapshot).expect("a scan");
    let mut counts = [0_u64; KINDS.len()];
    while let Some(rows) = scan.next_encoded().expect("rows") {
        count(&rows, &mut counts);
    }
    counts.iter().sum()
}

fn count(rows: &EncodedRows, counts: &mut [u64; KINDS.len()]) {
    let of = |value: &str| KINDS.iter().position(|kind| *kind == value).expect("a kind");
    let mut each = |place: &dyn Fn(usize) -> usize| match rows.selected() {
        None => (0..rows.span()).for_each(|row| counts[place(row)] += 1),
        Some(selected) => selected.set_indices().for_each(|row| counts[place(row)] += 1),
    };
    if let Some(found) = rows.codes(0).expect("codes") {
        let values = found.values.as_string_view();
        let places: Vec<usize> = (0..values.len()).map(|value| of(values.value(value))).collect();
        match &found.codes {
            Some(codes) => each(&|row| places[codes[row] as usize]),
            None => each(&|_| places[0]),
        }
        return;
    }
    let column = rows.whole(0).expect("a column");
    let values = column.as_string_view();
    each(&|row| of(values.value(row)));
}

fn tell(what: &str, Times { took, ran }: &mut Times) {
    took.sort_by(f64::total_cmp);
    ran.sort_by(f64::total_cmp);
    let at = |times: &[f64], part: f64| times[((times.len() - 1) as f64 * part) as usize];
    println!(
        "{what}: p50 {:.1} ms, p99 {:.1} ms, ran {:.1} ms, {} questions",
        at(took, 0.5),
        at(took, 0.99),
        at(ran, 0.5),
        took.len()
    );
}
