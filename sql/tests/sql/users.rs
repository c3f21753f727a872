//! Users are made by SQL, and what a session may do follows from what its statements do.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::scalar::ScalarValue;
use silt_sql::{
    AppendMode, Error, ErrorKind, IngestTarget, Params, Role, Session, password_matches,
};

use super::harness::{Db, db};

fn as_role(db: &Db, role: Role) -> Db {
    Db { session: Session::with_role(Arc::clone(db.session.shared()), role) }
}

fn verifier(db: &Db, user: &str) -> String {
    let catalog = db.session.shared().catalog().current();
    catalog.find_user(user).unwrap().verifier.clone()
}

fn error_of<T>(result: Result<T, Error>) -> Error {
    match result {
        Err(error) => error,
        Ok(_) => panic!("was not refused"),
    }
}

#[test]
fn users_are_made_altered_and_dropped() {
    let mut db = db();
    db.run("CREATE USER root PASSWORD 'correct horse' ROLE admin");
    db.run("create user Ann role WRITER password 'battery staple'");
    db.run("CREATE USER \"Bob\" PASSWORD 'it''s a secret' ROLE reader");
    assert_eq!(db.rows("SHOW USERS"), "Bob reader\nann writer\nroot admin");
    assert!(password_matches("it's a secret", Some(&verifier(&db, "Bob"))));
    db.run("ALTER USER ann ROLE reader");
    assert!(password_matches("battery staple", Some(&verifier(&db, "ann"))));
    db.run("ALTER USER ann PASSWORD 'new password' ROLE admin");
    assert!(password_matches("new password", Some(&verifier(&db, "ann"))));
    db.run("CREATE USER IF NOT EXISTS ann PASSWORD 'other password' ROLE reader");
    db.run("ALTER USER IF EXISTS nobody ROLE reader");
    db.run("DROP USER IF EXISTS nobody");
    db.run("DROP USER root, \"Bob\"");
    assert_eq!(db.rows("show users"), "ann admin");
    for (sql, kind) in [
        ("CREATE USER ann PASSWORD 'some password' ROLE reader", ErrorKind::AlreadyExists),
        ("ALTER USER bob ROLE reader", ErrorKind::NotFound),
        ("DROP USER bob", ErrorKind::NotFound),
        ("ALTER USER ann ROLE writer", ErrorKind::Invalid),
    ] {
        assert_eq!(db.error(sql).kind(), kind, "{sql}");
    }
}

#[test]
fn a_password_may_be_a_parameter_also_of_a_prepared_statement() {
    let mut db = db();
    let password = Params::positional(vec![ScalarValue::from("from a prompt")]);
    db.session.execute_one("CREATE USER root PASSWORD ? ROLE admin", &password).unwrap();
    assert!(password_matches("from a prompt", Some(&verifier(&db, "root"))));
    let prepared = db.session.prepare("ALTER USER root PASSWORD $1").unwrap();
    assert_eq!(prepared.parameter_count(), 1);
    prepared.execute(&Params::positional(vec![ScalarValue::from("another one")])).unwrap();
    assert!(password_matches("another one", Some(&verifier(&db, "root"))));
    let number = Params::positional(vec![ScalarValue::from(12_345_678_i64)]);
    assert_eq!(error_of(prepared.execute(&number)).message(), "a password is text");
}

#[test]
fn no_error_repeats_a_password() {
    let mut db = db();
    db.run("CREATE USER root PASSWORD 'correct horse' ROLE admin");
    for sql in [
        "CREATE USER u PASSWORD 'hunter2' ROLE reader",
        "CREATE USER u PASSWORD 'hunter2hunter2' ROLE hunter2",
        "CREATE USER u PASSWORD 'hunter2hunter2'",
        "CREATE USER u PASSWORD hunter2hunter2 ROLE reader",
        "CREATE USER u PASSWORD \"hunter2hunter2\" ROLE reader",
        "CREATE USER u PASSWORD = 'hunter2hunter2' ROLE reader",
        "CREATE USER u 'hunter2hunter2'",
        "CREATE USER u IDENTIFIED BY 'hunter2hunter2'",
        "CREATE USER u PASSWORD 'hunter2hunter2' PASSWORD 'hunter2hunter2'",
        "CREATE USER 'u' PASSWORD 'hunter2hunter2' ROLE reader",
        "CREATE USER root PASSWORD 'hunter2hunter2' ROLE reader",
        "CREATE USER PASSWORD 'hunter2hunter2' ROLE reader",
        "ALTER USER root SET PASSWORD 'hunter2hunter2'",
        "ALTER USER nobody PASSWORD 'hunter2hunter2'",
        "ALTER USER root PASSWORD 'hunter2hunter2' 'hunter2hunter2'",
        "ALTER USER root",
        "DROP USER root 'hunter2hunter2'",
        "CREATE OR REPLACE USER u PASSWORD 'hunter2hunter2' ROLE reader",
        "CREATE ROLE u PASSWORD 'hunter2hunter2'",
        "EXPLAIN CREATE USER u PASSWORD 'hunter2hunter2' ROLE reader",
        "CREATE USER u PASSWORD 'hunter2hunter2",
    ] {
        let error = db.error(sql);
        let said = format!("{error} {error:?} {:?}", error.hint());
        assert!(!said.contains("hunter2"), "{sql}: {said}");
    }
    assert_eq!(db.rows("SHOW USERS"), "root admin");
}

/// Statements by what they need; each must work for the role, and be refused below it.
const BY_ROLE: &[(Role, &[&str])] = &[
    (
        Role::Reader,
        &[
            "SELECT * FROM t",
            "SELECT b FROM t WHERE a = 1",
            "WITH x AS (SELECT 1) SELECT * FROM x",
            "VALUES (1)",
            "SHOW TABLES",
            "SHOW SCHEMAS",
            "DESCRIBE t",
            "SHOW COLUMNS FROM t",
            "EXPLAIN SELECT * FROM t",
            "EXPLAIN DELETE FROM t",
            "SELECT * FROM information_schema.tables",
        ],
    ),
    (
        Role::Writer,
        &[
            "INSERT INTO t VALUES (1, 1) ON CONFLICT DO NOTHING",
            "INSERT INTO t SELECT a + 100, b FROM t ON CONFLICT DO NOTHING",
            "WITH x AS (SELECT 50 AS a) INSERT INTO t SELECT a, a FROM x ON CONFLICT DO NOTHING",
            "UPDATE t SET b = 2 WHERE a = 1",
            "UPDATE t SET b = b + 1",
            "DELETE FROM t WHERE a = 77",
            "DELETE FROM t WHERE b < 0",
            "CREATE TABLE IF NOT EXISTS u (a INT)",
            "CREATE TABLE IF NOT EXISTS v AS SELECT * FROM t",
            "CREATE SCHEMA IF NOT EXISTS s",
            "TRUNCATE TABLE u",
            "DROP TABLE IF EXISTS u",
            "DROP SCHEMA IF EXISTS s",
        ],
    ),
    (
        Role::Admin,
        &[
            "CREATE USER IF NOT EXISTS other PASSWORD 'other password' ROLE reader",
            "ALTER USER IF EXISTS other ROLE writer",
            "SHOW USERS",
            "DROP USER IF EXISTS other",
        ],
    ),
];

#[test]
fn a_role_may_do_what_it_may_whichever_way_a_statement_comes() {
    let mut root = db();
    root.run("CREATE TABLE t (a INT PRIMARY KEY, b INT)");
    root.run("INSERT INTO t VALUES (1, 1), (2, 2)");
    root.run("CREATE USER root PASSWORD 'correct horse' ROLE admin");
    for role in [Role::Reader, Role::Writer, Role::Admin] {
        let mut session = as_role(&root, role);
        assert_eq!(session.session.role(), role);
        for (needed, statements) in BY_ROLE {
            for sql in *statements {
                // The second and third time a text comes it may go other ways than the first.
                for time in 1..=3 {
                    let result = session.session.execute_one(sql, &Params::none());
                    check(role, *needed, result, &format!("{sql}, time {time}"));
                }
                let result = session.try_run(sql);
                check(role, *needed, result, &format!("{sql} in a script"));
                match session.session.prepare(sql) {
                    Err(error) => check(role, *needed, Err::<(), _>(error), sql),
                    Ok(prepared) => {
                        for _ in 1..=2 {
                            check(role, *needed, prepared.execute(&Params::none()), sql);
                        }
                    }
                }
            }
        }
    }
}

#[track_caller]
fn check<T>(role: Role, needed: Role, result: Result<T, Error>, what: &str) {
    match result {
        Ok(_) => assert!(role >= needed, "{what}: was not refused to a {role}"),
        Err(error) => {
            assert!(role < needed, "{what}: {error}");
            assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Denied, "42501"), "{what}");
        }
    }
}

#[test]
fn rows_go_no_way_around_a_readers_role() {
    let mut root = db();
    root.run("CREATE TABLE t (a BIGINT PRIMARY KEY)");
    let mut reader = as_role(&root, Role::Reader);
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("a", Arc::clone(&column))]).unwrap();

    let appender = reader.session.appender("t", AppendMode::Insert);
    assert_eq!(error_of(appender).kind(), ErrorKind::Denied);

    for create_if_missing in [false, true] {
        for table in ["t", "new"] {
            let target = IngestTarget {
                table: table.to_owned(),
                create_if_missing,
                ..IngestTarget::default()
            };
            let mut batches = std::iter::once(Ok(batch.clone()));
            let ingested = reader.session.ingest(batch.schema(), &mut batches, &target);
            assert_eq!(error_of(ingested).kind(), ErrorKind::Denied, "{table}");
        }
    }

    let table = reader.session.table("t").unwrap().with_columns(&["a"]).unwrap();
    let one = [ScalarValue::from(1_i64)];
    assert!(table.get(&one).unwrap().is_none());
    assert_eq!(error_of(table.upsert(&one)).kind(), ErrorKind::Denied);
    assert_eq!(error_of(table.upsert_columns(&[column])).kind(), ErrorKind::Denied);
    assert_eq!(error_of(table.delete(&one)).kind(), ErrorKind::Denied);

    let insert = reader.session.prepare("INSERT INTO t VALUES (?)").unwrap();
    assert_eq!(error_of(insert.execute_batch(&batch)).kind(), ErrorKind::Denied);
    let params = [Params::positional(vec![ScalarValue::from(1_i64)])];
    assert_eq!(error_of(insert.execute_many(&params)).kind(), ErrorKind::Denied);
    assert_eq!(error_of(insert.execute(&params[0])).kind(), ErrorKind::Denied);

    assert_eq!(root.rows("SELECT count(*) FROM t"), "0");
    assert_eq!(root.rows("SHOW TABLES"), "main t");
}
