//! What a memtable takes: commits into it, gets and short ranges out of it; the leaves beside
//! the `BTreeMap` under a lock.
//!
//! `cargo bench -p silt-parts --bench memtable`; `SILT_BENCH_SCALE=0.1` for a short one.

#![allow(missing_docs, unreachable_pub, dead_code, reason = "a bench")]
#![allow(clippy::cast_possible_truncation, clippy::disallowed_methods, reason = "a bench")]

mod clock;
mod data;
mod events;

use criterion::{BatchSize, Criterion, Throughput};
use silt_codec::RowBuffer;
use silt_storage::{KeyRange, MemtableKind, ReadCounters, ScanOrder, ScanRequest, WriteBatch};

use clock::Clock;
use data::{random, scale};
use events::{Database, ROWS_PER_AGENT};

fn main() {
    let mut criterion = clock::criterion();
    for (name, kind) in [("leaves", MemtableKind::Leaves), ("btree", MemtableKind::BTree)] {
        measure(&mut criterion, name, kind);
    }
    criterion.final_summary();
}

fn measure(criterion: &mut Criterion<Clock>, name: &str, kind: MemtableKind) {
    let database = Database::empty(kind, 256 << 20);
    let entries = (110_000.0 * scale()) as u64;
    database.upsert(entries);
    println!("{}", database.shape());
    let rows = database.agents * ROWS_PER_AGENT;
    // As `upsert` picks them.
    let key = |row: u64| database.event_key(random(row % entries * 2 + 1) % rows);
    let Database { engine, events, agents, .. } = &database;
    let snapshot = engine.snapshot();
    let counters = ReadCounters::new();
    let mut row = RowBuffer::new();
    let mut at = 0;
    let mut group = criterion.benchmark_group(name);
    group.bench_function("get", |bencher| {
        bencher.iter(|| {
            at += 1;
            let found = events.get(&key(random(at)), &[2, 3], &snapshot, &counters, &mut row);
            assert!(found.expect("a get"));
        });
    });
    group.bench_function("get of no row", |bencher| {
        bencher.iter(|| {
            at += 1;
            let key = database.event_prefix(&[random(at) % agents, rows + at]);
            let found = events.get(&key, &[2, 3], &snapshot, &counters, &mut row);
            assert!(!found.expect("a get"));
        });
    });
    for (name, order) in
        [("first 10 of an agent", ScanOrder::Forward), ("last 10", ScanOrder::Reverse)]
    {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                at += 1;
                let prefix = database.event_prefix(&[random(at) % agents]);
                let request = ScanRequest {
                    order,
                    limit: Some(10),
                    batch_rows: 10,
                    ..ScanRequest::new(KeyRange::prefix(prefix), (0..5).collect())
                };
                let scan = events.scan(&request, &snapshot).expect("a scan");
                assert_eq!(scan.map(|batch| batch.expect("a batch").num_rows()).sum::<usize>(), 10);
            });
        });
    }
    // Last, since it fills the memtable further.
    let mut next = entries;
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("commit of 1,000 rows", |bencher| {
        let batch = || {
            let mut batch = WriteBatch::new();
            for _ in 0..1_000 {
                next += 1;
                let (key, row) = database.event(random(next * 2 + 1) % rows, next);
                batch.put(events.id(), &key, &row);
            }
            batch
        };
        let commit = |batch| engine.commit(batch).expect("a commit");
        bencher.iter_batched(batch, commit, BatchSize::LargeInput);
    });
    group.finish();
}
