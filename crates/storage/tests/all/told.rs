//! A workload over a disk that fails, and what its writer was told: the measure of honesty.

use std::sync::Arc;

use silt_storage::vfs::{StrictVfs, Vfs};
use silt_storage::{Engine, Error, ErrorKind, OnDuplicate, Options, Result, SeqNo, TreeId};

use crate::support::{
    Change, Dice, Key, Model, Row, batch, contents, dir, env, load, numbered, schema, small_options,
};

pub fn options() -> Options {
    Options { wal_segment_bytes: 2 << 10, group_rows: 32, file_bytes: 4 << 10, ..small_options() }
}

pub fn open(vfs: impl Vfs) -> Result<Engine> {
    Engine::open(env(Arc::new(vfs), 5), dir(), options())
}

/// What was acknowledged, and what may or may not be there beside it.
#[derive(Default)]
pub struct Told {
    pub trees: Vec<u32>,
    model: Model,
    /// The last number acknowledged.
    pub acknowledged: SeqNo,
    /// The last number that may be found: one more after a commit that poisoned the engine.
    pub possible: SeqNo,
    pub errors: Vec<(&'static str, ErrorKind)>,
    dice: Option<Dice>,
}

/// Whether nothing is written any more until the database is opened again.
pub fn is_poisoned(engine: &Engine, tree: u32) -> bool {
    let load = engine.bulk_load(TreeId(tree), OnDuplicate::Replace);
    load.is_err_and(|error| error.kind() == ErrorKind::Closed)
}

impl Told {
    pub fn new() -> Self {
        Self { dice: Some(Dice::new(77)), ..Self::default() }
    }

    fn dice(&self) -> &Dice {
        self.dice.as_ref().unwrap()
    }

    fn note<T>(&mut self, what: &'static str, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.note_error(what, &error)).ok()
    }

    fn note_error(&mut self, what: &'static str, error: &Error) {
        let is_expected =
            matches!(error.kind(), ErrorKind::Io | ErrorKind::DiskFull | ErrorKind::Closed);
        assert!(is_expected, "{what} fails as {:?}: {error}", error.kind());
        self.errors.push((what, error.kind()));
    }

    /// One attempt to commit `changes`, by whatever way.
    fn attempt(
        &mut self,
        what: &'static str,
        engine: &Engine,
        changes: &[Change],
        commit: impl FnOnce() -> Result<SeqNo>,
    ) {
        let was_poisoned = is_poisoned(engine, self.trees[0]);
        let result = commit();
        let next = self.acknowledged + 1;
        match result {
            Ok(seq) => {
                assert!(!was_poisoned, "{what} is acknowledged by a poisoned engine");
                assert_eq!(self.acknowledged, self.possible, "{what} after a doubtful one");
                assert_eq!(seq, next, "{what}: numbers are dense");
                self.model.apply(next, changes);
                (self.acknowledged, self.possible) = (next, next);
            }
            Err(error) => {
                self.note_error(what, &error);
                let is_doubtful = !was_poisoned && is_poisoned(engine, self.trees[0]);
                if is_doubtful && self.possible == self.acknowledged {
                    self.model.apply(next, changes);
                    self.possible = next;
                }
            }
        }
    }

    fn changes(&self, most: u64) -> Vec<Change> {
        let dice = self.dice();
        let mut changes: Vec<Change> = (0..=dice.below(most))
            .map(|_| {
                let tree = self.trees[dice.below(self.trees.len() as u64) as usize];
                (tree, dice.key(200), (!dice.chance(20)).then(|| dice.row()))
            })
            .collect();
        changes.sort();
        changes.dedup_by(|a, b| (a.0, &a.1) == (b.0, &b.1));
        changes
    }

    pub fn commit(&mut self, engine: &Engine) {
        let changes = self.changes(8);
        self.attempt("commit", engine, &changes, || engine.commit(batch(engine, &changes)));
    }

    fn bulk(&mut self, engine: &Engine) {
        let (loaded, other) = (self.trees[0], self.trees[1]);
        let dice = self.dice();
        let mut rows: Vec<(Key, Row)> = (0..90).map(|_| (dice.key(2_000), dice.row())).collect();
        rows.sort();
        rows.dedup_by(|a, b| a.0 == b.0);
        let mut changes = vec![(other, dice.key(200), Some(dice.row()))];
        let with = batch(engine, &changes);
        changes.extend(rows.iter().map(|(key, row)| (loaded, key.clone(), Some(row.clone()))));
        self.attempt("bulk load", engine, &changes, || {
            load(engine, loaded, &rows, with).map(|outcome| outcome.seq)
        });
    }

    /// Everything that writes: trees, commits, log segments, flushes, a bulk load, compactions.
    pub fn work(&mut self, engine: &Engine) {
        while self.trees.len() < 2 {
            match self.note("create tree", engine.create_tree(schema())) {
                Some(tree) => self.trees.push(tree.0),
                None => return,
            }
        }
        for _ in 0..6 {
            self.commit(engine);
        }
        let flushed = engine.flush();
        self.note("flush", flushed);
        for _ in 0..4 {
            self.commit(engine);
        }
        self.bulk(engine);
        for _ in 0..3 {
            self.commit(engine);
        }
        let flushed = engine.flush();
        self.note("flush", flushed);
        let compacted = engine.compact(TreeId(self.trees[0]));
        self.note("compaction", compacted);
        self.commit(engine);
        let idle = engine.run_until_idle();
        self.note("job", idle);
        self.commit(engine);
    }

    /// The engine that was told no shows exactly what it acknowledged.
    pub fn check_live(&self, engine: &Engine) {
        let snapshot = engine.snapshot();
        assert_eq!(snapshot.seq(), self.acknowledged, "the published number");
        for &id in &self.trees {
            let tree = engine.tree(TreeId(id)).unwrap();
            match contents(&tree, &snapshot) {
                Ok(held) => {
                    assert!(held == self.model.contents(id, self.acknowledged), "tree {id} is off");
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{error}"),
            }
        }
    }

    /// Opens a disk that works again: what was acknowledged is there, nothing is in the way of
    /// going on, and nothing is left over.
    pub fn check_reopened(&self, vfs: &StrictVfs, what: &str) {
        let engine = open(vfs.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = engine.snapshot().seq();
        assert!(
            (self.acknowledged..=self.possible).contains(&found),
            "{what}: number {found}, acknowledged {}, possible {}",
            self.acknowledged,
            self.possible
        );
        let holds = |engine: &Engine, more: &[(Key, Row)]| {
            for (at, &id) in self.trees.iter().enumerate() {
                let mut wanted = self.model.contents(id, found);
                // The keys of `more` come behind all others.
                wanted.extend(more.iter().filter(|_| at == 0).cloned());
                let tree = engine.tree(TreeId(id)).unwrap();
                let held = contents(&tree, &engine.snapshot()).unwrap();
                assert!(held == wanted, "{what}: tree {id} is not as commit {found} left it");
            }
        };
        holds(&engine, &[]);
        for id in engine.trees().iter().filter(|id| !self.trees.contains(&id.0)) {
            let tree = engine.tree(*id).unwrap();
            assert!(contents(&tree, &engine.snapshot()).unwrap().is_empty(), "{what}: tree {id}");
        }
        let Some(&id) = self.trees.first() else { return };
        let more = numbered([7_000]);
        let changes: Vec<Change> =
            more.iter().map(|(key, row)| (id, key.clone(), Some(row.clone()))).collect();
        assert_eq!(engine.commit(batch(&engine, &changes)).unwrap(), found + 1, "{what}");
        engine.flush().unwrap();
        engine.run_until_idle().unwrap();
        holds(&engine, &more);
        check_strays(vfs, &engine, what);
        engine.close().unwrap();
        drop(engine);
        let engine = open(vfs.clone()).unwrap_or_else(|error| panic!("{what}, again: {error}"));
        holds(&engine, &more);
    }
}

/// Every file on the disk is one that the engine knows.
pub fn check_strays(vfs: &StrictVfs, engine: &Engine, what: &str) {
    let description = engine.describe();
    let files = description.trees.iter().flat_map(|tree| &tree.levels).flat_map(|l| &l.files);
    let mut known: Vec<String> = files.map(|file| format!("/db/sst/{:010}.sst", file.id)).collect();
    known.extend(["/db/CURRENT", "/db/LOCK", "/db/reserve"].map(str::to_owned));
    // All is flushed: of the log only the segment in use is needed.
    known.extend(description.wal_segments.last().map(|s| format!("/db/wal/{:010}.wal", s.id)));
    let found = vfs.files();
    let mut strays: Vec<String> = found.keys().map(|path| path.display().to_string()).collect();
    strays.retain(|path| !known.contains(path));
    let manifests = strays.iter().filter(|path| path.starts_with("/db/manifest-")).count();
    strays.retain(|path| !path.starts_with("/db/manifest-"));
    assert_eq!((manifests, &strays[..]), (1, &[][..]), "{what}: files that nobody knows");
}
