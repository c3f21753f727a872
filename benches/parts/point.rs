//! Gets beside the block cache: all in it, and a table many times larger than it; with chunks that
//! are read by pieces, and with chunks that are read whole only.
//!
//! `cargo bench -p silt-parts --bench point`; `SILT_BENCH_SCALE=0.1` for a short one, 5 for 10 M
//! events; `SILT_BENCH_MEMORY_MB=128` for another size of what is small (the cache is half of it).

#![allow(missing_docs, unreachable_pub, dead_code, reason = "a bench")]
#![allow(clippy::cast_possible_truncation, clippy::disallowed_methods, reason = "a bench")]

mod clock;
mod data;
mod events;

use criterion::{BenchmarkGroup, Criterion};
use silt_codec::RowBuffer;
use silt_storage::{KeyRange, Options, ReadCounters, ScanRequest};

use clock::Clock;
use data::{random, scale};
use events::{Database, ROWS_PER_AGENT};

fn main() {
    let mut criterion = clock::criterion();
    let memory = std::env::var("SILT_BENCH_MEMORY_MB");
    let memory = memory.map_or(128, |megabytes| megabytes.parse().expect("a number"));
    let small = Options { memory_bytes: memory << 20, ..Database::options() };
    let whole = Options { piece_chunk_bytes: usize::MAX, ..small.clone() };
    let upserts = (250_000.0 * scale()) as u64;
    for (name, options) in [
        ("all in the cache", Database::options()),
        ("small cache", small),
        ("small cache, whole chunks", whole),
    ] {
        let database = Database::of_events(options);
        measure(&mut criterion, name, &database);
        database.upsert(upserts);
        measure(&mut criterion, &format!("{name}, after upserts"), &database);
    }
    criterion.final_summary();
}

fn measure(criterion: &mut Criterion<Clock>, name: &str, database: &Database) {
    let mut group = criterion.benchmark_group(name);
    let rows = database.agents * ROWS_PER_AGENT;
    get(&mut group, "get of all columns", database, &[0, 1, 2, 3, 4], |at| random(at) % rows);
    get(&mut group, "get of two columns", database, &[2, 3], |at| random(at) % rows);
    get(&mut group, "get of no row", database, &[2, 3], |at| random(at) % rows + rows);
    for keys in [4, 8, 64] {
        let snapshot = database.engine.snapshot();
        let counters = ReadCounters::new();
        let mut at = 0;
        group.bench_function(format!("{keys} gets together"), |bencher| {
            bencher.iter(|| {
                at += 1;
                let key = |nth: u64| database.event_key(random(at * keys + nth) % rows);
                let keys: Vec<Vec<u8>> = (0..keys).map(key).collect();
                let tree = &database.events;
                let found = tree.multi_get(&keys, &[0, 1, 2, 3, 4], &snapshot, &counters);
                assert_eq!(found.expect("gets").batch.num_columns(), 5);
            });
        });
    }
    let snapshot = database.engine.snapshot();
    let mut at = 0;
    group.bench_function("10 neighbours", |bencher| {
        bencher.iter(|| {
            at += 1;
            let first = random(at) % (rows / 10) * 10;
            let (start, end) = (database.event_key(first), database.event_key(first + 9));
            let range = KeyRange {
                start: std::ops::Bound::Included(start),
                end: std::ops::Bound::Included(end),
            };
            let request =
                ScanRequest { part_rows: 32, ..ScanRequest::new(range, (0..5).collect()) };
            let scan = database.events.scan(&request, &snapshot).expect("a scan");
            let found: usize = scan.map(|batch| batch.expect("a batch").num_rows()).sum();
            assert_eq!(found, 10);
        });
    });
    group.finish();
}

fn get(
    group: &mut BenchmarkGroup<'_, Clock>,
    name: &str,
    database: &Database,
    projection: &[usize],
    number: impl Fn(u64) -> u64,
) {
    let snapshot = database.engine.snapshot();
    let rows = database.agents * ROWS_PER_AGENT;
    let counters = ReadCounters::new();
    let mut row = RowBuffer::new();
    let mut get = |at: u64| {
        let number = number(at);
        let key = match number < rows {
            true => database.event_key(number),
            false => database.event_prefix(&[number % database.agents, number]),
        };
        let found = database.events.get(&key, projection, &snapshot, &counters, &mut row);
        assert_eq!(found.expect("a get"), number < rows);
    };
    // What the cache holds after many gets is what they go on with.
    (0..20_000).for_each(|at| get(at ^ 1 << 40));
    let mut at = 0;
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            at += 1;
            get(at);
        });
    });
}
