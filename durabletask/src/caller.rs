//! A channel that authenticates to the task hub on every call.

use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, Either, FutureExt as _, MapErr, TryFutureExt as _};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, StdError, http};
use tonic::transport::Channel;
use tonic::transport::channel::ResponseFuture;

use crate::connection::Headers;
use crate::credential::Credential;
use crate::token_file::TokenFile;

/// What calls present.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// Nothing.
    None,
    /// A static token.
    File(TokenFile),
    /// A token that a credential is asked for now and then.
    Asked(Credential),
}

/// Adds the headers, and a token where the connection has one.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    channel: Channel,
    headers: Headers,
    proof: Proof,
}

type Answer = http::Response<Body>;
type Sent = MapErr<ResponseFuture, fn(tonic::transport::Error) -> StdError>;

impl Caller {
    pub(crate) fn new(channel: Channel, headers: Headers, proof: Proof) -> Self {
        Self {
            channel,
            headers,
            proof,
        }
    }
}

fn send(channel: &mut Channel, request: http::Request<Body>) -> Sent {
    let boxed: fn(tonic::transport::Error) -> StdError = Into::into;
    channel.call(request).map_err(boxed)
}

impl Service<http::Request<Body>> for Caller {
    type Response = Answer;
    type Error = StdError;
    type Future = Either<Sent, BoxFuture<'static, Result<Answer, StdError>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.channel.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        self.headers.add_to(request.headers_mut());
        let credential = match &self.proof {
            Proof::None => return Either::Left(send(&mut self.channel, request)),
            Proof::File(file) => {
                let headers = request.headers_mut();
                headers.insert(http::header::AUTHORIZATION, file.header());
                return Either::Left(send(&mut self.channel, request));
            }
            Proof::Asked(credential) => credential.clone(),
        };
        // The ready one is used; its clone is prepared for the next call.
        let next = self.channel.clone();
        let mut channel = std::mem::replace(&mut self.channel, next);
        let authorized = async move {
            let token = credential.header().await.map_err(|error| {
                Status::unauthenticated(format!("there is no token for the task hub: {error}"))
            })?;
            request
                .headers_mut()
                .insert(http::header::AUTHORIZATION, token);
            send(&mut channel, request).await
        };
        Either::Right(authorized.boxed())
    }
}
