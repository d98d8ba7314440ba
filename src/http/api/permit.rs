//! Which accounts a caller may read, checked before the vault is read.

use chrono::{DateTime, Utc};
use countersign_enrollment::ids::EnrollmentId;

use super::ids::account_id;
use super::views::Alone;
use crate::access::{Identity, Taken};
use crate::codes::CurrentCode;
use crate::http::FrontDoor;
use crate::http::edge::auth::{Caller, Read};
use crate::http::edge::error::ApiError;
use crate::http::edge::facts::Facts;

/// How many accounts are read from the vault at once.
pub(super) const READS_AT_ONCE: usize = 8;

/// Refuses an account that the caller may not read as if there were none.
pub(super) async fn readable(
    door: &FrontDoor,
    caller: &Caller<Read>,
    text: &str,
) -> Result<EnrollmentId, ApiError> {
    let id = account_id(text)?;
    let now = door.clock.now();
    let (caller, access) = (caller.identity(), &door.access);
    match access.may_read(caller, id.as_str(), now).await? {
        true => Ok(id),
        false => Err(withheld(door, caller, &id, now).await?),
    }
}

/// Why a caller may not read an account: its grant is used up or has expired, or there is no such
/// account for it.
pub(super) async fn withheld(
    door: &FrontDoor,
    caller: &Identity,
    account: &EnrollmentId,
    now: DateTime<Utc>,
) -> Result<ApiError, ApiError> {
    let spent = door.access.spent(caller, account.as_str(), now).await?;
    Ok(spent.map_or(ApiError::AccountUnknown, ApiError::GrantSpent))
}

/// A caller's permission to get an account's code without an approval. Giving out a code
/// consumes it, and a read of the caller's grant.
#[must_use]
pub(super) struct ReadPermit<'a> {
    door: &'a FrontDoor,
    caller: &'a Caller<Read>,
    account: EnrollmentId,
}

impl<'a> ReadPermit<'a> {
    /// The permit for the account with this id, or why there is none.
    pub(super) async fn of(
        door: &'a FrontDoor,
        caller: &'a Caller<Read>,
        text: &str,
    ) -> Result<Self, ApiError> {
        let permit = Self {
            door,
            caller,
            account: readable(door, caller, text).await?,
        };
        permit.check_guard().await?;
        Ok(permit)
    }

    /// The account whose codes may be read.
    pub(super) fn account(&self) -> &EnrollmentId {
        &self.account
    }

    /// Fails if the account has become guarded in the meantime: to be
    /// asked after every wait.
    pub(super) async fn check_guard(&self) -> Result<(), ApiError> {
        match self.door.access.is_guarded(self.account.as_str()).await? {
            true => Err(ApiError::ApprovalNeeded),
            false => Ok(()),
        }
    }

    /// Counts the read of this code, and says whether the code is all that
    /// the caller may be given.
    pub(super) async fn take_code(
        self,
        code: &CurrentCode,
        facts: &mut Facts,
    ) -> Result<Alone, ApiError> {
        self.check_guard().await?;
        let Self {
            door,
            caller,
            account,
        } = &self;
        if caller.gets_no_body() {
            return Ok(Alone::Yes);
        }
        let now = door.clock.now();
        // A code that is not valid yet is read when it becomes valid: a grant that has ended by then gives
        // nothing.
        let at = now.max(code.valid_from);
        match self.taken(at).await? {
            Taken::Nothing
                if door
                    .access
                    .may_read(caller.identity(), account.as_str(), now)
                    .await? =>
            {
                Err(ApiError::InvalidParameter {
                    name: "minValidity",
                    detail: "the grant ends before such a code becomes valid; request the \
                             current code"
                        .to_owned(),
                })
            }
            Taken::Nothing => Err(withheld(door, caller.identity(), account, now).await?),
            Taken::Counted => {
                door.counted_codes.insert(caller.id(), account, code);
                facts.counted.push(account.to_string());
                Ok(Alone::Yes)
            }
            Taken::Uncounted { ends } => {
                facts.code_until = Some(code.valid_until);
                Ok(if ends { Alone::Yes } else { Alone::No })
            }
        }
    }

    /// Gives this very code once more where it was counted as a read already.
    pub(super) async fn repeat_code(
        self,
        code: &CurrentCode,
        facts: &mut Facts,
    ) -> Result<Alone, ApiError> {
        let Self {
            door,
            caller,
            account,
        } = &self;
        if door.counted_codes.contains(caller.id(), account, code) {
            self.check_guard().await?;
            return Ok(Alone::Yes);
        }
        self.take_code(code, facts).await
    }

    /// Takes the read that giving out a recovery code is.
    pub(super) async fn take_recovery_code(self) -> Result<(), ApiError> {
        self.check_guard().await?;
        take_plainly(self.door, self.caller, &self.account).await
    }

    async fn taken(&self, at: DateTime<Utc>) -> Result<Taken, ApiError> {
        let identity = self.caller.identity();
        let taken = self
            .door
            .access
            .take_read(identity, self.account.as_str(), at);
        Ok(taken.await?)
    }
}

/// Takes a read from what the caller was granted, for something that nobody had to agree to.
/// Where a request asked for it, it may be an account that is read with an approval only.
pub(super) async fn take_plainly(
    door: &FrontDoor,
    caller: &Caller<Read>,
    account: &EnrollmentId,
) -> Result<(), ApiError> {
    let now = door.clock.now();
    match door
        .access
        .take_read(caller.identity(), account.as_str(), now)
        .await?
    {
        Taken::Nothing => Err(withheld(door, caller.identity(), account, now).await?),
        Taken::Counted | Taken::Uncounted { .. } => Ok(()),
    }
}
