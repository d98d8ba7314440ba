//! `GET /api/hello`: proves to commands on this machine that this is the server of their
//! data folder. It is not part of the API, and only connections within this machine get an
//! answer, whichever of its addresses they use. It is answered at any time, as health checks are: it waits for nothing, so that no one
//! who keeps the server busy can keep commands from recognizing it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};

use crate::http::FrontDoor;
use crate::http::edge::error::ApiError;
use crate::http::edge::reply::no_store;
use crate::local_proof::{Nonce, PATH};

/// The server's end of a request's connection: an extension of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalEnd {
    /// The server's address.
    pub(crate) address: SocketAddr,
    /// The other end's, whatever a proxy says of its clients.
    pub(crate) peer: SocketAddr,
}

impl LocalEnd {
    /// Whether the other end is on this machine too: on a loopback address, or on the same
    /// address as the server.
    fn is_within_this_machine(self) -> bool {
        let own = self.address.ip().to_canonical();
        own.is_loopback() || own == self.peer.ip().to_canonical()
    }
}

/// A command's question.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    /// 64 hexadecimal digits that were never used before.
    nonce: String,
}

/// The server's answer.
#[derive(Serialize)]
struct HelloProof {
    proof: String,
}

pub(crate) fn router() -> Router<Arc<FrontDoor>> {
    Router::new().route(PATH, get(hello))
}

async fn hello(
    State(door): State<Arc<FrontDoor>>,
    end: Option<Extension<LocalEnd>>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Response, ApiError> {
    let end = end
        .map(|Extension(end)| end)
        .filter(|end| end.is_within_this_machine())
        .ok_or(ApiError::NoSuchPath)?;
    let question = question.ok();
    let nonce = question.and_then(|Query(question)| Nonce::parse(&question.nonce));
    let nonce = nonce.ok_or_else(|| ApiError::InvalidParameter {
        name: "nonce",
        detail: "64 hexadecimal digits".to_owned(),
    })?;
    let server = &door.server;
    let proof = server.proof.prove(server.tls, end.address, &nonce);
    Ok(no_store(Json(HelloProof { proof }).into_response()))
}
