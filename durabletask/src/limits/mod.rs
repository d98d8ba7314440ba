//! At most so many at once for each key: flow control over all workers of a task hub.
//!
//! A [`Limit`] has a name and a number. Orchestrations run a part of their work [`within`](Limit::within) it,
//! under a key such as a tenant or the host that they call, and wait in order of arrival while that
//! many others of the same key are at it. A durable entity keeps who is; any worker of the hub that has
//! called [`register`] can serve it.
//!
//! ```no_run
//! use durabletask::limits::{self, Limit};
//! use durabletask::{Activity, Failure, Orchestration, OrchestrationContext, Registry};
//!
//! const IMPORT: Orchestration<String, u64> = Orchestration::new("import");
//! const COPY: Activity<String, u64> = Activity::new("copy");
//! /// Two imports of one tenant at once.
//! const TENANT: Limit = Limit::new("tenant", 2);
//!
//! async fn import(ctx: OrchestrationContext, tenant: String) -> Result<u64, Failure> {
//!     TENANT.within(&ctx, &tenant, async { Ok(ctx.call_activity(&COPY, &tenant).await?) }).await
//! }
//!
//! let registry = limits::register(Registry::new().orchestration(&IMPORT, import));
//! # let _ = registry;
//! ```
//!
//! To bound one worker instead, or to bound a name over the whole hub without keys, see
//! [`WorkerBuilder`](crate::worker::WorkerBuilder) and the scheduler's policies.

mod queue;

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use durabletask_core::{
    Entity, EntityContext, EntityHandlers, EntityStartOptions, Event, Failure, Operation,
    Orchestration, OrchestrationContext, Registry,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use queue::{Queue, Step};

/// How long one of those at work counts at most, unless the limit says otherwise.
const LEASE: Duration = Duration::from_secs(3_600);
/// How many may wait under one key, unless the limit says otherwise.
const WAITING: u32 = 1_000;
/// The longest key of an entity whose id may have 100 characters.
const MAX_KEY: usize = 100 - "@durabletask.limit@".len();
/// The namespace of the keys that are too long.
const NAMESPACE: Uuid = Uuid::from_u128(0x4c55_2a0e_6f0b_4a53_9d5e_d2b1_7a8e_10c4);

const QUEUE: Entity<Queue> = Entity::new("durabletask.limit");
const ENTER: Operation<Queue, Entering, bool> = Operation::new("enter");
const LEAVE: Operation<Queue, String, ()> = Operation::new("leave");
const EXPIRE: Operation<Queue, String, ()> = Operation::new("expire");
/// Tells an instance that waits, which an entity itself cannot.
const TELL: Orchestration<(String, String), ()> = Orchestration::new("durabletask.limit.tell");

/// The failure's type where more wait already than a limit allows.
pub const TOO_MANY_WAITING: &str = "TooManyWaiting";

/// A request to be one of those at work.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entering {
    ticket: String,
    instance_id: String,
    at_once: u32,
    waiting: u32,
    lease: Duration,
}

/// How many may be at work at once under each key. See the [module](self).
///
/// ```
/// use std::time::Duration;
///
/// use durabletask::limits::Limit;
///
/// const TENANT: Limit = Limit::new("tenant", 2).lease(Duration::from_secs(600)).waiting(50);
/// assert_eq!((TENANT.name(), TENANT.at_once()), ("tenant", 2));
/// ```
#[derive(Clone, Debug)]
pub struct Limit {
    name: Cow<'static, str>,
    at_once: u32,
    lease: Duration,
    waiting: u32,
}

impl Limit {
    /// At most `at_once` under each key. Limits of the same name are the same, and the number that was
    /// said last counts.
    ///
    /// # Panics
    ///
    /// If `at_once` is 0, with which nothing would ever run.
    #[must_use]
    pub const fn new(name: &'static str, at_once: u32) -> Self {
        assert!(at_once > 0, "a limit of 0 lets nothing run");
        Self {
            name: Cow::Borrowed(name),
            at_once,
            lease: LEASE,
            waiting: WAITING,
        }
    }

    /// For how long one of those at work counts at most; an hour unless it is set. What is terminated
    /// at its work counts until then, and what works for longer may have more beside it than the limit
    /// says.
    #[must_use]
    pub const fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How many may wait under one key; 1,000 unless it is set. More fail with
    /// [`TOO_MANY_WAITING`], which can be retried.
    #[must_use]
    pub const fn waiting(mut self, waiting: u32) -> Self {
        self.waiting = waiting;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many may be at work at once.
    #[must_use]
    pub const fn at_once(&self) -> u32 {
        self.at_once
    }

    /// Runs `work` once fewer than [`at_once`](Self::at_once) others are at it under `key`, and lets the
    /// next one in when it has ended, well or not. Those of one key come in the order of their arrival.
    ///
    /// Do not drop the future before it has ended, as a race with a timer would: its place stays taken
    /// until the lease ends.
    ///
    /// # Errors
    ///
    /// What `work` fails with; [`TOO_MANY_WAITING`]; and what a call of an entity can fail with.
    pub async fn within<T>(
        &self,
        ctx: &OrchestrationContext,
        key: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let ticket = ctx.new_uuid().simple().to_string();
        let queue = QUEUE.id(&self.key(key));
        let let_in = ctx.wait_for_event(&let_in(&ticket));
        let entering = Entering {
            ticket: ticket.clone(),
            instance_id: ctx.instance_id().to_owned(),
            at_once: self.at_once,
            waiting: self.waiting,
            lease: self.lease,
        };
        match ctx.call_entity(&queue, &ENTER, &entering).await? {
            true => drop(let_in),
            false => let_in.await?,
        }
        let outcome = work.await;
        ctx.signal_entity(&queue, &LEAVE, &ticket)?;
        outcome
    }

    /// The key of the entity.
    fn key(&self, key: &str) -> String {
        // The length keeps names and keys apart.
        let readable = format!("{}:{}:{key}", self.name.len(), self.name);
        match readable.len() <= MAX_KEY {
            true => readable,
            false => Uuid::new_v5(&NAMESPACE, readable.as_bytes())
                .simple()
                .to_string(),
        }
    }
}

/// The event that an instance with this ticket waits for.
fn let_in(ticket: &str) -> Event<()> {
    Event::named(format!("durabletask.limit/{ticket}"))
}

/// Adds to `registry` what a worker needs to serve limits. Every hub whose orchestrations use any needs
/// at least one such worker.
///
/// ```
/// use durabletask::{Registry, limits};
///
/// let registry = limits::register(Registry::new());
/// assert_eq!(registry.entity_names().collect::<Vec<_>>(), ["durabletask.limit"]);
/// ```
#[must_use]
pub fn register(registry: Registry) -> Registry {
    let handlers = EntityHandlers::new()
        .operation(&ENTER, |queue, ctx, entering: Entering| {
            let now = Utc::now();
            let until = now + TimeDelta::from_std(entering.lease).unwrap_or(TimeDelta::MAX / 2);
            queue.limit(entering.at_once);
            let entered = queue.enter(
                &entering.ticket,
                &entering.instance_id,
                (now, until),
                entering.waiting,
            );
            let Some(entered) = entered else {
                let message = format!(
                    "{} wait for this already, which is the most that may",
                    entering.waiting
                );
                return Err(Failure::new(TOO_MANY_WAITING, message));
            };
            follow(queue, ctx, now)?;
            Ok(entered)
        })
        .operation(&LEAVE, |queue, ctx, ticket: String| {
            queue.leave(&ticket);
            follow(queue, ctx, Utc::now())
        })
        .operation(&EXPIRE, |queue, ctx, ticket: String| {
            // That it is time is for the scheduler's clock to say.
            queue.expire(&ticket);
            follow(queue, ctx, Utc::now())
        });
    registry.entity(&QUEUE, handlers).orchestration(
        &TELL,
        async |ctx: OrchestrationContext, (instance_id, ticket): (String, String)| {
            Ok(ctx.send_event(&instance_id, &let_in(&ticket), &())?)
        },
    )
}

/// Does what the queue asks for.
fn follow(queue: &mut Queue, ctx: &EntityContext, now: DateTime<Utc>) -> Result<(), Failure> {
    for step in queue.steps(now) {
        match step {
            Step::LetIn {
                ticket,
                instance_id,
            } => {
                let options =
                    EntityStartOptions::new().instance_id(format!("durabletask.limit.{ticket}"));
                ctx.start_orchestration_with(&TELL, &(instance_id, ticket), options)?;
            }
            Step::Watch { ticket, until } => {
                ctx.signal_entity_at(&QUEUE.id(ctx.id().key()), &EXPIRE, &ticket, until)?;
            }
        }
    }
    if queue.is_empty() {
        ctx.delete_state();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_fit_and_keep_limits_apart() {
        let limit = Limit::new("tenant", 1);
        assert_eq!(limit.key("acme"), "6:tenant:acme");
        assert_eq!(limit.key(&"long".repeat(100)).len(), 32);
        assert_ne!(
            limit.key(&"long".repeat(100)),
            limit.key(&"long".repeat(101))
        );
        assert_ne!(Limit::new("a", 1).key("b:c"), Limit::new("a:b", 1).key("c"));
    }
}
