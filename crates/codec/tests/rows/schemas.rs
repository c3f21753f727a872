use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};
use proptest::prelude::*;
use silt_codec::{TreeSchema, Value, array_of, is_supported, stored_type};

use crate::support::{cell, same, schema, tree, value_types};

fn schema_with_frozen() -> impl Strategy<Value = TreeSchema> {
    schema().prop_flat_map(|schema| {
        let frozen: Vec<_> =
            schema.columns.iter().map(|column| cell(&column.data_type, true)).collect();
        (Just(schema), frozen, 1..u32::MAX).prop_map(|(mut schema, frozen, version)| {
            schema.version = version;
            for (column, frozen) in schema.columns.iter_mut().zip(frozen) {
                column.frozen = frozen;
            }
            schema
        })
    })
}

fn typed_value() -> impl Strategy<Value = (DataType, Value)> {
    prop::sample::select(value_types())
        .prop_flat_map(|data_type| (Just(data_type.clone()), cell(&data_type, true)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn schemas_come_back(schema in schema_with_frozen()) {
        let decoded = TreeSchema::decode(&schema.encode()).unwrap();
        prop_assert_eq!(decoded.encode(), schema.encode());
        prop_assert_eq!((decoded.version, &decoded.key), (schema.version, &schema.key));
        for (left, right) in decoded.columns.iter().zip(&schema.columns) {
            prop_assert_eq!((left.id, &left.data_type, left.nullable), (right.id, &right.data_type, right.nullable));
            prop_assert!(same(left.frozen.as_ref(), right.frozen.as_ref()));
        }
    }

    #[test]
    fn values_come_back((_, value) in typed_value()) {
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        bytes.extend(b"rest");
        let mut left = bytes.as_slice();
        let decoded = Value::decode(&mut left).unwrap();
        prop_assert_eq!(left, b"rest");
        prop_assert!(same(decoded.as_ref(), value.as_ref()));
    }

    #[test]
    fn arrays_hold_the_values_they_were_made_of((data_type, value) in typed_value()) {
        let array = array_of(&data_type, &[Value::Null, value.clone(), Value::Null]).unwrap();
        prop_assert_eq!(array.data_type(), &data_type);
        prop_assert!(same(Value::from_array(&array, 1).unwrap().as_ref(), value.as_ref()));
        prop_assert!(Value::from_array(&array, 2).unwrap().is_null());
        prop_assert!(Value::from_array(&array, 3).is_err());
    }

    #[test]
    fn comparison_is_a_total_order(
        values in prop::sample::select(value_types())
            .prop_flat_map(|data_type| prop::collection::vec(cell(&data_type, true), 3)),
    ) {
        let [a, b, c] = [values[0].as_ref(), values[1].as_ref(), values[2].as_ref()];
        prop_assert!(a.compare(&a).is_eq());
        prop_assert_eq!(a.compare(&b), b.compare(&a).reverse());
        if a.compare(&b).is_le() && b.compare(&c).is_le() {
            prop_assert!(a.compare(&c).is_le());
        }
    }
}

#[test]
fn every_type_of_the_list_is_stored_as_itself() {
    for data_type in value_types() {
        assert!(is_supported(&data_type), "{data_type}");
    }
    assert_eq!(stored_type(&DataType::LargeUtf8), Some(DataType::Utf8View));
    assert_eq!(stored_type(&DataType::Binary), Some(DataType::BinaryView));
    assert!(!is_supported(&DataType::Utf8));
    let vast = (0..2).fold(DataType::Int8, |inner, _| {
        DataType::FixedSizeList(Arc::new(Field::new("item", inner, true)), 1 << 13)
    });
    assert_eq!(stored_type(&vast), None, "a NULL of 64 MiB");
    let empty_struct = DataType::Struct(Vec::<Field>::new().into());
    let of_half = DataType::List(Arc::new(Field::new("item", DataType::Float16, true)));
    for data_type in
        [DataType::Null, DataType::Float16, DataType::FixedSizeBinary(0), empty_struct, of_half]
    {
        assert_eq!(stored_type(&data_type), None, "{data_type}");
    }
}

#[test]
fn types_nested_too_deep_are_not_stored() {
    let wrap = |inner| DataType::List(Arc::new(Field::new("item", inner, true)));
    let deep = |levels: usize| (0..levels).fold(DataType::Int32, |inner, _| wrap(inner));
    assert!(is_supported(&deep(32)));
    assert!(!is_supported(&deep(33)));
    let schema = tree(1, &[(DataType::Int64, false), (deep(32), true)]);
    assert_eq!(TreeSchema::decode(&schema.encode()).unwrap(), schema);
    let bytes = tree(1, &[(DataType::Int64, false), (deep(200), true)]).encode();
    assert!(TreeSchema::decode(&bytes).unwrap_err().message().contains("32 levels deep"));
}

#[test]
fn field_metadata_and_time_zones_come_back() {
    let metadata =
        HashMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let field = Field::new("x", zoned, true).with_metadata(metadata);
    let schema = tree(1, &[(DataType::Int64, false), (DataType::Struct(vec![field].into()), true)]);
    assert_eq!(TreeSchema::decode(&schema.encode()).unwrap(), schema);
}

#[test]
fn unsound_schemas_are_refused_by_column() {
    let sound = tree(1, &[(DataType::Int64, false), (DataType::Int32, true)]);
    let refused = |change: &dyn Fn(&mut TreeSchema), message: &str| {
        let mut schema = sound.clone();
        change(&mut schema);
        let error = schema.validate().unwrap_err();
        assert!(error.message().contains(message), "{error}");
        assert!(TreeSchema::decode(&schema.encode()).unwrap_err().message().contains(message));
    };
    sound.validate().unwrap();
    refused(&|schema| schema.version = 0, "not 0");
    refused(&|schema| schema.key.clear(), "a key of 0 columns");
    refused(&|schema| schema.columns[1].id = 0, "two columns have id 0");
    refused(&|schema| schema.columns[1].data_type = DataType::Utf8, "column 1: type Utf8");
    refused(&|schema| schema.columns[1].frozen = Value::Int(1 << 40), "column 1 of type Int32");
}
