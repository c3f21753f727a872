//! [`Prepared`]: a statement parsed and planned once.

mod describe;

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::Statement;
use parking_lot::Mutex;

use crate::control::Control;
use crate::dml::distinct_output;
use crate::interrupt::Run;
use crate::optimizer::{is_small, reads_one_table};
use crate::params::Slot;
use crate::parse::Source;
use crate::planner::{Binding, Bound, detach};
use crate::point::Optimised;
use crate::point::is_steady;
use crate::point::{Arg, Call, KeptText, Units, ValueRows, Values, lift};
use crate::session::{bind, execute, execute_bound};
use crate::shared::guarded;
use crate::statement::{Planned, Setting};
use crate::transaction::Current;
use crate::{Error, InterruptHandle, Params, Result, Shared, StatementResult, guard, refuse};

pub use describe::{Description, ParameterDescription};

/// A statement that is run often with other parameters, each time against the newest data.
///
/// The plan of a query is kept with its parameters open, as long as catalog and types of the
/// parameters stay the same. Statements that change rows are planned at each run.
pub struct Prepared {
    shared: Arc<Shared>,
    state: Arc<SessionState>,
    current: Arc<Current>,
    source: Source,
    /// What it says about the transaction, if that is all it says.
    control: Option<Control>,
    kept: Mutex<Option<Kept>>,
    units: Units,
    insert: Option<InsertForm>,
}

/// An INSERT of VALUES.
#[derive(Debug)]
struct InsertForm {
    /// The statement without its rows.
    kept: KeptText,
    rows: ValueRows<'static>,
}

/// A plan with open parameters, bound to a moment that is over.
struct Kept {
    catalog_version: u64,
    types: Vec<DataType>,
    plan: LogicalPlan,
    optimised: Option<Optimised>,
    /// Whether no run needs the time at which it began.
    is_timeless: bool,
}

impl Prepared {
    pub(crate) fn new(
        shared: Arc<Shared>,
        state: Arc<SessionState>,
        current: Arc<Current>,
        source: Source,
        sql: &str,
    ) -> Result<Self> {
        let (kept, units) = (Mutex::new(None), Units::default());
        let (insert, control) = (InsertForm::new(sql), Control::read(&source)?);
        let prepared = Self { shared, state, current, source, control, kept, units, insert };
        if control.is_some() {
            return Ok(prepared);
        }
        if prepared.source.slots().is_empty() && !prepared.source.writes() {
            // Names and types show now; with parameters they may depend on the values.
            *prepared.kept.lock() = prepared.plan(&Bound::default())?;
        } else {
            drop(prepared.source.parse()?);
        }
        Ok(prepared)
    }

    /// Whether it is BEGIN, COMMIT or ROLLBACK.
    pub fn is_about_transactions(&self) -> bool {
        self.control.is_some()
    }

    /// A query of a text without its literals, if it reads one table, or few rows with these:
    /// another's plan is made for its own, which say how many rows there are.
    pub(crate) fn small(
        shared: Arc<Shared>,
        state: Arc<SessionState>,
        current: Arc<Current>,
        source: Source,
        literals: &[ScalarValue],
    ) -> Option<Self> {
        let (kept, units, insert, control) = (Mutex::new(None), Units::default(), None, None);
        let prepared = Self { shared, state, current, source, control, kept, units, insert };
        let kept = guarded(|| prepared.plan(&Bound(literals.to_vec()))).ok()??;
        // A column that is named after a literal would be named after its parameter.
        let is_named = |field: &Arc<Field>| !field.name().contains('$');
        let optimised = kept.optimised.as_ref()?;
        let plan = optimised.values(literals)?.apply(optimised.plan.clone()).ok()?;
        let is_small = is_small(&plan, &prepared.shared.options().scan).ok()?;
        let serves = is_small || reads_one_table(&plan);
        if !serves || !kept.plan.schema().fields().iter().all(is_named) {
            return None;
        }
        *prepared.kept.lock() = Some(kept);
        Some(prepared)
    }

    /// How many parameters it has.
    pub fn parameter_count(&self) -> usize {
        self.source.slots().len()
    }

    /// The columns it gives, for a query whose types are known: before its first run only if it
    /// has no parameters.
    pub fn schema(&self) -> Option<SchemaRef> {
        let kept = self.kept.lock();
        kept.as_ref().map(|kept| {
            let schema: &Schema = kept.plan.schema().as_arrow();
            Arc::new(schema.clone())
        })
    }

    /// Runs it.
    ///
    /// # Errors
    /// `Invalid` if a parameter has no value or does not fit; else what the statement says.
    pub fn execute(&self, params: &Params) -> Result<StatementResult> {
        self.execute_until(params, self.current.interrupts())
    }

    /// As [`execute`](Self::execute), but ended by `handle` alone and not by its session's.
    ///
    /// # Errors
    /// As there; `Interrupted` if the handle is used before it is done.
    pub fn execute_until(
        &self,
        params: &Params,
        handle: &InterruptHandle,
    ) -> Result<StatementResult> {
        params.check_used(self.source.slots().iter())?;
        if let Some(control) = self.control {
            return self.current.control(&self.shared, control);
        }
        if let Some(result) = self.by_keys(params)? {
            return Ok(result);
        }
        if self.source.writes() {
            let (shared, current) = (&self.shared, &self.current);
            return execute(shared, &self.now(), current, &self.source, params, handle);
        }
        let query = || self.query(params.bind(self.source.slots())?, handle);
        self.current.guarded(query).map_err(|error| {
            let place = error.subject().and_then(|name| self.source.find(name));
            error.at(place)
        })
    }

    /// Runs it without the planner, if it is a statement of that kind.
    fn by_keys(&self, params: &Params) -> Result<Option<StatementResult>> {
        if !self.shared.options().point_statements {
            return Ok(None);
        }
        let slots = self.source.slots().iter();
        let args = slots.map(|slot| params.of_slot(slot).map(Arg::Scalar));
        if let Some(insert) = &self.insert {
            return self.insert_values(insert, Values::Rows(&insert.rows, params));
        }
        // A value that is missing is named by the planned way.
        let Some(args) = args.collect::<Option<Vec<_>>>() else { return Ok(None) };
        let call = Call { args: &args, values: None };
        self.current.guarded(|| {
            self.units.run(&self.shared, &self.state, &self.current, &self.source, call)
        })
    }

    fn insert_values(
        &self,
        insert: &InsertForm,
        values: Values<'_>,
    ) -> Result<Option<StatementResult>> {
        let InsertForm { kept, .. } = insert;
        let call = Call { args: &[], values: Some(values) };
        self.current.guarded(|| {
            kept.units.run(&self.shared, &self.state, &self.current, &kept.source, call)
        })
    }

    /// Runs an INSERT of one row of VALUES once for each set of parameters, as one statement: all
    /// rows are committed together. Gives the number of rows written.
    ///
    /// # Errors
    /// `Unsupported` for another statement; `Invalid` if a parameter has no value or does not fit;
    /// else what the statement says of all rows.
    pub fn execute_many(&self, params: &[Params]) -> Result<u64> {
        for params in params {
            params.check_used(self.source.slots().iter())?;
            params.check_given(self.source.slots())?;
        }
        self.many(|insert| Values::Many(&insert.rows, params))
    }

    /// As [`execute_many`](Self::execute_many) with a row of `batch` for each set of parameters:
    /// its columns stand for them by position, or by name for `:name`.
    ///
    /// # Errors
    /// As there.
    pub fn execute_batch(&self, batch: &RecordBatch) -> Result<u64> {
        let missing = |slot: &&Slot| match slot {
            Slot::Number(number) => *number > batch.num_columns(),
            Slot::Named(name) => batch.column_by_name(name).is_none(),
        };
        if let Some(slot) = self.source.slots().iter().find(missing) {
            return Err(Error::invalid(format!("parameter {slot} has no column in the batch")));
        }
        self.many(|insert| Values::Columns(&insert.rows, batch))
    }

    fn many<'a>(&'a self, values: impl FnOnce(&'a InsertForm) -> Values<'a>) -> Result<u64> {
        let unsupported = || Error::unsupported("many sets of parameters for this statement");
        let insert = self.insert.as_ref().filter(|insert| insert.rows.len() == 1);
        let insert = insert.ok_or_else(unsupported)?;
        match self.insert_values(insert, values(insert))? {
            Some(StatementResult::Count { rows, .. }) => Ok(rows),
            _ => Err(unsupported()),
        }
    }

    /// Runs a query with these values of its parameters.
    pub(crate) fn query(
        &self,
        values: Vec<ScalarValue>,
        handle: &InterruptHandle,
    ) -> Result<StatementResult> {
        let bound = Bound(values);
        let types: Vec<DataType> = bound.0.iter().map(|value| value.data_type()).collect();
        let binding = self.bind()?;
        let kept = {
            let mut kept = self.kept.lock();
            let fits = kept.as_ref().is_some_and(|kept| {
                kept.catalog_version == binding.names.version() && kept.types == types
            });
            if !fits {
                *kept = self.plan(&bound)?;
            }
            kept.as_ref().map(|kept| {
                let state = if kept.is_timeless { Arc::clone(&self.state) } else { self.now() };
                (kept.plan.clone(), kept.optimised.clone(), state)
            })
        };
        let Some((plan, optimised, state)) = kept else {
            let state = self.now();
            let (shared, current) = (&self.shared, &self.current);
            return execute_bound(shared, &state, current, &self.source, &bound, handle);
        };
        let values = optimised.as_ref().and_then(|optimised| optimised.values(&bound.0));
        let run = Run::new(self.shared.options(), &state, handle);
        let setting = Setting { state, binding: binding.clone(), bound, run: Arc::clone(&run) };
        let planned = self.shared.run(self.source.len(), async move {
            if let (Some(Optimised { plan, .. }), Some(values)) = (optimised, values) {
                let plan = values.apply(setting.binding.rebind(plan)?)?;
                // What goes wrong is said by the plan of these values.
                if let Ok(stream) = setting.start_optimised(&plan).await {
                    return Ok(Planned::Query(stream));
                }
            }
            let plan = setting.binding.rebind(plan)?;
            let plan = setting.bound.apply(plan)?;
            Ok(Planned::Query(setting.start(&plan).await?))
        })?;
        planned.run(&self.shared, &binding, &run)
    }

    /// The plan with open parameters; none for what is no plain query.
    fn plan(&self, bound: &Bound) -> Result<Option<Kept>> {
        let binding = self.bind()?;
        let types = bound.0.iter().map(|value| value.data_type()).collect();
        let catalog_version = binding.names.version();
        let setting = self.setting(binding, bound.clone());
        let source = self.source.clone();
        let caches_plans = self.shared.options().point_statements;
        let plan = self.shared.run(self.source.len(), async move {
            let mut statement = source.parse()?;
            guard::check(&mut statement)?;
            refuse::by_clauses(&statement)?;
            match statement {
                Statement::Query(mut query) => {
                    distinct_output(&mut query);
                    let plan = setting.planner().plan_unbound(Statement::Query(query))?;
                    let is_timeless = is_steady(&plan)?;
                    let optimised = match is_timeless && caches_plans {
                        true => Optimised::new(&setting, &plan).unwrap_or_default(),
                        false => None,
                    };
                    let optimised = optimised.map(Optimised::detached).transpose()?;
                    Ok(Some((detach(plan)?, optimised, is_timeless)))
                }
                _ => Ok(None),
            }
        })?;
        Ok(plan.map(|(plan, optimised, is_timeless)| Kept {
            catalog_version,
            types,
            plan,
            optimised,
            is_timeless,
        }))
    }

    /// What planning needs.
    fn setting(&self, binding: Binding, bound: Bound) -> Setting {
        let state = self.now();
        let run = Run::new(self.shared.options(), &state, self.current.interrupts());
        Setting { state, binding, bound, run }
    }

    fn bind(&self) -> Result<Binding> {
        bind(&self.shared, self.current.get().as_ref(), false)
    }

    /// The session's state with the time of this run.
    fn now(&self) -> Arc<SessionState> {
        let mut state = SessionState::clone(&self.state);
        state.mark_start_execution();
        Arc::new(state)
    }
}

impl InsertForm {
    fn new(sql: &str) -> Option<Self> {
        let lifted = lift(sql)?;
        let rows = lifted.rows?.into_owned();
        let kept = KeptText::new(&lifted.key).ok().flatten()?;
        // Their places among the others are lost with the rows.
        kept.given().is_empty().then_some(Self { kept, rows })
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("source", &self.source).finish_non_exhaustive()
    }
}
