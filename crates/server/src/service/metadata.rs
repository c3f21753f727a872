//! What there is: catalogs, schemas, tables, keys, types of columns.
//!
//! Each command has one answer, a batch; GetFlightInfo gives its schema and DoGet its rows.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTableTypes,
    CommandGetTables, CommandGetXdbcTypeInfo, Nullable, Searchable, XdbcDataType,
    XdbcDatetimeSubcode,
};
use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use silt_catalog::{CATALOG_NAME, CatalogSnapshot, TableDef};
use tonic::Status;

use crate::stream::wire_schema;

/// The one type of table.
const TABLE: &str = "TABLE";

/// What fails here is our own.
fn ours<E: std::fmt::Display>(error: E) -> Status {
    Status::internal(format!("the answer cannot be built: {error}"))
}

pub(super) fn catalogs(command: CommandGetCatalogs) -> Result<RecordBatch, Status> {
    let mut builder = command.into_builder();
    builder.append(CATALOG_NAME);
    builder.build().map_err(ours)
}

pub(super) fn schemas(
    names: &CatalogSnapshot,
    command: CommandGetDbSchemas,
) -> Result<RecordBatch, Status> {
    let mut builder = command.into_builder();
    names.namespaces().for_each(|name| builder.append(CATALOG_NAME, name));
    builder.build().map_err(ours)
}

pub(super) fn tables(
    names: &CatalogSnapshot,
    command: CommandGetTables,
) -> Result<RecordBatch, Status> {
    let mut builder = command.into_builder();
    for table in names.tables() {
        let schema = table_schema(table);
        let appended = builder.append(CATALOG_NAME, &table.namespace, &table.name, TABLE, &schema);
        appended.map_err(ours)?;
    }
    builder.build().map_err(ours)
}

/// A table's columns as a query of all of them gives them, with what SQL calls their types.
fn table_schema(table: &TableDef) -> Schema {
    let schema = wire_schema(&table.arrow_schema());
    let field = |(field, column): (&Arc<Field>, &silt_catalog::ColumnDef)| {
        let about = |key: &str, value: &str| (format!("ARROW:FLIGHT:SQL:{key}"), value.to_owned());
        let metadata = HashMap::from([
            about("CATALOG_NAME", CATALOG_NAME),
            about("SCHEMA_NAME", &table.namespace),
            about("TABLE_NAME", &table.name),
            about("TYPE_NAME", &column.sql_type.to_string()),
        ]);
        Field::clone(field).with_metadata(metadata)
    };
    Schema::new(schema.fields().iter().zip(&table.columns).map(field).collect::<Vec<_>>())
}

pub(super) fn table_types(command: CommandGetTableTypes) -> Result<RecordBatch, Status> {
    let mut builder = command.into_builder();
    builder.append(TABLE);
    builder.build().map_err(ours)
}

pub(super) fn primary_keys(
    names: &CatalogSnapshot,
    command: &CommandGetPrimaryKeys,
) -> Result<RecordBatch, Status> {
    let ours_too = command.catalog.as_deref().is_none_or(|catalog| catalog == CATALOG_NAME);
    let wanted = |table: &&Arc<TableDef>| {
        ours_too
            && table.name == command.table
            && command.db_schema.as_deref().is_none_or(|schema| schema == table.namespace)
    };
    let rows: Vec<(&TableDef, &str, i32)> = names
        .tables()
        .filter(wanted)
        .flat_map(|table| {
            let columns = table.key_indices().into_iter();
            columns.zip(1..).map(|(index, place)| (&**table, &*table.columns[index].name, place))
        })
        .collect();
    let texts = |text: &dyn Fn(&(&TableDef, &str, i32)) -> String| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(text(row))).collect::<StringArray>())
    };
    let columns: Vec<ArrayRef> = vec![
        texts(&|_| CATALOG_NAME.to_owned()),
        texts(&|(table, ..)| table.namespace.clone()),
        texts(&|(table, ..)| table.name.clone()),
        texts(&|(_, column, _)| (*column).to_owned()),
        texts(&|(table, ..)| format!("{}_pkey", table.name)),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.2))),
    ];
    RecordBatch::try_new(Arc::clone(&PRIMARY_KEYS), columns).map_err(ours)
}

static PRIMARY_KEYS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
});

/// Exported keys, imported keys and cross reference: there are no foreign keys.
pub(super) fn foreign_keys() -> RecordBatch {
    RecordBatch::new_empty(Arc::clone(&FOREIGN_KEYS))
}

static FOREIGN_KEYS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("pk_catalog_name", DataType::Utf8, true),
        Field::new("pk_db_schema_name", DataType::Utf8, true),
        Field::new("pk_table_name", DataType::Utf8, false),
        Field::new("pk_column_name", DataType::Utf8, false),
        Field::new("fk_catalog_name", DataType::Utf8, true),
        Field::new("fk_db_schema_name", DataType::Utf8, true),
        Field::new("fk_table_name", DataType::Utf8, false),
        Field::new("fk_column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
});

pub(super) fn type_info(command: CommandGetXdbcTypeInfo) -> Result<RecordBatch, Status> {
    let types = TYPES.as_ref().map_err(ours)?;
    types.record_batch(command.data_type).map_err(ours)
}

static TYPES: LazyLock<Result<XdbcTypeInfoData, String>> = LazyLock::new(|| {
    let mut builder = XdbcTypeInfoDataBuilder::new();
    types().into_iter().for_each(|info| builder.append(info));
    builder.build().map_err(|error| error.to_string())
});

/// The types of columns that ODBC and JDBC have a number for.
fn types() -> Vec<XdbcTypeInfo> {
    use XdbcDataType::{
        XdbcBigint, XdbcBit, XdbcDate, XdbcDecimal, XdbcDouble, XdbcInteger, XdbcReal,
        XdbcSmallint, XdbcTime, XdbcTimestamp, XdbcTinyint, XdbcVarbinary, XdbcVarchar,
    };
    let plain = |name: &str, data_type: XdbcDataType, size: Option<i32>| XdbcTypeInfo {
        type_name: name.to_owned(),
        data_type,
        column_size: size,
        nullable: Nullable::NullabilityNullable,
        searchable: Searchable::Full,
        sql_data_type: data_type,
        ..XdbcTypeInfo::default()
    };
    let integer = |name, data_type, digits, unsigned| XdbcTypeInfo {
        unsigned_attribute: Some(unsigned),
        auto_increment: Some(false),
        num_prec_radix: Some(10),
        minimum_scale: Some(0),
        maximum_scale: Some(0),
        ..plain(name, data_type, Some(digits))
    };
    let float = |name, data_type, bits| XdbcTypeInfo {
        unsigned_attribute: Some(false),
        auto_increment: Some(false),
        num_prec_radix: Some(2),
        ..plain(name, data_type, Some(bits))
    };
    let quoted = |info: XdbcTypeInfo, prefix: &str| XdbcTypeInfo {
        literal_prefix: Some(prefix.to_owned()),
        literal_suffix: Some("'".to_owned()),
        ..info
    };
    let moment = |name, data_type, size, subcode, prefix| XdbcTypeInfo {
        sql_data_type: XdbcDataType::XdbcDatetime,
        datetime_subcode: Some(subcode),
        ..quoted(plain(name, data_type, Some(size)), prefix)
    };
    let text =
        XdbcTypeInfo { case_sensitive: true, ..quoted(plain("TEXT", XdbcVarchar, None), "'") };
    let limited = XdbcTypeInfo {
        type_name: "VARCHAR".to_owned(),
        create_params: Some(vec!["length".to_owned()]),
        ..text.clone()
    };
    let decimal = XdbcTypeInfo {
        create_params: Some(vec!["precision".to_owned(), "scale".to_owned()]),
        maximum_scale: Some(38),
        ..integer("DECIMAL", XdbcDecimal, 38, false)
    };
    vec![
        plain("BOOLEAN", XdbcBit, Some(1)),
        integer("TINYINT", XdbcTinyint, 3, false),
        integer("SMALLINT", XdbcSmallint, 5, false),
        integer("INTEGER", XdbcInteger, 10, false),
        integer("BIGINT", XdbcBigint, 19, false),
        integer("UTINYINT", XdbcTinyint, 3, true),
        integer("USMALLINT", XdbcSmallint, 5, true),
        integer("UINTEGER", XdbcInteger, 10, true),
        integer("UBIGINT", XdbcBigint, 20, true),
        float("REAL", XdbcReal, 24),
        float("DOUBLE", XdbcDouble, 53),
        decimal,
        text,
        limited,
        quoted(plain("BLOB", XdbcVarbinary, None), "X'"),
        // ODBC gives the date and the interval of years one number.
        moment("DATE", XdbcDate, 10, XdbcDatetimeSubcode::XdbcSubcodeYear, "DATE '"),
        moment("TIME", XdbcTime, 15, XdbcDatetimeSubcode::XdbcSubcodeTime, "TIME '"),
        moment(
            "TIMESTAMP",
            XdbcTimestamp,
            26,
            XdbcDatetimeSubcode::XdbcSubcodeTimestamp,
            "TIMESTAMP '",
        ),
        moment(
            "TIMESTAMPTZ",
            XdbcTimestamp,
            32,
            XdbcDatetimeSubcode::XdbcSubcodeTimestampWithTimezone,
            "TIMESTAMPTZ '",
        ),
    ]
}
