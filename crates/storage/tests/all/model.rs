//! Random operations against a `BTreeMap` of versions.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use silt_codec::{CompareOp, RowBuffer, Value, ValueRef};
use silt_storage::vfs::{CrashMode, StrictVfs};
use silt_storage::{
    Engine, ErrorKind, KeyRange, OnDuplicate, Options, Predicate, ReadCounters, ScanOrder,
    ScanRequest, SeqNo, Snapshot, Tree, TreeId, WriteBatch,
};

use crate::support::{
    Change, Dice, Key, Model, Row, batch, columns, contents, dir, env, key_bytes, rows, schema,
    small_options,
};

/// Keys that the operations draw from.
const KEY_SPACE: u64 = 900;

struct World {
    seed: u64,
    dice: Dice,
    vfs: StrictVfs,
    options: Options,
    engine: Engine,
    trees: Vec<u32>,
    model: Model,
    last: SeqNo,
    snapshots: Vec<Snapshot>,
}

impl World {
    fn new(seed: u64, options: Options) -> Self {
        let vfs = StrictVfs::new();
        let engine =
            Engine::open(env(Arc::new(vfs.clone()), seed), dir(), options.clone()).unwrap();
        let trees = (0..2).map(|_| engine.create_tree(schema()).unwrap().0).collect();
        Self {
            seed,
            dice: Dice::new(seed),
            vfs,
            options,
            engine,
            trees,
            model: Model::default(),
            last: 0,
            snapshots: Vec::new(),
        }
    }

    fn tree(&self) -> (u32, Tree) {
        let id = self.trees[self.dice.below(self.trees.len() as u64) as usize];
        (id, self.engine.tree(TreeId(id)).unwrap())
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..40 => self.commit(),
            40..45 => self.bulk(),
            45..50 => self.snapshots.push(self.engine.snapshot()),
            50..56 => {
                if !self.snapshots.is_empty() {
                    let index = self.dice.below(self.snapshots.len() as u64) as usize;
                    self.snapshots.swap_remove(index);
                }
            }
            56..68 => self.get(),
            68..72 => self.multi_get(),
            72..86 => self.scan(),
            86..88 => self.engine.flush().unwrap(),
            88..95 => drop(self.engine.run_job().unwrap()),
            95..97 => self.engine.run_until_idle().unwrap(),
            97 => {
                let (id, _) = self.tree();
                self.engine.compact(TreeId(id)).unwrap();
            }
            98 => self.reopen(),
            _ => self.crash(),
        }
        if self.snapshots.len() > 6 {
            self.snapshots.remove(0);
        }
    }

    fn changes(&self, most: u64) -> Vec<Change> {
        let mut keys = BTreeMap::new();
        for _ in 0..=self.dice.below(most) {
            let tree = self.trees[self.dice.below(self.trees.len() as u64) as usize];
            let row = (!self.dice.chance(25)).then(|| self.dice.row());
            keys.insert((tree, self.dice.key(KEY_SPACE)), row);
        }
        keys.into_iter().map(|((tree, key), row)| (tree, key, row)).collect()
    }

    fn commit(&mut self) {
        let changes = self.changes(24);
        let mut batch = batch(&self.engine, &changes);
        // Some commits check for conflicts against a moment that is still the newest.
        let base = self.dice.chance(30).then(|| self.engine.write_snapshot());
        if let Some(base) = &base {
            batch.set_base(base.seq());
        }
        let seq = self.engine.commit(batch).unwrap();
        assert_eq!(seq, self.last + 1, "numbers are dense");
        self.model.apply(seq, &changes);
        self.last = seq;
    }

    fn bulk(&mut self) {
        let (id, tree) = self.tree();
        let many = if self.dice.chance(20) { 600 } else { 60 };
        let count = 1 + self.dice.below(many);
        let rows: Vec<(Key, Row)> = (0..count)
            .map(|_| {
                // Half of them beyond the keys of ordinary commits.
                let space = if self.dice.chance(50) { KEY_SPACE } else { KEY_SPACE * 20 };
                (self.dice.key(space), self.dice.row())
            })
            .collect();
        let duplicates = [OnDuplicate::Error, OnDuplicate::Replace, OnDuplicate::Keep]
            [self.dice.below(3) as usize];
        let other = self.trees[0];
        let with: Vec<Change> = match self.dice.chance(50) && other != id {
            true => vec![(other, self.dice.key(KEY_SPACE), Some(self.dice.row()))],
            false => Vec::new(),
        };
        let existing: BTreeMap<Key, Row> = self.model.contents(id, self.last).into_iter().collect();
        let mut result: BTreeMap<Key, Row> = BTreeMap::new();
        let mut duplicate = false;
        for (key, row) in &rows {
            let there = existing.contains_key(key);
            let seen = result.contains_key(key);
            duplicate |= there || seen;
            match duplicates {
                OnDuplicate::Keep if there || seen => {}
                _ => drop(result.insert(key.clone(), row.clone())),
            }
        }
        let mut load = self.engine.bulk_load(tree.id(), duplicates).unwrap();
        let part_rows = 1 + self.dice.below(200) as usize;
        let pushed = rows.chunks(part_rows).try_for_each(|part| load.push(columns(part)));
        // A repetition within the load may show as soon as a part of it is sorted.
        let outcome = pushed.and_then(|()| load.finish(batch(&self.engine, &with)));
        if matches!(duplicates, OnDuplicate::Error) && duplicate {
            let error = outcome.expect_err("a duplicate key is refused");
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "seed {}: {error}", self.seed);
            return;
        }
        let outcome = outcome.unwrap();
        let mut changes: Vec<Change> =
            result.iter().map(|(key, row)| (id, key.clone(), Some(row.clone()))).collect();
        assert_eq!(outcome.rows, changes.len() as u64, "seed {}", self.seed);
        changes.extend(with);
        if outcome.seq > self.last {
            assert_eq!(outcome.seq, self.last + 1, "seed {}: numbers are dense", self.seed);
            self.last = outcome.seq;
        } else {
            assert!(changes.is_empty(), "seed {}: rows want a number", self.seed);
        }
        self.model.apply(outcome.seq, &changes);
    }

    fn moment(&self) -> Snapshot {
        if self.snapshots.is_empty() || self.dice.chance(50) {
            return self.engine.snapshot();
        }
        self.snapshots[self.dice.below(self.snapshots.len() as u64) as usize].clone()
    }

    fn get(&self) {
        let (id, tree) = self.tree();
        let snapshot = self.moment();
        let key = self.dice.key(KEY_SPACE * 2);
        let wanted = self.model.get(id, &key, snapshot.seq());
        let mut row = RowBuffer::new();
        let projection = [3, 0, 2];
        let counters = ReadCounters::new();
        let found =
            tree.get(&key_bytes(&tree, &key), &projection, &snapshot, &counters, &mut row).unwrap();
        assert_eq!(
            found,
            wanted.is_some(),
            "seed {}: key {key:?} at {}",
            self.seed,
            snapshot.seq()
        );
        if let Some((v, w)) = wanted {
            let v = v.map_or(ValueRef::Null, ValueRef::Int);
            let expected = [ValueRef::Text(&w), ValueRef::Int(key.0), v];
            assert_eq!(row.iter().collect::<Vec<_>>(), expected, "seed {}: key {key:?}", self.seed);
        }
    }

    fn multi_get(&self) {
        let (id, tree) = self.tree();
        let snapshot = self.moment();
        let keys: Vec<Key> =
            (0..self.dice.below(80)).map(|_| self.dice.key(KEY_SPACE * 2)).collect();
        let encoded: Vec<Vec<u8>> = keys.iter().map(|key| key_bytes(&tree, key)).collect();
        let found =
            tree.multi_get(&encoded, &[0, 1, 2, 3], &snapshot, &ReadCounters::new()).unwrap();
        let got = rows(&found.batch);
        assert_eq!(got.len(), found.positions.len());
        let mut encoded_found = Vec::new();
        for ((key, row), position) in got.iter().zip(&found.positions) {
            assert_eq!(*key, keys[*position as usize], "seed {}", self.seed);
            assert_eq!(
                Some(row.clone()),
                self.model.get(id, key, snapshot.seq()),
                "seed {}",
                self.seed
            );
            encoded_found.push(encoded[*position as usize].clone());
        }
        assert!(encoded_found.is_sorted(), "seed {}: rows come in key order", self.seed);
        let distinct: BTreeSet<&Key> = keys.iter().collect();
        let there =
            distinct.iter().filter(|key| self.model.get(id, key, snapshot.seq()).is_some()).count();
        let distinct_found: BTreeSet<&Key> = got.iter().map(|(key, _)| key).collect();
        assert_eq!(distinct_found.len(), there, "seed {}", self.seed);
    }

    fn range(&self, tree: &Tree) -> KeyRange {
        let bound = |this: &Self| {
            let key = key_bytes(tree, &this.dice.key(KEY_SPACE));
            match this.dice.below(3) {
                0 => Bound::Unbounded,
                1 => Bound::Included(key),
                _ => Bound::Excluded(key),
            }
        };
        match self.dice.below(4) {
            0 => KeyRange::all(),
            1 => {
                let mut prefix = Vec::new();
                let a = self.dice.key(KEY_SPACE).0;
                tree.key_codec().encode_values(&[ValueRef::Int(a)], &mut prefix).unwrap();
                KeyRange::prefix(prefix)
            }
            _ => KeyRange { start: bound(self), end: bound(self) },
        }
    }

    fn scan(&self) {
        let (id, tree) = self.tree();
        let snapshot = self.moment();
        let range = self.range(&tree);
        let order = [ScanOrder::Unordered, ScanOrder::Forward, ScanOrder::Reverse]
            [self.dice.below(3) as usize];
        let mut wanted: Vec<(Key, Row)> = self.model.contents(id, snapshot.seq());
        wanted.retain(|(key, _)| range.contains(&key_bytes(&tree, key)));
        let filter = self.dice.chance(40).then(|| match self.dice.below(4) {
            0 => Predicate::IsNull(2),
            1 => Predicate::StartsWith { column: 3, prefix: "text 1".to_owned() },
            n => Predicate::Compare {
                column: if n == 2 { 2 } else { 0 },
                op: if self.dice.chance(50) { CompareOp::GtEq } else { CompareOp::Lt },
                value: Value::Int(self.dice.below(200) as i64 - 50),
            },
        });
        let limit =
            (filter.is_none() && self.dice.chance(30)).then(|| self.dice.below(50) as usize);
        let request = ScanRequest {
            filter: filter.clone(),
            order,
            limit,
            batch_rows: 1 + self.dice.below(200) as usize,
            ..ScanRequest::new(range.clone(), vec![0, 1, 2, 3])
        };
        // Sometimes in parts, as partitions of a query read them.
        let parts = match self.dice.chance(30) && limit.is_none() {
            true => tree.split(&range, 1 + self.dice.below(4) as usize, &snapshot).unwrap(),
            false => vec![range.clone()],
        };
        let mut got = Vec::new();
        for range in parts {
            for batch in tree.scan(&ScanRequest { range, ..request.clone() }, &snapshot).unwrap() {
                let batch = batch.unwrap();
                assert!(batch.num_rows() <= request.batch_rows, "seed {}", self.seed);
                got.extend(rows(&batch));
            }
        }
        let context = || format!("seed {} tree {id} at {} {request:?}", self.seed, snapshot.seq());
        match order {
            ScanOrder::Reverse => wanted.reverse(),
            ScanOrder::Forward => {}
            ScanOrder::Unordered => {
                let of: BTreeMap<Key, usize> =
                    wanted.iter().enumerate().map(|(i, (key, _))| (key.clone(), i)).collect();
                got.sort_by_key(|(key, _)| of.get(key).copied());
            }
        }
        // Reversed partitions come in ascending order, each reversed in itself.
        if order == ScanOrder::Reverse {
            got.sort_by_key(|(key, _)| wanted.iter().position(|(other, _)| other == key));
        }
        if let Some(filter) = &filter {
            let passing: Vec<&(Key, Row)> =
                wanted.iter().filter(|row| passes(filter, row)).collect();
            for row in &passing {
                assert!(got.contains(row), "{}: {row:?} is missing", context());
            }
            for row in &got {
                assert!(wanted.contains(row), "{}: {row:?} is not there", context());
            }
            assert!(got.len() >= passing.len() && got.len() <= wanted.len(), "{}", context());
        } else if let Some(limit) = limit {
            assert_eq!(got.len(), limit.min(wanted.len()), "{}", context());
            match order {
                ScanOrder::Unordered => got.iter().for_each(|row| assert!(wanted.contains(row))),
                _ => assert_eq!(got, wanted[..got.len()], "{}", context()),
            }
        } else {
            assert_eq!(got, wanted, "{}", context());
        }
    }

    fn check_all(&self) {
        let now = self.engine.snapshot();
        for snapshot in self.snapshots.iter().chain([&now]) {
            for &id in &self.trees {
                let tree = self.engine.tree(TreeId(id)).unwrap();
                let wanted = self.model.contents(id, snapshot.seq());
                let got = contents(&tree, snapshot).unwrap();
                assert_eq!(got, wanted, "seed {} tree {id} at {}", self.seed, snapshot.seq());
                let statistics = tree.statistics(snapshot);
                if statistics.rows_exact {
                    assert_eq!(
                        statistics.rows,
                        wanted.len() as u64,
                        "seed {} tree {id}",
                        self.seed
                    );
                }
            }
        }
    }

    fn reopen(&mut self) {
        self.snapshots.clear();
        self.engine.close().unwrap();
        self.open_again();
    }

    /// The process dies, or the machine: every commit was acknowledged as durable.
    fn crash(&mut self) {
        self.snapshots.clear();
        let mode = CrashMode::ALL[self.dice.below(5) as usize];
        self.vfs = self.vfs.crash_image(self.dice.below(u64::MAX), mode);
        self.open_again();
    }

    fn open_again(&mut self) {
        let env = env(Arc::new(self.vfs.clone()), self.seed);
        self.engine = Engine::open(env, dir(), self.options.clone())
            .unwrap_or_else(|e| panic!("seed {}: cannot reopen: {e}", self.seed));
        self.check_all();
        // A number that was drawn stays drawn.
        let probe = self.engine.commit(WriteBatch::new()).unwrap();
        assert_eq!(probe, self.last, "seed {}", self.seed);
    }
}

fn passes(filter: &Predicate, (key, (v, w)): &(Key, Row)) -> bool {
    match filter {
        Predicate::IsNull(2) => v.is_none(),
        Predicate::StartsWith { prefix, .. } => w.starts_with(prefix.as_str()),
        Predicate::Compare { column, op, value: Value::Int(value) } => {
            let held = if *column == 2 { *v } else { Some(key.0) };
            held.is_some_and(|held| match op {
                CompareOp::GtEq => held >= *value,
                CompareOp::Lt => held < *value,
                other => panic!("the test draws no {other:?}"),
            })
        }
        other => panic!("the test draws no {other:?}"),
    }
}

fn run(seed: u64, options: Options, operations: usize) -> Engine {
    let mut world = World::new(seed, options);
    for _ in 0..operations {
        world.step();
    }
    world.check_all();
    world.snapshots.clear();
    world.engine.flush().unwrap();
    world.engine.run_until_idle().unwrap();
    world.check_all();
    world.engine.clone()
}

/// Seeds to run: `SILT_SEEDS=from..to` replays some, the default is a share for CI.
fn seeds(default: u64) -> std::ops::Range<u64> {
    match std::env::var("SILT_SEEDS") {
        Ok(text) => {
            let (from, to) = text.split_once("..").expect("SILT_SEEDS is FROM..TO");
            from.parse().unwrap()..to.parse().unwrap()
        }
        Err(_) => 0..default,
    }
}

#[test]
fn random_operations_agree_with_a_map_of_versions() {
    let mut deepest = 0;
    for seed in seeds(100) {
        let engine = run(seed, small_options(), 400);
        let levels = engine
            .describe()
            .trees
            .into_iter()
            .map(|tree| tree.levels.iter().filter(|level| !level.files.is_empty()).count());
        deepest = deepest.max(levels.max().unwrap_or(0));
    }
    assert!(deepest >= 2, "only {deepest} levels were filled");
}

#[test]
fn extreme_options_agree_with_a_map_of_versions() {
    let extremes = [
        Options { group_rows: 1, ..small_options() },
        Options { group_rows: 1_024, memtable_bytes: 64 << 10, ..small_options() },
        Options { memory_bytes: 64 << 10, ..small_options() },
        Options { file_bytes: 1, ..small_options() },
        Options { fanout: 2, level0_runs: 1, ..small_options() },
        Options { wal_segment_bytes: 1 << 10, wal_bytes_max: 4 << 10, ..small_options() },
        Options { memtable_kind: silt_storage::MemtableKind::BTree, ..small_options() },
        Options { filter_bits: 1, ..small_options() },
    ];
    for (index, options) in extremes.into_iter().enumerate() {
        for seed in seeds(4) {
            run(1_000 + seed * 10 + index as u64, options.clone(), 300);
        }
    }
}

#[test]
fn four_levels_fill_and_answer() {
    let options = small_options();
    let vfs = StrictVfs::new();
    let engine = Engine::open(env(Arc::new(vfs), 7), dir(), options).unwrap();
    let id = engine.create_tree(schema()).unwrap().0;
    let (dice, mut model) = (Dice::new(7), Model::default());
    for _ in 0..2_500 {
        let changes: BTreeMap<Key, Row> = (0..20).map(|_| (dice.key(40_000), dice.row())).collect();
        let changes: Vec<Change> =
            changes.into_iter().map(|(key, row)| (id, key, Some(row))).collect();
        let seq = engine.commit(batch(&engine, &changes)).unwrap();
        model.apply(seq, &changes);
        if dice.chance(30) {
            engine.run_job().unwrap();
        }
    }
    engine.run_until_idle().unwrap();
    let tree = engine.describe().trees.into_iter().find(|tree| tree.id == TreeId(id)).unwrap();
    let filled = tree.levels.iter().filter(|level| !level.files.is_empty()).count();
    assert!(
        filled >= 3,
        "{filled} levels hold files: {:?}",
        tree.levels.iter().map(|l| l.bytes).collect::<Vec<_>>()
    );
    let snapshot = engine.snapshot();
    let tree = engine.tree(TreeId(id)).unwrap();
    assert_eq!(contents(&tree, &snapshot).unwrap(), model.contents(id, snapshot.seq()));
}
