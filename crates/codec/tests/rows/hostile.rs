//! Bytes that nobody wrote. Nothing is asserted but that a decoder answers; and what it accepts must
//! be of the column's type.

use std::sync::Arc;

use arrow_array::Array;
use proptest::prelude::*;
use silt_codec::{BatchBuilder, RowBuffer, RowView, Schemas, TreeSchema, Value};

use crate::support::{Row, cell, mutated, refs, schema_and_rows, value_types};

fn encoded(schema: &TreeSchema, row: &Row) -> (Vec<u8>, Vec<u8>) {
    let schemas = Schemas::new(Arc::new(schema.clone())).unwrap();
    let (mut key, mut value) = (Vec::new(), Vec::new());
    schemas.key_codec().encode_values(&refs(&row[..schema.key_len()]), &mut key).unwrap();
    schemas.row_codec().encode_values(&refs(&row[schema.key_len()..]), &mut value).unwrap();
    (key, value)
}

fn read_all(schema: &TreeSchema, key: &[u8], row: &[u8]) {
    let schemas = Schemas::new(Arc::new(schema.clone())).unwrap();
    let all: Vec<_> = (0..schema.columns.len()).collect();
    let mut buffer = RowBuffer::new();
    let _ = schemas.key_codec().decode(key, &mut buffer);
    let _ = RowView::schema_version(row);
    if let Ok(view) = RowView::new(schemas.row_codec(), row) {
        for column in 0..schema.value_columns().len() {
            let _ = view.value(column);
            let _ = view.push_to(column, &mut buffer);
        }
    }
    let _ = schemas.read(key, row, &all, &mut buffer);
    let mut builder = BatchBuilder::new(&schemas, &all, 1);
    if builder.push(key, Some(row)).is_ok() {
        let columns = builder.finish().unwrap();
        for (column, array) in schema.columns.iter().zip(&columns) {
            assert_eq!(array.data_type(), &column.data_type);
            array.to_data().validate_full().unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn mutated_keys_and_rows_never_panic(
        (schema, key, row) in schema_and_rows(1..2).prop_flat_map(|(schema, rows)| {
            let (key, row) = encoded(&schema, &rows[0]);
            (Just(schema), mutated(key), mutated(row))
        }),
    ) {
        read_all(&schema, &key, &row);
    }

    #[test]
    fn random_keys_and_rows_never_panic(
        (schema, _) in schema_and_rows(0..1),
        key in prop::collection::vec(any::<u8>(), 0..60),
        mut row in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 1..200),
    ) {
        row[0] = row[0] & 1 | 2;
        read_all(&schema, &key, &row);
    }

    #[test]
    fn mutated_schemas_and_values_never_panic(
        (schema, value) in schema_and_rows(1..2)
            .prop_flat_map(|(schema, rows)| {
                let mut schema = schema;
                for (column, value) in schema.columns.iter_mut().zip(&rows[0]) {
                    column.frozen = value.clone();
                }
                mutated(schema.encode())
            })
            .prop_flat_map(|schema| {
                let value = prop::sample::select(value_types()).prop_flat_map(|data_type| cell(&data_type, false));
                let value = value.prop_flat_map(|value| {
                    let mut bytes = Vec::new();
                    value.encode(&mut bytes);
                    mutated(bytes)
                });
                (Just(schema), value)
            }),
    ) {
        if let Ok(schema) = TreeSchema::decode(&schema) {
            prop_assert!(TreeSchema::decode(&schema.encode()).is_ok());
        }
        if let Ok(Value::Nested(array)) = Value::decode(&mut value.as_slice()) {
            array.to_data().validate_full().unwrap();
        }
    }

    #[test]
    fn random_schemas_and_values_never_panic(
        bytes in prop::collection::vec(prop_oneof![2 => 0u8..32, 1 => any::<u8>()], 0..80),
    ) {
        let _ = TreeSchema::decode(&bytes);
        let _ = TreeSchema::decode(&[&[1, 1, 1, 2, 0], bytes.as_slice()].concat());
        let _ = Value::decode(&mut bytes.as_slice());
        let _ = Value::decode(&mut [&[9], bytes.as_slice()].concat().as_slice());
    }
}

/// A few bytes must not ask for gigabytes.
#[test]
fn counts_beyond_the_bytes_are_refused_before_memory_is_taken() {
    use arrow_schema::{DataType, Field};
    let lists = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
    let fixed = DataType::FixedSizeList(Arc::new(Field::new("item", lists.clone(), true)), 1 << 20);
    for (data_type, payload, message) in [
        (
            lists.clone(),
            vec![0, 0xff, 0xff, 0xff, 0xff, 0x07, 0],
            "bytes end early: 17179869176 wanted, 0 left",
        ),
        (
            lists,
            vec![0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0],
            "a nested value of 18446744073709551615 parts after 0 others",
        ),
        (fixed, vec![0, 0, 1, 1, 1], "1048576 lengths announced, 3 bytes left"),
    ] {
        // The schema's own encoding gives the type's bytes: behind the header, id and nullable flag.
        let schema = crate::support::tree(1, &[(DataType::Int64, false), (data_type, true)]);
        let encoded = schema.encode();
        let type_bytes = &encoded[11..encoded.len() - 1];
        let bytes = [&[9], type_bytes, payload.as_slice()].concat();
        let error = Value::decode(&mut bytes.as_slice()).unwrap_err();
        assert_eq!(error.message(), message);
    }
}
