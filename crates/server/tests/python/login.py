"""What docs/server.md shows, with users, and what they are refused."""

import sys

import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager
import pyarrow.flight

address = sys.argv[1]


def connect(user, password):
    login = {"username": user, "password": password}
    return adbc.connect(address, db_kwargs=login, autocommit=True)


with connect("root", "root's password") as connection, connection.cursor() as cursor:
    # Each is run when execute returns, whether somebody fetches or not.
    cursor.execute("CREATE TABLE people (id BIGINT PRIMARY KEY, name TEXT)")
    for number in range(50):
        cursor.execute(f"INSERT INTO people VALUES ({number}, 'person {number}')")
    cursor.execute("SELECT count(*) FROM people")
    assert cursor.fetchone() == (50,)
    cursor.execute("CREATE USER ann PASSWORD 'ann''s password' ROLE reader")
    cursor.execute("SHOW USERS")
    assert ("ann", "reader") in cursor.fetchall()

with connect("ann", "ann's password") as connection, connection.cursor() as cursor:
    cursor.execute("SELECT name FROM people WHERE id = ?", (7,))
    assert cursor.fetchone() == ("person 7",)
    for sql in ["INSERT INTO people VALUES (99, 'x')", "DROP TABLE people", "DROP USER root"]:
        try:
            cursor.execute(sql)
        except adbc_driver_manager.Error as error:
            assert "needs the role" in str(error), error
        else:
            raise AssertionError(f"{sql} was not refused")
    cursor.execute("SELECT count(*) FROM people")
    assert cursor.fetchone() == (50,)

for user, password in [("ann", "wrong password"), ("nobody", "ann's password"), ("", "")]:
    try:
        with connect(user, password) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except adbc_driver_manager.Error as error:
        assert "password" in str(error) or "log in" in str(error), error
    else:
        raise AssertionError(f"{user} was let in")

# Plain Flight.
client = pyarrow.flight.connect(address)
try:
    client.do_get(pyarrow.flight.Ticket(b"SELECT 1")).read_all()
except pyarrow.flight.FlightUnauthenticatedError:
    pass
else:
    raise AssertionError("was let in without a token")
header = client.authenticate_basic_token("ann", "ann's password")
options = pyarrow.flight.FlightCallOptions(headers=[header])
table = client.do_get(pyarrow.flight.Ticket(b"SELECT * FROM people"), options).read_all()
assert table.num_rows == 50, table
