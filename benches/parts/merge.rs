//! Gets and short ranges, over files that nothing overlaps and again right after many upserts:
//! then memtable, level 0 and the last level share every range.
//!
//! `cargo bench -p silt-parts --bench merge`; `SILT_BENCH_SCALE=0.1` for a short one;
//! `SILT_BENCH_PART_ROWS=100000` reads row groups whole before they are merged.

#![allow(missing_docs, unreachable_pub, dead_code, reason = "a bench")]
#![allow(clippy::cast_possible_truncation, clippy::disallowed_methods, reason = "a bench")]

mod clock;
mod data;
mod events;

use criterion::{BenchmarkGroup, Criterion};
use silt_codec::RowBuffer;
use silt_storage::{KeyRange, ReadCounters, ScanOrder, ScanRequest, Snapshot, Tree};

use clock::Clock;
use data::{random, scale};
use events::{Database, ROWS_PER_AGENT};

fn main() {
    let mut criterion = clock::criterion();
    let database = Database::loaded();
    println!("{}", database.shape());
    measure(&mut criterion, "clean", &database);
    database.upsert((500_000.0 * scale()) as u64);
    println!("{}", database.shape());
    measure(&mut criterion, "after upserts", &database);
    criterion.final_summary();
}

fn measure(criterion: &mut Criterion<Clock>, state: &str, database: &Database) {
    let mut group = criterion.benchmark_group(state);
    let snapshot = database.engine.snapshot();
    let Database { events, triples, agents, subjects, .. } = database;
    let rows = agents * ROWS_PER_AGENT;
    get(&mut group, "get of all columns", database, &[0, 1, 2, 3, 4], |at| random(at) % rows);
    get(&mut group, "get of two columns", database, &[2, 3], |at| random(at) % rows);
    // No agent has so many rows.
    get(&mut group, "get of no row", database, &[2, 3], |at| random(at) % rows + rows);

    let counters = ReadCounters::new();
    let mut at = 0;
    group.bench_function("8 gets together", |bencher| {
        bencher.iter(|| {
            at += 1;
            let key = |nth: u64| database.event_key(random(at * 8 + nth) % rows);
            let keys: Vec<Vec<u8>> = (0..8).map(key).collect();
            let found = events.multi_get(&keys, &[0, 1, 2, 3, 4], &snapshot, &counters);
            assert_eq!(found.expect("gets").positions.len(), 8);
        });
    });
    let part_rows = std::env::var("SILT_BENCH_PART_ROWS");
    let part_rows = part_rows.map_or(32, |rows| rows.parse().expect("a number"));
    let request = |range, columns, order, limit| ScanRequest {
        order,
        limit,
        batch_rows: limit.unwrap_or(8_192),
        part_rows,
        ..ScanRequest::new(range, (0..columns).collect())
    };
    let prefix = |agent: u64| KeyRange::prefix(database.event_prefix(&[agent % agents]));
    ranges(&mut group, "newest 100 of an agent", events, &snapshot, 100, |at| {
        request(prefix(random(at)), 5, ScanOrder::Reverse, Some(100))
    });
    ranges(&mut group, "oldest 100 of an agent", events, &snapshot, 100, |at| {
        request(prefix(random(at)), 5, ScanOrder::Forward, Some(100))
    });
    ranges(&mut group, "newest 10 of an agent", events, &snapshot, 10, |at| {
        request(prefix(random(at)), 5, ScanOrder::Reverse, Some(10))
    });
    let all = ROWS_PER_AGENT as usize;
    ranges(&mut group, "all of an agent", events, &snapshot, all, |at| {
        request(prefix(random(at)), 5, ScanOrder::Forward, None)
    });
    ranges(&mut group, "10 neighbours", events, &snapshot, 10, |at| {
        let first = random(at) % (rows / 10) * 10;
        let (start, end) = (database.event_key(first), database.event_key(first + 9));
        let range = KeyRange { start: start_at(start), end: start_at(end) };
        request(range, 5, ScanOrder::Forward, None)
    });
    ranges(&mut group, "triples of a subject", triples, &snapshot, 10, |at| {
        let prefix = database.triple_prefix(random(at) % subjects);
        request(KeyRange::prefix(prefix), 5, ScanOrder::Forward, None)
    });
    group.finish();
}

fn start_at(key: Vec<u8>) -> std::ops::Bound<Vec<u8>> {
    std::ops::Bound::Included(key)
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
    let mut at = 0;
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            at += 1;
            let number = number(at);
            let key = match number < rows {
                true => database.event_key(number),
                false => database.event_prefix(&[number % database.agents, number]),
            };
            let found = database.events.get(&key, projection, &snapshot, &counters, &mut row);
            assert_eq!(found.expect("a get"), number < rows);
        });
    });
}

fn ranges(
    group: &mut BenchmarkGroup<'_, Clock>,
    name: &str,
    tree: &Tree,
    snapshot: &Snapshot,
    rows: usize,
    request: impl Fn(u64) -> ScanRequest,
) {
    let mut at = 0;
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            at += 1;
            let scan = tree.scan(&request(at), snapshot).expect("a scan");
            let found: usize = scan.map(|batch| batch.expect("a batch").num_rows()).sum();
            assert_eq!(found, rows);
        });
    });
}
