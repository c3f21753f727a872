//! Names and small pieces of a statement's tree, as DML and DDL read and make them.

use std::collections::HashMap;
use std::sync::LazyLock;

use datafusion::common::TableReference;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr, Spanned,
    Statement, TableAlias, TableFactor, TableWithJoins, With,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use silt_catalog::{ROWID_NAME, TableDef};

use crate::parse::position;
use crate::planner::{Binding, WITH_ROWID};
use crate::{Error, Result};

/// A name as the catalog has it: unquoted ones in lower case.
pub(crate) fn fold(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// A name that no folding changes.
pub(super) fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

/// The table that a name means.
pub(crate) fn table_reference(name: &ObjectName) -> Result<TableReference> {
    object_name_to_table_reference(name.clone(), true).map_err(|_| {
        Error::invalid(format!("\"{name}\" is not the name of a table"))
            .at(position(name.span().start))
    })
}

/// The column that the target of an assignment means, with or without its table's name.
pub(crate) fn column_name(name: &ObjectName) -> Result<String> {
    match name.0.last() {
        Some(ObjectNamePart::Identifier(ident)) if name.0.len() <= 2 => Ok(fold(ident)),
        _ => Err(Error::invalid(format!("\"{name}\" is not the name of a column"))
            .at(position(name.span().start))),
    }
}

/// Whether an expression is the word DEFAULT.
pub(super) fn is_default(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(ident)
        if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// The DEFAULT of a column as a tree; NULL if it has none.
pub(super) fn default_expr(table: &TableDef, index: usize) -> Result<Expr> {
    let text = table.columns[index].default.as_deref().unwrap_or("NULL");
    parse_expr(text)
}

/// Reads an expression that the catalog keeps as text.
pub(crate) fn parse_expr(text: &str) -> Result<Expr> {
    let dialect = GenericDialect {};
    Parser::new(&dialect).try_with_sql(text).and_then(|mut parser| parser.parse_expr()).map_err(
        |error| Error::internal(format!("cannot read the stored expression {text}: {error}")),
    )
}

/// The table that UPDATE or DELETE changes: how the rewritten SELECT names it.
pub(super) struct Target {
    /// The table, under the name that the statement's expressions use.
    pub(super) relation: TableWithJoins,
    /// That name.
    name: Ident,
}

impl Target {
    pub(super) fn new(
        relation: &TableWithJoins,
        table: &TableDef,
        statement: &'static str,
    ) -> Result<Self> {
        if !relation.joins.is_empty() {
            return Err(Error::unsupported(format!("{statement} with JOIN")));
        }
        let TableFactor::Table { name, alias, .. } = &relation.relation else {
            return Err(Error::unsupported(format!("{statement} of anything but a table")));
        };
        if let Some(alias) = alias
            && !alias.columns.is_empty()
        {
            return Err(Error::unsupported(format!("{statement} with names for columns")));
        }
        let own = match name.0.last() {
            Some(ObjectNamePart::Identifier(ident)) => ident.clone(),
            _ => quoted(&table.name),
        };
        let shown = alias.as_ref().map_or(own, |alias| alias.name.clone());
        let mut relation = relation.clone();
        if table.has_rowid()
            && let TableFactor::Table { name, alias, .. } = &mut relation.relation
        {
            let parts = [WITH_ROWID, &table.namespace, &table.name];
            *name = ObjectName::from(parts.map(quoted).to_vec());
            *alias = Some(TableAlias {
                explicit: true,
                name: shown.clone(),
                columns: Vec::new(),
                at: None,
            });
        }
        Ok(Self { relation, name: shown })
    }

    /// A column of the target as it was.
    pub(super) fn column(&self, name: &str) -> Expr {
        Expr::CompoundIdentifier(vec![self.name.clone(), quoted(name)])
    }

    /// The key's columns as they were, named so that nothing else is.
    pub(super) fn key(&self, table: &TableDef) -> Vec<SelectItem> {
        let names: Vec<&str> = if table.has_rowid() {
            vec![ROWID_NAME]
        } else {
            table
                .key_indices()
                .into_iter()
                .map(|index| table.columns[index].name.as_str())
                .collect()
        };
        let item = |(index, name): (usize, &&str)| output(self.column(name), "key", index);
        names.iter().enumerate().map(item).collect()
    }
}

/// An item of a SELECT list under a name of ours.
pub(super) fn output(expr: Expr, kind: &str, index: usize) -> SelectItem {
    SelectItem::ExprWithAlias { expr, alias: quoted(&format!("${kind}{index}")) }
}

/// `WITH with SELECT items FROM from WHERE selection`.
pub(super) fn select(
    with: Option<With>,
    items: Vec<SelectItem>,
    from: Vec<TableWithJoins>,
    selection: Option<Expr>,
) -> Result<Query> {
    // The tree of a SELECT has some forty fields; a parsed one has them all as they should be.
    static TEMPLATE: LazyLock<Option<Query>> =
        LazyLock::new(|| match Parser::parse_sql(&GenericDialect {}, "SELECT 1").ok()?.pop()? {
            Statement::Query(query) => Some(*query),
            _ => None,
        });
    let mut query = TEMPLATE.clone().ok_or_else(|| Error::internal("SELECT 1 does not parse"))?;
    let SetExpr::Select(body) = &mut *query.body else {
        return Err(Error::internal("SELECT 1 is no SELECT"));
    };
    let body: &mut Select = body;
    body.projection = items;
    body.from = from;
    body.selection = selection;
    query.with = with;
    Ok(query)
}

/// What a cast casts, which DataFusion names it after.
fn without_casts(mut expr: &Expr) -> &Expr {
    while let Expr::Cast { expr: inner, .. } | Expr::Nested(inner) = expr {
        expr = inner;
    }
    expr
}

/// Names the items of a query's SELECT list apart: DataFusion refuses `SELECT a, a` and
/// `SELECT a, CAST(a AS TEXT)`.
pub(crate) fn distinct_output(query: &mut Query) {
    let mut body = &mut *query.body;
    loop {
        match body {
            SetExpr::Select(select) => {
                let mut seen: HashMap<String, usize> = HashMap::new();
                for item in &mut select.projection {
                    let SelectItem::UnnamedExpr(expr) = item else { continue };
                    let text = match without_casts(expr) {
                        Expr::Identifier(ident) => fold(ident),
                        Expr::CompoundIdentifier(parts) => {
                            parts.iter().map(fold).collect::<Vec<_>>().join(".")
                        }
                        Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => continue,
                        other => other.to_string(),
                    };
                    let count = seen.entry(text.clone()).or_default();
                    *count += 1;
                    if *count > 1 {
                        let alias = quoted(&format!("{text}:{}", *count - 1));
                        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                    }
                }
                return;
            }
            SetExpr::Query(inner) => body = &mut *inner.body,
            // Names come from the first branch.
            SetExpr::SetOperation { left, .. } => body = left,
            _ => return,
        }
    }
}

/// The table definition that a name in a statement means.
pub(crate) fn find_table(binding: &Binding, name: &ObjectName) -> Result<std::sync::Arc<TableDef>> {
    let reference = table_reference(name)?;
    binding.table(&reference).cloned().map_err(|error| error.at(position(name.span().start)))
}
