//! Questions about names, answered from the catalog: SHOW TABLES, SHOW SCHEMAS, SHOW COLUMNS,
//! DESCRIBE.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::sql::sqlparser::ast::{
    ObjectName, ShowStatementFilter, ShowStatementFilterPosition, ShowStatementIn,
    ShowStatementOptions, Statement,
};
use silt_catalog::TableDef;

use crate::dml::{fold, table_reference};
use crate::planner::Binding;
use crate::{Error, ErrorKind, Result};

/// The answer; none for other statements.
pub(crate) fn answer(binding: &Binding, statement: &Statement) -> Result<Option<RecordBatch>> {
    match statement {
        Statement::ShowTables { terse, history, extended, full, external, show_options } => {
            refuse(
                *terse || *history || *extended || *full || *external,
                "an option of SHOW TABLES",
            )?;
            let (place, like) = options(show_options)?;
            show_tables(binding, place, like).map(Some)
        }
        Statement::ShowSchemas { terse, history, show_options } => {
            refuse(*terse || *history, "an option of SHOW SCHEMAS")?;
            let (place, like) = options(show_options)?;
            refuse(place.is_some(), "SHOW SCHEMAS IN")?;
            let names = binding
                .names
                .namespaces()
                .filter(|name| like.as_ref().is_none_or(|like| like.matches(name)));
            batch(vec![("schema", texts(names))]).map(Some)
        }
        Statement::ShowColumns { extended, full, show_options } => {
            refuse(*extended || *full, "an option of SHOW COLUMNS")?;
            let (place, like) = options(show_options)?;
            let table = place.ok_or_else(|| Error::invalid("SHOW COLUMNS names no table"))?;
            describe(binding.table(&table_reference(table)?)?, like).map(Some)
        }
        Statement::ExplainTable { hive_format, table_name, .. } => {
            refuse(hive_format.is_some(), "an option of DESCRIBE")?;
            describe(binding.table(&table_reference(table_name)?)?, None).map(Some)
        }
        _ => Ok(None),
    }
}

fn refuse(present: bool, what: &str) -> Result<()> {
    if present { Err(Error::unsupported(what)) } else { Ok(()) }
}

/// The table or schema that a SHOW is about, and its LIKE.
fn options(options: &ShowStatementOptions) -> Result<(Option<&ObjectName>, Option<Like>)> {
    let ShowStatementOptions { show_in, starts_with, limit, limit_from, filter_position } = options;
    refuse(starts_with.is_some(), "STARTS WITH")?;
    refuse(limit.is_some() || limit_from.is_some(), "SHOW with LIMIT")?;
    let place = match show_in {
        None => None,
        Some(ShowStatementIn { parent_name: Some(name), parent_type: None, .. }) => Some(name),
        Some(_) => return Err(Error::unsupported("SHOW IN a kind of object")),
    };
    let filter = match filter_position {
        None => None,
        Some(
            ShowStatementFilterPosition::Infix(filter)
            | ShowStatementFilterPosition::Suffix(filter),
        ) => Some(filter),
    };
    let like = match filter {
        None => None,
        Some(ShowStatementFilter::Like(pattern)) => Some(Like(pattern.clone())),
        Some(ShowStatementFilter::ILike(pattern)) => Some(Like(pattern.to_lowercase())),
        Some(_) => return Err(Error::unsupported("SHOW with WHERE")),
    };
    Ok((place, like))
}

/// A pattern with `%` and `_`.
struct Like(String);

impl Like {
    fn matches(&self, name: &str) -> bool {
        let (pattern, name): (Vec<char>, Vec<char>) =
            (self.0.chars().collect(), name.chars().collect());
        // `matched[i]`: the pattern so far matches the first i characters.
        let mut matched = vec![false; name.len() + 1];
        matched[0] = true;
        for part in pattern {
            if part == '%' {
                for i in 1..=name.len() {
                    matched[i] |= matched[i - 1];
                }
                continue;
            }
            for i in (1..=name.len()).rev() {
                matched[i] = matched[i - 1] && (part == '_' || part == name[i - 1]);
            }
            matched[0] = false;
        }
        matched[name.len()]
    }
}

fn show_tables(
    binding: &Binding,
    namespace: Option<&ObjectName>,
    like: Option<Like>,
) -> Result<RecordBatch> {
    let namespace = match namespace.map(|name| name.0.as_slice()) {
        None => None,
        Some([part]) => part.as_ident().map(fold),
        Some(_) => return Err(Error::invalid("a schema has a name of one part")),
    };
    if let Some(name) = &namespace
        && !binding.names.has_namespace(name)
    {
        let message = format!("schema \"{name}\" does not exist");
        return Err(Error::new(ErrorKind::NotFound, message).about(name));
    }
    let tables: Vec<&Arc<TableDef>> = binding
        .names
        .tables()
        .filter(|table| namespace.as_ref().is_none_or(|name| table.namespace == *name))
        .filter(|table| like.as_ref().is_none_or(|like| like.matches(&table.name)))
        .collect();
    batch(vec![
        ("schema", texts(tables.iter().map(|table| table.namespace.as_str()))),
        ("name", texts(tables.iter().map(|table| table.name.as_str()))),
    ])
}

fn describe(table: &TableDef, like: Option<Like>) -> Result<RecordBatch> {
    let columns: Vec<_> = table
        .columns
        .iter()
        .filter(|column| like.as_ref().is_none_or(|like| like.matches(&column.name)))
        .collect();
    let key = |id| table.primary_key.iter().position(|key| key.id == id);
    let key = columns.iter().map(|column| {
        key(column.id).map(|place| {
            let descending = if table.primary_key[place].descending { " DESC" } else { "" };
            format!("{}{descending}", place + 1)
        })
    });
    let types: Vec<String> = columns.iter().map(|column| column.sql_type.to_string()).collect();
    let nullable: BooleanArray = columns.iter().map(|column| Some(!column.not_null)).collect();
    batch(vec![
        ("column", texts(columns.iter().map(|column| column.name.as_str()))),
        ("type", texts(types.iter().map(String::as_str))),
        ("nullable", Arc::new(nullable)),
        ("key", Arc::new(key.collect::<StringArray>())),
        (
            "default",
            Arc::new(
                columns.iter().map(|column| column.default.as_deref()).collect::<StringArray>(),
            ),
        ),
    ])
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    let field = |(name, array): &(&str, ArrayRef)| {
        Field::new(*name, array.data_type().clone(), array.data_type() == &DataType::Utf8)
    };
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    Ok(RecordBatch::try_new(Arc::new(schema), arrays)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_knows_any_text_and_any_character() {
        for (pattern, name, matches) in [
            ("%", "", true),
            ("a%", "abc", true),
            ("%c", "abc", true),
            ("a_c", "abc", true),
            ("a_", "abc", false),
            ("%b%", "abc", true),
            ("b", "abc", false),
        ] {
            assert_eq!(Like(pattern.to_owned()).matches(name), matches, "{pattern} {name}");
        }
    }
}
