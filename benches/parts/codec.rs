//! The column encodings beside Parquet: size, encoding, decoding, and one value at a time.
//!
//! `cargo bench -p silt-parts --bench codec`; `SILT_BENCH_SCALE=0.01` for a short one.

#![allow(missing_docs, unreachable_pub, reason = "a bench")]
#![allow(clippy::cast_possible_truncation, clippy::disallowed_methods, reason = "a bench")]

mod data;
#[allow(dead_code, reason = "files want more of it than chunks")]
mod parquet_peer;

use arrow_buffer::Buffer;
use silt_codec::{ColumnChunk, ColumnEncoder, RowBuffer};

use data::{Table, median, mrows, random};

const RUNS: usize = 3;

fn main() {
    println!("one thread; medians of {RUNS} runs; rows of a chunk: {}", data::GROUP);
    for table in [data::lineitem as fn() -> Table, data::triples] {
        measure(&table());
    }
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

fn measure(table: &Table) {
    let rows = table.rows();
    let columns = table.batches[0].num_columns();
    println!("\n{}: {rows} rows, {columns} columns", table.name);
    println!(
        "{:<16}{:>10}{:>16}{:>16}{:>18}",
        "", "size MB", "encode Mrow/s", "decode Mrow/s", "value ns"
    );
    let encoded = encode(table);
    let encode_s = median(RUNS, || drop(encode(table)));
    let decode_s = median(RUNS, || {
        for column in &encoded.chunks {
            for chunk in column {
                std::hint::black_box(chunk.decode(0..chunk.len()).expect("a chunk is decoded"));
            }
        }
    });
    let gets = 200_000_u64;
    let mut row = RowBuffer::new();
    let value_s = median(RUNS, || {
        for get in 0..gets {
            let column = &encoded.chunks[(random(get) % columns as u64) as usize];
            let chunk = &column[(random(get * 3) % column.len() as u64) as usize];
            row.clear();
            chunk
                .value((random(get * 7) % chunk.len() as u64) as usize, &mut row)
                .expect("a value");
            std::hint::black_box(row.get(0));
        }
    });
    println!(
        "{:<16}{:>10.1}{:>16.2}{:>16.1}{:>18.0}",
        "silt",
        encoded.bytes as f64 / 1e6,
        mrows(rows, encode_s),
        mrows(rows, decode_s),
        value_s / gets as f64 * 1e9
    );
    for (name, compression) in parquet_peer::compressions() {
        let file = parquet_peer::write(table, compression);
        let write_s = median(1, || drop(parquet_peer::write(table, compression)));
        let read_s = median(RUNS, || assert_eq!(parquet_peer::read_all(&file), rows));
        println!(
            "{name:<16}{:>10.1}{:>16.2}{:>16.1}{:>18}   decode: {:.1} x ours, size {:.2} x",
            file.len() as f64 / 1e6,
            mrows(rows, write_s),
            mrows(rows, read_s),
            "-",
            decode_s / read_s,
            file.len() as f64 / encoded.bytes as f64,
        );
    }
    let schema = table.batches[0].schema();
    println!("  {:<18}{:>12}{:>8}{:>14}", "column", "encoding", "B/row", "decode Mrow/s");
    for (index, chunks) in encoded.chunks.iter().enumerate() {
        let decode_s = median(RUNS, || {
            for chunk in chunks {
                std::hint::black_box(chunk.decode(0..chunk.len()).expect("a chunk is decoded"));
            }
        });
        let mut out = Vec::new();
        let mut encoder = ColumnEncoder::new(schema.field(index).data_type().clone());
        for batch in table.batches.iter().take(100) {
            encoder.encode(batch.column(index), &mut out).expect("a chunk is encoded");
        }
        let sampled: usize = table.batches.iter().take(100).map(|batch| batch.num_rows()).sum();
        println!(
            "  {:<18}{:>12}{:>8.2}{:>14.0}",
            schema.field(index).name(),
            format!("{:?}", chunks[0].encoding()),
            out.len() as f64 / sampled as f64,
            mrows(rows, decode_s),
        );
    }
}
