//! INSERT, INSERT OR REPLACE, INSERT OR IGNORE, REPLACE INTO, and ON CONFLICT.
//!
//! The source is planned as the query it is, under a projection that puts its columns in the
//! table's order and the DEFAULTs where there are none. Casts are the gate's affair, which knows
//! the column to name in an error.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::{DFSchema, TableReference};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr as PlanExpr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext};
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    CastKind, ConflictTarget, DataType, Expr, Insert, OnConflictAction, OnInsert, Parens, Query,
    SetExpr, SqliteOnConflict, TableObject, UnaryOperator, Value, With,
};
use silt_catalog::{SqlType, TableDef};

use super::mutation::OnConflict;
use super::names::{
    column_name, default_expr, distinct_output, find_table, fold, is_default, parse_expr,
};
use super::update::assigned;
use super::upsert::Upsert;
use crate::planner::Planner;
use crate::point::is_steady_expr;
use crate::{Error, ErrorKind, Result, WriteOptions};

/// The name of the new row in ON CONFLICT DO UPDATE.
const EXCLUDED: &str = "excluded";

/// The table, the plan of its new rows with all columns in its order, and what happens to keys
/// that are there.
pub(crate) fn plan_insert(
    planner: &Planner<'_>,
    insert: Insert,
    with: Option<With>,
) -> Result<(Arc<TableDef>, LogicalPlan, OnConflict)> {
    let Opened { table, targets, on_conflict } = open_insert(planner, &insert)?;
    let source = match insert.source {
        None => None,
        Some(mut source) => {
            if with.is_some() {
                source.with = with;
            }
            distinct_output(&mut source);
            if let SetExpr::Values(values) = &mut *source.body {
                prepare_values(&table, &targets, &mut values.rows)?;
            }
            Some(plan_source(planner, *source)?)
        }
    };
    let plan = project(planner, &table, &targets, source)?;
    Ok((table, plan, on_conflict))
}

/// An INSERT without its source.
pub(crate) struct Opened {
    pub(crate) table: Arc<TableDef>,
    /// The table's columns that the source's columns go to, in the source's order.
    pub(crate) targets: Vec<usize>,
    pub(crate) on_conflict: OnConflict,
}

/// What an INSERT says but for its source.
pub(crate) fn open_insert(planner: &Planner<'_>, insert: &Insert) -> Result<Opened> {
    refuse(insert)?;
    let TableObject::TableName(name) = &insert.table else {
        return Err(Error::unsupported("INSERT into a function or query"));
    };
    let table = find_table(planner.binding, name)?;
    let on_conflict = on_conflict(planner, &table, insert)?;
    let targets = targets(&table, insert)?;
    Ok(Opened { table, targets, on_conflict })
}

fn refuse(insert: &Insert) -> Result<()> {
    for (present, what) in [
        (!insert.optimizer_hints.is_empty(), "an optimizer hint"),
        (insert.overwrite, "INSERT OVERWRITE"),
        (!insert.assignments.is_empty(), "INSERT with SET"),
        (insert.partitioned.is_some() || !insert.after_columns.is_empty(), "INSERT with PARTITION"),
        (insert.returning.is_some(), "INSERT with RETURNING"),
        (insert.output.is_some(), "INSERT with OUTPUT"),
        (insert.priority.is_some(), "INSERT with a priority"),
        (insert.insert_alias.is_some(), "INSERT with a name for the new row"),
        (insert.settings.is_some() || insert.format_clause.is_some(), "INSERT with FORMAT"),
        (insert.multi_table_insert_type.is_some(), "INSERT into several tables"),
        (matches!(insert.on, Some(OnInsert::DuplicateKeyUpdate(_))), "ON DUPLICATE KEY UPDATE"),
    ] {
        if present {
            return Err(Error::unsupported(what));
        }
    }
    Ok(())
}

/// The table's columns that the source's columns go to, in the source's order.
fn targets(table: &TableDef, insert: &Insert) -> Result<Vec<usize>> {
    if insert.columns.is_empty() {
        return Ok((0..table.columns.len()).collect());
    }
    let mut targets = Vec::with_capacity(insert.columns.len());
    for name in &insert.columns {
        let name = column_name(name)?;
        let index = table.column_index(&name).map_err(|error| Error::from(error).about(&name))?;
        if targets.contains(&index) {
            return Err(Error::invalid(format!("column \"{name}\" is named twice")).about(&name));
        }
        targets.push(index);
    }
    Ok(targets)
}

/// Puts DEFAULTs into VALUES, and makes texts of numbers where that keeps them: in decimal
/// columns, whose digits would pass through a float, and beside texts, which DataFusion would turn
/// into numbers; beside texts other values are cast to text, since DataFusion wants one type. The
/// gate reads them as what the column holds.
fn prepare_values(
    table: &TableDef,
    targets: &[usize],
    rows: &mut [Parens<Vec<Expr>>],
) -> Result<()> {
    let is_decimal = |place: usize| {
        let sql_type = &table.columns[targets[place]].sql_type;
        matches!(sql_type, SqlType::Decimal(..))
    };
    let is_inexact = |place: usize, digits: &str| {
        is_decimal(place) && (digits.contains('.') || digits.len() > 18)
    };
    // Or will have one: all cells of a column are made of one type.
    let mut has_text = vec![false; targets.len()];
    for row in rows.iter_mut() {
        if row.len() != targets.len() {
            return Err(count_mismatch(targets.len(), row.len()));
        }
        for (place, expr) in row.iter_mut().enumerate() {
            if is_default(expr) {
                *expr = default_expr(table, targets[place])?;
            }
            has_text[place] |= matches!(expr, Expr::Value(value)
                if matches!(value.value, Value::SingleQuotedString(_)))
                || number(expr).is_some_and(|digits| is_inexact(place, &digits));
        }
    }
    for row in rows {
        for (place, expr) in row.iter_mut().enumerate() {
            let sql_type = &table.columns[targets[place]].sql_type;
            let reads_text = *sql_type != SqlType::Blob && !sql_type.arrow().is_nested();
            match number(expr) {
                Some(digits) if has_text[place] => {
                    *expr = Expr::Value(Value::SingleQuotedString(digits).into());
                }
                None if has_text[place] && !is_literal(expr) && reads_text => *expr = text(expr),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whether an expression is a text or NULL as it stands.
fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value)
        if matches!(value.value, Value::SingleQuotedString(_) | Value::Null))
}

/// `CAST(expr AS TEXT)`.
fn text(expr: &Expr) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr.clone()),
        data_type: DataType::Text,
        array: false,
        format: None,
    }
}

/// The text of a number.
fn number(expr: &Expr) -> Option<String> {
    match expr {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            number(expr).map(|digits| format!("-{digits}"))
        }
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => Some(text.to_string()),
            _ => None,
        },
        _ => None,
    }
}

fn plan_source(planner: &Planner<'_>, source: Query) -> Result<LogicalPlan> {
    match &*source.body {
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
            Err(Error::unsupported("INSERT from a change of rows"))
        }
        _ => planner.query(source),
    }
}

fn count_mismatch(columns: usize, values: usize) -> Error {
    let plural = |count: usize, what: &str| {
        if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
    };
    Error::invalid(format!(
        "INSERT names {} but gives {}",
        plural(columns, "column"),
        plural(values, "value")
    ))
}

fn project(
    planner: &Planner<'_>,
    table: &TableDef,
    targets: &[usize],
    source: Option<LogicalPlan>,
) -> Result<LogicalPlan> {
    let source = match source {
        Some(source) => {
            let given = source.schema().fields().len();
            if given != targets.len() {
                return Err(count_mismatch(targets.len(), given));
            }
            Some(source)
        }
        None => None,
    };
    let empty = DFSchema::empty();
    let mut exprs = Vec::with_capacity(table.columns.len());
    for (index, column) in table.columns.iter().enumerate() {
        let place = targets.iter().position(|&target| target == index);
        let expr = match (&source, place) {
            (Some(source), Some(place)) => {
                PlanExpr::Column(source.schema().qualified_field(place).into())
            }
            _ => match &column.default {
                Some(text) => planner.expr(parse_expr(text)?, &empty)?,
                None => lit(ScalarValue::Null),
            },
        };
        exprs.push(expr.alias(format!("${index}")));
    }
    let builder = match source {
        Some(source) => LogicalPlanBuilder::from(source),
        None => LogicalPlanBuilder::empty(true),
    };
    Ok(builder.project(exprs)?.build()?)
}

fn on_conflict(planner: &Planner<'_>, table: &TableDef, insert: &Insert) -> Result<OnConflict> {
    let short = match &insert.or {
        None if insert.replace_into => Some(OnConflict::Replace),
        None if insert.ignore => Some(OnConflict::Ignore),
        None => None,
        Some(SqliteOnConflict::Replace) => Some(OnConflict::Replace),
        Some(SqliteOnConflict::Ignore) => Some(OnConflict::Ignore),
        Some(SqliteOnConflict::Abort) => Some(OnConflict::Error),
        Some(SqliteOnConflict::Rollback) => {
            return Err(Error::unsupported("INSERT OR ROLLBACK"));
        }
        Some(SqliteOnConflict::Fail) => return Err(Error::unsupported("INSERT OR FAIL")),
    };
    let Some(OnInsert::OnConflict(clause)) = &insert.on else {
        return Ok(short.unwrap_or(OnConflict::Error));
    };
    if short.is_some() {
        return Err(Error::invalid("INSERT says twice what happens on a conflict"));
    }
    match &clause.conflict_target {
        None => {}
        Some(ConflictTarget::OnConstraint(_)) => {
            return Err(Error::unsupported("ON CONFLICT ON CONSTRAINT"));
        }
        Some(ConflictTarget::Columns(columns)) => check_target(table, columns)?,
    }
    let update = match &clause.action {
        OnConflictAction::DoNothing => return Ok(OnConflict::Ignore),
        OnConflictAction::DoUpdate(update) => update,
    };
    if table.has_rowid() {
        return Err(Error::invalid(format!(
            "table {} has no primary key to conflict with",
            table.display_name()
        )));
    }
    let assigned = assigned(table, update.assignments.clone())?;
    if let Some(index) = (0..assigned.len()).find(|&i| assigned[i].is_some() && table.is_key(i)) {
        let name = &table.columns[index].name;
        return Err(Error::unsupported(format!("ON CONFLICT DO UPDATE of key column \"{name}\"")));
    }
    let writes = planner.state.config().get_extension::<WriteOptions>().unwrap_or_default();
    if writes.blind_upserts && update.selection.is_none() && takes_whole_row(table, &assigned) {
        return Ok(OnConflict::Replace);
    }
    let alias = insert.table_alias.as_ref().map(|alias| fold(&alias.alias));
    let alias = alias.unwrap_or_else(|| table.name.clone());
    let upsert = compile(planner, table, &alias, assigned, update.selection.clone())?;
    Ok(OnConflict::Update(Arc::new(upsert)))
}

fn check_target(
    table: &TableDef,
    columns: &[datafusion::sql::sqlparser::ast::Ident],
) -> Result<()> {
    let mut named = Vec::with_capacity(columns.len());
    for column in columns {
        let name = fold(column);
        let index = table.column_index(&name).map_err(|error| Error::from(error).about(&name))?;
        named.push(index);
    }
    named.sort_unstable();
    let mut key = table.key_indices();
    key.sort_unstable();
    if named == key && !key.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = columns.iter().map(fold).collect();
    Err(Error::invalid(format!(
        "ON CONFLICT ({}) is not the primary key of table {}",
        names.join(", "),
        table.display_name()
    )))
}

/// Whether every column but the key's is set to the new row's: then the old row need not be read.
fn takes_whole_row(table: &TableDef, assigned: &[Option<Expr>]) -> bool {
    let is_excluded = |expr: &Expr, name: &str| match expr {
        Expr::CompoundIdentifier(parts) => {
            matches!(parts.as_slice(), [row, column] if fold(row) == EXCLUDED && fold(column) == name)
        }
        _ => false,
    };
    table.columns.iter().zip(assigned).enumerate().all(|(index, (column, value))| match value {
        Some(value) => is_excluded(value, &column.name),
        None => table.is_key(index),
    })
}

fn compile(
    planner: &Planner<'_>,
    table: &TableDef,
    alias: &str,
    assigned: Vec<Option<Expr>>,
    condition: Option<Expr>,
) -> Result<Upsert> {
    if alias == EXCLUDED {
        return Err(Error::invalid(format!("\"{EXCLUDED}\" names the new row here")));
    }
    let fields: Vec<Field> =
        table.columns.iter().map(|column| column.field().with_nullable(true)).collect();
    let old = DFSchema::try_from_qualified_schema(
        TableReference::bare(alias),
        &Schema::new(fields.clone()),
    )?;
    let new = DFSchema::try_from_qualified_schema(
        TableReference::bare(EXCLUDED),
        &Schema::new(fields.clone()),
    )?;
    let both = old.join(&new)?;
    let mut is_steady = true;
    let mut compiled = |expr: Expr| {
        let expr = planner.expr(qualify(expr, table, alias), &both)?;
        is_steady &= is_steady_expr(&expr);
        physical(planner, expr, &both)
    };
    let mut assignments = Vec::new();
    for (index, value) in assigned.into_iter().enumerate() {
        if let Some(value) = value {
            assignments.push((index, compiled(value)?));
        }
    }
    let condition = condition.map(&mut compiled).transpose()?;
    let schema = Schema::new([fields.clone(), fields].concat());
    Ok(Upsert { schema: Arc::new(schema), assignments, condition, is_steady })
}

/// A bare column means the old row's, though the new row has one of that name too.
fn qualify(mut expr: Expr, table: &TableDef, alias: &str) -> Expr {
    use datafusion::sql::sqlparser::ast::visit_expressions_mut;
    use std::ops::ControlFlow;
    let _: ControlFlow<()> = visit_expressions_mut(&mut expr, |expr| {
        if let Expr::Identifier(ident) = expr
            && table.columns.iter().any(|column| column.name == fold(ident))
        {
            *expr = Expr::CompoundIdentifier(vec![super::names::quoted(alias), ident.clone()]);
        }
        ControlFlow::Continue(())
    });
    expr
}

fn physical(
    planner: &Planner<'_>,
    expr: PlanExpr,
    schema: &DFSchema,
) -> Result<Arc<dyn PhysicalExpr>> {
    if has_subquery(&expr) {
        return Err(Error::unsupported("a query within ON CONFLICT DO UPDATE"));
    }
    let props = planner.state.execution_props();
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_config_options(Arc::clone(planner.state.config_options()))
        .with_query_execution_start_time(props.query_execution_start_time)
        .build();
    let simplifier = ExprSimplifier::new(context);
    let expr = simplifier.simplify(simplifier.coerce(expr, schema)?)?;
    Ok(create_physical_expr(&expr, schema, props, &PhysicalPlanningContext::default())?)
}

fn has_subquery(expr: &PlanExpr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    expr.exists(|expr| {
        Ok(matches!(
            expr,
            PlanExpr::ScalarSubquery(_) | PlanExpr::InSubquery(_) | PlanExpr::Exists(_)
        ))
    })
    .unwrap_or(true)
}

/// The DEFAULTs of a table, compiled: for rows that come without SQL.
pub(crate) struct Defaults {
    exprs: Vec<Option<Arc<dyn PhysicalExpr>>>,
}

impl Defaults {
    pub(crate) fn new(planner: &Planner<'_>, table: &TableDef) -> Result<Self> {
        let empty = DFSchema::empty();
        let compile =
            |text: &String| physical(planner, planner.expr(parse_expr(text)?, &empty)?, &empty);
        let exprs =
            table.columns.iter().map(|column| column.default.as_ref().map(compile).transpose());
        Ok(Self { exprs: exprs.collect::<Result<_>>()? })
    }

    /// A batch's columns found by name, in the table's order, DEFAULTs where there is none.
    ///
    /// # Errors
    /// `NotFound` for a column of the batch that the table has not.
    pub(crate) fn arrange(&self, table: &TableDef, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let schema = batch.schema();
        let mut columns: Vec<Option<ArrayRef>> = vec![None; table.columns.len()];
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            let index = table.column_index(field.name())?;
            if columns[index].replace(Arc::clone(column)).is_some() {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("column \"{}\" is given twice", field.name()),
                ));
            }
        }
        let rows = batch.num_rows();
        let none = no_columns(rows)?;
        let mut arranged = Vec::with_capacity(columns.len());
        for (index, column) in columns.into_iter().enumerate() {
            arranged.push(match (column, &self.exprs[index]) {
                (Some(column), _) => column,
                (None, Some(default)) => default.evaluate(&none)?.into_array(rows)?,
                (None, None) => ScalarValue::Null.to_array_of_size(rows)?,
            });
        }
        Ok(arranged)
    }
}

/// A batch of rows without columns.
fn no_columns(rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?)
}

/// What a column takes where a row gives nothing for it.
#[derive(Debug)]
pub(crate) enum DefaultValue {
    /// The same in every statement; NULL for a column without DEFAULT.
    Fixed(ScalarValue),
    /// To be evaluated by every statement.
    Fresh,
}

impl DefaultValue {
    /// For each column of a table.
    pub(crate) fn all(planner: &Planner<'_>, table: &TableDef) -> Result<Vec<Self>> {
        let empty = DFSchema::empty();
        let value = |text: &Option<String>| {
            let Some(text) = text else { return Ok(Self::Fixed(ScalarValue::Null)) };
            let expr = planner.expr(parse_expr(text)?, &empty)?;
            if !is_steady_expr(&expr) {
                return Ok(Self::Fresh);
            }
            let array =
                physical(planner, expr, &empty)?.evaluate(&no_columns(1)?)?.into_array(1)?;
            Ok(Self::Fixed(ScalarValue::try_from_array(&array, 0)?))
        };
        table.columns.iter().map(|column| value(&column.default)).collect()
    }
}

/// The DEFAULT of a column, evaluated for `rows` rows.
pub(crate) fn evaluate_default(
    planner: &Planner<'_>,
    table: &TableDef,
    index: usize,
    rows: usize,
) -> Result<ArrayRef> {
    let empty = DFSchema::empty();
    let expr = planner.expr(default_expr(table, index)?, &empty)?;
    Ok(physical(planner, expr, &empty)?.evaluate(&no_columns(rows)?)?.into_array(rows)?)
}
