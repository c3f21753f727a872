//! UUIDs as text and back, in values on their way in and in expressions.
//!
//! A UUID is 16 bytes to DataFusion, which knows no way between those and text. So an expression
//! is rewritten before its types are settled: text that stands beside a UUID is read as one, and
//! casts either way become functions of ours. Constants among them are folded, so that
//! `WHERE id = '550e8400-…'` still reaches a key.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryBuilder, StringViewBuilder,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr::{Between, BinaryExpr, Cast, InList, ScalarFunction, TryCast};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

use datafusion::scalar::ScalarValue;

use crate::Error;

/// The Arrow type of a UUID.
const UUID: DataType = DataType::FixedSizeBinary(16);
/// The function that reads text as a UUID.
const TO_UUID: &str = "to_uuid";

/// Texts as UUIDs; those that are none become NULL.
pub(crate) fn from_texts(texts: &ArrayRef) -> crate::Result<ArrayRef> {
    let texts = cast(texts, &DataType::Utf8View)?;
    let mut builder = FixedSizeBinaryBuilder::with_capacity(texts.len(), 16);
    for text in texts.as_string_view() {
        match text.and_then(parse) {
            Some(bytes) => builder.append_value(bytes)?,
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// 32 hexadecimal digits, hyphens and braces as you like.
fn parse(text: &str) -> Option<[u8; 16]> {
    let mut number: u128 = 0;
    let mut digits = 0;
    for char in text.trim().chars() {
        match char.to_digit(16) {
            Some(digit) if digits < 32 => {
                number = number << 4 | u128::from(digit);
                digits += 1;
            }
            None if matches!(char, '-' | '{' | '}') => {}
            _ => return None,
        }
    }
    (digits == 32).then(|| number.to_be_bytes())
}

/// UUIDs as their usual text.
pub(crate) fn to_texts(uuids: &ArrayRef) -> ArrayRef {
    let mut builder = StringViewBuilder::with_capacity(uuids.len());
    for bytes in uuids.as_fixed_size_binary() {
        let number = bytes.and_then(|bytes| bytes.try_into().ok()).map(u128::from_be_bytes);
        builder.append_option(number.map(|number| {
            format!(
                "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                number >> 96,
                number >> 80 & 0xffff,
                number >> 64 & 0xffff,
                number >> 48 & 0xffff,
                number & 0xffff_ffff_ffff
            )
        }));
    }
    Arc::new(builder.finish())
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Whether a call reads text as a UUID and fails if it is none.
pub(crate) fn reads(call: &ScalarFunction) -> bool {
    call.func.name() == TO_UUID
}

/// A text as a UUID; none if it is none.
pub(crate) fn of_scalar(text: &ScalarValue) -> Option<ScalarValue> {
    let array = from_texts(&text.to_array().ok()?).ok()?;
    ScalarValue::try_from_array(&array, 0).ok().filter(|uuid| !uuid.is_null())
}

/// Which way a [`Conversion`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Way {
    /// Text that is no UUID is an error.
    Read,
    /// Text that is no UUID becomes NULL.
    TryRead,
    Write,
}

/// A function between UUIDs and text.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Conversion {
    way: Way,
    signature: Signature,
}

impl Conversion {
    fn call(way: Way, expr: Expr) -> Expr {
        let signature = Signature::any(1, Volatility::Immutable);
        let function = Arc::new(ScalarUDF::new_from_impl(Self { way, signature }));
        Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![expr]))
    }

    fn convert(&self, array: &ArrayRef) -> crate::Result<ArrayRef> {
        if self.way == Way::Write {
            return Ok(to_texts(array));
        }
        let uuids = from_texts(array)?;
        let lost = (0..uuids.len()).find(|&row| uuids.is_null(row) && array.is_valid(row));
        match lost {
            Some(row) if self.way == Way::Read => Err(Error::invalid(format!(
                "{} is not a UUID",
                crate::dml::cast::shown(array, row)
            ))),
            _ => Ok(uuids),
        }
    }
}

impl ScalarUDFImpl for Conversion {
    fn name(&self) -> &str {
        match self.way {
            Way::Read => TO_UUID,
            Way::TryRead => "try_to_uuid",
            Way::Write => "uuid_text",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(if self.way == Way::Write { DataType::Utf8View } else { UUID })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Scalar(scalar)] => {
                let array = self.convert(&scalar.to_array()?)?;
                let scalar = ScalarValue::try_from_array(&array, 0)?;
                Ok(ColumnarValue::Scalar(scalar))
            }
            [ColumnarValue::Array(array)] => Ok(ColumnarValue::Array(self.convert(array)?)),
            _ => Err(Error::internal("a conversion of UUIDs has one argument").into()),
        }
    }
}

/// Puts the conversions where SQL leaves them out.
#[derive(Debug)]
pub(crate) struct UuidRewrite;

impl FunctionRewrite for UuidRewrite {
    fn name(&self) -> &str {
        "uuid"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        // An expression of no known type is left for the rules that come.
        let uuid = |expr: &Expr| expr.get_type(schema).is_ok_and(|found| found == UUID);
        let text = |expr: &Expr| expr.get_type(schema).is_ok_and(|found| is_text(&found));
        let read = |expr: Expr| {
            if text(&expr) { Conversion::call(Way::Read, expr) } else { expr }
        };
        Ok(match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(op) => {
                let (left, right) = if uuid(&left) {
                    (left, Box::new(read(*right)))
                } else if uuid(&right) {
                    (Box::new(read(*left)), right)
                } else {
                    (left, right)
                };
                Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right }))
            }
            Expr::InList(InList { expr, list, negated }) if uuid(&expr) => {
                let list = list.into_iter().map(read).collect();
                Transformed::yes(Expr::InList(InList { expr, list, negated }))
            }
            Expr::Between(Between { expr, negated, low, high }) if uuid(&expr) => {
                let (low, high) = (Box::new(read(*low)), Box::new(read(*high)));
                Transformed::yes(Expr::Between(Between { expr, negated, low, high }))
            }
            Expr::Cast(Cast { expr, field }) if *field.data_type() == UUID && text(&expr) => {
                Transformed::yes(Conversion::call(Way::Read, *expr))
            }
            Expr::TryCast(TryCast { expr, field }) if *field.data_type() == UUID && text(&expr) => {
                Transformed::yes(Conversion::call(Way::TryRead, *expr))
            }
            Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field })
                if is_text(field.data_type()) && uuid(&expr) =>
            {
                Transformed::yes(Conversion::call(Way::Write, *expr))
            }
            other => Transformed::no(other),
        })
    }
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}
