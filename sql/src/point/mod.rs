//! Statements that name keys, compiled once and run without the planner.
//!
//! 1. When a prepared statement runs first, or a text comes for the second time (`cache.rs`, which
//!    lifts literals out of the text, `lift.rs`), [`Units::compile`] lets DataFusion resolve, type
//!    and optimise it, and looks at what is left (`compile.rs`). A [`Unit`] is kept for the types of
//!    its parameters and the catalog it was made under.
//! 2. An execution encodes keys (`constant.rs`) and calls the tree on the caller's own thread
//!    (`select.rs`; `chain` from key to key): no planner, no runtime, no channel. Where arguments do not mean exactly what
//!    they would have meant to the analyzer, the statement goes the planned way.
//!
//! `SqlOptions::point_statements` switches all of it off.

mod cache;
mod chain;
mod change;
mod compile;
mod constant;
mod door;
mod found;
mod insert;
mod lift;
mod optimised;
mod select;

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{Query, Statement};
use parking_lot::RwLock;

pub(crate) use cache::{KeptText, StatementCache};
pub(crate) use constant::Arg;
pub use door::Table;
pub use found::FoundRow;
pub(crate) use insert::Values;
pub(crate) use lift::{ValueRows, lift};
pub(crate) use select::PointScan;

use compile::is_timeless;
pub(crate) use compile::{is_steady, is_steady_expr};
pub(crate) use optimised::Optimised;

use crate::dml::{self, distinct_output};
use crate::interrupt::Run;
use crate::parse::Source;
use crate::planner::{Binding, Bound};
use crate::result::RowStream;
use crate::role::{self, Deed};
use crate::session::{ATTEMPTS, bind};
use crate::statement::Setting;
use crate::transaction::Current;
use crate::{InterruptHandle, Result, Shared, StatementResult, guard, refuse};
use chain::PointChain;
use change::{Kind, PointChange};
use insert::PointInsert;
use select::{PointSelect, Rows};

/// Forms of one statement that are kept, for parameters of different types.
const VARIANTS_MAX: usize = 4;

/// A compiled statement.
#[derive(Debug)]
enum Unit {
    Select(PointSelect),
    Chain(PointChain),
    Change(PointChange),
    Insert(PointInsert),
}

/// What one execution is given.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// The parameters' values.
    pub(crate) args: &'a [Arg<'a>],
    /// The rows of an INSERT.
    pub(crate) values: Option<Values<'a>>,
}

/// The compiled forms of one statement.
#[derive(Debug, Default)]
pub(crate) struct Units {
    variants: RwLock<Vec<Variant>>,
}

#[derive(Clone, Debug)]
struct Variant {
    catalog_version: u64,
    types: Arc<[DataType]>,
    /// None: not a statement of this kind.
    unit: Option<Arc<Unit>>,
}

impl Variant {
    fn fits(&self, catalog_version: u64, args: &[Arg<'_>]) -> bool {
        // NULL of any type compares alike.
        let same = |(data_type, arg): (&DataType, &Arg<'_>)| {
            arg.is_null() || *data_type == arg.data_type()
        };
        self.catalog_version == catalog_version
            && self.types.len() == args.len()
            && self.types.iter().zip(args).all(same)
    }
}

impl Units {
    /// Runs the statement by its keys, again if it loses against another commit; none if the
    /// planner must run it.
    pub(crate) fn run(
        &self,
        shared: &Arc<Shared>,
        state: &Arc<SessionState>,
        current: &Current,
        source: &Source,
        call: Call<'_>,
    ) -> Result<Option<StatementResult>> {
        let writes = source.writes();
        let transaction = current.get();
        let _turn = transaction.as_ref().filter(|_| writes).map(|own| own.turn());
        let mut attempt = 1;
        loop {
            let binding = bind(shared, transaction.as_ref(), writes)?;
            let Some(unit) = self.unit(shared, state, source, &binding, call)? else {
                return Ok(None);
            };
            match unit.run(shared, state, call, &binding) {
                Err(error) if binding.may_retry(&error) && attempt < ATTEMPTS => attempt += 1,
                done => {
                    if !matches!(done, Ok(None)) {
                        shared.count_point_run();
                    }
                    return done;
                }
            }
        }
    }

    fn unit(
        &self,
        shared: &Arc<Shared>,
        state: &Arc<SessionState>,
        source: &Source,
        binding: &Binding,
        call: Call<'_>,
    ) -> Result<Option<Arc<Unit>>> {
        let catalog_version = binding.names.version();
        if let Some(variant) =
            self.variants.read().iter().find(|variant| variant.fits(catalog_version, call.args))
        {
            return Ok(variant.unit.clone());
        }
        let types: Arc<[DataType]> = call.args.iter().map(Arg::data_type).collect();
        // What fails here is said by the planned way, with its place in the text.
        let unit = compile(shared, state, source, binding, call).unwrap_or_default();
        let unit = unit.map(Arc::new);
        let variant = Variant { catalog_version, types, unit: unit.clone() };
        let mut variants = self.variants.write();
        variants.retain(|variant| variant.catalog_version == catalog_version);
        if variants.len() == VARIANTS_MAX {
            variants.remove(0);
        }
        variants.push(variant);
        Ok(unit)
    }
}

fn compile(
    shared: &Arc<Shared>,
    state: &Arc<SessionState>,
    source: &Source,
    binding: &Binding,
    call: Call<'_>,
) -> Result<Option<Unit>> {
    let bound: Vec<ScalarValue> = call.args.iter().map(|arg| arg.to_scalar()).collect();
    let types: Vec<DataType> = call.args.iter().map(Arg::data_type).collect();
    let run = Run::new(shared.options(), state, &InterruptHandle::new());
    let (state, binding) = (Arc::clone(state), binding.clone());
    let setting = Setting { state, binding, bound: Bound(bound), run };
    let text = source.clone();
    let inserts = call.values.is_some();
    shared.run(source.len(), async move {
        let mut statement = text.parse()?;
        guard::check(&mut statement)?;
        refuse::by_clauses(&statement)?;
        match statement {
            Statement::Insert(insert) if inserts => {
                Ok(PointInsert::new(&setting.planner(), &insert)?.map(Unit::Insert))
            }
            _ if inserts => Ok(None),
            Statement::Query(query) => {
                let Some(plan) = optimised(&setting, *query, is_timeless)? else {
                    return Ok(None);
                };
                if let Some(select) = compile::select(&plan, &setting.binding, &types)? {
                    return Ok(Some(Unit::Select(select)));
                }
                Ok(chain::chain(&plan, &setting.binding, &types)?.map(Unit::Chain))
            }
            Statement::Update(update) => {
                let (table, query, moves) = dml::plan_update(&setting.binding, update, None)?;
                change(&setting, query, &types, table, Kind::Update { moves })
            }
            Statement::Delete(delete) => {
                let (table, query) = dml::plan_delete(&setting.binding, delete, None)?;
                change(&setting, query, &types, table, Kind::Delete)
            }
            _ => Ok(None),
        }
    })
}

fn change(
    setting: &Setting,
    query: Query,
    types: &[DataType],
    table: Arc<silt_catalog::TableDef>,
    kind: Kind,
) -> Result<Option<Unit>> {
    let Some(plan) = optimised(setting, query, is_steady)? else { return Ok(None) };
    Ok(PointChange::new(&plan, &setting.binding, types, table, kind)?.map(Unit::Change))
}

/// The optimised plan of a query with its parameters open; none if it `serves` no other run.
fn optimised(
    setting: &Setting,
    mut query: Query,
    serves: impl Fn(&LogicalPlan) -> Result<bool>,
) -> Result<Option<LogicalPlan>> {
    distinct_output(&mut query);
    let plan = setting.planner().plan_unbound(Statement::Query(Box::new(query)))?;
    if !serves(&plan)? {
        return Ok(None);
    }
    Ok(Some(setting.state.optimize(&plan)?))
}

impl Unit {
    fn deed(&self) -> Deed {
        match self {
            Self::Select(_) | Self::Chain(_) => Deed::Query,
            Self::Change(_) | Self::Insert(_) => Deed::ChangeRows,
        }
    }

    fn run(
        &self,
        shared: &Arc<Shared>,
        state: &Arc<SessionState>,
        call: Call<'_>,
        binding: &Binding,
    ) -> Result<Option<StatementResult>> {
        let count = |tag, rows: Option<u64>| rows.map(|rows| StatementResult::Count { tag, rows });
        role::permit(state, self.deed())?;
        match self {
            Self::Select(select) => {
                let Some(rows) = select.run(call.args, &binding.snapshot)? else { return Ok(None) };
                let schema = Arc::clone(select.schema());
                let stream = match rows {
                    Rows::None => RowStream::ready(Vec::new()),
                    Rows::One(values) => {
                        RowStream::found(FoundRow::new(Arc::clone(&schema), values))
                    }
                    Rows::Batch(batch) => RowStream::ready(vec![batch]),
                    Rows::Scan(scan) => RowStream::scan(Arc::clone(shared), scan),
                };
                Ok(Some(StatementResult::Rows { schema, stream }))
            }
            Self::Chain(chain) => {
                let Some(batch) = chain.run(call.args, &binding.snapshot)? else { return Ok(None) };
                let (schema, stream) = (batch.schema(), RowStream::ready(vec![batch]));
                Ok(Some(StatementResult::Rows { schema, stream }))
            }
            Self::Change(change) => {
                Ok(count(change.tag(), change.run(shared, state, binding, call.args)?))
            }
            Self::Insert(insert) => match call.values {
                Some(values) => Ok(count("INSERT", insert.run(shared, state, binding, values)?)),
                None => Ok(None),
            },
        }
    }
}
