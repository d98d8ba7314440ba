//! The front door as callers of every role, strangers, issuers and bad networks meet it,
//! through real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod drain;
mod exposure;
mod flood;
mod grants;
mod limits;
mod oidc;
mod reauthentication;
mod restore;
mod server;
mod sessions;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each test program uses a part of it"
)]
mod support;
