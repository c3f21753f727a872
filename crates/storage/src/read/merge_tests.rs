use std::collections::BTreeMap;

use arrow_array::{Int64Array, cast::AsArray, types::Int64Type};

use silt_codec::KeyBuffer;

use super::*;
use crate::vfs::{Random, SeededRandom};

/// (key, number, kind), and a value that names the entry.
type Entry = (u16, SeqNo, OpKind, i64);

struct Batches(std::vec::IntoIter<EntryBatch>);

impl EntrySource for Batches {
    fn next_entries(&mut self) -> Result<Option<Entries>> {
        Ok(self.0.next().map(Entries::from))
    }
}

fn source(entries: &[Entry], batch_rows: usize) -> Batches {
    let batch = |entries: &[Entry]| {
        let mut keys = KeyBuffer::new();
        entries.iter().for_each(|entry| keys.push(&entry.0.to_be_bytes()));
        let values: Int64Array = entries.iter().map(|entry| Some(entry.3)).collect();
        EntryBatch {
            keys,
            columns: vec![Arc::new(values)],
            seqs: entries.iter().map(|entry| entry.1).collect(),
            kinds: entries.iter().map(|entry| entry.2).collect(),
        }
    };
    Batches(entries.chunks(batch_rows).map(batch).collect::<Vec<_>>().into_iter())
}

fn values(merged: &Merged) -> Vec<i64> {
    merged.entries.columns[0].as_primitive::<Int64Type>().values().to_vec()
}

fn run<R: MergeRule>(sources: Vec<Batches>, rule: R, reverse: bool, rows_max: usize) -> Vec<i64> {
    let mut merge = Merge::new(sources, rule, reverse, rows_max);
    let mut all = Vec::new();
    while let Some(merged) = merge.next_merged().unwrap() {
        assert!((1..=rows_max).contains(&merged.rows));
        assert_eq!(merged.rows, merged.entries.columns[0].len());
        if R::ENTRIES {
            assert_eq!(merged.rows, merged.entries.keys.len());
            assert_eq!(merged.rows, merged.entries.seqs.len());
            assert_eq!(merged.rows, merged.entries.kinds.len());
        }
        all.extend(values(&merged));
    }
    all
}

fn below(random: &SeededRandom, bound: u64) -> u64 {
    random.next_u64() % bound
}

/// Sources, newest first, with numbers that fall from source to source.
fn random_sources(random: &SeededRandom, versions_max: u64) -> Vec<Vec<Entry>> {
    let count = 1 + below(random, 5);
    let mut value = 0;
    (0..count)
        .map(|source| {
            let top = (count - source) * 1_000;
            let density = 1 + below(random, 40);
            let mut entries = Vec::new();
            let mut key = below(random, 50);
            for _ in 0..below(random, 600) {
                let mut seq = top;
                for _ in 0..1 + below(random, versions_max) {
                    seq -= 1 + below(random, 50);
                    let kind = if below(random, 5) == 0 { OpKind::Delete } else { OpKind::Put };
                    entries.push((u16::try_from(key).unwrap(), seq, kind, value));
                    value += 1;
                }
                key += 1 + below(random, density);
            }
            entries
        })
        .collect()
}

#[test]
fn scan_merge_gives_the_newest_put_of_every_key() {
    for seed in 0..200 {
        let random = SeededRandom::new(seed);
        let sources = random_sources(&random, 1);
        let mut newest: BTreeMap<u16, Entry> = BTreeMap::new();
        for entry in sources.iter().flatten() {
            let best = newest.entry(entry.0).or_insert(*entry);
            if entry.1 > best.1 {
                *best = *entry;
            }
        }
        let mut expected: Vec<i64> =
            newest.values().filter(|entry| entry.2 == OpKind::Put).map(|entry| entry.3).collect();
        let rows_max = 1 + usize::try_from(below(&random, 100)).unwrap();
        for reverse in [false, true] {
            let runs = sources.iter().map(|entries| {
                let mut entries = entries.clone();
                if reverse {
                    entries.reverse();
                }
                source(&entries, 1 + usize::try_from(below(&random, 90)).unwrap())
            });
            let found = run(runs.collect(), NewestPut, reverse, rows_max);
            assert_eq!(found, expected, "seed {seed}, reverse {reverse}");
            expected.reverse();
        }
    }
}

#[test]
fn compaction_merge_keeps_what_some_snapshot_sees_and_no_more() {
    for seed in 0..200 {
        let random = SeededRandom::new(seed);
        let sources = random_sources(&random, 6);
        let floor = below(&random, 6_000);
        let last_level = below(&random, 2) == 0;
        let mut by_key: BTreeMap<u16, Vec<Entry>> = BTreeMap::new();
        for entry in sources.iter().flatten() {
            by_key.entry(entry.0).or_default().push(*entry);
        }
        let mut expected = Vec::new();
        for entries in by_key.values_mut() {
            entries.sort_by_key(|entry| std::cmp::Reverse(entry.1));
            let above = entries.iter().filter(|entry| entry.1 > floor);
            let at_floor = entries
                .iter()
                .find(|entry| entry.1 <= floor)
                .filter(|entry| !(last_level && entry.2 == OpKind::Delete));
            expected.extend(above.chain(at_floor).map(|entry| entry.3));
        }
        let runs = sources.iter().map(|entries| source(entries, 64)).collect();
        let found = run(runs, AboveFloor::new(floor, last_level), false, 100);
        assert_eq!(found, expected, "seed {seed}");
    }
}

#[test]
fn source_that_is_alone_leaves_in_slices() {
    let old: Vec<Entry> = (0..10_000).map(|key| (key, 1, OpKind::Put, i64::from(key))).collect();
    let new = [(5_000, 2, OpKind::Put, -1)];
    let sources = vec![source(&new, 8_192), source(&old, 8_192)];
    let mut merge = Merge::new(sources, NewestPut, false, 8_192);
    let mut shape = Vec::new();
    while let Some(merged) = merge.next_merged().unwrap() {
        shape.push(merged.rows);
    }
    // One slice up to the shared key, what is gathered around it, the rest of the old batches.
    assert_eq!(shape.iter().sum::<usize>(), 10_000);
    assert_eq!(shape[0], 5_000);
    assert!(shape.len() <= 5, "{shape:?}");
}

#[test]
fn key_whose_newest_entry_is_a_delete_in_one_source_is_gone_in_all() {
    let newer = [(1, 9, OpKind::Delete, 0), (2, 9, OpKind::Put, 1)];
    let older = [(1, 5, OpKind::Put, 2), (2, 5, OpKind::Put, 3), (3, 5, OpKind::Put, 4)];
    let oldest = [(1, 1, OpKind::Put, 5), (3, 1, OpKind::Delete, 6)];
    let sources = [&newer[..], &older[..], &oldest[..]].map(|entries| source(entries, 10));
    assert_eq!(run(sources.into(), NewestPut, false, 100), [1, 4]);
}
