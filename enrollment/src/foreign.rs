//! Texts that are not otpauth URIs, recognized by how they begin: what people photograph
//! or paste instead, and what to do about it.

use serde::{Deserialize, Serialize};

use crate::text;

/// How an export of Google Authenticator begins.
const GOOGLE_SCHEME: &str = "otpauth-migration:";

/// Whether a text says that it is an export of Google Authenticator.
#[must_use]
pub fn is_google_export(text: &str) -> bool {
    text.trim_start()
        .get(..GOOGLE_SCHEME.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(GOOGLE_SCHEME))
}

/// What kind of text was sent instead of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ForeignKind {
    /// Access to a wireless network.
    Wifi,
    /// A web address.
    Url,
    /// A login of WhatsApp's web page.
    Whatsapp,
    /// A login of another program's page: Telegram, Signal, Discord, Steam, a passkey.
    Login,
    /// A registration that only Microsoft Authenticator understands.
    MicrosoftAuthenticator,
    /// A registration that only another vendor's app understands: Duo, Okta Verify, RSA
    /// SecurID, Entrust, Symantec VIP.
    VendorAuthenticator,
    /// A contact, an appointment, a telephone number, an e-mail address.
    Contact,
    /// A payment or a bank's code.
    Payment,
    /// A mobile network's eSIM.
    Esim,
    /// What seems to be a secret alone, without its URI.
    BareSecret,
    /// A QR code that is drawn with characters, as in a terminal.
    DrawnCode,
    /// Anything else.
    #[default]
    Other,
}

/// Beginnings in lower case, and what they mean. Earlier ones count first.
const BEGINNINGS: &[(&str, ForeignKind)] = &[
    ("wifi:", ForeignKind::Wifi),
    ("phonefactor:", ForeignKind::MicrosoftAuthenticator),
    (
        "microsoft-authenticator:",
        ForeignKind::MicrosoftAuthenticator,
    ),
    (
        "https://login.microsoftonline.com/authenticatorapp",
        ForeignKind::MicrosoftAuthenticator,
    ),
    ("duo://", ForeignKind::VendorAuthenticator),
    ("oktaverify:", ForeignKind::VendorAuthenticator),
    ("com-okta-authenticator:", ForeignKind::VendorAuthenticator),
    ("com.rsa.securid", ForeignKind::VendorAuthenticator),
    ("http://127.0.0.1/securid", ForeignKind::VendorAuthenticator),
    ("igmobileotp:", ForeignKind::VendorAuthenticator),
    ("vip://", ForeignKind::VendorAuthenticator),
    ("2@", ForeignKind::Whatsapp),
    ("https://wa.me/", ForeignKind::Whatsapp),
    ("fido:/", ForeignKind::Login),
    ("tg://", ForeignKind::Login),
    ("sgnl://", ForeignKind::Login),
    ("https://discord.com/ra/", ForeignKind::Login),
    ("https://discordapp.com/ra/", ForeignKind::Login),
    ("https://s.team/", ForeignKind::Login),
    ("begin:v", ForeignKind::Contact),
    ("mecard:", ForeignKind::Contact),
    ("mailto:", ForeignKind::Contact),
    ("tel:", ForeignKind::Contact),
    ("sms:", ForeignKind::Contact),
    ("smsto:", ForeignKind::Contact),
    ("geo:", ForeignKind::Contact),
    ("bcd\n", ForeignKind::Payment),
    ("bcd\r\n", ForeignKind::Payment),
    ("spc\n", ForeignKind::Payment),
    ("spc\r\n", ForeignKind::Payment),
    ("upi://", ForeignKind::Payment),
    ("bitcoin:", ForeignKind::Payment),
    ("ethereum:", ForeignKind::Payment),
    ("lpa:", ForeignKind::Esim),
    ("https://", ForeignKind::Url),
    ("http://", ForeignKind::Url),
    ("www.", ForeignKind::Url),
];

/// Secrets that services show are at least this long, in characters of base32.
const SHORTEST_SHOWN_SECRET: usize = 16;

impl ForeignKind {
    /// Tells the kind of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let text = text::trim(text);
        // Only the beginning matters, and it is ASCII.
        let start: String = text
            .chars()
            .take(80)
            .map(|character| character.to_ascii_lowercase())
            .collect();
        let known = BEGINNINGS
            .iter()
            .find(|(beginning, _)| start.starts_with(beginning));
        match known {
            Some((_, kind)) => *kind,
            None if is_drawn_code(text) => Self::DrawnCode,
            None if text.lines().any(has_only_secret) => Self::BareSecret,
            None => Self::Other,
        }
    }

    /// What it is, as the end of a sentence that begins with "The QR code" or "The text".
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Wifi => "is for a wireless network, not for an authenticator",
            Self::Url => "is a web address, not an account for an authenticator",
            Self::Whatsapp => "is for linking WhatsApp, not for an authenticator",
            Self::Login => "logs in to another program and is not for an authenticator",
            Self::MicrosoftAuthenticator => "works only with the Microsoft Authenticator app",
            Self::VendorAuthenticator => "works only with its vendor's own app",
            Self::Contact => "contains contact details or an appointment, not an account",
            Self::Payment => "is for a payment, not for an authenticator",
            Self::Esim => "is for a mobile network's eSIM, not for an authenticator",
            Self::BareSecret => "seems to be only the secret, without its otpauth URI",
            Self::DrawnCode => {
                "is a QR code drawn with characters, which can only be read as an image"
            }
            Self::Other => "does not contain an authenticator account",
        }
    }

    /// What to try next, as a sentence; nothing where the kind says no more than that it
    /// is the wrong one.
    #[must_use]
    pub const fn next_step(self) -> Option<&'static str> {
        match self {
            Self::MicrosoftAuthenticator | Self::VendorAuthenticator => Some(
                "On the set-up page, choose to use a different authenticator app; it then shows a QR code that works here.",
            ),
            Self::Url => Some(
                "Open the address yourself if you trust it; if it leads to a set-up page, send the QR code shown there.",
            ),
            Self::BareSecret => Some(
                "Write it as otpauth://totp/NAME?secret=THE-SECRET&issuer=SERVICE, with the name and the service of the account.",
            ),
            Self::DrawnCode => {
                Some("Take a screenshot of it where it is shown as a QR code, and send that.")
            }
            _ => None,
        }
    }
}

/// Whether a text is a QR code that a program has drawn with characters: blocks, hashes, or
/// colors of a terminal.
fn is_drawn_code(text: &str) -> bool {
    /// The smallest QR code has 21 modules a side, two of which one line can show.
    const FEWEST_LINES: usize = 11;
    const FEWEST_COLUMNS: usize = 21;
    let is_block = |c: char| matches!(c, '\u{2580}'..='\u{259f}' | '\u{2800}'..='\u{28ff}');
    let is_ink =
        |c: char| is_block(c) || matches!(c, '#' | '@' | 'X' | '*' | '\u{25a0}' | '\u{25a1}');
    let is_row = |line: &str| {
        let colors = line.matches("\u{1b}[").count();
        let shown = without_colors(line);
        let is_drawn = shown.chars().any(is_ink)
            && shown.chars().all(|c| is_ink(c) || c.is_whitespace())
            && shown.chars().count() >= FEWEST_COLUMNS;
        is_drawn || colors >= FEWEST_COLUMNS / 4
    };
    let rows = text.lines().filter(|line| is_row(line)).count();
    let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
    rows >= FEWEST_LINES && rows * 3 >= lines * 2
}

/// A line without what colors a terminal.
fn without_colors(line: &str) -> String {
    let mut pieces = line.split("\u{1b}[");
    let mut shown = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        shown.push_str(piece.split_once('m').map_or("", |(_, rest)| rest));
    }
    shown
}

/// Whether a line is a secret alone, or behind a name.
fn has_only_secret(line: &str) -> bool {
    is_bare_secret(line) || is_bare_secret(after_name(line))
}

/// What follows the name that a person has put in front of a secret.
fn after_name(text: &str) -> &str {
    const LONGEST: usize = 40;
    match text.split_once([':', '=']) {
        Some((name, rest)) if name.len() <= LONGEST => text::trim(rest),
        _ => text,
    }
}

/// Whether a text is nothing but base32 of the length that services show, however it is
/// grouped. Words in small letters are none.
fn is_bare_secret(text: &str) -> bool {
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    let is_capital = !text.bytes().any(|byte| byte.is_ascii_lowercase());
    (has_digit || is_capital) && text::may_be_secret(text, SHORTEST_SHOWN_SECRET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_texts_are_distinguished() {
        for (text, kind) in [
            ("WIFI:S:guest;T:WPA;P:x;;", ForeignKind::Wifi),
            (" http://example.com", ForeignKind::Url),
            ("HTTPS://EXAMPLE.COM/", ForeignKind::Url),
            (
                "phonefactor://activate_account?code=1",
                ForeignKind::MicrosoftAuthenticator,
            ),
            (
                "https://login.microsoftonline.com/authenticatorApp?x=1",
                ForeignKind::MicrosoftAuthenticator,
            ),
            ("duo://abc-xyz", ForeignKind::VendorAuthenticator),
            ("oktaVerify://email/x", ForeignKind::VendorAuthenticator),
            ("2@abcdef,ghi,jkl", ForeignKind::Whatsapp),
            ("https://wa.me/qr/ABC", ForeignKind::Whatsapp),
            ("tg://login?token=x", ForeignKind::Login),
            ("FIDO:/0123456789", ForeignKind::Login),
            ("BEGIN:VCARD\nFN:A", ForeignKind::Contact),
            ("mailto:a@example.com", ForeignKind::Contact),
            ("BCD\n002\n1\nSCT", ForeignKind::Payment),
            ("LPA:1$smdp.example$X", ForeignKind::Esim),
            ("JBSW Y3DP EHPK 3PXP", ForeignKind::BareSecret),
            ("Setup key: JBSW Y3DP EHPK 3PXP", ForeignKind::BareSecret),
            ("secret=JBSWY3DPEHPK3PXP", ForeignKind::BareSecret),
            ("note: see below", ForeignKind::Other),
            (
                "gezd-gnbv-gy3t-qojq-gezd-gnbv-gy3t-qojq",
                ForeignKind::BareSecret,
            ),
            ("justalongwordwithoutdigits", ForeignKind::Other),
            ("JBSWY3DP", ForeignKind::Other),
            ("0123456789", ForeignKind::Other),
            ("", ForeignKind::Other),
        ] {
            assert_eq!(ForeignKind::of(text), kind, "{text}");
            assert!(!kind.description().is_empty());
        }
    }
}
