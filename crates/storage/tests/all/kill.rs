//! `kill -9` on a child that writes: what it acknowledged is there, nothing is there in part.
//!
//! The child is this very binary, asked by its environment to write. It prints each number once
//! its commit is acknowledged; commit `n` is the same rows each time, so the parent knows what
//! every prefix of commits holds.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use silt_storage::vfs::Env;
use silt_storage::{Engine, OnDuplicate, Options, TreeId, WriteBatch};

use crate::support::{Change, Dice, Key, Model, Row, batch, columns, contents, schema};

const CHILD: &str = "SILT_KILL_CHILD";

fn options() -> Options {
    // Small memtables and files, so that flushes and compactions run all the time.
    Options {
        memory_bytes: 8 << 20,
        memtable_bytes: 32 << 10,
        transaction_bytes: 4 << 10,
        wal_segment_bytes: 256 << 10,
        file_bytes: 64 << 10,
        group_rows: 256,
        level0_runs: 2,
        ..Options::default()
    }
}

fn open(dir: &Path) -> (Engine, [u32; 2]) {
    let engine = Engine::open(Env::os(), dir, options()).unwrap();
    while engine.trees().len() < 2 {
        engine.create_tree(schema()).unwrap();
    }
    let trees = engine.trees();
    let trees = [trees[0].0, trees[1].0];
    (engine, trees)
}

/// What commit `n` does; every seventh is a bulk load into the first tree. Every fifth is a
/// transaction of several statements, loads in bulk among them.
fn commit(n: u64, trees: [u32; 2]) -> (Vec<Change>, bool) {
    let dice = Dice::new(n);
    let bulk = n.is_multiple_of(7);
    let rows = if bulk { 300 } else { 1 + dice.below(30) };
    let mut changes: Vec<Change> = (0..rows)
        .map(|_| {
            let tree = if bulk { trees[0] } else { trees[dice.below(2) as usize] };
            let row = (bulk || !dice.chance(20)).then(|| dice.row());
            (tree, dice.key(3_000), row)
        })
        .collect();
    changes.sort();
    changes.dedup_by(|a, b| (a.0, &a.1) == (b.0, &b.1));
    (changes, bulk)
}

fn write(engine: &Engine, n: u64, trees: [u32; 2]) -> u64 {
    let (changes, bulk) = commit(n, trees);
    if n.is_multiple_of(5) {
        let transaction = engine.begin();
        for (number, statement) in changes.chunks(changes.len().div_ceil(4).max(1)).enumerate() {
            if number == 2 && bulk {
                let mut load =
                    transaction.bulk_load(TreeId(trees[0]), OnDuplicate::Replace).unwrap();
                load.push(columns(&rows_of(statement))).unwrap();
                load.finish(WriteBatch::new()).unwrap();
            } else {
                transaction.apply(batch(engine, statement)).unwrap();
            }
        }
        return transaction.commit().unwrap();
    }
    if !bulk {
        return engine.commit(batch(engine, &changes)).unwrap();
    }
    let rows = rows_of(&changes);
    let mut load = engine.bulk_load(TreeId(trees[0]), OnDuplicate::Replace).unwrap();
    load.push(columns(&rows)).unwrap();
    load.finish(WriteBatch::new()).unwrap().seq
}

fn rows_of(changes: &[Change]) -> Vec<(Key, Row)> {
    changes.iter().filter_map(|(_, key, row)| Some((key.clone(), row.clone()?))).collect()
}

#[test]
fn child_of_the_kill_test() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let (engine, trees) = open(Path::new(&dir));
    let mut n = engine.snapshot().seq();
    loop {
        n += 1;
        assert_eq!(write(&engine, n, trees), n, "numbers are dense");
        println!("acknowledged {n}");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn kill_nine_loses_no_acknowledged_commit() {
    let cycles: u64 = std::env::var("SILT_KILL_CYCLES").map_or(200, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("db");
    let mut model = Model::default();
    let mut applied = 0;
    let mut acknowledged = 0;
    for cycle in 0..cycles {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child_of_the_kill_test", "--nocapture", "--test-threads=1"])
            .env(CHILD, &dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, first) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let numbers = BufReader::new(stdout).lines().map_while(Result::ok);
            numbers
                .filter_map(|line| {
                    line.rsplit_once("acknowledged ").and_then(|(_, n)| n.parse::<u64>().ok())
                })
                .inspect(|_| {
                    let _ = sender.send(());
                })
                .max()
        });
        // Mostly while it writes, however slow the machine is; now and then while it opens.
        if cycle % 4 != 0 {
            first.recv_timeout(Duration::from_secs(60)).expect("the child commits");
        }
        std::thread::sleep(Duration::from_millis(Dice::new(cycle).below(60)));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = reader.join().unwrap().unwrap_or(acknowledged).max(acknowledged);

        let (engine, trees) = open(&dir);
        let snapshot = engine.snapshot();
        let found = snapshot.seq();
        assert!(
            found >= acknowledged,
            "cycle {cycle}: {acknowledged} was acknowledged, {found} is there"
        );
        while applied < found {
            applied += 1;
            model.apply(applied, &commit(applied, trees).0);
        }
        for id in trees {
            let held = contents(&engine.tree(TreeId(id)).unwrap(), &snapshot).unwrap();
            assert!(
                held == model.contents(id, found),
                "cycle {cycle}: tree {id} is not as commit {found} left it"
            );
        }
        drop(snapshot);
        engine.close().unwrap();
        drop(engine);
    }
    assert!(acknowledged >= cycles / 2, "only {acknowledged} commits in {cycles} cycles");
}
