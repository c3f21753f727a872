//! Values on their way into a column: the casts that an assignment may make, and what it refuses.
//!
//! Wider than SQL's assignment casts (text goes into any scalar column if it reads as a value) but
//! nothing is lost without a word: a value that does not fit is named with its column. Fractions
//! are rounded when they go into integers and decimals, as PostgreSQL does.

use std::sync::Arc;

use datafusion::arrow::array::types::{Float32Type, Float64Type};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, new_null_array};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use silt_catalog::{ColumnDef, SqlType, TableDef};

use crate::{Error, Result, uuid};

/// Longest value shown in a message, in characters.
const SHOWN_CHARS_MAX: usize = 60;

/// The array as the column stores it.
///
/// # Errors
/// `Invalid`, naming column and value, for a value that does not fit and for NULL where there may
/// be none.
pub(crate) fn assign(table: &TableDef, column: &ColumnDef, array: &ArrayRef) -> Result<ArrayRef> {
    let cast = convert(table, column, array)?;
    if column.not_null && cast.null_count() > 0 {
        return Err(Error::invalid(format!(
            "column \"{}\" of table {} may not be NULL",
            column.name,
            table.display_name()
        )));
    }
    Ok(cast)
}

/// As [`assign`], but text with offsets stays as it is where the column takes any text: storage
/// reads it as it reads views, which would have to be made of it.
///
/// # Errors
/// As there.
pub(crate) fn assign_for_storage(
    table: &TableDef,
    column: &ColumnDef,
    array: &ArrayRef,
) -> Result<ArrayRef> {
    let stays = *array.data_type() == DataType::Utf8 && column.sql_type == SqlType::Text(None);
    if stays && (!column.not_null || array.null_count() == 0) {
        return Ok(Arc::clone(array));
    }
    assign(table, column, array)
}

fn convert(table: &TableDef, column: &ColumnDef, array: &ArrayRef) -> Result<ArrayRef> {
    let to = column.sql_type.arrow();
    let array = match array.data_type() {
        DataType::Null => return Ok(new_null_array(&to, array.len())),
        DataType::Dictionary(_, values) => cast(array, values)?,
        _ => Arc::clone(array),
    };
    let misfit = |array: &ArrayRef, row: usize| {
        Error::invalid(format!(
            "value {} does not fit column \"{}\" of type {} in table {}",
            shown(array, row),
            column.name,
            column.sql_type,
            table.display_name()
        ))
    };
    let converted = if *array.data_type() == to {
        Arc::clone(&array)
    } else if !may_assign(array.data_type(), &to) {
        return Err(Error::invalid(format!(
            "a value of type {} cannot go into column \"{}\" of type {} in table {}",
            type_name(array.data_type()),
            column.name,
            column.sql_type,
            table.display_name()
        )));
    } else if to.is_nested() {
        // Elements that do not fit would turn into NULL unseen.
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(&array, &to, &strict).map_err(|error| {
            Error::invalid(format!(
                "a value does not fit column \"{}\" of type {} in table {}: {error}",
                column.name,
                column.sql_type,
                table.display_name()
            ))
        })?
    } else {
        let converted = scalar(&array, &column.sql_type, &to)?;
        if let Some(row) = first_lost(&array, &converted) {
            return Err(misfit(&array, row));
        }
        converted
    };
    match first_refused(&converted, &column.sql_type) {
        Some(row) => Err(misfit(&converted, row)),
        None => Ok(converted),
    }
}

/// Casts scalars; what does not fit becomes NULL.
fn scalar(array: &ArrayRef, sql_type: &SqlType, to: &DataType) -> Result<ArrayRef> {
    let from = array.data_type();
    Ok(match (from, sql_type) {
        (from, SqlType::Uuid) if is_text(from) => uuid::from_texts(array)?,
        (_, SqlType::Uuid) => cast(&cast(array, &DataType::Binary)?, to)?,
        (DataType::FixedSizeBinary(16), SqlType::Text(_)) => uuid::to_texts(array),
        (DataType::FixedSizeBinary(_), _) => cast(&cast(array, &DataType::Binary)?, to)?,
        (DataType::Float16 | DataType::Float32, _) if to.is_integer() => {
            let array = cast(array, &DataType::Float32)?;
            let rounded: PrimitiveArray<Float32Type> =
                array.as_primitive::<Float32Type>().unary(f32::round);
            cast(&rounded, to)?
        }
        (DataType::Float64, _) if to.is_integer() => {
            let rounded: PrimitiveArray<Float64Type> =
                array.as_primitive::<Float64Type>().unary(f64::round);
            cast(&rounded, to)?
        }
        (from, _) if from.is_decimal() && to.is_integer() => {
            cast(&cast(array, &DataType::Decimal128(38, 0))?, to)?
        }
        _ => cast(array, to)?,
    })
}

/// The first value that the cast lost.
fn first_lost(before: &ArrayRef, after: &ArrayRef) -> Option<usize> {
    if before.null_count() == after.null_count() {
        return None;
    }
    (0..after.len()).find(|&row| after.is_null(row) && before.is_valid(row))
}

/// The first value that the type refuses though its bytes would fit.
fn first_refused(array: &ArrayRef, sql_type: &SqlType) -> Option<usize> {
    let texts = || array.as_string_view().iter().enumerate();
    match sql_type {
        SqlType::Text(Some(length)) => {
            let length = usize::try_from(*length).unwrap_or(usize::MAX);
            let too_long = |text: &str| text.len() > length && text.chars().count() > length;
            texts().find(|(_, text)| text.is_some_and(too_long)).map(|(row, _)| row)
        }
        SqlType::Json => {
            let broken = |text: &str| serde_json::from_str::<serde::de::IgnoredAny>(text).is_err();
            texts().find(|(_, text)| text.is_some_and(broken)).map(|(row, _)| row)
        }
        _ => None,
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

/// Whether a value of one type may be assigned to a column of the other.
fn may_assign(from: &DataType, to: &DataType) -> bool {
    use DataType::{Boolean, Date32, Date64, Duration, Interval, Time32, Time64, Timestamp};
    if is_text(from) || is_text(to) {
        return !from.is_nested() && !to.is_nested();
    }
    match (from, to) {
        (Boolean, to) => to.is_integer(),
        (from, Boolean) => from.is_integer(),
        (from, to) if from.is_numeric() => to.is_numeric(),
        (from, to) if is_binary(from) => is_binary(to),
        (Date32 | Date64, Date32 | Timestamp(..)) => true,
        (Timestamp(..), Date32 | Time64(_) | Timestamp(..)) => true,
        (Time32(_) | Time64(_), Time64(_)) => true,
        (Interval(_) | Duration(_), Interval(_)) => true,
        (from, to) => from.is_nested() && to.is_nested(),
    }
}

fn type_name(data_type: &DataType) -> String {
    SqlType::from_arrow(data_type).map_or_else(|_| data_type.to_string(), |name| name.to_string())
}

/// A value as a message shows it: texts quoted, long ones cut.
pub(crate) fn shown(array: &ArrayRef, row: usize) -> String {
    let text = plain(array, row);
    if is_text(array.data_type()) && array.is_valid(row) { format!("'{text}'") } else { text }
}

/// A value as a message shows it among others: long texts cut.
pub(crate) fn plain(array: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::new().with_null("NULL");
    let mut text = match ArrayFormatter::try_new(array, &options) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(_) => "?".to_owned(),
    };
    if let Some((end, _)) = text.char_indices().nth(SHOWN_CHARS_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float64Array, Int64Array, StringArray};
    use silt_storage::TreeId;

    use super::*;

    fn table(sql_type: &str) -> TableDef {
        let column = ColumnDef {
            id: 1,
            name: "c".to_owned(),
            sql_type: sql_type.parse().unwrap(),
            not_null: false,
            default: None,
        };
        TableDef {
            id: 1,
            namespace: "main".to_owned(),
            name: "t".to_owned(),
            tree: TreeId(2),
            schema_version: 1,
            columns: vec![column],
            primary_key: vec![],
        }
    }

    fn try_assign(sql_type: &str, array: impl Array + 'static) -> Result<Vec<String>> {
        let table = table(sql_type);
        let array = assign(&table, &table.columns[0], &(Arc::new(array) as ArrayRef))?;
        Ok((0..array.len()).map(|row| plain(&array, row)).collect())
    }

    #[test]
    fn what_fits_is_converted() {
        assert_eq!(
            try_assign("TINYINT", Int64Array::from(vec![Some(-128), None])).unwrap(),
            ["-128", "NULL"]
        );
        assert_eq!(
            try_assign("INTEGER", Float64Array::from(vec![1.5, -2.5])).unwrap(),
            ["2", "-3"]
        );
        assert_eq!(try_assign("DECIMAL(5,2)", StringArray::from(vec!["1.005"])).unwrap(), ["1.01"]);
        assert_eq!(
            try_assign("DATE", StringArray::from(vec!["2026-11-20"])).unwrap(),
            ["2026-11-20"]
        );
        assert_eq!(
            try_assign("UUID", StringArray::from(vec!["550E8400-e29b-41d4-a716-446655440000"]))
                .unwrap(),
            ["550e8400e29b41d4a716446655440000"]
        );
        assert_eq!(try_assign("VARCHAR(2)", StringArray::from(vec!["äö"])).unwrap(), ["äö"]);
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_column() {
        for (sql_type, array, message) in [
            (
                "TINYINT",
                Arc::new(Int64Array::from(vec![1, 300])) as ArrayRef,
                "value 300 does not fit column \"c\" of type TINYINT in table t",
            ),
            (
                "INTEGER",
                Arc::new(StringArray::from(vec!["x"])),
                "value 'x' does not fit column \"c\" of type INTEGER in table t",
            ),
            (
                "DECIMAL(3,2)",
                Arc::new(StringArray::from(vec!["10"])),
                "value '10' does not fit column \"c\" of type DECIMAL(3,2) in table t",
            ),
            (
                "VARCHAR(2)",
                Arc::new(StringArray::from(vec!["abc"])),
                "value 'abc' does not fit column \"c\" of type VARCHAR(2) in table t",
            ),
            (
                "JSON",
                Arc::new(StringArray::from(vec!["{\"a\":1}", "{a"])),
                "value '{a' does not fit column \"c\" of type JSON in table t",
            ),
            (
                "UUID",
                Arc::new(StringArray::from(vec!["12"])),
                "value '12' does not fit column \"c\" of type UUID in table t",
            ),
            (
                "TIMESTAMP",
                Arc::new(Int64Array::from(vec![1])),
                "a value of type BIGINT cannot go into column \"c\" of type TIMESTAMP in table t",
            ),
            (
                "INTEGER",
                Arc::new(Float64Array::from(vec![f64::NAN])),
                "value NaN does not fit column \"c\" of type INTEGER in table t",
            ),
        ] {
            let table = table(sql_type);
            let error = assign(&table, &table.columns[0], &array).unwrap_err();
            assert_eq!(error.message(), message);
        }
    }
}
