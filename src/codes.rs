//! Codes: an account's secret from the vault, the time from the clock, one answer.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use countersign_activities::totp::{self, CodeError};
use countersign_activities::vault::{Reading, SecretVault, VaultError};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use thiserror::Error;

use crate::access::secret;
use crate::clock::Clock;

/// How many steps two codes are valid as a proof, from the beginning of the second: long
/// enough for a person with the other service's page open beside this one.
const PROOF_STEPS: u64 = 20;

/// Why there is no code.
#[derive(Debug, Error)]
pub(crate) enum ReadCodeError {
    #[error("no such account")]
    Unknown,
    #[error("the account is not proved yet")]
    Pending,
    #[error("the vault is unavailable")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
    #[error("the code could not be computed")]
    Internal(#[source] Box<dyn StdError + Send + Sync>),
}

/// An account's code at one moment. Everything in it belongs to the same moment.
pub(crate) struct CurrentCode {
    /// The digits, leading zeros kept.
    pub(crate) text: String,
    /// Seconds until the next code replaces it: 1 to `period`, or more for a later code.
    pub(crate) time_remaining: u32,
    /// The length of a time step, in seconds.
    pub(crate) period: u32,
    /// When this code becomes valid.
    pub(crate) valid_from: DateTime<Utc>,
    /// When it stops being valid.
    pub(crate) valid_until: DateTime<Utc>,
    /// The moment for which all this was computed.
    pub(crate) server_time: DateTime<Utc>,
    /// How long ago the vault last answered for the account, if it is unreachable now.
    pub(crate) vault_stale: Option<Duration>,
    reading: Arc<Reading>,
    /// When this code stops being valid, as Unix time.
    next_at: u64,
}

impl CurrentCode {
    /// The code after this one; none after the last moment that has
    /// a code.
    pub(crate) fn next_code(&self) -> Option<String> {
        let next = totp::code_at(&self.reading.account, self.next_at).ok()?;
        Some(next.text)
    }
}

/// Computes codes.
pub(crate) struct Codes {
    vault: Arc<dyn SecretVault>,
    clock: Arc<dyn Clock>,
}

impl Codes {
    pub(crate) fn new(vault: Arc<dyn SecretVault>, clock: Arc<dyn Clock>) -> Self {
        Self { vault, clock }
    }

    /// The code of the account `id` that stays valid for at least `validity` from now on:
    /// the current one if that is long enough, otherwise the one after it, which may
    /// not be valid yet.
    pub(crate) async fn lasting(
        &self,
        id: &EnrollmentId,
        validity: TimeDelta,
    ) -> Result<CurrentCode, ReadCodeError> {
        let reading = self.vault.read_for_code(id).await.map_err(from_vault)?;
        if reading.pending_for.is_some() {
            return Err(ReadCodeError::Pending);
        }
        // Read after the vault has answered, however long that took, and only once:
        // code and time left always belong together.
        let now = self.clock.now();
        let present = shown_at(&reading, now, now)?;
        if present.valid_until - now >= validity {
            return Ok(present);
        }
        shown_at(&reading, present.valid_until, now)
    }

    /// The account `id`, if it still has to be proved.
    pub(crate) async fn pending(
        &self,
        id: &EnrollmentId,
    ) -> Result<Option<Pending>, ReadCodeError> {
        let reading = self.vault.read_for_code(id).await.map_err(from_vault)?;
        let now = self.clock.now();
        Ok(reading
            .pending_for
            .clone()
            .map(|by| Pending { by, reading, now }))
    }
}

/// An account that is not proved yet, with its codes at one moment.
pub(crate) struct Pending {
    /// Who must prove it.
    pub(crate) by: CallerId,
    reading: Arc<Reading>,
    now: DateTime<Utc>,
}

impl Pending {
    /// The current code and the one after it, to be entered at the other service.
    pub(crate) fn code(&self) -> Result<CurrentCode, ReadCodeError> {
        shown_at(&self.reading, self.now, self.now)
    }

    /// Whether these are the account's codes of two consecutive steps, of which the second
    /// has begun, and not longer than [`PROOF_STEPS`] ago.
    pub(crate) fn is_proved_by(&self, first: &str, second: &str) -> Result<bool, ReadCodeError> {
        let account = &self.reading.account;
        let period = u64::from(account.parameters().period());
        let now = u64::try_from(self.now.timestamp()).unwrap_or(0);
        let is = |moment: u64, code: &str| -> Result<bool, ReadCodeError> {
            let shown = code_at(account, moment)?.text;
            Ok(secret::same(shown.as_bytes(), code.as_bytes()))
        };
        for steps in 0..PROOF_STEPS {
            let Some(later) = now.checked_sub(steps * period) else {
                break;
            };
            let Some(earlier) = later.checked_sub(period) else {
                break;
            };
            if is(earlier, first)? && is(later, second)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn code_at(account: &TotpAccount, seconds: u64) -> Result<totp::Code, ReadCodeError> {
    totp::code_at(account, seconds).map_err(not_made)
}

fn not_made(error: CodeError) -> ReadCodeError {
    ReadCodeError::Internal(Box::new(error))
}

fn shown_at(
    reading: &Arc<Reading>,
    moment: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<CurrentCode, ReadCodeError> {
    let seconds = u64::try_from(moment.timestamp()).unwrap_or(0);
    let code = reading.code_at(seconds).map_err(not_made)?;
    let time = |seconds: u64| {
        i64::try_from(seconds)
            .ok()
            .and_then(|s| DateTime::from_timestamp(s, 0))
            .unwrap_or(now)
    };
    Ok(CurrentCode {
        valid_from: time(code.valid_from),
        valid_until: time(code.valid_until),
        time_remaining: remaining(code.valid_until, now),
        period: code.period,
        text: code.text,
        server_time: now,
        vault_stale: reading.stale,
        reading: Arc::clone(reading),
        next_at: code.valid_until,
    })
}

/// Whole seconds from `now` until a code stops being valid, at least one.
fn remaining(valid_until: u64, now: DateTime<Utc>) -> u32 {
    let now = u64::try_from(now.timestamp()).unwrap_or(0);
    u32::try_from(valid_until.saturating_sub(now)).unwrap_or(u32::MAX)
}

/// A vault's error as a reader's.
pub(crate) fn from_vault(error: VaultError) -> ReadCodeError {
    match error {
        VaultError::NotFound | VaultError::Deleted => ReadCodeError::Unknown,
        error @ VaultError::Unavailable { .. } => ReadCodeError::Unavailable(Box::new(error)),
        error => ReadCodeError::Internal(Box::new(error)),
    }
}
