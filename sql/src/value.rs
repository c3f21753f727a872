//! DataFusion's scalars to the codec's values and back.

use datafusion::arrow::array::new_null_array;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use silt_codec::{Value, array_of};

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
