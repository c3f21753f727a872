"""What there is, through ADBC's metadata calls."""

import sys

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa

connection = adbc.connect(sys.argv[1], autocommit=True)
with connection.cursor() as cursor:
    cursor.execute("CREATE SCHEMA sales")
    cursor.execute("CREATE TABLE events (agent BIGINT, seq BIGINT, kind TEXT NOT NULL, PRIMARY KEY (agent, seq))")
    cursor.execute("CREATE TABLE sales.orders (id BIGINT PRIMARY KEY, total DECIMAL(12, 2))")

info = connection.adbc_get_info()
assert info["vendor_name"] == "SiltDB", info

objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
assert [catalog["catalog_name"] for catalog in objects] == ["silt"]
schemas = {schema["db_schema_name"]: schema["db_schema_tables"] for schema in objects[0]["catalog_db_schemas"]}
assert set(schemas) == {"main", "sales"}, schemas
events = schemas["main"][0]
assert (events["table_name"], events["table_type"]) == ("events", "TABLE"), events
assert [column["column_name"] for column in events["table_columns"]] == ["agent", "seq", "kind"]
keys = [c for c in events["table_constraints"] or [] if c["constraint_type"] == "PRIMARY KEY"]
assert not keys or keys[0]["constraint_column_names"] == ["agent", "seq"], keys

only = connection.adbc_get_objects(depth="tables", table_name_filter="ord%").read_all().to_pylist()
names = [
    table["table_name"]
    for schema in only[0]["catalog_db_schemas"]
    for table in schema["db_schema_tables"] or []
]
assert names == ["orders"], only

schema = connection.adbc_get_table_schema("orders", db_schema_filter="sales")
assert schema.field("total").type == pa.decimal128(12, 2), schema
assert schema.names == ["id", "total"]
assert not schema.field("id").nullable
assert connection.adbc_get_table_types() == ["TABLE"]
with connection.cursor() as cursor:
    assert cursor.adbc_execute_schema("SELECT total FROM sales.orders").names == ["total"]
connection.close()
