//! An import as a durable orchestration: what is requested, what is planned, how it
//! ended.

use serde::{Deserialize, Serialize};

use crate::account::AccountPreview;
use crate::ids::{CallerId, EnrollmentId};
use crate::mandate::SignedMandate;
use crate::otpauth::Warning;
use crate::problem::InputProblem;
use crate::recovery::WithRecovery;
use crate::request::Approval;
use crate::sealed::{ImageBytes, ImportKey, Kept, OtpauthText, Sealed};

use super::ImportList;

/// One request to import accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportRequest {
    /// What the front door has accepted, signed; see
    /// [`EnrollmentRequest::mandate`](crate::request::EnrollmentRequest::mandate).
    #[serde(default)]
    pub mandate: SignedMandate,
    /// Where the accounts come from.
    pub sources: Vec<ImportSource>,
    /// Where each of the sources comes from, in their order; earlier releases did not say it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<Origin>,
    /// What the accounts' ids are derived with.
    pub key: Sealed<ImportKey>,
    /// Which accounts to enroll, by their position counted from 1; all if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pick: Option<Vec<u32>>,
    /// Whether only to tell what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether someone else has to agree to each account.
    pub approval: Approval,
    /// Who asks. They cannot approve.
    pub requested_by: CallerId,
    /// A keyed hash of what was uploaded, made by the front door.
    pub fingerprint: String,
}

/// Which file a source was in, for telling people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The file that was sent, counted from 1.
    pub file: u32,
    /// What the source is called in it, if it is one of several in an archive or a page.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// What was uploaded, sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ImportSource {
    /// An image of QR codes.
    Image(Sealed<ImageBytes>),
    /// What a file was read as.
    List(Sealed<ImportList>),
}

/// What is going to be done with one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedAccount {
    /// What it is called where it comes from; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What may be shown of it, if it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<AccountPreview>,
    /// What is odd about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// How many recovery codes came with it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recovery_codes: u32,
    /// What to do.
    pub step: PlannedStep,
}

/// What is going to be done with one account, by what was found about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "plan",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum PlannedStep {
    /// It is new, and was not picked or is not to be enrolled this time.
    Left {
        /// The name that it would have.
        id: EnrollmentId,
    },
    /// It is new: it will be enrolled.
    Enroll {
        /// Derived from the account, so that the same one is enrolled once.
        id: EnrollmentId,
        /// Its URI with its recovery codes, kept for that enrollment.
        uri: Kept<WithRecovery<OtpauthText>>,
    },
    /// The vault has it.
    AlreadyThere {
        /// Under this name.
        id: EnrollmentId,
    },
    /// The vault has it, and it was deleted. It is not brought back unasked.
    Deleted {
        /// Under this name.
        id: EnrollmentId,
    },
    /// It came earlier in this import.
    Repeated {
        /// The position of the first, counted from 1.
        of: u32,
    },
    /// It cannot be enrolled.
    Invalid {
        /// Why.
        problem: InputProblem,
    },
}

/// How far an import is: the orchestration's custom status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all_fields = "camelCase")]
pub enum ImportProgress {
    /// Images are being read.
    Reading,
    /// Accounts are being read and compared with the vault.
    Planning,
    /// Accounts are being enrolled.
    Importing {
        /// How many are to be enrolled.
        total: u32,
        /// For how many that has begun.
        started: u32,
        /// For how many it has ended.
        ended: u32,
    },
}

/// How an import ended: the orchestration's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportOutcome {
    /// Whether it only tells what would be done.
    pub dry_run: bool,
    /// Each account, in the order of the sources and in each from top to bottom.
    pub accounts: Vec<ImportedAccount>,
    /// What could not be read, and what is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<SourceProblem>,
}

/// What is wrong with the sources, apart from single accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceProblem {
    /// Which file, counted from 1; none if it is about all of them together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<u32>,
    /// Which image in it, if it is an archive or a page with several; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What is wrong.
    pub problem: InputProblem,
}

/// What became of one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportedAccount {
    /// Its position, counted from 1.
    pub position: u32,
    /// What it is called where it comes from; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its enrollment, and its name in the vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<EnrollmentId>,
    /// What may be shown of it, if it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<AccountPreview>,
    /// What is odd about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// How many recovery codes came with it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recovery_codes: u32,
    /// How it ended.
    pub result: ImportResult,
    /// The position of the first, if it is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<u32>,
    /// Why it cannot be enrolled, if it can't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<InputProblem>,
}

/// The result for one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ImportResult {
    /// It would be enrolled (dry run only).
    New,
    /// It was not among those that were picked.
    NotPicked,
    /// It is enrolled now.
    Enrolled,
    /// It was there before; nothing has changed.
    AlreadyThere,
    /// It was deleted before; nothing has changed.
    Deleted,
    /// It came earlier in this import.
    Repeated,
    /// It cannot be enrolled.
    Invalid,
    /// Someone decided against it.
    Rejected,
    /// Nobody decided in time.
    Expired,
    /// Another import or an earlier one is enrolling it at this moment.
    UnderWay,
    /// The system could not do its work.
    Failed,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}
