//! What an activity reaches through its context: its orchestration, and those who follow it.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use serde::Serialize;

use crate::codec;
use crate::heartbeat::HeartbeatError;

/// How large a published value may be, as JSON text.
pub(crate) const MAX_VALUE_BYTES: usize = 64 << 10;

/// Why a value was not published.
///
/// ```
/// use durabletask::activity::PublishError;
/// use durabletask::{ActivityContext, Failure, Feed};
///
/// const WORDS: Feed<String> = Feed::new("words");
///
/// async fn write(ctx: ActivityContext, words: Vec<String>) -> Result<(), Failure> {
///     for (number, word) in (0..).zip(&words) {
///         // Under its number it is published once, however often that is tried.
///         while let Err(error) = ctx.publish(&WORDS, number, word).await {
///             match error {
///                 PublishError::NotPublished(_) => continue,
///                 other => return Err(other.into()),
///             }
///         }
///     }
///     Ok(())
/// }
/// # let _ = write;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// It cannot be written as JSON, or is too large.
    #[error("the value cannot be published: {0}")]
    Payload(String),
    /// The scheduler did not take it, or did not answer.
    #[error("the value was not published: {0}")]
    NotPublished(String),
}

/// Where the heartbeats and the published values of one call go. A worker provides it.
///
/// ```
/// use durabletask_core::{ActivityHost, NoHost};
///
/// let host = NoHost::default();
/// # let _: &dyn ActivityHost = &host;
/// ```
pub trait ActivityHost: fmt::Debug + Send + Sync {
    /// Records a heartbeat; it is durable once this returns. `details` is JSON text.
    fn beat(&self, details: String) -> BoxFuture<'_, Result<(), HeartbeatError>>;

    /// The details of the last heartbeat of any attempt of this call, JSON text.
    fn last(&self) -> BoxFuture<'_, Result<Option<String>, HeartbeatError>>;

    /// Adds a value, JSON text, to the feed of this name; it is durable once this returns.
    fn publish(
        &self,
        feed: String,
        number: u64,
        value: String,
    ) -> BoxFuture<'_, Result<(), PublishError>>;
}

/// The host of a context without a worker, as in a unit test: it remembers the last
/// heartbeat, and forgets what is published.
///
/// ```
/// use durabletask_core::{ActivityHost, NoHost};
///
/// let host = NoHost::default();
/// # let _: &dyn ActivityHost = &host;
/// ```
#[derive(Debug, Default)]
pub struct NoHost {
    last: Mutex<Option<String>>,
}

impl NoHost {
    pub(crate) fn with_heartbeat(details: String) -> Self {
        Self {
            last: Mutex::new(Some(details)),
        }
    }
}

impl ActivityHost for NoHost {
    fn beat(&self, details: String) -> BoxFuture<'_, Result<(), HeartbeatError>> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(details);
        ready(Ok(())).boxed()
    }

    fn last(&self) -> BoxFuture<'_, Result<Option<String>, HeartbeatError>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        ready(Ok(last.clone())).boxed()
    }

    fn publish(&self, _: String, _: u64, _: String) -> BoxFuture<'_, Result<(), PublishError>> {
        ready(Ok(())).boxed()
    }
}

/// A value as JSON text.
///
/// # Errors
///
/// The reason, if it cannot be written or is too large.
pub(crate) fn value_text<T: Serialize + ?Sized>(value: &T) -> Result<String, String> {
    let text = codec::encode(value)?;
    match text.len() {
        0..=MAX_VALUE_BYTES => Ok(text),
        bytes => Err(format!(
            "it has {bytes} bytes as JSON text, and a value of a feed has at most {MAX_VALUE_BYTES}; publish a reference instead"
        )),
    }
}
