//! DataFusion's scalars to the codec's values and back.

use datafusion::arrow::array::new_null_array;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use silt_codec::{Value, ValueRef, array_of};

use crate::Result;

/// The stored form of `scalar`; none for types that no column has.
pub(crate) fn scalar_to_value(scalar: &ScalarValue) -> Option<Value> {
    let array = scalar.to_array().ok()?;
    Value::from_array(&*array, 0).ok()
}

/// A stored value as a scalar of `data_type`.
pub(crate) fn value_to_scalar(value: &Value, data_type: &DataType) -> Result<ScalarValue> {
    let array = match value {
        Value::Null => new_null_array(data_type, 1),
        value => array_of(data_type, std::slice::from_ref(value))?,
    };
    Ok(ScalarValue::try_from_array(&array, 0)?)
}

/// A borrowed value as a scalar of `data_type`, without an array for the usual types.
pub(crate) fn scalar_of(value: ValueRef<'_>, data_type: &DataType) -> Result<ScalarValue> {
    let narrow = |number: i64| i32::try_from(number).ok();
    let scalar = match (value, data_type) {
        (ValueRef::Int(v), DataType::Int64) => ScalarValue::Int64(Some(v)),
        (ValueRef::Int(v), DataType::Int32) => ScalarValue::Int32(narrow(v)),
        (ValueRef::Int(v), DataType::Date32) => ScalarValue::Date32(narrow(v)),
        (ValueRef::Int(v), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            ScalarValue::TimestampMicrosecond(Some(v), zone.clone())
        }
        (ValueRef::UInt(v), DataType::UInt64) => ScalarValue::UInt64(Some(v)),
        (ValueRef::Float(v), DataType::Float64) => ScalarValue::Float64(Some(v)),
        (ValueRef::Boolean(v), DataType::Boolean) => ScalarValue::Boolean(Some(v)),
        (ValueRef::Text(v), DataType::Utf8View) => ScalarValue::Utf8View(Some(v.to_owned())),
        (ValueRef::Binary(v), DataType::BinaryView) => ScalarValue::BinaryView(Some(v.to_vec())),
        (ValueRef::Decimal(v), DataType::Decimal128(precision, scale)) => {
            ScalarValue::Decimal128(Some(v), *precision, *scale)
        }
        (ValueRef::Null, data_type) => ScalarValue::try_from(data_type)?,
        (value, data_type) => value_to_scalar(&value.to_value(), data_type)?,
    };
    Ok(scalar)
}
