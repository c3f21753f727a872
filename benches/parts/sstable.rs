//! SSTables through the engine's doors beside Parquet: load, size, scan, get.
//!
//! `cargo bench -p silt-parts --bench sstable`; `SILT_BENCH_SCALE=0.01` for a short one. Warm; a load
//! is bulk and encodes on all cores, all else runs on one.

#![allow(missing_docs, unreachable_pub, reason = "a bench")]
#![allow(clippy::cast_possible_truncation, clippy::disallowed_methods, reason = "a bench")]

mod clock;
mod data;
mod parquet_peer;

use std::cell::Cell;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput};
use silt_codec::{KeyBuffer, KeyOrder, RowBuffer, TreeColumn, TreeSchema, Value};
use silt_storage::vfs::Env;
use silt_storage::{
    Engine, KeyRange, OnDuplicate, Options, ReadCounters, ScanRequest, Tree, WriteBatch,
};

use clock::Clock;
use data::{Table, random};

/// Keys that gets look up, again and again.
const KEYS: u64 = 100_000;

fn main() {
    let mut criterion = clock::criterion();
    for table in [data::lineitem as fn() -> Table, data::triples] {
        measure(&mut criterion, &table());
    }
    criterion.final_summary();
}

fn schema(table: &Table) -> TreeSchema {
    let arrow = table.batches[0].schema();
    let column = |(index, field): (usize, &Arc<arrow_schema::Field>)| TreeColumn {
        id: index as u32 + 1,
        data_type: field.data_type().clone(),
        nullable: index >= table.key,
        frozen: Value::Null,
    };
    TreeSchema {
        version: 1,
        columns: arrow.fields().iter().enumerate().map(column).collect(),
        key: vec![KeyOrder::default(); table.key],
    }
}

fn load(engine: &Engine, table: &Table) -> Tree {
    let id = engine.create_tree(schema(table)).expect("a tree");
    let mut load = engine.bulk_load(id, OnDuplicate::Error).expect("a load");
    for batch in &table.batches {
        load.push(batch.columns().to_vec()).expect("rows are taken");
    }
    load.finish(WriteBatch::new()).expect("the load commits");
    engine.tree(id).expect("the tree is there")
}

fn scan(tree: &Tree, engine: &Engine, projection: Vec<usize>) -> usize {
    let request = ScanRequest::new(KeyRange::all(), projection);
    let scan = tree.scan(&request, &engine.snapshot()).expect("a scan");
    scan.map(|batch| std::hint::black_box(batch.expect("a batch")).num_rows()).sum()
}

/// Loads and writes are of the table's [`part`](Table::part), all else is of the whole.
fn measure(criterion: &mut Criterion<Clock>, table: &Table) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { memory_bytes: 2 << 30, ..Options::default() };
    let engine = Engine::open(Env::os(), folder.path(), options).expect("a database");
    let (rows, part) = (table.rows(), table.part());
    let columns = table.batches[0].num_columns();
    let tree = load(&engine, table);
    let size: u64 =
        engine.describe().trees.iter().flat_map(|tree| &tree.levels).map(|level| level.bytes).sum();
    println!(
        "\n{}: {rows} rows, {columns} columns, {:.1} MB with filters and index",
        table.name,
        size as f64 / 1e6
    );
    let mut group = criterion.benchmark_group(table.name);
    group.throughput(Throughput::Elements(part.rows() as u64));
    group.bench_function("load, silt", |bencher| {
        // Each load goes into a tree of its own; the one before goes first.
        let last = Cell::new(None);
        let retire = || {
            if let Some(tree) = last.take() {
                engine.retire_tree(tree).expect("the tree goes");
            }
        };
        let load = |()| last.set(Some(load(&engine, &part).id()));
        bencher.iter_batched(retire, load, BatchSize::PerIteration);
    });
    for (name, compression) in parquet_peer::compressions() {
        group.bench_function(format!("load, {name}"), |bencher| {
            bencher.iter(|| parquet_peer::write(&part, compression).len());
        });
    }
    let all: Vec<usize> = (0..columns).collect();
    group.throughput(Throughput::Elements(rows as u64));
    for (what, projection) in [("all columns", all.clone()), ("one column", vec![table.key])] {
        group.bench_function(format!("scan of {what}, silt"), |bencher| {
            bencher.iter(|| assert_eq!(scan(&tree, &engine, projection.clone()), rows));
        });
    }
    let files = parquet_peer::compressions()
        .map(|(name, compression)| (name, parquet_peer::write(table, compression)));
    for (name, file) in &files {
        println!(
            "{name}: {:.1} MB, {:.2} x ours",
            file.len() as f64 / 1e6,
            file.len() as f64 / size as f64
        );
        group.bench_function(format!("scan of all columns, {name}"), |bencher| {
            bencher.iter(|| assert_eq!(parquet_peer::read_all(file), rows));
        });
    }
    group.throughput(Throughput::Elements(1));
    let keys = sample_keys(table, &tree);
    let snapshot = engine.snapshot();
    let counters = ReadCounters::new();
    let mut row = RowBuffer::new();
    for (what, projection) in [("all columns", all), ("one column", vec![table.key])] {
        let mut at = 0;
        group.bench_function(format!("get of {what}, silt"), |bencher| {
            bencher.iter(|| {
                at = (at + 1) % keys.len();
                row.clear();
                let found = tree.get(keys.get(at), &projection, &snapshot, &counters, &mut row);
                assert!(found.expect("a get"));
                std::hint::black_box(row.get(0));
            });
        });
    }
    for (name, file) in &files {
        let metadata = parquet_peer::metadata(file);
        let mut at = 0;
        group.bench_function(format!("row by number, {name}"), |bencher| {
            bencher.iter(|| {
                at += 1;
                let row = (random(at) % rows as u64) as usize;
                assert_eq!(parquet_peer::get(file, &metadata, row), 1);
            });
        });
    }
    group.finish();
}

/// Keys of random rows, encoded.
fn sample_keys(table: &Table, tree: &Tree) -> KeyBuffer {
    let mut keys = KeyBuffer::new();
    let mut group = KeyBuffer::new();
    let per_group = (KEYS / table.batches.len() as u64).max(1);
    for (number, batch) in table.batches.iter().enumerate() {
        group.clear();
        tree.key_codec().encode_columns(&batch.columns()[..table.key], &mut group).expect("keys");
        for pick in 0..per_group {
            let at = random(number as u64 * 1_000 + pick) % group.len() as u64;
            keys.push(group.get(at as usize));
        }
    }
    // In no order of the table's.
    let mut shuffled = KeyBuffer::new();
    let count = keys.len() as u64;
    for index in 0..count {
        shuffled.push(keys.get((random(index) % count) as usize));
    }
    shuffled
}
