//! Backups of 2FAS (`*.2fas`), not encrypted.

use serde::Deserialize;

use super::{ImportEntry, SecretText, joined_name, parse};
use crate::otpauth::Fields;
use crate::problem::{ImportFormat, InputProblem};

#[derive(Deserialize)]
struct Backup {
    services: Vec<Service>,
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
    digits: Option<u64>,
    period: Option<u64>,
    token_type: Option<String>,
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let backup: Backup = parse(text, ImportFormat::TwoFas)?;
    Ok(backup.services.iter().map(entry).collect())
}

fn entry(service: &Service) -> ImportEntry {
    let otp = &service.otp;
    let said = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    // The name of a service is what the user sees; the issuer is what its code said.
    let issuer = said(&otp.issuer)
        .or_else(|| said(&service.name))
        .unwrap_or_default();
    let account_name = said(&otp.account)
        .or_else(|| said(&otp.label))
        .unwrap_or_default();
    let fields = Fields {
        kind: otp.token_type.as_deref().unwrap_or_default(),
        issuer: &issuer,
        account_name: &account_name,
        secret: service.secret.expose(),
        algorithm: otp.algorithm.as_deref().unwrap_or_default(),
        digits: otp.digits,
        period: otp.period,
    };
    ImportEntry::fields(&joined_name(&issuer, &account_name), &fields)
}
