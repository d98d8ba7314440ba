//! The side effects of an enrollment: reading pictures, checking URIs, storing secrets.

mod decode_qr;
pub mod picture;
mod plan_import;
pub mod qr;
mod store_secret;
pub mod totp;
mod validate_otpauth;
pub mod vault;
mod verify_decision;

use std::sync::Arc;

use countersign_enrollment::contract::{
    DECODE_QR, PLAN_IMPORT, READ_CODES, STORE_SECRET, VALIDATE_URI, VERIFY_DECISION,
};
use countersign_enrollment::decision::DecisionKey;
use countersign_enrollment::sealed::OpenKeyring;
use durabletask_core::Registry;
use tokio::sync::Semaphore;

use crate::vault::SecretVault;

/// Pictures decoded at once. Each may take hundreds of megabytes and a core.
const MAX_DECODES: usize = 2;

/// What the activities work with: the keys that open sealed values, and the vault.
#[derive(Clone)]
pub struct Activities {
    keys: Arc<OpenKeyring>,
    decisions: DecisionKey,
    vault: Arc<dyn SecretVault>,
    decodes: Arc<Semaphore>,
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
        }
    }

    /// Adds the activities to what a worker can run.
    #[must_use]
    pub fn register(self, registry: Registry) -> Registry {
        let (decode, validate, store) = (self.clone(), self.clone(), self.clone());
        let (read, plan) = (self.clone(), self);
        let verify = plan.clone();
        registry
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
}
