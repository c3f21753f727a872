"""A long query that is cancelled from another thread, and one whose reader goes away."""

import sys
import threading
import time

import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager

LONG = "SELECT count(*) FROM generate_series(1, 1000000000000) WHERE value % 7 = 8"

connection = adbc.connect(sys.argv[1], autocommit=True)
cursor = connection.cursor()
began = time.monotonic()
threading.Timer(0.5, cursor.adbc_cancel).start()
try:
    cursor.execute(LONG)
    cursor.fetchall()
    raise AssertionError("not cancelled")
except adbc_driver_manager.Error as error:
    assert error.status_code == adbc_driver_manager.AdbcStatusCode.CANCELLED, error
assert time.monotonic() - began < 20, time.monotonic() - began
cursor.close()

# Rows that nobody reads to their end do not hold up who comes next.
for _ in range(4):
    with connection.cursor() as cursor:
        cursor.execute("SELECT a.value FROM generate_series(1, 100000) a, generate_series(1, 100000) b")
        cursor.fetch_record_batch().read_next_batch()
began = time.monotonic()
with connection.cursor() as cursor:
    cursor.execute("SELECT sum(value) FROM generate_series(1, 1000000)")
    assert cursor.fetchone() == (500000500000,)
assert time.monotonic() - began < 20, time.monotonic() - began
connection.close()
