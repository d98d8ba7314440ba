//! Recovery codes: set by a request, and given out one by one.

use countersign_authority::{Permit, Release};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::account_request::RequestKind;
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::recovery::RecoveryCodes;

use super::{Hub, HubError, NewRequest, RequestSnapshot, Requester, internal};

/// Recovery codes to keep.
pub(crate) struct NewRecoveryCodes<'a> {
    pub(crate) id: EnrollmentId,
    /// The account as in the vault.
    pub(crate) account: &'a TotpAccount,
    pub(crate) codes: &'a RecoveryCodes,
    /// Whether the account has codes, which this destroys.
    pub(crate) replaces: bool,
    pub(crate) reason: Option<String>,
    pub(crate) caller: Requester<'a>,
    pub(crate) idempotency_key: Option<&'a str>,
}

impl Hub {
    /// Requests that recovery codes be stored with an account. Adding them if there
    /// are none needs no approval; replacing them destroys the old ones, so it does.
    pub(crate) async fn set_recovery(
        &self,
        new: NewRecoveryCodes<'_>,
    ) -> Result<RequestSnapshot, HubError> {
        let sealed = self.seal.seal(&new.id, new.codes).map_err(internal)?;
        let act = RequestKind::RecoveryCodes {
            count: u32::try_from(new.codes.len()).map_err(internal)?,
            replaces: new.replaces,
            source: sealed.digest(),
        };
        let needed = match new.replaces {
            true => self.policy.request_approvals,
            false => 0,
        };
        let request = NewRequest {
            id: new.id,
            account: new.account,
            act,
            reason: new.reason,
            caller: new.caller,
            idempotency_key: new.idempotency_key,
        };
        let content = new.codes.to_bytes();
        self.request(request, needed, &content, Some(sealed)).await
    }

    /// How many of an account's recovery codes are unused.
    pub(crate) async fn recovery_left(
        &self,
        account: &EnrollmentId,
        codes: &RecoveryCodes,
    ) -> Result<usize, HubError> {
        Ok(self.mandates.recovery_left(account, codes).await?)
    }

    /// Takes a recovery code: when this returns one, its use is recorded,
    /// and it is never given out again. None if all are used. The second value is how many are
    /// left.
    pub(crate) async fn take_recovery<'a>(
        &self,
        account: &EnrollmentId,
        codes: &'a RecoveryCodes,
    ) -> Result<Option<(&'a str, usize)>, HubError> {
        let given = self.mandates.give_recovery(account, codes).await?;
        Ok(given.and_then(|given| Some((codes.expose().nth(given.index)?, given.left))))
    }

    /// The same by a granted request: the permit proves that the use was counted.
    pub(crate) async fn take_granted_recovery<'a>(
        &self,
        _permit: &Permit<Release>,
        account: &EnrollmentId,
        codes: &'a RecoveryCodes,
    ) -> Result<Option<(&'a str, usize)>, HubError> {
        self.take_recovery(account, codes).await
    }

    /// Takes all that are left, with an account that is exported: when this returns, it is
    /// written down that they were given out.
    pub(crate) async fn take_all_recovery<'a>(
        &self,
        _permit: &Permit<Release>,
        account: &EnrollmentId,
        codes: &'a RecoveryCodes,
    ) -> Result<Vec<&'a str>, HubError> {
        if codes.is_empty() {
            return Ok(Vec::new());
        }
        let new = self.mandates.give_all_recovery(account, codes).await?;
        let taken = codes.expose().zip(new).filter(|(_, new)| *new);
        Ok(taken.map(|(code, _)| code).collect())
    }
}
