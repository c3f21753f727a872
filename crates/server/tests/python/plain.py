"""Plain Flight through pyarrow: tables by path, queries by command or ticket, compressed on demand."""

import sys

import pyarrow as pa
import pyarrow.flight as flight

client = flight.connect(sys.argv[1])
options = flight.FlightCallOptions(headers=[(b"silt-compression", b"lz4")])


def read(descriptor, options=None):
    info = client.get_flight_info(descriptor, options)
    table = client.do_get(info.endpoints[0].ticket, options).read_all()
    assert table.schema.equals(info.schema), (table.schema, info.schema)
    return table


series = "SELECT value AS n, 'text ' || value AS t FROM generate_series(1, 50000)"
plain = read(flight.FlightDescriptor.for_command(series))
assert plain.num_rows == 50000
assert plain.equals(read(flight.FlightDescriptor.for_command(series), options))
assert client.do_get(flight.Ticket(b"SELECT 1 AS one")).read_all().to_pylist() == [{"one": 1}]
assert client.get_schema(flight.FlightDescriptor.for_command(series)).schema.names == ["n", "t"]

import adbc_driver_flightsql.dbapi as adbc

with adbc.connect(sys.argv[1], autocommit=True) as connection, connection.cursor() as cursor:
    cursor.adbc_ingest("events", pa.table({"a": [1, 2, 3]}))
for path in [("events",), ("main", "events")]:
    assert read(flight.FlightDescriptor.for_path(*path))["a"].to_pylist() == [1, 2, 3]
flights = list(client.list_flights())
assert [f.descriptor.path for f in flights] == [[b"main", b"events"]], flights
assert client.do_get(flights[0].endpoints[0].ticket).read_all().num_rows == 3

for ask in [
    lambda: read(flight.FlightDescriptor.for_path("nothing")),
    lambda: client.do_get(flight.Ticket(b"DROP TABLE events")).read_all(),
    lambda: client.do_put(flight.FlightDescriptor.for_path("events"), plain.schema)[0].close(),
]:
    try:
        ask()
        raise AssertionError("not refused")
    except (pa.ArrowException, KeyError, flight.FlightError, NotImplementedError):
        pass
assert read(flight.FlightDescriptor.for_path("events")).num_rows == 3
