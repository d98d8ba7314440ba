//! FreeOTP+'s JSON export, and FreeOTP's tokens. Secrets are lists of signed bytes.

use data_encoding::BASE32_NOPAD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::member::{self, Member};
use super::outline::Outline;
use super::shapes::Number;
use super::{ImportEntry, joined_name, parse};
use crate::otpauth::Fields;
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::FreeOtpPlus;

#[derive(Deserialize)]
struct Export {
    tokens: Vec<Member<Token>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    r#type: Option<String>,
    algo: Option<String>,
    #[serde(default)]
    digits: Number,
    #[serde(default)]
    period: Number,
    issuer_ext: Option<String>,
    issuer_int: Option<String>,
    /// What the person has changed it to.
    issuer_alt: Option<String>,
    label: Option<String>,
    label_alt: Option<String>,
    secret: Vec<i16>,
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let export: Export = parse(text, FORMAT)?;
    Ok(member::accounts(&export.tokens, FORMAT, entry))
}

/// A token as FreeOTP keeps each in a text of its own; nothing for another text.
pub(super) fn token(text: &str) -> Option<ImportEntry> {
    let outline: Outline = serde_json::from_str(text).ok()?;
    if !outline.has(&["secret", "type"]) && !outline.has(&["secret", "label"]) {
        return None;
    }
    let token: Member<Token> = serde_json::from_str(text).ok()?;
    member::accounts(&[token], FORMAT, entry).into_iter().next()
}

fn entry(token: &Token) -> ImportEntry {
    let said = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let issuer = said(&token.issuer_alt)
        .or_else(|| said(&token.issuer_ext))
        .or_else(|| said(&token.issuer_int))
        .unwrap_or_default();
    let account_name = said(&token.label_alt)
        .or_else(|| said(&token.label))
        .unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(token.secret.len()));
    for byte in &token.secret {
        let Some(byte) = i8::try_from(*byte)
            .map(i8::cast_unsigned)
            .ok()
            .or_else(|| u8::try_from(*byte).ok())
        else {
            return ImportEntry::refused(
                &joined_name(&issuer, &account_name),
                InputProblem::EntryMalformed { format: FORMAT },
            );
        };
        bytes.push(byte);
    }
    let secret = Zeroizing::new(BASE32_NOPAD.encode(&bytes));
    let kind = token.r#type.as_deref().unwrap_or_default();
    // The app makes Steam's codes for everything whose issuer is called so.
    let is_steam = kind.eq_ignore_ascii_case("totp")
        && [&token.issuer_ext, &token.issuer_int]
            .iter()
            .any(|issuer| issuer.as_deref() == Some("Steam"));
    let fields = Fields {
        kind: if is_steam { "steam" } else { kind },
        issuer: &issuer,
        account_name: &account_name,
        secret: &secret,
        algorithm: token.algo.as_deref().unwrap_or_default(),
        digits: token.digits.0,
        period: token.period.0,
    };
    ImportEntry::fields(&joined_name(&issuer, &account_name), &fields)
}
