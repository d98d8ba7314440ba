//! Mandates: what the front door has accepted.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use countersign_enrollment::account::AccountPreview;
use countersign_enrollment::account_request::RequestKind;
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::mandate::Digest;
use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The version of mandates and decisions that this release writes and reads.
pub const VERSION: u32 = 1;

/// A text is not a random id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an id of 32 hexadecimal digits")]
pub struct NotAnId;

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The id with these 16 random bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(data_encoding::HEXLOWER.encode(&bytes))
            }

            /// The id as text, 32 hexadecimal digits.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let bytes = HEXLOWER_PERMISSIVE
                    .decode(text.as_bytes())
                    .map_err(|_| NotAnId)?;
                bytes.try_into().map(Self::from_bytes).map_err(|_| NotAnId)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

random_id! {
    /// The random name of one ledger. A mandate is valid only with the ledger that it names.
    LedgerId
}
random_id! {
    /// The random name of one run: of what one accepted submission started. The same
    /// enrollment submitted again is another run.
    RunId
}

/// Everything that the front door has accepted, in the form that is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mandate {
    /// [`VERSION`].
    pub v: u32,
    /// The ledger that it is recorded in.
    pub ledger: LedgerId,
    /// The enrollment, import or request.
    pub id: String,
    /// The run.
    pub run: RunId,
    /// What to do.
    pub act: MandatedAct,
    /// Who must approve.
    pub terms: Terms,
    /// The requester.
    pub requested_by: CallerId,
    /// The person behind the requester's credential: equal for credentials that one
    /// person may hold, and otherwise meaningless.
    #[serde(rename = "hand")]
    pub person: String,
    /// The requester's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The server's rules at that time, in words.
    pub policy: String,
    /// When it was accepted.
    pub issued_at: DateTime<Utc>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "deed",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum MandatedAct {
    /// Enroll what was uploaded, under the mandate's id.
    Enroll {
        /// The digest of the sealed image or URI.
        source: Digest,
        /// Whether the requester must prove the account before anyone gets its codes.
        prove: bool,
        /// Whether another installation has sealed the source.
        received: bool,
        /// Whether it is for a login to Steam, whatever the source says.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        steam: bool,
        /// Whether to refuse it if an account with the same content is in use.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unless_there: bool,
        /// The digest of the sealed recovery codes that came with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recovery: Option<Digest>,
    },
    /// Enroll the accounts of some files.
    Import {
        /// The digests of the sealed sources.
        sources: Vec<Digest>,
        /// The digest of the sealed key that ids are derived with.
        key: Digest,
        /// Which accounts, by position from 1; all if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pick: Option<Vec<u32>>,
        /// Whether it is a dry run.
        dry_run: bool,
        /// Whether to skip accounts whose content is there under another name.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        skip_same: bool,
    },
    /// Act on an account in the vault.
    Request {
        /// The account.
        account: EnrollmentId,
        /// The act.
        act: RequestKind,
        /// The account's labels and parameters, as in the vault.
        preview: AccountPreview,
        /// The fingerprint of its secret, as in the vault.
        fingerprint: String,
    },
}

/// Who must approve, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Terms {
    /// How many people; none if 0.
    pub needed: u8,
    /// The groups whose members must; any approver if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// The deadline for a decision.
    pub deadline: DateTime<Utc>,
    /// Whether to send notices when it is pending and when it ends.
    pub notify: bool,
    /// How many reminders may be sent in the meantime.
    #[serde(default)]
    pub reminders: u8,
}

impl Mandate {
    /// The kind of mandate, as named to people and in notices.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match &self.act {
            MandatedAct::Enroll { .. } | MandatedAct::Import { .. } => "enroll",
            MandatedAct::Request { act, .. } => act.kind(),
        }
    }
}
