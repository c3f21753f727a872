//! Columns from a sample: names as they stand, and of each the narrowest type that holds all of the
//! sample's values.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};

use crate::column::inferred_type;
use crate::error::{Error, Result};
use crate::options::{Matching, Target};
use crate::values::Class;
use crate::views::text_as_views;

/// A schema of inferred columns, all of them nullable. Empty names become `columnN`; a name that is
/// taken, letter case apart, gets `_2`, `_3`, ... behind it.
pub(crate) fn schema(columns: impl IntoIterator<Item = (String, Class)>) -> SchemaRef {
    let mut taken = HashSet::new();
    let mut fields = Vec::new();
    for (index, (name, class)) in columns.into_iter().enumerate() {
        let name = if name.is_empty() { format!("column{}", index + 1) } else { name };
        let mut unique = name.clone();
        let mut number = 2;
        while !taken.insert(unique.to_lowercase()) {
            unique = format!("{name}_{number}");
            number += 1;
        }
        fields.push(Field::new(unique, inferred_type(class), true));
    }
    Arc::new(Schema::new(fields))
}

/// The target's columns among those the file names, and where in the file each one stands.
pub(crate) fn matched(names: &[String], target: &Target) -> Result<(SchemaRef, Vec<usize>)> {
    let fields = target.schema.fields();
    if target.matching == Matching::Position {
        if names.len() != fields.len() {
            return Err(Error::invalid(format!(
                "the file has {} columns where {} are expected",
                names.len(),
                fields.len()
            )));
        }
        return Ok((text_as_views(&target.schema, 0..fields.len()), (0..fields.len()).collect()));
    }
    let mut found = vec![None; fields.len()];
    for (position, name) in names.iter().enumerate() {
        let exact = fields.iter().position(|field| field.name() == name);
        let loose = || fields.iter().position(|field| field.name().eq_ignore_ascii_case(name));
        let Some(column) = exact.or_else(loose) else {
            let columns: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            return Err(Error::invalid(format!(
                "the file's column {name:?} is none of the target's: {}",
                columns.join(", ")
            )));
        };
        if found[column].replace(position).is_some() {
            return Err(Error::invalid(format!("the file has two columns for {name:?}")));
        }
    }
    let columns = (0..fields.len()).filter(|column| found[*column].is_some());
    let schema = text_as_views(&target.schema, columns);
    Ok((schema, found.into_iter().flatten().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_unique_and_none_is_empty() {
        let names = ["a", "", "A", "a", "a_2"].map(|name| (name.to_owned(), Class::Null));
        let schema = schema(names);
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["a", "column2", "A_2", "a_3", "a_2_2"]);
    }
}
