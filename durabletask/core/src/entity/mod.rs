//! Durable entities: named states that change one operation at a time.
//!
//! An entity is addressed by name and key and exists from its first operation on. Its
//! operations run one after the other, wherever they come from: clients and other
//! entities *signal* it, orchestrations *signal* or *call* it.
//!
//! ```
//! use durabletask::{Entity, EntityContext, EntityHandlers, Failure, Operation, Registry};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Counter {
//!     value: i64,
//! }
//!
//! const COUNTER: Entity<Counter> = Entity::new("counter");
//! const ADD: Operation<Counter, i64, i64> = Operation::new("add");
//! const GET: Operation<Counter, (), i64> = Operation::new("get");
//!
//! fn add(counter: &mut Counter, _: &EntityContext, amount: i64) -> Result<i64, Failure> {
//!     counter.value += amount;
//!     Ok(counter.value)
//! }
//!
//! let registry = Registry::new().entity(
//!     &COUNTER,
//!     EntityHandlers::new()
//!         .operation(&ADD, add)
//!         .operation(&GET, |counter, _, ()| Ok(counter.value)),
//! );
//! assert_eq!(registry.entity_names().collect::<Vec<_>>(), ["counter"]);
//! assert_eq!(COUNTER.id("clicks").to_string(), "@counter@clicks");
//! ```

mod batch;
mod context;
mod contract;
mod feed;
mod handlers;
mod id;
mod run;

pub use batch::{EntityBatch, EntityBatchResult, EntityCaller, EntityOperation, OperationOutcome};
pub use context::{EntityAction, EntityContext, EntityStartOptions};
pub use contract::{Entity, Operation};
pub(crate) use feed::read_values;
pub use feed::{
    FEED_APPEND, FEED_DELETE, FEED_READ, FeedAppend, FeedLog, FeedPage, feed_entity, register_feeds,
};
pub(crate) use handlers::EntityHandler;
pub use handlers::EntityHandlers;
pub use id::{EntityId, EntityRef, InvalidEntityId};
pub use run::{EntityBatchRun, run_batch};
