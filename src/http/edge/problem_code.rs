//! The codes of problems: by which programs distinguish problems.

use axum::http::StatusCode;
use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($name:ident: $status:ident, $text:literal, $title:literal;)+) => {
        /// Which problem it is. A code never changes its name, status or meaning.
        ///
        /// Those of unusable uploads are
        /// [`InputProblem::CODES`](countersign_enrollment::problem::InputProblem::CODES).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum ProblemCode {
            $($name,)+
        }

        impl ProblemCode {
            /// Every code.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in answers.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            /// The status that it is answered with.
            pub(crate) const fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode::$status,)+
                }
            }

            /// A few words for a heading.
            pub(crate) const fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)+
                }
            }
        }
    };
}

codes! {
    Unauthenticated: UNAUTHORIZED, "unauthenticated", "Authentication required";
    TokenExpired: UNAUTHORIZED, "token-expired", "The token has expired";
    TokenNotYetValid: UNAUTHORIZED, "token-not-yet-valid", "The token is not valid yet";
    TokenAudience: UNAUTHORIZED, "token-audience", "The token is for another audience";
    TokenInvalid: UNAUTHORIZED, "token-invalid", "The token was refused";
    IssuerUnavailable: SERVICE_UNAVAILABLE, "issuer-unavailable", "The token's issuer is unreachable";
    RoleMissing: FORBIDDEN, "role-missing", "Not allowed";
    CrossSite: FORBIDDEN, "cross-site", "Request from another site";
    LoginCodeOver: UNAUTHORIZED, "login-code-over", "The login link was used or has expired";
    SessionAmbiguous: UNAUTHORIZED, "session-ambiguous", "More than one session";
    SessionChanged: CONFLICT, "session-changed", "The browser is logged in as another caller";
    SessionOfAnother: CONFLICT, "session-of-another", "Another caller is logged in";
    NoSessionForCaller: CONFLICT, "no-session-for-caller", "This caller has no sessions";
    NoSuchPath: NOT_FOUND, "no-such-path", "No such path";
    AlreadyUsed: BAD_REQUEST, "code-used", "The code was used already";
    MethodNotAllowed: METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed";
    NotAcceptable: NOT_ACCEPTABLE, "not-acceptable", "Not acceptable";
    InvalidJson: BAD_REQUEST, "invalid-json", "The body is not the expected JSON";
    EmptyBody: BAD_REQUEST, "empty-body", "The body is empty";
    UnreadableBody: BAD_REQUEST, "unreadable-body", "The body could not be read";
    UnsupportedMediaType: UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported content type";
    PayloadTooLarge: PAYLOAD_TOO_LARGE, "payload-too-large", "The body is too large";
    InvalidParameter: BAD_REQUEST, "invalid-parameter", "Invalid parameter";
    AccountUnknown: NOT_FOUND, "account-unknown", "No such account";
    GrantUsedUp: FORBIDDEN, "grant-used-up", "The grant is used up";
    GrantExpired: FORBIDDEN, "grant-expired", "The grant has expired";
    AccountDiffers: CONFLICT, "account-differs", "Another account has this name";
    AccountPending: CONFLICT, "account-pending", "The account is not proved yet";
    AlreadyProved: CONFLICT, "already-proved", "The account is proved already";
    ProofWrong: UNPROCESSABLE_ENTITY, "proof-wrong", "The codes do not match";
    KeyNameTaken: CONFLICT, "key-name-taken", "A key with this name exists";
    KeyUnknown: NOT_FOUND, "key-unknown", "No such key";
    KeyNotLimited: CONFLICT, "key-not-limited", "The key is not limited to granted accounts";
    KeyOfAnother: FORBIDDEN, "key-of-another", "Another administrator's key";
    KeyNotPresented: FORBIDDEN, "key-not-presented", "The key itself is needed";
    NoDashboard: NOT_FOUND, "no-dashboard", "No dashboard is running";
    GrantUnknown: NOT_FOUND, "grant-unknown", "No such grant";
    ApprovalNeeded: FORBIDDEN, "approval-needed", "An approval is needed";
    AccountChanged: CONFLICT, "account-changed", "The account is not what was approved";
    RequestUnknown: NOT_FOUND, "request-unknown", "No such request";
    NotGranted: CONFLICT, "not-granted", "Nothing is granted";
    NoneToRecoverWith: CONFLICT, "no-recovery-code", "No recovery code is left";
    EnrollmentFailed: INTERNAL_SERVER_ERROR, "enrollment-failed", "The enrollment failed";
    NotEnrolled: CONFLICT, "not-enrolled", "The account was not enrolled";
    VaultUnavailable: SERVICE_UNAVAILABLE, "vault-unavailable", "The vault is unreachable";
    DatabaseUnavailable: SERVICE_UNAVAILABLE, "database-unavailable", "The shared database is unavailable";
    RateLimited: TOO_MANY_REQUESTS, "rate-limited", "Too many requests";
    TooManyAttempts: TOO_MANY_REQUESTS, "too-many-attempts", "Too many wrong codes";
    AuditUnavailable: SERVICE_UNAVAILABLE, "audit-unavailable", "The audit log cannot be written";
    Busy: SERVICE_UNAVAILABLE, "busy", "Too many requests at once";
    Timeout: SERVICE_UNAVAILABLE, "timeout", "The request took too long";
    Internal: INTERNAL_SERVER_ERROR, "internal", "Internal server error";
    EnrollmentUnknown: NOT_FOUND, "enrollment-unknown", "No such enrollment";
    IdempotencyKeyReused: UNPROCESSABLE_ENTITY, "idempotency-key-reused", "The Idempotency-Key was used for another request";
    IdTaken: CONFLICT, "id-taken", "The id is in use";
    SelfApprovalForbidden: FORBIDDEN, "self-approval-forbidden", "You cannot approve your own request";
    ApproverGroupMissing: FORBIDDEN, "approver-group-missing", "You are not in an approver group";
    NotAwaitingApproval: CONFLICT, "not-awaiting-approval", "Not waiting for approval";
    AlreadyDecided: CONFLICT, "already-decided", "Already decided";
    ApprovalExpired: CONFLICT, "approval-expired", "The deadline for a decision has passed";
    AlreadyEnded: CONFLICT, "already-ended", "Already finished";
    MandateRefused: CONFLICT, "mandate-refused", "What was accepted cannot be verified";
    LedgerUnavailable: SERVICE_UNAVAILABLE, "ledger-unavailable", "The ledger is unavailable";
    HubUnavailable: SERVICE_UNAVAILABLE, "hub-unavailable", "The task hub is unreachable";
}

impl Serialize for ProblemCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
