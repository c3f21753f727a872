//! Filters above scans: what a scan evaluates exactly is not evaluated again above it.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{conjunction, split_conjunction};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use silt_storage::Predicate;

use super::{Replacement, scan_of};
use crate::provider::absorb::exact_predicate;
use crate::provider::scan::SiltScan;

/// The plan in which the scan below takes over what it can, if it can anything.
pub(super) fn absorb(plan: &dyn ExecutionPlan) -> Replacement {
    let Some(filter) = plan.downcast_ref::<FilterExec>() else { return Ok(None) };
    let Some(scan) = scan_of(filter.input()) else { return Ok(None) };
    let parts = scan.parts();
    if !parts.can_filter() || !parts.options.filters {
        return Ok(None);
    }
    let (mut absorbed, mut left) = (Vec::new(), Vec::new());
    for one in split_conjunction(filter.predicate()) {
        match exact_predicate(one, parts) {
            Some(predicate) => absorbed.push(predicate),
            None => left.push(Arc::clone(one)),
        }
    }
    if absorbed.is_empty() {
        return Ok(None);
    }
    let mut parts = parts.clone();
    let predicate = match absorbed.len() {
        1 => absorbed.swap_remove(0),
        _ => Predicate::And(absorbed),
    };
    if left.is_empty() {
        if let Some(projection) = filter.projection() {
            parts = parts.project(projection)?;
        }
        parts.fetch = filter.fetch().or(parts.fetch);
        return Ok(Some(cooperative(scan.filtered(parts, predicate))));
    }
    // What only the absorbed conditions name need not be given out any more.
    let output: Vec<usize> = match filter.projection() {
        Some(projection) => projection.to_vec(),
        None => (0..parts.schema.fields().len()).collect(),
    };
    let predicate_left = conjunction(left);
    let mut read = output.clone();
    for column in collect_columns(&predicate_left) {
        if !read.contains(&column.index()) {
            read.push(column.index());
        }
    }
    let place = |index: usize| read.iter().position(|&other| other == index);
    let moved = predicate_left.transform(|expr| {
        Ok(match expr.downcast_ref::<Column>() {
            Some(column) => {
                let index = place(column.index()).unwrap_or(column.index());
                Transformed::yes(Arc::new(Column::new(column.name(), index)) as _)
            }
            None => Transformed::no(expr),
        })
    });
    let scan = cooperative(scan.filtered(parts.project(&read)?, predicate));
    let builder = FilterExecBuilder::new(moved.data()?, scan)
        .with_default_selectivity(filter.default_selectivity())
        .with_batch_size(filter.batch_size())
        .with_fetch(filter.fetch())
        .apply_projection(Some((0..output.len()).collect()))?;
    Ok(Some(Arc::new(builder.build()?)))
}

fn cooperative(scan: SiltScan) -> Arc<dyn ExecutionPlan> {
    Arc::new(CooperativeExec::new(Arc::new(scan)))
}
