//! The column encodings beside Parquet: size, encoding, decoding, and one value at a time.
//!
//! `cargo bench -p silt-parts --bench codec`; `SILT_BENCH_SCALE=0.01` for a short one;
//! `-- 'lineitem/decode'` for some. One thread.

#![allow(missing_docs, unreachable_pub, reason = "a bench")]
#![allow(clippy::cast_possible_truncation, clippy::disallowed_methods, reason = "a bench")]

mod clock;
mod data;
#[allow(dead_code, reason = "files want more of it than chunks")]
mod parquet_peer;

use arrow_buffer::{BooleanBuffer, Buffer};
use criterion::{Criterion, Throughput};
use silt_codec::{ColumnChunk, ColumnEncoder, RowBuffer};

use clock::Clock;
use data::{Table, random};

fn main() {
    let mut criterion = clock::criterion();
    for table in [data::lineitem as fn() -> Table, data::triples] {
        measure(&mut criterion, &table());
    }
    criterion.final_summary();
}

/// All chunks of a table, by column and group.
struct Encoded {
    chunks: Vec<Vec<ColumnChunk>>,
    bytes: usize,
}

fn encode(table: &Table) -> Encoded {
    let schema = table.batches[0].schema();
    let mut bytes = 0;
    let chunks = (0..schema.fields().len())
        .map(|column| {
            let data_type = schema.field(column).data_type();
            let mut encoder = ColumnEncoder::new(data_type.clone());
            let raw: Vec<(Vec<u8>, usize)> = table
                .batches
                .iter()
                .map(|batch| {
                    let mut out = Vec::new();
                    encoder.encode(batch.column(column), &mut out).expect("a chunk is encoded");
                    (out, batch.num_rows())
                })
                .collect();
            bytes += raw.iter().map(|(chunk, _)| chunk.len()).sum::<usize>();
            raw.into_iter()
                .map(|(chunk, rows)| {
                    let buffer = Buffer::from_vec(chunk);
                    ColumnChunk::open(buffer, data_type, rows, encoder.symbol_tables())
                        .expect("a chunk opens")
                })
                .collect()
        })
        .collect();
    Encoded { chunks, bytes }
}

/// Bits of a chunk's rows, in no order.
fn three_of_four(chunk: &ColumnChunk) -> BooleanBuffer {
    (0..chunk.len() as u64).map(|row| !random(row).is_multiple_of(4)).collect()
}

fn decode(chunks: &[ColumnChunk]) {
    for chunk in chunks {
        std::hint::black_box(chunk.decode(0..chunk.len()).expect("a chunk is decoded"));
    }
}

/// Sizes of the whole table; speeds over its [`part`](Table::part), the same for both.
fn measure(criterion: &mut Criterion<Clock>, table: &Table) {
    let whole = encode(table).bytes;
    println!("\n{}: {} rows, {:.1} MB", table.name, table.rows(), whole as f64 / 1e6);
    for (name, compression) in parquet_peer::compressions() {
        let bytes = parquet_peer::write(table, compression).len();
        println!("{name}: {:.1} MB, {:.2} x ours", bytes as f64 / 1e6, bytes as f64 / whole as f64);
    }
    let part = table.part();
    let encoded = encode(&part);
    let mut group = criterion.benchmark_group(table.name);
    group.throughput(Throughput::Elements(part.rows() as u64));
    group.bench_function("encode, silt", |bencher| bencher.iter(|| encode(&part).bytes));
    for (name, compression) in parquet_peer::compressions() {
        group.bench_function(format!("encode, {name}"), |bencher| {
            bencher.iter(|| parquet_peer::write(&part, compression).len());
        });
    }
    group.bench_function("decode, silt", |bencher| {
        bencher.iter(|| encoded.chunks.iter().for_each(|column| decode(column)));
    });
    for (name, compression) in parquet_peer::compressions() {
        let file = parquet_peer::write(&part, compression);
        group.bench_function(format!("decode, {name}"), |bencher| {
            bencher.iter(|| assert_eq!(parquet_peer::read_all(&file), part.rows()));
        });
    }
    let schema = table.batches[0].schema();
    for (index, chunks) in encoded.chunks.iter().enumerate() {
        let name = format!("decode of {}, {:?}", schema.field(index).name(), chunks[0].encoding());
        group.bench_function(name, |bencher| bencher.iter(|| decode(chunks)));
    }
    for (index, chunks) in encoded.chunks.iter().enumerate() {
        let masks: Vec<BooleanBuffer> = chunks.iter().map(three_of_four).collect();
        for (what, is_masked) in [("all rows", false), ("three of four rows", true)] {
            let add_up = || {
                let mut sums = [0];
                let all = chunks.iter().zip(&masks).all(|(chunk, mask)| {
                    let mask = is_masked.then_some(mask);
                    chunk.add_up(0..chunk.len(), None, mask, &mut sums).expect("a range")
                });
                all.then_some(sums[0])
            };
            if add_up().is_some() {
                let name = format!("sum of {}, {what}", schema.field(index).name());
                group.bench_function(name, |bencher| bencher.iter(add_up));
            }
        }
    }
    group.throughput(Throughput::Elements(1));
    let mut row = RowBuffer::new();
    let mut at = 0;
    group.bench_function("one value", |bencher| {
        bencher.iter(|| {
            at += 1;
            let column = &encoded.chunks[(random(at) % encoded.chunks.len() as u64) as usize];
            let chunk = &column[(random(at * 3) % column.len() as u64) as usize];
            row.clear();
            let place = (random(at * 7) % chunk.len() as u64) as usize;
            chunk.value(place, &mut row).expect("a value");
            std::hint::black_box(row.get(0));
        });
    });
    group.finish();
}
