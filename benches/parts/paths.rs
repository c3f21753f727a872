//! What each of the ways that only make something faster is worth: the same work with it and
//! without it (`FastPaths`, `piece_chunk_bytes`), in time that was run, not that passed.
//!
//! `cargo bench -p silt-parts --bench paths`; `SILT_BENCH_SCALE=0.1` for a short one.

#![allow(missing_docs, unreachable_pub, dead_code, reason = "a bench")]
#![allow(clippy::cast_possible_truncation, clippy::disallowed_methods, reason = "a bench")]

mod data;
mod events;

use silt_codec::RowBuffer;
use silt_parts::cpu::{process_ran, thread_ran};
use silt_storage::{FastPaths, Options, ReadCounters};

use data::{random, scale};
use events::{Database, ROWS_PER_AGENT};

const ROUNDS: usize = 3;

fn main() {
    let all = FastPaths::default();
    for (name, paths) in [
        ("all paths", all),
        ("no filter of memtables", FastPaths { memtable_filter: false, ..all }),
        ("no path for few keys", FastPaths { few_keys: false, ..all }),
        ("no sketches", FastPaths { sketches: false, ..all }),
    ] {
        measure(name, paths);
    }
}

fn measure(name: &str, paths: FastPaths) {
    let begin = process_ran();
    let database = Database::of_events(Options { paths, ..Database::options() });
    let rows = database.agents * ROWS_PER_AGENT;
    let loaded = (process_ran() - begin).as_secs_f64() * 1e9 / rows as f64;
    // Three memtables' worth, so that some is flushed and some is not.
    let upserts = (300_000.0 * scale()) as u64;
    let begin = thread_ran();
    database.upsert(upserts);
    let upserted = (thread_ran() - begin).as_secs_f64() * 1e9 / upserts as f64;
    println!(
        "{name}: bulk load {loaded:.0} ns a row; upserts {upserted:.0} ns a row, flushes included"
    );
    println!("  {}", database.shape());
    let snapshot = database.engine.snapshot();
    let counters = ReadCounters::new();
    let mut row = RowBuffer::new();
    let keys: Vec<Vec<u8>> = (0..200_000).map(|at| database.event_key(random(at) % rows)).collect();
    let misses: Vec<Vec<u8>> = (0..200_000)
        .map(|at| database.event_prefix(&[random(at) % database.agents, rows + at]))
        .collect();
    for (what, keys, is_there) in [("get", &keys, true), ("get of no row", &misses, false)] {
        let nanos = least(keys.len(), || {
            for key in keys {
                let found = database.events.get(key, &[2, 3], &snapshot, &counters, &mut row);
                assert_eq!(found.expect("a get"), is_there);
            }
        });
        println!("  {what} of two columns: {nanos:.0} ns");
    }
    for count in [2, 8] {
        let nanos = least(keys.len() / count, || {
            for keys in keys.chunks(count) {
                let found = database.events.multi_get(keys, &[2, 3], &snapshot, &counters);
                assert_eq!(found.expect("gets").positions.len(), keys.len());
            }
        });
        println!("  {count} gets together: {nanos:.0} ns");
    }
}

/// What one of `count` took, in the shortest of some rounds.
fn least(count: usize, mut work: impl FnMut()) -> f64 {
    let mut round = || {
        let begin = thread_ran();
        work();
        (thread_ran() - begin).as_secs_f64() * 1e9 / count as f64
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}
