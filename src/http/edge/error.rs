//! The front door's error answers: one table from
//! errors to RFC 9457 problems.

use std::error::Error as StdError;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use countersign_database::Trouble;
use countersign_enrollment::foreign::ForeignKind;
use countersign_enrollment::problem::InputProblem;
use serde::Serialize;
use thiserror::Error;
use utoipa::ToSchema;

use super::body::Expected;
use super::causes;
use super::facts::Facts;
use super::mandate_problem;
use super::observe::{self, Shape};
use super::problem_code::ProblemCode;
use crate::access::{IssuerError, Spent, TokenProblem};
use crate::codes::ReadCodeError;
use crate::hub::{HubError, Stage};
use crate::intake::IntakeError;
use crate::verify::VerifyError;

/// Why a request failed. Texts are for the caller; what only the log needs
/// is kept as the source.
#[derive(Debug, Error)]
pub(crate) enum ApiError {
    #[error("no caller")]
    Unauthenticated,
    #[error("unknown key or token")]
    CredentialUnknown,
    #[error("the token was refused: {0}")]
    Token(TokenProblem),
    #[error("the issuer's signing keys could not be fetched")]
    IssuerUnavailable(#[source] IssuerError),
    #[error("the shared database cannot be used")]
    DatabaseUnavailable(#[source] Box<dyn StdError + Send + Sync>),
    #[error("the caller lacks a role")]
    Forbidden { needs: &'static str },
    #[error("a request from another site")]
    CrossSite,
    #[error("a session is for this server's own page")]
    SessionElsewhere,
    #[error("the login code was used or has expired")]
    LoginCodeOver,
    #[error("more than one session cookie")]
    SessionAmbiguous,
    #[error("the page shows another caller than is logged in")]
    SessionChanged,
    #[error("{caller} is logged in")]
    SessionOfAnother { caller: String },
    #[error("the caller has no sessions")]
    NoSessionForCaller,
    #[error("a cookie under a name that is not this server's")]
    UnknownName,
    #[error("no such path")]
    NoSuchPath,
    #[error("the code was used already")]
    CodeUsed,
    #[error("method not allowed")]
    MethodNotAllowed,
    #[error("invalid JSON")]
    InvalidJson { detail: String },
    #[error("empty body")]
    EmptyBody(Expected),
    #[error("unreadable body")]
    UnreadableBody,
    #[error("not acceptable")]
    NotAcceptable,
    #[error("unsupported content type")]
    UnsupportedMediaType(Expected),
    #[error("body too large")]
    BodyTooLarge(Expected),
    #[error("invalid parameter {name}")]
    InvalidParameter { name: &'static str, detail: String },
    #[error("input refused: {}", .0.code())]
    Input(InputProblem),
    #[error("unsupported image format")]
    UnsupportedPicture(InputProblem),
    #[error("image too large")]
    PictureTooLarge(InputProblem),
    #[error("unknown account")]
    AccountUnknown,
    #[error("the grant is used up or has expired")]
    GrantSpent(Spent),
    #[error("the key's name is taken")]
    KeyNameTaken,
    #[error("no such key")]
    KeyUnknown,
    #[error("the key is not limited to granted accounts")]
    KeyNotLimited,
    #[error("the key was revoked or has expired")]
    KeyRevoked,
    #[error("another administrator created the key")]
    KeyOfAnother,
    #[error("the key itself was not presented")]
    KeyNotPresented,
    #[error("no such grant")]
    GrantUnknown,
    #[error("no dashboard runs")]
    NoDashboard,
    #[error("the account's codes can be read with approval only")]
    ApprovalNeeded,
    #[error("no recovery code is left")]
    NoRecoveryCode,
    #[error("another account has the name")]
    AccountDiffers,
    #[error("the account is not proved yet")]
    AccountPending,
    #[error("the account is proved already")]
    AlreadyProved,
    #[error("the codes do not match")]
    ProofWrong,
    #[error("enrollment failed")]
    EnrollmentFailed,
    #[error("the enrollment ended as {}", .stage.as_str())]
    NotEnrolled { stage: Stage },
    #[error(transparent)]
    Enrollment(HubError),
    #[error("the vault is unavailable")]
    VaultUnavailable(#[source] Box<dyn StdError + Send + Sync>),
    #[error("too many requests")]
    RateLimited { retry_after: u64 },
    #[error("too many wrong codes")]
    TooManyAttempts { retry_after: u64 },
    #[error("the audit log cannot be written")]
    AuditUnavailable { database: Option<Trouble> },
    #[error("the audit log could not be written after a change")]
    DoneUnrecorded { database: Option<Trouble> },
    #[error("too many requests at once")]
    Busy,
    #[error("the request took too long")]
    Timeout,
    #[error("internal error")]
    Internal(#[source] Box<dyn StdError + Send + Sync>),
    #[error("a handler panicked")]
    Panicked,
}

/// The public shape of a problem (RFC 9457 section 3.1) with our extensions.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Problem {
    /// `urn:countersign:problem:` and the code.
    r#type: String,
    /// The same for every problem with this code.
    title: String,
    /// The status of the answer.
    status: u16,
    /// What was wrong and what to do, for a person.
    detail: String,
    /// Names this occurrence: the request's id, as in the log.
    instance: String,
    /// The code by which programs distinguish problems.
    code: String,
    /// What to do about an upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_step: Option<String>,
    /// What was sent instead of an account, if that is the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<ForeignKind>,
    /// Why a grant gives no more codes, if that is the problem: `used-up` or `over`.
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<&'static str>,
    /// What is wrong with the shared database, if that is the problem: `unreachable`,
    /// `login-refused`, `too-many-connections`, `pool-exhausted`, `read-only`, `in-recovery`,
    /// `full`, `schema-newer`, `schema-wrong`, `right-missing`, `late`, `conflict`, `unheard` or
    /// `unusable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'static str>,
    /// The title, for pages written against `POST /api/accounts` and `GET /api/tokens` of
    /// the program whose API these two are compatible with.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The same as `detail`, for these pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
    /// The errors as clients of HashiCorp Vault read them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    errors: Option<[String; 1]>,
}

/// One row of the table: status, code, title, detail.
struct Row {
    status: StatusCode,
    code: &'static str,
    title: String,
    detail: String,
    next_step: Option<String>,
    kind: Option<ForeignKind>,
}

fn row(code: ProblemCode, detail: impl Into<String>) -> Row {
    Row {
        status: code.status(),
        code: code.as_str(),
        title: code.title().to_owned(),
        detail: detail.into(),
        next_step: None,
        kind: None,
    }
}

fn input_row(status: StatusCode, code: &'static str, problem: &InputProblem) -> Row {
    Row {
        status,
        code,
        title: problem.title().to_owned(),
        detail: problem.detail(),
        next_step: Some(problem.next_step()),
        kind: problem.foreign_kind(),
    }
}

/// The stable `type` of the problem with this code.
pub(crate) fn problem_type(code: &str) -> String {
    format!("urn:countersign:problem:{code}")
}

impl ApiError {
    /// The stable code of the problem.
    pub(crate) fn code(&self) -> &'static str {
        self.row().code
    }

    /// Whether the server failed, rather than refused.
    pub(crate) fn is_ours(&self) -> bool {
        self.row().status.is_server_error()
    }

    /// What is wrong with the shared database, if that is the cause.
    fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::AuditUnavailable { database } | Self::DoneUnrecorded { database } => *database,
            _ => causes::trouble(self),
        }
    }

    fn row(&self) -> Row {
        match self {
            Self::Unauthenticated => row(
                ProblemCode::Unauthenticated,
                "Send a token or API key as `Authorization: Bearer ...`, or log in on this \
                 server's page: `countersign login-link` prints a link for it.",
            ),
            Self::CredentialUnknown => row(
                ProblemCode::Unauthenticated,
                "The key or token is unknown, revoked or expired. Check that you sent it in \
                 full, or ask the administrator for a new one.",
            ),
            Self::Token(problem) => row(
                match problem {
                    TokenProblem::Expired => ProblemCode::TokenExpired,
                    TokenProblem::NotYet => ProblemCode::TokenNotYetValid,
                    TokenProblem::Audience => ProblemCode::TokenAudience,
                    TokenProblem::Form
                    | TokenProblem::Algorithm
                    | TokenProblem::Signature
                    | TokenProblem::Issuer
                    | TokenProblem::Claim(_) => ProblemCode::TokenInvalid,
                },
                format!("The token was refused: {problem}. Get a new one and send it."),
            ),
            Self::DatabaseUnavailable(_) => {
                row(ProblemCode::DatabaseUnavailable, "Try again in a moment.")
            }
            Self::IssuerUnavailable(_) => row(
                ProblemCode::IssuerUnavailable,
                "The token cannot be verified, because the issuer's signing keys could not be \
                 fetched. API keys work. Try again shortly.",
            ),
            Self::Forbidden { needs } => row(
                ProblemCode::RoleMissing,
                format!("This requires the role {needs}. Ask the administrator for a key with it."),
            ),
            Self::CrossSite => row(
                ProblemCode::CrossSite,
                "The session cookie is accepted only in requests from this server's own page, \
                 and this one came from elsewhere. Use the page, or send a token or key instead.",
            ),
            Self::SessionElsewhere => row(
                ProblemCode::CrossSite,
                "Only this server's own page can open sessions. Programs do not need one: send \
                 the token or key with each request.",
            ),
            Self::LoginCodeOver => row(
                ProblemCode::LoginCodeOver,
                "A login link can be used once, within ten minutes. Get a new one with \
                 `countersign login-link`, or paste a token or key.",
            ),
            Self::SessionAmbiguous => row(
                ProblemCode::SessionAmbiguous,
                "The browser sent more than one session cookie, so another program on this host \
                 or site has set one. All of them were removed: log in again.",
            ),
            Self::SessionChanged => row(
                ProblemCode::SessionChanged,
                "The browser is now logged in as a different caller than the page shows. Nothing \
                 was done. Log in again.",
            ),
            Self::SessionOfAnother { caller } => row(
                ProblemCode::SessionOfAnother,
                format!(
                    "This browser is logged in as {caller}. Log out first, or name that caller in \
                     `replace`."
                ),
            ),
            Self::NoSessionForCaller => row(
                ProblemCode::NoSessionForCaller,
                "Login links are for callers with a key or the administrator's token. Send an \
                 issuer's token with each request; with access control off, no login is needed.",
            ),
            Self::UnknownName => row(
                ProblemCode::CrossSite,
                "This server does not know the host name in this request. Open its page under a \
                 known name, or configure this one with --public-url. Tokens and keys are \
                 accepted under any name.",
            ),
            Self::NoSuchPath => row(
                ProblemCode::NoSuchPath,
                "There is nothing at this path. The API is described at /docs.",
            ),
            Self::CodeUsed => row(
                ProblemCode::AlreadyUsed,
                "Each code is accepted once; wait for the next one.",
            ),
            Self::MethodNotAllowed => row(
                ProblemCode::MethodNotAllowed,
                "This path does not support this method; see the Allow header.",
            ),
            Self::InvalidJson { detail } => row(ProblemCode::InvalidJson, detail.as_str()),
            Self::EmptyBody(expected) => row(ProblemCode::EmptyBody, expected.what()),
            Self::UnreadableBody => row(
                ProblemCode::UnreadableBody,
                "The body ended early or does not match its Content-Type. Send it again.",
            ),
            Self::NotAcceptable => row(
                ProblemCode::NotAcceptable,
                "Send `Accept: application/json, text/event-stream`.",
            ),
            Self::UnsupportedMediaType(expected) => {
                row(ProblemCode::UnsupportedMediaType, expected.types())
            }
            Self::BodyTooLarge(expected) => row(ProblemCode::PayloadTooLarge, expected.bound()),
            Self::InvalidParameter { name, detail } => {
                row(ProblemCode::InvalidParameter, format!("`{name}`: {detail}"))
            }
            Self::Input(problem) => {
                input_row(StatusCode::UNPROCESSABLE_ENTITY, problem.code(), problem)
            }
            Self::UnsupportedPicture(problem) => input_row(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                ProblemCode::UnsupportedMediaType.as_str(),
                problem,
            ),
            Self::PictureTooLarge(problem) => {
                input_row(StatusCode::PAYLOAD_TOO_LARGE, problem.code(), problem)
            }
            Self::AccountUnknown => row(
                ProblemCode::AccountUnknown,
                "There is no account with this id. An account has the id of its enrollment, and \
                 exists once the enrollment has finished as Enrolled.",
            ),
            Self::GrantSpent(Spent::UsedUp) => row(
                ProblemCode::GrantUsedUp,
                "You have read all the codes of this account that were granted to you. Ask the \
                 administrator for another grant.",
            ),
            Self::GrantSpent(Spent::Over) => row(
                ProblemCode::GrantExpired,
                "Your grant for this account has expired. Ask the administrator for another grant.",
            ),
            Self::KeyNameTaken => row(
                ProblemCode::KeyNameTaken,
                "Names are never reused, also after the key is revoked, so that the audit log is \
                 unambiguous. Rotate the key, or choose another name.",
            ),
            Self::KeyUnknown => row(
                ProblemCode::KeyUnknown,
                "There is no API key with this name. See /api/keys.",
            ),
            Self::KeyRevoked => row(
                ProblemCode::KeyRevoked,
                "The key was revoked or has expired, and its name is never used again. Create \
                 another key.",
            ),
            Self::KeyNotLimited => row(
                ProblemCode::KeyNotLimited,
                "Accounts can only be granted to keys created with `grantedOnly`.",
            ),
            Self::KeyOfAnother => row(
                ProblemCode::KeyOfAnother,
                "Another administrator created this key. Its creator or its holder can rotate it; \
                 an operator can with `countersign key rotate` on the server.",
            ),
            Self::KeyNotPresented => row(
                ProblemCode::KeyNotPresented,
                "Your own key can be rotated only with that key itself, not in a browser session \
                 and not with a key that it has replaced. Send the current key as \
                 `Authorization: Bearer`.",
            ),
            Self::GrantUnknown => row(
                ProblemCode::GrantUnknown,
                "This account is not granted to this caller or group. See /api/grants.",
            ),
            Self::NoDashboard => row(
                ProblemCode::NoDashboard,
                "No scheduler with a dashboard is running on this server's data folder. Start \
                 one with --dashboard-listen, or open your task hub's own dashboard.",
            ),
            Self::ApprovalNeeded => row(
                ProblemCode::ApprovalNeeded,
                "Another person must approve each reading of this account's codes. Make a \
                 request with POST /api/accounts/{id}/requests and {\"kind\": \"read\"}.",
            ),
            Self::NoRecoveryCode => row(
                ProblemCode::NoneToRecoverWith,
                "The account has no unused recovery codes. Get new ones from the service, and \
                 set them with `countersign recovery-codes set`.",
            ),
            Self::AccountDiffers => row(
                ProblemCode::AccountDiffers,
                "An account with this name is in use, with another secret or other codes. A \
                 secret is never replaced: remove that account or rename it, or choose another \
                 name.",
            ),
            Self::AccountPending => row(
                ProblemCode::AccountPending,
                "The person who enrolled it must first prove that the other service accepts two \
                 of its codes: see /api/accounts/{id}/proof.",
            ),
            Self::AlreadyProved => row(
                ProblemCode::AlreadyProved,
                "There is nothing to prove; read its codes at /api/accounts/{id}/token.",
            ),
            Self::ProofWrong => row(
                ProblemCode::ProofWrong,
                "Send the codes of two consecutive time steps that the other service accepted: \
                 the second must be valid already, and at most twenty steps old.",
            ),
            Self::EnrollmentFailed => row(
                ProblemCode::EnrollmentFailed,
                "The server failed; there is nothing wrong with what you sent. The operator \
                 finds the cause in the task hub's history. Try again later.",
            ),
            Self::NotEnrolled { stage } => row(
                ProblemCode::NotEnrolled,
                format!(
                    "The enrollment ended as {}. See its status.",
                    stage.as_str()
                ),
            ),
            Self::Enrollment(error) => enrollment_row(error),
            Self::VaultUnavailable(_) => row(
                ProblemCode::VaultUnavailable,
                "Accounts and codes cannot be read now. Try again shortly.",
            ),
            Self::RateLimited { .. } => row(
                ProblemCode::RateLimited,
                "Rate limit exceeded for this caller or address. Wait as long as Retry-After \
                 says, and then send fewer requests, or request several codes at a time.",
            ),
            Self::TooManyAttempts { .. } => row(
                ProblemCode::TooManyAttempts,
                "There were too many wrong codes for this account. Wait as long as Retry-After \
                 says, and check the clock of the device that generates them.",
            ),
            Self::AuditUnavailable { .. } => row(
                ProblemCode::AuditUnavailable,
                "Codes are given out and changes made only if they can be recorded. The operator \
                 finds the cause in the server's log: a full disk, or an audit log with missing \
                 entries.",
            ),
            Self::DoneUnrecorded { .. } => row(
                ProblemCode::AuditUnavailable,
                "The change was made, but the audit log could not be written in time. The server \
                 keeps the entry and writes it as soon as it can; until then it makes no other \
                 change. Send the request again with the same `Idempotency-Key`, or look at what \
                 it changed.",
            ),
            Self::Busy => row(
                ProblemCode::Busy,
                "The server is at its limit. Try again in a second.",
            ),
            Self::Timeout => row(
                ProblemCode::Timeout,
                "The server did not finish this request in time. Try again.",
            ),
            Self::Internal(_) | Self::Panicked => row(
                ProblemCode::Internal,
                "The cause is in the server's log under this request's id.",
            ),
        }
    }
}

fn enrollment_row(error: &HubError) -> Row {
    match error {
        HubError::Unknown => row(
            ProblemCode::EnrollmentUnknown,
            "There is no enrollment or import with this id that you may see.",
        ),
        HubError::KeyReused => row(
            ProblemCode::IdempotencyKeyReused,
            "An earlier request with this key had a different body. Use a new key for a new request.",
        ),
        HubError::IdTaken => row(
            ProblemCode::IdTaken,
            "Another account was enrolled, or is being enrolled, under this id. Restore an \
             account that existed here before instead of receiving it.",
        ),
        HubError::SelfApproval => row(
            ProblemCode::SelfApprovalForbidden,
            "You started this yourself, so another caller with the role approver must decide.",
        ),
        HubError::SamePerson => row(
            ProblemCode::SelfApprovalForbidden,
            "Your key and the requester's, or another approver's, were created by the same \
             person. A different person must approve: with a key created by `countersign key \
             create` or by another administrator, or with an issuer's token.",
        ),
        HubError::NotAwaiting => row(
            ProblemCode::NotAwaitingApproval,
            "There is nothing to decide: it needed no approval, has finished, or is not ready \
             yet. See its status.",
        ),
        HubError::AlreadyDecided => row(
            ProblemCode::AlreadyDecided,
            "It was decided already, or you have approved it already. See its status.",
        ),
        HubError::ApprovalExpired => row(
            ProblemCode::ApprovalExpired,
            "It was not decided in time, so it expired. The requester can start it again.",
        ),
        HubError::AlreadyEnded => row(
            ProblemCode::AlreadyEnded,
            "It has finished, so it cannot be stopped. See its status.",
        ),
        HubError::NotAnApprover => row(
            ProblemCode::ApproverGroupMissing,
            "Only members of certain groups can approve this; its status names them.",
        ),
        HubError::RequestUnknown => row(
            ProblemCode::RequestUnknown,
            "There is no request with this id that you may see.",
        ),
        HubError::NotGranted => row(
            ProblemCode::NotGranted,
            "The request is not granted yet, or what it granted is used up or has expired. See \
             its status, or make a new request.",
        ),
        HubError::AccountChanged => row(
            ProblemCode::AccountChanged,
            "The account's secret is not the one that was approved. Make a new request.",
        ),
        HubError::Refused(refusal) => row(
            ProblemCode::MandateRefused,
            mandate_problem::detail(refusal),
        ),
        HubError::LedgerUnavailable(_) => row(
            ProblemCode::LedgerUnavailable,
            "Nothing can be accepted, decided or given out while the ledger cannot be written. \
             The operator finds the cause in the server's log; the usual one is a full disk.",
        ),
        HubError::HubUnavailable(_) => row(
            ProblemCode::HubUnavailable,
            "Enrollments cannot be started or shown now; codes can still be read. Try again \
             shortly, with the same Idempotency-Key if you sent one.",
        ),
        HubError::Internal(_) => row(
            ProblemCode::Internal,
            "The cause is in the server's log under this request's id.",
        ),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut row = self.row();
        let mut database = None;
        if row.status.is_server_error() {
            database = self.trouble();
            if let Some(trouble) = database {
                row.detail = format!("The shared database {}. {}", trouble.text(), row.detail);
            }
            causes::log(&self, row.code, database);
        }
        let (request_id, shape) = observe::current();
        // As Vault answers an invalid token; its clients understand nothing else.
        let is_bad = matches!(self, Self::CredentialUnknown | Self::Token(_));
        let status = match shape {
            Shape::Vault if is_bad => StatusCode::FORBIDDEN,
            _ => row.status,
        };
        let compatible = shape == Shape::Compatible;
        let body = Problem {
            r#type: problem_type(row.code),
            status: status.as_u16(),
            instance: format!("urn:countersign:request:{request_id}"),
            code: row.code.to_owned(),
            next_step: row.next_step,
            kind: row.kind,
            grant: match &self {
                Self::GrantSpent(Spent::UsedUp) => Some("used-up"),
                Self::GrantSpent(Spent::Over) => Some("over"),
                _ => None,
            },
            database: database.map(Trouble::as_str),
            error: compatible.then(|| row.title.clone()),
            details: compatible.then(|| row.detail.clone()),
            errors: (shape == Shape::Vault).then(|| [row.detail.clone()]),
            title: row.title,
            detail: row.detail,
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            // Vault's clients look for errors only here.
            HeaderValue::from_static(match shape {
                Shape::Vault => "application/json",
                Shape::Problem | Shape::Compatible => "application/problem+json",
            }),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6750 section 3: an error only where a token was sent.
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(match self {
                    Self::Token(_) | Self::CredentialUnknown => {
                        "Bearer realm=\"countersign\", error=\"invalid_token\""
                    }
                    _ => "Bearer realm=\"countersign\"",
                }),
            );
        }
        let retry_after = match self {
            Self::TooManyAttempts { retry_after } | Self::RateLimited { retry_after } => {
                Some(retry_after)
            }
            _ if row.status == StatusCode::SERVICE_UNAVAILABLE => Some(1),
            _ => None,
        };
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        let facts = Facts {
            problem: Some(row.code),
            ..Facts::default()
        };
        facts.on(response)
    }
}

impl From<HubError> for ApiError {
    fn from(error: HubError) -> Self {
        Self::Enrollment(error)
    }
}

impl From<ReadCodeError> for ApiError {
    fn from(error: ReadCodeError) -> Self {
        match error {
            ReadCodeError::Unknown => Self::AccountUnknown,
            ReadCodeError::Pending => Self::AccountPending,
            ReadCodeError::Unavailable(source) => Self::VaultUnavailable(source),
            ReadCodeError::Internal(source) => Self::Internal(source),
        }
    }
}

impl From<VerifyError> for ApiError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::TooManyWrong { retry_after } => Self::TooManyAttempts { retry_after },
            error @ VerifyError::Database(_) => Self::DatabaseUnavailable(Box::new(error)),
            error => Self::Internal(Box::new(error)),
        }
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Problem(problem) => Self::Input(problem),
            IntakeError::UnsupportedPicture(problem) => Self::UnsupportedPicture(problem),
            IntakeError::PictureTooLarge(problem) => Self::PictureTooLarge(problem),
            IntakeError::Busy => Self::Busy,
            IntakeError::Internal(source) => Self::Internal(source),
        }
    }
}
