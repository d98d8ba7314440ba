//! Payloads that are too large for messages: they are put into a store, and a
//! token travels in their place.
//!
//! The scheduler sees ordinary text, so it needs no support for it. Clients and
//! workers of one task hub must use the same store. The form of the tokens and
//! the threshold are those of the official SDKs.

mod fields;
mod memory;
mod store;

use std::fmt;
use std::sync::Arc;

use futures_util::future::try_join_all;

pub use memory::InMemoryPayloadStore;
pub use store::{PayloadStore, PayloadStoreError};

pub(crate) use fields::{HasPayloads, for_replay};

/// From how many bytes on payloads go to the store, as in the official SDKs.
const THRESHOLD_BYTES: usize = 262_144;
/// The largest payload that is stored, as in the official SDKs.
const MAX_BYTES: usize = 10 * 1024 * 1024;
/// Tokens are text that begins so.
const TOKEN_PREFIX: &str = "blob:v";
/// How many payloads are fetched or stored at once.
const AT_ONCE: usize = 16;

/// A store and which payloads go there.
///
/// ```
/// use durabletask::payloads::{InMemoryPayloadStore, LargePayloads};
/// use durabletask::{Client, Connection, Worker};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let large = LargePayloads::new(InMemoryPayloadStore::new()).threshold_bytes(64 * 1024);
/// let connection = Connection::insecure("http://127.0.0.1:8080", "default")?;
/// let client = Client::new(&connection)?.with_large_payloads(large.clone());
/// let worker = Worker::builder(&connection).large_payloads(large).build()?;
/// # let _ = (client, worker);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LargePayloads {
    store: Arc<dyn PayloadStore>,
    threshold: usize,
    max: usize,
}

impl LargePayloads {
    /// Payloads of 256 KiB or more go to `store`, up to 10 MiB each.
    #[must_use]
    pub fn new(store: impl PayloadStore + 'static) -> Self {
        Self {
            store: Arc::new(store),
            threshold: THRESHOLD_BYTES,
            max: MAX_BYTES,
        }
    }

    /// From how many bytes on a payload goes to the store (at least 1).
    #[must_use]
    pub fn threshold_bytes(mut self, threshold: usize) -> Self {
        self.threshold = threshold.max(1);
        self
    }

    /// The largest payload that is stored, in bytes; a larger one is an error.
    #[must_use]
    pub fn max_bytes(mut self, max: usize) -> Self {
        self.max = max;
        self
    }

    /// Puts what is large in `message` into the store.
    pub(crate) async fn store_in<M: HasPayloads>(
        &self,
        instance_id: &str,
        message: &mut M,
    ) -> Result<(), PayloadStoreError> {
        let mut large: Vec<&mut String> = Vec::new();
        message.visit(&mut |payload| {
            // What the user's code passes on may be a token already.
            if payload.len() >= self.threshold && !self.is_token(payload) {
                large.push(payload);
            }
        });
        for batch in large.chunks_mut(AT_ONCE) {
            if let Some(payload) = batch.iter().find(|payload| payload.len() > self.max) {
                return Err(PayloadStoreError::Permanent(format!(
                    "a payload of {} bytes is larger than the store's limit of {} bytes",
                    payload.len(),
                    self.max
                )));
            }
            let tokens = try_join_all(
                batch
                    .iter()
                    .map(|payload| self.store.put(instance_id, payload)),
            )
            .await?;
            for (payload, token) in batch.iter_mut().zip(tokens) {
                **payload = token;
            }
        }
        Ok(())
    }

    /// Puts what tokens in `message` stand for into their places.
    pub(crate) async fn fetch_into<M: HasPayloads>(
        &self,
        message: &mut M,
    ) -> Result<(), PayloadStoreError> {
        let mut tokens: Vec<&mut String> = Vec::new();
        message.visit(&mut |payload| {
            if self.is_token(payload) {
                tokens.push(payload);
            }
        });
        for batch in tokens.chunks_mut(AT_ONCE) {
            let payloads = try_join_all(batch.iter().map(|token| self.store.get(token))).await?;
            for (token, payload) in batch.iter_mut().zip(payloads) {
                **token = payload;
            }
        }
        Ok(())
    }

    // JSON never begins so, therefore no payload of ours is taken for a token.
    fn is_token(&self, text: &str) -> bool {
        text.starts_with(TOKEN_PREFIX) && self.store.owns(text)
    }
}

impl fmt::Debug for LargePayloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LargePayloads")
            .field("threshold_bytes", &self.threshold)
            .field("max_bytes", &self.max)
            .finish_non_exhaustive()
    }
}
