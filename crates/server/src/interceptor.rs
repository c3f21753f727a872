//! The one layer before every call: who calls is known, or it is refused here.
//!
//! It stands before the router, so calls that do not exist, or do not yet, are refused as well. Only
//! Handshake passes without a token: there a client gets one. The call goes on with its
//! [`ClientSession`](crate::session::ClientSession) among its extensions.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, header::AUTHORIZATION};
use tower::{Layer, Service};

use crate::auth::Authenticator;
use crate::listen::Peer;

/// The call by which clients log in.
const HANDSHAKE: &str = "/arrow.flight.protocol.FlightService/Handshake";

/// Puts [`Checked`] before a service.
#[derive(Clone, Debug)]
pub(crate) struct CheckLayer(pub(crate) Arc<Authenticator>);

impl<S> Layer<S> for CheckLayer {
    type Service = Checked<S>;

    fn layer(&self, inner: S) -> Checked<S> {
        Checked { inner, authenticator: Arc::clone(&self.0) }
    }
}

/// A service that only known clients reach.
#[derive(Clone, Debug)]
pub(crate) struct Checked<S> {
    inner: S,
    authenticator: Arc<Authenticator>,
}

impl<S> Service<Request<Body>> for Checked<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Self::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.check(&mut request) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}

impl<S> Checked<S> {
    fn check(&self, request: &mut Request<Body>) -> Result<(), Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::internal("a call without a connection"))?;
        if request.uri().path() == HANDSHAKE {
            return Ok(());
        }
        let authorization = request.headers().get(AUTHORIZATION);
        let authorization = authorization.and_then(|value| value.to_str().ok());
        let session = self.authenticator.session(authorization, &peer);
        let session = session.inspect_err(|_| peer.connection().strike())?;
        // Who is known may stay.
        peer.connection().welcome();
        request.extensions_mut().insert(session);
        Ok(())
    }
}
