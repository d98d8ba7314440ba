//! Authy's tokens, as its app keeps them on a phone and as tools print them that have decrypted
//! them. Authy itself exports nothing.

use data_encoding::{BASE32_NOPAD, HEXLOWER_PERMISSIVE};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::member::{self, Member};
use super::shapes::{Number, SecretText};
use super::{ImportEntry, joined_name, parse};
use crate::account::after_issuer;
use crate::otpauth::Fields;
use crate::problem::{ImportFormat, InputProblem, kinds};

const FORMAT: ImportFormat = ImportFormat::Authy;
/// How long the codes of Authy's own accounts are valid, in seconds.
const OWN_PERIOD: u64 = 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    name: Option<String>,
    original_name: Option<String>,
    original_issuer: Option<String>,
    issuer: Option<String>,
    /// In base32.
    #[serde(default, alias = "decryptedSeed")]
    decrypted_secret: SecretText,
    /// In hexadecimal digits: of an account of Authy's own.
    #[serde(default)]
    secret_seed: SecretText,
    #[serde(default)]
    digits: Number,
    #[serde(default)]
    period: Number,
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let tokens: Vec<Member<Token>> = parse(text, FORMAT)?;
    Ok(member::accounts(&tokens, FORMAT, entry))
}

fn entry(token: &Token) -> ImportEntry {
    let said = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default().trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    let shown = said(&token.name).or_else(|| said(&token.original_name));
    let shown = shown.unwrap_or_default();
    let (issuer, account_name) = if token.secret_seed.expose().is_empty() {
        let scanned = said(&token.original_name);
        let scanned = scanned.as_deref().and_then(|name| name.split_once(':'));
        let issuer = said(&token.original_issuer)
            .or_else(|| said(&token.issuer))
            .or_else(|| scanned.map(|(issuer, _)| issuer.trim().to_owned()))
            .unwrap_or_default();
        let rest = after_issuer(&shown, &issuer).unwrap_or_else(|| shown.clone());
        (issuer, rest)
    } else {
        (shown, String::new())
    };
    let name = joined_name(&issuer, &account_name);
    let (secret, period) = match (
        token.decrypted_secret.expose(),
        token.secret_seed.expose().trim(),
    ) {
        ("", "") => {
            let what = kinds::AUTHY_TOKEN.to_owned();
            return ImportEntry::refused(&name, InputProblem::ImportUnsupported { what });
        }
        ("", seed) => match HEXLOWER_PERMISSIVE.decode(seed.as_bytes()) {
            Ok(bytes) => {
                let bytes = Zeroizing::new(bytes);
                let secret = Zeroizing::new(BASE32_NOPAD.encode(&bytes));
                (secret, token.period.0.or(Some(OWN_PERIOD)))
            }
            Err(_) => {
                let problem = InputProblem::EntryMalformed { format: FORMAT };
                return ImportEntry::refused(&name, problem);
            }
        },
        (secret, _) => (Zeroizing::new(secret.to_owned()), token.period.0),
    };
    let fields = Fields {
        issuer: &issuer,
        account_name: &account_name,
        secret: &secret,
        digits: token.digits.0,
        period,
        ..Fields::default()
    };
    ImportEntry::fields(&name, &fields)
}
