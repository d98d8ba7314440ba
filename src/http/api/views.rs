//! The public JSON of enrollments, accounts and codes.

use chrono::{DateTime, SecondsFormat, Utc};
use countersign_activities::vault::AccountRecord;
use countersign_enrollment::account::AccountPreview;
use countersign_enrollment::decision::ApprovalDecision;
use countersign_enrollment::foreign::ForeignKind;
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::otpauth::Warning;
use countersign_enrollment::problem::InputProblem;
use countersign_enrollment::region::Region;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::codes::CurrentCode;
use crate::http::edge::error::{ApiError, problem_type};
use crate::hub::{Snapshot, Stage};

/// The response to a start, with links to follow it (those of Durable Functions, but relative and
/// without keys).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StartedView {
    id: String,
    stage: Stage,
    status_query_get_uri: String,
    approval_post_uri: String,
    terminate_post_uri: String,
}

impl StartedView {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let status = status_path(snapshot);
        Self {
            id: snapshot.id.to_string(),
            stage: snapshot.stage,
            approval_post_uri: format!("{status}/approval"),
            terminate_post_uri: format!("{status}/terminate"),
            status_query_get_uri: status,
        }
    }
}

/// The path of an enrollment's status.
pub(super) fn status_path(snapshot: &Snapshot) -> String {
    format!("/api/enrollments/{}", snapshot.id)
}

/// An enrollment.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EnrollmentView {
    id: String,
    stage: Stage,
    runtime_status: String,
    #[serde(serialize_with = "moment")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "moment")]
    last_updated_at: DateTime<Utc>,
    requested_by: String,
    /// Whether the account must be proved before it is in use.
    proof_required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    preview: Option<AccountPreview>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<WarningView>,
    approval: ApprovalView,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ProblemView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<AccountLink>,
}

/// A warning about what was enrolled, with a sentence for a person.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct WarningView {
    #[serde(flatten)]
    warning: Warning,
    detail: String,
}

impl WarningView {
    pub(super) fn new(warning: &Warning) -> Self {
        Self {
            detail: warning.detail(),
            warning: warning.clone(),
        }
    }
}

/// Whether and by whom it must be approved.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ApprovalView {
    required: bool,
    /// How many people must approve, if more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    needed: Option<u8>,
    /// The groups whose members must approve; absent if any approver may.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    from: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    approved_by: Vec<CallerId>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    deadline: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<ApprovalDecision>,
}

/// What is wrong with an upload, as an enrollment or an import reports it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProblemView {
    r#type: String,
    title: String,
    status: u16,
    detail: String,
    code: String,
    next_step: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<ForeignKind>,
    /// How reading the image was attempted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    tried: Vec<String>,
    /// Where codes, or what looks like codes, are in the image: four corners each, in
    /// ten-thousandths of its width and height.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, value_type = Vec<Vec<Vec<u16>>>)]
    regions: Vec<Region>,
    /// Accounts that exist already, as far as the caller may see them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, value_type = Vec<String>)]
    accounts: Vec<EnrollmentId>,
}

/// The account's path.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AccountLink {
    id: String,
    href: String,
    token_href: String,
}

impl EnrollmentView {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let id = snapshot.id.to_string();
        Self {
            account: (snapshot.stage == Stage::Enrolled).then(|| AccountLink {
                href: format!("/api/accounts/{id}"),
                token_href: format!("/api/accounts/{id}/token"),
                id: id.clone(),
            }),
            id,
            stage: snapshot.stage,
            runtime_status: format!("{:?}", snapshot.runtime_status),
            created_at: snapshot.created_at,
            last_updated_at: snapshot.last_updated_at,
            requested_by: snapshot.requested_by.clone(),
            proof_required: snapshot.proof_required,
            preview: snapshot.preview.clone(),
            warnings: snapshot.warnings.iter().map(WarningView::new).collect(),
            approval: ApprovalView {
                required: snapshot.approval_required,
                needed: Some(snapshot.approvals_needed).filter(|needed| *needed > 1),
                from: snapshot.approvers.clone(),
                approved_by: match snapshot.approvals_needed {
                    0 | 1 => Vec::new(),
                    _ => snapshot.approved_by.clone(),
                },
                deadline: snapshot.deadline,
                decision: snapshot.decision.clone(),
            },
            problem: snapshot.problem.as_ref().map(ProblemView::new),
        }
    }
}

impl ProblemView {
    pub(super) fn new(problem: &InputProblem) -> Self {
        Self {
            r#type: problem_type(problem.code()),
            title: problem.title().to_owned(),
            status: 422,
            detail: problem.detail(),
            code: problem.code().to_owned(),
            next_step: problem.next_step(),
            kind: problem.foreign_kind(),
            tried: problem.tried().to_vec(),
            regions: problem.regions().to_vec(),
            accounts: problem.accounts().to_vec(),
        }
    }
}

/// A page of enrollments.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EnrollmentPage {
    pub(super) enrollments: Vec<EnrollmentView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// An account: its names and the parameters of its codes, without its secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccountView {
    id: String,
    #[serde(flatten)]
    preview: AccountPreview,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    tags: Vec<String>,
    state: AccountState,
    /// Who must prove it, while it is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pending_for: Option<CallerId>,
    #[serde(serialize_with = "moment")]
    created_at: DateTime<Utc>,
    token_href: String,
    /// Whether each reading of its codes needs an approved request.
    read_approval: bool,
    /// When it was removed, if it is.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    removed_at: Option<DateTime<Utc>>,
}

/// Whether an account's codes can be read.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum AccountState {
    /// They can.
    Active,
    /// Not until it is proved that the other service accepts them.
    Pending,
    /// Not while it is removed; it can be restored until it is destroyed.
    Removed,
}

impl AccountState {
    const fn of(record: &AccountRecord) -> Self {
        match record {
            AccountRecord {
                deleted_at: Some(_),
                ..
            } => Self::Removed,
            AccountRecord {
                pending_for: Some(_),
                ..
            } => Self::Pending,
            _ => Self::Active,
        }
    }
}

impl AccountView {
    pub(super) fn new(record: &AccountRecord, read_approval: bool) -> Self {
        let id = record.id.to_string();
        Self {
            token_href: format!("/api/accounts/{id}/token"),
            id,
            preview: record.preview.clone(),
            group: record.filing.group().map(str::to_owned),
            tags: record.filing.tags().to_vec(),
            state: AccountState::of(record),
            pending_for: record.pending_for.clone(),
            created_at: record.created_at,
            read_approval,
            removed_at: record.deleted_at,
        }
    }
}

/// A page of accounts.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccountPage {
    pub(super) accounts: Vec<AccountView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// A code. The members after `vaultStaleSeconds` are present if `detail` is requested.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenView {
    /// The digits, leading zeros kept; five characters for Steam Guard.
    token: String,
    /// Seconds until the next code replaces it.
    time_remaining: u32,
    /// Seconds since the vault last answered, while it is unreachable.
    #[serde(skip_serializing_if = "Option::is_none")]
    vault_stale_seconds: Option<u64>,
    /// The length of a time step, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digits: Option<usize>,
    /// The code after this one; left out if codes were granted for a limited time
    /// or number of reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    /// When this code becomes valid: in the future, if the next one was requested.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    valid_from: Option<DateTime<Utc>>,
    /// When it stops being valid.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    valid_until: Option<DateTime<Utc>>,
    /// The server's clock.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    server_time: Option<DateTime<Utc>>,
}

/// Whether a code is given without the one after it: to a caller who was granted a number
/// of codes, or codes for a limited time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alone {
    Yes,
    No,
}

impl TokenView {
    pub(super) fn new(code: CurrentCode, detailed: bool, alone: Alone) -> Self {
        let next = detailed && alone == Alone::No;
        Self {
            period: detailed.then_some(code.period),
            digits: detailed.then_some(code.text.len()),
            next_token: next.then(|| code.next_code()).flatten(),
            valid_from: detailed.then_some(code.valid_from),
            valid_until: detailed.then_some(code.valid_until),
            server_time: detailed.then_some(code.server_time),
            token: code.text,
            time_remaining: code.time_remaining,
            vault_stale_seconds: code.vault_stale.map(|age| age.as_secs()),
        }
    }
}

/// Several codes, in the requested order.
#[derive(Serialize, ToSchema)]
pub(super) struct Batch {
    pub(super) tokens: Vec<BatchItem>,
}

/// One of several codes, or the problem with it.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum BatchItem {
    /// A code.
    Code {
        id: String,
        #[serde(flatten)]
        token: Box<TokenView>,
    },
    /// A problem instead of a code.
    Problem {
        id: String,
        /// The problem code, as in a response of its own.
        problem: &'static str,
    },
}

impl BatchItem {
    pub(super) fn code(id: String, code: CurrentCode, alone: Alone) -> Self {
        let token = Box::new(TokenView::new(code, true, alone));
        Self::Code { id, token }
    }

    pub(super) fn problem(id: String, error: &ApiError) -> Self {
        let problem = error.code();
        Self::Problem { id, problem }
    }
}

/// What `POST /api/accounts` has enrolled.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreatedView<'a> {
    message: &'static str,
    /// The account's id.
    secret_name: String,
    account_name: &'a str,
    /// Null if it has none.
    #[schema(required)]
    issuer: Option<&'a str>,
    /// Present if the account must be proved before it is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<AccountState>,
    /// Present if the same account existed already; its enrollment has all warnings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<WarningView>,
}

impl<'a> CreatedView<'a> {
    pub(super) fn new(snapshot: &Snapshot, preview: &'a AccountPreview) -> Self {
        Self {
            message: "Account added",
            secret_name: snapshot.id.to_string(),
            account_name: &preview.account_name,
            issuer: preview.issuer.as_deref(),
            state: snapshot.proof_required.then_some(AccountState::Pending),
            warnings: snapshot.duplicates().map(WarningView::new).collect(),
        }
    }
}

/// RFC 3339 in UTC with milliseconds.
pub(super) fn moment<S: Serializer>(
    time: &DateTime<Utc>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// The same, or null.
pub(super) fn maybe_moment<S: Serializer>(
    time: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => moment(time, serializer),
        None => serializer.serialize_none(),
    }
}
