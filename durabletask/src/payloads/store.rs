//! What a store of large payloads has to do.

use async_trait::async_trait;

/// Keeps payloads that are too large for messages.
///
/// A payload must stay as long as any history may be read that holds its token;
/// the protocol has no message that would tell when that is over. Stores are
/// usually emptied by age, later than the task hub is.
#[async_trait]
pub trait PayloadStore: Send + Sync {
    /// Keeps `payload`, which belongs to the given instance (empty if unknown),
    /// and yields the token that stands for it: `blob:v1:<container>:<name>` or
    /// `blob:v2:<url>`. Once it returns, every holder of the token can read it.
    ///
    /// # Errors
    ///
    /// [`PayloadStoreError`].
    async fn put(&self, instance_id: &str, payload: &str) -> Result<String, PayloadStoreError>;

    /// The payload that `token` stands for.
    ///
    /// # Errors
    ///
    /// [`PayloadStoreError::Permanent`] if there is none.
    async fn get(&self, token: &str) -> Result<String, PayloadStoreError>;

    /// Whether `text` is a token of this store. Called for text that begins with
    /// `blob:v`.
    fn owns(&self, text: &str) -> bool;
}

/// Why a payload cannot be kept or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadStoreError {
    /// It will not get better: not found, not allowed, too large. The work item fails.
    #[error("the payload store refuses: {0}")]
    Permanent(String),
    /// It may get better. The work item is handed back and tried again.
    #[error("the payload store is not available: {0}")]
    Transient(String),
}
