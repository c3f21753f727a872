//! The engine on disks that fail, fill up, or watch the order of things.

#![allow(clippy::cast_possible_truncation, reason = "small numbers")]

use std::collections::BTreeMap;

use arrow_array::{ArrayRef, Int64Array, StringViewArray};

use super::tests::{commit, dir, env_on, get, options, put, schema};
use super::*;
use crate::vfs::{CrashMode, Fault, FaultKind, FaultVfs, StrictVfs, TraceVfs, Vfs};

fn env_over(vfs: impl Vfs) -> Env {
    Env { vfs: Arc::new(vfs), ..env_on(&StrictVfs::new()) }
}

fn small() -> Options {
    Options {
        memtable_bytes: 1500,
        wal_segment_bytes: 1024,
        file_bytes: 4096,
        group_rows: 16,
        level0_runs: 2,
        ..options()
    }
}

/// What a workload was told.
#[derive(Default)]
struct Told {
    tree: Option<TreeId>,
    /// What each key must hold, for certain.
    rows: BTreeMap<i64, String>,
    /// Values of which nobody knows whether they came to be: a commit that failed may be there.
    perhaps: BTreeMap<i64, Vec<String>>,
}

impl Told {
    fn acknowledge(&mut self, rows: &[(i64, String)]) {
        for (key, text) in rows {
            self.rows.insert(*key, text.clone());
            self.perhaps.remove(key);
        }
    }

    fn leave_open(&mut self, rows: &[(i64, String)]) {
        for (key, text) in rows {
            self.perhaps.entry(*key).or_default().push(text.clone());
        }
    }

    fn note(&mut self, rows: &[(i64, String)], result: Result<()>) {
        match result {
            Ok(()) => self.acknowledge(rows),
            Err(_) => self.leave_open(rows),
        }
    }

    fn check(&self, engine: &Engine, at: &str) {
        let Some(tree) = self.tree else { return };
        let keys = self.rows.keys().chain(self.perhaps.keys());
        for number in keys {
            let found = get(engine, tree, *number);
            let perhaps = self.perhaps.get(number).map_or(&[][..], Vec::as_slice);
            let is_known = found == self.rows.get(number).cloned();
            let may_be = found.as_ref().is_some_and(|text| perhaps.contains(text));
            assert!(is_known || may_be, "{at}: key {number} holds {found:?}");
        }
    }
}

fn columns(rows: &[(i64, String)]) -> Vec<ArrayRef> {
    let texts = StringViewArray::from_iter_values(rows.iter().map(|(_, text)| text));
    vec![Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))), Arc::new(texts)]
}

/// Commits, flushes, a load, compactions. Errors are borne, and noted.
fn work(engine: &Engine, told: &mut Told) {
    let Ok(tree) = engine.create_tree(schema()) else { return };
    told.tree = Some(tree);
    for round in 0..4 {
        for part in 0..6 {
            let rows: Vec<(i64, String)> =
                (0..5).map(|row| (part * 3 + row, format!("{round} {part} {row}"))).collect();
            let mut batch = WriteBatch::new();
            for (number, text) in &rows {
                put(engine, &mut batch, tree, *number, text);
            }
            told.note(&rows, engine.commit(batch).map(drop));
        }
        let _ = engine.flush();
        let rows: Vec<(i64, String)> =
            (0..20).map(|row| (100 * (round % 2) + row, format!("load {round} {row}"))).collect();
        let loaded = engine.bulk_load(tree, OnDuplicate::Replace).and_then(|mut load| {
            load.push(columns(&rows))?;
            load.finish(WriteBatch::new())
        });
        told.note(&rows, loaded.map(drop));
        for _ in 0..10 {
            let _ = engine.run_job();
        }
    }
    let _ = engine.compact(tree);
    let _ = engine.run_until_idle();
}

#[test]
fn every_call_that_fails_is_borne_and_what_was_acknowledged_stays() {
    let calls = {
        let vfs = FaultVfs::new(Arc::new(StrictVfs::new()));
        let engine = Engine::open(env_over(vfs.clone()), &dir(), small()).unwrap();
        let opened = vfs.calls();
        work(&engine, &mut Told::default());
        engine.close().unwrap();
        opened..vfs.calls()
    };
    assert!(calls.end - calls.start > 200, "{calls:?}");
    for call in calls.step_by(3) {
        for (kind, forever) in
            FaultKind::ALL.into_iter().flat_map(|kind| [(kind, false), (kind, true)])
        {
            let at = format!("call {call}, {kind:?}, for ever {forever}");
            let strict = StrictVfs::new();
            let vfs = FaultVfs::new(Arc::new(strict.clone()));
            let fault = Fault::new(kind).nth(call);
            vfs.inject(if forever { fault.forever() } else { fault });
            let engine = Engine::open(env_over(vfs.clone()), &dir(), small()).unwrap();
            let mut told = Told::default();
            work(&engine, &mut told);
            vfs.clear();
            told.check(&engine, &format!("{at}, running"));
            let is_poisoned = engine.core.context.health.check().is_err();
            if !is_poisoned {
                // Whatever went wrong is over: writing goes on.
                if let Some(tree) = told.tree {
                    commit(&engine, tree, 5000, "after");
                    told.acknowledge(&[(5000, "after".to_owned())]);
                }
                engine.run_until_idle().unwrap_or_else(|error| panic!("{at}: {error}"));
                told.check(&engine, &format!("{at}, gone on"));
            }
            drop(engine);
            for mode in [CrashMode::KeepAll, CrashMode::DropUnsynced] {
                let image = strict.crash_image(call, mode);
                let engine = Engine::open(env_on(&image), &dir(), small());
                let engine = engine.unwrap_or_else(|error| panic!("{at}, {mode:?}: {error}"));
                told.check(&engine, &format!("{at}, {mode:?}"));
            }
        }
    }
}

#[test]
fn full_disk_refuses_commits_with_its_name_and_writing_resumes_when_there_is_room() {
    let strict = StrictVfs::new();
    let vfs = FaultVfs::new(Arc::new(strict));
    let engine = Engine::open(env_over(vfs.clone()), &dir(), small()).unwrap();
    let tree = engine.create_tree(schema()).unwrap();
    vfs.set_quota(Some(vfs.used() + 6_000));
    let mut acknowledged = Vec::new();
    let mut errors = 0;
    for number in 0..400 {
        let mut batch = WriteBatch::new();
        put(&engine, &mut batch, tree, number, &format!("some text for row {number}"));
        match engine.commit(batch) {
            Ok(_) => acknowledged.push(number),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
                errors += 1;
            }
        }
        if let Err(error) = engine.run_job() {
            assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
        }
    }
    assert!(errors > 0 && acknowledged.len() > 20, "{errors} errors, {}", acknowledged.len());
    for number in &acknowledged {
        assert!(get(&engine, tree, *number).is_some());
    }
    vfs.set_quota(None);
    commit(&engine, tree, 1000, "room again");
    engine.run_until_idle().unwrap();
    assert_eq!(engine.describe().stalled, None);
    let seq = engine.snapshot().seq();
    assert_eq!(seq, acknowledged.len() as u64 + 1, "a refused commit leaves no number behind");
    drop(engine);
    let engine = Engine::open(env_over(vfs), &dir(), small()).unwrap();
    for number in &acknowledged {
        assert!(get(&engine, tree, *number).is_some());
    }
    assert_eq!(engine.snapshot().seq(), seq);
}

#[test]
fn failed_sync_of_the_log_poisons_and_nothing_later_is_acknowledged() {
    let strict = StrictVfs::new();
    let vfs = FaultVfs::new(Arc::new(strict.clone()));
    let engine = Engine::open(env_over(vfs.clone()), &dir(), small()).unwrap();
    let tree = engine.create_tree(schema()).unwrap();
    commit(&engine, tree, 1, "synced");
    vfs.inject(Fault::new(FaultKind::Eio).on(crate::vfs::OpClass::Sync).path("wal"));
    let mut batch = WriteBatch::new();
    put(&engine, &mut batch, tree, 2, "not synced");
    assert!(engine.commit(batch).is_err());
    assert_eq!(get(&engine, tree, 2), None, "what is not durable is not shown");
    // The disk works again, but what it holds is not known.
    let mut batch = WriteBatch::new();
    put(&engine, &mut batch, tree, 3, "later");
    assert_eq!(engine.commit(batch).unwrap_err().kind(), ErrorKind::Closed);
    assert!(engine.flush().is_err() && engine.run_job().is_ok_and(|done| !done));
    assert_eq!(get(&engine, tree, 1).as_deref(), Some("synced"));
    drop(engine);
    let engine = Engine::open(env_on(&strict), &dir(), small()).unwrap();
    assert_eq!(get(&engine, tree, 1).as_deref(), Some("synced"));
    assert_eq!(get(&engine, tree, 3), None);
    commit(&engine, tree, 3, "goes on");
}

#[test]
fn order_of_writes_and_syncs_is_the_one_that_keeps_rows() {
    let strict = StrictVfs::new();
    let vfs = TraceVfs::new(Arc::new(strict));
    for _ in 0..3 {
        let engine = Engine::open(env_over(vfs.clone()), &dir(), small()).unwrap();
        work(&engine, &mut Told::default());
        engine.close().unwrap();
    }
    vfs.check();
}

#[test]
fn row_written_between_log_and_manifest_is_in_one_place_after_any_crash() {
    // The manifest says how far a tree is flushed in the edit that adds the file (RULES.md 14).
    let strict = StrictVfs::new();
    let engine = Engine::open(env_on(&strict), &dir(), small()).unwrap();
    let tree = engine.create_tree(schema()).unwrap();
    let images = Arc::new(Mutex::new(Vec::new()));
    for number in 0..10 {
        commit(&engine, tree, number, "row");
    }
    let seen = Arc::clone(&images);
    strict.observe(move |vfs, op| {
        let mode = CrashMode::ALL[usize::try_from(op).unwrap() % CrashMode::ALL.len()];
        seen.lock().push(vfs.crash_image(op, mode));
    });
    engine.flush().unwrap();
    engine.run_until_idle().unwrap();
    strict.stop_observing();
    let images = std::mem::take(&mut *images.lock());
    assert!(images.len() > 5);
    for image in images {
        let engine = Engine::open(env_on(&image), &dir(), small()).unwrap();
        let tree = &engine.describe().trees[0];
        let in_memory: u64 = tree.memtables.iter().map(|memtable| memtable.entries).sum();
        let files = tree.levels.iter().flat_map(|level| &level.files);
        let in_files: u64 = files.map(|file| file.rows).sum();
        assert_eq!(in_memory + in_files, 10);
    }
}

#[test]
fn damage_to_a_manifest_is_named_with_file_and_offset() {
    let strict = StrictVfs::new();
    let engine = Engine::open(env_on(&strict), &dir(), small()).unwrap();
    work(&engine, &mut Told::default());
    engine.close().unwrap();
    drop(engine);
    let manifest =
        strict.files().keys().find(|path| path.to_string_lossy().contains("manifest")).cloned();
    let manifest = manifest.unwrap();
    let len = strict.files()[&manifest].len();
    for at in (0..len).step_by(7) {
        let image = strict.crash_image(0, CrashMode::KeepAll);
        image.damage(&manifest, |bytes| bytes[at] ^= 0x10).unwrap();
        match Engine::open(env_on(&image), &dir(), small()) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
                let text = error.to_string();
                assert!(text.contains("manifest-") && text.contains("offset"), "{text}");
            }
            // Padding means nothing.
            Ok(engine) => assert_eq!(engine.trees().len(), 1, "byte {at}"),
        }
    }
    for cut in [0, 39, len / 2, len - 8] {
        let image = strict.crash_image(0, CrashMode::KeepAll);
        image.damage(&manifest, |bytes| bytes.truncate(cut)).unwrap();
        let error = Engine::open(env_on(&image), &dir(), small()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {cut}");
    }
}

#[test]
fn idle_tree_does_not_hold_back_more_log_than_allowed() {
    let options = Options { wal_bytes_max: 4096, memtable_bytes: 1 << 20, ..small() };
    let engine = Engine::open(env_on(&StrictVfs::new()), &dir(), options).unwrap();
    let idle = engine.create_tree(schema()).unwrap();
    let busy = engine.create_tree(schema()).unwrap();
    commit(&engine, idle, 1, "idle");
    let mut most = 0;
    for number in 0..300 {
        commit(&engine, busy, number, "some text that fills the log");
        engine.run_until_idle().unwrap();
        most = most.max(engine.describe().wal_segments.len());
    }
    assert!((4..8).contains(&most), "{most} segments");
    assert_eq!(get(&engine, idle, 1).as_deref(), Some("idle"));
}

#[test]
fn many_small_memtables_share_one_budget() {
    let options = Options { memory_bytes: 400_000, memtable_bytes: 1 << 20, ..options() };
    let engine = Engine::open(env_on(&StrictVfs::new()), &dir(), options).unwrap();
    let trees: Vec<_> = (0..10).map(|_| engine.create_tree(schema()).unwrap()).collect();
    for number in 0..200 {
        for tree in &trees {
            commit(&engine, *tree, number, "some text");
            engine.run_until_idle().unwrap();
            assert!(engine.describe().memtable_bytes <= 100_000);
        }
    }
    assert!(engine.describe().counters.flushes > 3);
    for tree in &trees {
        assert!(get(&engine, *tree, 0).is_some() && get(&engine, *tree, 199).is_some());
    }
}

#[test]
fn stopped_commit_hears_of_a_full_disk_instead_of_waiting_for_ever() {
    let vfs = FaultVfs::new(Arc::new(StrictVfs::new()));
    let env = Env { vfs: Arc::new(vfs.clone()), ..Env::os() };
    let options = Options { memory_bytes: 60_000, background: true, ..small() };
    let engine = Engine::open(env, &dir(), options).unwrap();
    let tree = engine.create_tree(schema()).unwrap();
    // Commits go on, flushes do not: memory fills up, and only then do commits stop.
    vfs.inject(Fault::new(FaultKind::Enospc).on(crate::vfs::OpClass::Write).path("sst").forever());
    let mut acknowledged = 0;
    let error = loop {
        let mut batch = WriteBatch::new();
        put(&engine, &mut batch, tree, acknowledged, "some text");
        match engine.commit(batch) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 10_000, "memtables grow without bound");
    };
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    assert!(engine.describe().stalled.is_some());
    vfs.clear();
    // The flush is tried again by itself, and writing resumes.
    for number in acknowledged.. {
        let mut batch = WriteBatch::new();
        put(&engine, &mut batch, tree, number, "some text");
        if engine.commit(batch).is_ok() {
            break;
        }
        engine.core.context.env.clock.sleep(std::time::Duration::from_millis(20));
    }
    assert!((0..acknowledged).all(|number| get(&engine, tree, number).is_some()));
    assert!(engine.describe().counters.stalls > 0);
}

#[test]
fn flush_syncs_the_log_before_its_file_enters_the_manifest() {
    // Otherwise a crash would leave numbers in a file that the log gives out again.
    let strict = StrictVfs::new();
    let engine = Engine::open(env_on(&strict), &dir(), small()).unwrap();
    let tree = engine.create_tree(schema()).unwrap();
    for number in 0..10 {
        let mut batch = WriteBatch::new();
        put(&engine, &mut batch, tree, number, "not synced");
        engine.commit_with(batch, Durability::Off).unwrap();
    }
    engine.flush().unwrap();
    let image = strict.crash_image(1, CrashMode::DropUnsynced);
    let engine = Engine::open(env_on(&image), &dir(), small()).unwrap();
    assert_eq!(engine.snapshot().seq(), 10);
    assert_eq!(commit(&engine, tree, 1, "next"), 11);
}

#[test]
fn flush_waits_until_every_numbered_batch_has_inserted() {
    let engine = Engine::open(env_on(&StrictVfs::new()), &dir(), small()).unwrap();
    let tree = engine.create_tree(schema()).unwrap();
    commit(&engine, tree, 1, "row");
    let state = engine.core.state(tree).unwrap();
    let active = state.active();
    active.pin(1, 0);
    engine.core.pipeline.freeze_all([&*state]).unwrap();
    assert_eq!(engine.next_job(), None);
    assert!(!engine.core.flush_oldest(&state).unwrap());
    active.unpin();
    assert_eq!(engine.next_job(), Some(JobKind::Flush(tree)));
}

#[test]
fn change_that_read_all_rows_conflicts_with_every_later_write() {
    let engine = Engine::open(env_on(&StrictVfs::new()), &dir(), small()).unwrap();
    let tree = engine.create_tree(schema()).unwrap();
    let catalog = engine.create_tree(schema()).unwrap();
    let not_null = |base: SeqNo| {
        let mut batch = WriteBatch::new();
        put(&engine, &mut batch, catalog, 1, "the column is NOT NULL");
        batch.set_base(base);
        batch.change_schema(tree);
        batch.read_tree(tree);
        batch
    };
    let before = engine.write_snapshot();
    commit(&engine, tree, 99, "a row it has not seen");
    assert_eq!(engine.commit(not_null(before.seq())).unwrap_err().kind(), ErrorKind::Conflict);
    let after = engine.write_snapshot();
    engine.commit(not_null(after.seq())).unwrap();
}

#[test]
fn placed_bulk_commit_is_not_placed_again_by_replay() {
    let strict = StrictVfs::new();
    let engine = Engine::open(env_on(&strict), &dir(), small()).unwrap();
    let tree = engine.create_tree(schema()).unwrap();
    let rows: Vec<(i64, String)> = (0..20).map(|row| (row, "loaded".to_owned())).collect();
    let mut load = engine.bulk_load(tree, OnDuplicate::Error).unwrap();
    load.push(columns(&rows)).unwrap();
    load.finish(WriteBatch::new()).unwrap();
    // Its rows are rewritten: placed again, the old file would come back above them.
    for number in 0..20 {
        commit(&engine, tree, number, "later");
    }
    engine.compact(tree).unwrap();
    let files = |engine: &Engine| {
        let levels = &engine.describe().trees[0].levels;
        levels.iter().map(|level| level.files.len()).sum::<usize>()
    };
    for mode in CrashMode::ALL {
        let image = strict.crash_image(1, mode);
        let reopened = Engine::open(env_on(&image), &dir(), small()).unwrap();
        assert_eq!(files(&reopened), files(&engine));
        assert!((0..20).all(|key| get(&reopened, tree, key).as_deref() == Some("later")));
    }
}

#[test]
fn panicking_job_poisons_writing_and_leaves_reading_alone() {
    let engine = Engine::open(env_on(&StrictVfs::new()), &dir(), small()).unwrap();
    let tree = engine.create_tree(schema()).unwrap();
    commit(&engine, tree, 1, "row");
    let cause = Error::internal("a background job panicked: Sweep");
    engine.core.pipeline.poison(&cause);
    let mut batch = WriteBatch::new();
    put(&engine, &mut batch, tree, 2, "row");
    assert_eq!(engine.commit(batch).unwrap_err().kind(), ErrorKind::Closed);
    assert!(get(&engine, tree, 1).is_some());
}
