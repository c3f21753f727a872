//! Random operations against a `BTreeMap` of versions.
//!
//! Several transactions are open at once beside commits, flushes and compactions. The oracle is
//! snapshot isolation itself: a transaction sees the versions of its base under a map of its own
//! writes, and commits unless a key of it has a version above the base.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use silt_codec::{CompareOp, RowBuffer, Value, ValueRef};
use silt_storage::vfs::{CrashMode, Env, StrictVfs};
use silt_storage::{
    BulkLoad, BulkOutcome, Durability, Engine, ErrorKind, FastPaths, KeyRange, OnDuplicate,
    Options, Predicate, ReadCounters, ScanOrder, ScanRequest, SeqNo, Snapshot, Transaction, Tree,
    TreeId, WriteBatch,
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
    snapshots: Vec<Moment>,
    transactions: Vec<Open>,
    /// Transactions that committed, and those that lost.
    ended: (u64, u64),
}

/// What a transaction wrote.
type Own = BTreeMap<(u32, Key), Option<Row>>;

/// An open transaction, and what it wrote.
struct Open {
    transaction: Transaction,
    own: Own,
}

/// A snapshot, and what is on top of it if it is a transaction's.
#[derive(Clone)]
struct Moment {
    snapshot: Snapshot,
    own: Arc<Own>,
}

impl Moment {
    fn new(snapshot: Snapshot, own: &Own) -> Self {
        Self { snapshot, own: Arc::new(own.clone()) }
    }

    fn get(&self, model: &Model, tree: u32, key: &Key) -> Option<Row> {
        match self.own.get(&(tree, key.clone())) {
            Some(row) => row.clone(),
            None => model.get(tree, key, self.snapshot.seq()),
        }
    }

    fn contents(&self, model: &Model, tree: u32) -> Vec<(Key, Row)> {
        let committed = model.contents(tree, self.snapshot.seq());
        let own = self.own.iter().filter(|((of, _), _)| *of == tree);
        let mut rows: BTreeMap<(i64, std::cmp::Reverse<String>), Row> = BTreeMap::new();
        let place = |key: &Key| (key.0, std::cmp::Reverse(key.1.clone()));
        for (key, row) in committed {
            rows.insert(place(&key), row);
        }
        for ((_, key), row) in own {
            match row {
                Some(row) => drop(rows.insert(place(key), row.clone())),
                None => drop(rows.remove(&place(key))),
            }
        }
        rows.into_iter().map(|((a, b), row)| ((a, b.0), row)).collect()
    }
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
            transactions: Vec::new(),
            ended: (0, 0),
        }
    }

    fn tree(&self) -> (u32, Tree) {
        let id = self.trees[self.dice.below(self.trees.len() as u64) as usize];
        (id, self.engine.tree(TreeId(id)).unwrap())
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..26 => self.commit(),
            26..30 => self.bulk(),
            30..42 => self.transact(),
            42..44 => self.end_transaction(),
            44..47 => self.snapshots.push(Moment::new(self.engine.snapshot(), &Own::new())),
            47..50 => {
                let moments = self
                    .transactions
                    .iter()
                    .map(|open| Moment::new(open.transaction.snapshot(), &open.own));
                self.snapshots.extend(moments);
            }
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

    /// Some rows for a bulk load, with repetitions, and what becomes of those that are there.
    fn rows_to_load(&self) -> (Vec<(Key, Row)>, OnDuplicate) {
        let many = if self.dice.chance(20) { 600 } else { 60 };
        let count = 1 + self.dice.below(many);
        let rows = (0..count).map(|_| {
            // Half of them beyond the keys of ordinary commits.
            let space = if self.dice.chance(50) { KEY_SPACE } else { KEY_SPACE * 20 };
            (self.dice.key(space), self.dice.row())
        });
        let duplicates = [OnDuplicate::Error, OnDuplicate::Replace, OnDuplicate::Keep];
        (rows.collect(), duplicates[self.dice.below(3) as usize])
    }

    /// Rows that a load leaves in the tree; none if it must be refused.
    fn loaded(
        rows: &[(Key, Row)],
        duplicates: OnDuplicate,
        existing: &BTreeMap<Key, Row>,
    ) -> Option<BTreeMap<Key, Row>> {
        let mut result: BTreeMap<Key, Row> = BTreeMap::new();
        let mut duplicate = false;
        for (key, row) in rows {
            let there = existing.contains_key(key);
            let seen = result.contains_key(key);
            duplicate |= there || seen;
            match duplicates {
                OnDuplicate::Keep if there || seen => {}
                _ => drop(result.insert(key.clone(), row.clone())),
            }
        }
        (!duplicate || duplicates != OnDuplicate::Error).then_some(result)
    }

    /// A change of the first tree beside a load into another.
    fn beside(&self, id: u32) -> Vec<Change> {
        let other = self.trees[0];
        match self.dice.chance(50) && other != id {
            true => vec![(other, self.dice.key(KEY_SPACE), Some(self.dice.row()))],
            false => Vec::new(),
        }
    }

    fn push_all(
        &self,
        mut load: BulkLoad,
        rows: &[(Key, Row)],
        with: &[Change],
    ) -> silt_storage::Result<BulkOutcome> {
        let part_rows = 1 + self.dice.below(200) as usize;
        rows.chunks(part_rows).try_for_each(|part| load.push(columns(part)))?;
        // A repetition within the load may show as soon as a part of it is sorted.
        load.finish(batch(&self.engine, with))
    }

    fn bulk(&mut self) {
        let (id, tree) = self.tree();
        let (rows, duplicates) = self.rows_to_load();
        let with = self.beside(id);
        let existing: BTreeMap<Key, Row> = self.model.contents(id, self.last).into_iter().collect();
        let load = self.engine.bulk_load(tree.id(), duplicates).unwrap();
        let outcome = self.push_all(load, &rows, &with);
        let Some(result) = Self::loaded(&rows, duplicates, &existing) else {
            let error = outcome.expect_err("a duplicate key is refused");
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "seed {}: {error}", self.seed);
            return;
        };
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

    /// A statement of a transaction, of a new one if few are open.
    fn transact(&mut self) {
        if self.transactions.is_empty() || (self.transactions.len() < 4 && self.dice.chance(20)) {
            let transaction = self.engine.begin();
            assert_eq!(transaction.base().seq(), self.last, "seed {}", self.seed);
            self.transactions.push(Open { transaction, own: Own::new() });
        }
        let index = self.dice.below(self.transactions.len() as u64) as usize;
        if self.dice.chance(85) {
            let changes = self.changes(12);
            let open = &mut self.transactions[index];
            open.transaction.apply(batch(&self.engine, &changes)).unwrap();
            open.own.extend(changes.into_iter().map(|(tree, key, row)| ((tree, key), row)));
            return;
        }
        let (id, tree) = self.tree();
        let (rows, duplicates) = self.rows_to_load();
        let with = self.beside(id);
        let open = &self.transactions[index];
        let moment = Moment::new(open.transaction.snapshot(), &open.own);
        let existing: BTreeMap<Key, Row> = moment.contents(&self.model, id).into_iter().collect();
        let load = open.transaction.bulk_load(tree.id(), duplicates).unwrap();
        let outcome = self.push_all(load, &rows, &with);
        let Some(result) = Self::loaded(&rows, duplicates, &existing) else {
            // The statement failed: the transaction is as it was before it.
            let error = outcome.expect_err("a duplicate key is refused");
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "seed {}: {error}", self.seed);
            return;
        };
        assert_eq!(outcome.unwrap().rows, result.len() as u64, "seed {}", self.seed);
        let own = &mut self.transactions[index].own;
        own.extend(result.into_iter().map(|(key, row)| ((id, key), Some(row))));
        own.extend(with.into_iter().map(|(tree, key, row)| ((tree, key), row)));
    }

    /// Commits a transaction, or rolls it back.
    fn end_transaction(&mut self) {
        if self.transactions.is_empty() {
            return;
        }
        let index = self.dice.below(self.transactions.len() as u64) as usize;
        let Open { transaction, own } = self.transactions.swap_remove(index);
        let base = transaction.base().seq();
        if self.dice.chance(25) {
            drop(transaction);
            return;
        }
        let is_late = |(tree, key): &(u32, Key)| self.model.newest(*tree, key) > base;
        let late: Vec<&(u32, Key)> = own.keys().filter(|key| is_late(key)).collect();
        let context = format!("seed {}: base {base}, late: {late:?}", self.seed);
        match transaction.commit() {
            Ok(seq) => {
                assert!(late.is_empty(), "{context}: committed as {seq}");
                assert_eq!(seq, self.last + u64::from(!own.is_empty()), "{context}");
                self.last = seq;
                let changes: Vec<Change> =
                    own.into_iter().map(|((tree, key), row)| (tree, key, row)).collect();
                self.model.apply(seq, &changes);
                self.ended.0 += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{context}: {error}");
                self.ended.1 += 1;
                let Some((tree, key)) = error.key() else {
                    assert!(error.to_string().contains("not kept"), "{context}: {error}");
                    return;
                };
                let handle = self.engine.tree(tree).unwrap();
                let is_named =
                    late.iter().any(|(of, late)| *of == tree.0 && key_bytes(&handle, late) == key);
                assert!(is_named, "{context}: {error}, {key:?}");
            }
        }
    }

    fn moment(&self) -> Moment {
        if !self.transactions.is_empty() && self.dice.chance(40) {
            let index = self.dice.below(self.transactions.len() as u64) as usize;
            let open = &self.transactions[index];
            return Moment::new(open.transaction.snapshot(), &open.own);
        }
        if self.snapshots.is_empty() || self.dice.chance(50) {
            return Moment::new(self.engine.snapshot(), &Own::new());
        }
        self.snapshots[self.dice.below(self.snapshots.len() as u64) as usize].clone()
    }

    fn get(&self) {
        let (id, tree) = self.tree();
        let moment = self.moment();
        let snapshot = &moment.snapshot;
        let key = self.dice.key(KEY_SPACE * 2);
        let wanted = moment.get(&self.model, id, &key);
        let mut row = RowBuffer::new();
        let projection = [3, 0, 2];
        let counters = ReadCounters::new();
        let found =
            tree.get(&key_bytes(&tree, &key), &projection, snapshot, &counters, &mut row).unwrap();
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
        let moment = self.moment();
        let snapshot = &moment.snapshot;
        let keys: Vec<Key> =
            (0..self.dice.below(80)).map(|_| self.dice.key(KEY_SPACE * 2)).collect();
        let encoded: Vec<Vec<u8>> = keys.iter().map(|key| key_bytes(&tree, key)).collect();
        let found =
            tree.multi_get(&encoded, &[0, 1, 2, 3], snapshot, &ReadCounters::new()).unwrap();
        let got = rows(&found.batch);
        assert_eq!(got.len(), found.positions.len());
        let mut encoded_found = Vec::new();
        for ((key, row), position) in got.iter().zip(&found.positions) {
            assert_eq!(*key, keys[*position as usize], "seed {}", self.seed);
            assert_eq!(Some(row.clone()), moment.get(&self.model, id, key), "seed {}", self.seed);
            encoded_found.push(encoded[*position as usize].clone());
        }
        assert!(encoded_found.is_sorted(), "seed {}: rows come in key order", self.seed);
        let distinct: BTreeSet<&Key> = keys.iter().collect();
        let there =
            distinct.iter().filter(|key| moment.get(&self.model, id, key).is_some()).count();
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
        let moment = self.moment();
        let snapshot = &moment.snapshot;
        let range = self.range(&tree);
        let order = [ScanOrder::Unordered, ScanOrder::Forward, ScanOrder::Reverse]
            [self.dice.below(3) as usize];
        let mut wanted: Vec<(Key, Row)> = moment.contents(&self.model, id);
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
            part_rows: 1 + self.dice.below(40) as usize,
            ..ScanRequest::new(range.clone(), vec![0, 1, 2, 3])
        };
        // Sometimes in parts, as partitions of a query read them.
        let parts = match self.dice.chance(30) && limit.is_none() {
            true => tree.split(&range, 1 + self.dice.below(4) as usize, snapshot).unwrap(),
            false => vec![range.clone()],
        };
        let mut got = Vec::new();
        for range in parts {
            for batch in tree.scan(&ScanRequest { range, ..request.clone() }, snapshot).unwrap() {
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
        let now = Moment::new(self.engine.snapshot(), &Own::new());
        let open = self.transactions.iter();
        let open: Vec<Moment> =
            open.map(|open| Moment::new(open.transaction.snapshot(), &open.own)).collect();
        for moment in self.snapshots.iter().chain(&open).chain([&now]) {
            let snapshot = &moment.snapshot;
            for &id in &self.trees {
                let tree = self.engine.tree(TreeId(id)).unwrap();
                let wanted = moment.contents(&self.model, id);
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

    /// Nothing is left of transactions and loads that are over.
    fn check_files(&self) {
        let levels = self.engine.describe().trees.into_iter().flat_map(|tree| tree.levels);
        let listed: usize = levels.map(|level| level.files.len()).sum();
        let tables = self.vfs.files().into_keys().filter(|path| path.starts_with("/db/sst"));
        assert_eq!(tables.count(), listed, "seed {}", self.seed);
    }

    fn reopen(&mut self) {
        self.snapshots.clear();
        self.transactions.clear();
        self.engine.close().unwrap();
        self.open_again();
    }

    /// The process dies, or the machine: every commit was acknowledged as durable.
    fn crash(&mut self) {
        self.snapshots.clear();
        self.transactions.clear();
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

fn run(seed: u64, options: Options, operations: usize) -> (Engine, (u64, u64)) {
    let mut world = World::new(seed, options);
    for _ in 0..operations {
        world.step();
    }
    world.check_all();
    world.snapshots.clear();
    world.transactions.clear();
    world.engine.flush().unwrap();
    world.engine.run_until_idle().unwrap();
    world.check_all();
    world.check_files();
    (world.engine.clone(), world.ended)
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
    let mut ended = (0, 0);
    for seed in seeds(100) {
        let (engine, (committed, lost)) = run(seed, small_options(), 400);
        ended = (ended.0 + committed, ended.1 + lost);
        let levels = engine
            .describe()
            .trees
            .into_iter()
            .map(|tree| tree.levels.iter().filter(|level| !level.files.is_empty()).count());
        deepest = deepest.max(levels.max().unwrap_or(0));
    }
    assert!(deepest >= 2, "only {deepest} levels were filled");
    let (committed, lost) = ended;
    assert!(committed > 50 && lost > 50, "{committed} transactions committed, {lost} lost");
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
        Options { transaction_bytes: 1, ..small_options() },
        Options { transaction_bytes: 1 << 20, ..small_options() },
        Options { paths: FastPaths::none(), ..small_options() },
        // Every text of every file is read by pieces.
        Options {
            group_rows: 4_096,
            group_bytes: 1 << 20,
            memory_bytes: 1,
            piece_chunk_bytes: 0,
            ..small_options()
        },
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

#[test]
fn bitmaps_say_what_merges_say_beside_writers_flushes_and_compactions() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { background: true, durability: Durability::Off, ..small_options() };
    let engine = Engine::open(Env::os(), folder.path(), options).unwrap();
    let tree = engine.tree(engine.create_tree(schema()).unwrap()).unwrap();
    let id = tree.id().0;
    let left = AtomicUsize::new(2);
    let bitmaps = Arc::new(ReadCounters::new());
    thread::scope(|scope| {
        for writer in 0..2 {
            let (engine, left) = (&engine, &left);
            scope.spawn(move || {
                let dice = Dice::new(writer);
                for _ in 0..700 {
                    let mut changes = BTreeMap::new();
                    for _ in 0..=dice.below(60) {
                        let row = (!dice.chance(25)).then(|| dice.row());
                        changes.insert((id, dice.key(KEY_SPACE)), row);
                    }
                    let changes: Vec<Change> =
                        changes.into_iter().map(|((tree, key), row)| (tree, key, row)).collect();
                    engine.commit(batch(engine, &changes)).unwrap();
                }
                left.fetch_sub(1, Ordering::Relaxed);
            });
        }
        let mut old: Option<Snapshot> = None;
        while left.load(Ordering::Relaxed) > 0 {
            let now = engine.snapshot();
            // One that others have read past, and one that nobody has.
            for snapshot in old.iter().chain([&now]) {
                let request = ScanRequest {
                    order: ScanOrder::Unordered,
                    counters: Arc::clone(&bitmaps),
                    ..ScanRequest::new(KeyRange::all(), vec![0, 1, 2, 3])
                };
                let mut found = Vec::new();
                for range in tree.split(&KeyRange::all(), 3, snapshot).unwrap() {
                    let request = ScanRequest { range, ..request.clone() };
                    for batch in tree.scan(&request, snapshot).unwrap() {
                        found.extend(rows(&batch.unwrap()));
                    }
                }
                found.sort_by(|((a, b), _), ((c, d), _)| a.cmp(c).then(d.cmp(b)));
                assert_eq!(found, contents(&tree, snapshot).unwrap(), "at {}", snapshot.seq());
            }
            if old.as_ref().is_none_or(|old| old.seq() + 40 < now.seq()) {
                old = Some(now);
            }
        }
    });
    assert!(bitmaps.shadows_built.get() > 0 && bitmaps.shadows_cached.get() > 0);
}
