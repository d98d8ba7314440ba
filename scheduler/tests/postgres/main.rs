//! The tests of other programs once more, with the task hubs in PostgreSQL in place of memory or a
//! folder, and what only PostgreSQL has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Each of them brings the common parts along, as it does when it is a program of its own.
#![allow(clippy::duplicate_mod)]

#[path = "../entities.rs"]
mod entities;
mod indexed;
#[path = "../lifecycle.rs"]
mod lifecycle;
#[path = "../model/main.rs"]
mod model;
#[path = "../restart.rs"]
mod restart;
#[path = "../rpc/main.rs"]
mod rpc;
