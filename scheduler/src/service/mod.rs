//! The gRPC service: RPC → checked request → store → answer.

mod bounds;
mod completion_stream;
mod completions;
mod entities;
mod forks;
mod history;
mod hubs;
mod instances;
mod lists;
mod rpc;
pub(crate) mod sizes;
mod status;
mod work_items;

use std::pin::Pin;
use std::sync::{Arc, RwLock};

use durabletask_scheduler_core::is_instance_id;
use futures_util::Stream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::SchedulerConfig;
use crate::dispatch::Dispatch;
use crate::store::Store;
pub(crate) use status::status;
use status::{invalid, status_midway};

/// A stream of answers.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The default and the largest number of instances on a page.
const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

/// The service over an open store.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) store: Store,
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) config: Arc<SchedulerConfig>,
    hubs: Arc<RwLock<hubs::Known>>,
    /// Ends streams and long polls.
    pub(crate) ending: CancellationToken,
}

impl Service {
    pub(crate) fn new(
        store: Store,
        dispatch: Arc<Dispatch>,
        config: Arc<SchedulerConfig>,
        ending: CancellationToken,
    ) -> Self {
        Self {
            store,
            dispatch,
            config,
            hubs: Arc::default(),
            ending,
        }
    }

    /// Refuses a payload over the limit.
    fn check_payload(&self, what: &str, payload: Option<&String>) -> Result<(), Status> {
        let limit = self.config.max_payload_bytes;
        match payload {
            Some(payload) if payload.len() > limit => Err(invalid(format!(
                "the {what} has {} bytes, over the limit of {limit}; pass a reference to the data instead",
                payload.len()
            ))),
            _ => Ok(()),
        }
    }
}

fn check_instance_id(id: &str) -> Result<(), Status> {
    if !is_instance_id(id) {
        return Err(invalid(
            "an instance id must have 1 to 100 characters and not start with '@', which is reserved for entities",
        ));
    }
    Ok(())
}

/// The size of a page; 0 and less mean the default.
fn page_size(asked: i32) -> usize {
    match usize::try_from(asked) {
        Ok(0) | Err(_) => DEFAULT_PAGE,
        Ok(asked) => asked.min(MAX_PAGE),
    }
}

fn wrong_cursor() -> Status {
    invalid("the continuation token is not one of this scheduler's")
}
