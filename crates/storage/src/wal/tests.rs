//! The log's rules (RULES.md 1 to 5), each by what it prevents.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use proptest::prelude::*;

use super::record::{RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use super::*;
use crate::vfs::{
    CrashMode, Env, Fault, FaultKind, FaultVfs, ManualClock, OpClass, Random, SeededRandom,
    StrictVfs, TraceVfs,
};
use crate::{ErrorKind, OpKind, TreeId, WriteBatch};

const UUID: u128 = 0x1234_5678_9abc_def0_0fed_cba9_8765_4321;
const HEADER: u64 = SEGMENT_HEADER_BYTES as u64;

fn env(vfs: Arc<dyn Vfs>) -> Env {
    Env { vfs, clock: Arc::new(ManualClock::new(0)), random: Arc::new(SeededRandom::new(1)) }
}

fn dir() -> PathBuf {
    PathBuf::from("/db/wal")
}

fn disk() -> StrictVfs {
    let vfs = StrictVfs::new();
    vfs.create_dir(&dir()).unwrap();
    vfs.sync_dir(Path::new("/")).unwrap();
    vfs.sync_dir(Path::new("/db")).unwrap();
    vfs
}

fn first() -> WalStart {
    WalStart { segment: 1, predecessor: None, last_seq: 0 }
}

fn start() -> ReplayStart {
    ReplayStart { first_segment: 1, promise: Promise::default(), seal: None }
}

fn writer(vfs: &StrictVfs) -> WalWriter {
    WalWriter::create(&env(Arc::new(vfs.clone())), &dir(), UUID, 1 << 20, first()).unwrap()
}

/// The row that commit `seq` writes: what replay must answer for it.
fn row(seq: SeqNo) -> Vec<u8> {
    let random = SeededRandom::new(seq);
    (0..8 + random.below(120)).map(|_| random.next_u64().to_le_bytes()[0]).collect()
}

fn record(seq: SeqNo) -> CommitRecord {
    let mut batch = WriteBatch::new();
    batch.put(TreeId(1), &seq.to_be_bytes(), &row(seq));
    let mut record = CommitRecord::new();
    record.encode(&batch, &[]).unwrap();
    record
}

fn append(writer: &mut WalWriter) -> Result<WalPosition> {
    let seq = writer.last_seq() + 1;
    writer.append(seq, i64::try_from(seq).unwrap() * 10, &mut record(seq))
}

fn append_synced(writer: &mut WalWriter) -> WalPosition {
    let position = append(writer).unwrap();
    writer.sync_handle().sync().unwrap();
    position
}

/// Replays and checks that every record is the one that was written under its number.
fn replayed(vfs: &StrictVfs, start: ReplayStart) -> Result<(Vec<SeqNo>, ReplayEnd)> {
    let mut numbers = Vec::new();
    let env = env(Arc::new(vfs.clone()));
    let end = replay(&env, &dir(), UUID, start, |record| {
        let seq = record.header.seq;
        assert_eq!(record.header.commit_micros, i64::try_from(seq).unwrap() * 10);
        let commit = record.commit()?;
        let operations: Vec<_> = commit.operations().collect();
        let (key, row) = (seq.to_be_bytes(), row(seq));
        assert_eq!(operations, [(TreeId(1), &key[..], OpKind::Put, &row[..])]);
        numbers.push(seq);
        Ok(())
    })?;
    Ok((numbers, end))
}

fn refused(vfs: &StrictVfs, start: ReplayStart) -> String {
    let error = replayed(vfs, start).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    error.to_string()
}

fn path(segment: u64) -> PathBuf {
    segment_path(&dir(), segment)
}

fn reopen(vfs: &StrictVfs, end: &ReplayEnd) -> WalWriter {
    let start = WalStart {
        segment: end.next_segment,
        predecessor: Some(end.position),
        last_seq: end.last_seq,
    };
    WalWriter::create(&env(Arc::new(vfs.clone())), &dir(), UUID, 1 << 20, start).unwrap()
}

fn flip(vfs: &StrictVfs, segment: u64, offset: u64) {
    let offset = usize::try_from(offset).unwrap();
    vfs.damage(&path(segment), |bytes| bytes[offset] ^= 0x10).unwrap();
}

#[test]
fn what_was_appended_is_replayed_in_order_across_segments() {
    let vfs = disk();
    let mut writer = writer(&vfs);
    for round in 1..=30 {
        append(&mut writer).unwrap();
        if round % 10 == 0 {
            writer.rotate().unwrap();
        }
    }
    let (seq, mut records) = (writer.last_seq(), Vec::new());
    records.extend((1..4).map(|more| (seq + more, record(seq + more))));
    let mut group: Vec<_> = records
        .iter_mut()
        .map(|(seq, record)| (*seq, i64::try_from(*seq).unwrap() * 10, record))
        .collect();
    writer.append_group(&mut group).unwrap();

    let (numbers, end) = replayed(&vfs, start()).unwrap();
    assert_eq!(numbers, (1..=33).collect::<Vec<_>>());
    assert_eq!((end.last_seq, end.torn, end.next_segment), (33, None, 5));
    assert_eq!(end.position, writer.position());
    assert_eq!(end.last_commit_micros, 330);

    let later = ReplayStart { first_segment: 3, ..start() };
    assert_eq!(replayed(&vfs, later).unwrap().0, (21..=33).collect::<Vec<_>>());
}

#[test]
fn a_segment_ends_at_its_size_and_a_greater_record_has_one_of_its_own() {
    let vfs = disk();
    let env = env(Arc::new(vfs.clone()));
    let mut writer = WalWriter::create(&env, &dir(), UUID, 100, first()).unwrap();
    for _ in 0..5 {
        append(&mut writer).unwrap();
    }
    assert_eq!(writer.segment(), 5);
    assert_eq!(replayed(&vfs, start()).unwrap().0, [1, 2, 3, 4, 5]);
}

#[test]
fn a_number_that_does_not_follow_is_never_written() {
    let vfs = disk();
    let mut writer = writer(&vfs);
    append(&mut writer).unwrap();
    for seq in [1, 3] {
        let error = writer.append(seq, 0, &mut record(seq)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
    assert_eq!(replayed(&vfs, start()).unwrap().0, [1]);
}

#[test]
fn torn_tail_is_dropped_and_a_new_segment_begins() {
    let vfs = disk();
    let mut writer = writer(&vfs);
    append_synced(&mut writer);
    let torn = append(&mut writer).unwrap();
    let behind = append(&mut writer).unwrap();
    let kept = WalPosition::new(1, torn.offset - record(2).len() as u64);
    flip(&vfs, 1, torn.offset - 1);

    let (numbers, end) = replayed(&vfs, start()).unwrap();
    assert_eq!(numbers, [1]);
    assert_eq!((end.torn, end.position), (Some(kept), kept));
    assert_eq!((end.last_seq, end.next_segment), (1, 2));
    drop(writer);
    let mut writer = reopen(&vfs, &end);
    assert_eq!(vfs.files()[&path(1)].len() as u64, behind.offset, "the old segment is left alone");
    append_synced(&mut writer);

    // Number 2 is the new one, and number 3 behind the torn record never comes back.
    let (numbers, end) = replayed(&vfs, start()).unwrap();
    assert_eq!(numbers, [1, 2]);
    assert_eq!((end.torn, end.position), (None, writer.position()));
}

#[test]
fn damage_before_a_promise_is_corruption() {
    let vfs = disk();
    let mut writer = writer(&vfs);
    let first = append_synced(&mut writer);
    append_synced(&mut writer);
    append(&mut writer).unwrap();
    for at in [HEADER, HEADER + 20, first.offset - 1, first.offset, first.offset + 50] {
        let vfs = vfs.crash_image(1, CrashMode::KeepAll);
        flip(&vfs, 1, at);
        let begins = if at < first.offset { HEADER } else { first.offset };
        let message = refused(&vfs, start());
        assert!(message.contains("0000000001.wal"), "{message}");
        assert!(message.contains(&format!("at offset {begins}:")), "{message}");
    }
}

#[test]
fn damage_before_the_manifests_promise_is_corruption() {
    let vfs = disk();
    let mut writer = writer(&vfs);
    append_synced(&mut writer);
    let promise = writer.promise();
    flip(&vfs, 1, HEADER + 8);
    assert_eq!(replayed(&vfs, start()).unwrap().0, [0_u64; 0], "nothing in the log promises it");
    refused(&vfs, ReplayStart { promise, ..start() });
    vfs.damage(&path(1), |bytes| bytes.truncate(SEGMENT_HEADER_BYTES)).unwrap();
    let message = refused(&vfs, ReplayStart { promise, ..start() });
    assert!(message.contains("the log ends here"), "{message}");
    let number = Promise { position: WalPosition::new(1, HEADER), last_seq: 7 };
    let message = refused(&vfs, ReplayStart { promise: number, ..start() });
    assert!(message.contains('7'), "{message}");
}

#[test]
fn a_quiet_log_promises_its_last_commit_once() {
    let vfs = disk();
    let mut writer = writer(&vfs);
    append(&mut writer).unwrap();
    assert!(!writer.write_promise().unwrap(), "what is not synced is not promised");
    writer.sync_handle().sync().unwrap();
    assert!(writer.write_promise().unwrap());
    assert!(!writer.write_promise().unwrap());
    writer.sync_handle().sync().unwrap();
    assert!(!writer.write_promise().unwrap());
    let (numbers, end) = replayed(&vfs, start()).unwrap();
    assert_eq!((numbers, end.last_seq), (vec![1], 1), "a promise has no number of its own");
    flip(&vfs, 1, HEADER + 8);
    refused(&vfs, start());
}

#[test]
fn zeroes_are_damage_like_any_other() {
    let vfs = disk();
    let mut writer = writer(&vfs);
    let first = append_synced(&mut writer);
    let second = append(&mut writer).unwrap();
    let (from, to) = (to_usize(first.offset), to_usize(second.offset));

    let tail = vfs.crash_image(1, CrashMode::KeepAll);
    tail.damage(&path(1), |bytes| bytes.resize(bytes.len() + 4096, 0)).unwrap();
    let (numbers, end) = replayed(&tail, start()).unwrap();
    assert_eq!((numbers, end.torn), (vec![1, 2], Some(second)));

    let last = vfs.crash_image(1, CrashMode::KeepAll);
    last.damage(&path(1), |bytes| bytes[from..to].fill(0)).unwrap();
    assert_eq!(replayed(&last, start()).unwrap().0, [1]);

    vfs.damage(&path(1), |bytes| bytes[SEGMENT_HEADER_BYTES..from].fill(0)).unwrap();
    refused(&vfs, start());
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

#[test]
fn record_at_wrong_offset_or_segment_is_refused() {
    let vfs = disk();
    let mut writer = writer(&vfs);
    let mut same = || {
        let mut batch = WriteBatch::new();
        batch.delete(TreeId(1), b"key");
        let mut record = CommitRecord::new();
        record.encode(&batch, &[]).unwrap();
        let seq = writer.last_seq() + 1;
        writer.append(seq, 0, &mut record).unwrap()
    };
    let (first, second) = (to_usize(same().offset), to_usize(same().offset));
    let numbers = |vfs: &StrictVfs, uuid| {
        let mut numbers = Vec::new();
        let env = env(Arc::new(vfs.clone()));
        replay(&env, &dir(), uuid, start(), |record| {
            numbers.push(record.header.seq);
            Ok(())
        })
        .map(|_| numbers)
    };
    assert_eq!(numbers(&vfs, UUID).unwrap(), [1, 2]);

    let moved = vfs.crash_image(1, CrashMode::KeepAll);
    moved
        .damage(&path(1), |bytes| {
            bytes.copy_within(first..second, SEGMENT_HEADER_BYTES);
        })
        .unwrap();
    assert_eq!(
        numbers(&moved, UUID).unwrap(),
        [0_u64; 0],
        "the second record in the first one's place"
    );

    // The second segment holds the first one's bytes behind a header of its own.
    writer.rotate().unwrap();
    append(&mut writer).unwrap();
    let records = vfs.files()[&path(1)][SEGMENT_HEADER_BYTES..].to_vec();
    vfs.damage(&path(2), |bytes| {
        bytes.truncate(SEGMENT_HEADER_BYTES);
        bytes.extend(records);
    })
    .unwrap();
    assert_eq!(numbers(&vfs, UUID).unwrap(), [1, 2]);

    let error = numbers(&vfs, UUID + 1).unwrap_err();
    assert!(error.to_string().contains("belongs to database"), "{error}");
    let whole = vfs.files()[&path(1)].clone();
    vfs.damage(&path(2), |bytes| *bytes = whole).unwrap();
    let end = replayed_end(&vfs);
    assert_eq!(end.torn, Some(WalPosition::new(2, 0)), "a stale file under another name");
}

fn replayed_end(vfs: &StrictVfs) -> ReplayEnd {
    replay(&env(Arc::new(vfs.clone())), &dir(), UUID, start(), |_| Ok(())).unwrap()
}

#[test]
fn missing_segment_is_corruption() {
    let vfs = disk();
    let mut writer = writer(&vfs);
    for _ in 0..3 {
        append(&mut writer).unwrap();
        writer.rotate().unwrap();
    }
    writer.sync_handle().sync().unwrap();
    let promise = writer.promise();
    for missing in 1..=3 {
        let vfs = vfs.crash_image(1, CrashMode::KeepAll);
        vfs.remove_file(&path(missing)).unwrap();
        let message = refused(&vfs, start());
        assert!(message.contains(&format!("000000000{missing}.wal")), "{message}");
        assert!(message.contains("missing"), "{message}");
    }
    vfs.remove_file(&path(4)).unwrap();
    assert_eq!(replayed(&vfs, start()).unwrap().0, [1, 2, 3], "it was never promised");
    refused(&vfs, ReplayStart { promise, ..start() });
}

#[test]
fn a_segment_shorter_than_its_successor_says_is_corruption() {
    let vfs = disk();
    let mut writer = writer(&vfs);
    append(&mut writer).unwrap();
    let kept = append(&mut writer).unwrap();
    append(&mut writer).unwrap();
    writer.rotate().unwrap();
    vfs.damage(&path(1), |bytes| bytes.truncate(to_usize(kept.offset))).unwrap();
    let message = refused(&vfs, start());
    assert!(message.contains("0000000001.wal") && message.contains("successor"), "{message}");
}

#[test]
fn a_segment_of_zeroes_at_the_end_was_never_used() {
    let vfs = disk();
    let mut writer = writer(&vfs);
    append_synced(&mut writer);
    for (number, bytes) in [(2, 0), (3, 4096)] {
        let file = vfs.open(&path(number), crate::vfs::OpenMode::CreateNew).unwrap();
        file.set_len(bytes).unwrap();
    }
    let (numbers, end) = replayed(&vfs, start()).unwrap();
    assert_eq!((numbers, &end.unused[..], end.torn), (vec![1], &[2, 3][..], None));
    assert_eq!(end.next_segment, 4);
    // Left in place, they stay out of the way.
    append_synced(&mut reopen(&vfs, &end));
    assert_eq!(replayed(&vfs, start()).unwrap().0, [1, 2]);
}

#[test]
fn a_segment_whose_header_was_lost_before_its_sync_is_passed_over_for_good() {
    let vfs = disk();
    let mut writer = writer(&vfs);
    append_synced(&mut writer);
    writer.rotate().unwrap();
    append(&mut writer).unwrap();
    flip(&vfs, 2, 30);
    let (numbers, end) = replayed(&vfs, start()).unwrap();
    assert_eq!((numbers, end.next_segment), (vec![1], 3));
    assert_eq!((end.position.segment, end.torn), (1, Some(WalPosition::new(2, 0))));
    append_synced(&mut reopen(&vfs, &end));
    let (numbers, end) = replayed(&vfs, start()).unwrap();
    assert_eq!((numbers, end.torn), (vec![1, 2], None));
}

#[test]
fn a_lost_header_before_a_promise_in_its_segment_is_corruption() {
    let vfs = disk();
    let mut writer = writer(&vfs);
    append_synced(&mut writer);
    writer.rotate().unwrap();
    append_synced(&mut writer);
    append(&mut writer).unwrap();
    flip(&vfs, 2, 30);
    assert!(refused(&vfs, start()).contains("0000000002.wal"));
}

#[test]
fn damage_before_a_later_segments_record_is_corruption_though_its_header_is_lost() {
    let vfs = disk();
    let mut writer = writer(&vfs);
    append(&mut writer).unwrap();
    writer.rotate().unwrap();
    append(&mut writer).unwrap();
    flip(&vfs, 2, 30);
    flip(&vfs, 1, HEADER + 9);
    assert!(refused(&vfs, start()).contains("0000000001.wal"));
}

#[test]
fn a_lost_first_header_is_corruption() {
    let vfs = disk();
    let mut writer = writer(&vfs);
    append_synced(&mut writer);
    flip(&vfs, 1, 20);
    assert!(refused(&vfs, start()).contains("0000000001.wal at offset 0"));
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let vfs = disk();
    drop(writer(&vfs));
    vfs.damage(&path(1), |bytes| {
        bytes[8] = 9;
        let crc = crc32fast::hash(&bytes[..68]);
        bytes[68..72].copy_from_slice(&crc.to_le_bytes());
    })
    .unwrap();
    let error = replayed(&vfs, start()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("format 9"), "{error}");
}

#[test]
fn a_seal_turns_any_damage_into_corruption() {
    let vfs = disk();
    let mut writer = writer(&vfs);
    append(&mut writer).unwrap();
    append(&mut writer).unwrap();
    let seal = writer.seal().unwrap();
    assert_eq!((seal.position, seal.last_seq), (writer.position(), 2));
    let sealed = ReplayStart { seal: Some(seal), ..start() };
    assert_eq!(replayed(&vfs, sealed).unwrap().0, [1, 2]);

    let len = vfs.files()[&path(1)].len();
    for at in 0..len {
        let vfs = vfs.crash_image(1, CrashMode::KeepAll);
        flip(&vfs, 1, at as u64);
        refused(&vfs, sealed);
        let cut = vfs.crash_image(1, CrashMode::KeepAll);
        cut.damage(&path(1), |bytes| bytes.truncate(at)).unwrap();
        refused(&cut, sealed);
    }
    let longer = vfs.crash_image(1, CrashMode::KeepAll);
    longer.damage(&path(1), |bytes| bytes.push(0)).unwrap();
    refused(&longer, sealed);

    // A segment begun after the seal, by an opening that did not come far, is nothing wrong.
    let end = replayed(&vfs, sealed).unwrap().1;
    let mut writer = reopen(&vfs, &end);
    assert_eq!(replayed(&vfs, sealed).unwrap().1.next_segment, 3);
    append(&mut writer).unwrap();
    flip(&vfs, 2, HEADER + 1);
    assert_eq!(replayed(&vfs, sealed).unwrap().0, [1, 2]);
}

#[test]
fn enospc_leaves_log_at_last_good_record() {
    for short in [FaultKind::Enospc, FaultKind::ShortEnospc] {
        let vfs = disk();
        let faults = FaultVfs::new(Arc::new(vfs.clone()));
        let env = env(Arc::new(faults.clone()));
        let mut writer = WalWriter::create(&env, &dir(), UUID, 1 << 20, first()).unwrap();
        append(&mut writer).unwrap();
        let before = writer.position();
        faults.inject(Fault::new(short).on(OpClass::Write).path(".wal"));

        let mut records = [record(2), record(3)];
        let [second, third] = &mut records;
        let error = writer.append_group(&mut [(2, 20, second), (3, 30, third)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
        assert!(!writer.is_poisoned());
        assert_eq!((writer.last_seq(), writer.position()), (1, before));
        assert_eq!(writer.promise().position, before, "what was whole is synced");
        for mode in CrashMode::ALL {
            let image = vfs.crash_image(1, mode);
            assert_eq!(replayed(&image, start()).unwrap().0, [1], "a refused commit stays away");
        }

        assert_eq!(append(&mut writer).unwrap().segment, 1, "writing goes on");
        assert_eq!(replayed(&vfs, start()).unwrap().0, [1, 2]);
    }
}

#[test]
fn enospc_when_a_segment_begins_leaves_the_log_in_the_old_one() {
    for class in [OpClass::Create, OpClass::Write] {
        let vfs = disk();
        let faults = FaultVfs::new(Arc::new(vfs.clone()));
        let env = env(Arc::new(faults.clone()));
        let mut writer = WalWriter::create(&env, &dir(), UUID, 200, first()).unwrap();
        append(&mut writer).unwrap();
        faults.inject(Fault::new(FaultKind::ShortEnospc).on(class).path(".wal").forever());
        while writer.position().offset < 100 {
            append(&mut writer).unwrap();
        }
        let (last, before) = (writer.last_seq(), writer.position());
        let mut large = WriteBatch::new();
        large.put(TreeId(1), b"", &[0; 300]);
        let mut record = CommitRecord::new();
        record.encode(&large, &[]).unwrap();
        let error = writer.append(last + 1, 0, &mut record).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
        assert_eq!((writer.last_seq(), writer.position()), (last, before));
        faults.clear();
        let mut batch = WriteBatch::new();
        batch.put(TreeId(1), &(last + 1).to_be_bytes(), &[0; 300]);
        record.encode(&batch, &[]).unwrap();
        writer.append(last + 1, 0, &mut record).unwrap();
        assert!(writer.segment() > 1);
        assert_eq!(replayed_end(&vfs).last_seq, last + 1);
    }
}

#[test]
fn a_failed_write_or_sync_closes_the_log_for_good() {
    let cases = [
        (FaultKind::Eio, OpClass::Write),
        (FaultKind::ShortEio, OpClass::Write),
        (FaultKind::Eio, OpClass::Sync),
        (FaultKind::Enospc, OpClass::Sync),
    ];
    for (kind, class) in cases {
        let vfs = disk();
        let faults = FaultVfs::new(Arc::new(vfs.clone()));
        let env = env(Arc::new(faults.clone()));
        let mut writer = WalWriter::create(&env, &dir(), UUID, 1 << 20, first()).unwrap();
        append_synced(&mut writer);
        faults.inject(Fault::new(kind).on(class).path(".wal"));
        let waiting = writer.sync_handle();
        let error = match append(&mut writer) {
            Ok(_) => writer.sync_handle().sync().unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(writer.is_poisoned());
        // The fault was there once only, and yet nothing is acknowledged any more.
        assert_eq!(append(&mut writer).unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(writer.rotate().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(writer.seal().unwrap_err().kind(), ErrorKind::Closed);
        waiting.sync().unwrap();
        let (numbers, _) = replayed(&vfs.crash_image(1, CrashMode::DropUnsynced), start()).unwrap();
        assert_eq!(numbers, [1]);
    }
}

#[test]
fn an_unreadable_segment_is_an_io_error_and_never_a_torn_tail() {
    let vfs = disk();
    let mut writer = writer(&vfs);
    append(&mut writer).unwrap();
    let faults = FaultVfs::new(Arc::new(vfs.clone()));
    faults.inject(Fault::new(FaultKind::Eio).on(OpClass::Read).nth(1));
    let env = env(Arc::new(faults));
    let error = replay(&env, &dir(), UUID, start(), |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
}

#[test]
fn one_sync_serves_all_that_was_appended_before_it() {
    let vfs = disk();
    let faults = FaultVfs::new(Arc::new(vfs.clone()));
    let env = env(Arc::new(faults.clone()));
    let mut writer = WalWriter::create(&env, &dir(), UUID, 1 << 20, first()).unwrap();
    append(&mut writer).unwrap();
    let first = writer.sync_handle();
    append(&mut writer).unwrap();
    let second = writer.sync_handle();
    let calls = faults.count(OpClass::Sync);
    let promise = first.sync().unwrap();
    assert_eq!((promise.position, promise.last_seq), (writer.position(), 2));
    second.sync().unwrap();
    assert_eq!(faults.count(OpClass::Sync), calls + 1);
}

#[test]
fn what_is_acknowledged_beside_a_failing_sync_is_durable() {
    for seed in 0..20 {
        let vfs = disk();
        let faults = FaultVfs::new(Arc::new(vfs.clone()));
        let env = env(Arc::new(faults.clone()));
        let writer = WalWriter::create(&env, &dir(), UUID, 2000, first()).unwrap();
        let writer = Mutex::new(writer);
        faults.inject(Fault::new(FaultKind::Eio).on(OpClass::Sync).nth(seed * 3));
        let acknowledged = Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let handle = {
                            let mut writer = writer.lock();
                            append(&mut writer).map(|_| (writer.last_seq(), writer.sync_handle()))
                        };
                        let Ok((seq, sync)) = handle else { break };
                        if sync.sync().is_err() {
                            break;
                        }
                        let mut acknowledged = acknowledged.lock();
                        *acknowledged = seq.max(*acknowledged);
                    }
                });
            }
        });
        assert!(writer.lock().is_poisoned() || faults.count(OpClass::Sync) <= seed * 3);
        let image = vfs.crash_image(seed, CrashMode::DropUnsynced);
        let recovered = replayed(&image, start()).unwrap().1.last_seq;
        let acknowledged = *acknowledged.lock();
        assert!(recovered >= acknowledged, "seed {seed}: {recovered} < {acknowledged}");
    }
}

#[test]
fn the_order_of_syncs_between_segments_is_kept() {
    let vfs = disk();
    let trace = TraceVfs::new(Arc::new(vfs.clone()));
    let env = env(Arc::new(trace.clone()));
    let mut writer = WalWriter::create(&env, &dir(), UUID, 300, first()).unwrap();
    for _ in 0..20 {
        append(&mut writer).unwrap();
    }
    trace.check();
    let (_, end) = replayed(&vfs, start()).unwrap();
    let next = WalStart {
        segment: end.next_segment,
        predecessor: Some(end.position),
        last_seq: end.last_seq,
    };
    WalWriter::create(&env, &dir(), UUID, 300, next).unwrap();
    trace.check();
}

#[test]
fn dump_shows_header_records_and_damage() {
    let vfs = disk();
    let mut writer = writer(&vfs);
    let first = append_synced(&mut writer);
    let second = append_synced(&mut writer);
    writer.write_promise().unwrap();
    flip(&vfs, 1, first.offset + 3);
    let env = env(Arc::new(vfs.clone()));
    let entries: Vec<_> = dump(&env, &path(1)).unwrap().map(|entry| entry.unwrap()).collect();
    let shown: Vec<_> = entries
        .iter()
        .map(|entry| match &entry.what {
            DumpItem::Segment(header) => (entry.offset, "segment", header.segment),
            DumpItem::Record { header, payload } => {
                assert_eq!(payload.len(), header.payload_len as usize);
                match header.kind {
                    RecordKind::Commit => (entry.offset, "commit", header.seq),
                    RecordKind::Promise => (entry.offset, "promise", header.seq),
                }
            }
            DumpItem::Damage { bytes, .. } => (entry.offset, "damage", *bytes),
        })
        .collect();
    let damaged = second.offset - first.offset;
    assert_eq!(
        shown,
        [
            (0, "segment", 1),
            (HEADER, "commit", 1),
            (first.offset, "damage", damaged),
            (second.offset, "promise", 2),
        ]
    );
}

/// What a run of the power test was told is durable at some change of the disk.
#[derive(Default)]
struct Ledger {
    acknowledged: SeqNo,
    submitted: SeqNo,
    promise: Promise,
}

/// Writes, rotates, quiesces and reopens, cutting the power after every change of the disk.
/// Answers what went wrong.
fn power(seed: u64, noop: bool) -> Vec<String> {
    let vfs = disk();
    vfs.set_sync_is_noop(noop);
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let wrong = Arc::new(Mutex::new(Vec::new()));
    let (seen, reported) = (Arc::clone(&ledger), Arc::clone(&wrong));
    let random = SeededRandom::new(seed);
    let mut writer = writer(&vfs);
    vfs.observe(move |vfs, op| {
        let ledger = seen.lock();
        for mode in CrashMode::ALL {
            let image = vfs.crash_image(seed ^ op, mode);
            if let Err(what) = check_image(&image, &ledger) {
                reported.lock().push(format!("seed {seed} op {op} {mode:?}: {what}"));
            }
        }
    });
    for _ in 0..40 {
        match random.below(10) {
            0 => writer.rotate().unwrap(),
            1 => drop(writer.write_promise().unwrap()),
            2 => {
                // The process dies, the machine does not.
                let promise = ledger.lock().promise;
                let (_, end) = replayed(&vfs, ReplayStart { promise, ..start() }).unwrap();
                writer = reopen(&vfs, &end);
            }
            3 => ledger.lock().promise = writer.promise(),
            _ => {
                ledger.lock().submitted = writer.last_seq() + 1;
                append(&mut writer).unwrap();
            }
        }
        if random.chance(50) {
            let synced = writer.sync_handle().sync().unwrap();
            let mut ledger = ledger.lock();
            ledger.acknowledged = ledger.acknowledged.max(synced.last_seq);
        }
    }
    vfs.stop_observing();
    Arc::into_inner(wrong).map(Mutex::into_inner).expect("the observer is gone")
}

fn check_image(image: &StrictVfs, ledger: &Ledger) -> std::result::Result<(), String> {
    let start = ReplayStart { promise: ledger.promise, ..start() };
    let (numbers, end) = replayed(image, start).map_err(|error| error.to_string())?;
    let recovered = numbers.len() as u64;
    if recovered < ledger.acknowledged || recovered > ledger.submitted {
        let Ledger { acknowledged, submitted, .. } = ledger;
        return Err(format!("{recovered} of {acknowledged} acknowledged, {submitted} submitted"));
    }
    // Recovery is cut too, and what came out of it stays.
    let mut writer = reopen(image, &end);
    append(&mut writer).unwrap();
    for mode in [CrashMode::DropUnsynced, CrashMode::KeepPieces] {
        let again = image.crash_image(recovered, mode);
        let (numbers, _) = replayed(&again, start).map_err(|error| format!("again: {error}"))?;
        if numbers.len() as u64 != recovered && numbers.len() as u64 != recovered + 1 {
            return Err(format!("{} after {recovered}", numbers.len()));
        }
    }
    Ok(())
}

#[test]
fn no_power_cut_loses_what_was_synced_or_brings_what_was_not_written() {
    for seed in 0..25 {
        let wrong = power(seed, false);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[test]
fn the_power_test_fails_when_syncs_do_nothing() {
    let wrong: usize = (0..5).map(|seed| power(seed, true).len()).sum();
    assert!(wrong > 50, "{wrong} images were found wanting");
}

/// A log of a few segments with a torn record in it, as bytes by path.
fn written() -> (BTreeMap<PathBuf, Vec<u8>>, Promise) {
    let vfs = disk();
    let mut writer = writer(&vfs);
    for seq in 1..=24 {
        append(&mut writer).unwrap();
        if seq % 3 == 0 {
            writer.sync_handle().sync().unwrap();
        }
        if seq % 10 == 0 {
            writer.rotate().unwrap();
        }
    }
    let promise = writer.promise();
    let files = vfs.files().into_iter().collect();
    (files, promise)
}

#[derive(Clone, Debug)]
enum Mutation {
    Set { at: prop::sample::Index, byte: u8 },
    Zero { at: prop::sample::Index, len: usize },
    Cut { at: prop::sample::Index },
    Extend { byte: u8, len: usize },
    Move { from: prop::sample::Index, to: prop::sample::Index, len: usize },
    Swap,
    Remove,
}

fn mutation() -> impl Strategy<Value = (usize, Mutation)> {
    use prop::sample::Index;
    let what = prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set { at, byte }),
        2 => (any::<Index>(), 1..600usize).prop_map(|(at, len)| Mutation::Zero { at, len }),
        2 => any::<Index>().prop_map(|at| Mutation::Cut { at }),
        1 => (any::<u8>(), 1..600usize).prop_map(|(byte, len)| Mutation::Extend { byte, len }),
        2 => (any::<Index>(), any::<Index>(), 1..600usize)
            .prop_map(|(from, to, len)| Mutation::Move { from, to, len }),
        1 => Just(Mutation::Swap),
        1 => Just(Mutation::Remove),
    ];
    (1..=3usize, what)
}

fn mutate(vfs: &StrictVfs, segment: usize, mutation: &Mutation) -> io::Result<()> {
    let segment = segment as u64;
    let other = path(segment % 3 + 1);
    match mutation {
        Mutation::Remove => return vfs.remove_file(&path(segment)),
        Mutation::Swap => {
            let (one, two) = (path(segment), path(9));
            vfs.rename(&one, &two)?;
            vfs.rename(&other, &one)?;
            return vfs.rename(&two, &other);
        }
        _ => {}
    }
    vfs.damage(&path(segment), |bytes| {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len();
        match mutation {
            Mutation::Set { at, byte } => bytes[at.index(len)] = *byte,
            Mutation::Zero { at, len: count } => {
                let at = at.index(len);
                bytes[at..(at + count).min(len)].fill(0);
            }
            Mutation::Cut { at } => bytes.truncate(at.index(len)),
            Mutation::Extend { byte, len: count } => bytes.resize(len + count, *byte),
            Mutation::Move { from, to, len: count } => {
                let (from, to) = (from.index(len) & !7, to.index(len) & !7);
                let count = (*count).min(len - from).min(len - to);
                bytes.copy_within(from..from + count, to);
            }
            Mutation::Swap | Mutation::Remove => {}
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// `replayed` asserts that each record is the one written under its number.
    #[test]
    fn no_damage_makes_replay_panic_or_answer_a_record_that_was_not_written(
        mutations in prop::collection::vec(mutation(), 1..4),
    ) {
        let (files, promise) = written();
        let vfs = disk();
        for (path, bytes) in files {
            let file = vfs.open(&path, crate::vfs::OpenMode::CreateNew).unwrap();
            file.write_all_at(0, &bytes).unwrap();
        }
        for (segment, mutation) in &mutations {
            // A file removed by one mutation is not there for the next.
            let _ = mutate(&vfs, *segment, mutation);
        }
        for promise in [Promise::default(), promise] {
            match replayed(&vfs, ReplayStart { promise, ..start() }) {
                Ok((numbers, end)) => {
                    prop_assert!(numbers.len() as u64 >= promise.last_seq);
                    prop_assert!(numbers.iter().copied().eq(1..=numbers.len() as u64));
                    prop_assert_eq!(end.last_seq, numbers.len() as u64);
                }
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error),
            }
        }
        for number in 1..=3 {
            if let Ok(dump) = dump(&env(Arc::new(vfs.clone())), &path(number)) {
                let records = dump.take(1000).filter(|entry| {
                    matches!(entry, Ok(DumpEntry { what: DumpItem::Record { .. }, .. }))
                });
                prop_assert!(records.count() <= 24);
            }
        }
    }
}

#[test]
fn random_bytes_are_never_a_log() {
    let seed = 7;
    let random = SeededRandom::new(seed);
    for round in 0..200 {
        let vfs = disk();
        drop(writer(&vfs));
        let count = RECORD_HEADER_BYTES + to_usize(random.below(2000));
        vfs.damage(&path(1), |bytes| {
            bytes.extend((0..count).map(|_| random.next_u64().to_le_bytes()[0]));
        })
        .unwrap();
        let (numbers, end) = replayed(&vfs, start()).unwrap();
        assert_eq!((numbers.len(), end.position.offset), (0, HEADER), "seed {seed} round {round}");
    }
}

#[test]
fn log_laid_out_ahead_reads_as_one_that_is_not() {
    for ahead in [0, 4096, 64 << 10] {
        for seed in 0..12 {
            let vfs = disk();
            let random = SeededRandom::new(seed);
            let env = env(Arc::new(vfs.clone()));
            let create = || WalWriter::create(&env, &dir(), UUID, 2000, first());
            let mut writer = create().unwrap().laid_out_ahead(ahead);
            let mut synced = 0;
            for seq in 1..=40 {
                append(&mut writer).unwrap();
                if random.chance(50) {
                    synced = writer.sync_handle().sync().unwrap().last_seq;
                }
                if random.chance(10) {
                    writer.write_promise().unwrap();
                }
                let mode = CrashMode::ALL[to_usize(random.below(5))];
                let image = vfs.crash_image(seed, mode);
                let (numbers, end) = replayed(&image, start()).unwrap();
                assert!(end.last_seq >= synced && end.last_seq <= seq, "{ahead} {seed}: {end:?}");
                assert_eq!(numbers, (1..=end.last_seq).collect::<Vec<_>>());
            }
            for segment in 1..=writer.segment() {
                let shown = dump(&env, &path(segment)).unwrap();
                let is_damage = |entry: DumpEntry| matches!(entry.what, DumpItem::Damage { .. });
                assert!(!shown.map(Result::unwrap).any(is_damage), "{ahead} {seed}");
            }
            let seal = writer.seal().unwrap();
            let file = vfs.open(&path(writer.segment()), crate::vfs::OpenMode::Read).unwrap();
            assert_eq!(file.len().unwrap(), writer.position().offset);
            for mode in CrashMode::ALL {
                let image = vfs.crash_image(seed, mode);
                let sealed = ReplayStart { seal: Some(seal), ..start() };
                assert_eq!(replayed(&image, sealed).unwrap().1.last_seq, 40);
            }
        }
    }
}

#[test]
fn disk_too_full_to_lay_the_log_out_ahead_still_takes_records() {
    for short in [FaultKind::Enospc, FaultKind::ShortEnospc] {
        let vfs = disk();
        let faults = FaultVfs::new(Arc::new(vfs.clone()));
        let env = env(Arc::new(faults.clone()));
        let writer = WalWriter::create(&env, &dir(), UUID, 1 << 20, first()).unwrap();
        let mut writer = writer.laid_out_ahead(64 << 10);
        faults.inject(Fault::new(short).on(OpClass::Write).path(".wal"));
        append_synced(&mut writer);
        let len = || vfs.open(&path(1), crate::vfs::OpenMode::Read).unwrap().len().unwrap();
        assert_eq!(len(), writer.position().offset, "what was laid out was cut off");
        append_synced(&mut writer);
        assert!(len() >= 64 << 10, "there is room again");
        assert_eq!(replayed(&vfs, start()).unwrap().0, [1, 2]);
    }
}
