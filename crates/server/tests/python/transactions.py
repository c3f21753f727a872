"""Transactions as Python's DB-API opens them: at connecting, and after each end."""

import sys

import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager
import pyarrow as pa

one, other = adbc.connect(sys.argv[1]), adbc.connect(sys.argv[1])
with one.cursor() as cursor:
    cursor.execute("CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT)")
    cursor.executemany("INSERT INTO accounts VALUES (?, ?)", [(n, 100) for n in range(10)])
one.commit()


def sum_of(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(balance), count(*) FROM accounts")
        return cursor.fetchone()


other.rollback()
assert sum_of(other) == (1000, 10)

# What one does is not seen by the other until it commits, nor by a moment that began before.
with one.cursor() as cursor:
    cursor.execute("UPDATE accounts SET balance = balance - 30 WHERE id = 1")
    cursor.execute("UPDATE accounts SET balance = balance + 40 WHERE id = 2")
assert sum_of(one) == (1010, 10)
assert sum_of(other) == (1000, 10)
one.commit()
assert sum_of(other) == (1000, 10)
other.rollback()
assert sum_of(other) == (1010, 10)

# Rolled back.
with one.cursor() as cursor:
    cursor.execute("DELETE FROM accounts WHERE id < 5")
    cursor.executemany("INSERT INTO accounts VALUES (?, ?)", [(100, 1), (101, 2)])
assert sum_of(one) == (503, 7), sum_of(one)
one.rollback()
# This driver's adbc_ingest names no transaction: it commits by itself.
assert sum_of(one) == (1010, 10)
with one.cursor() as cursor:
    cursor.adbc_ingest("accounts", pa.table({"id": [100, 101], "balance": [1, 2]}), mode="append")
one.commit()
other.rollback()
assert sum_of(other) == (1013, 12)

# Both change one row: the first to commit wins, the other may try again.
one.rollback()
other.rollback()
for connection, balance in [(one, 7), (other, 8)]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT balance FROM accounts WHERE id = 3")
        assert cursor.fetchone() == (100,)
lost = False
try:
    for connection, balance in [(one, 7), (other, 8)]:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE accounts SET balance = ? WHERE id = 3", (balance,))
    one.commit()
    other.commit()
except adbc_driver_manager.Error as error:
    lost = "accounts" in str(error)
assert lost
# This driver opens no new transaction after a commit that failed: connect again.
other.close()
other = adbc.connect(sys.argv[1])
with other.cursor() as cursor:
    cursor.execute("SELECT balance FROM accounts WHERE id = 3")
    assert cursor.fetchone() == (7,), "the first to commit"
    cursor.execute("UPDATE accounts SET balance = ? WHERE id = 3", (8,))
other.commit()
one.rollback()
assert sum_of(one) == (921, 12), sum_of(one)
one.close()
other.close()
