//! Rules of our own. One is logical: [`JoinOrder`]. Of the physical ones, each takes from operators
//! what the scan below can do.
//!
//! 1. [`seeks::choose`]: joins of few rows with a table by its key collect those rows. It follows
//!    DataFusion's choice of sides, and is followed by its distribution of rows.
//! 2. [`aggregate::keyed`]: groups by the first columns of a table's key are complete where its
//!    scan has them next to each other. Before DataFusion's distribution of rows, which is then
//!    made for those above.
//! 3. [`undealt`]: a scan of one partition is a small one; its batches are not dealt out.
//! 4. [`told`]: what DataFusion told a scan of another column of the same name is taken back.
//! 5. [`absorb`]: comparisons with constants move from a `FilterExec` into the scan, which
//!    evaluates them on encoded vectors and decodes only what passes.
//! 6. [`like`]: what is left of them looks for several pieces of text without regular expressions.
//! 7. [`aggregate`]: a partial aggregate over a scan takes the scan's rows before they are
//!    decoded and groups by the codes of dictionaries.
//! 8. [`distinct`]: distinct short strings are numbers in tables that fit the cache.
//! 9. [`seeks::seek`]: joins that collect rows and meet a table by its key may seek it.
//! 10. [`aggregate::kept`]: aggregates that compute the same share it.
//!
//! The last seven come last, so that DataFusion plans (distribution, order) as it would without.

mod absorb;
mod aggregate;
mod distinct;
mod joins;
mod like;
mod seeks;
mod size;
mod told;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};

use crate::ScanOptions;
use crate::provider::scan::SiltScan;

pub(crate) use joins::{CrossedOnly, JoinOrder};
pub(crate) use size::{is_small, reads_one_table};

/// DataFusion's logical rules, and among them our own: joins are ordered once filters stand where
/// they belong.
pub(crate) fn logical_rules(options: &ScanOptions) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    let after = rules.iter().position(|rule| rule.name() == "push_down_filter");
    if let (true, Some(after)) = (options.joins, after) {
        rules.insert(
            after + 1,
            Arc::new(JoinOrder { seeks: options.seeks, narrows: options.narrows }),
        );
        for rule in rules.iter_mut().filter(|rule| rule.name() == "eliminate_cross_join") {
            *rule = Arc::new(CrossedOnly(Arc::clone(rule)));
        }
    }
    rules
}

/// DataFusion's physical rules, and among and behind them those of our own that `options` allow.
pub(crate) fn rules(options: &ScanOptions) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let after = rules.iter().position(|rule| rule.name() == "join_selection");
    if let (true, Some(after)) = (options.seeks, after) {
        let choose = Replace { name: "silt_choose_seeks", replace: seeks::choose };
        rules.insert(after + 1, Arc::new(choose));
    }
    let before = rules.iter().position(|rule| rule.name() == "EnsureRequirements");
    if let (true, Some(before)) = (options.aggregates, before) {
        let keyed = Replace { name: "silt_keyed_aggregates", replace: aggregate::keyed::replace };
        rules.insert(before, Arc::new(keyed));
    }
    let after = rules.iter().rposition(|rule| rule.name().starts_with("FilterPushdown"));
    if let (true, Some(after)) = (options.dynamic, after) {
        rules.insert(after + 1, Arc::new(told::Told));
    }
    if options.filters || options.aggregates {
        rules.push(Arc::new(Replace { name: "silt_undealt_scans", replace: undealt }));
    }
    if options.filters {
        rules.push(Arc::new(Replace { name: "silt_absorb_filters", replace: absorb::absorb }));
        rules.push(Arc::new(Replace { name: "silt_pieces_of_text", replace: like::replace }));
    }
    if options.aggregates {
        rules.push(Arc::new(Replace {
            name: "silt_encoded_aggregates",
            replace: aggregate::replace,
        }));
        rules.push(Arc::new(Replace { name: "silt_distinct_strings", replace: distinct::replace }));
    }
    if options.seeks {
        rules.push(Arc::new(Replace { name: "silt_index_joins", replace: seeks::seek }));
    }
    if options.aggregates && options.shared {
        rules.push(Arc::new(Shared));
    }
    rules
}

/// See [`aggregate::kept`].
#[derive(Debug)]
struct Shared;

impl PhysicalOptimizerRule for Shared {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        aggregate::kept::share(plan)
    }

    fn name(&self) -> &'static str {
        "silt_shared_aggregates"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A plan in the place of another that does the same, or none if it is to stay.
type Replacement = Result<Option<Arc<dyn ExecutionPlan>>>;

/// A physical rule that puts one operator in the place of another wherever it can, from the leaves
/// up.
#[derive(Debug)]
struct Replace {
    name: &'static str,
    replace: fn(&dyn ExecutionPlan) -> Replacement,
}

impl PhysicalOptimizerRule for Replace {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            Ok(match (self.replace)(&*plan)? {
                Some(other) => Transformed::yes(other),
                None => Transformed::no(plan),
            })
        })
        .data()
    }

    fn name(&self) -> &str {
        self.name
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The scan of one partition below, whose batches need not be dealt out.
fn undealt(plan: &dyn ExecutionPlan) -> Replacement {
    let dealt = plan.downcast_ref::<RepartitionExec>().filter(|dealt| {
        matches!(dealt.partitioning(), Partitioning::RoundRobinBatch(_))
            && scan_of(dealt.input()).is_some_and(|scan| scan.parts().partitions.len() == 1)
    });
    Ok(dealt.map(|dealt| Arc::clone(dealt.input())))
}

/// The scan that `plan` is, or that it only makes cooperative.
fn scan_of(plan: &Arc<dyn ExecutionPlan>) -> Option<&SiltScan> {
    match plan.downcast_ref::<CooperativeExec>() {
        Some(cooperative) => cooperative.input().downcast_ref::<SiltScan>(),
        None => plan.downcast_ref::<SiltScan>(),
    }
}
