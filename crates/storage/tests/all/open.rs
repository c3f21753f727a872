//! Opening: who is refused and in which words, and what it does not read.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use silt_storage::vfs::{Env, FaultVfs, OpClass, StrictVfs, Vfs};
use silt_storage::{Engine, ErrorKind, OnDuplicate, Options, TreeId, WriteBatch};

use crate::support::{
    Change, batch, columns, contents, dir, env, load, numbered, schema, shape, small_options,
};

const CHILD: &str = "SILT_OPEN_CHILD";

#[test]
fn child_of_the_lock_test() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    match Engine::open(Env::os(), Path::new(&dir), Options::default()) {
        Ok(_) => println!("refused by nobody"),
        Err(error) => println!("refused as {:?}: {error}", error.kind()),
    }
}

fn open_in_another_process(dir: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "open::child_of_the_lock_test", "--nocapture", "--test-threads=1"])
        .env(CHILD, dir)
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let at = output.find("refused").unwrap_or_else(|| panic!("the child says: {output}"));
    output[at..].lines().next().unwrap().to_owned()
}

#[test]
fn second_process_is_refused_as_locked_with_the_first_ones_pid() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("db");
    let engine = Engine::open(Env::os(), &dir, Options::default()).unwrap();
    let id = engine.create_tree(schema()).unwrap().0;
    let said = open_in_another_process(&dir);
    let pid = std::process::id();
    assert!(said.starts_with("refused as Locked"), "{said}");
    assert!(said.contains(&format!("process {pid}")), "{said}, the first is {pid}");

    // The same process is no exception, and the first one is not disturbed.
    let error = Engine::open(Env::os(), &dir, Options::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    load(&engine, id, &numbered(0..10), WriteBatch::new()).unwrap();
    engine.close().unwrap();
    assert_eq!(open_in_another_process(&dir), "refused by nobody");
}

/// Opens and expects an error of this kind, and that not a call was made that changes the disk.
fn refused_untouched(strict: &StrictVfs, options: Options, kind: ErrorKind) -> String {
    let vfs = FaultVfs::new(Arc::new(strict.clone()));
    let before = strict.files();
    let error = Engine::open(env(Arc::new(vfs.clone()), 1), dir(), options).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    let changes: Vec<_> =
        vfs.take_log().into_iter().filter(|call| call.class.is_change()).collect();
    assert_eq!(changes, [], "{error}");
    assert!(strict.files() == before);
    error.to_string()
}

fn write(vfs: &StrictVfs, path: &str, bytes: &[u8]) {
    let file = vfs.open(Path::new(path), silt_storage::vfs::OpenMode::CreateNew).unwrap();
    file.write_all_at(0, bytes).unwrap();
}

#[test]
fn directory_that_is_not_a_database_is_refused_and_left_as_it_is() {
    let vfs = StrictVfs::new();
    vfs.create_dir(dir()).unwrap();
    write(&vfs, "/db/thesis.tex", b"all my work");
    let said = refused_untouched(&vfs, small_options(), ErrorKind::Invalid);
    assert!(said.contains("/db") && said.contains("thesis.tex"), "{said}");

    let vfs = StrictVfs::new();
    write(&vfs, "/db", b"a file, not a directory");
    let error = Engine::open(env(Arc::new(vfs.clone()), 1), dir(), small_options()).unwrap_err();
    assert!(error.to_string().contains("/db"), "{error}");
}

#[test]
fn newer_format_is_refused_before_a_byte_is_written() {
    let vfs = StrictVfs::new();
    let engine = Engine::open(env(Arc::new(vfs.clone()), 1), dir(), small_options()).unwrap();
    engine.create_tree(schema()).unwrap();
    engine.close().unwrap();
    drop(engine);
    vfs.damage(Path::new("/db/CURRENT"), |bytes| {
        let line = String::from_utf8(bytes.clone()).unwrap();
        *bytes = line.replacen("silt 1", "silt 2", 1).into_bytes();
    })
    .unwrap();
    let said = refused_untouched(&vfs, small_options(), ErrorKind::Unsupported);
    assert!(said.contains("format 2") && said.contains("up to 1"), "{said}");
    // Whatever else a later release says there.
    vfs.damage(Path::new("/db/CURRENT"), |bytes| *bytes = b"silt 17 tree:a,b\n".to_vec()).unwrap();
    let said = refused_untouched(&vfs, small_options(), ErrorKind::Unsupported);
    assert!(said.contains("format 17"), "{said}");
}

#[test]
fn missing_database_is_not_created_unless_asked_for() {
    let options = Options { create_if_missing: false, ..small_options() };
    let vfs = StrictVfs::new();
    let said = refused_untouched(&vfs, options.clone(), ErrorKind::NotFound);
    assert!(said.contains("/db"), "{said}");
    vfs.create_dir(dir()).unwrap();
    refused_untouched(&vfs, options.clone(), ErrorKind::NotFound);
    drop(Engine::open(env(Arc::new(vfs.clone()), 1), dir(), small_options()).unwrap());
    Engine::open(env(Arc::new(vfs), 1), dir(), options).unwrap();
}

#[test]
fn opening_reads_no_sstable() {
    let strict = StrictVfs::new();
    let engine = Engine::open(env(Arc::new(strict.clone()), 1), dir(), small_options()).unwrap();
    let [filed, logged] = [(); 2].map(|()| engine.create_tree(schema()).unwrap().0);
    for part in 0..6 {
        let mut load = engine.bulk_load(TreeId(filed), OnDuplicate::Error).unwrap();
        load.push(columns(&numbered(part * 400..(part + 1) * 400))).unwrap();
        load.finish(WriteBatch::new()).unwrap();
    }
    let rows = numbered(0..20);
    let changes: Vec<Change> =
        rows.iter().map(|(key, row)| (logged, key.clone(), Some(row.clone()))).collect();
    engine.commit(batch(&engine, &changes)).unwrap();
    let shape_before = shape(&engine, filed).levels;
    engine.close().unwrap();
    drop(engine);

    // Not a byte of them is looked at: all are overwritten, their lengths apart.
    let tables: Vec<_> = strict.files().into_keys().filter(|p| p.starts_with("/db/sst")).collect();
    assert!(tables.len() >= 6);
    for path in &tables {
        strict.damage(path, |bytes| bytes.fill(0xa5)).unwrap();
    }
    let vfs = FaultVfs::new(Arc::new(strict));
    let engine = Engine::open(env(Arc::new(vfs.clone()), 1), dir(), small_options()).unwrap();
    let log = vfs.take_log();
    for path in &tables {
        let reads = log.iter().filter(|call| call.class == OpClass::Read && call.path == *path);
        assert!(reads.count() <= 1, "{} is measured, not read", path.display());
    }
    // Levels and statistics are known from the manifest alone, and what is in the log is there.
    assert_eq!(shape(&engine, filed).levels, shape_before);
    let snapshot = engine.snapshot();
    let tree = engine.tree(TreeId(filed)).unwrap();
    assert_eq!(tree.statistics(&snapshot).rows, 2_400);
    let other = engine.tree(TreeId(logged)).unwrap();
    assert_eq!(contents(&other, &snapshot).unwrap(), rows);
    let error = contents(&tree, &snapshot).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}
