//! Catalogs, schemas, tables, keys, types, and what the server says of itself.

use arrow_flight::IpcMessage;
use arrow_flight::sql::{
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo, SqlInfo,
};
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Schema};

use crate::harness::{Served, served, text};

async fn database() -> Served {
    let mut db = served().await;
    db.run("CREATE SCHEMA sales").await;
    db.run("CREATE TABLE t (a TEXT, b BIGINT, PRIMARY KEY (b, a))").await;
    db.run("CREATE TABLE sales.orders (id BIGINT PRIMARY KEY, total DECIMAL(12,2))").await;
    db
}

macro_rules! answer {
    ($db:ident, $call:ident $(, $argument:expr)?) => {{
        let info = $db.client.$call($($argument)?).await.unwrap();
        let (schema, batches) = $db.fetch(info.clone()).await;
        assert_eq!(info.try_decode_schema().unwrap(), *schema);
        (schema, batches)
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_listed_and_filtered() {
    let mut db = database().await;
    let (_, catalogs) = answer!(db, get_catalogs);
    assert_eq!(text(&catalogs), "silt");
    let (_, schemas) = answer!(db, get_db_schemas, CommandGetDbSchemas::default());
    assert_eq!(text(&schemas), "silt main\nsilt sales");
    let pattern = CommandGetDbSchemas {
        db_schema_filter_pattern: Some("sa%".to_owned()),
        ..CommandGetDbSchemas::default()
    };
    assert_eq!(text(&answer!(db, get_db_schemas, pattern).1), "silt sales");
    let (_, types) = answer!(db, get_table_types);
    assert_eq!(text(&types), "TABLE");
    let (_, tables) = answer!(db, get_tables, CommandGetTables::default());
    assert_eq!(text(&tables), "silt main t TABLE\nsilt sales orders TABLE");
    let none =
        CommandGetTables { table_types: vec!["VIEW".to_owned()], ..CommandGetTables::default() };
    assert_eq!(text(&answer!(db, get_tables, none).1), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schema_of_a_table_is_that_of_its_query() {
    let mut db = database().await;
    let command = CommandGetTables {
        table_name_filter_pattern: Some("orders".to_owned()),
        include_schema: true,
        ..CommandGetTables::default()
    };
    let (_, batches) = answer!(db, get_tables, command);
    let bytes = batches[0].column_by_name("table_schema").unwrap().as_binary::<i32>().value(0);
    let listed = Schema::try_from(IpcMessage(bytes.to_vec().into())).unwrap();
    assert_eq!(listed.field(1).data_type(), &DataType::Decimal128(12, 2));
    assert_eq!(listed.field(1).metadata()["ARROW:FLIGHT:SQL:TYPE_NAME"], "DECIMAL(12,2)");
    let info = db.client.execute("SELECT * FROM sales.orders".to_owned(), None).await.unwrap();
    let queried = info.try_decode_schema().unwrap();
    for (listed, queried) in listed.fields().iter().zip(queried.fields()) {
        assert_eq!(
            (listed.name(), listed.data_type(), listed.is_nullable()),
            (queried.name(), queried.data_type(), queried.is_nullable())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_in_key_order_and_there_are_no_foreign_ones() {
    let mut db = database().await;
    let keys = CommandGetPrimaryKeys { table: "t".to_owned(), ..Default::default() };
    let (_, keys) = answer!(db, get_primary_keys, keys);
    assert_eq!(text(&keys), "silt main t b t_pkey 1\nsilt main t a t_pkey 2");
    let table = "t".to_owned();
    let exported = CommandGetExportedKeys { table: table.clone(), ..Default::default() };
    let imported = CommandGetImportedKeys { table: table.clone(), ..Default::default() };
    let cross =
        CommandGetCrossReference { pk_table: table.clone(), fk_table: table, ..Default::default() };
    for (schema, batches) in [
        answer!(db, get_exported_keys, exported),
        answer!(db, get_imported_keys, imported),
        answer!(db, get_cross_reference, cross),
    ] {
        assert_eq!((schema.fields().len(), text(&batches).as_str()), (13, ""));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_and_the_server_itself_are_described() {
    let mut db = database().await;
    let (_, all) = answer!(db, get_xdbc_type_info, CommandGetXdbcTypeInfo { data_type: None });
    assert!(text(&all).contains("TIMESTAMPTZ"));
    let (_, one) = answer!(db, get_xdbc_type_info, CommandGetXdbcTypeInfo { data_type: Some(-5) });
    assert_eq!(one[0].num_rows(), 2);
    let asked = vec![SqlInfo::FlightSqlServerName, SqlInfo::FlightSqlServerTransaction];
    let (_, infos) = answer!(db, get_sql_info, asked);
    assert!(text(&infos).contains("SiltDB"), "{}", text(&infos));
    assert_eq!(infos[0].num_rows(), 2);
    let (_, infos) = answer!(db, get_sql_info, Vec::new());
    assert!(infos[0].num_rows() > 40);
}
