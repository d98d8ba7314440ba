//! Several schedulers that call each other: who owns what comes from a fake table, everything else is real.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bytes;
mod faults;
mod moves;
mod pages;
mod peer;
mod sdk;
mod stop;
#[path = "../support/mod.rs"]
mod support;
mod trust;
