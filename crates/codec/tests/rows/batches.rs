use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use proptest::prelude::*;
use silt_codec::{BatchBuilder, KeyBuffer, RowBuffer, Schemas, TreeSchema, Value};

use crate::support::{Row, array, arrays, column, refs, same, schema_and_rows, tree};

/// The key and row bytes of these rows.
fn entries(schemas: &Schemas, schema: &TreeSchema, rows: &[Row]) -> (KeyBuffer, KeyBuffer) {
    let (key_len, width) = (schema.key_len(), schema.columns.len());
    let mut keys = KeyBuffer::new();
    schemas.key_codec().encode_columns(&arrays(schema, rows, 0..key_len), &mut keys).unwrap();
    let codec = schemas.row_codec_of(schema.version).unwrap();
    (keys, codec.encode_batch(&arrays(schema, rows, key_len..width), rows.len()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn columns_built_of_entries_are_those_that_were_written(
        (schema, rows) in schema_and_rows(0..7),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        deletes in any::<u8>(),
    ) {
        let schemas = Schemas::new(Arc::new(schema.clone())).unwrap();
        let projection: Vec<_> = picks.iter().map(|pick| pick.index(schema.columns.len())).collect();
        let (keys, values) = entries(&schemas, &schema, &rows);
        let is_delete = |row: usize| deletes >> row & 1 == 1;
        let mut builder = BatchBuilder::new(&schemas, &projection, 2);
        for _ in 0..2 {
            for (row, key) in keys.iter().enumerate() {
                builder.push(key, (!is_delete(row)).then(|| values.get(row))).unwrap();
            }
            prop_assert_eq!(builder.len(), rows.len());
            let columns = builder.finish().unwrap();
            prop_assert!(builder.is_empty());
            prop_assert_eq!(columns.len(), projection.len());
            for (&position, built) in projection.iter().zip(&columns) {
                let is_key = position < schema.key_len();
                let mut written = array(&schema, &rows, position);
                if is_key {
                    let normal = arrays(&schema, &rows, 0..schema.key_len());
                    written = schemas.key_codec().normalise(&normal).unwrap()[position].clone();
                }
                prop_assert_eq!(built.data_type(), &schema.columns[position].data_type);
                prop_assert_eq!(built.len(), rows.len());
                for row in 0..rows.len() {
                    let expected = match is_delete(row) && !is_key {
                        true => Value::Null,
                        false => Value::from_array(&written, row).unwrap(),
                    };
                    prop_assert!(same(Value::from_array(built, row).unwrap().as_ref(), expected.as_ref()));
                }
            }
        }
    }

    #[test]
    fn columns_of_one_entry_are_read_without_a_batch(
        (schema, rows) in schema_and_rows(1..4),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let schemas = Schemas::new(Arc::new(schema.clone())).unwrap();
        let projection: Vec<_> = picks.iter().map(|pick| pick.index(schema.columns.len())).collect();
        let (keys, values) = entries(&schemas, &schema, &rows);
        let mut buffer = RowBuffer::new();
        for (row, expected) in rows.iter().enumerate() {
            buffer.clear();
            schemas.read(keys.get(row), values.get(row), &projection, &mut buffer).unwrap();
            prop_assert_eq!(buffer.len(), projection.len());
            for (value, &position) in buffer.iter().zip(&projection) {
                prop_assert!(value.compare(&expected[position].as_ref()).is_eq());
            }
        }
    }
}

/// Version 1: key 0, columns 1 (int), 2 (text). Version 2 drops 1, adds 3 (frozen 7) and 4 (no
/// frozen value), and moves 2 behind them.
fn altered() -> (TreeSchema, TreeSchema) {
    let first =
        tree(1, &[(DataType::Int64, false), (DataType::Int32, false), (DataType::Utf8View, true)]);
    let mut second = first.clone();
    second.version = 2;
    second.columns[1] = column(3, DataType::Int16, false);
    second.columns[1].frozen = Value::Int(7);
    second.columns.insert(2, column(4, DataType::Float64, true));
    (first, second)
}

#[test]
fn row_of_an_older_schema_is_read_by_column_id() {
    let (first, second) = altered();
    let schemas = Schemas::new(Arc::new(first.clone())).unwrap();
    let schemas = schemas.with(Arc::new(second.clone())).unwrap();
    let old = vec![vec![Value::Int(10), Value::Int(1), Value::Text("old".into())]];
    let new = vec![vec![Value::Int(20), Value::Int(2), Value::Float(0.5), Value::Null]];
    let mut builder = BatchBuilder::new(&schemas, &[3, 2, 1, 0], 4);
    let mut buffer = RowBuffer::new();
    for (schema, rows) in [(&first, &old), (&second, &new), (&first, &old)] {
        let (keys, values) = entries(&schemas, schema, rows);
        builder.push(keys.get(0), Some(values.get(0))).unwrap();
        schemas.read(keys.get(0), values.get(0), &[3, 2, 1, 0], &mut buffer).unwrap();
    }
    let before = [Value::Text("old".into()), Value::Null, Value::Int(7), Value::Int(10)];
    let after = [Value::Null, Value::Float(0.5), Value::Int(2), Value::Int(20)];
    let expected = [before.clone(), after, before].concat();
    assert_eq!(buffer.iter().map(|value| value.to_value()).collect::<Vec<_>>(), expected);
    let columns: Vec<ArrayRef> = builder.finish().unwrap();
    for (index, value) in expected.iter().enumerate() {
        assert_eq!(Value::from_array(&columns[index % 4], index / 4).unwrap(), *value);
    }
}

#[test]
fn versions_that_cannot_follow_are_refused() {
    let (first, second) = altered();
    let schemas = Schemas::new(Arc::new(first.clone())).unwrap();
    let refused = |change: &dyn Fn(&mut TreeSchema), message: &str| {
        let mut schema = second.clone();
        change(&mut schema);
        let error = schemas.with(Arc::new(schema)).unwrap_err();
        assert!(error.message().contains(message), "{error}");
    };
    refused(&|schema| schema.version = 1, "schema version 1 after version 1");
    refused(&|schema| schema.key[0].descending = true, "another key");
    refused(&|schema| schema.columns[0].nullable = true, "another key");
    refused(
        &|schema| schema.columns[3].data_type = DataType::BinaryView,
        "cannot become BinaryView",
    );
    refused(&|schema| schema.columns[1].frozen = Value::Text("x".into()), "frozen value");
    assert_eq!(schemas.with(Arc::new(second)).unwrap().iter().count(), 2);
}

#[test]
fn row_of_a_version_that_is_not_known_is_corrupt() {
    let (first, second) = altered();
    let both =
        Schemas::new(Arc::new(first.clone())).unwrap().with(Arc::new(second.clone())).unwrap();
    let only = Schemas::new(Arc::new(first)).unwrap();
    let mut row = Vec::new();
    let values = [Value::Int(2), Value::Null, Value::Null];
    both.row_codec().encode_values(&refs(&values), &mut row).unwrap();
    let error = only.read(&[], &row, &[1], &mut RowBuffer::new()).unwrap_err();
    assert_eq!(error.message(), "a row of schema version 2; the current version is 1");
}
