//! A Flight server that only streams batches from memory, by Arrow's own encoder: what there is to
//! gain at most.

use std::net::SocketAddr;
use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::server::FlightSqlService;
use arrow_flight::sql::{Any, SqlInfo};
use arrow_flight::{FlightData, Ticket};
use futures::TryStreamExt;
use siltdb::arrow::compute::cast;
use siltdb::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A ticket for all rows: any message that is no command.
pub const TICKET: &str = "\u{a}\u{6}memory";

/// The server; it ends when this is dropped.
pub struct Memory {
    address: SocketAddr,
    _runtime: Runtime,
}

struct Batches(Arc<Vec<RecordBatch>>);

impl Memory {
    /// Serves batches, with the types that SiltDB's server sends.
    pub fn serve(batches: &[RecordBatch]) -> Result<Self, Box<dyn std::error::Error>> {
        let batches: Vec<RecordBatch> = batches.iter().map(as_sent).collect::<Result<_, _>>()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let service = FlightServiceServer::new(Batches(Arc::new(batches)));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        runtime.spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        Ok(Self { address, _runtime: runtime })
    }

    /// As clients write it.
    pub fn address(&self) -> String {
        format!("grpc://{}", self.address)
    }
}

fn as_sent(batch: &RecordBatch) -> Result<RecordBatch, siltdb::arrow::error::ArrowError> {
    let fields = batch.schema_ref().fields().iter().map(|field| match field.data_type() {
        DataType::Utf8View => Field::new(field.name(), DataType::Utf8, field.is_nullable()),
        _ => Field::clone(field),
    });
    let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let columns = schema.fields().iter().zip(batch.columns());
    let columns = columns.map(|(field, column)| cast(column, field.data_type()));
    RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<_, _>>()?)
}

/// The bytes of a batch as it is sent, about.
pub fn wire_bytes(batch: &RecordBatch) -> f64 {
    let sent = as_sent(batch).unwrap_or_else(|_| batch.clone());
    let bytes: usize =
        sent.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(0)).sum();
    bytes as f64
}

#[tonic::async_trait]
impl FlightSqlService for Batches {
    type FlightService = Self;

    async fn do_get_fallback(
        &self,
        _: Request<Ticket>,
        _: Any,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let batches = Arc::clone(&self.0);
        let schema = batches[0].schema();
        let rows = (0..batches.len()).map(move |index| Ok(batches[index].clone()));
        let stream = FlightDataEncoderBuilder::new()
            .with_schema(schema)
            .build(futures::stream::iter(rows))
            .map_err(Status::from);
        let stream: std::pin::Pin<
            Box<dyn futures::Stream<Item = Result<FlightData, Status>> + Send>,
        > = Box::pin(stream);
        Ok(Response::new(stream))
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}
