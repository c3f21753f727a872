//! Power cuts: a crash image at every operation on the disk, each opened and compared.
//!
//! At the moment of the cut some commits were acknowledged and more were submitted. What is found
//! afterwards must be the state after one of them, so no acknowledged one is missing, none is
//! there in part, and none stands without those before it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use silt_storage::vfs::{CrashMode, StrictVfs};
use silt_storage::{Engine, OnDuplicate, SeqNo, TreeId};

use crate::support::{
    Change, Dice, Key, Model, Row, batch, columns, contents, dir, env, schema, small_options,
};

/// What the writer knows; read by the observer at the moment of the cut.
#[derive(Default)]
struct Progress {
    acknowledged: AtomicU64,
    submitted: AtomicU64,
    model: Mutex<Model>,
    trees: Mutex<Vec<u32>>,
}

struct Cuts {
    seed: u64,
    /// One in so many operations is cut.
    every: u64,
    images: AtomicU64,
    violations: Mutex<Vec<String>>,
}

impl Cuts {
    fn cut(&self, vfs: &StrictVfs, op: u64, progress: &Progress) {
        if !op.is_multiple_of(self.every) || progress.trees.lock().unwrap().is_empty() {
            return;
        }
        let mode = CrashMode::ALL[(op / self.every) as usize % CrashMode::ALL.len()];
        let image_seed = self.seed << 32 | op;
        let image = vfs.crash_image(image_seed, mode);
        let number = self.images.fetch_add(1, Ordering::Relaxed);
        // One in ten crashes again while recovering.
        let checked = match number % 10 {
            3 => crash_while_recovering(&image, image_seed)
                .and_then(|again| verify(&again, progress)),
            _ => verify(&image, progress),
        };
        if let Err(found) = checked {
            let violation = format!("seed {} operation {op} {mode:?}: {found}", self.seed);
            self.violations.lock().unwrap().push(violation);
        }
    }
}

/// What is wrong with what was found.
type Verdict<T> = Result<T, String>;

fn open(vfs: &StrictVfs) -> Verdict<Engine> {
    Engine::open(env(Arc::new(vfs.clone()), 1), dir(), small_options())
        .map_err(|error| format!("cannot open: {error}"))
}

fn crash_while_recovering(image: &StrictVfs, seed: u64) -> Verdict<StrictVfs> {
    let cut_at = Dice::new(seed).below(40) + image.ops();
    let second = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&second);
    image.observe(move |vfs, op| {
        let mut second = keep.lock().unwrap();
        if op >= cut_at && second.is_none() {
            *second = Some(vfs.crash_image(seed, CrashMode::KeepPieces));
        }
    });
    let opened = open(image).map(drop);
    image.stop_observing();
    let second = second.lock().unwrap().take();
    opened.map(|()| second.unwrap_or_else(|| image.crash_image(seed, CrashMode::DropUnsynced)))
}

type State = Vec<Vec<(Key, Row)>>;

fn open_and_read(vfs: &StrictVfs, trees: &[u32]) -> Verdict<State> {
    let engine = open(vfs)?;
    let snapshot = engine.snapshot();
    let read = |id: &u32| contents(&engine.tree(TreeId(*id))?, &snapshot);
    let state = trees.iter().map(read).collect::<silt_storage::Result<_>>();
    let state = state.map_err(|error| format!("cannot read: {error}"));
    drop(snapshot);
    engine.close().map_err(|error| format!("cannot close: {error}"))?;
    state
}

fn verify(image: &StrictVfs, progress: &Progress) -> Verdict<()> {
    let trees = progress.trees.lock().unwrap().clone();
    let found = open_and_read(image, &trees)?;
    let acknowledged = progress.acknowledged.load(Ordering::SeqCst);
    let submitted = progress.submitted.load(Ordering::SeqCst);
    let model = progress.model.lock().unwrap();
    let at = |seq: SeqNo| -> State { trees.iter().map(|id| model.contents(*id, seq)).collect() };
    if !(acknowledged..=submitted).any(|seq| at(seq) == found) {
        let rows: usize = found.iter().map(Vec::len).sum();
        return Err(format!(
            "{rows} rows, no state from {acknowledged} (acknowledged) to {submitted} (submitted)"
        ));
    }
    match open_and_read(image, &trees)? == found {
        true => Ok(()),
        false => Err("opening twice gives two answers".to_owned()),
    }
}

/// A transaction of several statements over two trees: `changes`, then `rows` loaded into `tree`
/// where they replace what is there. Much of it is spilled.
fn transact(
    engine: &Engine,
    changes: &[Change],
    rows: &[(Key, Row)],
    tree: u32,
) -> silt_storage::Transaction {
    let transaction = engine.begin();
    for statement in changes.chunks(4) {
        transaction.apply(batch(engine, statement)).unwrap();
    }
    if !rows.is_empty() {
        let mut load = transaction.bulk_load(TreeId(tree), OnDuplicate::Replace).unwrap();
        load.push(columns(rows)).unwrap();
        load.finish(silt_storage::WriteBatch::new()).unwrap();
    }
    transaction
}

/// Runs the workload and cuts the power all along; gives the images taken and the violations.
fn run(seed: u64, every: u64, commits: u64, sync_is_noop: bool) -> (u64, Vec<String>) {
    let vfs = StrictVfs::new();
    vfs.set_sync_is_noop(sync_is_noop);
    let progress = Arc::new(Progress::default());
    let cuts =
        Arc::new(Cuts { seed, every, images: AtomicU64::new(0), violations: Mutex::default() });
    let engine = Engine::open(env(Arc::new(vfs.clone()), seed), dir(), small_options()).unwrap();
    let trees: Vec<u32> = (0..2).map(|_| engine.create_tree(schema()).unwrap().0).collect();
    *progress.trees.lock().unwrap() = trees.clone();
    {
        let (progress, cuts) = (Arc::clone(&progress), Arc::clone(&cuts));
        vfs.observe(move |vfs, op| cuts.cut(vfs, op, &progress));
    }
    let dice = Dice::new(seed);
    for round in 0..commits {
        let next = progress.submitted.load(Ordering::SeqCst) + 1;
        let mut changes: Vec<Change> = (0..=dice.below(12))
            .map(|_| {
                let tree = trees[dice.below(2) as usize];
                (tree, dice.key(400), (!dice.chance(20)).then(|| dice.row()))
            })
            .collect();
        changes.sort();
        changes.dedup_by(|a, b| (a.0, &a.1) == (b.0, &b.1));
        let bulk = dice.chance(6);
        if bulk {
            // One commit: a file of rows for one tree, ordinary rows for the other.
            changes.retain(|(tree, ..)| *tree == trees[1]);
            let mut rows: Vec<(Key, Row)> =
                (0..120).map(|_| (dice.key(4_000), dice.row())).collect();
            rows.sort();
            rows.dedup_by(|a, b| a.0 == b.0);
            let with = batch(&engine, &changes);
            changes
                .extend(rows.iter().map(|(key, row)| (trees[0], key.clone(), Some(row.clone()))));
            progress.model.lock().unwrap().apply(next, &changes);
            progress.submitted.store(next, Ordering::SeqCst);
            let mut load = engine.bulk_load(TreeId(trees[0]), OnDuplicate::Replace).unwrap();
            load.push(columns(&rows)).unwrap();
            assert_eq!(load.finish(with).unwrap().seq, next);
        } else if dice.chance(25) {
            let rows: Vec<(Key, Row)> =
                (0..dice.below(90)).map(|_| (dice.key(2_000), dice.row())).collect();
            let transaction = transact(&engine, &changes, &rows, trees[1]);
            changes
                .extend(rows.iter().map(|(key, row)| (trees[1], key.clone(), Some(row.clone()))));
            if changes.is_empty() || dice.chance(20) {
                drop(transaction);
                continue;
            }
            progress.model.lock().unwrap().apply(next, &changes);
            progress.submitted.store(next, Ordering::SeqCst);
            assert_eq!(transaction.commit().unwrap(), next);
        } else {
            progress.model.lock().unwrap().apply(next, &changes);
            progress.submitted.store(next, Ordering::SeqCst);
            assert_eq!(engine.commit(batch(&engine, &changes)).unwrap(), next);
        }
        progress.acknowledged.store(next, Ordering::SeqCst);
        if round % 3 == 0 {
            engine.run_job().unwrap();
        }
        if dice.chance(2) {
            engine.run_until_idle().unwrap();
        }
    }
    vfs.stop_observing();
    let violations = cuts.violations.lock().unwrap().clone();
    (cuts.images.load(Ordering::Relaxed), violations)
}

#[test]
fn power_cut_at_any_operation_loses_nothing_acknowledged() {
    let mut images = 0;
    let mut seed = 0;
    while images < 2_000 {
        let (taken, violations) = run(seed, 1, 60, false);
        assert!(
            violations.is_empty(),
            "{} violations, the first: {}",
            violations.len(),
            violations[0]
        );
        images += taken;
        seed += 1;
    }
}

#[test]
fn power_test_notices_a_sync_that_does_nothing() {
    let (images, violations) = run(0, 1, 40, true);
    assert!(images > 50);
    assert!(!violations.is_empty(), "{images} images and none shows the missing syncs");
}
