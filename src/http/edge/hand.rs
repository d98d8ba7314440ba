//! Which credentials may be one person's.

use std::sync::Arc;

use super::auth::Caller;
use super::error::ApiError;
use super::on_disk::on_disk;
use crate::http::FrontDoor;

/// From whose hand the caller's credential comes: equal for credentials that one person may
/// hold. It is signed into what the caller asks for and decides.
pub(crate) async fn hand_of<P>(
    door: &Arc<FrontDoor>,
    caller: &Caller<P>,
) -> Result<Arc<str>, ApiError> {
    if let Some(hand) = door.access.known_hand(caller.id()) {
        return Ok(hand);
    }
    let id = caller.id().to_owned();
    on_disk(door, move |access| access.hand(&id)).await
}
