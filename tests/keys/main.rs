//! Which part of an installation creates and reads which key, in a data folder and in a Key
//! Vault, and what happens to replaced or missing keys. The parts run as processes of
//! their own, as they do outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../azure/tests/fake/mod.rs"]
mod fake;

mod folder;
mod parts;
mod roles;
mod rotation;
mod server_key;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each test program uses a part of it"
)]
mod support;
mod wrapped;
