//! One RPC after another, as clients and workers see them over gRPC.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod backlog;
mod chunks;
mod entity_states;
mod expected;
mod fields;
mod filters;
mod hubs;
mod instances;
mod late;
mod latency;
mod recorded;
mod rewind;
mod rewind_entities;
mod sizes;
mod starved;
mod states;
#[path = "../support/mod.rs"]
mod support;
