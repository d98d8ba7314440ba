//! The side effects of an enrollment: reading pictures, checking URIs, storing secrets.

mod account_request;
pub mod database_stamp;
mod decode_qr;
pub mod picture;
mod plan_import;
pub mod qr;
mod store_secret;
pub mod totp;
mod validate_otpauth;
pub mod vault;
mod verify_decision;
pub mod webhook;

use std::sync::Arc;

use countersign_enrollment::contract::{
    DECODE_QR, DESCRIBE_ACCOUNT, DISABLE_ACCOUNT, PLAN_IMPORT, PURGE_ACCOUNT, READ_CODES,
    RESTORE_ACCOUNT, SEAL_ACCOUNT, SEND_NOTICE, STORE_SECRET, VALIDATE_URI, VERIFY_DECISION,
    VERIFY_REQUEST_DECISION,
};
use countersign_enrollment::decision::DecisionKey;
use countersign_enrollment::notice::NoticeSent;
use countersign_enrollment::sealed::OpenKeyring;
use durabletask_core::{Failure, Registry};
use tokio::sync::Semaphore;

use crate::vault::SecretVault;
use crate::webhook::Webhook;

/// Pictures decoded at once. Each may take hundreds of megabytes and a core.
const MAX_DECODES: usize = 2;

/// What the activities work with: the keys that open sealed values, and the vault.
#[derive(Clone)]
pub struct Activities {
    keys: Arc<OpenKeyring>,
    decisions: DecisionKey,
    vault: Arc<dyn SecretVault>,
    decodes: Arc<Semaphore>,
    webhook: Option<Webhook>,
}

impl Activities {
    /// Activities that open what was sealed for `keys`, believe decisions signed with
    /// `decisions`, and store into `vault`.
    #[must_use]
    pub fn new(keys: OpenKeyring, decisions: DecisionKey, vault: Arc<dyn SecretVault>) -> Self {
        Self {
            keys: Arc::new(keys),
            decisions,
            vault,
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
        let webhook = self.webhook.clone();
        self.register_requests(registry)
            .activity(&SEND_NOTICE, move |_, notice| {
                let webhook = webhook.clone();
                async move {
                    match webhook {
                        Some(webhook) => webhook.send(&notice).await,
                        None => Ok(NoticeSent::Nobody),
                    }
                }
            })
            .activity(&DECODE_QR, move |_, input| {
                let activities = decode.clone();
                async move { activities.decode_qr(input).await }
            })
            .activity(&VALIDATE_URI, move |_, input| {
                let activities = validate.clone();
                async move { activities.validate_uri(&input) }
            })
            .activity(&VERIFY_DECISION, move |_, input| {
                let activities = verify.clone();
                async move { activities.verify_decision(&input) }
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

    /// The activities of requests.
    fn register_requests(self, registry: Registry) -> Registry {
        let (describe, verify, seal) = (self.clone(), self.clone(), self.clone());
        let (disable, restore, purge) = (self.clone(), self.clone(), self);
        registry
            .activity(&DESCRIBE_ACCOUNT, move |_, input| {
                let activities = describe.clone();
                async move { activities.describe_account(&input).await }
            })
            .activity(&VERIFY_REQUEST_DECISION, move |_, input| {
                let activities = verify.clone();
                async move { Ok::<_, Failure>(activities.verify_request_decision(&input)) }
            })
            .activity(&SEAL_ACCOUNT, move |_, input| {
                let activities = seal.clone();
                async move { activities.seal_account(&input).await }
            })
            .activity(&DISABLE_ACCOUNT, move |_, input| {
                let activities = disable.clone();
                async move { activities.disable_account(&input).await }
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
