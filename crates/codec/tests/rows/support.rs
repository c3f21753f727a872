//! Random types, schemas and values, the extremes of each type among them.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, FixedSizeListArray, ListArray, MapArray, StructArray};
use arrow_buffer::{IntervalMonthDayNano, OffsetBuffer};
use arrow_schema::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use proptest::collection::vec;
use proptest::prelude::*;
use silt_codec::{KeyOrder, TreeColumn, TreeSchema, Value, ValueRef, array_of};

pub(crate) type Row = Vec<Value>;

/// Every type that a key may hold.
pub(crate) fn key_types() -> Vec<DataType> {
    use DataType as T;
    vec![
        T::Boolean,
        T::Int8,
        T::Int16,
        T::Int32,
        T::Int64,
        T::UInt8,
        T::UInt16,
        T::UInt32,
        T::UInt64,
        T::Float32,
        T::Float64,
        T::Decimal128(38, 4),
        T::Date32,
        T::Date64,
        T::Time32(TimeUnit::Second),
        T::Time32(TimeUnit::Millisecond),
        T::Time64(TimeUnit::Microsecond),
        T::Time64(TimeUnit::Nanosecond),
        T::Timestamp(TimeUnit::Second, None),
        T::Timestamp(TimeUnit::Millisecond, None),
        T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        T::Timestamp(TimeUnit::Nanosecond, None),
        T::Duration(TimeUnit::Second),
        T::Duration(TimeUnit::Millisecond),
        T::Duration(TimeUnit::Microsecond),
        T::Duration(TimeUnit::Nanosecond),
        T::Utf8View,
        T::BinaryView,
        T::FixedSizeBinary(16),
        T::FixedSizeBinary(3),
    ]
}

/// Every type that a column may hold, nested ones by example.
pub(crate) fn value_types() -> Vec<DataType> {
    use DataType as T;
    let list = |child: T, nullable| T::List(Arc::new(Field::new("item", child, nullable)));
    let pair = || {
        T::Struct(Fields::from(vec![
            Field::new("a", T::Int64, false),
            Field::new("b", T::Utf8View, true),
        ]))
    };
    let entries =
        Fields::from(vec![Field::new("k", T::Utf8, false), Field::new("v", T::Float64, true)]);
    let mut types = key_types();
    types.extend([
        T::Interval(IntervalUnit::MonthDayNano),
        list(T::Int32, true),
        list(T::Utf8, false),
        list(T::BinaryView, true),
        list(T::LargeUtf8, true),
        list(T::Decimal128(20, 2), true),
        list(list(T::Boolean, true), true),
        list(pair(), true),
        pair(),
        T::FixedSizeList(Arc::new(Field::new("item", T::Float32, false)), 3),
        T::FixedSizeList(Arc::new(Field::new("item", T::FixedSizeBinary(2), true)), 2),
        T::Map(Arc::new(Field::new("entries", T::Struct(entries), false)), false),
    ]);
    types
}

/// A value of this type, never NULL.
pub(crate) fn value(data_type: &DataType) -> BoxedStrategy<Value> {
    use DataType as T;
    match data_type {
        T::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        T::Int8 => int(8),
        T::Int16 => int(16),
        T::Int32 | T::Date32 | T::Time32(_) => int(32),
        T::Int64 | T::Date64 | T::Time64(_) | T::Timestamp(..) | T::Duration(_) => int(64),
        T::UInt8 => uint(8),
        T::UInt16 => uint(16),
        T::UInt32 => uint(32),
        T::UInt64 => uint(64),
        T::Float32 => prop_oneof![
            extreme_float().prop_map(narrow),
            any::<u32>().prop_map(f32::from_bits),
            (-3i8..4).prop_map(f32::from),
        ]
        .prop_map(|v| Value::Float(f64::from(v)))
        .boxed(),
        T::Float64 => prop_oneof![
            extreme_float(),
            any::<u64>().prop_map(f64::from_bits),
            (-3i8..4).prop_map(f64::from),
        ]
        .prop_map(Value::Float)
        .boxed(),
        T::Decimal128(precision, _) => {
            let most = 10i128.pow(u32::from(*precision)) - 1;
            prop_oneof![
                prop::sample::select(vec![-most, most, -1, 0, 1]),
                -most..=most,
                -1000i128..1000,
            ]
            .prop_map(Value::Decimal)
            .boxed()
        }
        T::Interval(_) => any::<(i32, i32, i64)>()
            .prop_map(|(months, days, nanos)| {
                Value::Interval(IntervalMonthDayNano::new(months, days, nanos))
            })
            .boxed(),
        T::Utf8 | T::LargeUtf8 | T::Utf8View => text().prop_map(Value::Text).boxed(),
        T::Binary | T::LargeBinary | T::BinaryView => binary(0..20).prop_map(Value::Binary).boxed(),
        T::FixedSizeBinary(width) => {
            let width = usize::try_from(*width).unwrap();
            binary(width..width + 1).prop_map(Value::Binary).boxed()
        }
        T::List(field) => {
            let field = field.clone();
            vec(cell(field.data_type(), field.is_nullable()), 0..5)
                .prop_map(move |values| {
                    let child = array_of(field.data_type(), &values).unwrap();
                    let offsets = OffsetBuffer::from_lengths([values.len()]);
                    nested(ListArray::new(field.clone(), offsets, child, None))
                })
                .boxed()
        }
        T::FixedSizeList(field, size) => {
            let (field, size) = (field.clone(), *size);
            vec(cell(field.data_type(), field.is_nullable()), usize::try_from(size).unwrap())
                .prop_map(move |values| {
                    let child = array_of(field.data_type(), &values).unwrap();
                    nested(FixedSizeListArray::new(field.clone(), size, child, None))
                })
                .boxed()
        }
        T::Struct(fields) => {
            let fields = fields.clone();
            struct_of(&fields).prop_map(nested).boxed()
        }
        T::Map(field, sorted) => {
            let (field, sorted) = (field.clone(), *sorted);
            let T::Struct(fields) = field.data_type() else { unreachable!() };
            let data_type = T::Struct(fields.clone());
            vec(struct_of(fields).prop_map(nested), 0..4)
                .prop_map(move |entries| {
                    let offsets = OffsetBuffer::from_lengths([entries.len()]);
                    let entries = array_of(&data_type, &entries).unwrap();
                    let entries = entries.as_any().downcast_ref::<StructArray>().unwrap().clone();
                    nested(MapArray::new(field.clone(), offsets, entries, None, sorted))
                })
                .boxed()
        }
        other => unreachable!("{other}"),
    }
}

/// A value of this type, sometimes NULL if that may be.
pub(crate) fn cell(data_type: &DataType, nullable: bool) -> BoxedStrategy<Value> {
    match nullable {
        true => prop_oneof![1 => Just(Value::Null), 3 => value(data_type)].boxed(),
        false => value(data_type),
    }
}

/// A schema of up to three key columns and six others.
pub(crate) fn schema() -> impl Strategy<Value = TreeSchema> {
    let key = (prop::sample::select(key_types()), any::<(bool, bool)>());
    let other = (prop::sample::select(value_types()), any::<bool>());
    (vec(key, 1..4), vec(other, 0..7)).prop_map(|(key, others)| {
        let order = key.iter().map(|(_, (_, descending))| KeyOrder { descending: *descending });
        let order = order.collect();
        let columns = key.into_iter().map(|(data_type, (nullable, _))| (data_type, nullable));
        let columns = columns.chain(others).enumerate();
        let columns = columns.map(|(at, (data_type, nullable))| column(at, data_type, nullable));
        TreeSchema { version: 1, columns: columns.collect(), key: order }
    })
}

pub(crate) fn column(id: usize, data_type: DataType, nullable: bool) -> TreeColumn {
    TreeColumn { id: u32::try_from(id).unwrap(), data_type, nullable, frozen: Value::Null }
}

/// A tree of these columns, the first `key` of which are its key, ascending.
pub(crate) fn tree(key: usize, columns: &[(DataType, bool)]) -> TreeSchema {
    let columns = columns.iter().enumerate();
    let columns =
        columns.map(|(id, (data_type, nullable))| column(id, data_type.clone(), *nullable));
    TreeSchema { version: 1, columns: columns.collect(), key: vec![KeyOrder::default(); key] }
}

/// A schema and rows of all its columns.
pub(crate) fn schema_and_rows(
    rows: std::ops::Range<usize>,
) -> impl Strategy<Value = (TreeSchema, Vec<Row>)> {
    schema().prop_flat_map(move |schema| {
        let row: Vec<_> =
            schema.columns.iter().map(|column| cell(&column.data_type, column.nullable)).collect();
        (Just(schema), vec(row, rows.clone()))
    })
}

/// The column at `index` of these rows. Sliced out of a longer array, so that offsets are met.
pub(crate) fn array(schema: &TreeSchema, rows: &[Row], index: usize) -> ArrayRef {
    let padding = rows.first().map(|row| &row[index]);
    let values = padding.into_iter().chain(rows.iter().map(|row| &row[index])).chain(padding);
    let values: Vec<Value> = values.cloned().collect();
    let array = array_of(&schema.columns[index].data_type, &values).unwrap();
    array.slice(usize::from(padding.is_some()), rows.len())
}

pub(crate) fn arrays(
    schema: &TreeSchema,
    rows: &[Row],
    columns: std::ops::Range<usize>,
) -> Vec<ArrayRef> {
    columns.map(|index| array(schema, rows, index)).collect()
}

pub(crate) fn refs(values: &[Value]) -> Vec<ValueRef<'_>> {
    values.iter().map(Value::as_ref).collect()
}

/// Equal bit for bit: NaN is itself, and -0.0 is not 0.0.
pub(crate) fn same(left: ValueRef<'_>, right: ValueRef<'_>) -> bool {
    match (left, right) {
        (ValueRef::Float(left), ValueRef::Float(right)) => left.to_bits() == right.to_bits(),
        _ => left == right,
    }
}

/// The order that key bytes must have.
pub(crate) fn compare_keys(schema: &TreeSchema, left: &[Value], right: &[Value]) -> Ordering {
    let columns = schema.key.iter().zip(left).zip(right);
    columns.fold(Ordering::Equal, |order, ((direction, left), right)| {
        order.then_with(|| match (left.as_ref().compare(&right.as_ref()), direction.descending) {
            (order, false) => order,
            (order, true) => order.reverse(),
        })
    })
}

/// Some of the bytes changed, cut off or added.
pub(crate) fn mutated(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (changes, any::<prop::sample::Index>(), any::<bool>(), vec(any::<u8>(), 0..3)).prop_map(
        move |(changes, cut, cuts, more)| {
            let mut bytes = bytes.clone();
            for (at, byte) in changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            if cuts {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            bytes.extend(more);
            bytes
        },
    )
}

fn nested(array: impl Array + 'static) -> Value {
    Value::Nested(Arc::new(array))
}

fn struct_of(fields: &Fields) -> impl Strategy<Value = StructArray> + use<> {
    let fields = fields.clone();
    let cells: Vec<_> =
        fields.iter().map(|field| cell(field.data_type(), field.is_nullable())).collect();
    cells.prop_map(move |values| {
        let columns = fields.iter().zip(values);
        let columns = columns.map(|(field, value)| array_of(field.data_type(), &[value]).unwrap());
        StructArray::new(fields.clone(), columns.collect(), None)
    })
}

fn int(bits: u32) -> BoxedStrategy<Value> {
    let (least, most) = (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits));
    prop_oneof![
        prop::sample::select(vec![least, least + 1, -1, 0, 1, most]),
        least..=most,
        -5i64..5
    ]
    .prop_map(Value::Int)
    .boxed()
}

fn uint(bits: u32) -> BoxedStrategy<Value> {
    let most = u64::MAX >> (64 - bits);
    prop_oneof![prop::sample::select(vec![0, 1, most - 1, most]), 0..=most, 0u64..5]
        .prop_map(Value::UInt)
        .boxed()
}

#[expect(clippy::cast_possible_truncation, reason = "any float will do")]
fn narrow(value: f64) -> f32 {
    value as f32
}

fn extreme_float() -> impl Strategy<Value = f64> {
    prop::sample::select(vec![
        f64::NAN,
        -f64::NAN,
        f64::NEG_INFINITY,
        f64::INFINITY,
        -0.0,
        0.0,
        f64::MIN,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        -5e-324,
        f64::from(f32::MIN_POSITIVE),
    ])
}

fn text() -> impl Strategy<Value = String> {
    let character =
        prop::sample::select(vec!['\0', '\u{1}', 'a', 'b', '\u{7f}', 'é', '\u{10ffff}']);
    prop_oneof![
        vec(character, 0..5).prop_map(String::from_iter),
        ".{0,40}",
        "a{10,14}",
        Just("x".repeat(300)),
    ]
}

fn binary(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => prop::sample::select(vec![0, 1, 0xfe, 0xff]), 1 => any::<u8>()];
    vec(byte, length)
}
