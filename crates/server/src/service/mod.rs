//! The Flight SQL service: every call, and where it goes.
//!
//! [`FlightService`] answers the calls of Flight itself; those that carry a command of Flight SQL's
//! go on to [`Commands`], one method each. What is not answered is `unimplemented`, by name.

mod bodies;
mod cancel;
mod ingest;
mod metadata;
mod plain;
mod prepared;
mod sql_info;
mod statement;
mod transaction;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService as Flight;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionBeginSavepointRequest, ActionBeginSavepointResult, ActionBeginTransactionRequest,
    ActionBeginTransactionResult, ActionCancelQueryRequest, ActionCancelQueryResult,
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, ActionCreatePreparedSubstraitPlanRequest,
    ActionEndSavepointRequest, ActionEndTransactionRequest, Any, Command, CommandGetCatalogs,
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
    CommandGetXdbcTypeInfo, CommandPreparedStatementQuery, CommandPreparedStatementUpdate,
    CommandStatementIngest, CommandStatementQuery, CommandStatementSubstraitPlan,
    CommandStatementUpdate, DoPutPreparedStatementResult, ProstMessageExt, SqlInfo,
    TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use prost::Message;
use silt_sql::Shared;
use tonic::{Request, Response, Status, Streaming};

use crate::ServerOptions;
use crate::session::ClientSession;
use crate::stream::{Encoding, FlightStream};
use crate::work::Workers;

pub(crate) use prepared::PreparedHandle;
pub(crate) use statement::QueryHandle;
pub(crate) use transaction::TransactionHandle;

/// The messages of a DoGet.
type DoGetStream = Pin<Box<dyn futures::Stream<Item = Result<FlightData, Status>> + Send>>;

/// The service, one for all clients.
#[derive(Clone)]
pub(crate) struct FlightService {
    shared: Arc<Shared>,
    options: Arc<ServerOptions>,
    workers: Workers,
    loaders: Workers,
}

impl FlightService {
    /// The service over a database.
    pub(crate) fn new(shared: Arc<Shared>, options: Arc<ServerOptions>) -> Self {
        let waiting = options.statements_queued_max;
        let workers =
            |most: usize, what: &str| Workers::new(most, waiting, what, "--statements-queued-max");
        let (statements, loads) = (options.statements_max, options.ingests_max);
        let (workers, loaders) = (workers(statements, "statements"), workers(loads, "loads"));
        Self { shared, options, workers, loaders }
    }

    fn encoding<T>(&self, request: &Request<T>) -> Result<Encoding, Status> {
        Encoding::asked_for(request.metadata(), self.options.batch_bytes)
    }

    /// The rows of an answer that is there.
    fn answer(
        &self,
        batch: RecordBatch,
        request: &Request<Ticket>,
    ) -> Result<Response<DoGetStream>, Status> {
        let (encoding, schema) = (self.encoding(request)?, batch.schema());
        let rows = futures::stream::iter([Ok(batch)]).boxed();
        let never = futures::future::pending().boxed();
        let stream = FlightStream::new(schema, rows, encoding, never, Box::new(()));
        Ok(Response::new(Box::pin(stream)))
    }

    fn commands(&self) -> Commands {
        Commands(self.clone())
    }

    /// What a descriptor gives, without running it.
    async fn schema_of(
        &self,
        session: Arc<ClientSession>,
        request: Request<FlightDescriptor>,
    ) -> Result<SchemaResult, Status> {
        let descriptor = request.get_ref();
        let asked = match plain::query_of(descriptor)? {
            Some(sql) => Some((sql, None)),
            None => match command(&descriptor.cmd)? {
                Command::CommandStatementQuery(query) => Some((query.query, query.transaction_id)),
                _ => None,
            },
        };
        let info = match asked {
            // Not kept: nobody will fetch it.
            Some((sql, transaction)) => {
                let statement = self.prepare(&session, sql, transaction).await?;
                info(&statement.announced(), Ticket::default(), FlightDescriptor::default())?
            }
            None => self.commands().get_flight_info(request).await?.into_inner(),
        };
        Ok(SchemaResult { schema: info.schema })
    }
}

impl fmt::Debug for FlightService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightService").field("options", &self.options).finish_non_exhaustive()
    }
}

fn command(bytes: &[u8]) -> Result<Command, Status> {
    let any = Any::decode(bytes)
        .map_err(|error| Status::invalid_argument(format!("not a command: {error}")))?;
    Command::try_from(any).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// The ticket that a command is.
fn ticket(command: impl ProstMessageExt) -> Ticket {
    Ticket::new(command.as_any().encode_to_vec())
}

/// Where rows are: here, in one piece, behind one ticket.
fn info(
    schema: &Schema,
    ticket: Ticket,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let info = FlightInfo::new()
        .with_endpoint(FlightEndpoint::new().with_ticket(ticket))
        .with_descriptor(descriptor)
        .with_ordered(true)
        .try_with_schema(schema);
    info.map_err(|error| Status::internal(format!("the schema cannot be sent: {error}")))
}

/// Where the rows of a statement are. A change of rows announces no schema: clients would take it
/// for all they need to know and fetch its rows later, or never (ADBC drops the call that would run
/// it when the next statement comes first). Without one they fetch at once.
fn statement_info(
    statement: &PreparedHandle,
    ticket: Ticket,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let mut info = info(&statement.announced(), ticket, descriptor)?;
    if statement.columns().is_none() {
        info.schema.clear();
    }
    Ok(info)
}

#[tonic::async_trait]
impl Flight for FlightService {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = DoGetStream;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        self.commands().handshake(request).await
    }

    async fn list_flights(
        &self,
        request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        ClientSession::of(&request)?;
        Ok(Response::new(futures::stream::iter(self.flights()).boxed()))
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let session = ClientSession::of(&request)?;
        match plain::query_of(request.get_ref())? {
            Some(sql) => {
                let descriptor = request.into_inner();
                self.asked(&session, sql, None, descriptor).await.map(Response::new)
            }
            None => self.commands().get_flight_info(request).await,
        }
    }

    async fn poll_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        Err(Status::unimplemented("PollFlightInfo: statements run when they are fetched"))
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let session = ClientSession::of(&request)?;
        self.schema_of(session, request).await.map(Response::new)
    }

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let session = ClientSession::of(&request)?;
        match plain::text_of(&request.get_ref().ticket)? {
            Some(sql) => {
                let encoding = self.encoding(&request)?;
                let statement = Arc::new(self.prepare(&session, sql, None).await?);
                if statement.columns().is_none() {
                    // A ticket may come twice, and a change of rows must not.
                    return Err(Status::invalid_argument("a plain ticket is a query's text"));
                }
                self.rows(statement, encoding, Box::new(session)).await
            }
            None => self.commands().do_get(request).await,
        }
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        self.commands().do_put(request).await
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(Status::unimplemented("DoExchange"))
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        self.commands().do_action(request).await
    }

    async fn list_actions(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        let actions = ACTIONS.iter().map(|(name, description)| {
            Ok(ActionType { r#type: (*name).to_owned(), description: (*description).to_owned() })
        });
        Ok(Response::new(futures::stream::iter(actions.collect::<Vec<_>>()).boxed()))
    }
}

/// The actions that are answered.
const ACTIONS: [(&str, &str); 6] = [
    ("CreatePreparedStatement", "parses a statement and keeps it under a handle"),
    ("ClosePreparedStatement", "forgets a prepared statement"),
    ("BeginTransaction", "opens a transaction and keeps it under a handle"),
    ("EndTransaction", "commits a transaction, or rolls it back"),
    (cancel::CANCEL_FLIGHT_INFO, "ends what a FlightInfo's tickets name"),
    ("CancelQuery", "as CancelFlightInfo, for older clients"),
];

/// The commands of Flight SQL's.
#[derive(Clone, Debug)]
struct Commands(FlightService);

impl Commands {
    fn names(&self) -> Arc<silt_catalog::CatalogSnapshot> {
        self.0.shared.catalog().current()
    }
}

/// What an async method of the trait gives.
type Answered<'a, T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send + 'a>>;

/// GetFlightInfo and DoGet of commands whose answer is one batch. The signatures are those that
/// `async_trait` gives the trait's methods; it does not see into macros.
macro_rules! answers {
    ($($info:ident $get:ident $command:ident => |$service:ident, $asked:ident| $answer:expr;)*) => {
        $(
            fn $info<'life0, 'async_trait>(
                &'life0 self,
                command: $command,
                request: Request<FlightDescriptor>,
            ) -> Answered<'async_trait, FlightInfo>
            where
                'life0: 'async_trait,
                Self: 'async_trait,
            {
                let answer = || {
                    ClientSession::of(&request)?;
                    let ($service, $asked) = (self, command.clone());
                    let batch: RecordBatch = $answer?;
                    let info = info(batch.schema_ref(), ticket(command), request.into_inner())?;
                    Ok(Response::new(info))
                };
                Box::pin(std::future::ready(answer()))
            }

            fn $get<'life0, 'async_trait>(
                &'life0 self,
                command: $command,
                request: Request<Ticket>,
            ) -> Answered<'async_trait, DoGetStream>
            where
                'life0: 'async_trait,
                Self: 'async_trait,
            {
                let answer = || {
                    ClientSession::of(&request)?;
                    let ($service, $asked) = (self, command);
                    self.0.answer($answer?, &request)
                };
                Box::pin(std::future::ready(answer()))
            }
        )*
    };
}

#[tonic::async_trait]
impl FlightSqlService for Commands {
    type FlightService = Self;

    answers! {
        get_flight_info_catalogs do_get_catalogs CommandGetCatalogs
            => |_service, asked| metadata::catalogs(asked);
        get_flight_info_schemas do_get_schemas CommandGetDbSchemas
            => |service, asked| metadata::schemas(&service.names(), asked);
        get_flight_info_tables do_get_tables CommandGetTables
            => |service, asked| metadata::tables(&service.names(), asked);
        get_flight_info_table_types do_get_table_types CommandGetTableTypes
            => |_service, asked| metadata::table_types(asked);
        get_flight_info_primary_keys do_get_primary_keys CommandGetPrimaryKeys
            => |service, asked| metadata::primary_keys(&service.names(), &asked);
        get_flight_info_exported_keys do_get_exported_keys CommandGetExportedKeys
            => |_service, _asked| Ok::<_, Status>(metadata::foreign_keys());
        get_flight_info_imported_keys do_get_imported_keys CommandGetImportedKeys
            => |_service, _asked| Ok::<_, Status>(metadata::foreign_keys());
        get_flight_info_cross_reference do_get_cross_reference CommandGetCrossReference
            => |_service, _asked| Ok::<_, Status>(metadata::foreign_keys());
        get_flight_info_xdbc_type_info do_get_xdbc_type_info CommandGetXdbcTypeInfo
            => |_service, asked| metadata::type_info(asked);
        get_flight_info_sql_info do_get_sql_info CommandGetSqlInfo
            => |_service, asked| sql_info::answer(asked);
    }

    async fn get_flight_info_statement(
        &self,
        command: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let session = ClientSession::of(&request)?;
        let CommandStatementQuery { query, transaction_id } = command;
        let info = self.0.asked(&session, query, transaction_id, request.into_inner()).await?;
        Ok(Response::new(info))
    }

    async fn do_get_statement(
        &self,
        command: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<DoGetStream>, Status> {
        let session = ClientSession::of(&request)?;
        let encoding = self.0.encoding(&request)?;
        self.0.fetch(session, command.statement_handle, encoding).await
    }

    async fn do_put_statement_update(
        &self,
        command: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let session = ClientSession::of(&request)?;
        self.0.run_update(&session, command.query, command.transaction_id).await
    }

    async fn do_put_statement_ingest(
        &self,
        command: CommandStatementIngest,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let session = ClientSession::of(&request)?;
        self.0.ingest(&session, command, request.into_inner()).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        command: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let session = ClientSession::of(&request)?;
        let ActionCreatePreparedStatementRequest { query, transaction_id } = command;
        let statement = self.0.prepare(&session, query, transaction_id).await?;
        let mut created = self.0.created(&statement)?;
        created.prepared_statement_handle = session.statements().insert(statement)?;
        Ok(created)
    }

    async fn do_action_close_prepared_statement(
        &self,
        command: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        let session = ClientSession::of(&request)?;
        let closed = session.statements().remove(&command.prepared_statement_handle);
        closed.map(drop).ok_or_else(|| Status::not_found("there is no such prepared statement"))
    }

    async fn do_put_prepared_statement_query(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let session = ClientSession::of(&request)?;
        let handle = command.prepared_statement_handle;
        let statement = session.statements().get(&handle)?;
        let rows = ingest::parameters(request.into_inner()).await?;
        self.0.bind(handle, statement, prepared::one_batch(&rows)?).await
    }

    async fn do_put_prepared_statement_update(
        &self,
        command: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let session = ClientSession::of(&request)?;
        let statement = session.statements().get(&command.prepared_statement_handle)?;
        let rows = ingest::parameters(request.into_inner()).await?;
        self.0.update(statement, prepared::one_batch(&rows)?).await
    }

    async fn get_flight_info_prepared_statement(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let session = ClientSession::of(&request)?;
        let statement = session.statements().get(&command.prepared_statement_handle)?;
        statement_info(&statement, ticket(command), request.into_inner()).map(Response::new)
    }

    async fn do_get_prepared_statement(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<DoGetStream>, Status> {
        let session = ClientSession::of(&request)?;
        let encoding = self.0.encoding(&request)?;
        let statement = session.statements().get(&command.prepared_statement_handle)?;
        self.0.rows(statement, encoding, Box::new(session)).await
    }

    async fn do_action_begin_transaction(
        &self,
        _: ActionBeginTransactionRequest,
        request: Request<Action>,
    ) -> Result<ActionBeginTransactionResult, Status> {
        let session = ClientSession::of(&request)?;
        let transaction_id = self.0.begin(&session).await?;
        Ok(ActionBeginTransactionResult { transaction_id })
    }

    async fn do_action_end_transaction(
        &self,
        command: ActionEndTransactionRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        let session = ClientSession::of(&request)?;
        let action = command.action();
        self.0.end(&session, &command.transaction_id, action).await
    }

    async fn do_action_cancel_query(
        &self,
        command: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        let session = ClientSession::of(&request)?;
        let result = self.0.cancel_query(&session, &command.info)?.into();
        Ok(ActionCancelQueryResult { result })
    }

    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Result<Response<<Self as Flight>::DoActionStream>, Status> {
        let session = ClientSession::of(&request)?;
        let Action { r#type: name, body } = request.into_inner();
        if name != cancel::CANCEL_FLIGHT_INFO {
            return Err(Status::unimplemented(format!("action {name}")));
        }
        let body = self.0.cancel_flight_info(&session, &body)?;
        let result = Ok(arrow_flight::Result { body });
        Ok(Response::new(futures::stream::iter([result]).boxed()))
    }

    async fn get_flight_info_substrait_plan(
        &self,
        _: CommandStatementSubstraitPlan,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Err(Status::unimplemented("CommandStatementSubstraitPlan"))
    }

    async fn do_put_substrait_plan(
        &self,
        _: CommandStatementSubstraitPlan,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(Status::unimplemented("CommandStatementSubstraitPlan"))
    }

    async fn do_action_create_prepared_substrait_plan(
        &self,
        _: ActionCreatePreparedSubstraitPlanRequest,
        _: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        Err(Status::unimplemented("CreatePreparedSubstraitPlan"))
    }

    async fn do_action_begin_savepoint(
        &self,
        _: ActionBeginSavepointRequest,
        _: Request<Action>,
    ) -> Result<ActionBeginSavepointResult, Status> {
        Err(Status::unimplemented("BeginSavepoint"))
    }

    async fn do_action_end_savepoint(
        &self,
        _: ActionEndSavepointRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        Err(Status::unimplemented("EndSavepoint"))
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}
