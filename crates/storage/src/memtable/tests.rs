use std::sync::Arc;
use std::thread;

use super::*;
use crate::vfs::{Random, SeededRandom};

const KINDS: [MemtableKind; 2] = [MemtableKind::Leaves, MemtableKind::BTree];

fn put(memtable: &TreeMemtable, key: &str, seq: SeqNo, row: &str) {
    memtable.insert(EntryBytes::copy_of(key.as_bytes(), row.as_bytes()), seq, OpKind::Put);
}

fn delete(memtable: &TreeMemtable, key: &str, seq: SeqNo) {
    memtable.insert(EntryBytes::copy_of(key.as_bytes(), &[]), seq, OpKind::Delete);
}

fn get(memtable: &TreeMemtable, key: &str, snapshot: SeqNo) -> Option<(SeqNo, OpKind, String)> {
    let mut result = None;
    memtable.get(key.as_bytes(), snapshot, |entry| {
        let row = String::from_utf8(entry.row.to_vec()).unwrap();
        result = Some((entry.seq, entry.kind, row));
    });
    result
}

fn visit(memtable: &TreeMemtable, range: KeyBounds<'_>, reverse: bool) -> Vec<String> {
    let mut seen = Vec::new();
    memtable.visit(range, reverse, |entry| {
        seen.push(format!("{}@{}", String::from_utf8_lossy(entry.key), entry.seq));
        ControlFlow::Continue(())
    });
    seen
}

#[test]
fn get_finds_the_newest_version_at_or_below_the_snapshot() {
    for kind in KINDS {
        let memtable = TreeMemtable::new(kind, Arc::default());
        put(&memtable, "key", 3, "three");
        delete(&memtable, "key", 5);
        put(&memtable, "key", 9, "nine");
        put(&memtable, "key2", 4, "other");
        assert_eq!(get(&memtable, "key", 2), None);
        assert_eq!(get(&memtable, "key", 3), Some((3, OpKind::Put, "three".into())));
        assert_eq!(get(&memtable, "key", 4), Some((3, OpKind::Put, "three".into())));
        assert_eq!(get(&memtable, "key", 8), Some((5, OpKind::Delete, String::new())));
        assert_eq!(get(&memtable, "key", 9), Some((9, OpKind::Put, "nine".into())));
        assert_eq!(get(&memtable, "ke", 9), None);
        assert_eq!(get(&memtable, "key2", 3), None);
        assert_eq!((memtable.len(), memtable.deletes()), (4, 1));
        assert_eq!(memtable.max_seq(), 9);
        assert!(memtable.bytes() > 0);
    }
}

#[test]
fn visit_goes_both_ways_through_every_kind_of_range() {
    let bound = |kind: usize, key: &'static str| match kind {
        0 => Bound::Unbounded,
        1 => Bound::Included(key.as_bytes()),
        _ => Bound::Excluded(key.as_bytes()),
    };
    // Keys of which one begins another, or ends in a zero byte, share their first sixteen bytes.
    let keys = [
        "",
        "a",
        "a\0",
        "a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        "a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0x",
        "b",
        "bb",
        "longer than sixteen",
    ];
    for kind in KINDS {
        let memtable = TreeMemtable::new(kind, Arc::default());
        for (index, key) in keys.iter().enumerate() {
            put(&memtable, key, 10 + index as u64, "old");
            put(&memtable, key, 20 + index as u64, "new");
        }
        for start in keys {
            for end in keys {
                for (starts, ends) in (0..9).map(|kinds| (kinds / 3, kinds % 3)) {
                    let expected: Vec<String> = keys
                        .iter()
                        .enumerate()
                        .filter(|(_, key)| match starts {
                            0 => true,
                            1 => **key >= start,
                            _ => **key > start,
                        })
                        .filter(|(_, key)| match ends {
                            0 => true,
                            1 => **key <= end,
                            _ => **key < end,
                        })
                        .flat_map(|(i, key)| {
                            [format!("{key}@{}", 20 + i), format!("{key}@{}", 10 + i)]
                        })
                        .collect();
                    let range = (bound(starts, start), bound(ends, end));
                    assert_eq!(visit(&memtable, range, false), expected, "{range:?}");
                    let mut reversed = visit(&memtable, range, true);
                    reversed.reverse();
                    assert_eq!(reversed, expected, "{range:?} in reverse");
                    assert_eq!(memtable.overlaps(range), !expected.is_empty());
                }
            }
        }
    }
}

#[test]
fn visit_stops_when_told_to() {
    for kind in KINDS {
        let memtable = TreeMemtable::new(kind, Arc::default());
        for key in ["a", "b", "c"] {
            put(&memtable, key, 1, "");
        }
        let mut seen = 0;
        memtable.visit((Bound::Unbounded, Bound::Unbounded), false, |_| {
            seen += 1;
            if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(seen, 2);
    }
}

#[test]
fn readers_find_every_finished_insert_while_others_insert() {
    const WRITERS: u64 = 4;
    const KEYS: u64 = 5_000;
    for kind in KINDS {
        let memtable = Arc::new(TreeMemtable::new(kind, Arc::default()));
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let memtable = Arc::clone(&memtable);
                scope.spawn(move || {
                    for index in 0..KEYS {
                        let key = format!("{:05}", (index * 7919) % KEYS);
                        let seq = index * WRITERS + writer + 1;
                        put(&memtable, &key, seq, "row");
                        // The same key is written by all, under numbers of their own.
                        assert_eq!(get(&memtable, &key, seq).map(|(seq, ..)| seq), Some(seq));
                    }
                });
            }
        });
        assert_eq!(memtable.len() as u64, WRITERS * KEYS);
        let all = visit(&memtable, (Bound::Unbounded, Bound::Unbounded), false);
        assert_eq!(all.len() as u64, WRITERS * KEYS);
        let mut back = visit(&memtable, (Bound::Unbounded, Bound::Unbounded), true);
        back.reverse();
        assert_eq!(all, back);
    }
}

#[test]
fn frozen_memtable_keeps_its_pins_until_inserts_end() {
    let memtable = TreeMemtable::new(MemtableKind::Leaves, Arc::default());
    memtable.pin(7, 100);
    memtable.pin(8, 200);
    memtable.freeze(2);
    assert_eq!((memtable.first_segment(), memtable.frozen_at()), (7, 2));
    assert_eq!(memtable.commit_micros(), (100, 200));
    assert!(memtable.is_pinned());
    assert!(!memtable.unpin());
    assert!(memtable.unpin());
    assert!(!memtable.is_pinned() && memtable.is_frozen());
}

#[test]
fn reverse_is_forward_turned_round_however_keys_are_spread() {
    let random = SeededRandom::new(5);
    type Spread = fn(u64) -> String;
    let spreads: [(&str, Spread); 6] = [
        ("dense", |n| format!("{:04}", n % 2_000)),
        ("long and alike", |n| format!("https://example.org/entity/{:03}", n % 700)),
        ("one key and few others", |n| if n % 5 > 0 { "key".into() } else { format!("{n:x}") }),
        ("clusters", |n| format!("{:02}cluster{:06}", n % 35, n % 900)),
        ("numbers", |n| String::from_utf8_lossy(&(n % 5_000).to_be_bytes()).into_owned()),
        ("hashes", |n| format!("{n:016x}")),
    ];
    for (name, spread) in spreads {
        for kind in KINDS {
            let memtable = TreeMemtable::new(kind, Arc::default());
            let keys: Vec<String> = (0..1_500).map(|_| spread(random.next_u64())).collect();
            for (seq, key) in (1..).zip(&keys) {
                put(&memtable, key, seq, "row");
            }
            let mut bounds = vec![Bound::Unbounded];
            for key in keys.iter().step_by(97) {
                bounds.extend([Bound::Included(key.as_bytes()), Bound::Excluded(key.as_bytes())]);
            }
            for start in &bounds {
                for end in &bounds {
                    let mut turned = visit(&memtable, (*start, *end), true);
                    turned.reverse();
                    assert_eq!(turned, visit(&memtable, (*start, *end), false), "{name}");
                }
            }
        }
    }
}

#[test]
fn memtable_without_a_filter_lets_every_key_pass() {
    for is_filtered in [true, false] {
        let memtable =
            TreeMemtable::new(MemtableKind::Leaves, Arc::default()).filtered(is_filtered);
        put(&memtable, "key", 3, "three");
        assert!(memtable.may_contain(key_hash(b"key")));
        assert_eq!(memtable.may_contain(key_hash(b"other")), !is_filtered);
    }
}

#[test]
fn every_row_of_large_commits_side_by_side_is_found() {
    const COMMITS: u64 = 12;
    const ROWS: u64 = 8_000;
    for kind in KINDS {
        let memtable = TreeMemtable::new(kind, Arc::default());
        let key = |seq: u64, row: u64| format!("{:05}/{seq}", row.wrapping_mul(7_919) % 100_000);
        let entry = |seq: u64, row: u64| {
            (EntryBytes::copy_of(key(seq, row).as_bytes(), b"row"), OpKind::Put)
        };
        // Each has begun before any has counted what it inserted.
        let barrier = std::sync::Barrier::new(usize::try_from(COMMITS).unwrap());
        thread::scope(|scope| {
            for seq in 1..=COMMITS {
                let (memtable, barrier) = (&memtable, &barrier);
                scope.spawn(move || {
                    let begin = |row: &u64| {
                        if *row == 0 {
                            barrier.wait();
                        }
                    };
                    let rows = (0..ROWS).inspect(begin).map(|row| entry(seq, row));
                    memtable.insert_all(seq, rows);
                });
            }
        });
        memtable.insert_all(COMMITS + 1, (0..ROWS).map(|row| entry(COMMITS + 1, row)));
        for (seq, row) in (1..=COMMITS + 1).flat_map(|seq| (0..ROWS).map(move |row| (seq, row))) {
            let key = key(seq, row);
            assert!(memtable.may_contain(key_hash(key.as_bytes())), "{kind:?}: {key} passes");
            assert_eq!(get(&memtable, &key, u64::MAX), Some((seq, OpKind::Put, "row".into())));
        }
    }
}

/// Keys that spread over some leaves, many of them alike in their first sixteen bytes.
fn some_key(random: &SeededRandom) -> String {
    match random.below(4) {
        0 => format!("{}", random.below(40)),
        1 => format!("https://example.org/{:04}", random.below(900)),
        2 => format!("{:04}", random.below(900)),
        _ => "one key of many versions".into(),
    }
}

#[test]
fn leaves_hold_what_a_map_holds_whatever_the_order_and_size_of_commits() {
    for seed in 0..12 {
        let random = SeededRandom::new(seed);
        let [leaves, map] = KINDS.map(|kind| TreeMemtable::new(kind, Arc::default()));
        for seq in 1..=150 {
            let rows = 1 + random.below(if random.chance(10) { 400 } else { 8 });
            let keys: std::collections::BTreeSet<_> =
                (0..rows).map(|_| some_key(&random)).collect();
            let mut entries: Vec<_> = keys
                .iter()
                .map(|key| {
                    let kind = if random.chance(15) { OpKind::Delete } else { OpKind::Put };
                    let row = format!("{seq}");
                    (EntryBytes::copy_of(key.as_bytes(), row.as_bytes()), kind)
                })
                .collect();
            if random.chance(30) {
                entries.reverse();
            }
            leaves.insert_all(seq, entries.iter().cloned());
            map.insert_all(seq, entries.into_iter());
            for _ in 0..20 {
                let (key, snapshot) = (some_key(&random), random.below(seq + 2));
                let expected = get(&map, &key, snapshot);
                assert_eq!(get(&leaves, &key, snapshot), expected, "seed {seed}: {key}@{snapshot}");
            }
            if seq % 10 > 0 {
                continue;
            }
            for _ in 0..12 {
                let (start, end) = (some_key(&random), some_key(&random));
                let bound = |key: &'_ str| match random.below(3) {
                    0 => Bound::Unbounded,
                    1 => Bound::Included(key.to_owned().into_bytes()),
                    _ => Bound::Excluded(key.to_owned().into_bytes()),
                };
                let (start, end) = (bound(&start), bound(&end));
                let range = (start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
                for reverse in [false, true] {
                    let expected = visit(&map, range, reverse);
                    assert_eq!(visit(&leaves, range, reverse), expected, "seed {seed}: {range:?}");
                }
            }
        }
    }
}

#[test]
fn what_was_there_is_shown_in_order_both_ways_while_leaves_split() {
    const BEFORE: u64 = 3_000;
    const COMMITS: u64 = 120;
    for kind in KINDS {
        let memtable = TreeMemtable::new(kind, Arc::default());
        let entry = |number: u64| {
            let key = format!("{number:08}");
            (EntryBytes::copy_of(key.as_bytes(), b"row"), OpKind::Put)
        };
        memtable.insert_all(1, (0..BEFORE).map(|number| entry(number * 100)));
        let is_done = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            for reverse in [false, true] {
                let (memtable, is_done) = (&memtable, &is_done);
                scope.spawn(move || {
                    let random = SeededRandom::new(u64::from(reverse));
                    while !is_done.load(Ordering::Relaxed) {
                        let start = random.below(BEFORE * 100);
                        let end = start + random.below(BEFORE * 100 - start);
                        let (first, last) = (format!("{start:08}"), format!("{end:08}"));
                        let range =
                            (Bound::Included(first.as_bytes()), Bound::Included(last.as_bytes()));
                        let mut seen = visit(memtable, range, reverse);
                        if reverse {
                            seen.reverse();
                        }
                        let place = |entry: &String| {
                            let (key, seq) = entry.split_once('@').expect("a key and a number");
                            (key.to_owned(), std::cmp::Reverse(seq.parse::<u64>().unwrap()))
                        };
                        let is_ordered = seen.is_sorted_by(|a, b| place(a) < place(b));
                        assert!(is_ordered, "each once, in order");
                        seen.retain(|entry| entry.ends_with("@1"));
                        let all = (start.div_ceil(100)..=end / 100)
                            .map(|number| format!("{:08}@1", number * 100));
                        assert!(seen.into_iter().eq(all), "{range:?}");
                    }
                });
            }
            let writers: Vec<_> = (0..2)
                .map(|writer| {
                    let memtable = &memtable;
                    scope.spawn(move || {
                        let random = SeededRandom::new(9 + writer);
                        for seq in (0..COMMITS).map(|commit| 2 + commit * 2 + writer) {
                            let mut keys: Vec<u64> = (0..200)
                                .map(|_| random.below(BEFORE * 100))
                                .filter(|number| number % 100 > 0)
                                .collect();
                            keys.sort_unstable();
                            keys.dedup();
                            memtable.insert_all(seq, keys.into_iter().map(entry));
                        }
                    })
                })
                .collect();
            let joined: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
            is_done.store(true, Ordering::Relaxed);
            joined.into_iter().for_each(|writer| writer.expect("a writer"));
        });
        let all = visit(&memtable, (Bound::Unbounded, Bound::Unbounded), false);
        assert_eq!(all.len(), memtable.len());
    }
}

#[test]
fn summary_is_worked_out_of_a_bounded_sample_and_again_only_where_entries_doubled() {
    let memtable = TreeMemtable::new(MemtableKind::Leaves, Arc::default());
    let work_out = |sample: Sample| {
        assert!((50..=200).contains(&sample.taken.len()) || sample.entries <= 100);
        assert_eq!(sample.rows, sample.entries);
        let summary =
            MemSummary { entries: sample.entries, rows: sample.rows, ..MemSummary::default() };
        Ok(summary)
    };
    let mut times = Vec::new();
    for count in 1..=3_000 {
        put(&memtable, &format!("key {count}"), count, "row");
        let summary = memtable.summary(100, work_out);
        assert!(summary.entries <= count && count <= summary.entries * 2);
        if summary.entries == count {
            times.push(count);
        }
    }
    assert_eq!(times, [1, 3, 7, 15, 31, 63, 127, 255, 511, 1_023, 2_047]);
    let shown = Arc::new(memtable);
    let view = shown.as_of(3_000, 1);
    assert_eq!(view.summary(100, |_| unreachable!("it is known")).entries, 2_047);
}
