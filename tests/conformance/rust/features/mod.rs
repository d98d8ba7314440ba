//! The features: each is the code that a worker runs and the check that drives it.

mod again;
mod blobs;
mod commands;
mod entities;
mod events;
mod families;
mod feeds;
mod heartbeats;
mod mixed;
mod shared_schedules;
mod starts;
mod tasks;
mod workers;

use std::future::Future;
use std::pin::Pin;

use durabletask::Registry;

use crate::backend::Hub;

/// The checks of a feature, in progress. They panic where something is wrong.
pub type Checks = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One row of the table.
#[derive(Clone, Copy)]
pub struct Feature {
    /// Its name in the table and in the exclusions.
    pub name: &'static str,
    /// What the worker runs; empty where the check brings its own workers.
    pub registry: fn() -> Registry,
    /// What has to hold.
    pub check: fn(Hub) -> Checks,
}

impl Feature {
    const fn new(name: &'static str, registry: fn() -> Registry, check: fn(Hub) -> Checks) -> Self {
        Self {
            name,
            registry,
            check,
        }
    }
}

/// Turns `async fn check(hub: Hub)` into a row.
macro_rules! row {
    ($name:literal, $registry:path, $check:path) => {
        $crate::features::Feature::new($name, $registry, |hub| Box::pin($check(hub)))
    };
}
pub(crate) use row;

/// All rows, in the order of the table. Those with a Python worker need `CONFORMANCE_PYTHON`,
/// an interpreter that has the official packages; those with blobs need `CONFORMANCE_BLOBS`,
/// the connection string of a blob service.
pub fn all() -> Vec<Feature> {
    let mut rows = [
        tasks::features(),
        events::features(),
        heartbeats::features(),
        families::features(),
        starts::features(),
        commands::features(),
        again::features(),
        workers::features(),
    ]
    .concat();
    let python = std::env::var_os("CONFORMANCE_PYTHON").is_some();
    let blobs = std::env::var_os(blobs::VARIABLE).is_some();
    if blobs {
        rows.extend(blobs::features());
    }
    // After these the Go sidecar is gone: a call to an entity ends it.
    rows.extend(entities::features());
    rows.extend(feeds::features());
    if python {
        rows.extend(mixed::features());
        rows.extend(shared_schedules::features());
    }
    if python && blobs {
        rows.extend(mixed::features_with_blobs());
    }
    rows
}
