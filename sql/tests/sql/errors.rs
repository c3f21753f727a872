//! What errors say: kind, message, place, hint.

use silt_sql::{ErrorKind, Position};

use super::harness::db;

#[test]
fn unknown_names_have_a_place_and_a_suggestion() {
    let mut db = db();
    db.run("CREATE TABLE events (agent TEXT PRIMARY KEY, cost DOUBLE)");
    for (sql, message, hint, line, column) in [
        (
            "SELECT *\nFROM evnets",
            "table \"evnets\" does not exist",
            "did you mean \"events\"?",
            2,
            6,
        ),
        (
            "SELECT agnet FROM events",
            "column \"agnet\" does not exist",
            "did you mean \"agent\"?",
            1,
            8,
        ),
        (
            "INSERT INTO event VALUES (1)",
            "table \"event\" does not exist",
            "did you mean \"events\"?",
            1,
            13,
        ),
        (
            "INSERT INTO events (cots) VALUES (1)",
            "column \"cots\" does not exist in table \"events\"",
            "did you mean \"cost\"?",
            1,
            21,
        ),
        ("DELETE FROM evens", "table \"evens\" does not exist", "did you mean \"events\"?", 1, 13),
        (
            "UPDATE events SET agent = agen",
            "column \"agen\" does not exist",
            "did you mean \"agent\"?",
            1,
            27,
        ),
        ("DROP TABLE evants", "table \"evants\" does not exist", "did you mean \"events\"?", 1, 12),
    ] {
        let error = db.error(sql);
        assert_eq!(error.kind(), ErrorKind::NotFound, "{sql}");
        assert_eq!(error.message(), message);
        assert_eq!(error.hint(), Some(hint), "{sql}");
        assert_eq!(error.position(), Some(Position { line, column }), "{sql}");
    }
}

#[test]
fn syntax_errors_have_a_place() {
    let mut db = db();
    let error = db.error("SELECT 1;\nSELECT * FROM t WHERE");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.position().map(|position| position.line), Some(2));
    let error = db.error("SELECT 'abc");
    assert_eq!(error.position(), Some(Position { line: 1, column: 8 }));
}

#[test]
fn functions_are_named_without_advice_on_other_programs() {
    let mut db = db();
    db.run("CREATE TABLE t (a TEXT PRIMARY KEY)");
    let error = db.error("SELECT lowwer(a) FROM t");
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::NotFound, "function \"lowwer\" does not exist")
    );
    assert_eq!(error.position(), Some(Position { line: 1, column: 8 }));
    let error = db.error("SELECT sum(a) FROM t");
    assert!(!error.message().contains("DataFusion"), "{error}");
    assert!(!error.message().contains('\n'), "{error}");
}

#[test]
fn errors_while_rows_are_computed_reach_the_reader() {
    let mut db = db();
    db.run("CREATE TABLE t (a TEXT PRIMARY KEY); INSERT INTO t VALUES ('1'), ('x')");
    let error = db.error("SELECT CAST(a AS INT) FROM t");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains('x'), "{error}");
    let error = db.error("INSERT INTO t SELECT CAST(a AS INT) FROM t");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(db.rows("SELECT count(*) FROM t"), "2");
}

#[test]
fn statements_before_a_failing_one_stay_done() {
    let mut db = db();
    let error =
        db.error("CREATE TABLE t (a INT); INSERT INTO t VALUES (1); INSERT INTO u VALUES (1)");
    assert_eq!(error.message(), "table \"u\" does not exist");
    assert_eq!(db.rows("SELECT * FROM t"), "1");
}

#[test]
fn a_closed_database_says_so() {
    let mut db = db();
    db.run("CREATE TABLE t (a INT)");
    db.session.shared().close().unwrap();
    assert_eq!(db.error("INSERT INTO t VALUES (1)").kind(), ErrorKind::Closed);
}
