//! The same tests as over a socket, of callers in the process of the scheduler: they notice no difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(
    clippy::duplicate_mod,
    reason = "some of these files are tests of their own, and name what they share"
)]

#[path = "../rpc/backlog.rs"]
mod backlog;
#[path = "../rpc/chunks.rs"]
mod chunks;
#[path = "../commands.rs"]
mod commands;
#[path = "../entities.rs"]
mod entities;
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
#[path = "../lifecycle.rs"]
mod lifecycle;
#[path = "../rpc/recorded.rs"]
mod recorded;
#[path = "../rpc/rewind.rs"]
mod rewind;
#[path = "../rpc/rewind_entities.rs"]
mod rewind_entities;
mod sdk;
#[path = "../rpc/sizes.rs"]
mod sizes;
#[path = "../rpc/states.rs"]
mod states;
#[path = "../support/mod.rs"]
mod support;
