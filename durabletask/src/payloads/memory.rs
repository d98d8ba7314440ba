//! A store for tests and for workers and clients of one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use uuid::Uuid;

use super::store::{PayloadStore, PayloadStoreError};

const PREFIX: &str = "blob:v1:memory:";

/// Keeps payloads in memory. Clones share what they keep.
///
/// ```
/// use durabletask::payloads::{InMemoryPayloadStore, PayloadStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), durabletask::payloads::PayloadStoreError> {
/// let store = InMemoryPayloadStore::new();
/// let token = store.put("order-1", "a long text").await?;
/// assert_eq!(store.clone().get(&token).await?, "a long text");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct InMemoryPayloadStore {
    payloads: Arc<Mutex<HashMap<String, String>>>,
}

impl InMemoryPayloadStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many payloads it keeps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether it keeps none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        // Each change is a single step, so a panic elsewhere leaves the map whole.
        self.payloads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl PayloadStore for InMemoryPayloadStore {
    async fn put(&self, _: &str, payload: &str) -> Result<String, PayloadStoreError> {
        let token = format!("{PREFIX}{}", Uuid::new_v4().simple());
        self.lock().insert(token.clone(), payload.to_owned());
        Ok(token)
    }

    async fn get(&self, token: &str) -> Result<String, PayloadStoreError> {
        self.lock()
            .get(token)
            .cloned()
            .ok_or_else(|| PayloadStoreError::Permanent(format!("there is nothing under {token}")))
    }

    fn owns(&self, text: &str) -> bool {
        text.starts_with(PREFIX)
    }
}
