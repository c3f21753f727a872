use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, LargeStringArray, StringArray, StringViewArray,
};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use proptest::prelude::*;
use silt_codec::{
    ErrorKind, KEY_BYTES_MAX, KeyBuffer, KeyCodec, RowBuffer, TreeSchema, Value, ValueRef,
    array_of, successor,
};

use crate::support::{array, arrays, compare_keys, refs, schema_and_rows, tree};

fn key(codec: &KeyCodec, values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec.encode_values(&refs(values), &mut bytes).unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn keys_order_as_their_values_do((schema, rows) in schema_and_rows(2..8)) {
        let codec = KeyCodec::new(&schema).unwrap();
        let keys: Vec<_> = rows.iter().map(|row| key(&codec, &row[..schema.key_len()])).collect();
        for (left, left_key) in rows.iter().zip(&keys) {
            for (right, right_key) in rows.iter().zip(&keys) {
                prop_assert_eq!(
                    left_key.cmp(right_key), compare_keys(&schema, left, right),
                    "{:?} against {:?}", left, right
                );
            }
        }
    }

    #[test]
    fn keys_of_a_batch_are_those_of_its_rows((schema, rows) in schema_and_rows(0..8)) {
        let codec = KeyCodec::new(&schema).unwrap();
        for key_len in 1..=schema.key_len() {
            let columns = arrays(&schema, &rows, 0..key_len);
            let mut keys = KeyBuffer::new();
            keys.push(b"before");
            codec.encode_columns(&columns, &mut keys).unwrap();
            prop_assert_eq!(keys.len(), rows.len() + 1);
            prop_assert_eq!(keys.get(0), b"before");
            for (row, bytes) in rows.iter().zip(keys.iter().skip(1)) {
                prop_assert_eq!(bytes, key(&codec, &row[..key_len]));
            }
        }
    }

    #[test]
    fn decoding_a_key_gives_its_normalised_values((schema, rows) in schema_and_rows(1..4)) {
        let codec = KeyCodec::new(&schema).unwrap();
        let columns = codec.normalise(&arrays(&schema, &rows, 0..schema.key_len())).unwrap();
        let mut row = RowBuffer::new();
        for (index, values) in rows.iter().enumerate() {
            let bytes = key(&codec, &values[..schema.key_len()]);
            row.clear();
            codec.decode(&bytes, &mut row).unwrap();
            let once = row.len();
            for column in 0..schema.key_len() {
                codec.decode_column(&bytes, column, &mut row).unwrap();
            }
            for (column, array) in columns.iter().enumerate() {
                let normal = Value::from_array(array, index).unwrap();
                for place in [column, once + column] {
                    prop_assert!(crate::support::same(row.get(place), normal.as_ref()));
                }
                prop_assert!(row.get(column).compare(&values[column].as_ref()).is_eq());
            }
        }
    }

    #[test]
    fn the_first_columns_are_a_prefix_of_the_key((schema, rows) in schema_and_rows(1..3)) {
        let codec = KeyCodec::new(&schema).unwrap();
        for row in &rows {
            let whole = key(&codec, &row[..schema.key_len()]);
            for columns in 0..=schema.key_len() {
                let prefix = key(&codec, &row[..columns]);
                prop_assert!(whole.starts_with(&prefix));
                prop_assert_eq!(codec.prefix_len(&whole, columns).unwrap(), prefix.len());
            }
        }
    }

    #[test]
    fn the_successor_of_a_prefix_is_above_all_that_start_with_it(
        prefix in prop::collection::vec(prop_oneof![Just(0xffu8), any::<u8>()], 0..4),
        more in prop::collection::vec(prop_oneof![Just(0xffu8), any::<u8>()], 0..4),
        other in prop::collection::vec(prop_oneof![Just(0xffu8), any::<u8>()], 0..4),
    ) {
        let mut next = prefix.clone();
        let extended = [prefix.clone(), more].concat();
        if successor(&mut next) {
            prop_assert!(extended < next);
            // The smallest: what lies between starts with the prefix or is below it.
            prop_assert!(other >= next || other < prefix || other.starts_with(&prefix));
        } else {
            prop_assert!(prefix.iter().all(|byte| *byte == 0xff));
        }
    }
}

/// Values in the order that they must have, against keys and against `compare`.
#[test]
fn extremes_order_as_people_order_them() {
    use DataType as T;
    let text = |list: &[&str]| list.iter().map(|v| Value::Text((*v).into())).collect::<Vec<_>>();
    let ints = |list: &[i64]| list.iter().map(|v| Value::Int(*v)).collect::<Vec<_>>();
    let most = 10i128.pow(38) - 1;
    let floats = [
        f64::NEG_INFINITY,
        f64::MIN,
        -1.0,
        -5e-324,
        0.0,
        5e-324,
        1.0,
        f64::MAX,
        f64::INFINITY,
        f64::NAN,
    ];
    let lists: Vec<(T, Vec<Value>)> = vec![
        (T::Boolean, vec![Value::Boolean(false), Value::Boolean(true)]),
        (T::Int8, ints(&[-128, -1, 0, 1, 127])),
        (T::Int64, ints(&[i64::MIN, i64::MIN + 1, -256, -255, -1, 0, 1, 255, 256, i64::MAX])),
        (T::Timestamp(TimeUnit::Microsecond, None), ints(&[i64::MIN, -1, 0, i64::MAX])),
        (T::UInt64, [0, 1, 1 << 63, u64::MAX].map(Value::UInt).to_vec()),
        (T::Float64, floats.map(Value::Float).to_vec()),
        (T::Decimal128(38, 0), [-most, -1, 0, 1, most].map(Value::Decimal).to_vec()),
        (
            T::Utf8View,
            text(&[
                "", "\0", "\0\0", "\0\u{1}", "\0a", "\u{1}", "a", "a\0", "a\0b", "a\u{1}", "aa",
                "b", "é",
            ]),
        ),
        (
            T::BinaryView,
            vec![
                Value::Binary(vec![]),
                Value::Binary(vec![0]),
                Value::Binary(vec![0, 255]),
                Value::Binary(vec![255]),
            ],
        ),
        (T::FixedSizeBinary(2), vec![Value::Binary(vec![0, 255]), Value::Binary(vec![1, 0])]),
    ];
    for (data_type, list) in lists {
        for nullable in [false, true] {
            let mut list = list.clone();
            if nullable {
                list.insert(0, Value::Null);
            }
            for descending in [false, true] {
                let mut schema = tree(1, &[(data_type.clone(), nullable)]);
                schema.key[0].descending = descending;
                let codec = KeyCodec::new(&schema).unwrap();
                for pair in list.windows(2) {
                    let keys = pair
                        .iter()
                        .map(|v| key(&codec, std::slice::from_ref(v)))
                        .collect::<Vec<_>>();
                    assert!(pair[0].as_ref().compare(&pair[1].as_ref()).is_lt(), "{pair:?}");
                    assert_eq!(keys[0] < keys[1], !descending, "{pair:?} descending {descending}");
                }
            }
        }
    }
}

#[test]
fn zeroes_and_nans_have_one_key_each() {
    for data_type in [DataType::Float32, DataType::Float64] {
        let codec = KeyCodec::new(&tree(1, &[(data_type, false)])).unwrap();
        let float = |v: f64| key(&codec, &[Value::Float(v)]);
        assert_eq!(float(-0.0), float(0.0));
        assert_eq!(float(f64::from_bits(0xfff8_0000_0000_0001)), float(f64::NAN));
        assert_ne!(float(f64::INFINITY), float(f64::NAN));
    }
    let codec = KeyCodec::new(&tree(1, &[(DataType::Float64, false)])).unwrap();
    let plain: ArrayRef = Arc::new(Float64Array::from(vec![0.0, 1.5]));
    let normal = codec.normalise(std::slice::from_ref(&plain)).unwrap();
    assert!(Arc::ptr_eq(&plain, &normal[0]), "what is normal is passed on");
}

#[test]
fn text_arrays_of_every_layout_have_the_same_keys() {
    let words = ["", "a\0b", "a longer text that is not inlined in a view", "z"];
    let columns: [ArrayRef; 3] = [
        Arc::new(StringArray::from_iter_values(words)),
        Arc::new(LargeStringArray::from_iter_values(words)),
        Arc::new(StringViewArray::from_iter_values(words)),
    ];
    let codec = KeyCodec::new(&tree(1, &[(DataType::Utf8View, false)])).unwrap();
    let keys = columns.map(|column| {
        let mut keys = KeyBuffer::new();
        codec.encode_columns(&[column], &mut keys).unwrap();
        keys.iter().map(<[u8]>::to_vec).collect::<Vec<_>>()
    });
    assert_eq!(keys[0], words.map(|word| key(&codec, &[Value::Text(word.into())])));
    assert_eq!(keys[0], keys[1]);
    assert_eq!(keys[0], keys[2]);
}

#[test]
fn null_in_a_column_that_may_hold_none_is_refused_by_id() {
    let mut schema = tree(2, &[(DataType::Int64, false), (DataType::Utf8View, false)]);
    schema.columns[1].id = 77;
    let codec = KeyCodec::new(&schema).unwrap();
    let mut out = b"kept".to_vec();
    let error = codec.encode_values(&[ValueRef::Int(1), ValueRef::Null], &mut out).unwrap_err();
    assert_eq!((error.kind(), out.as_slice()), (ErrorKind::Invalid, b"kept".as_slice()));
    assert_eq!(error.message(), "NULL in column 77, which may hold none");

    let columns = arrays(&schema, &[vec![Value::Int(1), Value::Null]], 0..2);
    let mut keys = KeyBuffer::new();
    assert_eq!(codec.encode_columns(&columns, &mut keys).unwrap_err().message(), error.message());
    assert!(keys.is_empty() && keys.byte_len() == 0);
}

#[test]
fn key_beyond_the_limit_is_refused_with_size_and_limit() {
    let schema = tree(1, &[(DataType::Utf8View, false)]);
    let codec = KeyCodec::new(&schema).unwrap();
    for (length, fits) in [(KEY_BYTES_MAX - 2, true), (KEY_BYTES_MAX - 1, false), (1 << 20, false)]
    {
        let row = vec![Value::Text("x".repeat(length))];
        let mut out = Vec::new();
        let single = codec.encode_values(&refs(&row), &mut out);
        let mut keys = KeyBuffer::new();
        let rows = vec![vec![Value::Text("short".into())], row];
        let batch = codec.encode_columns(&[array(&schema, &rows, 0)], &mut keys);
        if fits {
            single.and(batch).unwrap();
            assert_eq!((out.len(), keys.len()), (KEY_BYTES_MAX, 2));
            continue;
        }
        let message = format!("a key of {} bytes, at most 65536 are possible", length + 2);
        assert_eq!(single.unwrap_err().message(), message);
        assert_eq!(batch.unwrap_err().message(), message);
        assert!(out.is_empty() && keys.is_empty());
    }
}

#[test]
fn values_of_another_type_or_too_wide_are_refused() {
    let codec =
        |data_type: &DataType| KeyCodec::new(&tree(1, &[(data_type.clone(), true)])).unwrap();
    let refused = [
        (DataType::Int8, ValueRef::Int(128)),
        (DataType::Int8, ValueRef::Int(-129)),
        (DataType::UInt16, ValueRef::UInt(1 << 16)),
        (DataType::Int32, ValueRef::UInt(1)),
        (DataType::Float32, ValueRef::Float(0.1)),
        (DataType::Utf8View, ValueRef::Binary(b"x")),
        (DataType::FixedSizeBinary(3), ValueRef::Binary(b"x")),
        (DataType::Boolean, ValueRef::Int(1)),
    ];
    for (data_type, value) in refused {
        let mut out = Vec::new();
        let error = codec(&data_type).encode_values(&[value], &mut out).unwrap_err();
        assert!(
            error.message().starts_with(&format!("column 0 of type {data_type} cannot hold")),
            "{error}"
        );
        assert!(out.is_empty());
    }
    let nanoseconds =
        array_of(&DataType::Timestamp(TimeUnit::Nanosecond, None), &[Value::Int(1)]).unwrap();
    let codec = codec(&DataType::Timestamp(TimeUnit::Microsecond, None));
    assert!(codec.encode_columns(&[nanoseconds], &mut KeyBuffer::new()).is_err());
}

#[test]
fn types_without_an_order_of_their_own_cannot_be_keys() {
    let list = DataType::List(Arc::new(arrow_schema::Field::new("item", DataType::Int32, true)));
    for data_type in [DataType::Interval(IntervalUnit::MonthDayNano), list] {
        let error = KeyCodec::new(&tree(1, &[(data_type, false)])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("cannot be part of a key"), "{error}");
    }
}

#[test]
fn keys_stay_byte_for_byte_what_they_were() {
    let mut schema: TreeSchema = tree(
        4,
        &[
            (DataType::Int32, false),
            (DataType::Utf8View, true),
            (DataType::Float64, false),
            (DataType::Int16, false),
        ],
    );
    schema.key[3].descending = true;
    let codec = KeyCodec::new(&schema).unwrap();
    let values = [Value::Int(-2), Value::Text("a\0".into()), Value::Float(1.0), Value::Int(1)];
    let expected = [
        &[0x7f, 0xff, 0xff, 0xfe][..],
        &[0x01, b'a', 0x00, 0xff, 0x00, 0x01],
        &[0xbf, 0xf0, 0, 0, 0, 0, 0, 0],
        &[0x7f, 0xfe],
    ];
    assert_eq!(key(&codec, &values), expected.concat());
}

#[test]
fn columns_of_different_lengths_are_refused() {
    let codec =
        KeyCodec::new(&tree(2, &[(DataType::Int64, false), (DataType::Int64, false)])).unwrap();
    let columns: [ArrayRef; 2] =
        [Arc::new(Int64Array::from(vec![1, 2])), Arc::new(Int64Array::from(vec![1]))];
    assert!(columns[0].len() != columns[1].len());
    assert!(codec.encode_columns(&columns, &mut KeyBuffer::new()).is_err());
}

/// More rows than are written at a time, with NULLs and NULs in some blocks only.
#[test]
fn keys_of_many_rows_are_those_of_each() {
    let types =
        [(DataType::Utf8View, true), (DataType::Int32, true), (DataType::BinaryView, false)];
    let mut schema = tree(3, &types);
    schema.key[2].descending = true;
    let codec = KeyCodec::new(&schema).unwrap();
    let row = |index: i64| {
        let text = match index {
            200..300 => format!("{index}\0{}", "\0x".repeat(3)),
            _ => "plain".repeat(usize::try_from(index % 7).unwrap()),
        };
        let text = if index % 11 == 0 { Value::Null } else { Value::Text(text) };
        let number = if index > 500 && index % 3 == 0 { Value::Null } else { Value::Int(-index) };
        vec![text, number, Value::Binary(index.to_le_bytes().to_vec())]
    };
    for rows in [127, 128, 129, 700] {
        let rows: Vec<_> = (0..rows).map(row).collect();
        let mut keys = KeyBuffer::new();
        codec.encode_columns(&arrays(&schema, &rows, 0..3), &mut keys).unwrap();
        assert_eq!(keys.len(), rows.len());
        for (row, bytes) in rows.iter().zip(keys.iter()) {
            assert_eq!(bytes, key(&codec, row));
        }
    }
}

/// The rows before the one that is too long leave nothing behind.
#[test]
fn batch_with_a_key_beyond_the_limit_late_adds_nothing() {
    let schema = tree(1, &[(DataType::Utf8View, false)]);
    let codec = KeyCodec::new(&schema).unwrap();
    let mut rows = vec![vec![Value::Text("short".into())]; 400];
    rows[350] = vec![Value::Text("x".repeat(KEY_BYTES_MAX))];
    let mut keys = KeyBuffer::new();
    keys.push(b"before");
    assert!(codec.encode_columns(&[array(&schema, &rows, 0)], &mut keys).is_err());
    assert_eq!((keys.len(), keys.byte_len()), (1, 6));
}
