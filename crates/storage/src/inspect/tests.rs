//! What a small database is made of, as text, and damage by name.

use std::path::{Path, PathBuf};

use super::*;
use crate::engine::tests::{commit, dir, env_on, key, options, put, schema};
use crate::vfs::{Env, OpenMode, StrictVfs, Vfs};
use crate::{Engine, ErrorKind, OnDuplicate, Options, WriteBatch};

/// A database whose file 1 has three row groups: 5 rows, one key in two versions, one delete.
fn small(vfs: &StrictVfs) -> (Env, Engine) {
    let env = env_on(vfs);
    let options = Options { group_rows: 2, ..options() };
    let engine = Engine::open(env.clone(), &dir(), options).unwrap();
    let tree = engine.create_tree(schema()).unwrap();
    commit(&engine, tree, 1, "one");
    let mut batch = WriteBatch::new();
    put(&engine, &mut batch, tree, 2, "two");
    put(&engine, &mut batch, tree, 3, "three");
    batch.change_schema(tree);
    engine.commit(batch).unwrap();
    // The snapshot keeps the version below.
    let snapshot = engine.snapshot();
    commit(&engine, tree, 2, "two again");
    let mut batch = WriteBatch::new();
    batch.delete(tree, &key(&engine, tree, 4));
    engine.commit(batch).unwrap();
    engine.flush().unwrap();
    drop(snapshot);
    (env, engine)
}

fn sst(id: u64) -> PathBuf {
    sst_path(&dir(), id)
}

fn flip(env: &Env, path: &Path, offset: u64) {
    let file = env.vfs.open(path, OpenMode::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_exact_at(offset, &mut byte).unwrap();
    file.write_all_at(offset, &[byte[0] ^ 0x10]).unwrap();
}

fn log_text(env: &Env) -> String {
    wal(env, &dir()).unwrap().map(|entry| format!("{}\n", entry.unwrap())).collect()
}

fn file_text(env: &Env, id: u64) -> String {
    let file = file(env, &dir(), id).unwrap();
    let groups: String = file.groups().map(|group| format!("{}\n", group.unwrap())).collect();
    format!("{file}{groups}")
}

#[test]
fn log_is_shown_as_text() {
    let (env, engine) = small(&StrictVfs::new());
    let shown = log_text(&env);
    let expected = "\
segment 1 offset 0: begins behind number 0, database 910a2dec89025cc1beeb8da1658eec67
segment 1 offset 72: commit 1, 2023-11-14T22:13:20.000000Z, 80 bytes, synced to 72; tree 1: 1 put of 15 bytes
segment 1 offset 152: commit 2, 2023-11-14T22:13:20.000001Z, 112 bytes, synced to 152; tree 1: 2 puts of 32 bytes; tree 1: schema change
segment 1 offset 264: commit 3, 2023-11-14T22:13:20.000002Z, 88 bytes, synced to 264; tree 1: 1 put of 21 bytes
segment 1 offset 352: commit 4, 2023-11-14T22:13:20.000003Z, 72 bytes, synced to 352; tree 1: 1 delete of 8 bytes
";
    assert_eq!(shown, expected, "{shown}");
    drop(engine);
}

#[test]
fn file_is_shown_as_text() {
    let (env, engine) = small(&StrictVfs::new());
    let shown = file_text(&env, 1);
    let expected = "\
/db/sst/0000000001.sst: file 1, 1640 bytes, 5 rows in 3 row groups
  database 910a2dec89025cc1beeb8da1658eec67
  footer checksum ddc746296955fee4
  schema version 1, columns 1 Int64 key, 2 Utf8View null
  symbol tables: absent
  range deletes: absent
  key filter: 32 bytes at 936
  prefix filter: absent
  row-group index: 232 bytes at 968
  statistics: 118 bytes at 1200
  schema: 13 bytes at 1320
  sketches: 42 bytes at 1336
row group 0 at 64: 136 bytes, 1 row, 0 deletes, numbers 1 to 1, one version a key
  keys (1) to (1)
  column 1 at 144: constant, 24 bytes, 1 to 1
  column 2 at 168: constant, 32 bytes, 'one' to 'one'
row group 1 at 200: 480 bytes, 2 rows, 0 deletes, numbers 2 to 3
  keys (2) to (2)
  column 1 at 304: constant, 24 bytes, 2 to 2
  _seq at 328: plain, 32 bytes
  column 2 at 360: plain, 320 bytes, 'two' to 'two again'
row group 2 at 680: 256 bytes, 2 rows, 1 delete, numbers 2 to 4, one version a key
  keys (3) to (4)
  column 1 at 808: plain, 32 bytes, 3 to 4
  _seq at 840: plain, 32 bytes
  _kind at 872: plain, 24 bytes
  column 2 at 896: constant, 40 bytes, 'three' to 'three', 1 null
";
    assert_eq!(shown, expected, "{shown}");
    drop(engine);
}

#[test]
fn manifest_and_what_it_names_are_shown_as_text() {
    let (env, engine) = small(&StrictVfs::new());
    let shown = format!("{}{}", manifest(&env, &dir()).unwrap(), files(&env, &dir()).unwrap());
    let expected = "\
/db/manifest-000001: manifest 1 of database 910a2dec89025cc1beeb8da1658eec67, 3 edits in 240 bytes, certain up to 72
offset 40, 32 bytes
  log synced to segment 1 offset 72, number 0
  next file 1
  next tree 1
  first segment 1
offset 72, 40 bytes
  log synced to segment 1 offset 72, number 0
  next file 1
  tree 1: schema version 1, columns 1 Int64 key, 2 Utf8View null
offset 112, 128 bytes
  log synced to segment 1 offset 424, number 4
  next file 2
  tree 1 level 0 gains file 1, 1640 bytes, 5 rows, 1 delete, 3 row groups, numbers 1 to 4, keys (1) to (4), schema version 1, footer checksum ddc746296955fee4
  tree 1 flushed through 4
manifest 1 of database 910a2dec89025cc1beeb8da1658eec67, log from segment 1 on, not closed
tree 1: flushed through 4, floor 0
  schema version 1, columns 1 Int64 key, 2 Utf8View null
  level 0: file 1, 1640 bytes, 5 rows, 1 delete, 3 row groups, numbers 1 to 4, keys (1) to (4), schema version 1, footer checksum ddc746296955fee4
";
    assert_eq!(shown, expected, "{shown}");
    drop(engine);
}

#[test]
fn bulk_load_is_seen_in_log_and_listing() {
    let vfs = StrictVfs::new();
    let (env, engine) = small(&vfs);
    let tree = engine.trees()[0];
    let mut load = engine.bulk_load(tree, OnDuplicate::Error).unwrap();
    let keys = arrow_array::Int64Array::from_iter_values(10..20);
    let texts = arrow_array::StringViewArray::from_iter_values((10..20).map(|_| "bulk"));
    load.push(vec![std::sync::Arc::new(keys), std::sync::Arc::new(texts)]).unwrap();
    let seq = load.finish(WriteBatch::new()).unwrap().seq;

    let listing = files(&env, &dir()).unwrap();
    let listed = listing.trees[0].files.iter().find(|file| file.file_seq == Some(seq)).unwrap();
    let file = SsTableFile::open(&env, &sst(listed.id)).unwrap();
    assert_eq!((file.id(), file.uuid()), (listed.id, listing.uuid));
    assert_eq!((file.size(), file.footer_checksum()), (listed.size, listed.footer_checksum));
    let named = wal(&env, &dir()).unwrap().find_map(|entry| match entry.unwrap().item {
        WalItem::Commit { files, .. } => files.first().copied(),
        _ => None,
    });
    let (id, size, rows) = (listed.id, listed.size, listed.rows);
    let footer_checksum = listed.footer_checksum;
    assert_eq!(named, Some(WalBulkFile { tree, id, size, footer_checksum, rows }));
}

#[test]
fn damage_of_a_file_is_named_with_its_offset() {
    let file = SsTableFile::open(&small(&StrictVfs::new()).0, &sst(1)).unwrap();
    let group = file.groups().nth(1).unwrap().unwrap();
    let mut places = vec![(7, 0), (40, 0), (file.size() - 100, file.size() - 256)];
    places.extend(
        file.blocks().filter(|block| block.bytes > 0).map(|block| (block.offset, block.offset)),
    );
    for (flipped, named) in places {
        let (env, _engine) = small(&StrictVfs::new());
        flip(&env, &sst(1), flipped);
        let error = SsTableFile::open(&env, &sst(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let place = format!("/db/sst/0000000001.sst at offset {named}: ");
        assert!(error.to_string().starts_with(&place), "{error}, expected {place}");
    }
    let chunk = group.chunks[1].offset;
    for (flipped, named) in [(group.offset + 5, group.offset), (chunk, chunk)] {
        let (env, _engine) = small(&StrictVfs::new());
        flip(&env, &sst(1), flipped);
        let file = SsTableFile::open(&env, &sst(1)).unwrap();
        let groups: Vec<_> = file.groups().collect();
        let place = format!("/db/sst/0000000001.sst at offset {named}: ");
        let error = groups[1].as_ref().unwrap_err();
        assert!(error.to_string().starts_with(&place), "{error}, expected {place}");
        assert!(groups[0].is_ok() && groups[2].is_ok(), "the others are seen");
    }
}

#[test]
fn files_of_a_later_format_of_another_number_and_of_no_format_are_told_apart() {
    let (env, _engine) = small(&StrictVfs::new());
    env.vfs.hard_link(&sst(1), &sst(7)).unwrap();
    let error = file(&env, &dir(), 7).unwrap_err();
    let expected = "/db/sst/0000000007.sst at offset 32: file 1 stands where 7 is expected";
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Corrupt, expected));
    flip(&env, &sst(1), 8);
    let error = SsTableFile::open(&env, &sst(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let error = SsTableFile::open(&env, &dir().join("CURRENT")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("are no sstable"), "{error}");
    let error = file(&env, &dir(), 99).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
}

#[test]
fn damage_of_the_log_is_an_entry_among_the_others() {
    let (env, _engine) = small(&StrictVfs::new());
    let whole: Vec<WalEntry> = wal(&env, &dir()).unwrap().map(Result::unwrap).collect();
    let path = dir().join("wal/0000000001.wal");
    flip(&env, &path, whole[2].offset + 50);
    let seen: Vec<WalEntry> = wal(&env, &dir()).unwrap().map(Result::unwrap).collect();
    assert_eq!(seen.len(), whole.len());
    let WalItem::Damage { error, bytes } = &seen[2].item else { panic!("{}", seen[2]) };
    assert_eq!(*bytes, whole[3].offset - whole[2].offset);
    let place = format!("/db/wal/0000000001.wal at offset {}: checksum of", whole[2].offset);
    assert!(error.to_string().starts_with(&place), "{error}");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(seen[3].to_string(), whole[3].to_string());

    // A segment under another's name.
    env.vfs.rename(&path, &dir().join("wal/0000000002.wal")).unwrap();
    let first = wal(&env, &dir()).unwrap().next().unwrap().unwrap();
    assert!(first.to_string().contains("segment 1 stands where 2 is expected"), "{first}");
}

#[test]
fn damage_of_the_manifest_is_named_and_a_cut_edit_shown() {
    let (env, engine) = small(&StrictVfs::new());
    engine.close().unwrap();
    let whole = manifest(&env, &dir()).unwrap();
    assert_eq!((whole.end, whole.synced_len), (whole.len, whole.len), "closed");
    let damaged = whole.entries[1].offset;
    flip(&env, &whole.path, damaged + 20);
    for error in [manifest(&env, &dir()).unwrap_err(), files(&env, &dir()).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let place = format!("{} at offset {damaged}: ", whole.path.display());
        assert!(error.to_string().starts_with(&place), "{error}");
    }

    let (env, engine) = small(&StrictVfs::new());
    let whole = manifest(&env, &dir()).unwrap();
    let file = env.vfs.open(&whole.path, OpenMode::ReadWrite).unwrap();
    file.set_len(whole.len - 8).unwrap();
    let cut = manifest(&env, &dir()).unwrap();
    assert_eq!(cut.entries, whole.entries[..whole.entries.len() - 1]);
    let last = whole.entries.last().unwrap();
    let shown = format!("offset {}, {} bytes\n  an edit cut short\n", last.offset, last.bytes - 8);
    assert!(cut.to_string().ends_with(&shown), "{cut}");
    drop(engine);
}

#[test]
fn directory_without_a_database_is_not_found() {
    let vfs = StrictVfs::new();
    vfs.create_dir(&dir()).unwrap();
    let env = env_on(&vfs);
    assert_eq!(files(&env, &dir()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(manifest(&env, &dir()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(wal(&env, &dir()).map(|_| ()).unwrap_err().kind(), ErrorKind::Io);
}
