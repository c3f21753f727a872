//! What transactions keep apart: Hermitage's anomalies (github.com/ept/hermitage), by their names,
//! with a session for each transaction. Snapshot isolation prevents all but write skew.

use silt_sql::ErrorKind;

use super::harness::{Db, db};

/// The table of every scenario, and three connections to it.
fn sessions() -> [Db; 3] {
    let mut one = db();
    one.run("CREATE TABLE test (id INT PRIMARY KEY, value INT)");
    one.run("INSERT INTO test VALUES (1, 10), (2, 20)");
    let (two, three) = (one.other(), one.other());
    [one, two, three]
}

fn begin(sessions: &mut [&mut Db]) {
    for session in sessions {
        session.run("BEGIN");
    }
}

fn value(db: &mut Db, id: i32) -> String {
    db.rows(&format!("SELECT value FROM test WHERE id = {id}"))
}

fn set(db: &mut Db, id: i32, value: i32) {
    assert_eq!(db.run(&format!("UPDATE test SET value = {value} WHERE id = {id}")), 1);
}

const ALL: &str = "SELECT * FROM test ORDER BY id";

/// A commit that comes second; it names table and key.
#[track_caller]
fn conflicts(db: &mut Db, id: i32) {
    let error = db.error("COMMIT");
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Conflict, "40001"), "{error}");
    assert_eq!(
        error.message(),
        format!("the row with key (id) = ({id}) in table test was written by another commit")
    );
    assert!(!db.session.is_in_transaction());
}

#[test]
fn g0_write_cycles_are_prevented() {
    let [mut one, mut two, _] = sessions();
    begin(&mut [&mut one, &mut two]);
    set(&mut one, 1, 11);
    set(&mut two, 1, 12);
    set(&mut one, 2, 21);
    one.run("COMMIT");
    set(&mut two, 2, 22);
    conflicts(&mut two, 1);
    assert_eq!(one.rows(ALL), "1 11\n2 21");
    assert_eq!(two.rows(ALL), "1 11\n2 21");
}

#[test]
fn g1a_aborted_reads_are_prevented() {
    let [mut one, mut two, _] = sessions();
    begin(&mut [&mut one, &mut two]);
    set(&mut one, 1, 101);
    assert_eq!(two.rows(ALL), "1 10\n2 20");
    one.run("ROLLBACK");
    assert_eq!(two.rows(ALL), "1 10\n2 20");
    two.run("COMMIT");
}

#[test]
fn g1b_intermediate_reads_are_prevented() {
    let [mut one, mut two, _] = sessions();
    begin(&mut [&mut one, &mut two]);
    set(&mut one, 1, 101);
    assert_eq!(two.rows(ALL), "1 10\n2 20");
    set(&mut one, 1, 11);
    one.run("COMMIT");
    assert_eq!(two.rows(ALL), "1 10\n2 20");
    two.run("COMMIT");
    assert_eq!(two.rows(ALL), "1 11\n2 20");
}

#[test]
fn g1c_circular_information_flow_is_prevented() {
    let [mut one, mut two, _] = sessions();
    begin(&mut [&mut one, &mut two]);
    set(&mut one, 1, 11);
    set(&mut two, 2, 22);
    assert_eq!(value(&mut one, 2), "20");
    assert_eq!(value(&mut two, 1), "10");
    one.run("COMMIT");
    two.run("COMMIT");
    assert_eq!(one.rows(ALL), "1 11\n2 22");
}

#[test]
fn otv_an_observed_transaction_does_not_vanish() {
    let [mut one, mut two, mut three] = sessions();
    begin(&mut [&mut one, &mut two]);
    set(&mut one, 1, 11);
    set(&mut one, 2, 19);
    set(&mut two, 1, 12);
    one.run("COMMIT");
    begin(&mut [&mut three]);
    assert_eq!(value(&mut three, 1), "11");
    set(&mut two, 2, 18);
    assert_eq!(value(&mut three, 2), "19");
    conflicts(&mut two, 1);
    assert_eq!(three.rows(ALL), "1 11\n2 19");
    three.run("COMMIT");
}

#[test]
fn pmp_predicates_do_not_meet_later_rows() {
    let [mut one, mut two, _] = sessions();
    begin(&mut [&mut one, &mut two]);
    assert_eq!(one.rows("SELECT * FROM test WHERE value = 30"), "");
    two.run("INSERT INTO test VALUES (3, 30)");
    two.run("COMMIT");
    assert_eq!(one.rows("SELECT * FROM test WHERE value % 3 = 0"), "");
    one.run("COMMIT");
    assert_eq!(one.rows("SELECT * FROM test WHERE value % 3 = 0"), "3 30");
}

#[test]
fn pmp_for_writes_is_a_conflict() {
    let [mut one, mut two, _] = sessions();
    begin(&mut [&mut one, &mut two]);
    assert_eq!(one.run("UPDATE test SET value = value + 10"), 2);
    assert_eq!(two.run("DELETE FROM test WHERE value = 20"), 1);
    one.run("COMMIT");
    conflicts(&mut two, 2);
    assert_eq!(two.rows(ALL), "1 20\n2 30");
}

#[test]
fn p4_lost_updates_are_prevented() {
    let [mut one, mut two, _] = sessions();
    begin(&mut [&mut one, &mut two]);
    assert_eq!((value(&mut one, 1), value(&mut two, 1)), ("10".to_owned(), "10".to_owned()));
    set(&mut one, 1, 11);
    set(&mut two, 1, 11);
    one.run("COMMIT");
    conflicts(&mut two, 1);
}

#[test]
fn g_single_read_skew_is_prevented() {
    let [mut one, mut two, _] = sessions();
    begin(&mut [&mut one, &mut two]);
    assert_eq!(value(&mut one, 1), "10");
    assert_eq!(two.rows(ALL), "1 10\n2 20");
    set(&mut two, 1, 12);
    set(&mut two, 2, 18);
    two.run("COMMIT");
    assert_eq!(value(&mut one, 2), "20");
    one.run("COMMIT");
}

#[test]
fn g_single_with_predicates_is_prevented() {
    let [mut one, mut two, _] = sessions();
    begin(&mut [&mut one, &mut two]);
    assert_eq!(one.rows("SELECT * FROM test WHERE value % 5 = 0"), "1 10\n2 20");
    assert_eq!(two.run("UPDATE test SET value = 12 WHERE value = 10"), 1);
    two.run("COMMIT");
    assert_eq!(one.rows("SELECT * FROM test WHERE value % 3 = 0"), "");
    one.run("COMMIT");
}

#[test]
fn g_single_for_writes_is_a_conflict() {
    let [mut one, mut two, _] = sessions();
    begin(&mut [&mut one, &mut two]);
    assert_eq!(value(&mut one, 1), "10");
    set(&mut two, 1, 12);
    set(&mut two, 2, 18);
    two.run("COMMIT");
    assert_eq!(one.run("DELETE FROM test WHERE value = 20"), 1);
    conflicts(&mut one, 2);
    assert_eq!(one.rows(ALL), "1 12\n2 18");
}

/// Each of two transactions reads what the other one writes: snapshot isolation lets both commit.
#[test]
fn g2_item_write_skew_is_possible() {
    let [mut one, mut two, _] = sessions();
    begin(&mut [&mut one, &mut two]);
    let both = "SELECT * FROM test WHERE id IN (1, 2)";
    assert_eq!(
        (one.rows(both), two.rows(both)),
        ("1 10\n2 20".to_owned(), "1 10\n2 20".to_owned())
    );
    set(&mut one, 1, 11);
    set(&mut two, 2, 21);
    one.run("COMMIT");
    two.run("COMMIT");
    assert_eq!(one.rows(ALL), "1 11\n2 21");
}

/// As above, of rows that a predicate would have found.
#[test]
fn g2_anti_dependency_cycles_are_possible() {
    let [mut one, mut two, _] = sessions();
    begin(&mut [&mut one, &mut two]);
    let found = "SELECT * FROM test WHERE value % 3 = 0";
    assert_eq!((one.rows(found), two.rows(found)), (String::new(), String::new()));
    one.run("INSERT INTO test VALUES (3, 30)");
    two.run("INSERT INTO test VALUES (4, 42)");
    one.run("COMMIT");
    two.run("COMMIT");
    assert_eq!(one.rows(found), "3 30\n4 42");
}

/// The same through statements prepared before, which run by their keys.
#[test]
fn prepared_statements_are_kept_apart_alike() {
    let [mut one, mut two, _] = sessions();
    let read = |db: &Db| db.session.prepare("SELECT value FROM test WHERE id = 1").unwrap();
    let write =
        |db: &Db| db.session.prepare("UPDATE test SET value = value + 1 WHERE id = 1").unwrap();
    let (read_one, read_two) = (read(&one), read(&two));
    let (write_one, write_two) = (write(&one), write(&two));
    let none = silt_sql::Params::none();
    let value = |prepared: &silt_sql::Prepared| {
        super::harness::lines(prepared.execute(&none).unwrap()).unwrap().join("\n")
    };
    assert_eq!((value(&read_one), value(&read_two)), ("10".to_owned(), "10".to_owned()));
    begin(&mut [&mut one, &mut two]);
    for _ in 0..3 {
        drop(write_one.execute(&none).unwrap());
    }
    drop(write_two.execute(&none).unwrap());
    assert_eq!((value(&read_one), value(&read_two)), ("13".to_owned(), "11".to_owned()));
    let runs = one.session.shared().point_runs();
    assert!(runs >= 6, "{runs} statements ran by their keys");
    one.run("COMMIT");
    assert_eq!((value(&read_one), value(&read_two)), ("13".to_owned(), "11".to_owned()));
    conflicts(&mut two, 1);
    assert_eq!((value(&read_one), value(&read_two)), ("13".to_owned(), "13".to_owned()));
}
