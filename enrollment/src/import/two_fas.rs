//! Backups of 2FAS (`*.2fas`), plain or encrypted: AES-256-GCM under a key that PBKDF2 makes
//! of the password. A reference that is encrypted the same way tells a wrong password from
//! damage.

use serde::Deserialize;

use super::member::{self, Member};
use super::opening::{Opening, base64, gcm, malformed, wrong, wrong_for_certain};
use super::shapes::{Number, SecretText};
use super::{ImportEntry, joined_name, parse};
use crate::account::after_issuer;
use crate::otpauth::{self, Fields};
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::TwoFas;
const ROUNDS: u32 = 10_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Backup {
    #[serde(default)]
    services: Vec<Member<Service>>,
    services_encrypted: Option<String>,
    reference: Option<String>,
}

#[derive(Deserialize)]
struct Service {
    name: Option<String>,
    #[serde(default)]
    secret: SecretText,
    #[serde(default)]
    otp: Otp,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Otp {
    account: Option<String>,
    label: Option<String>,
    issuer: Option<String>,
    algorithm: Option<String>,
    #[serde(default)]
    digits: Number,
    #[serde(default)]
    period: Number,
    token_type: Option<String>,
    /// The URI that it was scanned from. Earlier releases of the app kept nothing else of it.
    #[serde(default)]
    link: SecretText,
}

pub(super) fn read(text: &str, opening: &Opening<'_>) -> Result<Vec<ImportEntry>, InputProblem> {
    let backup: Backup = parse(text, FORMAT)?;
    let Some(sealed) = backup.services_encrypted.filter(|text| !text.is_empty()) else {
        return Ok(member::accounts(&backup.services, FORMAT, entry));
    };
    let password = opening.password(FORMAT)?;
    let opened = match open(&sealed, password, opening)? {
        Some(opened) => opened,
        None => {
            let reference = backup.reference.as_deref();
            let reference = reference.map(|sealed| open(sealed, password, opening));
            return Err(match reference.transpose()? {
                Some(Some(_)) => malformed(FORMAT),
                Some(None) => wrong_for_certain(FORMAT),
                None => wrong(FORMAT),
            });
        }
    };
    let services: Vec<Member<Service>> =
        serde_json::from_slice(&opened).map_err(|_| malformed(FORMAT))?;
    Ok(member::accounts(&services, FORMAT, entry))
}

/// Opens `ciphertext:salt:nonce`; nothing if the key is another one.
fn open(
    sealed: &str,
    password: &str,
    opening: &Opening<'_>,
) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, InputProblem> {
    let mut parts = sealed.split(':').map(base64);
    let mut next = || parts.next().flatten().ok_or(malformed(FORMAT));
    let (ciphertext, salt, nonce) = (next()?, next()?, next()?);
    let key = opening.pbkdf2_sha256(password.as_bytes(), &salt, ROUNDS, FORMAT)?;
    Ok(gcm(&*key, &nonce, &ciphertext, b""))
}

fn entry(service: &Service) -> ImportEntry {
    let otp = &service.otp;
    let said = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    // The name of a service is what the person sees; the issuer is what its code said.
    let issuer = said(&service.name)
        .or_else(|| said(&otp.issuer))
        .unwrap_or_default();
    // A label begins with the issuer that the code said, whatever the service is called.
    let label = said(&otp.label).map(|label| {
        let rest = said(&otp.issuer).and_then(|issuer| after_issuer(&label, &issuer));
        rest.unwrap_or(label)
    });
    let account_name = said(&otp.account).or(label).unwrap_or_default();
    let kind = otp.token_type.as_deref().unwrap_or_default();
    let name = joined_name(&issuer, &account_name);
    // What the app does not say in fields of its own is as the link says.
    let silent = otp.algorithm.is_none() || otp.digits.0.is_none() || otp.period.0.is_none();
    let linked = match otpauth::is_meant(otp.link.expose()) && silent {
        true => match otpauth::parse(otp.link.expose()) {
            Ok(parsed) => Some(parsed.account.parameters()),
            Err(problem) => {
                return ImportEntry::new(&name, Err(problem));
            }
        },
        false => None,
    };
    let as_linked = linked.filter(|linked| !linked.is_steam());
    let fields = Fields {
        kind: match linked {
            Some(linked) if linked.is_steam() && kind.is_empty() => "steam",
            _ => kind,
        },
        issuer: &issuer,
        account_name: &account_name,
        secret: service.secret.expose(),
        algorithm: otp
            .algorithm
            .as_deref()
            .or(as_linked.map(|linked| linked.algorithm().as_str()))
            .unwrap_or_default(),
        digits: otp
            .digits
            .0
            .or(as_linked.map(|linked| u64::from(linked.digits()))),
        period: otp
            .period
            .0
            .or(as_linked.map(|linked| u64::from(linked.period()))),
    };
    ImportEntry::fields(&name, &fields)
}
