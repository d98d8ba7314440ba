//! Which credentials may be one person's.

use std::sync::Arc;

use super::auth::Caller;
use super::error::ApiError;
use crate::http::FrontDoor;

/// From whose hand the caller's credential comes: equal for credentials that one person may
/// hold. It is signed into what the caller asks for and decides.
pub(crate) async fn hand_of<P>(
    door: &Arc<FrontDoor>,
    caller: &Caller<P>,
) -> Result<Arc<str>, ApiError> {
    Ok(door.access.hand(caller.id()).await?)
}
