//! Rust SDK for the Durable Task Scheduler: orchestrations as plain async functions.
