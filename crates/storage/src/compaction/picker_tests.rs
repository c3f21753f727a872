use super::*;
use crate::FastPaths;
use crate::version::{FileMeta, SweepQueue};

const MIB: u64 = 1 << 20;

struct File(u64, &'static str, &'static str, u64);

fn live(file: &File) -> Arc<LiveFile> {
    let meta = FileMeta {
        id: file.0,
        size: file.3,
        footer_checksum: 0,
        smallest: file.1.as_bytes().into(),
        largest: file.2.as_bytes().into(),
        min_seq: file.0,
        max_seq: file.0,
        rows: 100,
        deletes: 0,
        groups: 1,
        schema_version: 1,
        one_version: true,
        file_seq: None,
        columns: Vec::new(),
        commit_micros: (0, 0),
    };
    Arc::new(LiveFile::new(meta, Arc::new(SweepQueue::default())))
}

fn version(levels: &[(usize, &[File])]) -> TreeVersion {
    let mut version = TreeVersion::default();
    for (level, files) in levels {
        version.levels[*level] = files.iter().map(live).collect();
    }
    version
}

fn options() -> Options {
    Options { memtable_bytes: 4 << 20, file_bytes: 16 << 20, ..Options::default() }
}

fn ids(files: &[(usize, Arc<LiveFile>)]) -> Vec<u64> {
    files.iter().map(|(_, file)| file.id).collect()
}

fn pick_idle(version: &TreeVersion) -> Option<Compaction> {
    pick(version, &options(), SeqNo::MAX, &BTreeSet::new())
}

#[test]
fn level_0_is_due_at_the_set_number_of_runs() {
    let three =
        version(&[(0, &[File(3, "a", "z", 1), File(2, "a", "z", 1), File(1, "a", "z", 1)])]);
    assert!(pick_idle(&three).is_none());
    let four = version(&[(
        0,
        &[File(4, "a", "z", 1), File(3, "a", "z", 1), File(2, "a", "z", 1), File(1, "a", "z", 1)],
    )]);
    let picked = pick_idle(&four).unwrap();
    assert_eq!((picked.output_level, ids(&picked.inputs)), (6, vec![4, 3, 2, 1]));
    assert!(picked.is_last_level && picked.is_bottom && picked.moves.is_empty());
}

#[test]
fn runs_that_overlap_nothing_are_moved() {
    let sequential = version(&[
        (
            0,
            &[
                File(5, "i", "j", 1),
                File(4, "g", "h", 1),
                File(3, "e", "f", 1),
                File(2, "c", "d", 1),
            ],
        ),
        (6, &[File(1, "a", "b", 1)]),
    ]);
    let picked = pick_idle(&sequential).unwrap();
    assert_eq!(ids(&picked.moves), [2, 3, 4, 5]);
    assert!(picked.inputs.is_empty());
}

#[test]
fn output_ends_before_a_file_that_lies_between_its_inputs() {
    let picked = pick_idle(&version(&[
        (
            0,
            &[
                File(9, "a", "c", 1),
                File(8, "b", "d", 1),
                File(7, "x", "y", 1),
                File(6, "p", "z", 1),
            ],
        ),
        (6, &[File(1, "c", "e", 1), File(2, "m", "n", 1), File(3, "o", "q", 1)]),
    ]))
    .unwrap();
    assert_eq!(ids(&picked.inputs), [9, 8, 7, 6, 1, 3]);
    assert_eq!(picked.barriers, [Box::from(&b"m"[..])]);
}

#[test]
fn base_level_follows_the_last_levels_size() {
    let of = |last_bytes: u64| {
        let version = version(&[(6, &[File(1, "a", "z", last_bytes)])]);
        Targets::of(&version, &options())
    };
    assert_eq!(of(0).base, 6);
    assert_eq!(of(16 * MIB).base, 6);
    assert_eq!(of(17 * MIB).base, 5);
    assert_eq!(of(1_000 * MIB).base, 4);
    assert_eq!(of(1_000 * MIB).bytes[4..], [16 * MIB, 100 * MIB, 1_000 * MIB]);
    assert_eq!(of(u64::MAX / 16).base, 1);
}

#[test]
fn level_0_never_jumps_over_a_level_with_older_rows() {
    let picked = pick_idle(&version(&[
        (
            0,
            &[
                File(9, "a", "z", 1),
                File(8, "a", "z", 1),
                File(7, "a", "z", 1),
                File(6, "a", "z", 1),
            ],
        ),
        (3, &[File(2, "k", "l", 1)]),
        (6, &[File(1, "a", "z", 1)]),
    ]))
    .unwrap();
    assert_eq!((picked.output_level, ids(&picked.inputs)), (3, vec![9, 8, 7, 6, 2]));
    assert!(!picked.is_bottom, "the last level holds older versions");
}

#[test]
fn level_that_is_too_small_to_keep_is_emptied() {
    let small = version(&[(3, &[File(2, "k", "l", 1)]), (6, &[File(1, "a", "b", 1)])]);
    let picked = pick_idle(&small).unwrap();
    assert_eq!((picked.output_level, ids(&picked.moves)), (4, vec![2]));
}

#[test]
fn file_with_the_least_overlap_for_its_size_goes_first() {
    let level =
        [File(10, "a", "c", 9 * MIB), File(11, "d", "f", 9 * MIB), File(12, "g", "i", 9 * MIB)];
    let last =
        [File(1, "a", "b", 80 * MIB), File(2, "d", "e", 10 * MIB), File(3, "h", "i", 60 * MIB)];
    let picked = pick_idle(&version(&[(5, &level), (6, &last)])).unwrap();
    assert_eq!((picked.output_level, ids(&picked.inputs)), (6, vec![11, 2]));
}

#[test]
fn busy_files_are_left_alone() {
    let busy = version(&[
        (
            0,
            &[
                File(9, "a", "z", 1),
                File(8, "a", "z", 1),
                File(7, "a", "z", 1),
                File(6, "a", "z", 1),
            ],
        ),
        (6, &[File(1, "a", "z", 1)]),
    ]);
    for id in [1, 7] {
        assert!(pick(&busy, &options(), 0, &BTreeSet::from([id])).is_none(), "busy {id}");
    }
}

#[test]
fn full_compaction_takes_what_is_not_in_the_last_level_or_has_something_to_drop() {
    let all = pick_all(&version(&[
        (0, &[File(9, "a", "b", 1)]),
        (4, &[File(5, "b", "c", 1), File(4, "x", "z", 1)]),
        (6, &[File(1, "c", "d", 1), File(2, "m", "n", 1)]),
    ]))
    .unwrap();
    assert_eq!(ids(&all.inputs), [9, 5, 1]);
    assert_eq!(ids(&all.moves), [4]);
    assert_eq!(all.barriers, [b"m", b"x"].map(|key| Box::from(&key[..])));
    assert!(pick_all(&version(&[(6, &[File(1, "a", "z", 1)])])).is_none());
}

#[test]
fn file_of_deletes_goes_down_before_its_level_is_due_once_no_snapshot_needs_it() {
    let of = |id: u64, rows: u64, deletes: u64| {
        let mut meta = FileMeta::clone(&live(&File(id, "c", "d", 1)));
        (meta.rows, meta.deletes) = (rows, deletes);
        Arc::new(LiveFile::new(meta, Arc::new(SweepQueue::default())))
    };
    // Of 100 rows, the rows below, and whether that is worth a compaction.
    for (deletes, below, due) in
        [(80, 0, true), (80, 600, true), (80, 700, false), (40, 100, false), (0, 100, false)]
    {
        let mut version = TreeVersion::default();
        version.levels[0].push(of(9, 100, deletes));
        if below > 0 {
            version.levels[LAST_LEVEL].push(of(1, below, 0));
        }
        let picked = pick_idle(&version).map(|compaction| compaction.output_level);
        assert_eq!(picked, due.then_some(LAST_LEVEL), "{deletes} above {below}");
        let held = pick(&version, &options(), 8, &BTreeSet::new());
        assert!(held.is_none(), "a snapshot tells them apart");
        let off = Options { paths: FastPaths::none(), ..options() };
        let waits = pick(&version, &off, SeqNo::MAX, &BTreeSet::new());
        assert!(waits.is_none(), "without this path the level's size decides");
    }
}
