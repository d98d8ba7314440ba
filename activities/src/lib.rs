//! The side effects of an enrollment: reading images, checking URIs, storing secrets.

mod authority;
pub mod database_stamp;
mod decode_qr;
pub mod images;
mod permitted;
mod plan_import;
pub mod qr;
mod request_activities;
mod send_notice;
pub mod shrink;
mod store_secret;
pub mod totp;
mod validate_otpauth;
pub mod vault;
mod verify_decision;
pub mod webhook;

use std::sync::Arc;

use countersign_authority::{Open, Permit};
use countersign_enrollment::contract::{
    DECODE_QR, DESCRIBE_ACCOUNT, DISABLE_ACCOUNT, PLAN_IMPORT, PURGE_ACCOUNT, READ_CODES,
    RESTORE_ACCOUNT, SEAL_ACCOUNT, SEND_NOTICE, SET_RECOVERY_CODES, STORE_SECRET, VALIDATE_URI,
    VERIFY_DECISION, VERIFY_REQUEST_DECISION,
};
use countersign_enrollment::fingerprint::FingerprintKey;
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::mandate::{Digest, SignedMandate};
use countersign_enrollment::recovery::RecoveryCodes;
use durabletask_core::{Failure, Registry};
use tokio::sync::Semaphore;

use crate::permitted::{PermittedKeys, PermittedVault};
use crate::vault::SecretVault;
use crate::webhook::Webhook;

pub use authority::{Authority, CheckingKeySource};
pub use permitted::OpeningKeys;

/// Images decoded at once. Each may take hundreds of megabytes and a core.
const MAX_DECODES: usize = 2;

/// What the activities work with: the authority that they ask, and, behind its permits, the
/// keys that open sealed values and the vault.
#[derive(Clone)]
pub struct Activities {
    authority: Authority,
    keys: PermittedKeys,
    fingerprints: FingerprintKey,
    vault: PermittedVault,
    decodes: Arc<Semaphore>,
    webhook: Option<Webhook>,
}

impl Activities {
    /// Activities that ask `authority`, open what was sealed for `keys`, name secrets with
    /// `fingerprints`, and store into `vault`.
    #[must_use]
    pub fn new(
        authority: Authority,
        keys: OpeningKeys,
        fingerprints: FingerprintKey,
        vault: Arc<dyn SecretVault>,
    ) -> Self {
        Self {
            authority,
            keys: PermittedKeys::new(keys),
            fingerprints,
            vault: PermittedVault::new(vault),
            decodes: Arc::new(Semaphore::new(MAX_DECODES)),
            webhook: None,
        }
    }

    /// The same, sending notices to `webhook`.
    #[must_use]
    pub fn with_webhook(mut self, webhook: Option<Webhook>) -> Self {
        self.webhook = webhook;
        self
    }

    /// Adds the activities to what a worker can run.
    #[must_use]
    pub fn register(self, registry: Registry) -> Registry {
        let (decode, validate, store) = (self.clone(), self.clone(), self.clone());
        let (read, plan) = (self.clone(), self.clone());
        let verify = plan.clone();
        let notice = self.clone();
        self.register_requests(registry)
            .activity(&SEND_NOTICE, move |_, input| {
                let activities = notice.clone();
                async move { activities.send_notice(&input).await }
            })
            .activity(&DECODE_QR, move |_, input| {
                let activities = decode.clone();
                async move { activities.decode_qr(input).await }
            })
            .activity(&VALIDATE_URI, move |_, input| {
                let activities = validate.clone();
                async move { activities.validate_uri(&input).await }
            })
            .activity(&VERIFY_DECISION, move |_, input| {
                let activities = verify.clone();
                async move { activities.verify_decision(&input).await }
            })
            .activity(&STORE_SECRET, move |_, input| {
                let activities = store.clone();
                async move { activities.store_secret(&input).await }
            })
            .activity(&READ_CODES, move |_, input| {
                let activities = read.clone();
                async move { activities.read_codes(input).await }
            })
            .activity(&PLAN_IMPORT, move |_, input| {
                let activities = plan.clone();
                async move { activities.plan_import(&input).await }
            })
    }

    /// By what the ledger knows an account's recovery codes, in their order.
    fn recovery_marks(
        &self,
        account: &EnrollmentId,
        codes: &RecoveryCodes,
    ) -> Result<Vec<String>, Failure> {
        let codes = codes.expose();
        let marks = codes.map(|code| self.fingerprints.of_recovery_code(account, code));
        Ok(marks.collect::<Result<_, _>>()?)
    }

    /// The permit to open what was sealed, or kept by a worker if there is no `source`.
    async fn permit_open(
        &self,
        mandate: &SignedMandate,
        about: &str,
        source: Option<Digest>,
    ) -> Result<Permit<Open>, Failure> {
        let checked = self.authority.look("open", mandate, about).await?;
        checked.permit("open", &[], Open { source }).await
    }

    /// The activities of requests.
    fn register_requests(self, registry: Registry) -> Registry {
        let (describe, verify, seal) = (self.clone(), self.clone(), self.clone());
        let (disable, restore, recovery) = (self.clone(), self.clone(), self.clone());
        let purge = self;
        registry
            .activity(&DESCRIBE_ACCOUNT, move |_, input| {
                let activities = describe.clone();
                async move { activities.describe_account(&input).await }
            })
            .activity(&VERIFY_REQUEST_DECISION, move |_, input| {
                let activities = verify.clone();
                async move { activities.verify_decision(&input).await }
            })
            .activity(&SEAL_ACCOUNT, move |_, input| {
                let activities = seal.clone();
                async move { activities.seal_account(&input).await }
            })
            .activity(&DISABLE_ACCOUNT, move |_, input| {
                let activities = disable.clone();
                async move { activities.disable_account(&input).await }
            })
            .activity(&SET_RECOVERY_CODES, move |_, input| {
                let activities = recovery.clone();
                async move { activities.set_recovery_codes(&input).await }
            })
            .activity(&RESTORE_ACCOUNT, move |_, input| {
                let activities = restore.clone();
                async move { activities.restore_account(&input).await }
            })
            .activity(&PURGE_ACCOUNT, move |_, input| {
                let activities = purge.clone();
                async move { activities.purge_account(&input).await }
            })
    }
}
