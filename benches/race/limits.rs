//! What this machine can do at most: a sync, a copy, a file from end to end.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::record::{Record, Unit, median};
use crate::tables::Result;

/// The name under which goals find a limit.
pub const PEER: &str = "limit";
/// Bytes of one log record of one event, about.
const RECORD_BYTES: usize = 200;
const BLOCK: usize = 1 << 20;
const RUNS: usize = 3;

/// Measures all of it in `folder`, with files of `bytes`.
pub fn measure(folder: &Path, bytes: usize) -> Result<Vec<Record>> {
    let record = |work: &str, case: &str, unit, runs: Vec<f64>| Record {
        peer: PEER.to_owned(),
        work: work.to_owned(),
        case: case.to_owned(),
        door: String::new(),
        unit,
        value: median(&runs),
        runs,
        answers: Vec::new(),
        note: String::new(),
    };
    let path = folder.join("limits");
    let one = (0..RUNS).map(|_| synced_appends(&path, RECORD_BYTES));
    let many = (0..RUNS).map(|_| synced_appends(&path, RECORD_BYTES * 1_000));
    let (one, many) = (one.collect::<Result<Vec<_>>>()?, many.collect::<Result<Vec<_>>>()?);
    let copies: Vec<f64> = (0..RUNS).map(|_| copied_mb(bytes)).collect();
    let (mut writes, mut reads) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        writes.push(written_mb(&path, bytes)?);
        reads.push(read_mb(&path, bytes)?);
    }
    std::fs::remove_file(&path)?;
    Ok(vec![
        // The case's own name, so that its goal finds the limit.
        record("W2", "1 writer, 1 row a transaction", Unit::RowsPerSecond, one),
        record("", "append of 200 kB + fdatasync", Unit::PerSecond, many),
        record("", "memory copied by two threads", Unit::MegabytesPerSecond, copies),
        record("", "sequential write, synced at the end", Unit::MegabytesPerSecond, writes),
        record("", "sequential read, not cached", Unit::MegabytesPerSecond, reads),
    ])
}

/// Appends to a new file, each synced: how many a second.
fn synced_appends(path: &Path, bytes: usize) -> Result<f64> {
    let mut file = File::create(path)?;
    let record = vec![7; bytes];
    let begin = Instant::now();
    let mut appends = 0;
    while begin.elapsed() < Duration::from_millis(300) {
        file.write_all(&record)?;
        file.sync_data()?;
        appends += 1;
    }
    Ok(f64::from(appends) / begin.elapsed().as_secs_f64())
}

/// Megabytes a second that two threads copy from one place in memory to another.
fn copied_mb(bytes: usize) -> f64 {
    let part = bytes / 4;
    let from = vec![1_u8; 2 * part];
    let mut to = vec![0_u8; 2 * part];
    let begin = Instant::now();
    for _ in 0..4 {
        thread::scope(|scope| {
            for (from, to) in from.chunks(part).zip(to.chunks_mut(part)) {
                scope.spawn(move || to.copy_from_slice(from));
            }
        });
        std::hint::black_box(&mut to);
    }
    (4 * 2 * part) as f64 / begin.elapsed().as_secs_f64() / 1e6
}

fn written_mb(path: &Path, bytes: usize) -> Result<f64> {
    let block = vec![3; BLOCK];
    let begin = Instant::now();
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    for _ in 0..bytes / BLOCK {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    Ok(bytes as f64 / begin.elapsed().as_secs_f64() / 1e6)
}

fn read_mb(path: &Path, bytes: usize) -> Result<f64> {
    let mut file = File::open(path)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    let mut block = vec![0; BLOCK];
    let begin = Instant::now();
    let mut total = 0;
    loop {
        match file.read(&mut block)? {
            0 => break,
            count => total += count,
        }
    }
    assert_eq!(total, bytes / BLOCK * BLOCK, "the file has what was written");
    Ok(total as f64 / begin.elapsed().as_secs_f64() / 1e6)
}
