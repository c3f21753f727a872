"""The client of `flight`: one step a run; prints seconds, bytes of Arrow data,
rows, and its own CPU seconds from when the clock started."""

import resource
import sys
import time

import pyarrow as pa
import pyarrow.flight as flight
import pyarrow.parquet as parquet


BEFORE = [0.0]


def start():
    own = resource.getrusage(resource.RUSAGE_SELF)
    BEFORE[0] = own.ru_utime + own.ru_stime
    return time.perf_counter()


def export(address, ticket, compression="none"):
    options = flight.FlightCallOptions(headers=[(b"silt-compression", compression.encode())])
    client = flight.connect(address)
    began = start()
    total = rows = 0
    for chunk in client.do_get(flight.Ticket(ticket.encode()), options):
        total += chunk.data.nbytes
        rows += chunk.data.num_rows
    return time.perf_counter() - began, total, rows


def table_of(file):
    table = parquet.read_table(file)
    fields = [f.with_type(pa.string()) if f.type == pa.string_view() else f for f in table.schema]
    return table.cast(pa.schema(fields)).combine_chunks()


def ingest(address, name, file):
    import adbc_driver_flightsql.dbapi as adbc

    table = table_of(file)
    with adbc.connect(address, autocommit=True) as connection, connection.cursor() as cursor:
        batches = table.to_batches(max_chunksize=16384)
        reader = pa.RecordBatchReader.from_batches(table.schema, batches)
        began = start()
        rows = cursor.adbc_ingest(name, reader, mode="create")
        return time.perf_counter() - began, table.nbytes, rows


def ingest_key(address, name, file):
    """Into a table that has its key."""
    import adbc_driver_flightsql.dbapi as adbc

    table = table_of(file)
    ddl = ", ".join(f"{f.name} {sql_type(f.type)}" for f in table.schema)
    with adbc.connect(address, autocommit=True) as connection, connection.cursor() as cursor:
        key = "PRIMARY KEY (l_orderkey, l_linenumber)"
        cursor.adbc_statement.set_sql_query(f"CREATE TABLE {name} ({ddl}, {key})")
        cursor.adbc_statement.execute_update()
        batches = table.to_batches(max_chunksize=16384)
        reader = pa.RecordBatchReader.from_batches(table.schema, batches)
        began = start()
        rows = cursor.adbc_ingest(name, reader, mode="append")
        return time.perf_counter() - began, table.nbytes, rows


def sql_type(kind):
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    return {"int64": "BIGINT", "int32": "INTEGER", "date32[day]": "DATE", "string": "TEXT"}[str(kind)]


def write_parquet(file, own):
    table = table_of(file)
    began = start()
    parquet.write_table(table, own)
    return time.perf_counter() - began, table.nbytes, table.num_rows


def read_parquet(file):
    began = start()
    table = parquet.read_table(file)
    return time.perf_counter() - began, table.nbytes, table.num_rows


steps = {
    "export": export,
    "ingest": ingest,
    "ingest-key": ingest_key,
    "write-parquet": write_parquet,
    "read-parquet": read_parquet,
}


def measured(step, *arguments):
    seconds, total, rows = steps[step](*arguments)
    own = resource.getrusage(resource.RUSAGE_SELF)
    return seconds, total, rows, own.ru_utime + own.ru_stime - BEFORE[0]


print(*measured(*sys.argv[1:]))
