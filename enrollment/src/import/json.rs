//! Tells which program has written a JSON document by the members that it has.

use serde::de::IgnoredAny;

use super::opening::Opening;
use super::shapes::{Outline, SecretText};
use super::{
    ImportEntry, aegis, and_otp, bitwarden, dashlane, enpass, ente, free_otp_plus, gather,
    key_vault, listed, one_password, proton_authenticator, proton_pass, steam_mafile, stratum,
    two_fas, two_fauth,
};
use crate::problem::{ImportFormat, InputProblem};

type Read = Result<Vec<ImportEntry>, InputProblem>;

pub(super) fn read(
    text: &str,
    opening: &Opening<'_>,
) -> Result<(ImportFormat, Vec<ImportEntry>), InputProblem> {
    // Several documents can stand in a row; the first tells what they are.
    let mut documents = serde_json::Deserializer::from_str(text).into_iter::<Outline>();
    let outline = match documents.next() {
        Some(Ok(outline)) => outline,
        _ => return Err(InputProblem::ImportUnknown),
    };
    let several = documents.next().is_some();
    if text.starts_with('[') {
        return read_list(text, &outline, several);
    }
    let (format, entries) = read_object(text, &outline, opening)?;
    // Only those of a Key Vault are shown one after the other.
    if several && format != ImportFormat::KeyVault {
        return Err(InputProblem::ImportMalformed { format });
    }
    Ok((format, entries))
}

fn read_list(
    text: &str,
    outline: &Outline,
    several: bool,
) -> Result<(ImportFormat, Vec<ImportEntry>), InputProblem> {
    let as_a = |format: ImportFormat, read: &dyn Fn() -> Read| {
        if several {
            return Err(InputProblem::ImportMalformed { format });
        }
        Ok((format, read()?))
    };
    if let Ok(uris) = serde_json::from_str::<Vec<SecretText>>(text) {
        let entries = uris.iter().map(|uri| ImportEntry::text(uri.expose()));
        return Ok((ImportFormat::UriList, entries.collect()));
    }
    if outline.has(&["secret", "kind"]) || outline.has(&["secret", "timer"]) {
        let raivo = ImportFormat::Raivo;
        return as_a(raivo, &|| listed::read(text, raivo));
    }
    if outline.has(&["secret", "algo"]) {
        let otp_client = ImportFormat::OtpClient;
        return as_a(otp_client, &|| listed::read(text, otp_client));
    }
    let is_and_otp = ["thumbnail", "last_used", "period", "digits", "tags"];
    let others = ["account", "name", "username"];
    if outline.has(&["secret", "label"])
        && is_and_otp.iter().any(|name| outline.has(&[name]))
        && !others.iter().any(|name| outline.has(&[name]))
    {
        return as_a(ImportFormat::AndOtp, &|| and_otp::read(text));
    }
    if outline.has(&["id"]) || outline.has(&["value"]) || outline.has(&["attributes"]) {
        return Ok((ImportFormat::KeyVault, key_vault::read(text)?));
    }
    Ok((ImportFormat::UriList, gather::read(text)?))
}

fn read_object(
    text: &str,
    outline: &Outline,
    opening: &Opening<'_>,
) -> Result<(ImportFormat, Vec<ImportEntry>), InputProblem> {
    use ImportFormat as F;
    let has = |names: &[&str]| outline.has(names);
    let inside = |member: &str, names: &[&str]| outline.has_inside(member, names);
    let format = if has(&["db", "header"]) {
        F::Aegis
    } else if has(&["servicesencrypted"]) || has(&["services"]) {
        F::TwoFas
    } else if has(&["app", "data"]) || inside("data", &["otp_type"]) {
        F::TwoFAuth
    } else if has(&["tokens"]) {
        F::FreeOtpPlus
    } else if has(&["authenticators"]) {
        F::Stratum
    } else if has(&["kdfparams", "encrypteddata"]) {
        F::Ente
    } else if inside("entries", &["content"]) || has(&["salt", "content"]) {
        F::ProtonAuthenticator
    } else if has(&["shared_secret"]) || inside("entries", &["encryption_iv", "steamid"]) {
        F::SteamMaFile
    } else if inside("accounts", &["vaults"]) {
        F::OnePassword
    } else if inside(
        "accounts",
        &["issuername", "originalissuername", "accountid"],
    ) {
        F::LastPassAuthenticator
    } else if has(&["vaults"]) {
        F::ProtonPass
    } else if inside("items", &["fields", "template_type", "subtitle"])
        && !inside("items", &["login", "reprompt"])
    {
        F::Enpass
    } else if has(&["items"]) || has(&["encrypted"]) {
        F::Bitwarden
    } else if has(&["authentifiant"]) {
        F::Dashlane
    } else if has(&["id", "value"]) || has(&["id", "attributes"]) {
        F::KeyVault
    } else {
        F::UriList
    };
    let entries = match format {
        F::Aegis => aegis::read(text, opening),
        F::TwoFas => two_fas::read(text, opening),
        F::TwoFAuth => two_fauth::read(text),
        F::FreeOtpPlus => free_otp_plus::read(text),
        F::Stratum => stratum::read(text),
        F::Ente => ente::open(text, opening),
        F::ProtonAuthenticator if has(&["content"]) => proton_authenticator::open(text, opening),
        F::ProtonAuthenticator => proton_authenticator::read(text),
        // The accounts are in files of their own, which can be encrypted.
        F::SteamMaFile if has(&["entries"]) => Err(InputProblem::ImportEncrypted { format }),
        F::SteamMaFile => steam_mafile::read(text),
        F::OnePassword => one_password::read(text),
        F::LastPassAuthenticator => listed::read_last_pass(text),
        F::ProtonPass => proton_pass::read(text),
        F::Enpass => enpass::read(text),
        F::Bitwarden => bitwarden::read(text, opening),
        F::Dashlane => dashlane::read(text),
        F::KeyVault => key_vault::read(text),
        _ => gather::read(text),
    }?;
    Ok((format, entries))
}

/// Whether a text is a JSON document, or several in a row.
pub(super) fn is_document(text: &str) -> bool {
    let mut documents = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    documents.next().is_some_and(|first| first.is_ok())
}
