//! CREATE, DROP, TRUNCATE, and what is said about tables.

use silt_sql::ErrorKind;

use super::harness::db;

#[test]
fn tables_are_made_described_and_dropped() {
    let mut db = db();
    db.run("CREATE TABLE t (a INT, \"B b\" VARCHAR(9) NOT NULL DEFAULT 'x', c DECIMAL(10,2), PRIMARY KEY (c DESC, a))");
    assert_eq!(
        db.rows("DESCRIBE t"),
        "B b VARCHAR(9) false NULL 'x'\na INTEGER false 2 NULL\nc DECIMAL(10,2) false 1 DESC NULL"
    );
    assert_eq!(db.rows("SHOW COLUMNS FROM t LIKE 'a%'"), "a INTEGER false 2 NULL");
    db.run("CREATE TABLE IF NOT EXISTS t (z INT)");
    let error = db.error("CREATE TABLE t (z INT)");
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::AlreadyExists, "table \"t\" already exists")
    );
    db.run("CREATE TABLE u (a INT PRIMARY KEY)");
    assert_eq!(db.rows("SHOW TABLES"), "main t\nmain u");
    db.run("DROP TABLE t, u");
    assert_eq!(db.rows("SHOW TABLES"), "");
    db.run("DROP TABLE IF EXISTS t");
    assert_eq!(db.error("DROP TABLE t").message(), "table \"t\" does not exist");
}

#[test]
fn keys_descend_where_they_are_told_to() {
    let mut db = db();
    db.run("CREATE TABLE t (a INT, b TEXT, PRIMARY KEY (a DESC, b ASC))");
    db.run("INSERT INTO t VALUES (1, 'b'), (2, 'a'), (1, 'a')");
    assert_eq!(db.rows("SELECT * FROM t ORDER BY a DESC, b"), "2 a\n1 a\n1 b");
    assert_eq!(db.rows("SELECT * FROM t ORDER BY a, b DESC"), "1 b\n1 a\n2 a");
    assert_eq!(db.rows("SELECT b FROM t WHERE a = 1 AND b > 'a'"), "b");
}

#[test]
fn schemas_hold_tables_of_their_own() {
    let mut db = db();
    db.run("CREATE SCHEMA kg; CREATE SCHEMA IF NOT EXISTS kg; CREATE TABLE kg.t (a INT PRIMARY KEY); CREATE TABLE t (b INT)");
    db.run("INSERT INTO kg.t VALUES (1); INSERT INTO t VALUES (2)");
    assert_eq!(db.rows("SELECT a FROM kg.t"), "1");
    assert_eq!(db.rows("SELECT kg.t.a, x.b FROM kg.t CROSS JOIN silt.main.t AS x"), "1 2");
    assert_eq!(db.rows("SHOW TABLES FROM kg"), "kg t");
    assert_eq!(db.rows("SHOW SCHEMAS"), "kg\nmain");
    let error = db.error("INSERT INTO kg.t VALUES (1)");
    assert_eq!(error.message(), "duplicate key (a) = (1) in table kg.t");
    let error = db.error("DROP SCHEMA kg");
    assert_eq!(error.message(), "schema \"kg\" still holds 1 table");
    db.run("DROP SCHEMA kg CASCADE");
    assert_eq!(db.error("SELECT * FROM kg.t").message(), "schema \"kg\" does not exist");
    assert_eq!(db.error("DROP SCHEMA main").message(), "schema \"main\" cannot be dropped");
    assert_eq!(db.error("CREATE TABLE x.t (a INT)").message(), "schema \"x\" does not exist");
}

#[test]
fn create_table_as_takes_names_types_and_rows() {
    let mut db = db();
    db.run("CREATE TABLE s (a INT PRIMARY KEY, b TEXT); INSERT INTO s VALUES (1, 'x'), (2, 'y')");
    assert_eq!(db.run("CREATE TABLE t AS SELECT a, b, a * 1.5 AS c FROM s"), 2);
    assert_eq!(db.rows("SELECT * FROM t"), "1 x 1.5\n2 y 3.0");
    assert_eq!(
        db.rows("DESCRIBE t"),
        "a INTEGER true NULL NULL\nb TEXT true NULL NULL\nc DOUBLE true NULL NULL"
    );
    assert_eq!(db.run("CREATE TABLE k (id BIGINT PRIMARY KEY, b TEXT) AS SELECT a, b FROM s"), 2);
    assert_eq!(db.error("INSERT INTO k VALUES (1, 'z')").kind(), ErrorKind::AlreadyExists);
    assert_eq!(db.run("CREATE TABLE IF NOT EXISTS t AS SELECT 1 AS z"), 0);
    let error = db.error("CREATE TABLE d (id INT PRIMARY KEY, b TEXT) AS SELECT 1, b FROM s");
    assert_eq!(error.message(), "duplicate key (id) = (1) in table d");
    assert_eq!(db.rows("SHOW TABLES LIKE 'd%'"), "");
}

#[test]
fn tables_that_cannot_be_are_refused() {
    let mut db = db();
    for (sql, message) in [
        ("CREATE TABLE t (a INT, a TEXT)", "column \"a\" is declared twice in table \"t\""),
        ("CREATE TABLE t (a INT PRIMARY KEY, b INT PRIMARY KEY)", "a table has one primary key"),
        (
            "CREATE TABLE t (a INT, PRIMARY KEY (b))",
            "column \"b\" of the primary key does not exist in table \"t\"",
        ),
        ("CREATE TABLE t (a GEOMETRY)", "unknown type GEOMETRY"),
        (
            "CREATE TABLE t (a TEXT[] PRIMARY KEY)",
            "column \"a\" of type TEXT[] cannot be part of the primary key of table \"t\"",
        ),
        (
            "CREATE TABLE t (a INT DEFAULT 'x')",
            "value 'x' does not fit column \"a\" of type INTEGER in table t",
        ),
        (
            "CREATE TABLE t (_rowid INT)",
            "column name \"_rowid\" is reserved for the hidden row number",
        ),
    ] {
        assert_eq!(db.error(sql).message(), message, "{sql}");
    }
    assert_eq!(db.rows("SHOW TABLES"), "");
}

#[test]
fn information_schema_lists_tables_and_columns() {
    let mut db = db();
    db.run("CREATE TABLE t (a INT PRIMARY KEY, b TEXT)");
    assert_eq!(
        db.rows("SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema = 'main'"),
        "main t BASE TABLE"
    );
    assert_eq!(
        db.rows(
            "SELECT column_name, is_nullable FROM information_schema.columns WHERE table_name = 't'"
        ),
        "a NO\nb YES"
    );
}

#[test]
fn a_new_definition_is_seen_by_statements_in_other_sessions() {
    let mut db = db();
    let mut other = db.other();
    db.run("CREATE TABLE t (a INT PRIMARY KEY)");
    other.run("INSERT INTO t VALUES (1)");
    db.run("DROP TABLE t; CREATE TABLE t (b TEXT)");
    other.run("INSERT INTO t VALUES ('x')");
    assert_eq!(db.rows("SELECT b FROM t"), "x");
}
