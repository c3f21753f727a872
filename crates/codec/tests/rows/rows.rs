use std::sync::Arc;

use arrow_schema::DataType;
use proptest::prelude::*;
use silt_codec::{
    ErrorKind, ROW_BYTES_MAX, RowBuffer, RowCodec, RowView, Value, ValueRef, array_of,
};

use crate::support::{arrays, refs, same, schema_and_rows, tree};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn rows_come_back_whichever_way_they_were_written((schema, rows) in schema_and_rows(0..6)) {
        let key_len = schema.key_len();
        let width = schema.columns.len();
        let columns = arrays(&schema, &rows, key_len..width);
        let codec = RowCodec::new(Arc::new(schema)).unwrap();
        let batch = codec.encode_batch(&columns, rows.len()).unwrap();
        prop_assert_eq!(batch.len(), rows.len());
        let mut buffer = RowBuffer::new();
        for (index, row) in rows.iter().enumerate() {
            let (mut by_values, mut by_columns) = (b"before".to_vec(), Vec::new());
            codec.encode_values(&refs(&row[key_len..]), &mut by_values).unwrap();
            codec.encode_columns(&columns, index, &mut by_columns).unwrap();
            prop_assert_eq!(&by_values[6..], by_columns.as_slice());
            prop_assert_eq!(batch.get(index), by_columns.as_slice());

            let view = RowView::new(&codec, &by_columns).unwrap();
            // Backwards: every column is found without the ones before it.
            for column in (0..width - key_len).rev() {
                buffer.clear();
                view.push_to(column, &mut buffer).unwrap();
                prop_assert!(same(buffer.get(0), row[key_len + column].as_ref()));
            }
        }
    }
}

#[test]
fn rows_stay_byte_for_byte_what_they_were() {
    let mut schema = tree(
        1,
        &[
            (DataType::Int64, false),
            (DataType::Int32, true),
            (DataType::Utf8View, true),
            (DataType::Boolean, false),
            (DataType::Utf8View, false),
        ],
    );
    schema.version = 100;
    let codec = RowCodec::new(Arc::new(schema)).unwrap();
    let mut bytes = Vec::new();
    let values = [ValueRef::Int(-2), ValueRef::Null, ValueRef::Boolean(true), ValueRef::Text("ab")];
    codec.encode_values(&values, &mut bytes).unwrap();
    assert_eq!(bytes, [0xc8, 0x01, 0b10, 0xfe, 0xff, 0xff, 0xff, 1, 0, 0, 2, 0, b'a', b'b']);
    assert_eq!(RowView::schema_version(&bytes).unwrap(), 100);
}

#[test]
fn long_values_are_read_in_wide_rows() {
    let schema = tree(
        1,
        &[(DataType::Int64, false), (DataType::Utf8View, false), (DataType::BinaryView, false)],
    );
    let codec = RowCodec::new(Arc::new(schema.clone())).unwrap();
    for length in [0, 65_534, 65_535, 65_536, 1 << 20] {
        let row = vec![Value::Int(0), Value::Text("x".repeat(length)), Value::Binary(vec![7])];
        let mut bytes = Vec::new();
        codec.encode_values(&refs(&row[1..]), &mut bytes).unwrap();
        let batch =
            codec.encode_batch(&arrays(&schema, std::slice::from_ref(&row), 1..3), 1).unwrap();
        assert_eq!(batch.get(0), bytes);
        let view = RowView::new(&codec, &bytes).unwrap();
        let mut buffer = RowBuffer::new();
        view.push_to(1, &mut buffer).unwrap();
        view.push_to(0, &mut buffer).unwrap();
        assert_eq!(
            buffer.iter().map(|value| value.to_value()).collect::<Vec<_>>(),
            [row[2].clone(), row[1].clone()]
        );
    }
}

#[test]
fn row_beyond_the_limit_is_refused_with_size_and_limit() {
    let schema = tree(1, &[(DataType::Int64, false), (DataType::BinaryView, false)]);
    let codec = RowCodec::new(Arc::new(schema.clone())).unwrap();
    let row = vec![Value::Int(0), Value::Binary(vec![0; ROW_BYTES_MAX])];
    let mut out = b"kept".to_vec();
    let error = codec.encode_values(&refs(&row[1..]), &mut out).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("at most 33554432 are possible"), "{error}");
    assert_eq!(out, b"kept");
    let error = codec.encode_batch(&arrays(&schema, &[row], 1..2), 1).unwrap_err();
    assert_eq!(error.message(), "a row of 33554437 bytes, at most 33554432 are possible");
}

#[test]
fn null_where_none_may_be_is_refused_by_id() {
    let schema =
        tree(1, &[(DataType::Int64, false), (DataType::Int32, false), (DataType::Utf8View, false)]);
    let codec = RowCodec::new(Arc::new(schema.clone())).unwrap();
    for (column, values) in
        [(1, [Value::Null, Value::Text("a".into())]), (2, [Value::Int(1), Value::Null])]
    {
        let mut out = Vec::new();
        let message = format!("NULL in column {column}, which may hold none");
        assert_eq!(codec.encode_values(&refs(&values), &mut out).unwrap_err().message(), message);
        let row = [vec![Value::Int(0)], values.to_vec()].concat();
        let columns = arrays(&schema, &[row], 1..3);
        assert_eq!(codec.encode_columns(&columns, 0, &mut out).unwrap_err().message(), message);
        assert_eq!(codec.encode_batch(&columns, 1).unwrap_err().message(), message);
        assert!(out.is_empty());
    }
}

#[test]
fn tree_of_key_columns_only_has_rows() {
    let codec = RowCodec::new(Arc::new(tree(1, &[(DataType::Int64, false)]))).unwrap();
    let rows = codec.encode_batch(&[], 3).unwrap();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| RowView::new(&codec, row).is_ok()));
}

#[test]
fn row_of_another_version_is_not_misread() {
    let older =
        RowCodec::new(Arc::new(tree(1, &[(DataType::Int64, false), (DataType::Int32, false)])))
            .unwrap();
    let mut newer = tree(1, &[(DataType::Int64, false), (DataType::Int32, false)]);
    newer.version = 2;
    let newer = RowCodec::new(Arc::new(newer)).unwrap();
    let mut bytes = Vec::new();
    older.encode_values(&[ValueRef::Int(5)], &mut bytes).unwrap();
    let error = RowView::new(&newer, &bytes).unwrap_err();
    assert_eq!(error.message(), "a row of schema version 1 read as version 2");
}

#[test]
fn values_of_another_type_are_refused_by_column() {
    let list = DataType::List(Arc::new(arrow_schema::Field::new("item", DataType::Int32, true)));
    let other = array_of(&DataType::Int32, &[Value::Int(1)]).unwrap();
    let refused = [
        (DataType::Int32, ValueRef::Int(1 << 31)),
        (DataType::Utf8View, ValueRef::Binary(b"x")),
        (DataType::FixedSizeBinary(2), ValueRef::Binary(b"x")),
        (list.clone(), ValueRef::Binary(b"\0\0")),
        (list, ValueRef::Nested(&other)),
    ];
    for (data_type, value) in refused {
        let schema = tree(1, &[(DataType::Int64, false), (data_type.clone(), true)]);
        let codec = RowCodec::new(Arc::new(schema)).unwrap();
        let mut out = b"kept".to_vec();
        let error = codec.encode_values(&[value], &mut out).unwrap_err();
        let message = format!("column 1 of type {data_type} cannot hold");
        assert!(error.message().starts_with(&message), "{error}");
        assert_eq!(out, b"kept");
    }
}
