//! Databases that are closed, cut off and opened again.

use std::path::Path;
use std::sync::Arc;

use silt_sql::{ErrorKind, Session, Shared, SqlOptions};
use silt_storage::Options;
use silt_storage::vfs::{CrashMode, Env, OsClock, OsRandom, StrictVfs};

use super::harness::Db;

fn open(disk: &StrictVfs) -> Db {
    let env = Env {
        vfs: Arc::new(disk.clone()),
        clock: Arc::new(OsClock::new()),
        random: Arc::new(OsRandom::new()),
    };
    let options = SqlOptions { threads: 2, ..SqlOptions::default() };
    let shared = Shared::open(env, Path::new("/db"), Options::default(), options).unwrap();
    Db { session: Session::new(shared) }
}

#[test]
fn tables_and_rows_are_there_after_reopening() {
    let disk = StrictVfs::new();
    let mut db = open(&disk);
    db.run("CREATE SCHEMA kg; CREATE TABLE kg.t (a INT, b VARCHAR(5) DEFAULT 'x', PRIMARY KEY (b DESC, a))");
    db.run("CREATE TABLE log (line TEXT); INSERT INTO log VALUES ('one'), ('two')");
    db.run("INSERT INTO kg.t (a) VALUES (1), (2)");
    db.run("CREATE TABLE gone (a INT PRIMARY KEY); DROP TABLE gone");
    let described = db.rows("DESCRIBE kg.t");
    db.session.shared().close().unwrap();
    drop(db);
    let mut db = open(&disk);
    assert_eq!(db.rows("DESCRIBE kg.t"), described);
    assert_eq!(db.rows("SHOW TABLES"), "kg t\nmain log");
    db.run("INSERT INTO kg.t (a) VALUES (3); INSERT INTO log VALUES ('three')");
    assert_eq!(db.rows("SELECT * FROM kg.t"), "1 x\n2 x\n3 x");
    assert_eq!(db.rows("SELECT * FROM log"), "one\nthree\ntwo");
}

#[test]
fn acknowledged_statements_survive_a_power_cut_at_any_moment() {
    let disk = StrictVfs::new();
    let mut db = open(&disk);
    let steps: [(&str, &str, &str); 6] = [
        ("CREATE TABLE t (a INT PRIMARY KEY, b INT)", "SELECT count(*) FROM t", "0"),
        ("INSERT INTO t VALUES (1, 1), (2, 2)", "SELECT * FROM t", "1 1\n2 2"),
        ("UPDATE t SET a = a + 1", "SELECT * FROM t", "2 1\n3 2"),
        ("CREATE TABLE u AS SELECT * FROM t", "SELECT * FROM u", "2 1\n3 2"),
        ("TRUNCATE t", "SELECT * FROM t", ""),
        ("DROP TABLE t", "SHOW TABLES", "main u"),
    ];
    for (seed, (statement, question, answer)) in (1..).zip(steps) {
        db.run(statement);
        for mode in CrashMode::ALL {
            let image = disk.crash_image(seed, mode);
            let mut after = open(&image);
            assert_eq!(after.rows(question), answer, "{statement}, seed {seed}, {mode:?}");
        }
    }
}

#[test]
fn a_second_writer_is_refused() {
    let disk = StrictVfs::new();
    let _db = open(&disk);
    let env = Env {
        vfs: Arc::new(disk.clone()),
        clock: Arc::new(OsClock::new()),
        random: Arc::new(OsRandom::new()),
    };
    let second = Shared::open(env, Path::new("/db"), Options::default(), SqlOptions::default());
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Locked);
}

#[test]
fn sorts_larger_than_their_memory_spill_into_the_database_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("db");
    let options = SqlOptions { threads: 1, memory_bytes: 24 << 20, ..SqlOptions::default() };
    let shared = Shared::open(Env::os(), &dir, Options::default(), options).unwrap();
    let mut db = Db { session: Session::new(Arc::clone(&shared)) };
    let rows = db.rows(
        "SELECT count(*), max(n) FROM (
            SELECT row_number() OVER (ORDER BY s, value % 1000, value) AS n FROM (
                SELECT value, repeat('x', 100) AS s FROM generate_series(1, 300000)))",
    );
    assert_eq!(rows, "300000 300000");
    drop((db, shared));
    let left = std::fs::read_dir(dir.join("tmp")).unwrap().count();
    assert_eq!(left, 0);
}
