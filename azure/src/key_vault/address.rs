//! Where a vault is, and names in it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use url::Url;

/// Where vaults of the public cloud are.
const PUBLIC_SUFFIX: &str = "vault.azure.net";

/// The base URL of a Key Vault.
///
/// ```
/// use countersign_azure::VaultAddress;
///
/// let address = VaultAddress::from_name("team-codes")?;
/// assert_eq!(address.as_str(), "https://team-codes.vault.azure.net/");
/// assert_eq!("https://team-codes.vault.azure.net".parse(), Ok(address));
/// # Ok::<(), countersign_azure::key_vault::AddressError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct VaultAddress {
    url: Url,
}

/// What is wrong with a vault's name or URL.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// The name cannot be a vault's.
    #[error(
        "{0:?} cannot be the name of a Key Vault: a name has 3 to 24 letters, digits and single \
         hyphens, and begins with a letter"
    )]
    Name(String),
    /// The URL cannot be a vault's.
    #[error(
        "the URL of a Key Vault is https://NAME.vault.azure.net, without path, user or query; \
         emulators must use https too"
    )]
    Url,
}

impl VaultAddress {
    /// The vault with this name in Azure's public cloud.
    ///
    /// # Errors
    ///
    /// [`AddressError::Name`].
    pub fn from_name(name: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError::Name(name.to_owned());
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let fits = (3..=24).contains(&name.len())
            && name.bytes().all(allowed)
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
            && !name.ends_with('-')
            && !name.contains("--");
        if !fits {
            return Err(wrong());
        }
        format!("https://{}.{PUBLIC_SUFFIX}/", name.to_ascii_lowercase())
            .parse()
            .map_err(|_| wrong())
    }

    /// The base URL, with a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The vault or HSM of an object with this URL.
    pub(super) fn of(object: &Url) -> Option<Self> {
        let mut url = object.clone();
        url.set_path("/");
        url.as_str().parse().ok()
    }
}

impl FromStr for VaultAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let url = Url::parse(text).map_err(|_| AddressError::Url)?;
        let plain = url.scheme() == "https"
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none();
        if plain {
            Ok(Self { url })
        } else {
            Err(AddressError::Url)
        }
    }
}

impl fmt::Display for VaultAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for VaultAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of a secret: 1 to 127 of `0-9 A-Z a-z -`.
///
/// The SDK puts names into URLs as they are: `../keys/k` would ask for a key, and `a/b`
/// for a version of `a`. Only names of this type reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretName(String);

impl SecretName {
    /// The name, or nothing if it cannot be one.
    pub(super) fn new(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let fits = (1..=127).contains(&text.len()) && text.bytes().all(allowed);
        fits.then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_is_named_or_has_a_url() {
        for name in ["abc", "Team-Codes-1", "a23456789012345678901234"] {
            assert!(VaultAddress::from_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "ab",
            "a234567890123456789012345",
            "1abc",
            "abc-",
            "a--b",
            "a.b.c",
            "a/b/c",
            "abc.evil.example",
        ] {
            assert!(VaultAddress::from_name(name).is_err(), "{name}");
        }
        for url in [
            "https://x.vault.azure.net",
            "https://x.vault.usgovcloudapi.net/",
            "https://localhost:8443",
        ] {
            assert!(url.parse::<VaultAddress>().is_ok(), "{url}");
        }
        for url in [
            "http://x.vault.azure.net",
            "x.vault.azure.net",
            "https://x.vault.azure.net/secrets",
            "https://me:you@x.vault.azure.net/",
            "https://x.vault.azure.net/?a=b",
            "",
        ] {
            assert_eq!(url.parse::<VaultAddress>(), Err(AddressError::Url), "{url}");
        }
    }

    #[test]
    fn a_name_cannot_leave_its_path() {
        let longest = "a".repeat(127);
        for right in ["a", "totp-67e55044-10b1-426f-9247-bb680e5fe0c8", &longest] {
            assert_eq!(SecretName::new(right).unwrap().as_str(), right);
        }
        let too_long = "a".repeat(128);
        for wrong in [
            "",
            "../keys/k",
            "a/b",
            "a?b",
            "a%2fb",
            "a b",
            "ä",
            "a_b",
            &too_long,
        ] {
            assert_eq!(SecretName::new(wrong), None, "{wrong}");
        }
    }
}
