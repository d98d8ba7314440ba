//! An account on its way to another installation.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

use crate::mandate::Digest;
use crate::recovery::MovedCodes;
use crate::sealed::{self, MalformedEnvelope, OtpauthText, Sealable, Sealed};

/// What stands between an account and its recovery codes. No envelope has it.
const BETWEEN: char = '+';

/// An account that is sealed for another installation, with its recovery codes if it has any.
///
/// It is one text, so that nobody hands over a part of it: the account's envelope, and that of
/// its recovery codes after a `+`. The account's envelope names the other, so a package that was
/// cut, or put together from two, is noticed. A release that knows no recovery codes takes it
/// for no package, rather than leave them out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// The account's URI.
    pub account: Sealed<PackedAccount>,
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

/// The account in a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedAccount {
    /// Its URI.
    pub uri: OtpauthText,
    /// The digest of the envelope with its recovery codes, if it has any.
    pub recovery: Option<Digest>,
}

impl Sealable for PackedAccount {
    // Without recovery codes it is a URI that was sealed for another installation, as earlier
    // releases wrote it.
    const PURPOSE: &'static str = OtpauthText::PURPOSE;

    fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        let recovery = self.recovery.as_ref().map_or("", Digest::as_str);
        sealed::join(self.uri.to_plaintext(), recovery.as_bytes())
    }

    fn from_plaintext(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        let (uri, recovery) = sealed::split(&bytes)?;
        let recovery = match std::str::from_utf8(&recovery).ok()? {
            "" => None,
            digest => Some(Digest::from_text(digest)?),
        };
        Some(Self {
            uri: OtpauthText::from_plaintext(uri)?,
            recovery,
        })
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
