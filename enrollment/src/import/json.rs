//! Tells which program has written a JSON document by the members that it has.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::opening::Opening;
use super::shapes::{Outline, SecretText};
use super::{
    ImportEntry, MAX_ENTRIES, aegis, and_otp, authy, bitwarden, dashlane, duo, enpass, ente,
    free_otp_plus, gather, key_vault, listed, one_password, proton_authenticator, proton_pass,
    steam_mafile, stratum, totp_authenticator, two_fas, two_fauth,
};
use crate::problem::{ImportFormat, InputProblem, kinds};

type Read = Result<Vec<ImportEntry>, InputProblem>;
/// What a document is, with what is in it.
type ReadAs = Result<(ImportFormat, Vec<ImportEntry>), InputProblem>;

pub(super) fn read(text: &str, opening: &Opening<'_>) -> ReadAs {
    let documents = in_a_row(text);
    let first = documents.first().ok_or(InputProblem::ImportUnknown)?;
    let outline: Outline = serde_json::from_str(first).map_err(|_| InputProblem::ImportUnknown)?;
    let of = |text: &str, outline: &Outline| match text.starts_with('[') {
        true => read_list(text, outline),
        false => read_object(text, outline, opening),
    };
    if documents.len() == 1 {
        return of(first, &outline);
    }
    match of(first, &outline) {
        // The command line of Azure shows one secret after the other.
        Ok((ImportFormat::KeyVault, _)) | Err(InputProblem::ImportValuesMissing) => {
            Ok((ImportFormat::KeyVault, key_vault::read(text)?))
        }
        Ok((format @ (ImportFormat::UriList | ImportFormat::Bitwarden), _))
            if !outline.has(&["items"]) =>
        {
            Ok((format, read_lines(&documents, &of)?))
        }
        Err(InputProblem::ImportUnknown | InputProblem::ImportEmpty) => {
            Ok((ImportFormat::UriList, read_lines(&documents, &of)?))
        }
        // An export is one document.
        Ok((format, _)) => Err(InputProblem::ImportMalformed { format }),
        Err(problem) => Err(problem),
    }
}

/// The consecutive documents of a text. From one that is damaged on, each line counts as
/// one.
fn in_a_row(text: &str) -> Vec<&str> {
    let mut documents = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut from = 0;
    while let Some(Ok(_)) = stream.next() {
        let to = stream.byte_offset();
        documents.push(text[from..to].trim());
        from = to;
        if documents.len() > MAX_ENTRIES {
            break;
        }
    }
    let rest = text[from..].lines().map(str::trim);
    documents.extend(rest.filter(|line| !line.is_empty()).take(MAX_ENTRIES + 1));
    documents
}

/// Documents of accounts, one a line (JSON Lines). One without an account is passed over, and one
/// that is damaged is named.
fn read_lines(documents: &[&str], read: &dyn Fn(&str, &Outline) -> ReadAs) -> Read {
    let mut found = Vec::new();
    for (number, text) in (1..).zip(documents) {
        let entries = match serde_json::from_str::<Outline>(text) {
            Ok(outline) => read(text, &outline).map(|(_, entries)| entries),
            Err(_) => Err(InputProblem::ImportMalformed {
                format: ImportFormat::UriList,
            }),
        };
        match entries {
            Ok(entries) => found.extend(entries),
            Err(InputProblem::ImportUnknown | InputProblem::ImportEmpty) => {}
            Err(problem) if problem.ends_import() => return Err(problem),
            Err(problem) => {
                found.push(ImportEntry::new(
                    &format!("document {number}"),
                    Err(problem),
                ));
            }
        }
        if found.len() > MAX_ENTRIES {
            return Err(super::too_many());
        }
    }
    if found.iter().all(|entry| entry.content.is_err()) {
        return Err(InputProblem::ImportUnknown);
    }
    Ok(found)
}

fn read_list(text: &str, outline: &Outline) -> ReadAs {
    let as_a = |format: ImportFormat, read: &dyn Fn() -> Read| Ok((format, read()?));
    if let Ok(uris) = serde_json::from_str::<Vec<SecretText>>(text) {
        let entries = uris.iter().map(|uri| ImportEntry::text(uri.expose()));
        return Ok((ImportFormat::UriList, entries.collect()));
    }
    if outline.has(&["otpgenerator"]) || outline.has(&["accounttype", "pkey"]) {
        return as_a(ImportFormat::Duo, &|| duo::read(text));
    }
    if outline.has(&["accounttype", "digits"]) || outline.has(&["secretseed"]) {
        return as_a(ImportFormat::Authy, &|| authy::read(text));
    }
    if outline.has(&["key", "base"]) {
        let format = ImportFormat::TotpAuthenticator;
        return as_a(format, &|| totp_authenticator::read(text));
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
    if outline.has(&["login", "name", "reprompt"]) {
        return as_a(ImportFormat::Bitwarden, &|| bitwarden::read_items(text));
    }
    if outline.has(&["id"]) || outline.has(&["value"]) || outline.has(&["attributes"]) {
        return Ok((ImportFormat::KeyVault, key_vault::read(text)?));
    }
    Ok((ImportFormat::UriList, gather::read(text)?))
}

fn read_object(text: &str, outline: &Outline, opening: &Opening<'_>) -> ReadAs {
    use ImportFormat as F;
    let has = |names: &[&str]| outline.has(names);
    let inside = |member: &str, names: &[&str]| outline.has_inside(member, names);
    if has(&["encrypted", "passwords"]) && is_encrypted(text) {
        let what = kinds::ENCRYPTED_EXPORT.to_owned();
        return Err(InputProblem::ImportUnsupported { what });
    }
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
    } else if has(&["items"])
        || has(&["encrypted"]) && !has(&["passwords"])
        || has(&["login", "name", "reprompt"])
    {
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
        F::Bitwarden if has(&["login", "name"]) => bitwarden::read_items(text),
        F::Bitwarden => bitwarden::read(text, opening),
        F::Dashlane => dashlane::read(text),
        F::KeyVault => key_vault::read(text),
        _ => gather::read(text),
    }?;
    Ok((format, entries))
}

/// Whether an export says of itself that it is encrypted.
fn is_encrypted(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Export {
        encrypted: bool,
    }
    serde_json::from_str::<Export>(text).is_ok_and(|export| export.encrypted)
}

/// Whether a text is a JSON document, or several in a row.
pub(super) fn is_document(text: &str) -> bool {
    let mut documents = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    documents.next().is_some_and(|first| first.is_ok())
}
