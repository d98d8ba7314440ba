//! The same tests as of one scheduler alone, through a node that owns no task hub: it passes every call
//! on to another one, and nobody notices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(
    clippy::duplicate_mod,
    reason = "some of these files are tests of their own, and name what they share"
)]

#[path = "../rpc/backlog.rs"]
mod backlog;
#[path = "../rpc/chunks.rs"]
mod chunks;
#[path = "../commands_sdk.rs"]
mod commands_sdk;
#[path = "../completion_stream.rs"]
mod completion_stream;
#[path = "../dashboard.rs"]
mod dashboard;
#[path = "../rpc/entity_states.rs"]
mod entity_states;
#[path = "../rpc/expected.rs"]
mod expected;
#[path = "../rpc/fields.rs"]
mod fields;
#[path = "../rpc/filters.rs"]
mod filters;
#[path = "../rpc/hubs.rs"]
mod hubs;
#[path = "../rpc/instances.rs"]
mod instances;
#[path = "../rpc/late.rs"]
mod late;
#[path = "../rpc/recorded.rs"]
mod recorded;
#[path = "../rpc/rewind.rs"]
mod rewind;
#[path = "../rpc/rewind_entities.rs"]
mod rewind_entities;
#[path = "../rpc/sizes.rs"]
mod sizes;
#[path = "../rpc/starved.rs"]
mod starved;
#[path = "../rpc/states.rs"]
mod states;
#[path = "../support/mod.rs"]
mod support;
