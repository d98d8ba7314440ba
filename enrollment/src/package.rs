//! An account on its way to another installation.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::recovery::MovedCodes;
use crate::sealed::{MalformedEnvelope, OtpauthText, Sealed};

/// What stands between an account and its recovery codes. No envelope has it.
const BETWEEN: char = '+';

/// An account that is sealed for another installation, with its recovery codes if it has any.
///
/// It is one text, so that nobody hands over a part of it: the account's envelope, and that of
/// its recovery codes after a `+`. A release that knows no recovery codes takes it for no
/// package, rather than leave them out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// The account's URI.
    pub account: Sealed<OtpauthText>,
    /// Its recovery codes.
    pub recovery: Option<Sealed<MovedCodes>>,
}

impl Package {
    /// The package that [`Package::to_text`] has written.
    ///
    /// # Errors
    ///
    /// [`MalformedEnvelope`] when it is none.
    pub fn from_text(text: &str) -> Result<Self, MalformedEnvelope> {
        let (account, recovery) = match text.split_once(BETWEEN) {
            Some((account, recovery)) => (account, Some(recovery)),
            None => (text, None),
        };
        Ok(Self {
            account: Sealed::from_text(account.to_owned())?,
            recovery: recovery
                .map(|text| Sealed::from_text(text.to_owned()))
                .transpose()?,
        })
    }

    /// The package as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let account = self.account.as_text();
        match &self.recovery {
            Some(recovery) => format!("{account}{BETWEEN}{}", recovery.as_text()),
            None => account.to_owned(),
        }
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl Serialize for Package {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Package {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_text(&text).map_err(de::Error::custom)
    }
}
