//! Which account a caller may read.

use countersign_enrollment::ids::EnrollmentId;

use super::ids::account_id;
use crate::http::FrontDoor;
use crate::http::edge::auth::{Caller, Read};
use crate::http::edge::error::ApiError;

/// How many accounts are read from the vault at once.
pub(super) const READS_AT_ONCE: usize = 8;

/// Refuses an account that the caller may not read as if there were none.
pub(super) fn readable(
    door: &FrontDoor,
    caller: &Caller<Read>,
    text: &str,
) -> Result<EnrollmentId, ApiError> {
    let id = account_id(text)?;
    let now = door.clock.now();
    if door.access.may_read(caller.identity(), id.as_str(), now)? {
        Ok(id)
    } else {
        let spent = door.access.spent(caller.identity(), id.as_str(), now)?;
        Err(spent.map_or(ApiError::AccountUnknown, ApiError::GrantSpent))
    }
}
