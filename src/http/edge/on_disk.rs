//! Access control's work that blocks on the disk.

use std::sync::Arc;

use super::error::ApiError;
use crate::access::{Access, KeyError};
use crate::http::FrontDoor;

/// Runs work that blocks on the disk on a thread for blocking work.
pub(crate) async fn on_disk<T: Send + 'static>(
    door: &Arc<FrontDoor>,
    work: impl FnOnce(&Access) -> Result<T, KeyError> + Send + 'static,
) -> Result<T, ApiError> {
    let door = Arc::clone(door);
    tokio::task::spawn_blocking(move || work(&door.access))
        .await
        .map_err(|error| ApiError::Internal(Box::new(error)))?
        .map_err(ApiError::from)
}
