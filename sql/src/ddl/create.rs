//! CREATE TABLE, with and without AS: from its tree to a [`TableDef`].

use std::sync::LazyLock;

use datafusion::common::{DFSchema, TableReference};
use datafusion::logical_expr::{Expr as PlanExpr, LogicalPlan};
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext};
use datafusion::sql::sqlparser::ast::{
    ColumnDef as ColumnTree, ColumnOption, CreateTable, DataType, Expr, OrderByExpr,
    PrimaryKeyConstraint, Statement, TableConstraint,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use silt_catalog::{ColumnDef, KeyColumn, SqlType, TableDef, did_you_mean};
use silt_storage::TreeId;

use super::Ddl;
use crate::dml::{cast, distinct_output, fold, table_reference};
use crate::parse::position;
use crate::planner::Planner;
use crate::{Error, ErrorKind, Result};

/// Reads CREATE TABLE without a query.
pub(crate) fn read_create(planner: &Planner<'_>, create: CreateTable) -> Result<Ddl> {
    let if_not_exists = create.if_not_exists;
    let table = define(planner, &create, None)?;
    Ok(Ddl::CreateTable { table, if_not_exists })
}

/// Reads CREATE TABLE AS: the table, and the plan of its rows.
pub(crate) fn plan_create(
    planner: &Planner<'_>,
    mut create: CreateTable,
) -> Result<(TableDef, bool, LogicalPlan)> {
    let mut query =
        create.query.take().ok_or_else(|| Error::internal("no query to create from"))?;
    distinct_output(&mut query);
    let plan = planner.query(*query)?;
    let table = define(planner, &create, Some(plan.schema()))?;
    Ok((table, create.if_not_exists, plan))
}

fn define(
    planner: &Planner<'_>,
    create: &CreateTable,
    source: Option<&DFSchema>,
) -> Result<TableDef> {
    refuse_options(create)?;
    let (namespace, name) = planner.binding.qualify(&table_reference(&create.name)?)?;
    let mut columns = Vec::new();
    let mut key: Vec<(String, bool)> = Vec::new();
    for (tree, id) in create.columns.iter().zip(1..) {
        let given = match source {
            Some(source) => Some(source.fields().get(columns.len()).ok_or_else(|| {
                Error::invalid(format!(
                    "CREATE TABLE names {} columns but its query gives {}",
                    create.columns.len(),
                    source.fields().len()
                ))
            })?),
            None => None,
        };
        let sql_type = match (&tree.data_type, given) {
            (DataType::Unspecified, Some(field)) => SqlType::from_arrow(field.data_type())?,
            (DataType::Unspecified, None) => {
                return Err(Error::invalid(format!("column \"{}\" has no type", fold(&tree.name)))
                    .at(position(tree.name.span.start)));
            }
            (data_type, _) => data_type
                .to_string()
                .parse()
                .map_err(|error| Error::from(error).at(position(tree.name.span.start)))?,
        };
        let (column, key_part) = column(planner, tree, sql_type, id)?;
        if let Some(descending) = key_part {
            if !key.is_empty() {
                return Err(two_keys());
            }
            key.push((column.name.clone(), descending));
        }
        columns.push(column);
    }
    if let Some(source) = source {
        if create.columns.is_empty() {
            for (field, id) in source.fields().iter().zip(1..) {
                columns.push(ColumnDef {
                    id,
                    name: field.name().clone(),
                    sql_type: SqlType::from_arrow(field.data_type())?,
                    not_null: false,
                    default: None,
                });
            }
        } else if columns.len() != source.fields().len() {
            return Err(Error::invalid(format!(
                "CREATE TABLE names {} columns but its query gives {}",
                columns.len(),
                source.fields().len()
            )));
        }
    }
    for constraint in &create.constraints {
        let TableConstraint::PrimaryKey(constraint) = constraint else {
            return Err(Error::unsupported(constraint_name(constraint)));
        };
        if !key.is_empty() {
            return Err(two_keys());
        }
        key = key_columns(constraint)?;
    }
    let primary_key = make_key(&name, &mut columns, &key)?;
    let table = TableDef {
        id: 0,
        namespace,
        name,
        tree: TreeId(0),
        schema_version: 1,
        columns,
        primary_key,
    };
    table.validate()?;
    check_defaults(planner, &table)?;
    Ok(table)
}

/// The key's columns are NOT NULL, said or not.
pub(super) fn make_key(
    table: &str,
    columns: &mut [ColumnDef],
    key: &[(String, bool)],
) -> Result<Vec<KeyColumn>> {
    let mut primary_key = Vec::with_capacity(key.len());
    for (name, descending) in key {
        let Some(index) = columns.iter().position(|column| column.name == *name) else {
            let names = columns.iter().map(|column| column.name.as_str());
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("column \"{name}\" of the primary key does not exist in table \"{table}\""),
            )
            .with_hint(did_you_mean(name, names))
            .about(name));
        };
        columns[index].not_null = true;
        primary_key.push(KeyColumn { id: columns[index].id, descending: *descending });
    }
    Ok(primary_key)
}

fn two_keys() -> Error {
    Error::invalid("a table has one primary key")
        .with_hint(Some("name its columns together: PRIMARY KEY (a, b)".to_owned()))
}

/// Refuses everything that is not name, columns, constraints, IF NOT EXISTS or a query.
fn refuse_options(create: &CreateTable) -> Result<()> {
    static PLAIN: LazyLock<Option<CreateTable>> = LazyLock::new(|| {
        match Parser::parse_sql(&GenericDialect {}, "CREATE TABLE t (a INT)").ok()?.pop()? {
            Statement::CreateTable(plain) => Some(plain),
            _ => None,
        }
    });
    for (present, what) in [
        (create.or_replace, "CREATE OR REPLACE TABLE"),
        (create.temporary, "CREATE TEMPORARY TABLE"),
        (create.external, "CREATE EXTERNAL TABLE"),
        (create.like.is_some(), "CREATE TABLE LIKE"),
        (create.clone.is_some(), "CREATE TABLE CLONE"),
        (create.without_rowid, "WITHOUT ROWID"),
        (create.strict, "STRICT"),
        (create.partition_by.is_some(), "PARTITION BY"),
        (create.order_by.is_some(), "ORDER BY of a table"),
        (create.comment.is_some(), "COMMENT of a table"),
        (create.inherits.is_some(), "INHERITS"),
        (create.on_commit.is_some(), "ON COMMIT"),
    ] {
        if present {
            return Err(Error::unsupported(what));
        }
    }
    let mut plain = PLAIN.clone().ok_or_else(|| Error::internal("CREATE TABLE does not parse"))?;
    plain.name = create.name.clone();
    plain.columns = create.columns.clone();
    plain.constraints = create.constraints.clone();
    plain.if_not_exists = create.if_not_exists;
    plain.query = create.query.clone();
    if plain == *create { Ok(()) } else { Err(Error::unsupported("an option of CREATE TABLE")) }
}

/// The column, and whether it alone is the key (and descending).
fn column(
    planner: &Planner<'_>,
    tree: &ColumnTree,
    sql_type: SqlType,
    id: u32,
) -> Result<(ColumnDef, Option<bool>)> {
    let name = fold(&tree.name);
    let mut column = ColumnDef { id, name, sql_type, not_null: false, default: None };
    let mut nullable = false;
    let mut key = None;
    let refused = |what: String| Err(Error::unsupported(what).at(position(tree.name.span.start)));
    for option in &tree.options {
        if option.name.is_some() {
            return refused("a name for a constraint".to_owned());
        }
        match &option.option {
            ColumnOption::Null => nullable = true,
            ColumnOption::NotNull => column.not_null = true,
            ColumnOption::Default(expr) => {
                // Read here so that an error has its place; kept as text.
                planner.expr(expr.clone(), &DFSchema::empty())?;
                column.default = Some(expr.to_string());
            }
            ColumnOption::PrimaryKey(constraint) => {
                refuse_key_options(constraint)?;
                key = Some(false);
            }
            ColumnOption::DialectSpecific(tokens) => {
                let words: Vec<String> = tokens.iter().map(ToString::to_string).collect();
                let words = words.join(" ").to_uppercase();
                match (words.as_str(), &mut key) {
                    ("ASC", Some(_)) => {}
                    ("DESC", Some(descending)) => *descending = true,
                    _ => return refused(words),
                }
            }
            ColumnOption::Unique(_) => return refused("UNIQUE".to_owned()),
            ColumnOption::ForeignKey(_) => return refused("REFERENCES".to_owned()),
            ColumnOption::Check(_) => return refused("CHECK".to_owned()),
            ColumnOption::Generated { .. } => return refused("GENERATED".to_owned()),
            ColumnOption::Identity(_) => return refused("IDENTITY".to_owned()),
            ColumnOption::Collation(_) => return refused("COLLATE".to_owned()),
            ColumnOption::CharacterSet(_) => return refused("CHARACTER SET".to_owned()),
            ColumnOption::Comment(_) => return refused("COMMENT of a column".to_owned()),
            ColumnOption::OnUpdate(_) => return refused("ON UPDATE".to_owned()),
            ColumnOption::OnConflict(_) => return refused("ON CONFLICT of a column".to_owned()),
            other => return refused(other.to_string()),
        }
    }
    if nullable && (column.not_null || key.is_some()) {
        return Err(Error::invalid(format!(
            "column \"{}\" is both NULL and NOT NULL",
            column.name
        )));
    }
    Ok((column, key))
}

fn constraint_name(constraint: &TableConstraint) -> String {
    match constraint {
        TableConstraint::Unique(_) => "UNIQUE".to_owned(),
        TableConstraint::ForeignKey(_) => "FOREIGN KEY".to_owned(),
        TableConstraint::Check(_) => "CHECK".to_owned(),
        other => other.to_string(),
    }
}

fn refuse_key_options(constraint: &PrimaryKeyConstraint) -> Result<()> {
    for (present, what) in [
        (constraint.name.is_some(), "a name for a constraint"),
        (constraint.index_name.is_some(), "a name for an index"),
        (constraint.index_type.is_some(), "USING of a primary key"),
        (!constraint.index_options.is_empty(), "an option of PRIMARY KEY"),
        (constraint.characteristics.is_some(), "DEFERRABLE"),
    ] {
        if present {
            return Err(Error::unsupported(what));
        }
    }
    Ok(())
}

fn key_columns(constraint: &PrimaryKeyConstraint) -> Result<Vec<(String, bool)>> {
    refuse_key_options(constraint)?;
    let mut key = Vec::with_capacity(constraint.columns.len());
    for column in &constraint.columns {
        let OrderByExpr { expr, options, with_fill } = &column.column;
        let Expr::Identifier(name) = expr else {
            return Err(Error::unsupported("an expression in a primary key"));
        };
        if with_fill.is_some() || column.operator_class.is_some() || options.nulls_first.is_some() {
            return Err(Error::unsupported("an option of a primary key's column"));
        }
        key.push((fold(name), options.asc == Some(false)));
    }
    Ok(key)
}

/// A DEFAULT that is a constant fits its column, or the table is not made.
fn check_defaults(planner: &Planner<'_>, table: &TableDef) -> Result<()> {
    let empty = DFSchema::empty();
    for column in &table.columns {
        let Some(text) = &column.default else { continue };
        let expr = planner.expr(crate::dml::parse_expr(text)?, &empty)?;
        let context = SimplifyContext::builder()
            .with_config_options(std::sync::Arc::clone(planner.state.config_options()))
            .build();
        let simplifier = ExprSimplifier::new(context);
        let expr = simplifier.simplify(simplifier.coerce(expr, &empty)?)?;
        if let PlanExpr::Literal(value, _) = expr
            && !value.is_null()
        {
            cast::assign(table, column, &value.to_array()?)?;
        }
    }
    Ok(())
}

/// The table that rows of a schema make, for ingest.
pub(crate) fn table_of(
    planner: &Planner<'_>,
    reference: &TableReference,
    schema: &datafusion::arrow::datatypes::Schema,
    key: &[String],
) -> Result<TableDef> {
    let (namespace, name) = planner.binding.qualify(reference)?;
    let column = |(field, id): (&std::sync::Arc<datafusion::arrow::datatypes::Field>, u32)| {
        Ok(ColumnDef {
            id,
            name: field.name().clone(),
            sql_type: SqlType::from_arrow(field.data_type())?,
            not_null: false,
            default: None,
        })
    };
    let mut columns = schema.fields().iter().zip(1..).map(column).collect::<Result<Vec<_>>>()?;
    let key: Vec<_> = key.iter().map(|name| (name.clone(), false)).collect();
    let primary_key = make_key(&name, &mut columns, &key)?;
    let table = TableDef {
        id: 0,
        namespace,
        name,
        tree: TreeId(0),
        schema_version: 1,
        columns,
        primary_key,
    };
    table.validate()?;
    Ok(table)
}
