//! Plain Flight, for programs that speak it without SQL's commands: a descriptor's path is the name
//! of a table, `("events")` or `("main", "events")`; its command, or a ticket, is the text of a
//! query.

use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::sql::Any;
use arrow_flight::{FlightDescriptor, FlightInfo};
use prost::Message;
use silt_catalog::{MAIN_NAMESPACE, TableDef};
use tonic::Status;

use super::ingest::quoted;
use super::{FlightService, info};
use crate::stream::wire_schema;

/// What every command of Flight SQL's begins with.
const COMMAND_PREFIX: &str = "type.googleapis.com/arrow.flight.protocol.sql.";

/// The query that a plain descriptor asks for; none for a command of Flight SQL's.
pub(super) fn query_of(descriptor: &FlightDescriptor) -> Result<Option<String>, Status> {
    match descriptor.r#type() {
        DescriptorType::Path => match descriptor.path.as_slice() {
            [table] => Ok(Some(all_of(MAIN_NAMESPACE, table))),
            [namespace, table] => Ok(Some(all_of(namespace, table))),
            path => Err(Status::invalid_argument(format!(
                "a path is the name of a table, of one or two parts, not {}",
                path.len()
            ))),
        },
        DescriptorType::Cmd => text_of(&descriptor.cmd),
        DescriptorType::Unknown => Err(Status::invalid_argument("the descriptor has no type")),
    }
}

/// The text in bytes that are no command of Flight SQL's.
pub(super) fn text_of(bytes: &[u8]) -> Result<Option<String>, Status> {
    if Any::decode(bytes).is_ok_and(|any| any.type_url.starts_with(COMMAND_PREFIX)) {
        return Ok(None);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.trim().is_empty() => Ok(Some(text.to_owned())),
        _ => {
            Err(Status::invalid_argument("neither a command of Flight SQL nor the text of a query"))
        }
    }
}

fn all_of(namespace: &str, table: &str) -> String {
    format!("SELECT * FROM {}.{}", quoted(namespace), quoted(table))
}

impl FlightService {
    /// The tables, each as what its path gives.
    pub(super) fn flights(&self) -> Vec<Result<FlightInfo, Status>> {
        let names = self.shared.catalog().current();
        names.tables().map(|table| flight(table)).collect()
    }
}

fn flight(table: &TableDef) -> Result<FlightInfo, Status> {
    let path = vec![table.namespace.clone(), table.name.clone()];
    let query = all_of(&table.namespace, &table.name);
    let ticket = arrow_flight::Ticket::new(query);
    info(&wire_schema(&table.arrow_schema()), ticket, FlightDescriptor::new_path(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_flight::sql::{CommandGetCatalogs, ProstMessageExt};

    #[test]
    fn texts_are_told_from_commands() {
        let command = CommandGetCatalogs {}.as_any().encode_to_vec();
        assert_eq!(text_of(&command).unwrap(), None);
        assert_eq!(text_of(b"SELECT 1").unwrap().as_deref(), Some("SELECT 1"));
        assert!(text_of(b"").is_err());
        assert!(text_of(&[0xff, 0xfe]).is_err());
        let path = |parts: &[&str]| {
            query_of(&FlightDescriptor::new_path(parts.iter().map(|p| (*p).to_owned()).collect()))
        };
        assert_eq!(path(&["a\"b"]).unwrap().unwrap(), "SELECT * FROM \"main\".\"a\"\"b\"");
        assert!(path(&["a", "b", "c"]).is_err());
    }
}
