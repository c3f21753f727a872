//! `UPDATE t SET c = e FROM s WHERE p` is `SELECT t.key, …, e, … FROM t, s WHERE p`: the old key,
//! then every column as it will be. All of it sees the row as it was, so `SET a = b, b = a` swaps.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Expr, Query, TableFactor, Update, UpdateTableFromKind, With,
};
use silt_catalog::TableDef;

use super::names::{Target, column_name, default_expr, find_table, is_default, output, select};
use crate::planner::Binding;
use crate::{Error, ErrorKind, Result};

/// The table, the query of old keys and new rows, and whether keys may change.
pub(crate) fn plan_update(
    binding: &Binding,
    update: Update,
    with: Option<With>,
) -> Result<(Arc<TableDef>, Query, bool)> {
    let Update {
        update_token: _,
        optimizer_hints,
        table: relation,
        assignments,
        from,
        selection,
        returning,
        output: output_clause,
        or,
        order_by,
        limit,
    } = update;
    for (present, what) in [
        (!optimizer_hints.is_empty(), "an optimizer hint"),
        (returning.is_some(), "UPDATE with RETURNING"),
        (output_clause.is_some(), "UPDATE with OUTPUT"),
        (or.is_some(), "UPDATE OR"),
        (!order_by.is_empty(), "UPDATE with ORDER BY"),
        (limit.is_some(), "UPDATE with LIMIT"),
        (matches!(from, Some(UpdateTableFromKind::BeforeSet(_))), "UPDATE with FROM before SET"),
    ] {
        if present {
            return Err(Error::unsupported(what));
        }
    }
    let TableFactor::Table { name, .. } = &relation.relation else {
        return Err(Error::unsupported("UPDATE of anything but a table"));
    };
    let table = find_table(binding, name)?;
    let target = Target::new(&relation, &table, "UPDATE")?;
    let assigned = assigned(&table, assignments)?;
    let moves =
        (0..table.columns.len()).any(|index| assigned[index].is_some() && table.is_key(index));
    let mut items = target.key(&table);
    for (index, (column, value)) in table.columns.iter().zip(assigned).enumerate() {
        let value = value.unwrap_or_else(|| target.column(&column.name));
        items.push(output(value, "new", index));
    }
    let mut from_list = vec![target.relation.clone()];
    if let Some(UpdateTableFromKind::AfterSet(tables)) = from {
        from_list.extend(tables);
    }
    let query = select(with, items, from_list, selection)?;
    Ok((table, query, moves))
}

/// For each column of the table what it is set to.
pub(super) fn assigned(
    table: &TableDef,
    assignments: Vec<Assignment>,
) -> Result<Vec<Option<Expr>>> {
    let mut assigned: Vec<Option<Expr>> = vec![None; table.columns.len()];
    let mut set = |name: &_, value: Expr| -> Result<()> {
        let name = column_name(name)?;
        let index = table.column_index(&name).map_err(|error| Error::from(error).about(&name))?;
        let value = if is_default(&value) { default_expr(table, index)? } else { value };
        match assigned[index].replace(value) {
            None => Ok(()),
            Some(_) => Err(Error::new(
                ErrorKind::Invalid,
                format!("column \"{name}\" is set more than once"),
            )
            .about(&name)),
        }
    };
    for Assignment { target, value } in assignments {
        match (target, value) {
            (AssignmentTarget::ColumnName(name), value) => set(&name, value)?,
            (AssignmentTarget::Tuple(names), Expr::Tuple(values))
                if names.len() == values.len() =>
            {
                for (name, value) in names.iter().zip(values) {
                    set(name, value)?;
                }
            }
            (AssignmentTarget::Tuple(names), Expr::Tuple(values)) => {
                return Err(Error::invalid(format!(
                    "{} columns are set to {} values",
                    names.len(),
                    values.len()
                )));
            }
            (AssignmentTarget::Tuple(_), _) => {
                return Err(Error::unsupported("SET of several columns to one query"));
            }
        }
    }
    Ok(assigned)
}
