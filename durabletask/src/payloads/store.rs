//! What a store of large payloads has to do.

use async_trait::async_trait;

/// Keeps payloads that are too large for messages.
///
/// A payload must stay as long as any history may be read that holds its token;
/// the protocol has no message for the end of that. Stores are
/// usually emptied by age, later than the task hub is.
///
/// ```
/// use std::path::PathBuf;
///
/// use durabletask::payloads::{PayloadStore, PayloadStoreError};
///
/// /// Keeps payloads in a folder that all workers share.
/// struct Folder(PathBuf);
///
/// const PREFIX: &str = "blob:v1:folder:";
///
/// #[async_trait::async_trait]
/// impl PayloadStore for Folder {
///     async fn put(&self, _instance_id: &str, payload: &str) -> Result<String, PayloadStoreError> {
///         let name = uuid::Uuid::new_v4().simple().to_string();
///         tokio::fs::write(self.0.join(&name), payload)
///             .await
///             .map_err(|error| PayloadStoreError::Transient(error.to_string()))?;
///         Ok(format!("{PREFIX}{name}"))
///     }
///
///     async fn get(&self, token: &str) -> Result<String, PayloadStoreError> {
///         // A name that this store gave has no separators in it.
///         let name = token
///             .strip_prefix(PREFIX)
///             .filter(|name| name.chars().all(|letter| letter.is_ascii_hexdigit()))
///             .ok_or_else(|| PayloadStoreError::Permanent(format!("{token} is not from here")))?;
///         tokio::fs::read_to_string(self.0.join(name))
///             .await
///             .map_err(|error| PayloadStoreError::Permanent(error.to_string()))
///     }
///
///     fn owns(&self, text: &str) -> bool {
///         text.starts_with(PREFIX)
///     }
/// }
/// # let _ = Folder(PathBuf::new());
/// ```
#[async_trait]
pub trait PayloadStore: Send + Sync {
    /// Keeps `payload`, which belongs to the given instance (empty if unknown),
    /// and yields the token that refers to it: `blob:v1:<container>:<name>` or
    /// `blob:v2:<url>`. Once it returns, every holder of the token can read it.
    ///
    /// # Errors
    ///
    /// [`PayloadStoreError`].
    async fn put(&self, instance_id: &str, payload: &str) -> Result<String, PayloadStoreError>;

    /// The payload that `token` refers to.
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
///
/// ```
/// use durabletask::payloads::PayloadStoreError;
///
/// /// What an HTTP status of a store means for the work item.
/// fn refusal(status: u16) -> PayloadStoreError {
///     match status {
///         408 | 429 | 500.. => PayloadStoreError::Transient(format!("status {status}")),
///         _ => PayloadStoreError::Permanent(format!("status {status}")),
///     }
/// }
/// assert!(matches!(refusal(404), PayloadStoreError::Permanent(_)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadStoreError {
    /// It will not get better: not found, not allowed, too large. The work item fails.
    #[error("the payload store refuses: {0}")]
    Permanent(String),
    /// A retry may succeed. The work item is returned and redelivered.
    #[error("the payload store is not available: {0}")]
    Transient(String),
}
