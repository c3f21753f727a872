//! [`Kept`]: what an aggregate over a scan gave out, kept for another of the same plan that computes
//! the same.
//!
//! A query that names a CTE twice, or asks of its groups what it computes of them again, has equal
//! aggregates at several places of its plan. The one that runs first keeps what it gives out; one
//! that begins once it is through gives out the same. None waits for another: where two run side by
//! side each computes for itself, so that an operator that reads both by turns never stands still.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::ExecutionPlan;
use parking_lot::Mutex;

use super::operator::SiltAggregate;

/// More of a partition is not kept.
const BYTES_MAX: usize = 8 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Kept {
    partitions: Vec<Mutex<State>>,
    /// The aggregates that compute the same.
    sharers: usize,
}

#[derive(Debug)]
enum State {
    New,
    /// One is at it, or it was too much, or all had it.
    Gone,
    Held {
        batches: Vec<RecordBatch>,
        /// Those that have not begun.
        awaited: usize,
        /// Given back with them.
        _memory: MemoryReservation,
    },
}

/// What there is for one that begins.
pub(super) enum Turn {
    /// It computes, and keeps it.
    First(Keeper),
    /// It was computed.
    Again(Vec<RecordBatch>),
    /// It computes for itself.
    Alone,
}

/// Keeps what one partition gives out. Dropped before the end, it keeps nothing.
pub(super) struct Keeper {
    kept: Arc<Kept>,
    partition: usize,
    batches: Vec<RecordBatch>,
    memory: MemoryReservation,
}

impl Kept {
    fn new(partitions: usize, sharers: usize) -> Self {
        let partitions = (0..partitions).map(|_| Mutex::new(State::New)).collect();
        Self { partitions, sharers }
    }

    /// An aggregate begins with a partition.
    pub(super) fn begin(self: &Arc<Self>, partition: usize, context: &TaskContext) -> Turn {
        let mut state = self.partitions[partition].lock();
        match &mut *state {
            State::New => {
                *state = State::Gone;
                let memory = MemoryConsumer::new(format!("SiltAggregate[{partition}]"));
                let memory = memory.register(context.memory_pool());
                let kept = Arc::clone(self);
                Turn::First(Keeper { kept, partition, batches: Vec::new(), memory })
            }
            State::Gone => Turn::Alone,
            State::Held { batches, awaited: 1, .. } => {
                let batches = std::mem::take(batches);
                *state = State::Gone;
                Turn::Again(batches)
            }
            State::Held { batches, awaited, .. } => {
                *awaited -= 1;
                Turn::Again(batches.clone())
            }
        }
    }
}

impl Keeper {
    /// Adds what is given out; none if it is too much.
    pub(super) fn keep(mut self, batch: &RecordBatch) -> Option<Self> {
        let bytes = batch.get_array_memory_size();
        let fits = self.memory.size() + bytes <= BYTES_MAX && self.memory.try_grow(bytes).is_ok();
        self.batches.push(batch.clone());
        fits.then_some(self)
    }

    /// That was all.
    pub(super) fn end(self) {
        let awaited = self.kept.sharers - 1;
        *self.kept.partitions[self.partition].lock() =
            State::Held { batches: self.batches, awaited, _memory: self.memory };
    }
}

/// The plan with equal aggregates told of one another.
pub(in crate::optimizer) fn share(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let mut alike: Vec<Vec<Arc<dyn ExecutionPlan>>> = Vec::new();
    plan.apply(|plan| {
        if let Some(aggregate) = plan.downcast_ref::<SiltAggregate>() {
            let same = |others: &&mut Vec<Arc<dyn ExecutionPlan>>| {
                let other = others.first().and_then(|other| other.downcast_ref::<SiltAggregate>());
                other.is_some_and(|other| other.computes_same(aggregate))
            };
            match alike.iter_mut().find(same) {
                Some(others) => others.push(Arc::clone(plan)),
                None => alike.push(vec![Arc::clone(plan)]),
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    alike.retain(|same| same.len() > 1);
    if alike.is_empty() {
        return Ok(plan);
    }
    let kept: Vec<Arc<Kept>> = alike
        .iter()
        .map(|same| {
            let partitions = same[0].properties().partitioning.partition_count();
            Arc::new(Kept::new(partitions, same.len()))
        })
        .collect();
    plan.transform_up(|plan| {
        let Some(aggregate) = plan.downcast_ref::<SiltAggregate>() else {
            return Ok(Transformed::no(plan));
        };
        let is_it = |other: &Arc<dyn ExecutionPlan>| Arc::ptr_eq(other, &plan);
        let class = alike.iter().position(|same| same.iter().any(is_it));
        Ok(match class {
            Some(class) => Transformed::yes(Arc::new(aggregate.keeping(&kept[class])) as _),
            None => Transformed::no(plan),
        })
    })
    .data()
}
