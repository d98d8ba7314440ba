//! The front door as callers of every role, strangers, issuers and bad networks meet it,
//! through real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod again;
mod drain;
mod exposure;
mod flood;
mod grants;
mod issuer;
mod limits;
mod oidc;
mod restore;
mod server;
mod sessions;
