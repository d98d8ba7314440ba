//! The canonical form of an account's URI.

use data_encoding::BASE32_NOPAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use crate::account::{Algorithm, TotpAccount, after_issuer};
use crate::sealed::Sealable;

/// What is escaped: everything but RFC 3986's unreserved characters and `@`. A space
/// is `%20`, never `+`, which would be read as itself in a label.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'@');

impl TotpAccount {
    /// The account as an otpauth URI in canonical form: it contains the secret.
    ///
    /// Parameters with usual values are left out; reading it gives the same account.
    #[must_use]
    pub fn to_uri(&self) -> Zeroizing<String> {
        export(self)
    }
}

impl Sealable for TotpAccount {
    const PURPOSE: &'static str = "account";

    fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.to_uri().as_bytes().to_vec())
    }

    fn from_plaintext(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        let text = std::str::from_utf8(&bytes).ok()?;
        super::parse_kept(text).ok().map(|parsed| parsed.account)
    }
}

fn export(account: &TotpAccount) -> Zeroizing<String> {
    let escape = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    let account_name = escape(account.account_name());
    let (prefix, issuer) = match account.issuer() {
        // Without an issuer, an empty prefix keeps a colon in the account name from
        // being taken for the separator.
        None if account.account_name().contains(':') => (":".to_owned(), String::new()),
        None => (String::new(), String::new()),
        Some(issuer) => {
            // A label's own issuer precedes the account name, if there is one.
            // Otherwise, readers disagree on an issuer with a colon in that place, so
            // there it is in the parameter only, unless the name alone would be read as
            // beginning with it.
            let seems_prefixed = || after_issuer(account.account_name(), issuer).is_some();
            let prefix = match account.labels().label_issuer() {
                Some(label_issuer) => format!("{}:", escape(label_issuer)),
                None if issuer.contains(':') && !seems_prefixed() => String::new(),
                None => format!("{}:", escape(issuer)),
            };
            (prefix, format!("&issuer={}", escape(issuer)))
        }
    };
    let parameters = account.parameters();
    let mut rest = issuer;
    if parameters.algorithm() != Algorithm::Sha1 {
        rest.push_str(&format!("&algorithm={}", parameters.algorithm().as_str()));
    }
    if !matches!(parameters.digits(), 6 | 5) {
        rest.push_str(&format!("&digits={}", parameters.digits()));
    }
    if parameters.period() != 30 {
        rest.push_str(&format!("&period={}", parameters.period()));
    }

    let secret = Zeroizing::new(BASE32_NOPAD.encode(account.secret().expose()));
    let kind = if parameters.is_steam() {
        "otpauth://steam/"
    } else {
        "otpauth://totp/"
    };
    let parts = [kind, &prefix, &account_name, "?secret=", &secret, &rest];
    // The exact capacity, so that no copy of the secret stays behind when it grows.
    let mut uri = Zeroizing::new(String::with_capacity(
        parts.iter().map(|part| part.len()).sum(),
    ));
    for part in parts {
        uri.push_str(part);
    }
    uri
}
