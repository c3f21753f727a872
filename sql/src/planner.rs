//! From a statement's tree to DataFusion's plan, with the names and rows of one moment.
//!
//! A [`Binding`] is that moment: the catalog and a snapshot of the engine, taken together. Tables
//! are resolved against it while the plan is made, so that no later statement, and no other
//! session, can come between. `SessionContext::sql` is never used: it clones the session's state
//! several times a statement.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::catalog::information_schema::{INFORMATION_SCHEMA, InformationSchemaProvider};
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, SchemaProvider, TableFunctionArgs, TableProvider,
};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, TableReference, plan_datafusion_err};
use datafusion::config::ConfigOptions;
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{
    ContextProvider, ExprPlanner, RelationPlanner, TypePlanner,
};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext};
use datafusion::scalar::ScalarValue;
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast;
use silt_catalog::{
    CATALOG_NAME, CatalogSnapshot, MAIN_NAMESPACE, ROWID_NAME, SqlType, TableDef, did_you_mean,
};
use silt_storage::{Engine, SeqNo, Snapshot, WriteBatch};

use crate::provider::SiltTable;
use crate::transaction::Transaction;
use crate::{Error, ErrorKind, Result};

/// Names and rows of one moment.
#[derive(Clone)]
pub(crate) struct Binding {
    pub(crate) names: Arc<CatalogSnapshot>,
    pub(crate) snapshot: Snapshot,
    pub(crate) engine: Engine,
    /// The transaction that the statement belongs to; none if it commits by itself.
    pub(crate) transaction: Option<Arc<Transaction>>,
}

/// As a catalog it means: the table with its hidden row number shown, for UPDATE and DELETE.
pub(crate) const WITH_ROWID: &str = "$rowid";

impl Binding {
    /// Refuses a statement that writes in a transaction that only reads.
    ///
    /// # Errors
    /// `Invalid`, with the statement's name.
    pub(crate) fn check_writable(&self, statement: &str) -> Result<()> {
        self.transaction.as_ref().map_or(Ok(()), |own| own.check_writable(statement))
    }

    /// Commits a statement's changes, or writes them into its transaction. Gives the commit's
    /// number, where there is one.
    pub(crate) fn commit(&self, batch: WriteBatch) -> silt_storage::Result<Option<SeqNo>> {
        match &self.transaction {
            None => self.engine.commit(batch).map(Some),
            Some(transaction) => transaction.apply(batch).map(|()| None),
        }
    }

    /// Whether a statement that failed so may be run again: not if it belongs to a transaction,
    /// which would read the same again.
    pub(crate) fn may_retry(&self, error: &Error) -> bool {
        self.transaction.is_none() && error.kind() == ErrorKind::Conflict
    }

    /// The namespace and name that a reference means.
    ///
    /// # Errors
    /// `NotFound` if it names another catalog.
    pub(crate) fn qualify(&self, reference: &TableReference) -> Result<(String, String)> {
        match reference.catalog() {
            None | Some(CATALOG_NAME | WITH_ROWID) => {}
            Some(other) => {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("database \"{other}\" does not exist: this one is \"{CATALOG_NAME}\""),
                )
                .about(other));
            }
        }
        let namespace = reference.schema().unwrap_or(MAIN_NAMESPACE);
        Ok((namespace.to_owned(), reference.table().to_owned()))
    }

    /// The table that a reference means.
    ///
    /// # Errors
    /// `NotFound`, with the nearest name as a hint.
    pub(crate) fn table(&self, reference: &TableReference) -> Result<&Arc<TableDef>> {
        let (namespace, name) = self.qualify(reference)?;
        let missing = |error| {
            let missing_namespace = !self.names.has_namespace(&namespace);
            Error::from(error).about(if missing_namespace { &namespace } else { &name })
        };
        self.names.table(&namespace, &name).map_err(missing)
    }

    /// The rows of a table, as DataFusion reads them; `rowid` appends the hidden number.
    pub(crate) fn provider(&self, table: &TableDef, rowid: bool) -> Result<Arc<SiltTable>> {
        let tree = self.engine.tree(table.tree)?;
        let mut positions = table.tree_positions();
        let mut fields: Vec<Field> = table.columns.iter().map(|column| column.field()).collect();
        if rowid && table.has_rowid() {
            fields.push(Field::new(ROWID_NAME, SqlType::BigInt.arrow(), false));
            positions.push(0);
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let snapshot = self.snapshot.clone();
        Ok(Arc::new(SiltTable::new(table.display_name(), schema, positions, tree, snapshot)?))
    }

    fn source(&self, reference: &TableReference) -> Result<Arc<dyn TableSource>> {
        if reference.schema() == Some(INFORMATION_SCHEMA) {
            return self.information_schema(reference.table());
        }
        let table = self.table(reference)?;
        let provider = self.provider(table, reference.catalog() == Some(WITH_ROWID))?;
        Ok(provider_as_source(provider))
    }

    fn information_schema(&self, table: &str) -> Result<Arc<dyn TableSource>> {
        let provider = InformationSchemaProvider::new(Arc::new(self.clone()));
        // Making one of its tables waits for nothing; only reading it looks up tables.
        let found = futures::executor::block_on(provider.table(table))?;
        match found {
            Some(found) => Ok(provider_as_source(found)),
            None => {
                let names = provider.table_names();
                let hint = did_you_mean(table, names.iter().map(String::as_str));
                let message = format!("table \"{INFORMATION_SCHEMA}.{table}\" does not exist");
                Err(Error::new(ErrorKind::NotFound, message).with_hint(hint).about(table))
            }
        }
    }

    /// The same plan with its tables at this moment.
    pub(crate) fn rebind(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let rebound = plan.transform_up_with_subqueries(|node| {
            let LogicalPlan::TableScan(mut scan) = node else { return Ok(Transformed::no(node)) };
            let is_ours = source_as_provider(&scan.source)?.downcast_ref::<SiltTable>().is_some();
            if !is_ours && scan.table_name.schema() != Some(INFORMATION_SCHEMA) {
                return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
            }
            scan.source = self.source(&scan.table_name)?;
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        })?;
        Ok(rebound.data)
    }
}

/// The plan with its tables at no moment, to be kept until a run gives them one
/// ([`Binding::rebind`]).
pub(crate) fn detach(plan: LogicalPlan) -> Result<LogicalPlan> {
    let detached = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::TableScan(mut scan) = node else { return Ok(Transformed::no(node)) };
        let provider = source_as_provider(&scan.source)?;
        scan.source = match provider.downcast_ref::<SiltTable>() {
            Some(table) => provider_as_source(Arc::new(table.detached())),
            // Its tables hold a binding.
            None if scan.table_name.schema() == Some(INFORMATION_SCHEMA) => {
                provider_as_source(Arc::new(EmptyTable::new(provider.schema())))
            }
            None => return Ok(Transformed::no(LogicalPlan::TableScan(scan))),
        };
        Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
    })?;
    Ok(detached.data)
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding").field("snapshot", &self.snapshot).finish_non_exhaustive()
    }
}

/// Types and values of a statement's parameters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bound(pub(crate) Vec<ScalarValue>);

impl Bound {
    fn context(&self) -> PlannerContext {
        let field = |value: &ScalarValue| -> Option<FieldRef> {
            // A bare NULL takes its type from where it stands.
            (!matches!(value, ScalarValue::Null))
                .then(|| Arc::new(Field::new("parameter", value.data_type(), true)))
        };
        PlannerContext::new().with_prepare_param_data_types(self.0.iter().map(field).collect())
    }

    /// The plan with the values in their places.
    pub(crate) fn apply(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        if self.0.is_empty() {
            return Ok(plan);
        }
        Ok(plan.with_param_values(self.0.clone())?)
    }
}

/// Plans trees of one session at one moment.
pub(crate) struct Planner<'a> {
    pub(crate) state: &'a SessionState,
    pub(crate) binding: &'a Binding,
    pub(crate) bound: &'a Bound,
}

impl Planner<'_> {
    /// The plan of a query or EXPLAIN, with its parameters put in.
    pub(crate) fn plan(&self, statement: ast::Statement) -> Result<LogicalPlan> {
        let plan = self.plan_unbound(statement)?;
        self.bound.apply(plan)
    }

    /// The plan of a query with its parameters left open.
    pub(crate) fn plan_unbound(&self, statement: ast::Statement) -> Result<LogicalPlan> {
        let planner = SqlToRel::new_with_options(self, self.parser_options());
        let mut context = self.bound.context();
        Ok(planner.sql_statement_to_plan_with_context(statement, &mut context)?)
    }

    /// The plan of a query.
    pub(crate) fn query(&self, query: ast::Query) -> Result<LogicalPlan> {
        self.plan(ast::Statement::Query(Box::new(query)))
    }

    /// An expression over columns of `schema`, with its parameters put in.
    pub(crate) fn expr(&self, expr: ast::Expr, schema: &DFSchema) -> Result<Expr> {
        let planner = SqlToRel::new_with_options(self, self.parser_options());
        let expr = planner.sql_to_expr(expr, schema, &mut self.bound.context())?;
        if self.bound.0.is_empty() {
            return Ok(expr);
        }
        let bound = expr.transform_up(|expr| match &expr {
            Expr::Placeholder(placeholder) => {
                let index = placeholder.id.strip_prefix('$').and_then(|id| id.parse().ok());
                let value = index.and_then(|index: usize| self.bound.0.get(index.wrapping_sub(1)));
                match value {
                    Some(value) => Ok(Transformed::yes(Expr::Literal(value.clone(), None))),
                    None => Ok(Transformed::no(expr)),
                }
            }
            _ => Ok(Transformed::no(expr)),
        })?;
        Ok(bound.data)
    }
}

impl Planner<'_> {
    fn parser_options(&self) -> ParserOptions {
        ParserOptions::from(&self.state.config_options().sql_parser)
    }
}

impl ContextProvider for Planner<'_> {
    fn get_table_source(
        &self,
        name: TableReference,
    ) -> datafusion::error::Result<Arc<dyn TableSource>> {
        Ok(self.binding.source(&name)?)
    }

    fn get_table_function_source(
        &self,
        name: &str,
        args: Vec<Expr>,
    ) -> datafusion::error::Result<Arc<dyn TableSource>> {
        let function = self.state.table_functions().get(name).ok_or_else(|| {
            let names = self.state.table_functions().keys().map(String::as_str);
            let message = format!("table function \"{name}\" does not exist");
            Error::new(ErrorKind::NotFound, message)
                .with_hint(did_you_mean(name, names))
                .about(name)
        })?;
        let context = SimplifyContext::builder()
            .with_config_options(Arc::clone(self.state.config_options()))
            .with_query_execution_start_time(
                self.state.execution_props().query_execution_start_time,
            )
            .build();
        let simplifier = ExprSimplifier::new(context);
        let schema = DFSchema::empty();
        let args = args
            .into_iter()
            .map(|arg| simplifier.simplify(simplifier.coerce(arg, &schema)?))
            .collect::<datafusion::error::Result<Vec<_>>>()?;
        let arguments = TableFunctionArgs::new(&args, self.state);
        Ok(provider_as_source(function.create_table_provider_with_args(arguments)?))
    }

    fn create_cte_work_table(
        &self,
        name: &str,
        schema: SchemaRef,
    ) -> datafusion::error::Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        self.state.relation_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(ColumnTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }

    fn get_file_type(
        &self,
        extension: &str,
    ) -> datafusion::error::Result<Arc<dyn datafusion::common::file_options::file_type::FileType>>
    {
        Err(plan_datafusion_err!("files of type {extension} are not supported yet"))
    }
}

/// A cast means the type that a column of that name has: `TIMESTAMP` is microseconds, `UUID` and
/// unsigned integers exist.
#[derive(Debug)]
struct ColumnTypes;

impl TypePlanner for ColumnTypes {
    fn plan_type_field(
        &self,
        sql_type: &ast::DataType,
    ) -> datafusion::error::Result<Option<FieldRef>> {
        let known: Option<SqlType> = sql_type.to_string().parse().ok();
        Ok(known.map(|known| Arc::new(Field::new("", known.arrow(), true))))
    }
}

// What `information_schema` shows.

impl CatalogProviderList for Binding {
    fn register_catalog(
        &self,
        _: String,
        _: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG_NAME.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG_NAME).then(|| Arc::new(self.clone()) as _)
    }
}

impl CatalogProvider for Binding {
    fn schema_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.names.namespaces().map(str::to_owned).collect();
        names.push(INFORMATION_SCHEMA.to_owned());
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name == INFORMATION_SCHEMA {
            return Some(Arc::new(InformationSchemaProvider::new(Arc::new(self.clone()))));
        }
        self.names
            .has_namespace(name)
            .then(|| Arc::new(BoundNamespace { binding: self.clone(), name: name.to_owned() }) as _)
    }
}

#[derive(Debug)]
struct BoundNamespace {
    binding: Binding,
    name: String,
}

#[async_trait]
impl SchemaProvider for BoundNamespace {
    fn table_names(&self) -> Vec<String> {
        self.binding.names.tables_in(&self.name).map(|table| table.name.clone()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        match self.binding.names.find(&self.name, name) {
            Some(table) => Ok(Some(self.binding.provider(table, false)?)),
            None => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.binding.names.find(&self.name, name).is_some()
    }
}
