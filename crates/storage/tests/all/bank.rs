//! Transfers between accounts from many threads: money is neither made nor lost, whatever moment
//! one looks at, and wherever the process is killed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use silt_codec::{RowBuffer, ValueRef};
use silt_storage::vfs::Env;
use silt_storage::{
    Durability, Engine, ErrorKind, OnDuplicate, Options, ReadCounters, Result, Snapshot,
    Transaction, Tree, WriteBatch,
};

use crate::support::{Dice, Key, Row, columns, contents, key_bytes, row_bytes, schema};

const CHILD: &str = "SILT_BANK_CHILD";

/// Accounts stand in two trees: even ones in the first, odd ones in the second.
const ACCOUNTS: u64 = 120;
const OPENING_BALANCE: i64 = 1_000;
const TOTAL: i64 = ACCOUNTS as i64 * OPENING_BALANCE;
const THREADS: u64 = 8;

fn options() -> Options {
    // Small memtables and files, so that flushes and compactions run all the time; some
    // transactions spill.
    Options {
        memory_bytes: 8 << 20,
        memtable_bytes: 16 << 10,
        transaction_bytes: 600,
        wal_segment_bytes: 256 << 10,
        file_bytes: 64 << 10,
        group_rows: 32,
        level0_runs: 2,
        ..Options::default()
    }
}

fn open(dir: &Path, options: Options) -> (Engine, [Tree; 2]) {
    let engine = Engine::open(Env::os(), dir, options).unwrap();
    while engine.trees().len() < 2 {
        engine.create_tree(schema()).unwrap();
    }
    let trees = [0, 1].map(|index| engine.tree(engine.trees()[index]).unwrap());
    if engine.snapshot().seq() == 0 {
        let transaction = engine.begin();
        let mut batch = WriteBatch::new();
        (0..ACCOUNTS).for_each(|account| set(&mut batch, &trees, account, OPENING_BALANCE));
        transaction.apply(batch).unwrap();
        transaction.commit().unwrap();
    }
    (engine, trees)
}

fn account_key(account: u64) -> Key {
    (account as i64 / 2, "account".to_owned())
}

fn tree_of(trees: &[Tree; 2], account: u64) -> &Tree {
    &trees[usize::from(account % 2 == 1)]
}

fn balance_row(balance: i64) -> Row {
    (Some(balance), "balance".to_owned())
}

fn set(batch: &mut WriteBatch, trees: &[Tree; 2], account: u64, balance: i64) {
    let tree = tree_of(trees, account);
    let row = row_bytes(tree, &balance_row(balance));
    batch.put(tree.id(), &key_bytes(tree, &account_key(account)), &row);
}

fn balance(trees: &[Tree; 2], account: u64, snapshot: &Snapshot) -> i64 {
    let tree = tree_of(trees, account);
    let key = key_bytes(tree, &account_key(account));
    let mut row = RowBuffer::new();
    assert!(tree.get(&key, &[2], snapshot, &ReadCounters::new(), &mut row).unwrap());
    match row.iter().next() {
        Some(ValueRef::Int(balance)) => balance,
        other => panic!("account {account} holds {other:?}"),
    }
}

fn total(trees: &[Tree; 2], snapshot: &Snapshot) -> i64 {
    let of = |tree: &Tree| contents(tree, snapshot).unwrap().into_iter().filter_map(|row| row.1.0);
    trees.iter().flat_map(of).sum()
}

/// Moves money around three accounts, a statement for each, and back in part; now and then a
/// statement is a bulk load.
fn transfer(transaction: &Transaction, trees: &[Tree; 2], dice: &Dice) -> Result<()> {
    let first = dice.below(ACCOUNTS);
    let step = |n| (first + n * (1 + dice.below(ACCOUNTS / 3 - 1))) % ACCOUNTS;
    let (second, third) = (step(1), step(2));
    for (from, to) in [(first, second), (second, third), (third, first)] {
        let snapshot = transaction.snapshot();
        let amount = dice.below(50) as i64;
        if from == to {
            continue;
        }
        let mut batch = WriteBatch::new();
        let (held, received) = (balance(trees, from, &snapshot), balance(trees, to, &snapshot));
        set(&mut batch, trees, from, held - amount);
        if dice.chance(95) {
            set(&mut batch, trees, to, received + amount);
            transaction.apply(batch)?;
            continue;
        }
        let same_tree = tree_of(trees, from).id() == tree_of(trees, to).id();
        let mut rows = vec![(account_key(to), balance_row(received + amount))];
        if same_tree {
            rows.push((account_key(from), balance_row(held - amount)));
            batch = WriteBatch::new();
        }
        let mut load = transaction.bulk_load(tree_of(trees, to).id(), OnDuplicate::Replace)?;
        load.push(columns(&rows))?;
        load.finish(batch)?;
    }
    assert_eq!(total(trees, &transaction.snapshot()), TOTAL, "within a transaction");
    Ok(())
}

/// Transfers until `go_on` says no; how many were committed, and how many lost.
fn work(
    engine: &Engine,
    trees: &[Tree; 2],
    seed: u64,
    durability: Durability,
    mut go_on: impl FnMut(u64) -> bool,
) -> (u64, u64) {
    let dice = Dice::new(seed);
    let (mut committed, mut lost) = (0, 0);
    while go_on(committed) {
        let transaction = engine.begin();
        transfer(&transaction, trees, &dice).unwrap();
        if dice.chance(10) {
            continue;
        }
        match transaction.commit_with(durability) {
            Ok(_) => committed += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                lost += 1;
            }
        }
    }
    (committed, lost)
}

#[test]
fn transfers_from_eight_threads_keep_the_sum() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, trees) = open(&folder.path().join("db"), options());
    let is_over = AtomicBool::new(false);
    let (committed, lost, audits) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (engine, trees) = (&engine, &trees);
        let auditor = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(total(trees, &engine.snapshot()), TOTAL);
                audits.fetch_add(1, Ordering::Relaxed);
            }
        });
        let workers: Vec<_> = (0..THREADS)
            .map(|seed| {
                let (committed, lost) = (&committed, &lost);
                scope.spawn(move || {
                    let done = work(engine, trees, seed, Durability::Off, |done| done < 60);
                    committed.fetch_add(done.0, Ordering::Relaxed);
                    lost.fetch_add(done.1, Ordering::Relaxed);
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        is_over.store(true, Ordering::Relaxed);
        auditor.join().unwrap();
    });
    assert_eq!(total(&trees, &engine.snapshot()), TOTAL);
    assert_eq!(engine.describe().transactions, []);
    assert!(audits.into_inner() > 0);
    let (committed, lost) = (committed.into_inner(), lost.into_inner());
    assert!(committed >= 60 * THREADS && lost > 0, "{committed} committed, {lost} lost");
}

#[test]
fn child_of_the_bank() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let (engine, trees) = open(Path::new(&dir), options());
    let seed = engine.snapshot().seq();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (engine, trees) = (&engine, &trees);
            scope.spawn(move || {
                let mut told = 0;
                work(engine, trees, seed * THREADS + thread, Durability::Full, |done| {
                    if done > told {
                        told = done;
                        println!("acknowledged {}", engine.snapshot().seq());
                        std::io::stdout().flush().unwrap();
                    }
                    true
                });
            });
        }
    });
}

#[test]
fn kill_nine_among_transfers_keeps_the_sum() {
    let cycles: u64 = std::env::var("SILT_KILL_CYCLES").map_or(25, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("db");
    let mut last = 0;
    for cycle in 0..cycles {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "bank::child_of_the_bank", "--nocapture", "--test-threads=1"])
            .env(CHILD, &dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acknowledged = |line: std::io::Result<String>| {
            let line = line.ok()?;
            line.rsplit_once("acknowledged ")?.1.parse::<u64>().ok()
        };
        let first = lines.by_ref().find_map(acknowledged).expect("the child commits");
        let reader = std::thread::spawn(move || lines.filter_map(acknowledged).max());
        std::thread::sleep(Duration::from_millis(Dice::new(cycle).below(80)));
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged = reader.join().unwrap().unwrap_or(first).max(first);

        let (engine, trees) = open(&dir, Options { background: false, ..options() });
        let snapshot = engine.snapshot();
        assert!(snapshot.seq() >= acknowledged, "cycle {cycle}: {acknowledged} was acknowledged");
        assert!(snapshot.seq() > last, "cycle {cycle}: nothing was committed");
        last = snapshot.seq();
        assert_eq!(total(&trees, &snapshot), TOTAL, "cycle {cycle}");
        let levels = engine.describe().trees.into_iter().flat_map(|tree| tree.levels);
        let listed: usize = levels.map(|level| level.files.len()).sum();
        let files = std::fs::read_dir(dir.join("sst")).unwrap().count();
        assert_eq!(files, listed, "cycle {cycle}: what open transactions spilled is gone");
        drop(snapshot);
        engine.close().unwrap();
    }
}
