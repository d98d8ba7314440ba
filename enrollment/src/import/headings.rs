//! What people and programs call a column or a field that holds what codes are made of.

/// Names of columns, letters and digits only, those that say most first.
pub(super) const CODES: [&str; 49] = [
    "otpauth",
    "otpurl",
    "otpuri",
    "otpauthurl",
    "otpauthuri",
    "totpurl",
    "totpuri",
    "logintotp",
    "totp",
    "totpauth",
    "otp",
    "otpsecret",
    "totpsecret",
    "totpkey",
    "otpkey",
    "totpseed",
    "2fa",
    "2fasecret",
    "twofactor",
    "twofactorsecret",
    "twofa",
    "mfa",
    "mfasecret",
    "authenticatorkey",
    "authenticatorkeytotp",
    "authenticator",
    "onetimepassword",
    "onetimepasswort",
    "onetimepasscode",
    "onetimecode",
    "twofactorauthentication",
    "twostepverification",
    "zweifaktor",
    "zweifaktorauthentifizierung",
    "zweifaktorauthentisierung",
    "einmalcode",
    "einmalpasswort",
    "einmalkennwort",
    "codeunique",
    "motdepasseunique",
    "doublefacteur",
    "doubleauthentification",
    "dosfactores",
    "duefattori",
    "secret",
    "seed",
    "geheimnis",
    "cléotp",
    "claveotp",
];
/// Words of which one is in what people call a column of codes, beside one of the next.
const STEMS: [&str; 16] = [
    "otp",
    "2fa",
    "mfa",
    "twofactor",
    "2factor",
    "zweifaktor",
    "2faktor",
    "twostep",
    "2step",
    "onetime",
    "einmal",
    "authenticator",
    "totp",
    "2facteurs",
    "authy",
    "2sv",
];
const TAILS: [&str; 19] = [
    "key",
    "secret",
    "seed",
    "code",
    "uri",
    "url",
    "token",
    "link",
    "schluessel",
    "schlüssel",
    "geheimnis",
    "base32",
    "setup",
    "clé",
    "cle",
    "clave",
    "chiave",
    "qr",
    "sleutel",
];
/// Words in the names of columns that say something about codes and hold none.
const ABOUT: [&str; 24] = [
    "recovery", "backup", "rescue", "scratch", "enabled", "active", "status", "type", "algo",
    "hash", "digit", "period", "interval", "length", "counter", "issuer", "name", "date",
    "created", "used", "method", "phone", "settings", "required",
];
/// Columns that can hold something else beside a column of codes.
pub(super) const GENERIC: [&str; 41] = [
    "secret",
    "seed",
    "geheimnis",
    "secretkey",
    "setupkey",
    "sharedsecret",
    "authkey",
    "base32",
    "base32secret",
    "secretbase32",
    "verificationkey",
    "manualkey",
    "manualentrykey",
    "key",
    "token",
    "code",
    "verificationcode",
    "schlüssel",
    "googleauthenticator",
    "microsoftauthenticator",
    "authenticatorapp",
    "gakey",
    "tokenseed",
    "seedtoken",
    "2fatotp",
    "totp2fa",
    "zweiterfaktor",
    "2faktor",
    "secondfactor",
    "2ndfactor",
    "segundofactor",
    "secondfacteur",
    "clavesecreta",
    "chiavesegreta",
    "clésecrète",
    "auth",
    "验证码",
    "密钥",
    "二段階認証",
    "секретныйключ",
    "двухфакторная",
];
/// Those of them that more often hold something else altogether, so that only a secret of the
/// usual length or a URI in them counts.
pub(super) const VAGUE: [&str; 28] = [
    "key",
    "token",
    "code",
    "verificationcode",
    "schlüssel",
    "googleauthenticator",
    "microsoftauthenticator",
    "authenticatorapp",
    "gakey",
    "tokenseed",
    "seedtoken",
    "2fatotp",
    "totp2fa",
    "zweiterfaktor",
    "2faktor",
    "secondfactor",
    "2ndfactor",
    "segundofactor",
    "secondfacteur",
    "clavesecreta",
    "chiavesegreta",
    "clésecrète",
    "auth",
    "验证码",
    "密钥",
    "二段階認証",
    "секретныйключ",
    "двухфакторная",
];
/// Letters and digits only, in lower case.
pub(super) fn folded(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// Whether a name, folded, is that of something that codes are made of.
pub(super) fn names_codes(name: &str) -> bool {
    /// A longer text is none that names a column.
    const LONGEST: usize = 40;
    if CODES.contains(&name) || GENERIC.contains(&name) {
        return true;
    }
    if name.len() > LONGEST || is_of_keepass(name) {
        return false;
    }
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    has(&STEMS) && has(&TAILS) && !has(&ABOUT)
}

/// Whether a name, folded, is that of one of KeePass's fields for its own codes, each of which is
/// encoded in its own way.
pub(super) fn is_of_keepass(name: &str) -> bool {
    name.starts_with("timeotp") || name.starts_with("hmacotp")
}
