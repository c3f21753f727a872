//! A database in memory, served on a port of its own, and a client.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use arrow_flight::FlightInfo;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use silt_server::{Server, ServerOptions};
use silt_sql::{Shared, SqlOptions};
use tonic::transport::{Channel, Endpoint};

/// A served database.
pub struct Served {
    /// Stops when this is dropped.
    _server: Server,
    pub client: FlightSqlServiceClient<Channel>,
}

/// On a free port of this machine.
pub fn options() -> ServerOptions {
    ServerOptions { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..ServerOptions::default() }
}

/// Starts a server, outside of any runtime as a program would.
pub fn serve(options: ServerOptions) -> Server {
    let sql = SqlOptions { threads: 2, ..SqlOptions::default() };
    let shared: Arc<Shared> = Shared::in_memory(silt_storage::Options::default(), sql).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| silt_server::serve(shared, options).unwrap()).join().unwrap()
    })
}

pub async fn channel(server: &Server) -> Channel {
    let address = format!("http://{}", server.local_addr());
    Endpoint::from_shared(address).unwrap().connect().await.unwrap()
}

pub async fn served() -> Served {
    served_with(options()).await
}

pub async fn served_with(options: ServerOptions) -> Served {
    let server = serve(options);
    let client = FlightSqlServiceClient::new(channel(&server).await);
    Served { _server: server, client }
}

impl Served {
    /// Runs a change by DoPut.
    pub async fn run(&mut self, sql: &str) -> i64 {
        let done = self.client.execute_update(sql.to_owned(), None).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The rows of a query, and checks that they are what was announced.
    pub async fn rows(&mut self, sql: &str) -> String {
        let info = self.client.execute(sql.to_owned(), None).await;
        let info = info.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let (schema, batches) = self.fetch(info.clone()).await;
        assert_eq!(info.try_decode_schema().unwrap(), *schema, "{sql}");
        text(&batches)
    }

    /// What a FlightInfo's ticket gives.
    pub async fn fetch(&mut self, info: FlightInfo) -> (SchemaRef, Vec<RecordBatch>) {
        fetch(&mut self.client, info).await
    }

    /// A plain Flight client on the same connection.
    pub fn plain(&self) -> FlightServiceClient<Channel> {
        self.client.inner().clone()
    }
}

pub async fn fetch(
    client: &mut FlightSqlServiceClient<Channel>,
    info: FlightInfo,
) -> (SchemaRef, Vec<RecordBatch>) {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut stream = client.do_get(ticket).await.unwrap();
    let batches: Vec<RecordBatch> = (&mut stream).try_collect().await.unwrap();
    let schema = stream.schema().cloned().unwrap_or_else(|| Arc::new(Schema::empty()));
    (schema, batches)
}

/// Rows as text, one line a row.
pub fn text(batches: &[RecordBatch]) -> String {
    let options = FormatOptions::new().with_null("NULL");
    let mut lines = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<_> =
                columns.iter().map(|column| column.value(row).to_string()).collect();
            lines.push(cells.join(" "));
        }
    }
    lines.join("\n")
}
