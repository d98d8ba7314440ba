//! What the front door has accepted.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use countersign_enrollment::account::AccountPreview;
use countersign_enrollment::account_request::Act;
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::mandate::Digest;
use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The version of mandates and decisions that this release writes and reads.
pub const VERSION: u32 = 1;

/// A text is no random id.
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
    /// The random name of one ledger. A mandate counts with the ledger that it names only.
    LedgerId
}
random_id! {
    /// The random name of one run: of what one accepted submission set off. The same
    /// enrollment submitted again is another run.
    RunId
}

/// What the front door has accepted, as a whole: what is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mandate {
    /// [`VERSION`].
    pub v: u32,
    /// The ledger that it is written in.
    pub ledger: LedgerId,
    /// The enrollment, import or request.
    pub id: String,
    /// Which run of it.
    pub run: RunId,
    /// What is to be done.
    pub act: MandatedAct,
    /// Who has to agree.
    pub terms: Terms,
    /// Who asked.
    pub requested_by: CallerId,
    /// From whose hand the requester's credential comes: equal for credentials that one
    /// person may hold, and otherwise without a meaning.
    pub hand: String,
    /// Why, as the requester says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The rules of the server that were in force, in words.
    pub policy: String,
    /// When it was accepted.
    pub issued_at: DateTime<Utc>,
}

/// What is to be done.
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
        /// Whether the requester has to prove the account before anyone gets its codes.
        prove: bool,
        /// Whether another installation has sealed the source.
        received: bool,
        /// Whether it is for a login to Steam, whatever the source says.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        steam: bool,
        /// Whether not to add it where an account with the same content is in use.
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
        /// Whether only to say what would be done.
        dry_run: bool,
        /// Whether to skip accounts whose content is there under another name.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        skip_same: bool,
    },
    /// Do something with an account that the vault has.
    Request {
        /// The account.
        account: EnrollmentId,
        /// What.
        act: Act,
        /// What may be shown of the account, as the vault had it.
        preview: AccountPreview,
        /// What tells its secret from any other, as the vault had it.
        fingerprint: String,
    },
}

/// Who has to agree, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Terms {
    /// How many people; nobody has to if 0.
    pub needed: u8,
    /// The groups whose members have to; anyone who may decide if none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// When it is too late for a decision.
    pub deadline: DateTime<Utc>,
    /// Whether to notify others of what is waited for and how it ends.
    pub notify: bool,
    /// How many reminders may be sent in the meantime.
    #[serde(default)]
    pub reminders: u8,
}

impl Mandate {
    /// The kind of what is to be done, as it is named to people and in notices.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match &self.act {
            MandatedAct::Enroll { .. } | MandatedAct::Import { .. } => "enroll",
            MandatedAct::Request { act, .. } => act.kind(),
        }
    }
}
