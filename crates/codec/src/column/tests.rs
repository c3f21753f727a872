//! Every encoding for every type, against arrays that were never encoded.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, FixedSizeListArray,
    Float32Array, Float64Array, ListArray, MapArray, StringViewArray, StructArray, UInt32Array,
    make_array,
};
use arrow_buffer::{BooleanBuffer, Buffer, IntervalMonthDayNano, NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use proptest::prelude::*;

use super::alp::{FloatInterval, key};
use super::*;

/// A small generator, so that a case is known by its seed.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

fn field(name: &str, data_type: DataType) -> Arc<Field> {
    Arc::new(Field::new(name, data_type, true))
}

fn all_types() -> Vec<DataType> {
    let pair = Fields::from(vec![field("a", DataType::Int64), field("b", DataType::Utf8View)]);
    let entries = Fields::from(vec![
        Arc::new(Field::new("keys", DataType::Utf8, false)),
        field("values", DataType::Float64),
    ]);
    vec![
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(15, 2),
        DataType::Decimal128(38, 10),
        DataType::Date32,
        DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Utf8View,
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::BinaryView,
        DataType::Binary,
        DataType::LargeBinary,
        DataType::FixedSizeBinary(16),
        DataType::List(field("item", DataType::Int32)),
        DataType::LargeList(field("item", DataType::Utf8View)),
        DataType::FixedSizeList(field("item", DataType::Float32), 3),
        DataType::Struct(pair.clone()),
        DataType::List(field("item", DataType::Struct(pair))),
        DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false),
    ]
}

/// How the values of a column are spread; each leads to another encoding, or another branch of one.
const SHAPES: usize = 8;

fn integer(random: &mut Random, shape: usize, row: usize) -> i64 {
    let word = random.next().cast_signed();
    match shape {
        0 => 42,
        1 => word & 0xf,
        2 => 1_000_000 + (word & 0x3ff),
        3 if random.one_in(100) => word,
        3 => 500 + (word & 0x1f),
        4 if random.one_in(100) => 0,
        4 => 1_700_000_000_000_000 + (word & 0xffff),
        5 => row as i64 * 7 - 1000,
        6 => [i64::MIN, i64::MAX, 0, -1, 1][random.below(5)],
        _ => word,
    }
}

fn float(random: &mut Random, shape: usize, row: usize) -> f64 {
    const SPECIAL: [f64; 9] = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        0.0,
        f64::MIN,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
    ];
    match shape {
        0 => 2.5,
        1 | 2 => (random.below(100_000) as f64) / 1000.0,
        3 if random.one_in(50) => SPECIAL[random.below(SPECIAL.len())],
        3 => (random.below(10_000) as f64 - 5000.0) / 100.0,
        4 => f64::from_bits(random.next() & 0xfff0_0000_0000_ffff | 0x7ff0_0000_0000_0001),
        5 => row as f64,
        6 => SPECIAL[random.below(SPECIAL.len())],
        _ => f64::from_bits(random.next()),
    }
}

fn text(random: &mut Random, shape: usize, row: usize) -> String {
    const WORDS: [&str; 8] =
        ["slow", "deposit", "häufig", "account", " ", "ironic", "漢字", "carefully"];
    match shape {
        0 => "the same".into(),
        1 => WORDS[random.below(WORDS.len())].into(),
        2 => format!("http://example.org/resource/{:05}", row / 10),
        3 => (0..random.below(8)).map(|_| WORDS[random.below(WORDS.len())]).collect(),
        4 if random.one_in(30) => String::new(),
        4 => "x".repeat(random.below(40)),
        5 => format!("{row:08}"),
        6 => char::from_u32(random.next() as u32 % 0x11_0000)
            .map_or_else(|| "\u{10ffff}".repeat(30), String::from),
        _ => format!("{:x}", random.next()),
    }
}

fn nulls_of(random: &mut Random, rows: usize, one_in: usize) -> Option<NullBuffer> {
    match one_in {
        0 => None,
        1 => Some(NullBuffer::new_null(rows)),
        _ => Some((0..rows).map(|_| !random.one_in(one_in)).collect()),
    }
}

/// An array of `rows` values; about one in `null_one_in` is null, none if that is 0.
fn array(
    data_type: &DataType,
    rows: usize,
    shape: usize,
    null_one_in: usize,
    random: &mut Random,
) -> ArrayRef {
    let nulls = nulls_of(random, rows, null_one_in);
    let over = |buffer: Buffer, nulls: Option<NullBuffer>| {
        let data = arrow_data::ArrayData::builder(data_type.clone())
            .len(rows)
            .add_buffer(buffer)
            .nulls(nulls);
        make_array(data.build().expect("a valid array"))
    };
    macro_rules! ints {
        ($native:ty) => {
            over(
                Buffer::from_vec(
                    (0..rows).map(|row| integer(random, shape, row) as $native).collect::<Vec<_>>(),
                ),
                nulls,
            )
        };
    }
    match data_type {
        DataType::Boolean => {
            let bits: BooleanBuffer =
                (0..rows).map(|row| integer(random, shape, row) & 1 == 1).collect();
            Arc::new(BooleanArray::new(bits, nulls))
        }
        DataType::Int8 | DataType::UInt8 => ints!(u8),
        DataType::Int16 | DataType::UInt16 => ints!(u16),
        DataType::Int32 | DataType::UInt32 | DataType::Date32 => ints!(u32),
        DataType::Int64 | DataType::UInt64 | DataType::Time64(_) | DataType::Timestamp(_, _) => {
            ints!(u64)
        }
        DataType::Decimal128(38, _) => {
            let greatest = 10_i128.pow(38) - 1;
            let wide =
                |random: &mut Random| (i128::from(random.next().cast_signed()) << 40) % greatest;
            let values = (0..rows).map(|_| {
                [wide(random), greatest, -greatest, 0][if shape == 0 { 1 } else { random.below(4) }]
            });
            over(Buffer::from_vec(values.collect::<Vec<_>>()), nulls)
        }
        DataType::Decimal128(_, _) => over(
            Buffer::from_vec(
                (0..rows).map(|row| i128::from(integer(random, shape, row))).collect::<Vec<_>>(),
            ),
            nulls,
        ),
        DataType::Float32 => {
            let values = (0..rows).map(|row| match shape {
                4 | 7 => f32::from_bits(random.next() as u32),
                _ => float(random, shape, row) as f32,
            });
            Arc::new(Float32Array::new(values.collect::<Vec<_>>().into(), nulls))
        }
        DataType::Float64 => Arc::new(Float64Array::new(
            (0..rows).map(|row| float(random, shape, row)).collect::<Vec<_>>().into(),
            nulls,
        )),
        DataType::Interval(_) => {
            let value = |row| {
                IntervalMonthDayNano::new(
                    integer(random, shape, row) as i32,
                    row as i32,
                    integer(random, shape, row),
                )
            };
            over(Buffer::from_vec((0..rows).map(value).collect::<Vec<_>>()), nulls)
        }
        DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8 => {
            let valid = |row| nulls.as_ref().is_none_or(|nulls: &NullBuffer| nulls.is_valid(row));
            let values: Vec<Option<String>> =
                (0..rows).map(|row| valid(row).then(|| text(random, shape, row))).collect();
            match data_type {
                DataType::Utf8View => Arc::new(StringViewArray::from_iter(values)),
                DataType::Utf8 => Arc::new(arrow_array::StringArray::from_iter(values)),
                _ => Arc::new(arrow_array::LargeStringArray::from_iter(values)),
            }
        }
        DataType::BinaryView | DataType::Binary | DataType::LargeBinary => {
            let valid = |row| nulls.as_ref().is_none_or(|nulls: &NullBuffer| nulls.is_valid(row));
            let mut value = |row| match shape {
                7 => (0..random.below(20)).map(|_| random.next() as u8).collect(),
                _ => text(random, shape, row).into_bytes(),
            };
            let values: Vec<Option<Vec<u8>>> =
                (0..rows).map(|row| valid(row).then(|| value(row))).collect();
            match data_type {
                DataType::BinaryView => Arc::new(BinaryViewArray::from_iter(values)),
                DataType::Binary => Arc::new(arrow_array::BinaryArray::from_iter(values)),
                _ => Arc::new(arrow_array::LargeBinaryArray::from_iter(values)),
            }
        }
        DataType::FixedSizeBinary(size) => {
            let valid = |row| nulls.as_ref().is_none_or(|nulls: &NullBuffer| nulls.is_valid(row));
            let mut value = |row| {
                let number = i128::from(integer(random, shape, row)).to_be_bytes();
                valid(row).then_some(number)
            };
            let values: Vec<_> = (0..rows).map(&mut value).collect();
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(values.into_iter(), *size)
                    .unwrap(),
            )
        }
        DataType::List(item) => {
            let offsets = offsets::<i32>(random, rows);
            let child =
                array(item.data_type(), offsets[rows] as usize, shape, null_one_in.max(2), random);
            Arc::new(ListArray::new(item.clone(), OffsetBuffer::new(offsets.into()), child, nulls))
        }
        DataType::LargeList(item) => {
            let offsets = offsets::<i64>(random, rows);
            let child =
                array(item.data_type(), offsets[rows] as usize, shape, null_one_in.max(2), random);
            Arc::new(arrow_array::LargeListArray::new(
                item.clone(),
                OffsetBuffer::new(offsets.into()),
                child,
                nulls,
            ))
        }
        DataType::FixedSizeList(item, size) => {
            let child = array(item.data_type(), rows * *size as usize, shape, null_one_in, random);
            Arc::new(FixedSizeListArray::new(item.clone(), *size, child, nulls))
        }
        DataType::Struct(fields) => {
            let null_one_in = |field: &Field| if field.is_nullable() { null_one_in } else { 0 };
            let children = fields
                .iter()
                .map(|field| array(field.data_type(), rows, shape, null_one_in(field), random))
                .collect();
            Arc::new(StructArray::new(fields.clone(), children, nulls))
        }
        DataType::Map(entries, sorted) => {
            let offsets = offsets::<i32>(random, rows);
            let child = array(entries.data_type(), offsets[rows] as usize, shape, 0, random);
            Arc::new(MapArray::new(
                entries.clone(),
                OffsetBuffer::new(offsets.into()),
                child.as_struct().clone(),
                nulls,
                *sorted,
            ))
        }
        other => panic!("no arrays of {other} are made"),
    }
}

fn offsets<O: TryFrom<usize>>(random: &mut Random, rows: usize) -> Vec<O>
where
    O::Error: std::fmt::Debug,
{
    let mut end = 0;
    let mut offsets = vec![0];
    offsets.extend((0..rows).map(|_| {
        end += random.below(4);
        end
    }));
    offsets.into_iter().map(|offset| O::try_from(offset).unwrap()).collect()
}

fn encode(array: &ArrayRef) -> (EncodedChunk, Vec<u8>, SymbolTables) {
    let mut encoder = ColumnEncoder::new(array.data_type().clone());
    // Not at the start of the output, since chunks do not know where they stand.
    let mut out = vec![7; 24];
    let encoded = encoder.encode(array, &mut out).unwrap();
    assert_eq!(out.len() % 8, 0);
    (encoded, out.split_off(24), encoder.symbol_tables().clone())
}

fn open(bytes: &[u8], array: &ArrayRef, tables: &SymbolTables) -> Result<ColumnChunk> {
    ColumnChunk::open(Buffer::from_slice_ref(bytes), array.data_type(), array.len(), tables)
}

fn round_trip(array: &ArrayRef) -> (EncodedChunk, ColumnChunk) {
    let (encoded, bytes, tables) = encode(array);
    // Tables come back from their own bytes.
    let mut table_bytes = Vec::new();
    tables.encode(&mut table_bytes);
    let tables = SymbolTables::decode(&mut table_bytes.as_slice()).unwrap();
    let chunk = open(&bytes, array, &tables).unwrap();
    assert_eq!(chunk.symbol_tables(), encoded.symbol_tables);
    assert_eq!(chunk.encoding(), encoded.encoding);
    (encoded, chunk)
}

/// Whether arrays hold the same values, floats bit by bit.
fn assert_same(left: &ArrayRef, right: &ArrayRef, what: &str) {
    assert_eq!(left.data_type(), right.data_type(), "{what}");
    if let (Some(left), Some(right)) =
        (left.as_primitive_opt::<Float64Type>(), right.as_primitive_opt::<Float64Type>())
    {
        let bits = |array: &Float64Array| {
            array.iter().map(|value| value.map(f64::to_bits)).collect::<Vec<_>>()
        };
        assert_eq!(bits(left), bits(right), "{what}");
    } else if let (Some(left), Some(right)) =
        (left.as_primitive_opt::<Float32Type>(), right.as_primitive_opt::<Float32Type>())
    {
        let bits = |array: &Float32Array| {
            array.iter().map(|value| value.map(f32::to_bits)).collect::<Vec<_>>()
        };
        assert_eq!(bits(left), bits(right), "{what}");
    } else {
        assert!(left.to_data() == right.to_data(), "{what}: {left:?} is not {right:?}");
    }
}

fn same_value(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Float(left), Value::Float(right)) => left.to_bits() == right.to_bits(),
        (Value::Nested(left), Value::Nested(right)) => left.to_data() == right.to_data(),
        _ => left == right,
    }
}

fn some_range(random: &mut Random, rows: usize) -> Range<usize> {
    let (a, b) = (random.below(rows + 1), random.below(rows + 1));
    a.min(b)..a.max(b)
}

/// Reads rows of a chunk by its front, cut anywhere behind what must be there.
fn check_front(array: &ArrayRef, values: &[Value], random: &mut Random, what: &str) {
    let (encoded, bytes, tables) = encode(array);
    let behind = bytes.len() - encoded.front_bytes;
    let kind = kind::Kind::of(array.data_type()).unwrap();
    if behind > 0 {
        assert!(matches!(kind, kind::Kind::Text(_) | kind::Kind::Binary(_)), "{what}");
        assert!(matches!(encoded.encoding, Encoding::Symbols | Encoding::Plain), "{what}");
    }
    let open = |len: usize| {
        let front = Buffer::from_slice_ref(&bytes[..len]);
        ColumnFront::open(front, bytes.len(), array.data_type(), array.len(), &tables)
    };
    if behind == 0 {
        assert!(open(bytes.len()).is_err(), "{what}: all of a chunk is no front");
        assert!(open(bytes.len() - 8).is_err(), "{what}: what has no front opened by one");
        return;
    }
    assert!(open(encoded.front_bytes - 8).is_err(), "{what}: opened on less than its front");
    let front = open(encoded.front_bytes + random.below(behind)).unwrap();
    let mut out = RowBuffer::new();
    for _ in 0..64 {
        let row = random.below(values.len());
        out.clear();
        let place = front.place(row).unwrap();
        assert_eq!(place.is_none(), values[row].is_null(), "{what}: row {row}");
        front.value(row, &bytes[place.unwrap_or_default()], &mut out).unwrap();
        assert!(same_value(&out.get(0).to_value(), &values[row]), "{what}: row {row}");
    }
    assert_eq!(front.place(values.len()).unwrap_err().kind(), crate::ErrorKind::Invalid);
}

/// Reads a chunk in every way and compares with the array it was made from.
fn check(array: &ArrayRef, random: &mut Random) {
    let rows = array.len();
    let (encoded, chunk) = round_trip(array);
    let what = format!("{:?} of {} with {} rows", encoded.encoding, array.data_type(), rows);
    assert_eq!((chunk.len(), chunk.null_count()), (rows, array.logical_null_count()), "{what}");
    assert_same(&chunk.decode(0..rows).unwrap(), array, &what);
    for _ in 0..4 {
        let range = some_range(random, rows);
        assert_same(
            &chunk.decode(range.clone()).unwrap(),
            &array.slice(range.start, range.len()),
            &what,
        );
    }
    for count in [0, 1, 20, rows] {
        let indices: Vec<u32> = (0..count).map(|_| random.below(rows) as u32).collect();
        let expected =
            arrow_select::take::take(array, &UInt32Array::from(indices.clone()), None).unwrap();
        assert_same(&chunk.take(&indices).unwrap(), &expected, &what);
    }
    let values: Vec<Value> = (0..rows).map(|row| Value::from_array(array, row).unwrap()).collect();
    check_front(array, &values, random, &what);
    let mut row_buffer = RowBuffer::new();
    let picked: Vec<usize> = (0..64).map(|_| random.below(rows)).collect();
    for row in (0..64.min(rows)).chain(picked) {
        row_buffer.clear();
        chunk.value(row, &mut row_buffer).unwrap();
        assert!(
            same_value(&row_buffer.get(0).to_value(), &values[row]),
            "{what}: row {row} is {:?}",
            row_buffer.get(0)
        );
        assert_eq!(chunk.is_null(row), values[row].is_null(), "{what}");
        if array.data_type().is_nested() {
            continue;
        }
        let other = &values[random.below(rows)];
        let expected = values[row].as_ref().compare(&other.as_ref());
        assert_eq!(
            chunk.compare_at(row, &other.as_ref()),
            expected,
            "{what}: row {row} and {other:?}"
        );
    }
    check_zone(&encoded.zone, &values, &what);
    if !array.data_type().is_nested() {
        check_filters(&chunk, &values, random, &what);
    }
}

fn check_zone(zone: &ZoneMap, values: &[Value], what: &str) {
    let present: Vec<&Value> = values.iter().filter(|value| !value.is_null()).collect();
    assert_eq!(
        (zone.null_count as usize, zone.value_count as usize),
        (values.len() - present.len(), present.len()),
        "{what}"
    );
    let known = |bound: &Value| !bound.is_null();
    for value in &present {
        assert!(
            !known(&zone.min) || zone.min.as_ref().compare(&value.as_ref()).is_le(),
            "{what}: {value:?} below {zone:?}"
        );
        assert!(
            !known(&zone.max) || zone.max.as_ref().compare(&value.as_ref()).is_ge(),
            "{what}: {value:?} above {zone:?}"
        );
    }
    for (bound, exact) in [(&zone.min, zone.min_exact), (&zone.max, zone.max_exact)] {
        if exact && known(bound) {
            assert!(
                present.iter().any(|value| value.as_ref().compare(&bound.as_ref()).is_eq()),
                "{what}: no {bound:?}"
            );
        }
    }
    let mut bytes = Vec::new();
    zone.encode(&mut bytes);
    let decoded = ZoneMap::decode(&mut bytes.as_slice()).unwrap();
    assert!(same_value(&decoded.min, &zone.min) && same_value(&decoded.max, &zone.max), "{what}");
}

const OPS: [CompareOp; 6] = [
    CompareOp::Eq,
    CompareOp::NotEq,
    CompareOp::Lt,
    CompareOp::LtEq,
    CompareOp::Gt,
    CompareOp::GtEq,
];

/// The rule that `filter` states, value by value.
fn passes(op: CompareOp, value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Null, _) | (_, Value::Null) => false,
        (Value::Float(value), Value::Float(wanted)) => {
            // Any NaN asked for counts as the common one.
            let wanted = if wanted.is_nan() { f64::NAN } else { *wanted };
            let in_key_order =
                Value::Float(*value).as_ref().compare(&Value::Float(wanted).as_ref());
            op.holds(in_key_order) || op.holds(key(*value).cmp(&key(wanted)))
        }
        (Value::Int(value), Value::UInt(wanted)) => {
            op.holds(i128::from(*value).cmp(&i128::from(*wanted)))
        }
        (Value::UInt(value), Value::Int(wanted)) => {
            op.holds(i128::from(*value).cmp(&i128::from(*wanted)))
        }
        _ => op.holds(value.as_ref().compare(&wanted.as_ref())),
    }
}

fn check_filters(chunk: &ColumnChunk, values: &[Value], random: &mut Random, what: &str) {
    let mut wanted: Vec<Value> =
        (0..4).map(|_| values[random.below(values.len())].clone()).collect();
    wanted.push(Value::Null);
    if let Some(value) = values.iter().find(|value| !value.is_null()) {
        wanted.extend(match value {
            Value::Int(_) | Value::UInt(_) => {
                vec![
                    Value::Int(i64::MIN),
                    Value::Int(i64::MAX),
                    Value::Int(-1),
                    Value::UInt(u64::MAX),
                    Value::Int(505),
                ]
            }
            Value::Float(_) => {
                [0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.2345, 40.0]
                    .map(Value::Float)
                    .to_vec()
            }
            Value::Decimal(_) => {
                vec![Value::Decimal(i128::MAX), Value::Decimal(i128::MIN), Value::Decimal(505)]
            }
            Value::Text(_) => vec![
                Value::Text(String::new()),
                Value::Text("m".into()),
                Value::Text("\u{10ffff}".into()),
            ],
            Value::Binary(bytes) => {
                vec![Value::Binary(vec![]), Value::Binary(vec![0xff; bytes.len()])]
            }
            _ => vec![],
        });
    }
    for wanted in &wanted {
        for op in OPS {
            let range =
                if random.one_in(2) { 0..values.len() } else { some_range(random, values.len()) };
            let bits = chunk.filter(op, wanted, range.clone()).unwrap();
            assert_eq!(bits.len(), range.len(), "{what}");
            for (bit, value) in bits.iter().zip(&values[range]) {
                assert_eq!(bit, passes(op, value, wanted), "{what}: {value:?} {op:?} {wanted:?}");
            }
        }
    }
    for _ in 0..12 {
        let mut some = || (OPS[random.below(OPS.len())], &wanted[random.below(wanted.len())]);
        let all = [some(), some(), some()];
        let all = &all[..random.below(4)];
        let range = some_range(random, values.len());
        let bits = chunk.filter_all(all, range.clone()).unwrap();
        assert_eq!(bits.len(), range.len(), "{what}");
        for (bit, value) in bits.iter().zip(&values[range]) {
            let pass = all.iter().all(|(op, wanted)| passes(*op, value, wanted));
            // No comparison at all says nothing of NULL.
            assert!(all.is_empty() || bit == pass, "{what}: {value:?} {all:?}");
        }
    }
    assert!(
        chunk.filter(CompareOp::Eq, &Value::Nested(chunk.decode(0..0).unwrap()), 0..0).is_err(),
        "{what}"
    );
}

/// Sorts the rows of an array by key order and compares bounds with those of the values.
fn check_bounds(array: &ArrayRef, random: &mut Random) {
    let values: Vec<Value> =
        (0..array.len()).map(|row| Value::from_array(array, row).unwrap()).collect();
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    order.sort_by(|&a, &b| values[a as usize].as_ref().compare(&values[b as usize].as_ref()));
    let sorted = arrow_select::take::take(array, &UInt32Array::from(order.clone()), None).unwrap();
    let values: Vec<&Value> = order.iter().map(|&row| &values[row as usize]).collect();
    let (encoded, chunk) = round_trip(&sorted);
    let mut wanted: Vec<Value> =
        (0..12).map(|_| values[random.below(values.len())].clone()).collect();
    wanted.extend([
        Value::Null,
        Value::Int(505),
        Value::UInt(3),
        Value::Float(2.0),
        Value::Text("m".into()),
        Value::Binary(vec![9]),
    ]);
    for wanted in &wanted {
        let same_type = values.iter().all(|value| {
            value.is_null() || std::mem::discriminant(*value) == std::mem::discriminant(wanted)
        });
        if !same_type && !wanted.is_null() {
            continue;
        }
        let range =
            if random.one_in(2) { 0..values.len() } else { some_range(random, values.len()) };
        let part = &values[range.clone()];
        let below = part.partition_point(|value| value.as_ref().compare(&wanted.as_ref()).is_lt());
        let through =
            part.partition_point(|value| value.as_ref().compare(&wanted.as_ref()).is_le());
        let what =
            format!("{:?} of {}: {wanted:?} in {range:?}", encoded.encoding, array.data_type());
        assert_eq!(
            chunk.lower_bound(range.clone(), &wanted.as_ref()),
            range.start + below,
            "{what}"
        );
        assert_eq!(
            chunk.equal_range(range.clone(), &wanted.as_ref()),
            range.start + below..range.start + through,
            "{what}"
        );
    }
}

/// Reads a chunk of damaged bytes in every way. Whatever it answers, it answers.
fn exercise(bytes: &[u8], array: &ArrayRef, tables: &SymbolTables, random: &mut Random) {
    let Ok(chunk) = open(bytes, array, tables) else { return };
    let rows = array.len();
    let _ = chunk.decode(0..rows);
    let _ = chunk.decode(some_range(random, rows));
    let _ = chunk.add_up(some_range(random, rows), None, None, &mut [0]);
    let _ = chunk.take(&[0, rows as u32 - 1, 0]);
    let mut row = RowBuffer::new();
    for at in [0, rows / 2, rows - 1] {
        let _ = chunk.value(at, &mut row);
        let value = Value::from_array(array, at).unwrap();
        let _ = chunk.compare_at(at, &value.as_ref());
        let _ = chunk.lower_bound(0..rows, &value.as_ref());
        let _ = chunk.equal_range(0..rows, &value.as_ref());
        for op in OPS {
            let _ = chunk.filter(op, &value, 0..rows);
        }
    }
}

const ROWS: [usize; 12] = [1, 2, 3, 63, 100, 700, 1023, 1024, 1025, 2048, 3000, 8192];

#[test]
fn every_type_and_shape_is_read_back_in_every_way() {
    let mut random = Random(1);
    for data_type in all_types() {
        for shape in 0..SHAPES {
            for (index, null_one_in) in [0, 0, 3, 40, 1].into_iter().enumerate() {
                let rows = ROWS[(shape * 5 + index) % (ROWS.len() - 2)];
                check(&array(&data_type, rows, shape, null_one_in, &mut random), &mut random);
            }
        }
    }
}

#[test]
fn a_full_row_group_of_every_type_is_read_back() {
    let mut random = Random(2);
    for data_type in all_types() {
        for (shape, null_one_in) in [(2, 0), (3, 0), (3, 10), (7, 0)] {
            check(&array(&data_type, 8192, shape, null_one_in, &mut random), &mut random);
        }
    }
}

#[test]
fn bounds_in_sorted_chunks_are_those_of_their_values() {
    let mut random = Random(3);
    for data_type in all_types().iter().filter(|data_type| !data_type.is_nested()) {
        for shape in 0..SHAPES {
            for null_one_in in [0, 5] {
                let rows = [1, 40, 1500][random.below(3)];
                check_bounds(&array(data_type, rows, shape, null_one_in, &mut random), &mut random);
            }
        }
    }
}

/// Sums of stretches by group and selection, against the values decoded.
fn check_sums(array: &ArrayRef, random: &mut Random) -> bool {
    let (_, chunk) = round_trip(array);
    let mut done = false;
    for _ in 0..6 {
        let range = some_range(random, array.len());
        let groups: Vec<u32> = range.clone().map(|_| random.below(5) as u32).collect();
        let selected: BooleanBuffer = range.clone().map(|_| !random.one_in(3)).collect();
        for groups in [None, Some(groups.as_slice())] {
            for selected in [None, Some(&selected)] {
                let mut sums = [7; 5];
                let added = chunk.add_up(range.clone(), groups, selected, &mut sums).unwrap();
                let mut wanted = [7; 5];
                for (place, row) in range.clone().enumerate().filter(|_| added) {
                    let number = match Value::from_array(array, row).unwrap() {
                        Value::Int(number) => i128::from(number),
                        Value::UInt(number) => i128::from(number),
                        Value::Decimal(number) => number,
                        other => panic!("{other:?} has no sum"),
                    };
                    if selected.is_none_or(|selected| selected.value(place)) {
                        wanted[groups.map_or(0, |groups| groups[place]) as usize] += number;
                    }
                }
                assert_eq!(sums, wanted, "{} {range:?}", array.data_type());
                done |= added;
            }
        }
    }
    done
}

#[test]
fn sums_of_packed_numbers_are_those_of_their_values() {
    let mut random = Random(11);
    let types = [
        DataType::Int8,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt16,
        DataType::UInt64,
        DataType::Decimal128(15, 2),
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Utf8View,
    ];
    let mut done = Vec::new();
    for data_type in &types {
        for shape in 0..SHAPES {
            for (rows, null_one_in) in [(1, 0), (700, 0), (3000, 0), (9000, 0), (1500, 5)] {
                let array = array(data_type, rows, shape, null_one_in, &mut random);
                if check_sums(&array, &mut random) {
                    done.push(data_type.clone());
                }
            }
        }
    }
    done.dedup();
    for data_type in &types[..4] {
        assert!(done.contains(data_type), "{data_type} was never added up: {done:?}");
    }
    assert!(done.contains(&types[5]), "{done:?}");
    assert!(!done.contains(&DataType::UInt64) && !done.contains(&DataType::Utf8View));
    // Outliers on both sides are patched.
    let numbers = (0..4096).map(|row| match row % 97 {
        0 => -30_000_000_000,
        50 => 20_000_000_000,
        _ => row % 40,
    });
    let numbers: ArrayRef = Arc::new(arrow_array::Int64Array::from_iter_values(numbers));
    assert!(check_sums(&numbers, &mut random));
}

#[test]
fn numbers_taken_are_those_that_stand_there_however_wide_and_patched() {
    let mut random = Random(13);
    for bits in [0, 5, 12, 20, 40] {
        for outliers in [0, 97, 400] {
            let number = |row: u64, random: &mut Random| match row {
                _ if outliers > 0 && row % outliers == 3 => i64::MIN / 2 + row.cast_signed(),
                _ => (random.next() & ((1 << bits) - 1)).cast_signed(),
            };
            let numbers: Vec<i64> = (0..3_000).map(|row| number(row, &mut random)).collect();
            let array: ArrayRef =
                Arc::new(arrow_array::Int64Array::from_iter_values(numbers.iter().copied()));
            let (_, chunk) = round_trip(&array);
            for one_in in [1, 3, 10, 40, 100, 700] {
                let places: Vec<u32> =
                    (0..3_000).filter(|_| random.next().is_multiple_of(one_in)).collect();
                let taken = chunk.take(&places).unwrap();
                let expected = places.iter().map(|&place| numbers[place as usize]);
                let expected = arrow_array::Int64Array::from_iter_values(expected);
                assert_eq!(&*taken, &expected as &dyn Array, "{bits} bits, one in {one_in}");
            }
        }
    }
}

#[test]
fn numbers_are_the_values_and_lie_within_their_bounds() {
    let mut random = Random(12);
    let mut done = 0;
    for data_type in [DataType::Int16, DataType::Int64, DataType::Decimal128(18, 3)] {
        for shape in 0..SHAPES {
            for (rows, null_one_in) in [(1, 0), (1500, 0), (5000, 0), (1500, 5)] {
                let array = array(&data_type, rows, shape, null_one_in, &mut random);
                let (_, chunk) = round_trip(&array);
                for _ in 0..4 {
                    let range = some_range(&mut random, rows);
                    let Some(numbers) = chunk.numbers(range.clone()).unwrap() else { continue };
                    let wanted = range.clone().map(|row| match Value::from_array(&array, row) {
                        Ok(Value::Int(number)) => number,
                        Ok(Value::Decimal(number)) => i64::try_from(number).unwrap(),
                        other => panic!("{other:?} among numbers"),
                    });
                    let wanted: Vec<i64> = wanted.collect();
                    let (low, high) = numbers.bounds();
                    assert!(wanted.iter().all(|number| (low..=high).contains(number)));
                    let part = some_range(&mut random, wanted.len());
                    let mut found = vec![7];
                    numbers.extend(part.clone(), &mut found);
                    assert_eq!(found[1..], wanted[part]);
                    done += 1;
                }
            }
        }
    }
    assert!(done > 40, "{done} stretches had numbers");
    let (_, chunk) = round_trip(&array(&DataType::UInt64, 900, 1, 0, &mut random));
    assert!(chunk.numbers(0..900).unwrap().is_none());
    assert!(chunk.numbers(1..901).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_columns_are_read_back_in_every_way(
        seed: u64, kind in 0..31_usize, rows in 1..3000_usize, shape in 0..SHAPES, null_one_in in 0..12_usize
    ) {
        let mut random = Random(seed);
        let array = array(&all_types()[kind], rows, shape, null_one_in, &mut random);
        check(&array, &mut random);
        if !array.data_type().is_nested() {
            check_bounds(&array, &mut random);
        }
    }

    #[test]
    fn damaged_chunks_never_panic(
        seed: u64, kind in 0..31_usize, rows in 1..2500_usize, shape in 0..SHAPES, null_one_in in 0..12_usize
    ) {
        let mut random = Random(seed);
        let array = array(&all_types()[kind], rows, shape, null_one_in, &mut random);
        let (_, bytes, tables) = encode(&array);
        for _ in 0..24 {
            let mut damaged = bytes.clone();
            for _ in 0..1 + random.below(3) {
                // Heads and headers are short, so they are hit more often than their size says.
                let reach = if random.one_in(2) { 128 } else { damaged.len() };
                let at = random.below(damaged.len().min(reach));
                damaged[at] = if random.one_in(3) { 0xff } else { random.next() as u8 };
            }
            if random.one_in(4) {
                damaged.truncate(random.below(damaged.len()));
            }
            exercise(&damaged, &array, &tables, &mut random);
        }
    }

    #[test]
    fn random_bytes_never_panic(seed: u64, kind in 0..31_usize, rows in 1..2500_usize, len in 0..4000_usize, encoding in 0..8_u8) {
        let mut random = Random(seed);
        let array = array(&all_types()[kind], rows, 3, 0, &mut random);
        let mut bytes: Vec<u8> = (0..len).map(|_| if random.one_in(3) { random.next() as u8 } else { 0 }).collect();
        // With a right head, so that the body is looked at.
        if let Some(head) = bytes.first_chunk_mut::<16>() {
            *head = [0; 16];
            head[0] = encoding;
            head[4..8].copy_from_slice(&(rows as u32).to_le_bytes());
        }
        exercise(&bytes, &array, &SymbolTables::default(), &mut random);
        let _ = ZoneMap::decode(&mut &bytes[..]);
        let _ = SymbolTables::decode(&mut &bytes[..]);
    }
}

#[test]
fn each_encoding_is_chosen_where_it_belongs() {
    let mut random = Random(4);
    let mut chosen = |data_type: DataType, shape| {
        encode(&array(&data_type, 8192, shape, 0, &mut random)).0.encoding
    };
    assert_eq!(chosen(DataType::Int64, 0), Encoding::Constant);
    assert_eq!(chosen(DataType::Int64, 2), Encoding::Packed);
    assert_eq!(chosen(DataType::Int64, 7), Encoding::Plain);
    assert_eq!(chosen(DataType::Decimal128(15, 2), 3), Encoding::Packed);
    assert_eq!(chosen(DataType::Decimal128(38, 10), 3), Encoding::Plain);
    assert_eq!(chosen(DataType::Utf8View, 0), Encoding::Constant);
    assert_eq!(chosen(DataType::Utf8View, 1), Encoding::Dictionary);
    assert_eq!(chosen(DataType::Utf8View, 2), Encoding::Dictionary);
    assert_eq!(chosen(DataType::Utf8View, 3), Encoding::Symbols);
    assert_eq!(chosen(DataType::BinaryView, 7), Encoding::Plain);
    assert_eq!(chosen(DataType::Float64, 1), Encoding::Alp);
    assert_eq!(chosen(DataType::Float64, 7), Encoding::Plain);
    assert_eq!(chosen(DataType::Float32, 1), Encoding::Alp);
    assert_eq!(chosen(DataType::Boolean, 1), Encoding::Plain);
}

#[test]
fn outliers_on_either_side_are_patched_and_not_paid_for() {
    let mut random = Random(5);
    for (shape, bits) in [(3, 5), (4, 16)] {
        let array = array(&DataType::Int64, 8192, shape, 0, &mut random);
        let (encoded, bytes, _) = encode(&array);
        assert_eq!(encoded.encoding, Encoding::Packed);
        let packed = 8192 * bits / 8;
        assert!(
            bytes.len() < packed + 8192 / 100 * 12 * 2 + 1000,
            "{} bytes for {packed} of packed values",
            bytes.len()
        );
    }
}

#[test]
fn strings_of_a_mebibyte_and_none_stand_in_one_chunk() {
    let mut random = Random(6);
    let long = "ab".repeat(1 << 19);
    let values: Vec<String> = (0..20)
        .map(|row| if row % 7 == 3 { format!("{long}{row}") } else { String::new() })
        .collect();
    check(&(Arc::new(StringViewArray::from_iter_values(values)) as ArrayRef), &mut random);
    let noise: Vec<u8> = (0..1 << 20).map(|_| random.next() as u8).collect();
    let values = [Some(&noise[..]), None, Some(&noise[5..]), Some(b"")];
    check(&(Arc::new(BinaryViewArray::from_iter(values)) as ArrayRef), &mut random);
}

#[test]
fn nan_payloads_and_negative_zero_keep_their_bits() {
    let bits = [
        0x7ff8_0000_0000_1234,
        0xfff8_0000_0000_0001,
        0x8000_0000_0000_0000,
        0x7ff0_0000_0000_0000,
        0x0000_0000_0000_0001,
    ];
    let mut values: Vec<f64> = (0..3000).map(|row| f64::from(row) / 8.0).collect();
    for (row, bits) in bits.into_iter().enumerate() {
        values[row * 611] = f64::from_bits(bits);
    }
    let array: ArrayRef = Arc::new(Float64Array::from(values));
    assert_eq!(encode(&array).0.encoding, Encoding::Alp);
    check(&array, &mut Random(7));
}

#[test]
fn one_symbol_table_serves_the_chunks_of_a_column() {
    let mut random = Random(8);
    let mut encoder = ColumnEncoder::new(DataType::Utf8View);
    let mut names = Vec::new();
    for _ in 0..5 {
        let encoded = encoder
            .encode(&array(&DataType::Utf8View, 8192, 3, 0, &mut random), &mut Vec::new())
            .unwrap();
        assert_eq!(encoded.encoding, Encoding::Symbols);
        names.extend(encoded.symbol_tables);
    }
    assert_eq!(encoder.symbol_tables().len(), 1);
    assert!(encoder.symbol_tables().names().all(|name| names == [name; 5]));
}

#[test]
fn changing_strings_get_other_tables_up_to_the_budget() {
    let mut random = Random(9);
    let mut encoder = ColumnEncoder::new(DataType::Utf8View);
    let mut tables = Vec::new();
    for alphabet in 0..24_u8 {
        // Each chunk speaks another language, of four letters.
        let word = |random: &mut Random| {
            (0..4)
                .map(|_| char::from(b'A' + alphabet * 4 % 58 + random.below(4) as u8))
                .collect::<String>()
        };
        let words: Vec<String> = (0..16).map(|_| word(&mut random)).collect();
        let texts: Vec<String> = (0..2048)
            .map(|row| {
                format!("{row}{}", (0..6).map(|_| &*words[random.below(16)]).collect::<String>())
            })
            .collect();
        let array: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
        let mut bytes = Vec::new();
        let encoded = encoder.encode(&array, &mut bytes).unwrap();
        tables.extend(encoded.symbol_tables);
        let chunk = open(&bytes, &array, encoder.symbol_tables()).unwrap();
        assert_same(&chunk.decode(0..2048).unwrap(), &array, "a chunk of another language");
    }
    let distinct = encoder.symbol_tables().len();
    assert!((2..=SYMBOL_TABLES_MAX).contains(&distinct), "{distinct} tables");
}

#[test]
fn a_chunk_whose_symbol_table_is_missing_is_refused_by_name() {
    let array = array(&DataType::Utf8View, 8192, 3, 0, &mut Random(10));
    let (encoded, bytes, _) = encode(&array);
    let error = open(&bytes, &array, &SymbolTables::default()).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Corrupt);
    assert!(error.message().contains(&format!("{:016x}", encoded.symbol_tables[0])), "{error}");
}

#[test]
fn chunks_open_at_any_address() {
    let array = array(&DataType::Decimal128(38, 10), 100, 3, 0, &mut Random(11));
    let (_, bytes, tables) = encode(&array);
    for shift in 0..16 {
        let mut shifted = vec![0; shift];
        shifted.extend_from_slice(&bytes);
        let buffer = Buffer::from_slice_ref(&shifted).slice(shift);
        let chunk = ColumnChunk::open(buffer, array.data_type(), 100, &tables).unwrap();
        assert_same(&chunk.decode(0..100).unwrap(), &array, "a shifted chunk");
    }
}

#[test]
fn long_bounds_are_cut_outward() {
    let zone = ZoneMap::strings(&[b'a'; 100], "ä".repeat(60).as_bytes(), true);
    assert!(!zone.min_exact && !zone.max_exact);
    assert_eq!(zone.min, Value::Text("a".repeat(64)));
    assert_eq!(zone.max, Value::Text(format!("{}å", "ä".repeat(31))));
    let zone = ZoneMap::strings(b"", "\u{10ffff}".repeat(40).as_bytes(), true);
    assert_eq!(
        (zone.min, zone.min_exact, zone.max, zone.max_exact),
        (Value::Text(String::new()), true, Value::Null, false)
    );
    let zone = ZoneMap::strings(&[1], &[[7; 63].as_slice(), &[0xff; 30]].concat(), false);
    assert_eq!(zone.max, Value::Binary([[7; 62].as_slice(), &[8]].concat()));
}

#[test]
fn merged_zones_cover_both_and_nulls_alone_change_no_bound() {
    let zone = |values: &[Option<i64>]| {
        let array: ArrayRef = Arc::new(arrow_array::Int64Array::from(values.to_vec()));
        encode(&array).0.zone
    };
    let mut merged = zone(&[None, None]);
    merged.merge(&zone(&[Some(3), Some(9)]));
    assert_eq!(
        (&merged.min, &merged.max, merged.null_count, merged.value_count),
        (&Value::Int(3), &Value::Int(9), 2, 2)
    );
    merged.merge(&zone(&[Some(-4), None]));
    merged.merge(&zone(&[None]));
    assert_eq!(
        (&merged.min, &merged.max, merged.null_count, merged.value_count),
        (&Value::Int(-4), &Value::Int(9), 4, 3)
    );
    merged.merge(&ZoneMap { value_count: 1, ..ZoneMap::unknown() });
    assert_eq!((&merged.min, &merged.max, merged.value_count), (&Value::Null, &Value::Null, 4));
    merged.merge(&zone(&[Some(1)]));
    assert_eq!((&merged.min, merged.min_exact), (&Value::Null, false), "what is unknown stays so");
}

#[test]
fn float_zones_hold_in_the_order_of_keys_and_in_total_order() {
    let zone = |values: &[f64]| ZoneMap::floats(values.iter().copied());
    let bounds = |values: &[f64]| (zone(values).min, zone(values).max);
    assert_eq!(bounds(&[1.0, -2.0]), (Value::Float(-2.0), Value::Float(1.0)));
    assert_eq!(bounds(&[-0.0, 1.0]), (Value::Float(-5e-324), Value::Float(1.0)));
    assert!(!zone(&[-0.0, 0.0]).min_exact && zone(&[0.0]).min_exact);
    assert!(
        matches!(bounds(&[1.0, f64::NAN]), (Value::Float(1.0), Value::Float(max)) if max.is_nan())
    );
    assert!(matches!(bounds(&[1.0, -f64::NAN]), (Value::Null, Value::Float(max)) if max.is_nan()));
}

#[test]
fn intervals_of_floats_hold_what_either_order_holds() {
    let special = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        5e-324,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        -f64::NAN,
        f64::MAX,
        f64::MIN,
    ];
    for wanted in special {
        for value in special {
            for op in OPS {
                let expected = passes(op, &Value::Float(value), &Value::Float(wanted));
                assert_eq!(
                    FloatInterval::new(op, wanted).holds(value),
                    expected,
                    "{value} {op:?} {wanted}"
                );
            }
        }
    }
}

#[test]
fn long_strings_are_taken_more_often_than_a_chunk_could_hold_them() {
    let long = "long".repeat(1 << 18);
    let values: Vec<String> = (0..40)
        .map(|row| if row % 10 == 0 { format!("{long}{row}") } else { format!("{row}") })
        .collect();
    for repeats in [1, 10] {
        // As plain strings, and as a dictionary.
        let values = values.iter().flat_map(|value| {
            std::iter::repeat_n(value, if value.len() > 9 { 1 } else { repeats })
        });
        let array: ArrayRef = Arc::new(StringViewArray::from_iter_values(values));
        let (_, chunk) = round_trip(&array);
        let longest =
            (0..array.len()).max_by_key(|&row| array.as_string_view().value(row).len()).unwrap();
        let taken = chunk.take(&[longest as u32; 9]).unwrap();
        assert_eq!(taken.as_string_view().value(8).len(), long.len() + 2);
        let many = chunk.take(&vec![longest as u32; 500]).unwrap();
        assert_eq!(many.len(), 500);
    }
}

#[test]
fn damaged_constants_do_not_grow_beyond_a_chunk() {
    // A megabyte once is a valid constant; two hundred times, copied, it is not.
    let once: ArrayRef = Arc::new(arrow_array::StringArray::from(vec!["m".repeat(1 << 20)]));
    let (_, mut bytes, tables) = encode(&once);
    bytes[4..8].copy_from_slice(&200_u32.to_le_bytes());
    let chunk = ColumnChunk::open(Buffer::from_vec(bytes), &DataType::Utf8, 200, &tables).unwrap();
    assert_eq!(chunk.decode(0..200).unwrap_err().kind(), crate::ErrorKind::Corrupt);
    assert_eq!(chunk.decode(0..20).unwrap().len(), 20);
}

#[test]
fn arrays_of_another_type_and_too_many_rows_are_refused() {
    let mut encoder = ColumnEncoder::new(DataType::Int64);
    let mut out = vec![1, 2, 3];
    let array: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![1]));
    assert_eq!(encoder.encode(&array, &mut out).unwrap_err().kind(), crate::ErrorKind::Invalid);
    let array: ArrayRef = Arc::new(arrow_array::Int64Array::from(vec![1; CHUNK_ROWS_MAX + 1]));
    assert_eq!(encoder.encode(&array, &mut out).unwrap_err().kind(), crate::ErrorKind::Invalid);
    assert_eq!(out, [1, 2, 3]);
}

#[test]
fn text_of_any_layout_becomes_views_where_the_column_says_so() {
    let array: ArrayRef =
        Arc::new(arrow_array::LargeStringArray::from(vec![Some("one"), None, Some("three")]));
    let mut encoder = ColumnEncoder::new(DataType::Utf8View);
    let mut bytes = Vec::new();
    encoder.encode(&array, &mut bytes).unwrap();
    let chunk =
        ColumnChunk::open(Buffer::from_vec(bytes), &DataType::Utf8View, 3, encoder.symbol_tables())
            .unwrap();
    let expected: ArrayRef =
        Arc::new(StringViewArray::from(vec![Some("one"), None, Some("three")]));
    assert_same(&chunk.decode(0..3).unwrap(), &expected, "views");
}
