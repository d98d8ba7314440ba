//! Where secrets are kept: the promises of every vault, and the vaults.

mod cached;
mod check;
mod content;
mod crypter;
mod embedded;
mod key_file;
mod look;
mod open_error;
pub mod order;
mod postgres;
mod recovery;
mod rotation;
mod schema;
pub mod transfer;
mod wrapping;

use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use countersign_enrollment::account::{AccountPreview, Labels, TotpAccount};
use countersign_enrollment::filing::Filing;
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::recovery::RecoveryCodes;
use thiserror::Error;

use crate::totp::{self, Code, CodeError};

pub use cached::{CacheCounts, CacheSettings, CachedVault};
pub use check::{BadAccount, CheckError, VaultContents, check, count};
pub use embedded::{DATABASE as VAULT_DATABASE, EmbeddedVault, KEY_FILE};
pub use key_file::{KeyFile, KeyFileContents, KeyFileError};
pub use open_error::VaultOpenError;
pub use postgres::{
    PostgresVault, SharedRotation, SharedRotationError, SharedVaultError, rotate_shared_key,
};
pub use rotation::{Progress, Rotated, RotationError, rotate_key};
pub use wrapping::{KeyWrapping, WrapError, WrappedKey};

/// The most accounts on one page of a list.
pub const MAX_PAGE: usize = 500;
/// The most duplicates that are reported.
pub const MAX_SAME: usize = 10;

/// A store of accounts by enrollment id.
///
/// An id is used for one account, ever: what was deleted or purged does not come back
/// under its name by storing again. When a call has returned `Ok`, what it did survives
/// a crash of the process and of the machine. When it has returned
/// [`VaultError::Unavailable`], it may have been done or not; calling again is safe.
///
/// Cancel safety: a call whose future is dropped may still be carried out.
#[async_trait]
pub trait SecretVault: Send + Sync {
    /// Keeps `account` under `id`. Once it has returned, exactly this secret is there;
    /// with `pending_for`, it is noted that this caller has to prove it first.
    ///
    /// Storing the same secret with the same parameters again changes nothing, whatever
    /// the account is called and whether it has been proved since, and says so.
    ///
    /// # Errors
    ///
    /// [`VaultError::Conflict`] when another secret, or other parameters, are kept under
    /// `id`; they stay. [`VaultError::Deleted`] when the account was deleted or purged.
    async fn store_for(
        &self,
        id: &EnrollmentId,
        account: &TotpAccount,
        pending_for: Option<&CallerId>,
    ) -> Result<Stored, VaultError>;

    /// As [`SecretVault::store_for`], unless another account in use has the same secret and
    /// codes that are made in the same way: of several that are stored like this at once, one
    /// is kept.
    ///
    /// # Errors
    ///
    /// As [`SecretVault::store_for`].
    async fn store_unless_there(
        &self,
        id: &EnrollmentId,
        account: &TotpAccount,
        pending_for: Option<&CallerId>,
    ) -> Result<StoredUnlessThere, VaultError>;

    /// As [`SecretVault::store_for`], for an account that is in use at once.
    ///
    /// # Errors
    ///
    /// As [`SecretVault::store_for`].
    async fn store(&self, id: &EnrollmentId, account: &TotpAccount) -> Result<Stored, VaultError> {
        self.store_for(id, account, None).await
    }

    /// The account with its secret. Needs no permission to list.
    ///
    /// # Errors
    ///
    /// [`VaultError::NotFound`] when there never was one or it was purged,
    /// [`VaultError::Deleted`] when it was deleted and can be recovered,
    /// [`VaultError::Corrupt`] when what is kept is not what was stored.
    async fn read(&self, id: &EnrollmentId) -> Result<TotpAccount, VaultError> {
        Ok(self.read_for_code(id).await?.account.clone())
    }

    /// As [`SecretVault::read`], to make a code now, and whether that may be given out. A
    /// vault with a cache may give what it had before it became unreachable, and then
    /// says so.
    ///
    /// # Errors
    ///
    /// As [`SecretVault::read`].
    async fn read_for_code(&self, id: &EnrollmentId) -> Result<Arc<Reading>, VaultError>;

    /// A number that is another one once someone may have changed something in the vault
    /// without this object: what was read before is not kept after it. It is cheap, and
    /// always the same where that cannot be known.
    fn stamp(&self) -> u64 {
        0
    }

    /// What is known of the account without its secret; also of a deleted one.
    ///
    /// # Errors
    ///
    /// [`VaultError::NotFound`] when there never was one or it was purged.
    async fn describe(&self, id: &EnrollmentId) -> Result<AccountRecord, VaultError>;

    /// Keeps these recovery codes beside the account's secret, in place of exactly the codes
    /// `replaced`: of several who set other codes at once, one replaces what there was. Where
    /// these are kept already, nothing changes. Without any, the account has none afterwards.
    /// Destroying the account destroys them.
    ///
    /// # Errors
    ///
    /// As [`SecretVault::read`]; [`VaultError::RecoveryConflict`] when the account has codes
    /// other than both.
    async fn set_recovery(
        &self,
        id: &EnrollmentId,
        replaced: &RecoveryCodes,
        codes: &RecoveryCodes,
    ) -> Result<(), VaultError>;

    /// The account's recovery codes, given out or not; none if it has none.
    ///
    /// # Errors
    ///
    /// As [`SecretVault::read`].
    async fn recovery(&self, id: &EnrollmentId) -> Result<RecoveryCodes, VaultError>;

    /// The accounts in use that have the same secret as `account` and whose codes are made in
    /// the same way, whatever they are called and however they came in; pending ones count.
    /// Those that are called the same come first, then the oldest, [`MAX_SAME`] at most.
    ///
    /// # Errors
    ///
    /// [`VaultError`] when the vault cannot say.
    async fn same_as(&self, account: &TotpAccount) -> Result<Vec<AccountRecord>, VaultError>;

    /// A page of at most `limit` accounts (1 to [`MAX_PAGE`]; more is taken as that), those in
    /// use unless the filter says otherwise, by issuer and
    /// then account name, without regard to case.
    /// Only those that `filter` lets through. `cursor` is the previous page's `next`.
    ///
    /// # Errors
    ///
    /// [`VaultError::InvalidCursor`] when `cursor` was not the `next` of a page.
    async fn list_by(
        &self,
        filter: &Filter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<AccountPage, VaultError>;

    /// As [`SecretVault::list_by`], with `search` as the only filter.
    ///
    /// # Errors
    ///
    /// As [`SecretVault::list_by`].
    async fn list(
        &self,
        search: Option<&str>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<AccountPage, VaultError> {
        let filter = Filter {
            search: search.map(str::to_owned),
            ..Filter::default()
        };
        self.list_by(&filter, cursor, limit).await
    }

    /// Changes what is known of the account, all of it at once. Its codes stay the same.
    ///
    /// # Errors
    ///
    /// As [`SecretVault::read`], and [`VaultError::Full`] when the vault has no room for
    /// the account's group and tags.
    async fn change(&self, id: &EnrollmentId, change: &Change)
    -> Result<AccountRecord, VaultError>;

    /// Calls the account something else.
    ///
    /// # Errors
    ///
    /// As [`SecretVault::change`].
    async fn rename(
        &self,
        id: &EnrollmentId,
        labels: &Labels,
    ) -> Result<AccountRecord, VaultError> {
        let change = Change {
            labels: Some(labels.clone()),
            ..Change::default()
        };
        self.change(id, &change).await
    }

    /// Disables the account: it is not read or listed any more, and can be
    /// recovered. Deleting a deleted one changes nothing.
    ///
    /// # Errors
    ///
    /// [`VaultError::NotFound`] when there never was one or it was purged.
    async fn delete(&self, id: &EnrollmentId) -> Result<(), VaultError>;

    /// Enables a deleted account again. Recovering one in use changes nothing.
    ///
    /// # Errors
    ///
    /// [`VaultError::NotFound`] when there never was one or it was purged.
    async fn recover(&self, id: &EnrollmentId) -> Result<AccountRecord, VaultError>;

    /// Destroys a deleted account; it cannot be brought back, and its id is not used
    /// again. Purging a purged one changes nothing.
    ///
    /// # Errors
    ///
    /// [`VaultError::NotFound`] when there never was one; [`VaultError::Conflict`] when
    /// it is in use: delete it first.
    async fn purge(&self, id: &EnrollmentId) -> Result<(), VaultError>;

    /// Whether the vault answers and lets this process in: one cheap question.
    ///
    /// # Errors
    ///
    /// [`VaultError::Unavailable`] or [`VaultError::Denied`].
    async fn check(&self) -> Result<(), VaultError> {
        self.list(None, None, 1).await.map(drop)
    }
}

/// An account, and how sure the vault is of it.
#[derive(Debug)]
pub struct Reading {
    /// The account with its secret.
    pub account: TotpAccount,
    /// Who has to prove the account before anyone else gets its codes, if it is not
    /// proved yet.
    pub pending_for: Option<CallerId>,
    /// How long ago this was read, if the vault could not be asked now.
    pub stale: Option<Duration>,
    /// The code that was last made, which is the answer for as long as it is shown.
    made: Mutex<Option<Code>>,
}

impl Reading {
    /// What the vault says now.
    #[must_use]
    pub const fn new(account: TotpAccount, pending_for: Option<CallerId>) -> Self {
        Self {
            account,
            pending_for,
            stale: None,
            made: Mutex::new(None),
        }
    }

    /// The account's code at `unix_seconds`, as [`totp::code_at`] makes it.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn code_at(&self, unix_seconds: u64) -> Result<Code, CodeError> {
        // Replaced as a whole or not at all.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(code) = made.as_ref().and_then(|code| code.still_at(unix_seconds)) {
            return Ok(code);
        }
        let code = totp::code_at(&self.account, unix_seconds)?;
        *made = Some(code.clone());
        Ok(code)
    }
}

/// Which accounts to list. What is not said lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Part of the issuer or account name, in any case.
    pub search: Option<String>,
    /// The group, in any case.
    pub group: Option<String>,
    /// A tag, in any case.
    pub tag: Option<String>,
    /// Those that were deleted and can be recovered, instead of those in use.
    pub deleted: bool,
}

/// What to change about an account. What is not said stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// What it is called.
    pub labels: Option<Labels>,
    /// Where it belongs.
    pub filing: Option<Filing>,
    /// Whether it is proved now.
    pub proved: bool,
}

/// What storing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// The account was not there before.
    Created,
    /// It was; nothing has changed.
    AlreadyThere,
}

/// What storing has changed, where nothing was to be stored twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredUnlessThere {
    /// It is stored.
    Stored(Stored),
    /// It is not, since these accounts are there, [`MAX_SAME`] at most.
    There(Vec<EnrollmentId>),
}

impl StoredUnlessThere {
    /// What storing did, where an account with the same content is not in the way.
    ///
    /// # Errors
    ///
    /// [`VaultError::Conflict`] when one is.
    pub(super) fn stored(self) -> Result<Stored, VaultError> {
        match self {
            Self::Stored(stored) => Ok(stored),
            Self::There(_) => Err(VaultError::Conflict),
        }
    }
}

/// What is known of an account without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRecord {
    /// Its name in the vault.
    pub id: EnrollmentId,
    /// What it is called and how its codes look.
    pub preview: AccountPreview,
    /// Where it belongs.
    pub filing: Filing,
    /// Who has to prove it, if it is not proved yet.
    pub pending_for: Option<CallerId>,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// When it was last changed, deleted or recovered, or stored.
    pub updated_at: DateTime<Utc>,
    /// When it was deleted, if it was.
    pub deleted_at: Option<DateTime<Utc>>,
}

/// A part of the list of accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountPage {
    /// In the list's order.
    pub accounts: Vec<AccountRecord>,
    /// The cursor of the page after this one, if there may be one.
    pub next: Option<String>,
}

/// Why a vault did not do what it was asked to do.
#[derive(Debug, Error)]
pub enum VaultError {
    /// There is no account with this id.
    #[error("the vault has no account with this id")]
    NotFound,
    /// The account was deleted.
    #[error("the account was deleted")]
    Deleted,
    /// What is there contradicts what was requested.
    #[error("the vault already has another secret under this id")]
    Conflict,
    /// The account has other recovery codes than those that were to be replaced.
    #[error(
        "recovery codes of this account were set in the meantime; nothing was changed. Make a \
         new request to replace them"
    )]
    RecoveryConflict,
    /// The vault keeps only so much about an account.
    #[error("the vault cannot store it: {reason}")]
    Full {
        /// What the bound is.
        reason: &'static str,
    },
    /// The text is not a cursor of this vault.
    #[error("the cursor is not one of this vault's; start with the first page")]
    InvalidCursor,
    /// The vault cannot be reached or has no capacity now. Try again later.
    #[error("the vault is unavailable")]
    Unavailable {
        /// What happened, for the log.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// What is kept is not what was stored, or is sealed with a key that is not here.
    #[error("the vault's entry with this id cannot be read: {reason}")]
    Corrupt {
        /// What is wrong, without any of the content.
        reason: &'static str,
    },
    /// This process may not do that.
    #[error("the vault refuses this process: {reason}")]
    Denied {
        /// What is not allowed.
        reason: String,
    },
}

impl VaultError {
    /// Whether trying again later can help.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
