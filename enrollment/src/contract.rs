//! The names on the wire, tied to the types of their payloads.

use durabletask_core::{Activity, Event, Orchestration};
use serde::{Deserialize, Serialize};

use crate::account::{AccountPreview, TotpAccount};
use crate::account_request::{AccountRequest, Claim, RequestOutcome};
use crate::decision::{ApprovalDecision, RaisedDecision};
use crate::ids::{EnrollmentId, ImportId, RequestId};
use crate::import::ImportList;
use crate::import::job::{ImportOutcome, ImportRequest, PlannedAccount};
use crate::mandate::{SignedDecision, SignedMandate};
use crate::notice::{NoticeEvent, NoticeSent};
use crate::otpauth::Warning;
use crate::outcome::EnrollmentOutcome;
use crate::package::{Package, PackedAccount};
use crate::problem::InputProblem;
use crate::recovery::{MovedCodes, RecoveryCodes, WithRecovery};
use crate::request::{EnrollmentRequest, RecoverySource};
use crate::sealed::{ImageBytes, ImportKey, Kept, OtpauthText, Sealed};

/// One enrollment from upload to stored secret. Its instance id is the enrollment id.
pub const ENROLL: Orchestration<EnrollmentRequest, EnrollmentOutcome> =
    Orchestration::new("enroll");

/// Looks for the QR code in an image.
pub const DECODE_QR: Activity<DecodeQr, DecodedQr> = Activity::new("decode-qr");

/// Checks that a text is an otpauth URI that codes can be made from.
pub const VALIDATE_URI: Activity<ValidateUri, ValidatedUri> = Activity::new("validate-uri");

/// Stores an account in the vault, under the enrollment's id.
pub const STORE_SECRET: Activity<StoreSecret, SecretStored> = Activity::new("store-secret");

/// Many accounts from files and images, each enrolled by a sub-orchestration of its own.
/// Its instance id is the import's id.
pub const IMPORT: Orchestration<ImportRequest, ImportOutcome> = Orchestration::new("import");

/// Reads all QR codes of an image.
pub const READ_CODES: Activity<ReadCodes, CodesRead> = Activity::new("read-codes");

/// Reads the accounts of an import and compares them with the vault.
pub const PLAN_IMPORT: Activity<PlanImport, ImportPlan> = Activity::new("plan-import");

/// Someone's decision on an enrollment that awaits it.
pub const APPROVAL: Event<RaisedDecision> = Event::new("approval");

/// Says whether a decision counts, so that the orchestration can continue. What acts on it
/// judges on its own.
pub const VERIFY_DECISION: Activity<VerifyDecision, VerifiedDecision> =
    Activity::new("verify-decision");

/// The same for a request. The two had different inputs in releases before mandates, whose
/// histories name them.
pub const VERIFY_REQUEST_DECISION: Activity<VerifyDecision, VerifiedDecision> =
    Activity::new("verify-request-decision");

/// Something that is to be done with an account, once it is approved. Its instance id is
/// the request's id.
pub const ACCOUNT_REQUEST: Orchestration<AccountRequest, RequestOutcome> =
    Orchestration::new("account-request");

/// Makes use of what a request has granted.
pub const CLAIM: Event<Claim> = Event::new("claim");

/// Tells what the vault has under an id, without its secret.
pub const DESCRIBE_ACCOUNT: Activity<AccountRef, DescribedAccount> =
    Activity::new("describe-account");

/// Seals an account for another installation.
pub const SEAL_ACCOUNT: Activity<AccountRef, SealedAccount> = Activity::new("seal-account");

/// Disables an account.
pub const DISABLE_ACCOUNT: Activity<AccountRef, AccountState> = Activity::new("disable-account");

/// Keeps recovery codes beside an account's secret.
pub const SET_RECOVERY_CODES: Activity<SetRecoveryCodes, AccountState> =
    Activity::new("set-recovery-codes");

/// Enables an account again.
pub const RESTORE_ACCOUNT: Activity<AccountRef, AccountState> = Activity::new("restore-account");

/// Destroys a disabled account.
pub const PURGE_ACCOUNT: Activity<AccountRef, AccountState> = Activity::new("purge-account");

/// Tells others what is waited for and how it ended, with patience of its own: nothing
/// else waits for it.
pub const NOTIFY: Orchestration<SendNotice, NoticeSent> = Orchestration::new("notify");

/// Sends a notice to where the worker's settings say.
pub const SEND_NOTICE: Activity<SendNotice, NoticeSent> = Activity::new("send-notice");

/// The input of [`DECODE_QR`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecodeQr {
    /// By which mandate.
    #[serde(default)]
    pub mandate: SignedMandate,
    /// The enrollment that the image was sealed for.
    pub enrollment: EnrollmentId,
    /// The image.
    pub image: Sealed<ImageBytes>,
}

/// The output of [`DECODE_QR`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "camelCase")]
pub enum DecodedQr {
    /// The image holds exactly one otpauth URI.
    Found {
        /// The URI, not yet checked.
        uri: Kept<WithRecovery<OtpauthText>>,
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
    /// By which mandate.
    #[serde(default)]
    pub mandate: SignedMandate,
    /// The enrollment that the URI was sealed for.
    pub enrollment: EnrollmentId,
    /// The URI.
    pub uri: UriSource,
    /// The recovery codes that another installation has sealed with it, to see whether they
    /// open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Sealed<MovedCodes>>,
}

/// Where a URI comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UriSource {
    /// It was sent, and the mandate names it.
    Sent(Sealed<OtpauthText>),
    /// Another installation has sealed it, and the mandate names it.
    Packed(Sealed<PackedAccount>),
    /// A worker has read it in what was sent.
    Read(Kept<WithRecovery<OtpauthText>>),
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
        /// All of it, with the recovery codes that an import has found beside it.
        account: Kept<WithRecovery<TotpAccount>>,
        /// What tells its secret from any other, see
        /// [`FingerprintKey`](crate::fingerprint::FingerprintKey).
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
    /// By which mandate.
    #[serde(default)]
    pub mandate: SignedMandate,
    /// The enrollment or request that is decided on.
    pub about: String,
    /// The account that would be stored, for an enrollment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Kept<WithRecovery<TotpAccount>>>,
    /// What was raised.
    pub decision: SignedDecision,
}

/// The output of [`VERIFY_DECISION`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "camelCase")]
pub enum VerifiedDecision {
    /// The front door has signed and recorded it, on exactly this.
    Authentic {
        /// What it says; none in the histories of releases before mandates.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        decision: Option<ApprovalDecision>,
    },
    /// It has not.
    Forged,
}

/// The input of [`STORE_SECRET`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreSecret {
    /// By which mandate.
    #[serde(default)]
    pub mandate: SignedMandate,
    /// The enrollment that the account was sealed for; the secret's name in the vault.
    pub enrollment: EnrollmentId,
    /// The account.
    pub account: Kept<WithRecovery<TotpAccount>>,
    /// Its recovery codes, if some came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoverySource>,
    /// Who has agreed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<SignedDecision>,
}

/// The output of [`STORE_SECRET`]: the secret is in the vault under this name, or others have
/// kept it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretStored {
    /// The name of the secret in the vault.
    pub id: EnrollmentId,
    /// The other accounts in use with the same secret and codes, seen once it was stored: of
    /// those that are enrolled at the same moment, validation sees none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub same: Vec<EnrollmentId>,
    /// The accounts in use with the same secret and codes that have kept it out, where it was
    /// not to be stored beside such. It is not in the vault then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub there: Vec<EnrollmentId>,
}

/// The input of [`READ_CODES`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadCodes {
    /// By which mandate.
    #[serde(default)]
    pub mandate: SignedMandate,
    /// The import that the image was sealed for.
    pub import: ImportId,
    /// The image.
    pub image: Sealed<ImageBytes>,
}

/// The output of [`READ_CODES`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "camelCase")]
pub enum CodesRead {
    /// The image holds accounts or exports.
    Found {
        /// What the codes say, each once, from top to bottom.
        list: Kept<ImportList>,
        /// What else is in the image and was not read.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        problems: Vec<InputProblem>,
    },
    /// It does not.
    Invalid {
        /// Why.
        problem: InputProblem,
        /// A list without accounts, which stands in its place when the import is planned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        list: Option<Kept<ImportList>>,
    },
}

/// The input of [`PLAN_IMPORT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanImport {
    /// By which mandate.
    #[serde(default)]
    pub mandate: SignedMandate,
    /// The import that everything was sealed for.
    pub import: ImportId,
    /// What was read from the sources, in their order.
    pub lists: Vec<ListSource>,
    /// What the accounts' ids are derived with.
    pub key: Sealed<ImportKey>,
}

/// Where a list of accounts comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ListSource {
    /// A file that was sent was read as it, and the mandate names it.
    Sent(Sealed<ImportList>),
    /// A worker has read it in an image that was sent.
    Read(Kept<ImportList>),
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

/// The input of activities on an account that the vault has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountRef {
    /// By which mandate.
    #[serde(default)]
    pub mandate: SignedMandate,
    /// The request that it is done for. Which account it is, the mandate says.
    pub request: RequestId,
    /// Who has agreed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<SignedDecision>,
}

/// The input of [`SET_RECOVERY_CODES`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetRecoveryCodes {
    /// For which request, and who has agreed.
    #[serde(flatten)]
    pub account: AccountRef,
    /// The codes, sealed for the account.
    pub codes: Sealed<RecoveryCodes>,
}

/// The output of [`DESCRIBE_ACCOUNT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "camelCase")]
pub enum DescribedAccount {
    /// It is in use.
    Found {
        /// What may be shown of it.
        preview: AccountPreview,
        /// What tells its secret from any other, see
        /// [`FingerprintKey`](crate::fingerprint::FingerprintKey).
        fingerprint: String,
    },
    /// There is none, or it was deleted.
    Unknown,
}

/// The output of [`SEAL_ACCOUNT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "camelCase")]
pub enum SealedAccount {
    /// Only the other installation can open it, and only for the account's id.
    Sealed {
        /// The account, with its recovery codes.
        package: Package,
    },
    /// There is no such account in use.
    Unknown,
}

/// What the vault has under an account's id after an activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum AccountState {
    /// It is in use.
    InUse,
    /// It is disabled and can be enabled again.
    Disabled,
    /// There is none, or no longer.
    Gone,
}

/// The input of [`NOTIFY`] and [`SEND_NOTICE`]: what the notice is about. The notice itself is made
/// of the mandate and the decisions by who sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendNotice {
    /// By which mandate.
    #[serde(default)]
    pub mandate: SignedMandate,
    /// The enrollment or request.
    pub about: String,
    /// The reason for the notice.
    pub event: NoticeEvent,
    /// Which reminder, from 0; 0 for everything else.
    #[serde(default)]
    pub number: u8,
    /// The account that would be stored, for an enrollment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Kept<WithRecovery<TotpAccount>>>,
}
