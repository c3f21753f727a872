//! [`SiltTable`]: a table at one snapshot, as DataFusion sees it.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{
    ColumnStatistics, Constraint, Constraints, DFSchema, DataFusionError, Result, ScalarValue,
    Statistics, internal_err,
};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExecBuilder;
use silt_storage::{KeyRange, Predicate, Snapshot, Tree};

use super::pushdown::{Access, KeyPlan, KeyShape, pruning_predicate};
use super::scan::{ScanParts, SiltScan};
use crate::ScanOptions;
use crate::value::value_to_scalar;

/// Below this many rows a scan stays in one partition: starting tasks costs more than it saves.
const ROWS_PER_PARTITION_MIN: usize = 20_000;

/// Ranges whose rows are estimated; as many are taken to be in each of the others.
const RANGES_ESTIMATED: usize = 16;

/// A table bound to the snapshot and schema of one statement.
#[derive(Debug)]
pub(crate) struct SiltTable {
    /// As EXPLAIN names it.
    name: String,
    schema: SchemaRef,
    /// For each SQL column its position in the tree.
    to_tree: Arc<[usize]>,
    /// For each key column its SQL position; none for a hidden key.
    key: Vec<Option<usize>>,
    shape: Arc<KeyShape>,
    constraints: Constraints,
    tree: Tree,
    /// None in a plan that is kept; see [`SiltTable::detached`].
    snapshot: Option<Snapshot>,
    /// Planning asks for them many times.
    statistics: OnceLock<Arc<Statistics>>,
}

impl SiltTable {
    /// The table `name` whose columns are `schema`, the `i`th of them at `to_tree[i]` in `tree`.
    ///
    /// Key columns of the tree that no SQL column maps to are hidden.
    pub(crate) fn new(
        name: String,
        schema: SchemaRef,
        to_tree: Vec<usize>,
        tree: Tree,
        snapshot: Snapshot,
    ) -> crate::Result<Self> {
        let tree_schema = tree.schema();
        let key: Vec<Option<usize>> = (0..tree_schema.key_len())
            .map(|tree_column| to_tree.iter().position(|&column| column == tree_column))
            .collect();
        let names =
            key.iter().map(|column| column.map(|column| schema.field(column).name().clone()));
        let shape = Arc::new(KeyShape::new(&tree_schema, names.collect())?);
        let constraints = match key.iter().copied().collect::<Option<Vec<_>>>() {
            Some(key) => Constraints::new_unverified(vec![Constraint::PrimaryKey(key)]),
            None => Constraints::default(),
        };
        let (to_tree, snapshot) = (to_tree.into(), Some(snapshot));
        let statistics = OnceLock::new();
        Ok(Self { name, schema, to_tree, key, shape, constraints, tree, snapshot, statistics })
    }

    /// The same table at no moment: for plans that are kept, since a snapshot in use keeps old
    /// versions of rows from going. It cannot be read.
    pub(crate) fn detached(&self) -> Self {
        Self {
            name: self.name.clone(),
            schema: Arc::clone(&self.schema),
            to_tree: Arc::clone(&self.to_tree),
            key: self.key.clone(),
            shape: Arc::clone(&self.shape),
            constraints: self.constraints.clone(),
            tree: self.tree.clone(),
            snapshot: None,
            statistics: OnceLock::new(),
        }
    }

    fn snapshot(&self) -> Result<&Snapshot> {
        match &self.snapshot {
            Some(snapshot) => Ok(snapshot),
            None => internal_err!("a kept plan was run without being bound to a moment"),
        }
    }

    fn lookup(&self, name: &str) -> Option<(usize, DataType)> {
        let (index, field) = self.schema.column_with_name(name)?;
        Some((self.to_tree[index], field.data_type().clone()))
    }

    /// About how many rows are read to answer `filters`.
    pub(crate) fn rows_read(&self, filters: &[Expr]) -> Result<usize> {
        let filters: Vec<&Expr> = filters.iter().collect();
        let mut statistics = Statistics::clone(&self.table_statistics());
        self.narrow(&mut statistics, &self.shape.plan(&filters))?;
        Ok(statistics.num_rows.get_value().copied().unwrap_or(0))
    }

    /// About how many rows have one value of the key's first column, where that is known.
    pub(crate) fn rows_a_first_key(&self) -> Option<usize> {
        let statistics = self.table_statistics();
        let column = statistics.column_statistics.get((*self.key.first()?)?)?;
        let rows = statistics.num_rows.get_value()?;
        Some(rows / column.distinct_count.get_value()?.max(&1))
    }

    /// The names of its key's columns; none if it is hidden.
    pub(crate) fn key_names(&self) -> Option<Vec<String>> {
        let name = |column: &Option<usize>| Some(self.schema.field((*column)?).name().clone());
        self.key.iter().map(name).collect()
    }

    /// The name of its key's first column.
    pub(crate) fn first_key(&self) -> Option<&str> {
        let column = (*self.key.first()?)?;
        Some(self.schema.field(column).name())
    }

    /// The only column of its key.
    pub(crate) fn only_key(&self) -> Option<usize> {
        match self.key.as_slice() {
            [column] => *column,
            _ => None,
        }
    }

    /// Statistics of the whole table at its snapshot, by SQL column.
    pub(crate) fn table_statistics(&self) -> Arc<Statistics> {
        Arc::clone(self.statistics.get_or_init(|| Arc::new(self.stored_statistics())))
    }

    fn stored_statistics(&self) -> Statistics {
        let Some(snapshot) = &self.snapshot else { return Statistics::new_unknown(&self.schema) };
        let stored = self.tree.statistics(snapshot);
        let rows = usize::try_from(stored.rows).unwrap_or(usize::MAX);
        let single_key = match self.key.as_slice() {
            [Some(column)] => Some(*column),
            _ => None,
        };
        let column = |(index, &tree_column): (usize, &usize)| {
            let data_type = self.schema.field(index).data_type();
            let bound = |value: &silt_codec::Value| match value_to_scalar(value, data_type) {
                Ok(scalar) if !scalar.is_null() => Precision::Inexact(scalar),
                _ => Precision::<ScalarValue>::Absent,
            };
            // Rows in memtables may lie beyond these bounds: whoever reads them as estimates
            // is no worse off than without any.
            let zone = stored.columns.get(tree_column).and_then(Option::as_ref);
            ColumnStatistics {
                null_count: zone.map_or(Precision::Absent, |zone| {
                    Precision::Inexact(usize::try_from(zone.null_count).unwrap_or(usize::MAX))
                }),
                min_value: zone.map_or(Precision::Absent, |zone| bound(&zone.min)),
                max_value: zone.map_or(Precision::Absent, |zone| bound(&zone.max)),
                distinct_count: match single_key {
                    Some(key) if key == index => Precision::Inexact(rows),
                    _ => match stored.distinct.get(tree_column).copied().flatten() {
                        Some(distinct) => {
                            let distinct = usize::try_from(distinct).unwrap_or(usize::MAX);
                            Precision::Inexact(distinct.min(rows))
                        }
                        None => Precision::Absent,
                    },
                },
                ..ColumnStatistics::new_unknown()
            }
        };
        Statistics {
            num_rows: if stored.rows_exact {
                Precision::Exact(rows)
            } else {
                Precision::Inexact(rows)
            },
            // Joins choose their sides by it where it is given; what is stored, of all columns,
            // says less of what they collect than the number of rows.
            total_byte_size: Precision::Absent,
            column_statistics: self.to_tree.iter().enumerate().map(column).collect(),
        }
    }
}

#[async_trait]
impl TableProvider for SiltTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn constraints(&self) -> Option<&Constraints> {
        Some(&self.constraints)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let plan = self.shape.plan(filters);
        Ok(plan
            .exact
            .into_iter()
            .map(|exact| match exact {
                true => TableProviderFilterPushDown::Exact,
                false => TableProviderFilterPushDown::Inexact,
            })
            .collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(Statistics::clone(&self.table_statistics()))
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = state.config().get_extension::<ScanOptions>();
        let filters: Vec<&Expr> = filters.iter().collect();
        let plan = self.shape.plan(&filters);
        // What was promised before its placeholders were bound, and the bound values deny.
        let left_over: Vec<Expr> = filters
            .iter()
            .zip(&plan.exact)
            .filter(|(filter, exact)| !**exact && self.shape.may_be_exact(filter))
            .map(|(filter, _)| (*filter).clone())
            .collect();
        let wanted: Vec<usize> = match projection {
            Some(projection) => projection.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let mut read = wanted.clone();
        for column in left_over.iter().flat_map(|filter| filter.column_refs()) {
            let index = self.schema.index_of(&column.name)?;
            if !read.contains(&index) {
                read.push(index);
            }
        }
        let lookup = |name: &str| self.lookup(name);
        let mut prune: Vec<Predicate> = filters
            .iter()
            .zip(&plan.exact)
            .filter(|(_, exact)| !**exact)
            .filter_map(|(filter, _)| pruning_predicate(filter, &lookup))
            .collect();
        let predicate = match prune.len() {
            0 | 1 => prune.pop(),
            _ => Some(Predicate::And(prune)),
        };
        let every_filter_exact = plan.exact.iter().all(|exact| *exact);
        let mut statistics = Statistics::clone(&self.table_statistics());
        self.narrow(&mut statistics, &plan)?;
        let access = match plan.access {
            Access::Ranges(ranges) => {
                let rows = statistics.num_rows.get_value().copied().unwrap_or(0);
                let partitions =
                    (rows / ROWS_PER_PARTITION_MIN).clamp(1, state.config().target_partitions());
                self.partition(ranges, if limit.is_some() { 1 } else { partitions })?
            }
            Access::Points(points) => vec![Access::Points(points)],
        };
        let scan: Arc<dyn ExecutionPlan> = Arc::new(SiltScan::new(ScanParts {
            name: self.name.clone(),
            schema: Arc::new(self.schema.project(&read)?),
            projection: read.iter().map(|&column| self.to_tree[column]).collect(),
            key: self
                .key
                .iter()
                .map(|column| column.and_then(|column| read.iter().position(|&at| at == column)))
                .collect(),
            tree: self.tree.clone(),
            snapshot: self.snapshot()?.clone(),
            partitions: access,
            predicate,
            exact: every_filter_exact,
            absorbed: false,
            dynamic: Vec::new(),
            options: options.map_or_else(ScanOptions::default, |options| *options),
            fetch: limit.filter(|_| every_filter_exact),
            statistics: statistics.project(Some(&read)),
        })?);
        let Some(left_over) = conjunction(left_over) else { return Ok(scan) };
        let schema = DFSchema::try_from(scan.schema())?;
        let predicate = state.create_physical_expr(left_over, &schema)?;
        let filter = FilterExecBuilder::new(predicate, scan)
            .apply_projection(Some((0..wanted.len()).collect()))?
            .build()?;
        Ok(Arc::new(filter))
    }

    async fn insert_into(
        &self,
        _state: &dyn Session,
        _input: Arc<dyn ExecutionPlan>,
        _insert_op: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        reached_a_hook("insert_into")
    }

    async fn delete_from(
        &self,
        _state: &dyn Session,
        _filters: Vec<Expr>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        reached_a_hook("delete_from")
    }

    async fn update(
        &self,
        _state: &dyn Session,
        _assignments: Vec<(String, Expr)>,
        _filters: Vec<Expr>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        reached_a_hook("update")
    }

    async fn truncate(&self, _state: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        reached_a_hook("truncate")
    }
}

impl SiltTable {
    /// Makes of the whole table's statistics those of the rows that `access` reaches.
    fn narrow(&self, statistics: &mut Statistics, plan: &KeyPlan) -> Result<()> {
        let all = statistics.num_rows.get_value().copied().unwrap_or(0);
        let rows = match &plan.access {
            Access::Points(points) => points.len(),
            Access::Ranges(ranges) if *ranges == [KeyRange::all()] => return Ok(()),
            Access::Ranges(ranges) => {
                let mut rows = 0;
                for range in ranges.iter().take(RANGES_ESTIMATED) {
                    let here = self.tree.estimate_rows(range, self.snapshot()?);
                    rows += usize::try_from(here.map_err(crate::Error::from)?).unwrap_or(all);
                }
                let rows = rows * ranges.len().div_ceil(RANGES_ESTIMATED);
                // Row groups are a coarse measure of few rows; that of values is a finer one.
                let distinct = self.key.iter().take(plan.fixed).map(|column| {
                    let column = statistics.column_statistics.get((*column)?)?;
                    column.distinct_count.get_value().copied()
                });
                match distinct.collect::<Option<Vec<_>>>() {
                    Some(distinct) if !distinct.is_empty() => {
                        let prefixes = distinct.into_iter().fold(1, usize::saturating_mul);
                        rows.min((all / prefixes.max(1)).max(1) * ranges.len())
                    }
                    _ => rows,
                }
            }
        };
        let rows = rows.min(all);
        let owned = std::mem::take(statistics).to_inexact();
        *statistics = Statistics { num_rows: Precision::Inexact(rows), ..owned };
        Ok(())
    }

    /// Splits `ranges` into at most `partitions` groups of neighbours.
    fn partition(&self, ranges: Vec<KeyRange>, partitions: usize) -> Result<Vec<Access>> {
        if ranges.is_empty() {
            return Ok(vec![Access::Points(Vec::new())]);
        }
        if partitions == 1 {
            return Ok(vec![Access::Ranges(ranges)]);
        }
        let parts: Vec<KeyRange> = match ranges.as_slice() {
            [one] => {
                self.tree.split(one, partitions, self.snapshot()?).map_err(crate::Error::from)?
            }
            _ => ranges,
        };
        let size = parts.len().div_ceil(partitions).max(1);
        Ok(parts.chunks(size).map(|ranges| Access::Ranges(ranges.to_vec())).collect())
    }
}

/// DataFusion drops predicates on the way to these hooks (apache/datafusion#24654), so no
/// statement of ours goes through them.
fn reached_a_hook<T>(hook: &str) -> Result<T, DataFusionError> {
    internal_err!("a statement reached the provider's hook {hook}, which changes no rows")
}
