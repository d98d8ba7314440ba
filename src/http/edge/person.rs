//! Which credentials may belong to one person.

use std::sync::Arc;

use super::auth::Caller;
use super::error::ApiError;
use crate::http::FrontDoor;

/// The person behind the caller's credential: equal for credentials that one person may
/// hold. It is signed into the caller's requests and decisions.
pub(crate) async fn person_of<P>(
    door: &Arc<FrontDoor>,
    caller: &Caller<P>,
) -> Result<Arc<str>, ApiError> {
    Ok(door.access.person(caller.id()).await?)
}
