//! Bodies of requests that end only where the client ended them, and hold no more than they may.
//!
//! tonic takes a stream that the client reset for one that it finished. What came of an ingest until
//! then would be committed, so a reset becomes an error before tonic sees it.
//!
//! Commands are bounded more closely than messages of rows, and tonic knows one bound for all. The
//! length that stands before a message is looked at here, so that what is too long is refused
//! before it is read.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{BodyDataStream, HttpBody};
use bytes::Bytes;
use futures::Stream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::Request;

use crate::listen::Peer;

/// The calls that send rows, or whose messages are read one by one.
const STREAMS: [&str; 3] = ["DoPut", "DoExchange", "Handshake"];
/// Before each message: a byte for compression and four for its length.
const PREFIX_BYTES: usize = 5;

/// The same request; its body fails where the client went away, or where it is a command of more
/// than so many bytes.
pub(crate) fn whole(request: Request<Body>, command_bytes_max: usize) -> Request<Body> {
    let call = request.uri().path().rsplit('/').next();
    let is_command = !call.is_some_and(|call| STREAMS.contains(&call));
    let peer = request.extensions().get::<Peer>().cloned();
    let prefix = is_command.then(|| Prefix { bytes: Vec::new(), most: command_bytes_max, peer });
    request.map(|body| {
        let data = axum::body::Body::new(body).into_data_stream();
        Body::new(axum::body::Body::from_stream(Whole { data, prefix, is_over: false }))
    })
}

struct Whole {
    data: BodyDataStream,
    /// Until it was looked at.
    prefix: Option<Prefix>,
    is_over: bool,
}

/// What stands before the only message of a call.
struct Prefix {
    bytes: Vec<u8>,
    most: usize,
    peer: Option<Peer>,
}

impl Prefix {
    /// Looks at what came; true once there is nothing left to look at.
    fn read(&mut self, came: &[u8]) -> Result<bool, Status> {
        let missing = PREFIX_BYTES - self.bytes.len();
        self.bytes.extend(came.iter().take(missing));
        let Some((_, length)) = self.bytes.split_first_chunk::<1>() else { return Ok(false) };
        let Ok(length) = <[u8; 4]>::try_from(length) else { return Ok(false) };
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length <= self.most {
            return Ok(true);
        }
        if let Some(peer) = &self.peer {
            peer.connection().strike();
        }
        let most = self.most;
        Err(Status::resource_exhausted(format!(
            "the message has {length} bytes, and such a call's may have {most} (--command-bytes-max)"
        )))
    }
}

impl Whole {
    fn end(&mut self, status: Option<Status>) -> Poll<Option<Result<Bytes, Status>>> {
        self.is_over = true;
        Poll::Ready(status.map(Err))
    }
}

impl Stream for Whole {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.data).poll_next(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(bytes))) => {
                if let Some(prefix) = &mut self.prefix {
                    match prefix.read(&bytes) {
                        Ok(true) => self.prefix = None,
                        Ok(false) => {}
                        Err(status) => return self.end(Some(status)),
                    }
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(None) if self.data.is_end_stream() => self.end(None),
            // Any code but `Cancelled`, which tonic takes for the end.
            Poll::Ready(_) => self.end(Some(Status::aborted("the client went away"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_read_however_it_is_cut() {
        let message = [0, 0, 0, 1, 0, b'x', b'y'];
        for cut in 1..message.len() {
            for (most, fits) in [(256, true), (255, false)] {
                let mut prefix = Prefix { bytes: Vec::new(), most, peer: None };
                let mut reads = message.chunks(cut).map(|piece| prefix.read(piece));
                let read = reads.find(|read| !matches!(read, Ok(false))).unwrap();
                assert_eq!(read.is_ok(), fits, "cut at {cut}");
            }
        }
    }
}
