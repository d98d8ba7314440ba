//! Who calls and what they may do.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Starts enrollments and sees its own.
    Enroller,
    /// Sees every enrollment and decides those that wait for approval.
    Approver,
    /// Sees accounts and their codes.
    Reader,
    /// All of it.
    Admin,
}

impl Role {
    /// The name in commands, files and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enroller => "enroller",
            Self::Approver => "approver",
            Self::Reader => "reader",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        [Self::Enroller, Self::Approver, Self::Reader, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(UnknownRole)
    }
}

/// A text that names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a role: use enroller, approver, reader or admin")]
pub struct UnknownRole;

/// A caller that has proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name, as kept with what it starts and decides.
    pub name: String,
    /// What it may do.
    pub role: Role,
    pub(super) subject: Subject,
    /// The key whose grants say which accounts it may read; every one if none.
    pub(super) limited_to_grants_of: Option<String>,
}

/// What the identity was proved with: needed to tie a session to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The administrator's token.
    Admin,
    /// The API key with this id.
    Key(String),
    /// Nothing, since access control is off.
    Open,
}
