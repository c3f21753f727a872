//! Every call on the disk fails in turn, once or for ever: typed errors, honest commits, no hang,
//! and a database that opens again.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use silt_storage::ErrorKind;
use silt_storage::vfs::{Call, CrashMode, Fault, FaultKind, FaultVfs, OpClass, StrictVfs};

use crate::told::{Told, is_poisoned, open};

/// One workload takes far less, however busy the machine.
const HANG: Duration = Duration::from_secs(60);

/// Opening, work, a clean close, and once more.
fn session(vfs: &FaultVfs, told: &mut Told) {
    for _ in 0..2 {
        let engine = match open(vfs.clone()) {
            Ok(engine) => engine,
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::Io | ErrorKind::DiskFull),
                    "opening fails as {:?}: {error}",
                    error.kind()
                );
                told.errors.push(("open", error.kind()));
                return;
            }
        };
        told.work(&engine);
        told.check_live(&engine);
        let was_poisoned = told.trees.first().is_some_and(|tree| is_poisoned(&engine, *tree));
        if let Err(error) = engine.close() {
            told.errors.push(("close", error.kind()));
        }
        // What is doubtful is settled by the next opening; the workload does not go on past it.
        if was_poisoned || !told.errors.is_empty() {
            return;
        }
    }
}

/// The calls of a workload that meets no failure.
fn clean_log() -> Vec<Call> {
    let vfs = FaultVfs::new(Arc::new(StrictVfs::new()));
    let mut told = Told::new();
    session(&vfs, &mut told);
    assert_eq!(told.errors, []);
    assert!(told.acknowledged > 25);
    vfs.take_log()
}

#[derive(Clone, Copy, Debug)]
struct Case {
    call: usize,
    kind: FaultKind,
    /// Only calls of this class fail, else any.
    class: Option<OpClass>,
    forever: bool,
}

fn cases(log: &[Call]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (call, made) in log.iter().enumerate() {
        let class = made.class;
        let mut add = |kind, class, forever| cases.push(Case { call, kind, class, forever });
        add(FaultKind::Eio, None, false);
        add(FaultKind::Eio, None, true);
        let takes_room = matches!(
            class,
            OpClass::Create
                | OpClass::Write
                | OpClass::Sync
                | OpClass::SyncDir
                | OpClass::SetLen
                | OpClass::Rename
                | OpClass::CreateDir
        );
        if takes_room {
            add(FaultKind::Enospc, Some(class), false);
            add(FaultKind::Enospc, Some(class), true);
        }
        if class == OpClass::Write {
            add(FaultKind::ShortEio, Some(class), false);
            add(FaultKind::ShortEnospc, Some(class), false);
            add(FaultKind::ShortEnospc, Some(class), true);
        }
    }
    cases
}

fn run(case: Case, log: &[Call]) -> Vec<(&'static str, ErrorKind)> {
    let strict = StrictVfs::new();
    let vfs = FaultVfs::new(Arc::new(strict.clone()));
    let mut fault = Fault::new(case.kind);
    let before = &log[..case.call];
    fault = match case.class {
        Some(class) => {
            let skipped = before.iter().filter(|call| call.class == class).count();
            fault.on(class).nth(skipped as u64)
        }
        None => fault.nth(case.call as u64),
    };
    vfs.inject(if case.forever { fault.forever() } else { fault });
    let mut told = Told::new();
    session(&vfs, &mut told);
    vfs.clear();
    // The process died; and the machine with it.
    let cut = strict.crash_image(case.call as u64, CrashMode::DropUnsynced);
    told.check_reopened(&strict, "after the process died");
    told.check_reopened(&cut, "after the power was cut");
    told.errors
}

#[test]
fn every_failing_call_is_borne_with_an_honest_answer() {
    let log = clean_log();
    let cases = cases(&log);
    let (sender, results) = mpsc::channel();
    let next = Arc::new(AtomicUsize::new(0));
    let shared = Arc::new((log.clone(), cases.clone()));
    for _ in 0..2 {
        let (sender, next, shared) = (sender.clone(), Arc::clone(&next), Arc::clone(&shared));
        std::thread::spawn(move || {
            let (log, cases) = &*shared;
            while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result = catch_unwind(AssertUnwindSafe(|| run(*case, log)));
                if sender.send((*case, result)).is_err() {
                    return;
                }
            }
        });
    }
    drop(sender);
    let mut failed = Vec::new();
    let mut told_of: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..cases.len() {
        let at = next.load(Ordering::Relaxed);
        let (case, result) = results.recv_timeout(HANG).unwrap_or_else(|_| {
            panic!("a workload hangs, one of {:?}", &cases[at.saturating_sub(2)..at])
        });
        match result {
            Ok(errors) => {
                for (what, _) in errors {
                    *told_of.entry(what).or_default() += 1;
                }
            }
            Err(panic) => {
                let message = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                let made = &log[case.call];
                failed.push(format!("{case:?} {:?}: {}", made, message.unwrap_or_default()));
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} cases fail:\n{}",
        failed.len(),
        cases.len(),
        failed[..failed.len().min(12)].join("\n")
    );
    for what in ["open", "create tree", "commit", "flush", "bulk load", "compaction", "close"] {
        assert!(told_of.contains_key(what), "no {what} of {} cases failed", cases.len());
    }
    println!("{} cases over {} calls: {told_of:?}", cases.len(), log.len());
}

#[test]
fn judge_of_failing_calls_notices_a_sync_that_does_nothing() {
    let strict = StrictVfs::new();
    strict.set_sync_is_noop(true);
    let mut told = Told::new();
    session(&FaultVfs::new(Arc::new(strict.clone())), &mut told);
    assert_eq!(told.errors, []);
    told.check_reopened(&strict, "the machine lives");
    let cut = strict.crash_image(1, CrashMode::DropUnsynced);
    let judged = catch_unwind(AssertUnwindSafe(|| told.check_reopened(&cut, "never synced")));
    assert!(judged.is_err(), "nothing was synced, and the power cut loses nothing");
}
