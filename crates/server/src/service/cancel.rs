//! Ending what runs: CancelFlightInfo and its elder CancelQuery. Closing the stream does the same
//! without a call.

use std::sync::Arc;

use arrow_flight::sql::{Any, Command};
use arrow_flight::{CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo};
use bytes::Bytes;
use prost::Message;
use tonic::Status;

use super::FlightService;
use super::prepared::PreparedHandle;
use crate::session::ClientSession;

/// The action's name; the body is the message itself, not wrapped.
pub(super) const CANCEL_FLIGHT_INFO: &str = "CancelFlightInfo";

impl FlightService {
    /// Answers CancelFlightInfo.
    pub(super) fn cancel_flight_info(
        &self,
        session: &ClientSession,
        body: &[u8],
    ) -> Result<Bytes, Status> {
        let request = CancelFlightInfoRequest::decode(body).map_err(unreadable)?;
        let info = request.info.ok_or_else(|| Status::invalid_argument("no FlightInfo given"))?;
        let result = match cancel(session, &info) {
            Ok(()) => CancelStatus::Cancelling,
            Err(status) if status.code() == tonic::Code::NotFound => CancelStatus::NotCancellable,
            Err(status) => return Err(status),
        };
        Ok(CancelFlightInfoResult::new(result).encode_to_vec().into())
    }

    /// Answers CancelQuery.
    pub(super) fn cancel_query(
        &self,
        session: &ClientSession,
        info: &[u8],
    ) -> Result<CancelStatus, Status> {
        let info = FlightInfo::decode(info).map_err(unreadable)?;
        // The numbers of CancelResult are those of CancelStatus.
        cancel(session, &info).map(|()| CancelStatus::Cancelling)
    }
}

/// Ends what the tickets of `info` name.
fn cancel(session: &ClientSession, info: &FlightInfo) -> Result<(), Status> {
    let tickets = info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref());
    let mut found = false;
    for ticket in tickets {
        let statement = statement_of(session, &ticket.ticket)?;
        statement.cancel();
        found = true;
    }
    if found { Ok(()) } else { Err(Status::invalid_argument("the FlightInfo has no ticket")) }
}

fn statement_of(session: &ClientSession, ticket: &[u8]) -> Result<Arc<PreparedHandle>, Status> {
    let any = Any::decode(ticket).map_err(unreadable)?;
    let command = Command::try_from(any).map_err(|error| crate::status::of_arrow(&error))?;
    match command {
        Command::TicketStatementQuery(query) => {
            let handle = &query.statement_handle;
            let query = session.queries().get(handle)?;
            if !query.is_fetched() {
                session.queries().remove(handle);
            }
            Ok(Arc::clone(&query.statement))
        }
        Command::CommandPreparedStatementQuery(query) => {
            session.statements().get(&query.prepared_statement_handle)
        }
        other => Err(Status::not_found(format!("{} cannot be cancelled", other.type_url()))),
    }
}

fn unreadable(error: prost::DecodeError) -> Status {
    Status::invalid_argument(format!("the request cannot be read: {error}"))
}
