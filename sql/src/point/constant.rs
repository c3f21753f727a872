//! Constants of compiled predicates: what an execution gives for them, as values of a key column.
//!
//! A predicate compares a key column, perhaps under a cast, with a literal or parameter, perhaps
//! under casts of its own, all as DataFusion's analyzer left it. [`Constant::read`] says which value
//! of the column's own type the comparison means. Where that is not certain (a value that no value
//! of the column equals, a cast that fails, floats that keys do not keep apart) the statement is
//! left to the planner.

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;
use silt_codec::{KeyBuffer, KeyCodec, TreeSchema, Value, ValueRef};

use crate::Result;
use crate::provider::pushdown::exact_cast;
use crate::uuid;
use crate::value::scalar_to_value;

/// A parameter's value in one execution: the caller's, or a literal lifted from the text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg<'a> {
    Scalar(&'a ScalarValue),
    Int(i64),
    Text(&'a str),
}

impl Arg<'_> {
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Scalar(scalar) if scalar.is_null())
    }

    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::Scalar(scalar) => scalar.data_type(),
            Self::Int(_) => DataType::Int64,
            Self::Text(_) => DataType::Utf8,
        }
    }

    pub(crate) fn to_scalar(self) -> ScalarValue {
        match self {
            Self::Scalar(scalar) => scalar.clone(),
            Self::Int(number) => ScalarValue::Int64(Some(number)),
            Self::Text(text) => ScalarValue::Utf8(Some(text.to_owned())),
        }
    }
}

/// One key column, and the bytes of its field alone.
#[derive(Debug)]
pub(crate) struct KeyField {
    pub(crate) data_type: DataType,
    pub(crate) descending: bool,
    codec: KeyCodec,
    /// The least and greatest value of an integer column.
    integers: Option<(i128, i128)>,
}

impl KeyField {
    /// The fields of a key, in order.
    pub(crate) fn all(schema: &TreeSchema) -> Result<Vec<Self>> {
        let fields = schema.key_columns().iter().zip(&schema.key);
        let fields = fields.map(|(column, order)| {
            let field = TreeSchema { version: 1, columns: vec![column.clone()], key: vec![*order] };
            Ok(Self {
                data_type: column.data_type.clone(),
                descending: order.descending,
                codec: KeyCodec::new(&field)?,
                integers: integer_range(&column.data_type),
            })
        });
        fields.collect()
    }

    /// Appends the field's bytes; false for a value beyond the size of any key.
    pub(crate) fn put(&self, value: ValueRef<'_>, out: &mut Vec<u8>) -> bool {
        self.codec.encode_values(&[value], out).is_ok()
    }

    /// Appends the field's bytes for each row; false for a value beyond the size of any key.
    pub(super) fn put_all(&self, column: &ArrayRef, out: &mut KeyBuffer) -> bool {
        self.codec.encode_columns(std::slice::from_ref(column), out).is_ok()
    }

    /// The value of this column that is equal to `scalar`.
    pub(super) fn value_of<'a>(&self, scalar: &'a ScalarValue) -> Reading<'a> {
        if scalar.is_null() {
            return Reading::Null;
        }
        if let (Some(number), Some(_)) = (integer_of(Arg::Scalar(scalar)), self.integers) {
            return self.integer(number);
        }
        if let (DataType::Utf8View, Some(Some(text))) = (&self.data_type, scalar.try_as_str()) {
            return Reading::Value(ValueRef::Text(text));
        }
        let Some(scalar) = exact_cast(scalar, &self.data_type) else { return Reading::Outside };
        scalar_to_value(&scalar).map_or(Reading::Unsure, Reading::Owned)
    }

    fn integer(&self, number: i128) -> Reading<'static> {
        let Some((least, greatest)) = self.integers else { return Reading::Unsure };
        if number < least || number > greatest {
            return Reading::Outside;
        }
        match i64::try_from(number) {
            Ok(number) if least < 0 => Reading::Value(ValueRef::Int(number)),
            _ => u64::try_from(number)
                .map_or(Reading::Unsure, |number| Reading::Value(ValueRef::UInt(number))),
        }
    }
}

/// The value of a key column that a constant means.
#[derive(Debug)]
pub(crate) enum Reading<'a> {
    Value(ValueRef<'a>),
    Owned(Value),
    /// The comparison holds for no row.
    Null,
    /// No value of the column's type is equal to it.
    Outside,
    /// Left to the planner.
    Unsure,
}

/// A literal or parameter on one side of a comparison.
#[derive(Debug)]
pub(crate) struct Constant {
    source: Source,
    /// From the inside out.
    steps: Vec<Step>,
    way: Way,
}

#[derive(Debug)]
enum Source {
    Slot(usize),
    Literal(ScalarValue),
}

/// What is done with the value before it is compared.
#[derive(Debug)]
enum Step {
    Cast(DataType),
    ToUuid,
}

/// How the value is read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// All types on the way hold every integer that comes: the number itself is compared.
    Integer,
    /// Text of whatever layout, as it is.
    Text,
    /// Cast by cast.
    Steps,
}

impl Constant {
    /// The constant `expr`, compared with a column of type `column` cast to `compared`; none if it
    /// is none, or if the column's cast may lose what makes values differ. `types` are those of the
    /// parameters.
    pub(crate) fn new(
        expr: &Expr,
        column: &DataType,
        compared: Option<&DataType>,
        types: &[DataType],
    ) -> Option<Self> {
        if compared.is_some_and(|compared| !keeps_values(column, compared)) {
            return None;
        }
        let mut steps = Vec::new();
        let mut expr = expr;
        let (source, first) = loop {
            match expr {
                Expr::Cast(cast) => {
                    steps.push(Step::Cast(cast.field.data_type().clone()));
                    expr = &cast.expr;
                }
                Expr::ScalarFunction(call) if uuid::reads(call) => {
                    steps.push(Step::ToUuid);
                    expr = call.args.first()?;
                }
                Expr::Literal(scalar, _) => {
                    break (Source::Literal(scalar.clone()), scalar.data_type());
                }
                Expr::Placeholder(placeholder) => {
                    let slot = slot_of(&placeholder.id)?;
                    break (Source::Slot(slot), types.get(slot)?.clone());
                }
                _ => return None,
            }
        };
        steps.reverse();
        let way = Way::of(&first, &steps, column);
        Some(Self { source, steps, way })
    }

    /// The value of the key column `field` that it means with these arguments.
    pub(crate) fn read<'a>(&'a self, args: &[Arg<'a>], field: &KeyField) -> Reading<'a> {
        let arg = match &self.source {
            Source::Literal(scalar) => Arg::Scalar(scalar),
            Source::Slot(slot) => match args.get(*slot) {
                Some(arg) => *arg,
                None => return Reading::Unsure,
            },
        };
        if arg.is_null() {
            return Reading::Null;
        }
        match self.way {
            Way::Integer => integer_of(arg).map_or(Reading::Unsure, |n| field.integer(n)),
            Way::Text => match arg {
                Arg::Text(text) => Reading::Value(ValueRef::Text(text)),
                Arg::Scalar(scalar) => match scalar.try_as_str() {
                    Some(Some(text)) => Reading::Value(ValueRef::Text(text)),
                    _ => Reading::Unsure,
                },
                Arg::Int(_) => Reading::Unsure,
            },
            Way::Steps => self.read_by_steps(arg, field),
        }
    }

    fn read_by_steps(&self, arg: Arg<'_>, field: &KeyField) -> Reading<'static> {
        let mut scalar = arg.to_scalar();
        for step in &self.steps {
            let next = match step {
                Step::Cast(to) => scalar.cast_to(to).ok(),
                Step::ToUuid => uuid::of_scalar(&scalar),
            };
            match next {
                Some(next) if !next.is_null() => scalar = next,
                // What fails is said by the planned way.
                _ => return Reading::Unsure,
            }
        }
        let Some(scalar) = exact_cast(&scalar, &field.data_type) else { return Reading::Outside };
        match scalar_to_value(&scalar) {
            // Keys hold one zero and one NaN, but comparisons tell them apart.
            Some(Value::Float(float))
                if float.is_nan() || float == 0.0 && float.is_sign_negative() =>
            {
                Reading::Unsure
            }
            Some(value) => Reading::Owned(value),
            None => Reading::Unsure,
        }
    }

    /// The number of rows that it means as a LIMIT or OFFSET.
    pub(crate) fn read_count(&self, args: &[Arg<'_>]) -> Option<usize> {
        let arg = match &self.source {
            Source::Literal(scalar) => Arg::Scalar(scalar),
            Source::Slot(slot) => *args.get(*slot)?,
        };
        usize::try_from(integer_of(arg)?).ok()
    }

    /// The LIMIT or OFFSET that `expr` means, if it is a constant integer.
    pub(crate) fn of_count(expr: &Expr, types: &[DataType]) -> Option<Self> {
        Self::new(expr, &DataType::Int64, None, types).filter(|count| count.way == Way::Integer)
    }
}

impl Way {
    fn of(first: &DataType, steps: &[Step], column: &DataType) -> Self {
        let mut types = vec![first];
        for step in steps {
            match step {
                Step::Cast(to) => types.push(to),
                Step::ToUuid => return Self::Steps,
            }
        }
        if types.iter().all(|data_type| is_text(data_type)) && is_text(column) {
            return Self::Text;
        }
        let widens = types.windows(2).all(|pair| keeps_values(pair[0], pair[1]));
        if integer_range(first).is_some() && integer_range(column).is_some() && widens {
            return Self::Integer;
        }
        Self::Steps
    }
}

/// The position of the parameter `$n`.
pub(crate) fn slot_of(id: &str) -> Option<usize> {
    id.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Whether a cast keeps apart and in order all values of the type.
fn keeps_values(from: &DataType, to: &DataType) -> bool {
    if from == to || is_text(from) && is_text(to) {
        return true;
    }
    match (integer_range(from), integer_range(to), to) {
        (Some((least, greatest)), Some((low, high)), _) => low <= least && greatest <= high,
        (Some((least, greatest)), None, DataType::Decimal128(precision, scale @ 0..)) => {
            let digits = i32::from(*precision) - i32::from(*scale);
            let bound = 10_i128.checked_pow(u32::try_from(digits).unwrap_or(0));
            bound.is_some_and(|bound| -bound < least && greatest < bound)
        }
        _ => match (from, to) {
            (DataType::Float32, DataType::Float64) => true,
            (DataType::Decimal128(p, s), DataType::Decimal128(q, t)) => {
                let whole = |precision: u8, scale: i8| i32::from(precision) - i32::from(scale);
                s <= t && whole(*p, *s) <= whole(*q, *t)
            }
            _ => false,
        },
    }
}

fn integer_range(data_type: &DataType) -> Option<(i128, i128)> {
    Some(match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => (i64::MIN.into(), i64::MAX.into()),
        DataType::UInt8 => (0, u8::MAX.into()),
        DataType::UInt16 => (0, u16::MAX.into()),
        DataType::UInt32 => (0, u32::MAX.into()),
        DataType::UInt64 => (0, u64::MAX.into()),
        _ => return None,
    })
}

fn integer_of(arg: Arg<'_>) -> Option<i128> {
    Some(match arg {
        Arg::Int(number) => number.into(),
        Arg::Text(_) => return None,
        Arg::Scalar(scalar) => match *scalar {
            ScalarValue::Int64(Some(number)) => number.into(),
            ScalarValue::Int32(Some(number)) => number.into(),
            ScalarValue::Int16(Some(number)) => number.into(),
            ScalarValue::Int8(Some(number)) => number.into(),
            ScalarValue::UInt64(Some(number)) => number.into(),
            ScalarValue::UInt32(Some(number)) => number.into(),
            ScalarValue::UInt16(Some(number)) => number.into(),
            ScalarValue::UInt8(Some(number)) => number.into(),
            _ => return None,
        },
    })
}
