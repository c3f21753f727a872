//! Damage to a cleanly closed database: an error that names file and offset, or the same answer.
//! Never another answer, never a panic; and what is in other trees stays readable.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use silt_codec::{RowBuffer, ValueRef};
use silt_storage::vfs::{CrashMode, StrictVfs, Vfs};
use silt_storage::{Engine, Error, ErrorKind, Options, ReadCounters, TreeId, WriteBatch};

use crate::support::{
    Change, Dice, Key, Row, batch, contents, dir, env, key_bytes, load, numbered, schema,
};

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn options() -> Options {
    Options {
        memory_bytes: 8 << 20,
        memtable_bytes: 256 << 10,
        wal_segment_bytes: 2 << 10,
        file_bytes: 6 << 10,
        group_rows: 32,
        background: false,
        ..Options::default()
    }
}

fn open(vfs: &StrictVfs) -> silt_storage::Result<Engine> {
    Engine::open(env(Arc::new(vfs.clone()), 1), dir(), options())
}

/// A closed database with every kind of file, and what it holds.
struct Closed {
    vfs: StrictVfs,
    trees: [u32; 2],
    held: [Vec<(Key, Row)>; 2],
    /// Which tree an SSTable belongs to.
    owners: BTreeMap<PathBuf, u32>,
    files: Files,
    /// The files at earlier moments.
    older: Vec<Files>,
}

fn commit(engine: &Engine, dice: &Dice, trees: [u32; 2], commits: u64) {
    for _ in 0..commits {
        let mut changes: Vec<Change> = (0..6)
            .map(|_| {
                let tree = trees[dice.below(2) as usize];
                (tree, dice.key(600), (!dice.chance(15)).then(|| dice.row()))
            })
            .collect();
        changes.sort();
        changes.dedup_by(|a, b| (a.0, &a.1) == (b.0, &b.1));
        engine.commit(batch(engine, &changes)).unwrap();
    }
}

impl Closed {
    fn new() -> Self {
        let vfs = StrictVfs::new();
        let dice = Dice::new(4);
        let mut older = Vec::new();
        let engine = open(&vfs).unwrap();
        let trees = [(); 2].map(|()| engine.create_tree(schema()).unwrap().0);
        commit(&engine, &dice, trees, 30);
        load(&engine, trees[0], &numbered(0..300), WriteBatch::new()).unwrap();
        older.push(vfs.files());
        engine.flush().unwrap();
        engine.compact(TreeId(trees[1])).unwrap();
        commit(&engine, &dice, trees, 10);
        engine.close().unwrap();
        older.push(vfs.files());
        drop(engine);

        // The second session leaves level 0, several segments of log, and its seal.
        let engine = open(&vfs).unwrap();
        commit(&engine, &dice, trees, 10);
        engine.flush().unwrap();
        older.push(vfs.files());
        commit(&engine, &dice, trees, 12);
        older.push(vfs.files());
        commit(&engine, &dice, trees, 12);
        let snapshot = engine.snapshot();
        let held = trees.map(|id| contents(&engine.tree(TreeId(id)).unwrap(), &snapshot).unwrap());
        drop(snapshot);
        let mut owners = BTreeMap::new();
        for tree in engine.describe().trees {
            for file in tree.levels.iter().flat_map(|level| &level.files) {
                owners.insert(PathBuf::from(format!("/db/sst/{:010}.sst", file.id)), tree.id.0);
            }
        }
        engine.close().unwrap();
        drop(engine);
        let mut files = vfs.files();
        files.remove(Path::new("/db/LOCK"));
        let count =
            |part: &str| files.keys().filter(|p| p.to_string_lossy().contains(part)).count();
        assert!(count("/sst/") >= 6 && count("/wal/") >= 3, "{:?}", files.keys());
        assert_eq!((count("manifest-"), count("CURRENT")), (1, 1));
        assert!(trees.iter().all(|tree| owners.values().any(|owner| owner == tree)));
        Self { vfs, trees, held, owners, files, older }
    }

    fn image(&self) -> StrictVfs {
        self.vfs.crash_image(0, CrashMode::KeepAll)
    }

    /// Opens and reads all that there is. `Ok(true)` if an error told of the damage, `Ok(false)` if
    /// every answer was the same, `Err` if neither.
    fn check(&self, image: &StrictVfs, damaged: &[&Path], thorough: bool) -> Result<bool, String> {
        let checked = catch_unwind(AssertUnwindSafe(|| self.read_all(image, damaged, thorough)));
        checked.unwrap_or_else(|_| Err("a panic".to_owned()))
    }

    fn read_all(
        &self,
        image: &StrictVfs,
        damaged: &[&Path],
        thorough: bool,
    ) -> Result<bool, String> {
        let engine = match open(image) {
            Ok(engine) => engine,
            Err(error) => return is_told(&error, damaged).map(|()| true),
        };
        let mut told = false;
        let hit: BTreeSet<u32> =
            damaged.iter().filter_map(|path| self.owners.get(*path).copied()).collect();
        for (id, held) in self.trees.into_iter().zip(&self.held) {
            let mut step = |what: &str, read: silt_storage::Result<bool>| match read {
                Ok(true) => Ok(()),
                Ok(false) => Err(format!("{what} of tree {id} answers wrong")),
                Err(error) if hit.contains(&id) => {
                    told = true;
                    is_told(&error, damaged)
                }
                Err(error) => Err(format!("{what} of tree {id}, which has no damage: {error}")),
            };
            let tree = engine.tree(TreeId(id)).map_err(|error| error.to_string())?;
            let snapshot = engine.snapshot();
            step("scan", contents(&tree, &snapshot).map(|found| found == *held))?;
            let mut row = RowBuffer::new();
            for (key, wanted) in held.iter().step_by(7) {
                let bytes = key_bytes(&tree, key);
                let found = tree.get(&bytes, &[2, 3], &snapshot, &ReadCounters::new(), &mut row);
                let v = wanted.0.map_or(ValueRef::Null, ValueRef::Int);
                let expected = [v, ValueRef::Text(&wanted.1)];
                step("get", found.map(|found| found && row.iter().eq(expected)))?;
            }
            if thorough {
                drop(snapshot);
                let compacted = engine.compact(TreeId(id));
                step("compaction", compacted.map(|()| true))?;
                step("scan", contents(&tree, &engine.snapshot()).map(|found| found == *held))?;
            }
        }
        Ok(told)
    }

    /// Runs `damage` on image after image; gives how many cases an error told of.
    fn run(&self, cases: Vec<Case>) -> (usize, usize) {
        let mut wrong = Vec::new();
        let (count, mut told) = (cases.len(), 0);
        for (index, case) in cases.into_iter().enumerate() {
            let image = self.image();
            (case.damage)(&image);
            let damaged: Vec<&Path> = case.paths.iter().map(PathBuf::as_path).collect();
            match self.check(&image, &damaged, index % 8 == 0) {
                Ok(by_error) => told += usize::from(by_error),
                Err(what) => wrong.push(format!("{}: {what}", case.what)),
            }
        }
        assert!(
            wrong.is_empty(),
            "{} of {count} cases are wrong:\n{}",
            wrong.len(),
            wrong[..wrong.len().min(12)].join("\n")
        );
        (count, told)
    }
}

/// An error that names a damaged file and an offset.
fn is_told(error: &Error, damaged: &[&Path]) -> Result<(), String> {
    let said = error.to_string();
    let is_current = damaged.iter().any(|path| path.ends_with("CURRENT"));
    let is_named = damaged.iter().any(|path| said.contains(&*path.to_string_lossy()));
    match error.kind() {
        ErrorKind::Unsupported if is_current => Ok(()),
        // What CURRENT says wrongly shows at the manifest.
        ErrorKind::Corrupt if is_current && said.contains("manifest-") => Ok(()),
        ErrorKind::Corrupt if is_named && said.contains("offset") => Ok(()),
        kind => Err(format!("told as {kind:?}: {said}")),
    }
}

struct Case {
    what: String,
    paths: Vec<PathBuf>,
    damage: Box<dyn FnOnce(&StrictVfs)>,
}

impl Case {
    fn new(what: String, path: &Path, change: impl FnOnce(&mut Vec<u8>) + 'static) -> Self {
        let owned = path.to_owned();
        let what = format!("{} {what}", path.display());
        let damage = Box::new(move |vfs: &StrictVfs| vfs.damage(&owned, change).unwrap());
        Self { what, paths: vec![path.to_owned()], damage }
    }
}

fn kind_of(path: &Path) -> String {
    let name = path.file_name().unwrap().to_string_lossy();
    let kind = name.rsplit_once('.').map(|(_, extension)| extension.to_owned());
    kind.unwrap_or_else(|| name.split('-').next().unwrap().to_owned())
}

#[test]
fn flipped_byte_is_told_with_file_and_offset_or_changes_no_answer() {
    let closed = Closed::new();
    let dice = Dice::new(21);
    let mut cases = Vec::new();
    for (path, bytes) in &closed.files {
        let share = match kind_of(path).as_str() {
            "CURRENT" => 1,
            "manifest" => 1 + bytes.len() / 500,
            "wal" => 1 + bytes.len() / 200,
            _ => 1 + bytes.len() / 160,
        };
        for at in 0..bytes.len() {
            // Headers and footers, every byte; of the rest a share.
            let is_edge = at < 64 || bytes.len() - at <= 256;
            if share == 1 || dice.below(share as u64) == 0 || (is_edge && at % 2 == 0) {
                let mask = 1 + dice.below(255) as u8;
                let what = format!("byte {at} xor {mask:#04x}");
                cases.push(Case::new(what, path, move |bytes| bytes[at] ^= mask));
            }
        }
    }
    assert!(cases.len() > 2_000, "{}", cases.len());
    let (count, told) = closed.run(cases);
    println!("{count} flipped bytes, {told} told");
    assert!(told * 10 > count * 9, "of {count} flipped bytes only {told} show");
}

#[test]
fn truncated_and_zeroed_files_are_told_or_change_no_answer() {
    let closed = Closed::new();
    let dice = Dice::new(22);
    let mut cases = Vec::new();
    for (path, bytes) in &closed.files {
        for at in [0, 1, bytes.len() - 1, bytes.len() / 2] {
            cases.push(Case::new(format!("cut to {at}"), path, move |b| b.truncate(at)));
        }
        for _ in 0..12 {
            let at = dice.below(bytes.len() as u64) as usize;
            cases.push(Case::new(format!("cut to {at}"), path, move |b| b.truncate(at)));
        }
        for at in (0..bytes.len()).step_by(4 << 10) {
            let end = bytes.len().min(at + (4 << 10));
            cases.push(Case::new(format!("zeroed at {at}"), path, move |b| b[at..end].fill(0)));
        }
        for _ in 0..6 {
            let at = dice.below(bytes.len() as u64) as usize / 512 * 512;
            let end = bytes.len().min(at + 512);
            cases.push(Case::new(format!("512 zeroes at {at}"), path, move |b| {
                b[at..end].fill(0);
            }));
        }
        let more = format!("grown by {}", 4 << 10);
        cases.push(Case::new(more, path, |bytes| bytes.resize(bytes.len() + (4 << 10), 0)));
    }
    let (count, told) = closed.run(cases);
    println!("{count} cut or zeroed, {told} told");
    assert!(told * 10 > count * 8, "of {count} cases only {told} show");
}

#[test]
fn blocks_swapped_between_files_are_told_or_change_no_answer() {
    let closed = Closed::new();
    let dice = Dice::new(23);
    let paths: Vec<&PathBuf> = closed.files.keys().collect();
    let mut cases = Vec::new();
    while cases.len() < 400 {
        let (a, b) = (
            paths[dice.below(paths.len() as u64) as usize],
            paths[dice.below(paths.len() as u64) as usize],
        );
        let size = [64, 512, 4 << 10][dice.below(3) as usize];
        let (x, y) = (&closed.files[a], &closed.files[b]);
        if kind_of(a) != kind_of(b) || x.len() < size || y.len() < size {
            continue;
        }
        // Often the same place in both: only what is mixed into checksums tells those apart.
        let at_x = dice.below((x.len() / size) as u64) as usize * size;
        let same = dice.chance(60) && at_x + size <= y.len();
        let at_y = if same { at_x } else { dice.below((y.len() / size) as u64) as usize * size };
        let (from_x, from_y) = (x[at_x..at_x + size].to_vec(), y[at_y..at_y + size].to_vec());
        if from_x == from_y || (a == b && at_x == at_y) {
            continue;
        }
        let what =
            format!("{size} bytes of {} at {at_x} and {} at {at_y}", a.display(), b.display());
        let owned = (a.clone(), b.clone());
        let damage = Box::new(move |vfs: &StrictVfs| {
            vfs.damage(&owned.0, |bytes| bytes[at_x..at_x + size].copy_from_slice(&from_y))
                .unwrap();
            vfs.damage(&owned.1, |bytes| bytes[at_y..at_y + size].copy_from_slice(&from_x))
                .unwrap();
        });
        cases.push(Case { what, paths: vec![a.clone(), b.clone()], damage });
    }
    // And whole files of one kind in one another's place.
    for a in &paths {
        for b in &paths {
            if a != b && kind_of(a) == kind_of(b) {
                let bytes = closed.files[*b].clone();
                let what = format!("holds {}", b.display());
                cases.push(Case::new(what, a, move |held| *held = bytes));
            }
        }
    }
    let (count, told) = closed.run(cases);
    println!("{count} swaps, {told} told");
    assert!(told * 10 > count * 9, "of {count} swaps only {told} show");
}

#[test]
fn stale_file_put_back_is_told_or_changes_no_answer() {
    let closed = Closed::new();
    let mut cases = Vec::new();
    for (moment, files) in closed.older.iter().enumerate() {
        for (path, old) in files {
            let now = closed.files.get(path);
            if now.is_some_and(|now| now != old) {
                let old = old.clone();
                let what = format!("as it was at moment {moment}");
                cases.push(Case::new(what, path, move |held| *held = old));
            }
            // Files that are gone come back beside the others: strangers, whatever they say.
            if now.is_none() && kind_of(path) != "LOCK" {
                let (owned, old) = (path.clone(), old.clone());
                let damage = Box::new(move |vfs: &StrictVfs| {
                    let file = vfs.open(&owned, silt_storage::vfs::OpenMode::CreateNew).unwrap();
                    file.write_all_at(0, &old).unwrap();
                });
                let what = format!("{} from moment {moment} is back", path.display());
                cases.push(Case { what, paths: vec![path.clone()], damage });
            }
        }
    }
    assert!(cases.len() > 8, "{}", cases.len());
    let (count, told) = closed.run(cases);
    println!("{count} stale files, {told} told");
    assert!(told > 0);
}

#[test]
fn missing_file_is_told() {
    let closed = Closed::new();
    let cases: Vec<Case> = closed
        .files
        .keys()
        .map(|path| {
            let owned = path.clone();
            let damage = Box::new(move |vfs: &StrictVfs| vfs.remove_file(&owned).unwrap());
            Case { what: format!("{} is gone", path.display()), paths: vec![path.clone()], damage }
        })
        .collect();
    let (count, told) = closed.run(cases);
    assert_eq!(told, count, "every file counts");
}
