//! [`JoinOrder`]: inner joins in the order that is estimated to touch the fewest rows.
//!
//! DataFusion joins tables as the text names them and only chooses sides. This logical rule takes
//! a tree of inner joins apart into its inputs and conditions and puts it together anew: over all
//! bushy trees for up to [`EXHAUSTIVE_MAX`] inputs, else two by two, the smallest result first.
//! Estimates come from row counts and from the least and greatest values that tables know; two
//! inputs that no condition connects are joined only where nothing else is left. Where nothing is
//! known of an equality's values, the order of the text stands.
//!
//! Columns that equalities connect through others are equal as well ([`classes`]): a join by them
//! may come first. And what a join asks of the columns of the input that streams through it, the
//! scan of that input leaves out before any join ([`crate::provider`]'s dynamic filters): all joins
//! that the rows stream through before have less to do. Where it cannot be asked so, a semi-join with
//! another table may do it ([`narrowed`]).

mod classes;
mod estimate;
mod narrowed;

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{Column, NullEquality, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, Filter, Join, JoinConstraint, JoinType, LogicalPlan, Operator, Projection,
};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use classes::Classes;
use estimate::Input;

/// So many inputs are joined in every order in thought.
const EXHAUSTIVE_MAX: usize = 8;

/// More inputs than this stay as they are.
const INPUTS_MAX: usize = 32;

/// A semi-join is taken before inner joins if the rows it looks among are at most this part of
/// those it chooses from.
const NARROWS: f64 = 0.5;

/// Columns of which nothing is known are taken to have one value for so many rows.
const UNKNOWN_DISTINCT: f64 = 0.05;

/// A row of the side that is built into a hash table costs as much as this many that probe it.
const BUILD_COST: f64 = 3.0;

/// A seek costs as much as this many rows that probe a hash table.
const SEEK_COST: f64 = 500.0;

/// A row of which its scan asks whether a join above wants it costs as much as this many that probe
/// a hash table.
const ASK_COST: f64 = 0.3;

/// The same where the join compares several columns, which takes a hash of them.
const ASK_HASHED_COST: f64 = 1.5;

/// Scans do not ask if more than this part of the rows is wanted.
const ASKED_MAX: f64 = 0.6;

/// See the module.
#[derive(Debug)]
pub(crate) struct JoinOrder {
    /// Whether few rows seek the table that they are joined with.
    pub(crate) seeks: bool,
    /// Whether inputs are narrowed by what is left of another table ([`narrowed`]).
    pub(crate) narrows: bool,
}

impl OptimizerRule for JoinOrder {
    fn name(&self) -> &'static str {
        "silt_join_order"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        reorder_below(plan, self)
    }
}

/// DataFusion's rule that makes joins of cross joins, where there is one: it puts inner joins in
/// the order of its own first find, and would undo ours in the optimizer's next pass.
#[derive(Debug)]
pub(crate) struct CrossedOnly(pub(crate) Arc<dyn OptimizerRule + Send + Sync>);

impl OptimizerRule for CrossedOnly {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let is_crossed = |node: &LogicalPlan| match node {
            LogicalPlan::Join(join) => join.join_type == JoinType::Inner && join.on.is_empty(),
            _ => false,
        };
        let mut any = false;
        plan.apply_with_subqueries(|node| {
            any |= is_crossed(node);
            Ok(if any { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        match any {
            true => self.0.rewrite(plan, config),
            false => Ok(Transformed::no(plan)),
        }
    }
}

fn reorder_below(plan: LogicalPlan, rule: &JoinOrder) -> Result<Transformed<LogicalPlan>> {
    use datafusion::common::tree_node::TreeNode;
    let mut parts = Parts::default();
    let schema = Arc::clone(plan.schema());
    let narrowed = match &plan {
        _ if is_inner(&plan) => {
            parts.flatten(plan.clone());
            false
        }
        LogicalPlan::Join(join) if is_semi_over_inner(join) => {
            parts.flatten(LogicalPlan::clone(&join.left));
            if !parts.narrow(join)? {
                return plan.map_children(|plan| reorder_below(plan, rule));
            }
            true
        }
        _ => return plan.map_children(|plan| reorder_below(plan, rule)),
    };
    if !parts.are_known() {
        return plan.map_children(|plan| reorder_below(plan, rule));
    }
    let mut any = false;
    for input in &mut parts.inputs {
        let below = reorder_below(std::mem::take(input), rule)?;
        any |= below.transformed;
        *input = below.data;
    }
    let count = parts.inputs.len();
    let least = if narrowed { 2 } else { 3 };
    if !(least..=INPUTS_MAX).contains(&count) {
        return match any {
            true => plan.map_children(|plan| reorder_below(plan, rule)),
            false => Ok(Transformed::no(plan)),
        };
    }
    let mut joined = parts.join(rule)?;
    if joined.schema() != &schema {
        let projection = Projection::new_from_schema(Arc::new(joined), schema);
        joined = LogicalPlan::Projection(projection);
    }
    Ok(Transformed::yes(joined))
}

fn is_inner(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Join(join) => {
            join.join_type == JoinType::Inner
                && join.null_equality == NullEquality::NullEqualsNothing
                && !join.null_aware
        }
        _ => false,
    }
}

/// Whether it keeps those rows of an inner join that have a partner.
fn is_semi_over_inner(join: &Join) -> bool {
    join.join_type == JoinType::LeftSemi
        && join.null_equality == NullEquality::NullEqualsNothing
        && !join.null_aware
        && is_inner(&join.left)
}

/// Inputs of inner joins, and what connects them.
#[derive(Default)]
struct Parts {
    inputs: Vec<LogicalPlan>,
    /// Equal expressions.
    keys: Vec<(Expr, Expr)>,
    filters: Vec<Expr>,
}

/// A set of inputs, one bit each.
type Set = u64;

/// Equal expressions over the inputs `left` and `right`.
struct Edge {
    left: Set,
    right: Set,
    keys: (Expr, Expr),
    /// Whatever is equal by one edge of a class is so by all of them.
    class: usize,
    /// How many values they have.
    distinct: f64,
    /// Whether the rows of either side are sought by them.
    sought: (bool, bool),
}

impl Edge {
    /// Whether it connects the two sets.
    fn connects(&self, one: Set, other: Set) -> bool {
        let within = |part: Set, whole: Set| part & whole == part;
        within(self.left, one) && within(self.right, other)
            || within(self.left, other) && within(self.right, one)
    }

    /// The column of the one input `set`, if it is all that is compared there.
    fn column_of(&self, set: Set) -> Option<&Column> {
        let expr = match set {
            _ if self.left == set => &self.keys.0,
            _ if self.right == set => &self.keys.1,
            _ => return None,
        };
        match expr {
            Expr::Column(column) => Some(column),
            _ => None,
        }
    }
}

/// The best way found to join a set of inputs.
#[derive(Clone, Copy)]
struct Best {
    set: Set,
    rows: f64,
    cost: f64,
    /// What was joined last; both are 0 for an input.
    sides: (Set, Set),
    /// The input whose rows stream through all joins, and are collected by none.
    streamed: Set,
    /// Those of its rows that its scan does not leave out.
    streamed_rows: f64,
    /// The part of `cost` that is less if its scan leaves out more.
    streaming: f64,
}

impl Best {
    fn input(set: Set, rows: f64) -> Self {
        let (sides, cost, streaming) = ((0, 0), 0.0, 0.0);
        Self { set, rows, cost, sides, streamed: set, streamed_rows: rows, streaming }
    }
}

impl Parts {
    fn flatten(&mut self, plan: LogicalPlan) {
        match plan {
            LogicalPlan::Join(join) if is_inner(&LogicalPlan::Join(join.clone())) => {
                self.keys.extend(join.on);
                self.filters.extend(join.filter.into_iter().flat_map(split_conjunction_owned));
                self.flatten(Arc::unwrap_or_clone(join.left));
                self.flatten(Arc::unwrap_or_clone(join.right));
            }
            LogicalPlan::Filter(filter) if is_inner(&filter.input) => {
                self.filters.extend(split_conjunction_owned(filter.predicate));
                self.flatten(Arc::unwrap_or_clone(filter.input));
            }
            other => self.inputs.push(other),
        }
    }

    /// Puts a semi-join over the tree upon the one input that it asks about, if it leaves few of
    /// that input's rows: all that is joined with them is then less. Whether it did.
    fn narrow(&mut self, semi: &Join) -> Result<bool> {
        let mut asked = 0;
        for (left, _) in &semi.on {
            asked |= self.set_of(left).unwrap_or(Set::MAX);
        }
        for column in semi.filter.iter().flat_map(Expr::column_refs) {
            if semi.left.schema().has_column(column) {
                asked |= self.set_of(&Expr::Column(column.clone())).unwrap_or(Set::MAX);
            }
        }
        if asked.count_ones() != 1 {
            return Ok(false);
        }
        let input = &mut self.inputs[usize::try_from(asked.trailing_zeros()).unwrap_or(0)];
        if Input::new(&semi.right).rows > Input::new(input).rows * NARROWS {
            return Ok(false);
        }
        let narrowed = Join::try_new(
            Arc::new(std::mem::take(input)),
            Arc::clone(&semi.right),
            semi.on.clone(),
            semi.filter.clone(),
            JoinType::LeftSemi,
            JoinConstraint::On,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        *input = LogicalPlan::Join(narrowed);
        Ok(true)
    }

    /// Whether something is known of the values on one side of each equality. Where nothing is, as
    /// with texts, any order is a guess, and the text's own the better one.
    fn are_known(&self) -> bool {
        let inputs: Vec<Input> = self.inputs.iter().map(Input::new).collect();
        let is_known = |expr: &Expr| match (expr, self.set_of(expr)) {
            (Expr::Column(column), Some(set)) if set.count_ones() == 1 => {
                let input = usize::try_from(set.trailing_zeros()).unwrap_or(0);
                inputs[input].distinct(column).is_some()
            }
            _ => false,
        };
        self.keys.iter().all(|(left, right)| is_known(left) || is_known(right))
    }

    /// The inputs that an expression names.
    fn set_of(&self, expr: &Expr) -> Option<Set> {
        let mut set = 0;
        for column in expr.column_refs() {
            let has = |input: &LogicalPlan| input.schema().has_column(column);
            set |= 1 << self.inputs.iter().position(has)?;
        }
        Some(set)
    }

    fn join(mut self, rule: &JoinOrder) -> Result<LogicalPlan> {
        let inputs: Vec<Input> = self.inputs.iter().map(Input::new).collect();
        let (mut edges, mut filters) = (Vec::new(), Vec::new());
        // Whatever moved an equality into a join's filter, it connects inputs as keys do.
        let conditions = std::mem::take(&mut self.filters);
        for condition in conditions {
            match condition {
                Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
                    self.keys.push((*left, *right));
                }
                other => filters.push(other),
            }
        }
        let mut classes = Classes::default();
        for (left, right) in std::mem::take(&mut self.keys) {
            match (self.set_of(&left), self.set_of(&right)) {
                (Some(a), Some(b)) if a != 0 && b != 0 && a & b == 0 => {
                    classes.add((a, left), (b, right));
                }
                _ => filters.push(left.eq(right)),
            }
        }
        for (class, (a, left), (b, right)) in classes.pairs() {
            let distinct = distinct(&inputs, (a, &left), (b, &right));
            let is_sought = |set, expr| rule.seeks && is_sought(&inputs, set, expr);
            let sought = (is_sought(a, &left), is_sought(b, &right));
            edges.push(Edge { left: a, right: b, keys: (left, right), class, distinct, sought });
        }
        // Of several edges of a class joins take the first: filters go to the largest table.
        let size = |edge: &Edge| {
            let is_in = |input: usize| (edge.left | edge.right) >> input & 1 == 1;
            let sizes = inputs.iter().enumerate().filter(|(input, _)| is_in(*input));
            sizes.map(|(_, input)| input.base_rows).sum::<f64>()
        };
        edges.sort_by(|a, b| size(b).total_cmp(&size(a)));
        let rows: Vec<f64> = inputs.iter().map(|input| input.rows).collect();
        let all: Set = (1 << self.inputs.len()) - 1;
        let search = Search { edges: &edges, inputs: &inputs };
        let tree = match self.inputs.len() {
            0..=EXHAUSTIVE_MAX => search
                .exhaustive(&rows, all, false)
                .unwrap_or_else(|| search.exhaustive(&rows, all, true).unwrap_or_default()),
            _ => search.greedy(&rows),
        };
        if rule.narrows {
            narrowed::narrow(&mut self.inputs, &inputs, &edges, &tree)?;
        }
        let filters: Vec<(Set, Expr)> = filters
            .into_iter()
            .map(|filter| (self.set_of(&filter).unwrap_or(all), filter))
            .collect();
        let mut build = Build { inputs: self.inputs, edges, filters, tree };
        let plan = build.plan(all)?;
        // What names no input at all, or only one.
        match conjunction(build.filters.into_iter().map(|(_, filter)| filter)) {
            Some(filter) => Ok(LogicalPlan::Filter(Filter::try_new(filter, Arc::new(plan))?)),
            None => Ok(plan),
        }
    }
}

/// How many values both sides of an equality have between them.
fn distinct(inputs: &[Input], left: (Set, &Expr), right: (Set, &Expr)) -> f64 {
    let of = |(set, expr): (Set, &Expr)| {
        let input = &inputs[usize::try_from(set.trailing_zeros()).unwrap_or(0)];
        let column: Option<&Column> = match expr {
            Expr::Column(column) if set.count_ones() == 1 => Some(column),
            _ => None,
        };
        (column.and_then(|column| input.distinct(column)), input.base_rows)
    };
    match (of(left), of(right)) {
        // What refers to a key has no values beside the key's.
        ((Some((key, true)), _), (Some((other, true)), _)) => key.max(other),
        ((Some((key, true)), _), _) | (_, (Some((key, true)), _)) => key,
        ((Some((a, _)), _), (Some((b, _)), _)) => a.max(b),
        ((Some((known, _)), _), _) | (_, (Some((known, _)), _)) => known,
        // Rather too few than too many: what is joined then looks large, and waits.
        ((None, a), (None, b)) => a.max(b) * UNKNOWN_DISTINCT,
    }
    .max(1.0)
}

/// Whether the rows of an input are sought by an expression of it.
fn is_sought(inputs: &[Input], set: Set, expr: &Expr) -> bool {
    match expr {
        Expr::Column(column) if set.count_ones() == 1 => {
            inputs[usize::try_from(set.trailing_zeros()).unwrap_or(0)].seeks(column)
        }
        _ => false,
    }
}

struct Search<'a> {
    edges: &'a [Edge],
    inputs: &'a [Input],
}

/// For each set joined on the way: its two sides.
type Tree = Vec<(Set, (Set, Set))>;

impl Search<'_> {
    /// The part of all pairs of rows of two sets that fit, and whether anything connects them.
    fn selectivity(&self, left: Set, right: Set) -> (f64, bool) {
        let mut fitting: Vec<&Edge> =
            self.edges.iter().filter(|edge| edge.connects(left, right)).collect();
        let mut factors: Vec<f64> = Vec::new();
        // Columns that are a table's whole key have a value for each of its rows between them.
        for (input, set) in self.inputs.iter().zip((0..).map(|input| 1 << input)) {
            let columns: Vec<&Column> =
                fitting.iter().filter_map(|edge| edge.column_of(set)).collect();
            if columns.len() > 1
                && let Some(rows) = input.rows_by_key(&columns)
            {
                let of_key = fitting.iter().filter(|edge| edge.column_of(set).is_some());
                let told: Vec<usize> = of_key.map(|edge| edge.class).collect();
                fitting.retain(|edge| !told.contains(&edge.class));
                factors.push(rows);
            }
        }
        // All edges of a class say the same.
        while let Some(edge) = fitting.pop() {
            let same = fitting.iter().filter(|other| other.class == edge.class);
            factors.push(same.map(|other| other.distinct).fold(edge.distinct, f64::min));
            fitting.retain(|other| other.class != edge.class);
        }
        // Several columns of one key say less than each by itself.
        factors.sort_by(|a, b| b.total_cmp(a));
        let mut product = 1.0;
        for (index, factor) in factors.iter().enumerate() {
            product *= factor.powf(0.5_f64.powi(i32::try_from(index).unwrap_or(0)));
        }
        (1.0 / product, !factors.is_empty())
    }

    /// What it costs for each row of the input that streams through `probe` to be asked whether a
    /// join with `build` wants it; none if that depends on other inputs as well.
    fn ask_cost(&self, build: &Best, probe: &Best) -> Option<f64> {
        let crossing = || self.edges.iter().filter(|edge| edge.connects(build.set, probe.set));
        let asks = |edge: &Edge| [edge.left, edge.right].contains(&probe.streamed);
        let is_asked =
            crossing().all(|edge| crossing().any(|other| other.class == edge.class && asks(other)));
        let first = crossing().next()?.class;
        let is_one = crossing().all(|edge| edge.class == first);
        is_asked.then_some(if is_one { ASK_COST } else { ASK_HASHED_COST })
    }

    fn joined(&self, left: &Best, right: &Best) -> (Best, bool) {
        let (selectivity, connected) = self.selectivity(left.set, right.set);
        let rows = (left.rows * right.rows * selectivity).max(1.0);
        let (build, probe) = if left.rows < right.rows { (left, right) } else { (right, left) };
        let asked = rows / probe.rows;
        let (part, asking) = match self.ask_cost(build, probe).filter(|_| asked <= ASKED_MAX) {
            Some(cost) => (asked, probe.streamed_rows * cost),
            None => (1.0, 0.0),
        };
        let arriving = probe.rows * part;
        let mut joining = build.rows * BUILD_COST + arriving + asking;
        for edge in self.edges {
            for (side, is_sought, other, asking) in [
                (edge.left, edge.sought.0, edge.right, right),
                (edge.right, edge.sought.1, edge.left, left),
                (edge.left, edge.sought.0, edge.right, left),
                (edge.right, edge.sought.1, edge.left, right),
            ] {
                let table = if asking.set == left.set { right.set } else { left.set };
                if is_sought && side == table && other & asking.set == other {
                    joining = joining.min(asking.rows * SEEK_COST);
                }
            }
        }
        let saved = probe.streaming * (1.0 - part);
        let best = Best {
            set: left.set | right.set,
            rows,
            cost: left.cost + right.cost - saved + joining + rows,
            sides: (left.set, right.set),
            streamed: probe.streamed,
            streamed_rows: probe.streamed_rows * part,
            streaming: probe.streaming * part + arriving + rows,
        };
        (best, connected)
    }

    /// The cheapest of all trees in which only connected sets are joined, or any if `crossed`;
    /// none if there is no such tree.
    fn exhaustive(&self, rows: &[f64], all: Set, crossed: bool) -> Option<Tree> {
        let size = usize::try_from(all).unwrap_or(0) + 1;
        let mut best: Vec<Option<Best>> = vec![None; size];
        for (input, &rows) in rows.iter().enumerate() {
            best[1 << input] = Some(Best::input(1 << input, rows));
        }
        for set in 1..size {
            if set.count_ones() < 2 {
                continue;
            }
            let (mut cheapest, mut cheapest_connected) = (None::<Best>, None::<Best>);
            let mut left = (set - 1) & set;
            while left > 0 {
                let right = set & !left;
                // Each pair of sides is looked at once.
                if left > right
                    && let (Some(left), Some(right)) = (&best[left], &best[right])
                {
                    let (found, connected) = self.joined(left, right);
                    let place = if connected { &mut cheapest_connected } else { &mut cheapest };
                    if place.is_none_or(|place| found.cost < place.cost) {
                        *place = Some(found);
                    }
                }
                left = (left - 1) & set;
            }
            best[set] = cheapest_connected.or(cheapest.filter(|_| crossed));
        }
        best[size - 1]?;
        let mut tree = Tree::new();
        let mut open = vec![all];
        while let Some(set) = open.pop() {
            if let Some(found) = best[usize::try_from(set).unwrap_or(0)]
                && found.sides.0 != 0
            {
                tree.push((set, found.sides));
                open.extend([found.sides.0, found.sides.1]);
            }
        }
        Some(tree)
    }

    /// Two by two, the pair with the smallest result first.
    fn greedy(&self, rows: &[f64]) -> Tree {
        let mut sets: Vec<Best> =
            rows.iter().enumerate().map(|(input, &rows)| Best::input(1 << input, rows)).collect();
        debug_assert_eq!(sets.len(), self.inputs.len());
        let mut tree = Tree::new();
        while sets.len() > 1 {
            let mut next: Option<(usize, usize, Best, bool)> = None;
            for a in 0..sets.len() {
                for b in a + 1..sets.len() {
                    let (found, connected) = self.joined(&sets[a], &sets[b]);
                    let is_better = next.is_none_or(|(_, _, best, was_connected)| {
                        (connected, best.rows) > (was_connected, found.rows)
                            || connected && !was_connected
                    });
                    if is_better {
                        next = Some((a, b, found, connected));
                    }
                }
            }
            let Some((a, b, found, _)) = next else { break };
            tree.push((found.set, found.sides));
            sets.swap_remove(b);
            sets[a] = found;
        }
        tree
    }
}

struct Build {
    inputs: Vec<LogicalPlan>,
    edges: Vec<Edge>,
    filters: Vec<(Set, Expr)>,
    tree: Tree,
}

impl Build {
    /// The join of a set of inputs, with every condition that it can decide.
    fn plan(&mut self, set: Set) -> Result<LogicalPlan> {
        let sides = self.tree.iter().find(|(other, _)| *other == set).map(|(_, sides)| *sides);
        let Some((left, right)) = sides else {
            let input = usize::try_from(set.trailing_zeros()).unwrap_or(0);
            return Ok(std::mem::take(&mut self.inputs[input]));
        };
        let (left_plan, right_plan) = (self.plan(left)?, self.plan(right)?);
        let (mut on, mut kept) = (Vec::new(), Vec::new());
        let mut told: Vec<usize> = Vec::new();
        for edge in std::mem::take(&mut self.edges) {
            let named = edge.left | edge.right;
            if !edge.connects(left, right) && named & set == named {
                // One of its sides is of several inputs, which were not joined by themselves.
                self.filters.push((named, edge.keys.0.eq(edge.keys.1)));
            } else if !edge.connects(left, right) {
                kept.push(edge);
            } else if !told.contains(&edge.class) {
                told.push(edge.class);
                let swapped = edge.left & left == 0;
                on.push(if swapped { (edge.keys.1, edge.keys.0) } else { edge.keys });
            }
        }
        self.edges = kept;
        let (decided, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.filters)
            .into_iter()
            .partition(|(named, _)| *named & set == *named && named.count_ones() > 1);
        self.filters = open;
        let filter = conjunction(decided.into_iter().map(|(_, filter)| filter));
        let join = Join::try_new(
            Arc::new(left_plan),
            Arc::new(right_plan),
            on,
            filter,
            JoinType::Inner,
            JoinConstraint::On,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        Ok(LogicalPlan::Join(join))
    }
}
