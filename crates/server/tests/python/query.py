"""Statements, parameters and counts through ADBC's DB-API."""

import sys

import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager
import pyarrow

connection = adbc.connect(sys.argv[1], autocommit=True)
cursor = connection.cursor()
cursor.execute("CREATE TABLE people (id BIGINT PRIMARY KEY, name TEXT, born DATE, height DOUBLE)")
cursor.execute("INSERT INTO people VALUES (1, 'Ada', '1815-12-10', 1.65)")

# One statement with many rows of parameters is one commit.
rows = [(id, f"person {id}", None, id / 2) for id in range(2, 1002)]
cursor.executemany("INSERT INTO people VALUES (?, ?, ?, ?)", rows)
cursor.execute("SELECT count(*), sum(height) FROM people")
assert cursor.fetchone() == (1001, 1.65 + sum(range(2, 1002)) / 2), cursor.fetchone()

cursor.execute("SELECT name, height FROM people WHERE id = ?", (7,))
assert cursor.fetchall() == [("person 7", 3.5)]
cursor.execute("SELECT name FROM people WHERE name LIKE $1 AND id < $2 ORDER BY id", ("person 1%", 13))
assert cursor.fetchall() == [("person 10",), ("person 11",), ("person 12",)]
cursor.execute("SELECT ? AS number, ? AS text, ? AS nothing", (7, "seven", None))
assert cursor.fetchone() == (7, "seven", None)
cursor.execute("UPDATE people SET height = ? WHERE id = ?", (2.0, 7))
cursor.execute("SELECT height FROM people WHERE id = 7")
assert cursor.fetchone() == (2.0,)

# Each row of an executemany that is no INSERT is run.
cursor.executemany("DELETE FROM people WHERE id = ?", [(2,), (3,), (4,)])
cursor.execute("SELECT min(id), max(id), count(*) FROM people WHERE id > 1")
assert cursor.fetchone() == (5, 1001, 997)

# As Arrow, with the types that were declared.
cursor.execute("SELECT * FROM people ORDER BY id")
table = cursor.fetch_arrow_table()
assert table.num_rows == 998
assert table.schema.field("name").type == pyarrow.string(), table.schema
assert table.schema.field("born").type == pyarrow.date32()
assert not table.schema.field("id").nullable

# A result of many messages.
cursor.execute("SELECT value, repeat('x', 200) AS text FROM generate_series(1, 100000)")
table = cursor.fetch_arrow_table()
assert table.num_rows == 100000
assert pyarrow.compute.sum(table["value"]).as_py() == 100000 * 100001 // 2

# Errors have their kind and the words of the database.
for sql, kind, words in [
    ("SELECT nme FROM people", adbc_driver_manager.ProgrammingError, 'did you mean "name"'),
    ("SELEC 1", adbc_driver_manager.ProgrammingError, "line 1, column 1"),
    ("INSERT INTO people VALUES (1, 'x', NULL, 0)", adbc_driver_manager.Error, "people"),
    ("ALTER SYSTEM SET x = 1", adbc_driver_manager.NotSupportedError, "not supported"),
]:
    try:
        cursor.execute(sql)
        cursor.fetchall()
    except kind as error:
        assert words in str(error), (sql, error)
    else:
        raise AssertionError(f"{sql}: no error")
cursor.execute("SELECT count(*) FROM people")
assert cursor.fetchone() == (998,)
cursor.close()
connection.close()
