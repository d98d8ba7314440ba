//! The front door as strangers, issuers and bad networks meet it, through real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod again;
mod drain;
mod exposure;
mod flood;
mod issuer;
mod limits;
mod oidc;
mod restore;
mod server;
