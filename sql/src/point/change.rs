//! [`PointChange`]: UPDATE and DELETE of the rows that keys name.
//!
//! Both are the query of old keys and new values that `dml/` rewrites them to. Its rows come from
//! a [`PointSelect`]; what the SET list computes is evaluated over them.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::create_physical_expr;
use datafusion::scalar::ScalarValue;
use silt_catalog::TableDef;

use super::compile;
use super::constant::{Arg, slot_of};
use super::found::FoundRow;
use super::select::{PointSelect, Rows};
use crate::dml::mutation::Gate;
use crate::planner::Binding;
use crate::{Result, Shared};

/// A change of the rows that keys name. See the module.
#[derive(Debug)]
pub(crate) struct PointChange {
    table: Arc<TableDef>,
    select: PointSelect,
    computed: Option<Computed>,
    kind: Kind,
}

/// What is done with the rows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Delete,
    Update { moves: bool },
}

/// Expressions over the rows that were read.
#[derive(Debug)]
struct Computed {
    input: Arc<DFSchema>,
    exprs: Vec<Expr>,
    schema: SchemaRef,
}

impl PointChange {
    /// The change whose rewritten query has this optimised plan; none if the planner must run it.
    pub(super) fn new(
        plan: &LogicalPlan,
        binding: &Binding,
        types: &[DataType],
        table: Arc<TableDef>,
        kind: Kind,
    ) -> Result<Option<Self>> {
        if let Some(select) = compile::select(plan, binding, types)? {
            return Ok(Some(Self { table, select, computed: None, kind }));
        }
        let LogicalPlan::Projection(projection) = plan else { return Ok(None) };
        let Some(select) = compile::select(&projection.input, binding, types)? else {
            return Ok(None);
        };
        let computed = Computed {
            input: Arc::clone(projection.input.schema()),
            exprs: projection.expr.clone(),
            schema: Arc::new(plan.schema().as_arrow().clone()),
        };
        Ok(Some(Self { table, select, computed: Some(computed), kind }))
    }

    pub(super) fn tag(&self) -> &'static str {
        match self.kind {
            Kind::Delete => "DELETE",
            Kind::Update { .. } => "UPDATE",
        }
    }

    /// Makes the change and gives the number of rows; none if the planner must say what the
    /// arguments mean.
    pub(super) fn run(
        &self,
        shared: &Shared,
        state: &SessionState,
        binding: &Binding,
        args: &[Arg<'_>],
    ) -> Result<Option<u64>> {
        binding.check_writable(self.tag())?;
        let Some(rows) = self.select.run(args, &binding.snapshot)? else { return Ok(None) };
        let mut batches = match rows {
            Rows::None => return Ok(Some(0)),
            Rows::One(values) => {
                let row = FoundRow::new(Arc::clone(self.select.schema()), values);
                vec![row.to_batch()?.clone()]
            }
            Rows::Batch(batch) => vec![batch],
            Rows::Scan(scan) => scan.collect::<Result<_>>()?,
        };
        if let Some(computed) = &self.computed {
            batches = computed.evaluate(&batches, state, args)?;
        }
        let gate = Gate::new(shared, binding, &self.table)?;
        let batches = batches.into_iter().map(Ok);
        let changed = match self.kind {
            Kind::Delete => gate.delete(batches)?,
            Kind::Update { moves } => gate.update(batches, moves)?,
        };
        Ok(Some(changed.rows))
    }
}

impl Computed {
    fn evaluate(
        &self,
        batches: &[RecordBatch],
        state: &SessionState,
        args: &[Arg<'_>],
    ) -> Result<Vec<RecordBatch>> {
        let (props, context) = (state.execution_props(), PhysicalPlanningContext::default());
        let exprs = self.exprs.iter().map(|expr| {
            let expr = filled(expr, args)?;
            Ok(create_physical_expr(&expr, &self.input, props, &context)?)
        });
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        let evaluate = |batch: &RecordBatch| {
            let rows = batch.num_rows();
            let columns = exprs.iter().map(|expr| expr.evaluate(batch)?.into_array(rows));
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            let fields = self.schema.fields().iter().zip(&columns);
            let fields = fields.map(|(field, column)| {
                field
                    .as_ref()
                    .clone()
                    .with_data_type(column.data_type().clone())
                    .with_nullable(true)
            });
            let schema = datafusion::arrow::datatypes::Schema::new(fields.collect::<Vec<_>>());
            Ok(RecordBatch::try_new_with_options(Arc::new(schema), columns, &options)?)
        };
        batches.iter().map(evaluate).collect()
    }
}

/// The expression with values for its parameters.
fn filled(expr: &Expr, args: &[Arg<'_>]) -> Result<Expr> {
    let filled = expr.clone().transform_up(|expr| {
        let Expr::Placeholder(placeholder) = &expr else { return Ok(Transformed::no(expr)) };
        let Some(arg) = slot_of(&placeholder.id).and_then(|slot| args.get(slot)) else {
            return Ok(Transformed::no(expr));
        };
        let value = match &placeholder.field {
            Some(field) if arg.is_null() => ScalarValue::try_from(field.data_type())?,
            _ => arg.to_scalar(),
        };
        Ok(Transformed::yes(Expr::Literal(value, None)))
    })?;
    Ok(filled.data)
}
