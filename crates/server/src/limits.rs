//! [`Limited`]: every call of the service within bounds.
//!
//! It stands between the check of the token and the service, and implements the protocol's own
//! trait: a call that is new there does not compile here until it is bounded too. For each call it
//!
//! - logs in, where the call is Handshake;
//! - refuses commands that are too long, and calls beyond those that may run at a time;
//! - ends what takes longer than a statement may, or than a server that stops will wait, by dropping
//!   it: that stops its statement;
//! - counts it, and logs it if it was slow.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::ServerOptions;
use crate::auth::Authenticator;
use crate::listen::Peer;
use crate::metrics::Metrics;
use crate::session::ClientSession;

/// Text of a statement in the log, in characters.
const LOGGED_CHARS_MAX: usize = 2_000;

tokio::task_local! {
    /// The text of the statement that the running call is about.
    static STATEMENT: RefCell<Option<String>>;
}

/// As much of a statement's text as is logged.
pub(crate) fn beginning(sql: &str) -> &str {
    sql.char_indices().nth(LOGGED_CHARS_MAX).map_or(sql, |(end, _)| &sql[..end])
}

/// Notes the statement that a call is about, for the log of slow ones.
pub(crate) fn note_statement(sql: &str) {
    let note = |statement: &RefCell<Option<String>>| {
        *statement.borrow_mut() = Some(beginning(sql).to_owned());
    };
    // Outside of a call there is nothing to note.
    let _ = STATEMENT.try_with(note);
}

/// A service whose calls are bounded.
#[derive(Clone, Debug)]
pub(crate) struct Limited<S> {
    inner: Arc<S>,
    calls: Calls,
}

/// What bounds calls.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    options: Arc<ServerOptions>,
    authenticator: Arc<Authenticator>,
    metrics: Arc<Metrics>,
    places: Arc<Semaphore>,
    /// Becomes true when what still runs is to end.
    cancel: watch::Receiver<bool>,
}

impl Calls {
    pub(crate) fn new(
        options: &Arc<ServerOptions>,
        authenticator: &Arc<Authenticator>,
        metrics: &Arc<Metrics>,
        cancel: watch::Receiver<bool>,
    ) -> Self {
        let most = options.calls_max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            options: Arc::clone(options),
            authenticator: Arc::clone(authenticator),
            metrics: Arc::clone(metrics),
            places: Arc::new(Semaphore::new(most)),
            cancel,
        }
    }

    fn begin<T>(
        &self,
        name: &'static str,
        request: &Request<T>,
        command_bytes: usize,
    ) -> Result<Call, Status> {
        let session = request.extensions().get::<Arc<ClientSession>>();
        let user = session.and_then(|session| session.user()).map(str::to_owned);
        self.metrics.began(name);
        let mut call = Call {
            name,
            user,
            began: Instant::now(),
            code: Code::Cancelled,
            statement: None,
            slow: self.options.slow_statement,
            metrics: Arc::clone(&self.metrics),
            peer: request.extensions().get::<Peer>().cloned(),
            is_answered: false,
            _place: None,
        };
        let most = self.options.command_bytes_max;
        if command_bytes > most {
            call.strike();
            return Err(call.failed(Status::resource_exhausted(format!(
                "the command has {command_bytes} bytes, and may have {most} (--command-bytes-max)"
            ))));
        }
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => call._place = Some(place),
            Err(_) => {
                return Err(call.failed(Status::resource_exhausted(format!(
                    "{} calls run already (--calls-max): try again later",
                    self.options.calls_max
                ))));
            }
        }
        Ok(call)
    }

    /// Ready when a call has to end, with what its client is told.
    fn end(&self, call: &Call) -> impl Future<Output = Status> + Send + 'static {
        let began = call.began;
        let mut cancel = self.cancel.clone();
        let timeout = self.options.statement_timeout;
        async move {
            let cancelled = async move {
                if cancel.wait_for(|cancel| *cancel).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = tokio::time::sleep_until(began + timeout) => Status::deadline_exceeded(format!(
                    "the call took longer than {} s (--statement-timeout)", timeout.as_secs_f64()
                )),
                () = cancelled => Status::unavailable("the server is shutting down"),
            }
        }
    }

    /// Runs a call to its answer.
    async fn run<T, F>(&self, mut call: Call, work: F) -> Result<(T, Call), Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
        T: Sized,
    {
        let end = self.end(&call);
        let noted = STATEMENT.scope(RefCell::new(None), async {
            let answer = tokio::select! {
                answer = work => answer,
                status = end => Err(status),
            };
            (answer, STATEMENT.with(RefCell::take))
        });
        let (answer, statement) = noted.await;
        call.statement = statement;
        match answer {
            Ok(answer) => {
                call.is_answered = true;
                Ok((answer.into_inner(), call))
            }
            Err(status) => {
                // tonic's word for a message that is too long.
                if status.code() == Code::OutOfRange {
                    call.strike();
                }
                Err(call.failed(status))
            }
        }
    }

    async fn unary<T>(
        &self,
        call: Call,
        work: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<Response<T>, Status> {
        let (answer, mut call) = self.run(call, work).await?;
        call.code = Code::Ok;
        Ok(Response::new(answer))
    }

    async fn stream<T, S>(
        &self,
        call: Call,
        work: impl Future<Output = Result<Response<S>, Status>>,
    ) -> Result<Response<BoxStream<'static, Result<T, Status>>>, Status>
    where
        T: Sized + Send + Weighed + 'static,
        S: Stream<Item = Result<T, Status>> + Send + Unpin + 'static,
    {
        let (stream, call) = self.run(call, work).await?;
        let end = self.end(&call);
        Ok(Response::new(Bounded::new(stream, call, end).boxed()))
    }
}

/// One running call; counted and, if it was slow, logged when it is dropped.
struct Call {
    name: &'static str,
    user: Option<String>,
    began: Instant,
    /// What it ended with; a client that goes away cancels.
    code: Code,
    statement: Option<String>,
    slow: Option<Duration>,
    metrics: Arc<Metrics>,
    peer: Option<Peer>,
    is_answered: bool,
    _place: Option<OwnedSemaphorePermit>,
}

impl Call {
    fn failed(&mut self, status: Status) -> Status {
        self.code = status.code();
        self.is_answered = true;
        status
    }

    /// It comes to nothing by its client's doing.
    fn strike(&self) {
        if let Some(peer) = &self.peer {
            peer.connection().strike();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_answered {
            self.strike();
        }
        let took = self.began.elapsed();
        self.metrics.ended(self.name, self.code, took);
        let (call, user, code) = (self.name, self.user.as_deref(), self.code);
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if self.slow.is_some_and(|slow| took >= slow) {
            self.metrics.slow();
            // Without its literals: they may be anybody's secrets.
            let statement = self.statement.as_deref().map(silt_sql::without_literals);
            tracing::warn!(call, user, ?code, millis, statement, "a slow call");
        } else {
            tracing::debug!(call, user, ?code, millis, "a call");
        }
    }
}

/// What is sent, in bytes.
trait Weighed {
    fn bytes(&self) -> usize {
        0
    }
}

impl Weighed for FlightData {
    fn bytes(&self) -> usize {
        self.data_body.len() + self.data_header.len()
    }
}

impl Weighed for FlightInfo {}
impl Weighed for PutResult {}
impl Weighed for arrow_flight::Result {}
impl Weighed for ActionType {}

/// A stream that ends when it has to, also if nobody reads it: a client that takes nothing keeps the
/// transport from polling, so a task of its own watches the time.
struct Bounded<S> {
    running: Arc<Mutex<Running<S>>>,
    watch: AbortHandle,
}

struct Running<S> {
    /// None once it has ended; the call then ends, too.
    stream: Option<(S, Call)>,
    /// What the client is told that did not read to the end in time.
    over: Option<Status>,
    reader: Option<Waker>,
}

impl<S: Send + 'static> Bounded<S> {
    fn new(stream: S, call: Call, end: impl Future<Output = Status> + Send + 'static) -> Self {
        let running = Running { stream: Some((stream, call)), over: None, reader: None };
        let running = Arc::new(Mutex::new(running));
        let watched = Arc::downgrade(&running);
        let watch = tokio::spawn(async move {
            let status = end.await;
            let Some(running) = watched.upgrade() else { return };
            let mut ended = None;
            let reader = {
                let mut running = running.lock();
                if let Some((stream, mut call)) = running.stream.take() {
                    running.over = Some(call.failed(status));
                    ended = Some((stream, call));
                }
                running.reader.take()
            };
            // What ends here may take a moment: not under the lock.
            drop(ended);
            reader.into_iter().for_each(Waker::wake);
        });
        Self { running, watch: watch.abort_handle() }
    }
}

impl<S> Drop for Bounded<S> {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl<T, S> Stream for Bounded<S>
where
    T: Weighed,
    S: Stream<Item = Result<T, Status>> + Unpin,
{
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut running = self.running.lock();
        if let Some(status) = running.over.take() {
            return Poll::Ready(Some(Err(status)));
        }
        let Some((stream, call)) = &mut running.stream else { return Poll::Ready(None) };
        let Poll::Ready(next) = stream.poll_next_unpin(context) else {
            running.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        match &next {
            Some(Ok(item)) => {
                call.metrics.sent(item.bytes());
                return Poll::Ready(next);
            }
            Some(Err(status)) => call.code = status.code(),
            None => call.code = Code::Ok,
        }
        let ended = running.stream.take();
        drop(running);
        drop(ended);
        self.watch.abort();
        Poll::Ready(next)
    }
}

impl<S> Limited<S> {
    pub(crate) fn new(inner: S, calls: Calls) -> Self {
        Self { inner: Arc::new(inner), calls }
    }
}

#[tonic::async_trait]
impl<S> FlightService for Limited<S>
where
    S: FlightService<
            ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>,
            DoGetStream = BoxStream<'static, Result<FlightData, Status>>,
            DoPutStream = BoxStream<'static, Result<PutResult, Status>>,
            DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>,
            ListActionsStream = BoxStream<'static, Result<ActionType, Status>>,
            DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>,
        >,
{
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;

    /// Logs in: the token comes back as a header, and as the answer's payload.
    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let mut call = self.calls.begin("Handshake", &request, 0)?;
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::internal("a call without a connection"))?;
        let authorization = request.metadata().get(AUTHORIZATION.as_str());
        let authorization = authorization.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let login = self.calls.authenticator.login(authorization.as_deref(), &peer);
        let token = login.await.map_err(|status| call.failed(status))?;
        peer.connection().welcome();
        (call.code, call.is_answered) = (Code::Ok, true);
        let bearer = format!("Bearer {token}").parse();
        let bearer = bearer.map_err(|_| Status::internal("the token is no header"))?;
        let payload = Bytes::from(token);
        let answer = HandshakeResponse { protocol_version: 0, payload };
        let mut response = Response::new(futures::stream::iter([Ok(answer)]).boxed());
        response.metadata_mut().insert(AUTHORIZATION.as_str(), bearer);
        Ok(response)
    }

    async fn list_flights(
        &self,
        request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        let bytes = request.get_ref().expression.len();
        let call = self.calls.begin("ListFlights", &request, bytes)?;
        self.calls.stream(call, self.inner.list_flights(request)).await
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let call = self.calls.begin("GetFlightInfo", &request, described(request.get_ref()))?;
        self.calls.unary(call, self.inner.get_flight_info(request)).await
    }

    async fn poll_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        let call = self.calls.begin("PollFlightInfo", &request, described(request.get_ref()))?;
        self.calls.unary(call, self.inner.poll_flight_info(request)).await
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let call = self.calls.begin("GetSchema", &request, described(request.get_ref()))?;
        self.calls.unary(call, self.inner.get_schema(request)).await
    }

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let call = self.calls.begin("DoGet", &request, request.get_ref().ticket.len())?;
        self.calls.stream(call, self.inner.do_get(request)).await
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let call = self.calls.begin("DoPut", &request, 0)?;
        self.calls.stream(call, self.inner.do_put(request)).await
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let call = self.calls.begin("DoAction", &request, request.get_ref().body.len())?;
        self.calls.stream(call, self.inner.do_action(request)).await
    }

    async fn list_actions(
        &self,
        request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        let call = self.calls.begin("ListActions", &request, 0)?;
        self.calls.stream(call, self.inner.list_actions(request)).await
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        let call = self.calls.begin("DoExchange", &request, 0)?;
        self.calls.stream(call, self.inner.do_exchange(request)).await
    }
}

fn described(descriptor: &FlightDescriptor) -> usize {
    descriptor.cmd.len() + descriptor.path.iter().map(String::len).sum::<usize>()
}
