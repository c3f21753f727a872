//! `DELETE FROM t USING s WHERE p` is `SELECT t.key FROM t, s WHERE p`, and then the keys go.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{Delete, FromTable, Query, TableFactor, With};
use silt_catalog::TableDef;

use super::names::{Target, find_table, select};
use crate::planner::Binding;
use crate::{Error, Result};

/// The table and the query of its keys to remove.
pub(crate) fn plan_delete(
    binding: &Binding,
    delete: Delete,
    with: Option<With>,
) -> Result<(Arc<TableDef>, Query)> {
    let Delete {
        delete_token: _,
        optimizer_hints,
        tables,
        from,
        using,
        selection,
        returning,
        output,
        order_by,
        limit,
    } = delete;
    for (present, what) in [
        (!optimizer_hints.is_empty(), "an optimizer hint"),
        (!tables.is_empty(), "DELETE from several tables"),
        (returning.is_some(), "DELETE with RETURNING"),
        (output.is_some(), "DELETE with OUTPUT"),
        (!order_by.is_empty(), "DELETE with ORDER BY"),
        (limit.is_some(), "DELETE with LIMIT"),
    ] {
        if present {
            return Err(Error::unsupported(what));
        }
    }
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = from;
    let [relation] = from.as_slice() else {
        return Err(Error::unsupported("DELETE from several tables"));
    };
    let TableFactor::Table { name, .. } = &relation.relation else {
        return Err(Error::unsupported("DELETE of anything but a table"));
    };
    let table = find_table(binding, name)?;
    let target = Target::new(relation, &table, "DELETE")?;
    let mut from = vec![target.relation.clone()];
    from.extend(using.unwrap_or_default());
    let query = select(with, target.key(&table), from, selection)?;
    Ok((table, query))
}
