//! The replay core of the durabletask SDK: past and new events in, actions out.

mod contract;
mod error;

pub use contract::{Activity, Event, Orchestration};
pub use error::{Failure, FailureDetails, TaskError};
