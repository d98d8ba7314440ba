//! What Key Vault's answers mean, and what to do about them.

use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, Headers, RETRY_AFTER};
use azure_core::time::{OffsetDateTime, parse_rfc7231};
use countersign_activities::vault::VaultError;
use serde::Deserialize;
use thiserror::Error;

use crate::causes::in_one_line;

/// The longest wait that a server can ask for. Longer ones are taken as this.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// Why Key Vault did not do what it was asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyVaultError {
    /// 404: there is no such secret.
    #[error("Key Vault has no such secret")]
    NotFound,
    /// 403: the identity lacks a role, or the network rules keep it out.
    #[error(
        "Key Vault forbids this identity to {operation} ({code}). Give it a role that allows \
         {action} on the vault (new role assignments take some minutes), and check the vault's \
         network rules"
    )]
    Forbidden {
        /// What was tried.
        operation: &'static str,
        /// The data action that a role has to allow.
        action: &'static str,
        /// The service's own word for it.
        code: String,
    },
    /// 403 on a secret that is switched off.
    #[error("the secret is disabled in Key Vault; enable it there to use it again")]
    Disabled,
    /// 401, with a fresh token: the wrong tenant or audience.
    #[error(
        "Key Vault does not accept this identity's token (401). Is the vault in the identity's \
         tenant?"
    )]
    Unauthenticated,
    /// 409: the name belongs to a secret that was deleted and can be recovered.
    #[error("a deleted secret has this name; recover it, or wait until Key Vault has purged it")]
    DeletedButRecoverable,
    /// 409: the name is in transition.
    #[error("Key Vault is still busy with a secret of this name ({code}); try again shortly")]
    Busy {
        /// The service's own word for it.
        code: String,
    },
    /// 429: too many calls.
    #[error(
        "Key Vault is throttling calls (4,000 in 10 s, of which 300 writes, per vault); slow \
         down or spread accounts over several vaults"
    )]
    Throttled {
        /// How long the service asks to wait.
        retry_after: Option<Duration>,
    },
    /// 408 and 5xx: the service has a problem of its own.
    #[error("Key Vault cannot answer now ({status} {code})")]
    Server {
        /// The HTTP status.
        status: u16,
        /// The service's own word for it.
        code: String,
        /// How long the service asks to wait.
        retry_after: Option<Duration>,
    },
    /// No answer in time. What was requested may have been done.
    #[error("Key Vault did not answer within {} ms", .after.as_millis())]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// No connection, or one that broke. What was requested may have been done.
    #[error("Key Vault cannot be reached: {reason}")]
    Unreachable {
        /// What the network said.
        reason: String,
    },
    /// There is no token to present.
    #[error("{reason}; --azure-identity names it")]
    NoIdentity {
        /// What was tried.
        reason: String,
    },
    /// The vault asks for a token for someone else.
    #[error(
        "the vault requests a token for another domain than its own: {reason}. If it is an \
         emulator, set KEY_VAULT_EMULATOR=true; otherwise do not trust this address"
    )]
    ForeignChallenge {
        /// What the SDK said.
        reason: String,
    },
    /// Any other refusal.
    #[error("Key Vault refuses to {operation} ({status} {code})")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// The HTTP status.
        status: u16,
        /// The service's own word for it.
        code: String,
    },
    /// The answer is not one of Key Vault's.
    #[error("unexpected answer; is the URL that of a Key Vault?")]
    NotKeyVault,
}

/// What is asked of the service: for messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) action: &'static str,
}

impl KeyVaultError {
    /// Reads an error of the SDK.
    pub(super) fn from_sdk(operation: Operation, error: &azure_core::Error) -> Self {
        match error.kind() {
            ErrorKind::HttpResponse {
                status,
                raw_response,
                ..
            } => {
                let body = raw_response.as_ref().map(|raw| raw.body().as_ref());
                let wait = raw_response
                    .as_ref()
                    .and_then(|raw| retry_after(raw.headers(), OffsetDateTime::now_utc()));
                Self::from_answer(
                    operation,
                    u16::from(*status),
                    &Codes::read(body.unwrap_or_default()),
                    wait,
                )
            }
            ErrorKind::Credential => Self::NoIdentity {
                reason: in_one_line(error),
            },
            ErrorKind::Connection | ErrorKind::Io => Self::Unreachable {
                reason: in_one_line(error),
            },
            _ => {
                let reason = in_one_line(error);
                // The SDK has no kind for it.
                if reason.contains("challenge") {
                    Self::ForeignChallenge { reason }
                } else {
                    tracing::debug!(%reason, "not an answer from Key Vault");
                    Self::NotKeyVault
                }
            }
        }
    }

    fn from_answer(
        operation: Operation,
        status: u16,
        codes: &Codes,
        retry_after: Option<Duration>,
    ) -> Self {
        let code = codes.most_exact();
        match (status, code.as_str()) {
            (404, _) => Self::NotFound,
            (403, "SecretDisabled") => Self::Disabled,
            (403, _) => Self::Forbidden {
                operation: operation.name,
                action: operation.action,
                code,
            },
            (401, _) => Self::Unauthenticated,
            (409, "ObjectIsDeletedButRecoverable") => Self::DeletedButRecoverable,
            (409, _) => Self::Busy { code },
            (429, _) => Self::Throttled { retry_after },
            (408 | 500..=599, _) => Self::Server {
                status,
                code,
                retry_after,
            },
            _ => Self::Refused {
                operation: operation.name,
                status,
                code,
            },
        }
    }

    /// How long to wait before another try, the `tries`-th after the first, can help;
    /// nothing if it cannot. The service's own delay goes before ours.
    pub(super) fn wait(&self, tries: u32) -> Option<Duration> {
        let doubled = |first: u64| Duration::from_millis(first << tries.min(5));
        match self {
            // What the service's documentation asks for: 1, 2, 4, 8, 16 s.
            Self::Throttled { retry_after } => Some(retry_after.unwrap_or(doubled(1_000))),
            Self::Server { retry_after, .. } => Some(retry_after.unwrap_or(doubled(200))),
            Self::TimedOut { .. } | Self::Unreachable { .. } => Some(doubled(200)),
            Self::Busy { .. } => Some(doubled(500)),
            _ => None,
        }
    }

    /// Whether the secret may be a disabled one: emulators refuse without saying why.
    pub(super) fn may_be_disabled(&self) -> bool {
        match self {
            Self::Disabled => true,
            Self::Forbidden { code, .. } => code == "Forbidden",
            _ => false,
        }
    }

    /// Whether Key Vault says that it is doing something with the secret right now.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Busy { code }
            if code == "ObjectIsBeingDeleted" || code == "ObjectIsBeingRecovered")
    }
}

impl From<KeyVaultError> for VaultError {
    fn from(error: KeyVaultError) -> Self {
        match error {
            KeyVaultError::NotFound => Self::NotFound,
            KeyVaultError::DeletedButRecoverable => Self::Deleted,
            KeyVaultError::Forbidden { .. }
            | KeyVaultError::Disabled
            | KeyVaultError::Unauthenticated
            | KeyVaultError::ForeignChallenge { .. }
            | KeyVaultError::Refused { .. } => Self::Denied {
                reason: error.to_string(),
            },
            KeyVaultError::Busy { .. }
            | KeyVaultError::Throttled { .. }
            | KeyVaultError::Server { .. }
            | KeyVaultError::TimedOut { .. }
            | KeyVaultError::Unreachable { .. }
            | KeyVaultError::NoIdentity { .. }
            | KeyVaultError::NotKeyVault => Self::Unavailable {
                source: Box::new(error),
            },
        }
    }
}

/// The codes in the body of an error, from the outermost to the innermost.
#[derive(Default)]
struct Codes(Vec<String>);

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Deserialize)]
struct ErrorDetail {
    code: Option<String>,
    innererror: Option<Box<ErrorDetail>>,
}

impl Codes {
    /// The longest code that is shown, in characters: a proxy may send anything.
    const LONGEST: usize = 64;

    fn read(body: &[u8]) -> Self {
        let Ok(body) = serde_json::from_slice::<ErrorBody>(body) else {
            return Self::default();
        };
        let mut codes = Vec::new();
        let mut next = Some(body.error);
        while let Some(detail) = next {
            let plain = |code: &String| {
                code.len() <= Self::LONGEST && code.bytes().all(|b| b.is_ascii_alphanumeric())
            };
            codes.extend(detail.code.filter(plain));
            next = detail.innererror.map(|inner| *inner);
        }
        Self(codes)
    }

    fn most_exact(&self) -> String {
        self.0
            .last()
            .cloned()
            .unwrap_or_else(|| "no code".to_owned())
    }
}

/// The wait that the service asks for: in milliseconds, in seconds or as a date
/// (RFC 9110 section 10.2.3).
fn retry_after(headers: &Headers, now: OffsetDateTime) -> Option<Duration> {
    const MILLISECONDS: [HeaderName; 2] = [
        HeaderName::from_static("retry-after-ms"),
        HeaderName::from_static("x-ms-retry-after-ms"),
    ];
    let milliseconds = MILLISECONDS
        .iter()
        .filter_map(|name| headers.get_optional_str(name)?.trim().parse().ok())
        .map(Duration::from_millis)
        .next();
    let wait = milliseconds.or_else(|| {
        let text = headers.get_optional_str(&RETRY_AFTER)?.trim();
        match text.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => {
                let date = parse_rfc7231(text).ok()?;
                Some(Duration::try_from(date - now).unwrap_or(Duration::ZERO))
            }
        }
    })?;
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Operation = Operation {
        name: "read a secret",
        action: "secrets/getSecret",
    };

    fn answer(status: u16, body: &str) -> KeyVaultError {
        KeyVaultError::from_answer(READ, status, &Codes::read(body.as_bytes()), None)
    }

    #[test]
    fn the_innermost_code_decides() {
        let body = r#"{"error":{"code":"Conflict","message":"x","innererror":{"code":"ObjectIsDeletedButRecoverable"}}}"#;
        assert_eq!(answer(409, body), KeyVaultError::DeletedButRecoverable);
        let body = r#"{"error":{"code":"Forbidden","innererror":{"code":"ForbiddenByRbac"}}}"#;
        let error = answer(403, body);
        let text = error.to_string();
        assert!(
            text.contains("ForbiddenByRbac") && text.contains("secrets/getSecret"),
            "{text}"
        );
        assert!(matches!(VaultError::from(error), VaultError::Denied { .. }));
        let body = r#"{"error":{"code":"Forbidden","innererror":{"code":"SecretDisabled"}}}"#;
        assert_eq!(answer(403, body), KeyVaultError::Disabled);
    }

    #[test]
    fn no_error_code_is_taken_from_a_foreign_body() {
        for body in [
            "",
            "<html>",
            "[]",
            r#"{"error":{"code":"a secret value!"}}"#,
        ] {
            let KeyVaultError::Server { code, .. } = answer(502, body) else {
                panic!("{body}");
            };
            assert_eq!(code, "no code");
        }
    }

    #[test]
    fn retry_after_takes_precedence_over_our_delay() {
        let now = parse_rfc7231("Wed, 21 Oct 2026 07:28:00 GMT").unwrap();
        for (name, value, wait) in [
            ("retry-after", "7", 7_000),
            ("retry-after", "Wed, 21 Oct 2026 07:28:09 GMT", 9_000),
            ("retry-after", "Wed, 21 Oct 2026 07:27:00 GMT", 0),
            ("retry-after-ms", "250", 250),
            ("x-ms-retry-after-ms", "260", 260),
            ("retry-after", "999999", 120_000),
        ] {
            let mut headers = Headers::new();
            headers.insert(HeaderName::from(name), value);
            let read = retry_after(&headers, now);
            assert_eq!(read, Some(Duration::from_millis(wait)), "{name}: {value}");
        }
        assert_eq!(retry_after(&Headers::new(), now), None);
        let asked = KeyVaultError::Throttled {
            retry_after: Some(Duration::from_secs(3)),
        };
        assert_eq!(asked.wait(4), Some(Duration::from_secs(3)));
        let not_asked = KeyVaultError::Throttled { retry_after: None };
        let waits: Vec<u64> = (0..5)
            .filter_map(|n| not_asked.wait(n))
            .map(|w| w.as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16]);
        assert_eq!(KeyVaultError::NotFound.wait(0), None);
    }
}
