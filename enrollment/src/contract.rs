//! The names on the wire, tied to the types of their payloads.

use durabletask_core::{Activity, Event, Orchestration};
use serde::{Deserialize, Serialize};

use crate::account::{AccountPreview, TotpAccount};
use crate::decision::RaisedDecision;
use crate::ids::{EnrollmentId, ImportId};
use crate::import::ImportList;
use crate::import::job::{ImportOutcome, ImportRequest, PlannedAccount};
use crate::otpauth::Warning;
use crate::outcome::EnrollmentOutcome;
use crate::problem::InputProblem;
use crate::request::EnrollmentRequest;
use crate::sealed::{ImageBytes, ImportKey, OtpauthText, Sealed};

/// One enrollment from upload to stored secret. Its instance id is the enrollment id.
pub const ENROLL: Orchestration<EnrollmentRequest, EnrollmentOutcome> =
    Orchestration::new("enroll");

/// Looks for the QR code in a picture.
pub const DECODE_QR: Activity<DecodeQr, DecodedQr> = Activity::new("decode-qr");

/// Checks that a text is an otpauth URI that codes can be made from.
pub const VALIDATE_URI: Activity<ValidateUri, ValidatedUri> = Activity::new("validate-uri");

/// Stores an account in the vault, under the enrollment's id.
pub const STORE_SECRET: Activity<StoreSecret, SecretStored> = Activity::new("store-secret");

/// Many accounts from files and pictures, each enrolled by a sub-orchestration of its own.
/// Its instance id is the import's id.
pub const IMPORT: Orchestration<ImportRequest, ImportOutcome> = Orchestration::new("import");

/// Reads all QR codes of a picture.
pub const READ_CODES: Activity<ReadCodes, CodesRead> = Activity::new("read-codes");

/// Reads the accounts of an import and compares them with the vault.
pub const PLAN_IMPORT: Activity<PlanImport, ImportPlan> = Activity::new("plan-import");

/// Somebody's decision on an enrollment that awaits it.
pub const APPROVAL: Event<RaisedDecision> = Event::new("approval");

/// Checks that the front door has signed a decision, after it had shown this account.
pub const VERIFY_DECISION: Activity<VerifyDecision, VerifiedDecision> =
    Activity::new("verify-decision");

/// The input of [`DECODE_QR`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecodeQr {
    /// The enrollment that the picture was sealed for.
    pub enrollment: EnrollmentId,
    /// The picture.
    pub image: Sealed<ImageBytes>,
}

/// The output of [`DECODE_QR`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "camelCase")]
pub enum DecodedQr {
    /// The picture holds exactly one otpauth URI.
    Found {
        /// The URI, not yet checked.
        uri: Sealed<OtpauthText>,
    },
    /// It does not.
    Invalid {
        /// Why.
        problem: InputProblem,
    },
}

/// The input of [`VALIDATE_URI`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValidateUri {
    /// The enrollment that the URI was sealed for.
    pub enrollment: EnrollmentId,
    /// The URI.
    pub uri: Sealed<OtpauthText>,
}

/// The output of [`VALIDATE_URI`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "camelCase")]
pub enum ValidatedUri {
    /// Codes can be made from it.
    Valid {
        /// What may be shown of it.
        preview: AccountPreview,
        /// What is odd about it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<Warning>,
        /// All of it.
        account: Sealed<TotpAccount>,
        /// What tells its secret from any other, see
        /// [`DecisionKey::fingerprint`](crate::decision::DecisionKey::fingerprint).
        #[serde(default, skip_serializing_if = "String::is_empty")]
        fingerprint: String,
    },
    /// It cannot be enrolled.
    Invalid {
        /// Why.
        problem: InputProblem,
    },
}

/// The input of [`VERIFY_DECISION`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyDecision {
    /// The enrollment that is decided on.
    pub enrollment: EnrollmentId,
    /// The account that would be stored.
    pub account: Sealed<TotpAccount>,
    /// What was raised.
    pub decision: RaisedDecision,
}

/// The output of [`VERIFY_DECISION`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "camelCase")]
pub enum VerifiedDecision {
    /// The front door has signed it.
    Authentic,
    /// It has not, or for something else.
    Forged,
}

/// The input of [`STORE_SECRET`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreSecret {
    /// The enrollment that the account was sealed for; the secret's name in the vault.
    pub enrollment: EnrollmentId,
    /// The account.
    pub account: Sealed<TotpAccount>,
}

/// The output of [`STORE_SECRET`]: the secret is in the vault under this name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretStored {
    /// The name of the secret in the vault.
    pub id: EnrollmentId,
}

/// The input of [`READ_CODES`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadCodes {
    /// The import that the picture was sealed for.
    pub import: ImportId,
    /// The picture.
    pub image: Sealed<ImageBytes>,
}

/// The output of [`READ_CODES`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "camelCase")]
pub enum CodesRead {
    /// The picture holds accounts or exports.
    Found {
        /// What the codes say, each once, from top to bottom.
        list: Sealed<ImportList>,
    },
    /// It does not.
    Invalid {
        /// Why.
        problem: InputProblem,
    },
}

/// The input of [`PLAN_IMPORT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanImport {
    /// The import that everything was sealed for.
    pub import: ImportId,
    /// What was read from the sources, in their order.
    pub lists: Vec<Sealed<ImportList>>,
    /// What the accounts' ids are derived with.
    pub key: Sealed<ImportKey>,
}

/// The output of [`PLAN_IMPORT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportPlan {
    /// Each account, in order.
    pub accounts: Vec<PlannedAccount>,
    /// What is missing, or that there is too much.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<InputProblem>,
}
