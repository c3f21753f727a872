//! Every SQL type, in and out.

use super::harness::db;

#[test]
fn nested_values_come_back_as_they_went_in() {
    let mut db = db();
    db.run(
        "CREATE TABLE t (id INT PRIMARY KEY, tags TEXT[], grid INTEGER[][], v FLOAT[3],
         s STRUCT<a INT, b TEXT>, m MAP(TEXT, BIGINT), i INTERVAL, j JSON, u UUID)",
    );
    db.run(
        "INSERT INTO t VALUES (1, ['a', NULL, 'b'], [[1, 2], []], [1.0, 2.5, 3.0],
         {'a': 7, 'b': 'x'}, MAP {'k': 1, 'l': 2}, INTERVAL '1 month 2 days', '{\"a\": [1]}',
         '550e8400-e29b-41d4-a716-446655440000')",
    );
    db.run("INSERT INTO t (id) VALUES (2)");
    assert_eq!(
        db.rows("SELECT id, tags, grid, v, s, m, i, j FROM t WHERE id = 1"),
        "1 [a, NULL, b] [[1, 2], []] [1.0, 2.5, 3.0] {a: 7, b: x} {k: 1, l: 2} 1 mons 2 days {\"a\": [1]}"
    );
    assert_eq!(
        db.rows("SELECT * FROM t WHERE id = 2"),
        "2 NULL NULL NULL NULL NULL NULL NULL NULL"
    );
    assert_eq!(db.rows("SELECT tags[3], s.b, v[2], grid[1][2] FROM t WHERE id = 1"), "b x 2.5 2");
    let error = db.error("INSERT INTO t (id, v) VALUES (3, [1.0])");
    assert!(
        error.message().starts_with("a value does not fit column \"v\" of type FLOAT[3]"),
        "{error}"
    );
}

#[test]
fn a_uuid_is_found_by_its_text() {
    let mut db = db();
    db.run("CREATE TABLE t (u UUID PRIMARY KEY, n INT)");
    db.run("INSERT INTO t VALUES ('550e8400-e29b-41d4-a716-446655440000', 1), (uuid(), 2)");
    assert_eq!(db.rows("SELECT count(*) FROM t"), "2");
    let error = db.error("INSERT INTO t VALUES ('550E8400E29B41D4A716446655440000', 3)");
    assert!(error.message().starts_with("duplicate key (u) = (550e8400"), "{error}");
    for condition in [
        "u = '550e8400-e29b-41d4-a716-446655440000'",
        "'550e8400e29b41d4a716446655440000' = u",
        "u IN ('550e8400-e29b-41d4-a716-446655440000', '00000000-0000-0000-0000-000000000000')",
        "u BETWEEN '550e8400-e29b-41d4-a716-446655440000' AND '550e8400-e29b-41d4-a716-446655440001'",
        "u::TEXT = '550e8400-e29b-41d4-a716-446655440000'",
        "u = CAST('550e8400-e29b-41d4-a716-446655440000' AS UUID)",
    ] {
        let sql = format!("SELECT n FROM t WHERE {condition}");
        assert_eq!(db.rows(&sql), "1", "{condition}");
    }
    let plan = db.rows("EXPLAIN SELECT n FROM t WHERE u = '550e8400-e29b-41d4-a716-446655440000'");
    assert!(plan.contains("get"), "{plan}");
    assert_eq!(
        db.rows("SELECT u::TEXT FROM t WHERE n = 1"),
        "550e8400-e29b-41d4-a716-446655440000"
    );
    assert_eq!(db.error("SELECT n FROM t WHERE u = 'x'").message(), "'x' is not a UUID");
}

#[test]
fn text_is_compared_with_dates_times_and_numbers() {
    let mut db = db();
    db.run("CREATE TABLE t (d DATE PRIMARY KEY, at TIMESTAMP, z TIMESTAMPTZ, n DECIMAL(10,2))");
    db.run("INSERT INTO t VALUES ('2026-01-02', '2026-01-02 03:04:05.5', '2026-01-02 03:04:05+01', 1.10)");
    assert_eq!(
        db.rows("SELECT count(*) FROM t WHERE d = '2026-01-02' AND at > '2026-01-02 03:00:00'"),
        "1"
    );
    assert_eq!(db.rows("SELECT z FROM t WHERE z = '2026-01-02 02:04:05Z'"), "2026-01-02T02:04:05Z");
    assert_eq!(
        db.rows("SELECT d FROM t WHERE d BETWEEN '2026-01-01' AND DATE '2026-01-03' AND n = 1.1"),
        "2026-01-02"
    );
}

#[test]
fn times_reach_beyond_the_nanoseconds() {
    let mut db = db();
    db.run("CREATE TABLE t (at TIMESTAMP PRIMARY KEY)");
    db.run(
        "INSERT INTO t VALUES (TIMESTAMP '9999-12-31 23:59:59.999999'), ('0001-01-01 00:00:00')",
    );
    assert_eq!(
        db.rows("SELECT at FROM t WHERE at > TIMESTAMP '3000-01-01'"),
        "9999-12-31T23:59:59.999999"
    );
}

#[test]
fn decimals_keep_their_digits() {
    let mut db = db();
    db.run("CREATE TABLE t (n DECIMAL(38,10) PRIMARY KEY)");
    db.run("INSERT INTO t VALUES (1234567890123456789012345678.0123456789), (-0.1), (12345678901234567890)");
    assert_eq!(
        db.rows("SELECT n FROM t ORDER BY n"),
        "-0.1000000000\n12345678901234567890.0000000000\n1234567890123456789012345678.0123456789"
    );
    let error = db.error("INSERT INTO t VALUES (123456789012345678901234567890)");
    assert_eq!(
        error.message(),
        "value '123456789012345678901234567890' does not fit column \"n\" of type DECIMAL(38,10) in table t"
    );
}

#[test]
fn floats_have_one_zero_and_one_nan_in_keys() {
    let mut db = db();
    db.run("CREATE TABLE t (f DOUBLE PRIMARY KEY); INSERT INTO t VALUES (0.0), ('NaN'), ('-inf'), (1.5)");
    let error = db.error("INSERT INTO t VALUES (-0.0)");
    assert_eq!(error.message(), "duplicate key (f) = (0.0) in table t");
    assert_eq!(db.rows("SELECT f FROM t ORDER BY f"), "-inf\n0.0\n1.5\nNaN");
}
