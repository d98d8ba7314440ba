//! Callers.

use std::fmt;
use std::str::FromStr;

use countersign_enrollment::account::is_unprintable;
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use super::role::Roles;

/// The longest name of a group, in characters.
const MAX_GROUP_CHARS: usize = 128;

/// The name of a group of callers: API keys are put into groups when they are created, other
/// callers by their issuer's token. 1 to 128 characters, none of them a control character, and no
/// space at either end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(transparent)]
pub struct Group(String);

impl Group {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Group {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text is not a valid name of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a group's name must have 1 to {MAX_GROUP_CHARS} characters, without control or invisible \
     characters, and no space at either end"
)]
pub struct NotAGroup;

impl FromStr for Group {
    type Err = NotAGroup;

    fn from_str(text: &str) -> Result<Self, NotAGroup> {
        let fits = (1..=MAX_GROUP_CHARS).contains(&text.chars().count())
            && text.trim() == text
            && !text.chars().any(is_unprintable);
        fits.then(|| Self(text.to_owned())).ok_or(NotAGroup)
    }
}

impl<'de> Deserialize<'de> for Group {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The id under which its requests, decisions and audit entries are kept. No two callers have the
    /// same: an API key's is its name, and that of a caller with a token of
    /// another issuer has a `:`, which no name has.
    pub id: String,
    /// The display name. Two callers may have the same.
    pub display_name: String,
    /// What it may do.
    pub roles: Roles,
    /// The groups it is in.
    pub groups: Vec<Group>,
    pub(super) subject: Subject,
    /// Whether it reads only the accounts that are granted to it or to its groups.
    pub(super) granted_only: bool,
}

/// The credential behind the identity: needed to tie a session to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The administrator's token.
    Admin,
    /// The API key with this id.
    Key(String),
    /// A token of an issuer, which must be presented with each request.
    Token,
    /// Nothing, since access control is off.
    Open,
}

/// A caller, as grants refer to it.
#[derive(Clone, Copy, Debug)]
pub struct CallerRef<'a> {
    /// Its id.
    pub id: &'a str,
    /// The groups that it is in.
    pub groups: &'a [Group],
}

impl<'a> From<&'a Identity> for CallerRef<'a> {
    fn from(identity: &'a Identity) -> Self {
        Self {
            id: &identity.id,
            groups: &identity.groups,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_a_name_that_can_be_shown() {
        for right in ["ops", "Team Ops", "/teams/ops", "ä", &"x".repeat(128)] {
            assert_eq!(
                right.parse::<Group>().map(|g| g.to_string()),
                Ok(right.to_owned())
            );
        }
        for wrong in ["", " ops", "ops ", "a\nb", &"x".repeat(129)] {
            assert_eq!(wrong.parse::<Group>(), Err(NotAGroup), "{wrong:?}");
        }
    }
}
