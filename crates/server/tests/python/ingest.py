"""Tables of every type through adbc_ingest, in each mode, and back again equal."""

import datetime
import decimal
import sys

import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager
import pyarrow as pa

connection = adbc.connect(sys.argv[1], autocommit=True)
cursor = connection.cursor()

utc = datetime.timezone.utc
types = {
    "boolean": (pa.bool_(), [True, False]),
    "tinyint": (pa.int8(), [-128, 127]),
    "smallint": (pa.int16(), [-32768, 32767]),
    "integer": (pa.int32(), [-(2**31), 2**31 - 1]),
    "bigint": (pa.int64(), [-(2**63), 2**63 - 1]),
    "utinyint": (pa.uint8(), [0, 255]),
    "usmallint": (pa.uint16(), [0, 65535]),
    "uinteger": (pa.uint32(), [0, 2**32 - 1]),
    "ubigint": (pa.uint64(), [0, 2**64 - 1]),
    "real": (pa.float32(), [1.5, -0.0]),
    "double": (pa.float64(), [1e300, float("inf")]),
    "decimal": (pa.decimal128(38, 10), [decimal.Decimal("-1.0000000001"), decimal.Decimal(10**20)]),
    "text": (pa.string(), ["", "grüße \N{SNOWMAN}"]),
    "blob": (pa.binary(), [b"", b"\x00\xff" * 50]),
    "date": (pa.date32(), [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]),
    "time": (pa.time64("us"), [datetime.time(0, 0), datetime.time(23, 59, 59, 999999)]),
    "timestamp": (pa.timestamp("us"), [datetime.datetime(1815, 12, 10, 1, 2, 3, 4), datetime.datetime(2026, 11, 20)]),
    "timestamptz": (pa.timestamp("us", "UTC"), [datetime.datetime(2026, 11, 20, tzinfo=utc), datetime.datetime(1, 1, 1, tzinfo=utc)]),
    "interval": (pa.month_day_nano_interval(), [pa.MonthDayNano([1, 15, 1_000]), pa.MonthDayNano([-1, 0, 0])]),
    "uuid": (pa.binary(16), [bytes(range(16)), b"\xff" * 16]),
    "list": (pa.list_(pa.int64()), [[1, None, 3], []]),
    "texts": (pa.list_(pa.string()), [["a", None], []]),
    "struct": (pa.struct([("a", pa.int32()), ("b", pa.string())]), [{"a": 1, "b": "x"}, {"a": None, "b": None}]),
    "map": (pa.map_(pa.string(), pa.int64()), [[("a", 1), ("b", None)], []]),
    "vector": (pa.list_(pa.float32(), 3), [[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]]),
}
columns = {"id": pa.array(range(4), pa.int64())}
for name, (kind, values) in types.items():
    columns[f"c_{name}"] = pa.array([values[0], None, values[1], None], kind)
table = pa.table(columns)


def read(sql):
    cursor.execute(sql)
    return cursor.fetch_arrow_table()


def same(one, other):
    one, other = one.combine_chunks(), other.combine_chunks()
    for field in one.schema:
        there = other.schema.field(field.name)
        assert there.type == field.type, (field, there)
        assert one[field.name].to_pylist() == other[field.name].to_pylist(), field
    assert one.schema.names == other.schema.names
    assert one.equals(other)


assert cursor.adbc_ingest("every", table, mode="create") == 4
same(table, read("SELECT * FROM every ORDER BY id"))

# Each mode.
try:
    cursor.adbc_ingest("every", table, mode="create")
    raise AssertionError("made twice")
except adbc_driver_manager.Error as error:
    assert "already exists" in str(error), error
try:
    cursor.adbc_ingest("nothing", table, mode="append")
    raise AssertionError("appended to nothing")
except adbc_driver_manager.Error as error:
    assert "does not exist" in str(error), error
assert cursor.adbc_ingest("every", table, mode="append") == 4
assert read("SELECT count(*) AS n FROM every")["n"].to_pylist() == [8]
assert cursor.adbc_ingest("every", table.slice(0, 2), mode="replace") == 2
same(table.slice(0, 2), read("SELECT * FROM every ORDER BY id"))
other = pa.table({"only": pa.array(["one", "column"])})
assert cursor.adbc_ingest("every", other, mode="replace") == 2
same(other, read("SELECT * FROM every"))
assert cursor.adbc_ingest("new", other, mode="create_append") == 2
assert cursor.adbc_ingest("new", other, mode="create_append") == 2
assert read("SELECT * FROM new").num_rows == 4

# Into a table with declared types and a key: values are cast, missing columns take their default.
cursor.execute("CREATE TABLE declared (id INTEGER PRIMARY KEY, at TIMESTAMP, note TEXT DEFAULT 'none')")
small = pa.table({"id": pa.array([1, 2], pa.int64()), "at": pa.array(["2026-11-20 01:02:03", None])})
assert cursor.adbc_ingest("declared", small, mode="append") == 2
assert read("SELECT * FROM declared ORDER BY id").to_pylist() == [
    {"id": 1, "at": datetime.datetime(2026, 11, 20, 1, 2, 3), "note": "none"},
    {"id": 2, "at": None, "note": "none"},
]
# A key that is there undoes the whole stream.
more = pa.table({"id": pa.array([3, 4, 2], pa.int64())})
try:
    cursor.adbc_ingest("declared", more, mode="append")
    raise AssertionError("key twice")
except adbc_driver_manager.Error:
    pass
assert read("SELECT count(*) AS n FROM declared")["n"].to_pylist() == [2]

# Many batches, other spellings of the same types, names that want quotes, a schema.
rows = 200_000
large = pa.table(
    {
        "Id": pa.array(range(rows), pa.int64()),
        "kind of thing": pa.array([f"kind {n % 7}" for n in range(rows)]).dictionary_encode(),
        "view": pa.array([f"a text that is longer than twelve bytes {n}" for n in range(rows)], pa.string_view()),
        "large": pa.array([str(n) for n in range(rows)], pa.large_string()),
        "at": pa.array(range(rows), pa.timestamp("ns")),
    }
)
cursor.execute('CREATE SCHEMA "Other"')
reader = pa.RecordBatchReader.from_batches(large.schema, large.to_batches(max_chunksize=10_000))
assert cursor.adbc_ingest("Large Table", reader, mode="create", db_schema_name="Other") == rows
back = read('SELECT * FROM "Other"."Large Table" ORDER BY "Id"')
assert back.num_rows == rows
assert back["Id"].to_pylist() == list(range(rows))
assert back["kind of thing"].to_pylist() == large["kind of thing"].to_pylist()
assert back["view"].to_pylist() == large["view"].to_pylist()
assert back["large"].to_pylist() == large["large"].to_pylist()

# A temporary table is refused by name.
try:
    cursor.adbc_ingest("gone", other, mode="create", temporary=True)
    raise AssertionError("temporary")
except adbc_driver_manager.Error as error:
    assert "temporary" in str(error), error
cursor.close()
connection.close()
