//! One statement, from its tree to what is left to do on the caller's thread.
//!
//! 1. `parse.rs` gave the tree; `guard.rs` bounds its shape, `refuse.rs` its clauses.
//! 2. [`plan`] routes it: a query becomes a running stream, a change of rows the stream of its
//!    rewritten SELECT ([`Write`]), DDL a [`Ddl`], a question about names a few ready rows. Nothing
//!    starts before the session's role was held against it.
//! 3. [`Planned::run`] does the rest where blocking is fine: it reads streams and commits.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::format::ExplainFormat;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::{ExplainOption, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::execute_stream;
use datafusion::sql::sqlparser::ast::{
    AnalyzeFormatKind, DescribeAlias, Query, SetExpr, Statement, With,
};

use crate::ddl::{self, Ddl};
use crate::dml::{self, Action, Write, distinct_output};
use crate::interrupt::Run;
use crate::optimizer::is_small;
use crate::planner::{Binding, Bound, Planner};
use crate::result::RowStream;
use crate::role::{self, Deed};
use crate::shared::Shared;
use crate::users::{self, UserChange};
use crate::watch::watched;
use crate::{Error, Result, ScanOptions, StatementResult, guard, refuse, utility};

/// What a statement needs to be planned.
pub(crate) struct Setting {
    pub(crate) state: Arc<SessionState>,
    pub(crate) binding: Binding,
    pub(crate) bound: Bound,
    pub(crate) run: Arc<Run>,
}

/// A statement whose plan is made and, if it has one, whose stream is open.
pub(crate) enum Planned {
    Query(SendableRecordBatchStream),
    Ready(RecordBatch),
    Write(Write),
    Ddl(Ddl),
    Users(UserChange),
}

impl Setting {
    pub(crate) fn planner(&self) -> Planner<'_> {
        Planner { state: &self.state, binding: &self.binding, bound: &self.bound }
    }

    /// Starts a plan that was optimised before.
    pub(crate) async fn start_optimised(
        &self,
        plan: &LogicalPlan,
    ) -> Result<SendableRecordBatchStream> {
        let state = self.sized_for(plan)?;
        let plan = state.query_planner().create_physical_plan(plan, &*state).await?;
        let plan = watched(plan, &self.run)?;
        let config = state.config().clone().with_extension(Arc::clone(&self.run));
        let context = TaskContext::from(&*state).with_session_config(config);
        Ok(execute_stream(plan, Arc::new(context.with_runtime(self.run.memory())))?)
    }

    /// The state in which a plan is run: small ones in one partition.
    fn sized_for(&self, plan: &LogicalPlan) -> Result<Arc<SessionState>> {
        let options = self.state.config().get_extension::<ScanOptions>();
        let small = options.filter(|options| options.small);
        let small = small.map_or(Ok(false), |options| is_small(plan, &options))?;
        if !small || self.state.config().target_partitions() == 1 {
            return Ok(Arc::clone(&self.state));
        }
        let mut state = SessionState::clone(&self.state);
        state.config_mut().options_mut().execution.target_partitions = 1;
        Ok(Arc::new(state))
    }

    /// Optimises and starts a plan.
    pub(crate) async fn start(&self, plan: &LogicalPlan) -> Result<SendableRecordBatchStream> {
        self.start_optimised(&self.state.optimize(plan)?).await
    }
}

/// Plans a statement.
pub(crate) async fn plan(setting: &Setting, mut statement: Statement) -> Result<Planned> {
    guard::check(&mut statement)?;
    refuse::by_clauses(&statement)?;
    let routed = route(setting, statement)?;
    role::permit(&setting.state, routed.deed())?;
    match routed {
        Routed::Ready(batch) | Routed::Users(batch) => Ok(Planned::Ready(batch)),
        Routed::ChangeUsers(change) => Ok(Planned::Users(change)),
        Routed::Query(plan) => Ok(Planned::Query(setting.start(&plan).await?)),
        Routed::Write { table, plan, action } => {
            let source = setting.start(&plan).await?;
            Ok(Planned::Write(Write { table, action, source }))
        }
        Routed::Ddl(ddl) => Ok(Planned::Ddl(ddl)),
        Routed::CreateAs { table, if_not_exists, plan } => {
            let source = setting.start(&plan).await?;
            Ok(Planned::Ddl(Ddl::CreateTableAs { table, if_not_exists, source }))
        }
    }
}

/// What a statement gives, and the types of its parameters that are known, by their `$n`.
pub(crate) struct Outline {
    pub(crate) columns: SchemaRef,
    pub(crate) parameters: HashMap<String, DataType>,
}

/// The outline of a statement that gives rows.
///
/// # Errors
/// `Invalid` if it gives none; else as planning it would.
pub(crate) fn outline(setting: &Setting, mut statement: Statement) -> Result<Outline> {
    guard::check(&mut statement)?;
    refuse::by_clauses(&statement)?;
    let routed = route(setting, statement)?;
    role::permit(&setting.state, routed.deed())?;
    match routed {
        Routed::Query(plan) => Ok(Outline {
            columns: Arc::new(plan.schema().as_arrow().clone()),
            parameters: parameters(&plan)?,
        }),
        Routed::Ready(batch) | Routed::Users(batch) => {
            Ok(Outline { columns: batch.schema(), parameters: HashMap::new() })
        }
        _ => Err(Error::invalid("the statement gives no rows")),
    }
}

/// The types of the parameters of a change of rows, as far as its plan tells.
pub(crate) fn written_parameters(
    setting: &Setting,
    mut statement: Statement,
) -> Result<HashMap<String, DataType>> {
    guard::check(&mut statement)?;
    match route(setting, statement)? {
        Routed::Write { plan, .. } => parameters(&plan),
        _ => Ok(HashMap::new()),
    }
}

fn parameters(plan: &LogicalPlan) -> Result<HashMap<String, DataType>> {
    let fields = plan.get_parameter_fields()?.into_iter();
    Ok(fields.filter_map(|(id, field)| Some((id, field?.data_type().clone()))).collect())
}

/// A statement, read and planned, not started.
enum Routed {
    Query(LogicalPlan),
    /// Names of tables and columns.
    Ready(RecordBatch),
    /// Names of users.
    Users(RecordBatch),
    Write {
        table: Arc<silt_catalog::TableDef>,
        plan: LogicalPlan,
        action: Action,
    },
    Ddl(Ddl),
    CreateAs {
        table: silt_catalog::TableDef,
        if_not_exists: bool,
        plan: LogicalPlan,
    },
    ChangeUsers(UserChange),
}

impl Routed {
    fn deed(&self) -> Deed {
        match self {
            Self::Query(_) | Self::Ready(_) => Deed::Query,
            Self::Write { .. } => Deed::ChangeRows,
            Self::Ddl(_) | Self::CreateAs { .. } => Deed::ChangeTables,
            Self::Users(_) | Self::ChangeUsers(_) => Deed::ManageUsers,
        }
    }
}

fn route(setting: &Setting, statement: Statement) -> Result<Routed> {
    if let Some(change) = users::read(&setting.bound, &statement)? {
        return Ok(Routed::ChangeUsers(change));
    }
    if let Some(batch) = users::show(&setting.binding, &statement)? {
        return Ok(Routed::Users(batch));
    }
    if let Some(ddl) = ddl::read(&setting.binding, &statement)? {
        return Ok(Routed::Ddl(ddl));
    }
    if let Some(batch) = utility::answer(&setting.binding, &statement)? {
        return Ok(Routed::Ready(batch));
    }
    let planner = setting.planner();
    Ok(match unwrap_with(statement) {
        (Statement::Query(mut query), _) => {
            distinct_output(&mut query);
            Routed::Query(planner.query(*query)?)
        }
        (Statement::Insert(insert), with) => {
            let (table, plan, on_conflict) = dml::plan_insert(&planner, insert, with)?;
            Routed::Write { table, plan, action: Action::Insert(on_conflict) }
        }
        (Statement::Update(update), with) => {
            let (table, query, moves) = dml::plan_update(&setting.binding, update, with)?;
            Routed::Write { table, plan: planner.query(query)?, action: Action::Update { moves } }
        }
        (Statement::Delete(delete), with) => {
            let (table, query) = dml::plan_delete(&setting.binding, delete, with)?;
            Routed::Write { table, plan: planner.query(query)?, action: Action::Delete }
        }
        (Statement::CreateTable(create), _) if create.query.is_some() => {
            let (table, if_not_exists, plan) = ddl::plan_create(&planner, create)?;
            Routed::CreateAs { table, if_not_exists, plan }
        }
        (Statement::CreateTable(create), _) => Routed::Ddl(ddl::read_create(&planner, create)?),
        (
            Statement::Explain {
                describe_alias,
                analyze,
                verbose,
                query_plan,
                estimate,
                statement,
                format,
                options,
            },
            _,
        ) => {
            let options_given = options.is_some_and(|options| !options.is_empty());
            if query_plan || estimate || options_given {
                return Err(Error::unsupported("an option of EXPLAIN"));
            }
            if !matches!(describe_alias, DescribeAlias::Explain) {
                return Err(Error::unsupported("DESCRIBE of anything but a table"));
            }
            let plan = planner.query(explained(setting, *statement, analyze)?)?;
            let format = match format {
                Some(
                    AnalyzeFormatKind::Keyword(format) | AnalyzeFormatKind::Assignment(format),
                ) => format.to_string().parse()?,
                None => ExplainFormat::Indent,
            };
            let option = ExplainOption::default()
                .with_verbose(verbose)
                .with_analyze(analyze)
                .with_format(format);
            Routed::Query(LogicalPlanBuilder::from(plan).explain_option_format(option)?.build()?)
        }
        (other, _) => return Err(Error::unsupported(name_of(&other))),
    })
}

/// The query that EXPLAIN shows: the statement itself, or what it is rewritten to.
fn explained(setting: &Setting, statement: Statement, analyze: bool) -> Result<Query> {
    let (statement, with) = unwrap_with(statement);
    if let Statement::Query(mut query) = statement {
        distinct_output(&mut query);
        return Ok(*query);
    }
    if analyze {
        return Err(Error::unsupported("EXPLAIN ANALYZE of a statement that changes rows"));
    }
    match statement {
        Statement::Update(update) => Ok(dml::plan_update(&setting.binding, update, with)?.1),
        Statement::Delete(delete) => Ok(dml::plan_delete(&setting.binding, delete, with)?.1),
        Statement::Insert(mut insert) => {
            let source = insert.source.take();
            let mut source =
                *source.ok_or_else(|| Error::unsupported("EXPLAIN of DEFAULT VALUES"))?;
            if with.is_some() {
                source.with = with;
            }
            Ok(source)
        }
        other => Err(Error::unsupported(format!("EXPLAIN of {}", name_of(&other)))),
    }
}

/// `WITH … INSERT` comes from the parser as a query with the INSERT inside.
pub(crate) fn unwrap_with(statement: Statement) -> (Statement, Option<With>) {
    let Statement::Query(query) = statement else { return (statement, None) };
    if !matches!(&*query.body, SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_)) {
        return (Statement::Query(query), None);
    }
    let Query { with, body, .. } = *query;
    match *body {
        SetExpr::Insert(inner) | SetExpr::Update(inner) | SetExpr::Delete(inner) => (inner, with),
        _ => unreachable!("the body was looked at above"),
    }
}

/// The first words of a statement, in capitals.
fn name_of(statement: &Statement) -> String {
    let text = statement.to_string();
    let words =
        text.split_whitespace().take_while(|word| word.chars().all(|c| c.is_ascii_uppercase()));
    let name: Vec<_> = words.take(3).collect();
    if name.is_empty() { "this statement".to_owned() } else { name.join(" ") }
}

impl Planned {
    /// Does what is left: reads and writes.
    pub(crate) fn run(
        self,
        shared: &Arc<Shared>,
        binding: &Binding,
        run: &Arc<Run>,
    ) -> Result<StatementResult> {
        match self {
            Self::Query(stream) => {
                let schema = stream.schema();
                Ok(StatementResult::Rows { schema, stream: shared.read_here(stream, run)? })
            }
            Self::Ready(batch) => {
                let schema: SchemaRef = batch.schema();
                Ok(StatementResult::Rows { schema, stream: RowStream::ready(vec![batch]) })
            }
            Self::Write(write) => write.apply(shared, binding, run),
            Self::Ddl(ddl) => ddl.apply(shared, binding, run),
            Self::Users(change) => change.apply(shared, binding),
        }
    }
}
