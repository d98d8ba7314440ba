//! Several front doors that share a database: what one of them decides, counts and records
//! holds at the others, and where that cannot be known nothing is given out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../azure/tests/fake/mod.rs"]
mod fake;

mod at_once;
mod backup;
mod clock;
mod failures;
mod full;
mod hub_database;
mod installation;
mod moving;
#[path = "../../database/tests/database/proxy.rs"]
mod proxy;
mod restored;
mod rotations;
mod server_key;
mod shipping;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each test program uses a part of it"
)]
mod support;
mod together;
mod users;
mod wrapped;
