//! [`PointChain`]: joins that lead from key to key, without the planner.
//!
//! Constants name rows of one table by the first columns of its key; the values found there name
//! rows of the next table by its key, and so on: what lies some hops away in a graph, an order and
//! its lines. [`Node`]s are run one by one, each over all rows of the one before (`hop.rs`): of the
//! keys that these ask for each is looked up once, in order. What comes may be made distinct,
//! counted, sorted and cut off ([`Step`]).
//!
//! Nothing tells beforehand how many rows a key has. A chain that meets more than planning would
//! have been worth is given up, and stays so for its next runs: the planner knows better ways for
//! many rows.

mod compile;
mod hop;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use datafusion::arrow::array::{
    Array, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array,
};
use datafusion::arrow::compute::{SortColumn, SortOptions, lexsort_to_indices, take};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::row::{RowConverter, SortField};
use silt_storage::Snapshot;

pub(super) use compile::chain;
use hop::{Hop, Seek};

use super::constant::{Arg, Constant};
use crate::Error;

/// Keys that one run looks up at most, and rows that it holds of one table.
const SEEKS_MAX: usize = 1_024;
const ROWS_MAX: usize = 8_192;

/// Runs that a chain rests after it was given up.
const RESTS: u32 = 64;

/// A query along keys. See the module.
#[derive(Debug)]
pub(crate) struct PointChain {
    schema: SchemaRef,
    node: Node,
    /// Runs that are the planner's, since one met too many rows.
    rests: AtomicU32,
}

/// Where rows come from.
#[derive(Debug)]
enum Node {
    /// A table, by constants.
    Seek(Box<Seek>),
    /// A table, by what was found before.
    Hop(Box<Hop>),
    Step(Box<Node>, Step),
}

/// What is done with rows.
#[derive(Debug)]
enum Step {
    /// These columns of them, in this order.
    Pick(Vec<usize>),
    /// Each once.
    Distinct,
    /// One row: for each of these how many values the column has that are not NULL, or how many
    /// rows there are.
    Count(Vec<Option<usize>>),
    Sort {
        by: Vec<(usize, SortOptions)>,
        fetch: Option<usize>,
    },
    Limit {
        skip: Option<Constant>,
        fetch: Option<Constant>,
    },
}

/// Rows on their way: columns of one length, which is needed where there are none.
struct Found {
    columns: Vec<ArrayRef>,
    rows: usize,
}

/// What one run is given.
struct Run<'a> {
    args: &'a [Arg<'a>],
    snapshot: &'a Snapshot,
    /// Keys that may still be looked up.
    seeks_left: usize,
}

/// Why a run ends without rows.
enum Stop {
    /// The planner says what the arguments mean.
    Unsure,
    /// More keys or rows than a chain is for.
    Many,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl PointChain {
    fn new(schema: SchemaRef, node: Node) -> Self {
        Self { schema, node, rests: AtomicU32::new(0) }
    }

    /// The rows at `snapshot`; none if the planner must run it.
    pub(crate) fn run(
        &self,
        args: &[Arg<'_>],
        snapshot: &Snapshot,
    ) -> crate::Result<Option<RecordBatch>> {
        let rest = |rests: u32| rests.checked_sub(1);
        if self.rests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest).is_ok() {
            return Ok(None);
        }
        let mut run = Run { args, snapshot, seeks_left: SEEKS_MAX };
        match self.node.run(&mut run) {
            Ok(found) => {
                let options = RecordBatchOptions::new().with_row_count(Some(found.rows));
                let schema = Arc::clone(&self.schema);
                Ok(Some(RecordBatch::try_new_with_options(schema, found.columns, &options)?))
            }
            Err(Stop::Unsure) => Ok(None),
            Err(Stop::Many) => {
                self.rests.store(RESTS, Ordering::Relaxed);
                Ok(None)
            }
            Err(Stop::Failed(error)) => Err(error),
        }
    }
}

impl Node {
    fn run(&self, run: &mut Run<'_>) -> Result<Found, Stop> {
        match self {
            Self::Seek(seek) => seek.run(run),
            Self::Hop(hop) => hop.run(run),
            Self::Step(node, step) => step.run(node.run(run)?, run.args),
        }
    }
}

impl Step {
    fn run(&self, found: Found, args: &[Arg<'_>]) -> Result<Found, Stop> {
        match self {
            Self::Pick(columns) => {
                let columns = columns.iter().map(|&column| Arc::clone(&found.columns[column]));
                Ok(Found { columns: columns.collect(), rows: found.rows })
            }
            Self::Distinct => found.distinct(),
            Self::Count(counted) => {
                let count = |column: &Option<usize>| {
                    let nulls = column.map_or(0, |at| found.columns[at].logical_null_count());
                    let count = i64::try_from(found.rows - nulls).unwrap_or(i64::MAX);
                    Arc::new(Int64Array::from(vec![count])) as ArrayRef
                };
                Ok(Found { columns: counted.iter().map(count).collect(), rows: 1 })
            }
            Self::Sort { by, fetch } => {
                let by = by.iter().map(|&(column, options)| SortColumn {
                    values: Arc::clone(&found.columns[column]),
                    options: Some(options),
                });
                found.take(&lexsort_to_indices(&by.collect::<Vec<_>>(), *fetch)?)
            }
            Self::Limit { skip, fetch } => {
                let count = |constant: &Option<Constant>| match constant {
                    None => Ok(None),
                    Some(constant) => constant.read_count(args).map(Some).ok_or(Stop::Unsure),
                };
                let skip = count(skip)?.unwrap_or(0).min(found.rows);
                let rows = count(fetch)?.unwrap_or(usize::MAX).min(found.rows - skip);
                let columns = found.columns.iter().map(|column| column.slice(skip, rows));
                Ok(Found { columns: columns.collect(), rows })
            }
        }
    }
}

impl Found {
    fn take(&self, indices: &UInt32Array) -> Result<Self, Stop> {
        let columns = self.columns.iter().map(|column| take(column, indices, None));
        Ok(Self { columns: columns.collect::<Result<_, _>>()?, rows: indices.len() })
    }

    fn distinct(&self) -> Result<Self, Stop> {
        let fields = self.columns.iter().map(|column| SortField::new(column.data_type().clone()));
        let converter = RowConverter::new(fields.collect())?;
        let rows = converter.convert_columns(&self.columns)?;
        let mut seen = HashSet::with_capacity(self.rows);
        let mut firsts = Vec::new();
        for (row, index) in rows.iter().zip(0..) {
            if seen.insert(row) {
                firsts.push(index);
            }
        }
        if firsts.len() == self.rows {
            return Ok(Self { columns: self.columns.clone(), rows: self.rows });
        }
        self.take(&UInt32Array::from(firsts))
    }
}
