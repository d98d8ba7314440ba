//! One entry of the audit log.

use std::fmt;
use std::net::IpAddr;

use chrono::{DateTime, SecondsFormat, SubsecRound as _, Utc};
use clap::ValueEnum;
use countersign_enrollment::account::one_line;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::change::{FieldChange, MAX_CHANGES, misleads};
use super::redact::without_secrets;

/// The longest reason that is kept, in characters.
const MAX_REASON: usize = 200;

/// What someone did or tried to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[value(rename_all = "kebab-case")]
pub enum Action {
    /// Enrolled an account.
    Enroll,
    /// Imported accounts, or did a dry run.
    Import,
    /// Approved an enrollment or a request.
    Approve,
    /// Rejected an enrollment or a request.
    Reject,
    /// Canceled a running enrollment or import.
    Terminate,
    /// Read an account's code.
    ReadCode,
    /// Took one of an account's recovery codes.
    TakeRecoveryCode,
    /// Checked a code.
    VerifyCode,
    /// Renamed an account.
    Rename,
    /// Changed an account's group or tags.
    File,
    /// Proved that another service accepts an account's codes.
    Prove,
    /// Removed an account.
    Delete,
    /// Restored a removed account.
    Restore,
    /// Opened a browser session.
    LogIn,
    /// Ended a browser session.
    LogOut,
    /// Created a link that logs a browser in.
    MakeLoginLink,
    /// Created an API key.
    CreateKey,
    /// Revoked an API key.
    RevokeKey,
    /// Created a new key to sign mandates with.
    RotateMandateKey,
    /// Retired a key that signed mandates.
    RetireMandateKey,
    /// Rotated an API key.
    RotateKey,
    /// Granted an account to a caller or group.
    Grant,
    /// Removed a grant.
    Withdraw,
    /// Requested to read an account's codes.
    RequestRead,
    /// Requested to export an account.
    RequestExport,
    /// Requested to transfer an account to another installation.
    RequestTransfer,
    /// Requested to delete an account.
    RequestDelete,
    /// Requested to set an account's recovery codes.
    RequestRecoveryCodes,
    /// Canceled a request, or stopped a removal.
    CancelRequest,
    /// Exported an account.
    Export,
    /// Set whether reading an account's codes requires approval.
    Guard,
    /// Read the audit log.
    ReadAudit,
    /// Created a link that opens the task hub's dashboard.
    OpenDashboard,
    /// Accepted that entries of the audit log are missing.
    AcceptLoss,
    /// Rotated a secret of the installation.
    RotateSecret,
    /// Moved old entries of the audit log into an archive.
    ArchiveAudit,
    /// Backed up the installation.
    Backup,
    /// Restored the installation from a backup.
    RestoreBackup,
    /// Moved the installation into the shared database, or back into a data folder.
    Migrate,
    /// A worker stored an account's secret.
    Store,
    /// A worker sealed an account for another installation.
    Seal,
    /// A worker set an account's recovery codes.
    SetRecovery,
    /// A worker disabled an account.
    Disable,
    /// A worker destroyed an account.
    Purge,
    /// A worker sent a notice.
    Notify,
    /// A worker did something else, named at the beginning of the reason.
    Work,
}

impl Action {
    /// The name in entries, parameters and exports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enroll => "enroll",
            Self::Import => "import",
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Terminate => "terminate",
            Self::ReadCode => "read-code",
            Self::TakeRecoveryCode => "take-recovery-code",
            Self::VerifyCode => "verify-code",
            Self::Rename => "rename",
            Self::File => "file",
            Self::Prove => "prove",
            Self::Delete => "delete",
            Self::Restore => "restore",
            Self::LogIn => "log-in",
            Self::LogOut => "log-out",
            Self::MakeLoginLink => "make-login-link",
            Self::CreateKey => "create-key",
            Self::RevokeKey => "revoke-key",
            Self::RotateMandateKey => "rotate-mandate-key",
            Self::RetireMandateKey => "retire-mandate-key",
            Self::RotateKey => "rotate-key",
            Self::Grant => "grant",
            Self::Withdraw => "withdraw",
            Self::RequestRead => "request-read",
            Self::RequestExport => "request-export",
            Self::RequestTransfer => "request-transfer",
            Self::RequestDelete => "request-delete",
            Self::RequestRecoveryCodes => "request-recovery-codes",
            Self::CancelRequest => "cancel-request",
            Self::Export => "export",
            Self::Guard => "guard",
            Self::ReadAudit => "read-audit",
            Self::OpenDashboard => "open-dashboard",
            Self::AcceptLoss => "accept-loss",
            Self::RotateSecret => "rotate-secret",
            Self::ArchiveAudit => "archive-audit",
            Self::Backup => "backup",
            Self::RestoreBackup => "restore-backup",
            Self::Migrate => "migrate",
            Self::Store => "store",
            Self::Seal => "seal",
            Self::SetRecovery => "set-recovery",
            Self::Disable => "disable",
            Self::Purge => "purge",
            Self::Notify => "notify",
            Self::Work => "work",
        }
    }

    /// The action with this name.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        Self::value_variants()
            .iter()
            .copied()
            .find(|action| action.as_str() == text)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done or accepted.
    Done,
    /// The caller may not do this, or the request was invalid.
    Refused,
    /// The server failed.
    Failed,
}

impl Outcome {
    /// The name in entries and exports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// What an action was applied to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(pub String);

/// An entry before it has a place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When, to the millisecond.
    #[serde(serialize_with = "millis")]
    pub at: DateTime<Utc>,
    /// The action.
    pub action: Action,
    /// The caller's name; `local` for commands on the data folder, `worker` for a worker,
    /// `system` for the server itself.
    pub caller: String,
    /// The client's address, as seen by the server; none for local commands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub from: Option<IpAddr>,
    /// The subject: an enrollment's or account's id, or a key's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub subject: Option<Subject>,
    /// How it ended.
    pub outcome: Outcome,
    /// The problem code of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The caller's reason; at most 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The HTTP request's id, as in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// How many more readings of the same code this entry counts, the last of them at this time;
    /// absent for the first, which has its own entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<u64>,
    /// The changed fields, with the values before and after; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<FieldChange>,
    /// The enrollment or request for which a worker did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The entry's place in the workers' journal, if it was copied from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<u64>,
}

impl Event {
    /// Something done at `at` by `caller`.
    #[must_use]
    pub fn new(action: Action, caller: &str, at: DateTime<Utc>) -> Self {
        Self {
            at: at.trunc_subsecs(3),
            action,
            caller: caller.to_owned(),
            from: None,
            subject: None,
            outcome: Outcome::Done,
            problem: None,
            reason: None,
            request_id: None,
            repeats: None,
            changes: Vec::new(),
            instance: None,
            journal: None,
        }
    }

    /// The same, with what it changed.
    #[must_use]
    pub fn changing(mut self, changes: Vec<FieldChange>) -> Self {
        self.changes = changes;
        self.changes.truncate(MAX_CHANGES);
        self
    }

    /// The same, done to something.
    #[must_use]
    pub fn to(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(Subject(subject.into()));
        self
    }

    /// The same with a reason, cut to the longest that is kept. Words that look like a secret
    /// are redacted: the log must not contain one, even if someone typed it in the wrong place.
    #[must_use]
    pub fn because(mut self, reason: &str) -> Self {
        let reason = without_secrets(&one_line(reason));
        let words: Vec<&str> = reason.split_whitespace().collect();
        let words = words.join(" ");
        let shown = words
            .chars()
            .map(|c| if misleads(c) { '\u{fffd}' } else { c });
        let short: String = shown.take(MAX_REASON).collect();
        self.reason = (!short.is_empty()).then_some(short);
        self
    }
}

/// Always three digits after the seconds, so that times sort as text.
pub(super) fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn millis<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&written(*time))
}

/// An event in its place: `sequence` counts from 1 without gaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its place in the audit log.
    pub sequence: u64,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// The chain's hash up to here, in hexadecimal.
    pub hash: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_keeps_words_and_withholds_what_looks_like_a_secret() {
        let because = |reason: &str| {
            Event::new(Action::ReadCode, "ci", DateTime::UNIX_EPOCH)
                .because(reason)
                .reason
        };
        for (said, kept) in [
            (
                "deploy  of INC-12345,\nurgent",
                "deploy of INC-12345, urgent",
            ),
            ("for JBSWY3DPEHPK3PXP now", "for [withheld] now"),
            ("secret=JBSWY3DPEHPK3PXP", "[withheld]"),
            ("see otpauth://totp/x?secret=me", "see [withheld]"),
            ("RELEASE 2026 in PRODUCTION", "RELEASE 2026 in PRODUCTION"),
        ] {
            assert_eq!(because(said).as_deref(), Some(kept));
        }
        assert_eq!(because(" \n "), None);
        assert_eq!(because(&"x ".repeat(300)).map(|kept| kept.len()), Some(200));
    }
}
