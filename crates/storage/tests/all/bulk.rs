//! Bulk loads far beyond their memory: many runs, merged in passes.

use std::collections::BTreeMap;
use std::sync::Arc;

use silt_storage::vfs::StrictVfs;
use silt_storage::{Engine, ErrorKind, OnDuplicate, Options, TreeId, WriteBatch};

use crate::support::{Dice, Key, Row, columns, contents, dir, env, schema, small_options};

#[test]
fn load_of_many_runs_keeps_the_row_that_was_asked_for() {
    // Runs of 8 KiB: some hundred rows each, so that hundreds of runs want several passes.
    let options = Options { memory_bytes: 64 << 10, ..small_options() };
    for duplicates in [OnDuplicate::Keep, OnDuplicate::Replace, OnDuplicate::Error] {
        let vfs = StrictVfs::new();
        let engine = Engine::open(env(Arc::new(vfs.clone()), 1), dir(), options.clone()).unwrap();
        let id = engine.create_tree(schema()).unwrap();
        let dice = Dice::new(31);
        let all: Vec<(Key, Row)> = (0..12_000).map(|_| (dice.key(9_000), dice.row())).collect();
        let mut wanted: BTreeMap<Key, Row> = BTreeMap::new();
        for (key, row) in &all {
            match duplicates {
                OnDuplicate::Keep => drop(wanted.entry(key.clone()).or_insert(row.clone())),
                _ => drop(wanted.insert(key.clone(), row.clone())),
            }
        }
        let mut load = engine.bulk_load(id, duplicates).unwrap();
        if duplicates == OnDuplicate::Error {
            // Distinct rows first, one of them again at the end: only the last pass meets both.
            let mut distinct: Vec<(Key, Row)> = wanted.into_iter().collect();
            distinct.sort_by_key(|(key, _)| (key.0.wrapping_mul(7_919) % 1_009, key.1.clone()));
            distinct.push(distinct[0].clone());
            let pushed = distinct.chunks(40).try_for_each(|part| load.push(columns(part)));
            let loaded = pushed.and_then(|()| load.finish(WriteBatch::new()));
            assert_eq!(loaded.unwrap_err().kind(), ErrorKind::AlreadyExists);
            let tables = vfs.files().into_keys().filter(|path| path.starts_with("/db/sst"));
            assert_eq!(tables.count(), 0, "a refused load leaves nothing");
            continue;
        }
        for part in all.chunks(40) {
            load.push(columns(part)).unwrap();
        }
        let outcome = load.finish(WriteBatch::new()).unwrap();
        assert_eq!(outcome.rows, wanted.len() as u64, "{duplicates:?}");
        if duplicates == OnDuplicate::Keep {
            assert_eq!(outcome.rows + outcome.kept, all.len() as u64);
        }
        let tree = engine.tree(TreeId(id.0)).unwrap();
        let mut held = contents(&tree, &engine.snapshot()).unwrap();
        held.sort();
        assert!(held.into_iter().eq(wanted), "{duplicates:?}");
        // Runs and passes leave no file behind.
        let files: usize =
            engine.describe().trees[0].levels.iter().map(|level| level.files.len()).sum();
        let tables = vfs.files().into_keys().filter(|path| path.starts_with("/db/sst"));
        assert_eq!(tables.count(), files);
    }
}
