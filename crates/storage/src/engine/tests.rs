use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use silt_codec::{KeyOrder, TreeColumn, Value, ValueRef};

use super::*;
use crate::vfs::{ManualClock, SeededRandom, StrictVfs};

use arrow_schema::DataType;

/// A key of one BIGINT and a row of one text.
pub(crate) fn schema() -> TreeSchema {
    let column =
        |id, data_type, nullable| TreeColumn { id, data_type, nullable, frozen: Value::Null };
    TreeSchema {
        version: 1,
        columns: vec![column(1, DataType::Int64, false), column(2, DataType::Utf8View, true)],
        key: vec![KeyOrder::default()],
    }
}

fn env() -> Env {
    Env {
        vfs: Arc::new(StrictVfs::new()),
        clock: Arc::new(ManualClock::new(1_700_000_000_000_000)),
        random: Arc::new(SeededRandom::new(1)),
    }
}

fn open(env: &Env) -> Engine {
    let options = Options { background: false, ..Options::default() };
    Engine::open(env.clone(), &PathBuf::from("/db"), options).unwrap()
}

fn key(engine: &Engine, tree: TreeId, number: i64) -> Vec<u8> {
    let mut key = Vec::new();
    let codec = engine.tree(tree).unwrap().key_codec();
    codec.encode_values(&[ValueRef::Int(number)], &mut key).unwrap();
    key
}

fn put(engine: &Engine, batch: &mut WriteBatch, tree: TreeId, number: i64, text: &str) {
    let mut row = Vec::new();
    let codec = engine.tree(tree).unwrap().row_codec();
    codec.encode_values(&[ValueRef::Text(text)], &mut row).unwrap();
    batch.put(tree, &key(engine, tree, number), &row);
}

fn entries(engine: &Engine, tree: TreeId) -> usize {
    let memtables =
        &engine.describe().trees.iter().find(|t| t.id == tree).unwrap().memtables.clone();
    memtables.iter().map(|memtable| memtable.entries as usize).sum()
}

#[test]
fn commits_are_numbered_densely_and_published_in_order() {
    let engine = open(&env());
    let tree = engine.create_tree(schema()).unwrap();
    assert_eq!(engine.snapshot().seq(), 0);
    for number in 1..=10 {
        let mut batch = WriteBatch::new();
        put(&engine, &mut batch, tree, number, "text");
        assert_eq!(engine.commit(batch).unwrap(), number as u64);
        assert_eq!(engine.snapshot().seq(), number as u64);
    }
    assert_eq!(engine.commit(WriteBatch::new()).unwrap(), 10);
    assert_eq!(entries(&engine, tree), 10);
}

#[test]
fn commits_of_many_threads_are_all_there_when_they_return() {
    let engine = open(&env());
    let trees = [engine.create_tree(schema()).unwrap(), engine.create_tree(schema()).unwrap()];
    thread::scope(|scope| {
        for thread in 0..4 {
            let engine = engine.clone();
            scope.spawn(move || {
                for number in 0..200 {
                    let mut batch = WriteBatch::new();
                    for tree in trees {
                        put(&engine, &mut batch, tree, number * 4 + thread, "text");
                    }
                    let seq = engine.commit(batch).unwrap();
                    assert!(engine.snapshot().seq() >= seq);
                }
            });
        }
    });
    assert_eq!(engine.snapshot().seq(), 800);
    assert_eq!((entries(&engine, trees[0]), entries(&engine, trees[1])), (800, 800));
}

#[test]
fn first_committer_wins_and_the_loser_hears_which_key() {
    let engine = open(&env());
    let tree = engine.create_tree(schema()).unwrap();
    let snapshot = engine.write_snapshot();
    let mut theirs = WriteBatch::new();
    put(&engine, &mut theirs, tree, 5, "theirs");
    engine.commit(theirs).unwrap();
    for (number, wins) in [(4, true), (5, false)] {
        let mut ours = WriteBatch::new();
        put(&engine, &mut ours, tree, number, "ours");
        ours.set_base(snapshot.seq());
        match engine.commit(ours) {
            Ok(_) => assert!(wins),
            Err(error) => {
                assert!(!wins);
                assert_eq!(error.kind(), ErrorKind::Conflict);
                assert_eq!(error.key().unwrap().1, key(&engine, tree, 5));
            }
        }
    }
}

#[test]
fn statement_bound_to_an_older_schema_cannot_write() {
    let engine = open(&env());
    let tree = engine.create_tree(schema()).unwrap();
    let catalog = engine.create_tree(schema()).unwrap();
    let before = engine.snapshot().seq();
    let mut ddl = WriteBatch::new();
    put(&engine, &mut ddl, catalog, 1, "new definition");
    ddl.change_schema(tree);
    let after = engine.commit(ddl).unwrap();
    for (read_at, works) in [(before, false), (after, true)] {
        let mut batch = WriteBatch::new();
        put(&engine, &mut batch, tree, 1, "row");
        batch.set_catalog_seq(read_at);
        assert_eq!(engine.commit(batch).is_ok(), works);
    }
}
