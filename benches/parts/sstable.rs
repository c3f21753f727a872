//! SSTables through the engine's doors beside Parquet: load, size, scan, get.
//!
//! `cargo bench -p silt-parts --bench sstable`; `SILT_BENCH_SCALE=0.01` for a short one.

#![allow(missing_docs, unreachable_pub, reason = "a bench")]
#![allow(clippy::cast_possible_truncation, clippy::disallowed_methods, reason = "a bench")]

mod data;
mod parquet_peer;

use std::sync::Arc;

use silt_codec::{KeyBuffer, KeyOrder, RowBuffer, TreeColumn, TreeSchema, Value};
use silt_storage::vfs::Env;
use silt_storage::{
    Engine, KeyRange, OnDuplicate, Options, ReadCounters, ScanRequest, Tree, WriteBatch,
};

use data::{Table, median, mrows, random};

const RUNS: usize = 3;
const GETS: u64 = 100_000;

fn main() {
    println!("one thread; medians of {RUNS} runs; warm");
    for table in [data::lineitem as fn() -> Table, data::triples] {
        measure(&table());
    }
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

fn measure(table: &Table) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { memory_bytes: 2 << 30, ..Options::default() };
    let engine = Engine::open(Env::os(), folder.path(), options).expect("a database");
    let rows = table.rows();
    let columns = table.batches[0].num_columns();
    println!("\n{}: {rows} rows, {columns} columns", table.name);
    let begin = std::time::Instant::now();
    let tree = load(&engine, table);
    let load_s = begin.elapsed().as_secs_f64();
    let size: u64 =
        engine.describe().trees.iter().flat_map(|tree| &tree.levels).map(|level| level.bytes).sum();
    let all: Vec<usize> = (0..columns).collect();
    assert_eq!(scan(&tree, &engine, all.clone()), rows);
    let scan_s = median(RUNS, || assert_eq!(scan(&tree, &engine, all.clone()), rows));
    let one_s = median(RUNS, || assert_eq!(scan(&tree, &engine, vec![table.key]), rows));
    println!(
        "silt: {:.1} MB with filters and index; bulk load {:.2} Mrow/s; scan of all columns {:.1} Mrow/s, of one {:.0}",
        size as f64 / 1e6,
        mrows(rows, load_s),
        mrows(rows, scan_s),
        mrows(rows, one_s),
    );
    let keys = sample_keys(table, &tree);
    let snapshot = engine.snapshot();
    let counters = ReadCounters::new();
    let mut row = RowBuffer::new();
    for (what, projection) in [("all columns", all), ("one column", vec![table.key])] {
        let seconds = median(RUNS, || {
            for index in 0..keys.len() {
                row.clear();
                let found = tree.get(keys.get(index), &projection, &snapshot, &counters, &mut row);
                assert!(found.expect("a get"));
                std::hint::black_box(row.get(0));
            }
        });
        println!("  get of {what}: {:.2} us", seconds / keys.len() as f64 * 1e6);
    }
    for (name, compression) in parquet_peer::compressions() {
        let begin = std::time::Instant::now();
        let file = parquet_peer::write(table, compression);
        let write_s = begin.elapsed().as_secs_f64();
        let read_s = median(RUNS, || assert_eq!(parquet_peer::read_all(&file), rows));
        let metadata = parquet_peer::metadata(&file);
        let gets = 200;
        let get_s = median(RUNS, || {
            for get in 0..gets {
                let at = (random(get) % rows as u64) as usize;
                assert_eq!(parquet_peer::get(&file, &metadata, at), 1);
            }
        });
        println!(
            "{name}: {:.1} MB ({:.2} x ours); write {:.2} Mrow/s; read of all columns {:.1} Mrow/s (ours {:.1} x); row by number {:.0} us",
            file.len() as f64 / 1e6,
            file.len() as f64 / size as f64,
            mrows(rows, write_s),
            mrows(rows, read_s),
            read_s / scan_s,
            get_s / gets as f64 * 1e6,
        );
    }
}

/// Keys of random rows, encoded.
fn sample_keys(table: &Table, tree: &Tree) -> KeyBuffer {
    let mut keys = KeyBuffer::new();
    let mut group = KeyBuffer::new();
    let per_group = (GETS / table.batches.len() as u64).max(1);
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
