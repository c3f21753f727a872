//! From DataFusion's optimised plan to a [`PointChain`], if it has the form.

use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{DFSchemaRef, JoinType, NullEquality};
use datafusion::logical_expr::{Aggregate, Expr, Join, Limit, LogicalPlan, Sort};
use silt_storage::Tree;

use super::hop::{Gives, Hop, Part, Seek, Side};
use super::{Node, PointChain, Step};
use crate::Result;
use crate::planner::Binding;
use crate::point::compile::{Compiler, Term, Walk, counts, plain_column, table_of};
use crate::point::constant::{Constant, KeyField};

/// The plan's form, compiled; none if the planner must run it. `types` are those of the parameters.
pub(in crate::point) fn chain(
    plan: &LogicalPlan,
    binding: &Binding,
    types: &[DataType],
) -> Result<Option<PointChain>> {
    let schema: SchemaRef = Arc::new(plan.schema().as_arrow().clone());
    let node = Compile { binding, types }.node(plan)?;
    Ok(node.map(|node| PointChain::new(schema, node)))
}

struct Compile<'a> {
    binding: &'a Binding,
    types: &'a [DataType],
}

/// A table in a plan.
struct Leaf {
    tree: Tree,
    fields: Vec<KeyField>,
    /// What each key column is equal to.
    bound: Vec<Option<Part>>,
    /// For each column given its position among the key's, if it is there.
    keys: Vec<Option<usize>>,
    /// As of [`Seek`].
    projection: Vec<usize>,
    types: Vec<DataType>,
}

impl Compile<'_> {
    /// The rows of `plan`, with its columns in their order.
    fn node(&self, plan: &LogicalPlan) -> Result<Option<Node>> {
        match plan {
            LogicalPlan::SubqueryAlias(alias) => self.node(&alias.input),
            LogicalPlan::Projection(projection) => {
                let columns = positions(&projection.expr, projection.input.schema());
                let Some(columns) = columns else { return Ok(None) };
                Ok(self.node(&projection.input)?.map(|node| node.pick(&columns)))
            }
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Sort(sort) => self.sort(sort),
            LogicalPlan::Limit(limit) => self.limit(limit),
            plan => {
                Ok(self.leaf(plan)?.and_then(Leaf::seek).map(|seek| Node::Seek(Box::new(seek))))
            }
        }
    }

    fn join(&self, join: &Join) -> Result<Option<Node>> {
        if join.filter.is_some() || join.null_equality != NullEquality::NullEqualsNothing {
            return Ok(None);
        }
        for to_left in [false, true] {
            let gives = match (join.join_type, to_left) {
                (JoinType::Inner, _) => Gives::Pairs,
                (JoinType::LeftSemi, true) | (JoinType::RightSemi, false) => Gives::To,
                (JoinType::LeftSemi, false) | (JoinType::RightSemi, true) => Gives::From,
                _ => return Ok(None),
            };
            let (from, to) = match to_left {
                false => (&join.left, &join.right),
                true => (&join.right, &join.left),
            };
            let Some(mut leaf) = self.leaf(to)? else { continue };
            let bound = join.on.iter().try_for_each(|(left, right)| {
                let (theirs, ours) = if to_left { (right, left) } else { (left, right) };
                let theirs = position(theirs, from.schema())?;
                leaf.bind(position(ours, to.schema())?, theirs, from.schema())
            });
            if bound.is_none() {
                continue;
            }
            let Some(seek) = leaf.seek() else { continue };
            let Some(node) = self.node(from)? else { continue };
            let theirs = (0..from.schema().fields().len()).map(Side::From);
            let ours = (0..to.schema().fields().len()).map(Side::To);
            let output = match (gives, to_left) {
                (Gives::Pairs, false) => theirs.chain(ours).collect(),
                (Gives::Pairs, true) => ours.chain(theirs).collect(),
                (Gives::From, _) => theirs.collect(),
                (Gives::To, _) => ours.collect(),
            };
            let hop = Hop { from: node, to: seek, gives, output };
            return Ok(Some(Node::Hop(Box::new(hop.pruned()))));
        }
        Ok(None)
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Result<Option<Node>> {
        let Aggregate { input, group_expr, aggr_expr, .. } = aggregate;
        if aggr_expr.is_empty() {
            let Some(columns) = positions(group_expr, input.schema()) else { return Ok(None) };
            // Floats that are equal may differ in their bytes.
            let floats = |&column: &usize| input.schema().field(column).data_type().is_floating();
            if columns.iter().any(floats) {
                return Ok(None);
            }
            let distinct = |node: Node| Node::Step(Box::new(node.pick(&columns)), Step::Distinct);
            return Ok(self.node(input)?.map(distinct));
        }
        let counted = aggr_expr.iter().map(|expr| counted(expr, input.schema()));
        match counted.collect::<Option<Vec<_>>>() {
            Some(counted) if group_expr.is_empty() => {
                let count = |node| Node::Step(Box::new(node), Step::Count(counted));
                Ok(self.node(input)?.map(count))
            }
            _ => Ok(None),
        }
    }

    fn sort(&self, sort: &Sort) -> Result<Option<Node>> {
        let by = sort.expr.iter().map(|by| {
            let options = SortOptions { descending: !by.asc, nulls_first: by.nulls_first };
            Some((position(&by.expr, sort.input.schema())?, options))
        });
        let Some(by) = by.collect::<Option<Vec<_>>>() else { return Ok(None) };
        let step = Step::Sort { by, fetch: sort.fetch };
        Ok(self.node(&sort.input)?.map(|node| Node::Step(Box::new(node), step)))
    }

    fn limit(&self, limit: &Limit) -> Result<Option<Node>> {
        let Some((skip, fetch)) = counts(limit, self.types) else { return Ok(None) };
        let step = Step::Limit { skip, fetch };
        Ok(self.node(&limit.input)?.map(|node| Node::Step(Box::new(node), step)))
    }

    /// The table that `plan` reads, if nothing but equalities of key columns choose its rows.
    fn leaf(&self, plan: &LogicalPlan) -> Result<Option<Leaf>> {
        let Some(walk) = Walk::down(plan, self.types).filter(Walk::is_plain) else {
            return Ok(None);
        };
        let Some(scan) = walk.scan else { return Ok(None) };
        let Some((table, tree)) = table_of(scan, self.binding)? else { return Ok(None) };
        let fields = KeyField::all(&tree.schema())?;
        let mut terms: Vec<Option<(Constant, String)>> = fields.iter().map(|_| None).collect();
        let compiler = Compiler { table, fields: &fields, types: self.types };
        for (filter, names) in &walk.filters {
            let term = compiler.term(filter, names);
            let Some((field, mut said)) = term else { return Ok(None) };
            let (Some(Term::In(mut constants)), true) = (said.pop(), said.is_empty()) else {
                return Ok(None);
            };
            let (Some(constant), true) = (constants.pop(), constants.is_empty()) else {
                return Ok(None);
            };
            // Some predicates stand both above the scan and within it.
            let shown = format!("{constant:?}");
            match &terms[field] {
                Some((_, same)) if *same == shown => {}
                Some(_) => return Ok(None),
                None => terms[field] = Some((constant, shown)),
            }
        }
        let positions = table.tree_positions();
        let schema = scan.source.schema();
        let key = table.key_indices();
        Ok(Some(Leaf {
            tree,
            fields,
            bound: terms.into_iter().map(|term| Some(Part::Constant(term?.0))).collect(),
            keys: walk.columns.iter().map(|at| key.iter().position(|key| key == at)).collect(),
            projection: walk.columns.iter().map(|&column| positions[column]).collect(),
            types: walk.columns.iter().map(|&at| schema.field(at).data_type().clone()).collect(),
        }))
    }
}

impl Leaf {
    /// The column at `ours` is equal to that of `from` at `theirs`; none if a seek cannot say so.
    fn bind(&mut self, ours: usize, theirs: usize, from: &DFSchemaRef) -> Option<()> {
        let data_type = &self.types[ours];
        // Keys hold one zero and one NaN, but comparisons tell them apart.
        if data_type != from.field(theirs).data_type() || data_type.is_floating() {
            return None;
        }
        let bound = &mut self.bound[self.keys[ours]?];
        if bound.is_some() {
            return None;
        }
        *bound = Some(Part::Column(theirs));
        Some(())
    }

    /// How its rows are found; none if the first key column is not bound, or one behind a gap is.
    fn seek(self) -> Option<Seek> {
        let Self { tree, fields, bound, projection, types, .. } = self;
        let count = bound.iter().take_while(|part| part.is_some()).count();
        if count == 0 || bound[count..].iter().any(Option::is_some) {
            return None;
        }
        let is_whole = count == fields.len();
        let parts = fields.into_iter().zip(bound.into_iter().map_while(|part| part)).collect();
        Some(Seek { tree, parts, is_whole, projection, types })
    }
}

impl Node {
    /// These columns of the same rows; others are not read where that can be spared.
    fn pick(self, columns: &[usize]) -> Self {
        match self {
            Self::Seek(mut seek) => {
                seek.pick(columns);
                Self::Seek(seek)
            }
            Self::Hop(mut hop) => {
                hop.output = columns.iter().map(|&column| hop.output[column]).collect();
                Self::Hop(Box::new(hop.pruned()))
            }
            Self::Step(node, step) => {
                let node = Self::Step(node, step);
                Self::Step(Box::new(node), Step::Pick(columns.to_vec()))
            }
        }
    }
}

impl Seek {
    fn pick(&mut self, columns: &[usize]) {
        self.projection = columns.iter().map(|&column| self.projection[column]).collect();
        self.types = columns.iter().map(|&column| self.types[column].clone()).collect();
    }
}

impl Hop {
    /// Without columns that nothing is done with.
    fn pruned(mut self) -> Self {
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        let place = |of: &mut Vec<usize>, column: usize| {
            of.iter().position(|known| *known == column).unwrap_or_else(|| {
                of.push(column);
                of.len() - 1
            })
        };
        for side in &mut self.output {
            match side {
                Side::From(column) => *column = place(&mut theirs, *column),
                Side::To(column) => *column = place(&mut ours, *column),
            }
        }
        for (_, part) in &mut self.to.parts {
            if let Part::Column(column) = part {
                *column = place(&mut theirs, *column);
            }
        }
        self.from = self.from.pick(&theirs);
        self.to.pick(&ours);
        self
    }
}

/// The columns that plain expressions are.
fn positions(exprs: &[Expr], schema: &DFSchemaRef) -> Option<Vec<usize>> {
    exprs.iter().map(|expr| position(expr, schema)).collect()
}

fn position(expr: &Expr, schema: &DFSchemaRef) -> Option<usize> {
    schema.maybe_index_of_column(plain_column(expr)?)
}

/// The column whose values that are not NULL a count counts; none within if it counts rows.
fn counted(expr: &Expr, schema: &DFSchemaRef) -> Option<Option<usize>> {
    match expr {
        Expr::Alias(alias) => counted(&alias.expr, schema),
        Expr::AggregateFunction(call) if call.func.name() == "count" => {
            let params = &call.params;
            if params.distinct || params.filter.is_some() || !params.order_by.is_empty() {
                return None;
            }
            match params.args.as_slice() {
                [Expr::Literal(value, _)] if !value.is_null() => Some(None),
                [expr] => position(expr, schema).map(Some),
                _ => None,
            }
        }
        _ => None,
    }
}
