//! Bodies of requests that end only where the client ended them.
//!
//! tonic takes a stream that the client reset for one that it finished. What came of an ingest until
//! then would be committed, so a reset becomes an error before tonic sees it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{BodyDataStream, HttpBody};
use bytes::Bytes;
use futures::Stream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::Request;

/// The same request; its body fails where the client went away.
pub(crate) fn whole(request: Request<Body>) -> Request<Body> {
    request.map(|body| {
        let data = Whole { data: axum::body::Body::new(body).into_data_stream(), is_over: false };
        Body::new(axum::body::Body::from_stream(data))
    })
}

struct Whole {
    data: BodyDataStream,
    is_over: bool,
}

impl Stream for Whole {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let next = match Pin::new(&mut self.data).poll_next(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(bytes))) => return Poll::Ready(Some(Ok(bytes))),
            Poll::Ready(None) if self.data.is_end_stream() => None,
            // Any code but `Cancelled`, which tonic takes for the end.
            Poll::Ready(_) => Some(Err(Status::aborted("the client went away"))),
        };
        self.is_over = true;
        Poll::Ready(next)
    }
}
