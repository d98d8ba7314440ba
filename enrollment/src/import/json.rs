//! Tells which program has written a JSON document by the members that it has.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::opening::Opening;
use super::outline::{Outline, Sketch, sketch};
use super::shapes::SecretText;
use super::{
    ImportEntry, MAX_ENTRIES, aegis, and_otp, authy, bitwarden, dashlane, duo, enpass, ente,
    free_otp_plus, gather, key_vault, listed, one_password, proton_authenticator, proton_pass,
    secret_names, steam_mafile, stratum, totp_authenticator, two_fas, two_fauth,
};
use crate::otpauth;
use crate::problem::{ImportFormat, InputProblem, kinds};

/// How much may stand in front of a document.
const MAX_BEFORE: usize = 200;
const MAX_LINES_BEFORE: usize = 3;

type Read = Result<Vec<ImportEntry>, InputProblem>;
/// What a document is, with what is in it.
type ReadAs = Result<(ImportFormat, Vec<ImportEntry>), InputProblem>;

pub(super) fn read(text: &str, opening: &Opening<'_>) -> ReadAs {
    let documents = in_a_row(text);
    let first = documents.first().ok_or(InputProblem::ImportUnknown)?;
    let Ok(outline) = serde_json::from_str::<Outline>(first) else {
        // The first of several, one a line, can be damaged as any other.
        let is_whole = |text: &&str| text.starts_with("{\"") && is_document(text);
        if first.starts_with("{\"") && documents.iter().skip(1).any(is_whole) {
            let of = |text: &str, outline: &Outline| read_object(text, outline, opening);
            return Ok((ImportFormat::UriList, read_lines(&documents, &of)?));
        }
        return Err(damaged(text).unwrap_or(InputProblem::ImportUnknown));
    };
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
            Err(_) => Err(InputProblem::EntryMalformed {
                format: ImportFormat::Json,
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

/// Whether an object is an account of Steam's, whose secret is in base64, and no other with a
/// shared secret.
fn is_mafile(outline: &Outline) -> bool {
    const STEAM: [&str; 9] = [
        "account_name",
        "steamid",
        "steam_id",
        "identity_secret",
        "revocation_code",
        "steamguard_scheme",
        "token_gid",
        "fully_enrolled",
        "session",
    ];
    let is_other = ["issuer", "digits", "period", "algorithm"];
    outline.has(&["shared_secret"])
        && STEAM.iter().any(|name| outline.has(&[name]))
        && !is_other.iter().any(|name| outline.has(&[name]))
}

/// What a list is, by the members of its first object.
fn kind_of_list(outline: &Outline) -> ImportFormat {
    use ImportFormat as F;
    let has = |names: &[&str]| outline.has(names);
    if has(&["otpgenerator"]) || has(&["accounttype", "pkey"]) {
        return F::Duo;
    }
    if has(&["accounttype", "digits"]) || has(&["secretseed"]) {
        return F::Authy;
    }
    if has(&["key", "base"]) {
        return F::TotpAuthenticator;
    }
    if has(&["secret", "account", "kind"]) || has(&["secret", "account", "timer"]) {
        return F::Raivo;
    }
    if is_mafile(outline) {
        return F::SteamMaFile;
    }
    if has(&["secret", "label", "algo"]) {
        return F::OtpClient;
    }
    let is_and_otp = ["thumbnail", "last_used", "period", "digits", "tags"];
    let others = ["account", "name", "username"];
    if has(&["secret", "label"])
        && is_and_otp.iter().any(|name| has(&[name]))
        && !others.iter().any(|name| has(&[name]))
    {
        return F::AndOtp;
    }
    if has(&["login", "name", "reprompt"]) {
        return F::Bitwarden;
    }
    if is_vault(outline) && !secret_names::is_among(outline.names.iter()) {
        return F::KeyVault;
    }
    F::Json
}

/// Whether an object is a secret of a Key Vault: it has what only those have, or nothing else.
/// Documents of many programs have an id and a value.
fn is_vault(outline: &Outline) -> bool {
    const OWN: [&str; 4] = ["attributes", "kid", "managed", "secretvaluetext"];
    const ALL: [&str; 6] = ["id", "name", "value", "tags", "contenttype", "vaultname"];
    let has = |name: &str| outline.has(&[name]);
    let is_own = (has("id") || has("name") || has("value")) && OWN.iter().any(|name| has(name));
    let is_all = outline
        .names
        .iter()
        .all(|name| ALL.contains(&name.as_str()));
    let has_value = has("value") && (has("id") || has("name") || has("tags"));
    is_own || is_all && (has_value || has("id") && has("tags"))
}

/// What a document is in which no account was found, if that is known.
fn unread(text: &str) -> Option<InputProblem> {
    // Their values are documents by themselves, whose quotes are escaped.
    let is_keycloak = text.contains("\"secretData\"") && text.contains("\"credentialData\"");
    is_keycloak.then(|| InputProblem::ImportUnsupported {
        what: kinds::KEYCLOAK.to_owned(),
    })
}

/// The accounts in a document of a program without a reader of its own.
fn gathered(text: &str) -> ReadAs {
    match gather::read(text) {
        Ok(entries) => Ok((ImportFormat::UriList, entries)),
        Err(InputProblem::ImportUnknown) => {
            Err(unread(text).unwrap_or(InputProblem::ImportUnknown))
        }
        Err(problem) => Err(problem),
    }
}

fn read_list(text: &str, outline: &Outline) -> ReadAs {
    use ImportFormat as F;
    if let Ok(uris) = serde_json::from_str::<Vec<SecretText>>(text) {
        let entries = uris.iter().map(|uri| ImportEntry::text(uri.expose()));
        return Ok((F::UriList, entries.collect()));
    }
    let format = kind_of_list(outline);
    let entries = match format {
        F::Duo => duo::read(text),
        F::Authy => authy::read(text),
        F::TotpAuthenticator => totp_authenticator::read(text),
        F::Raivo | F::OtpClient => listed::read(text, format),
        F::SteamMaFile => steam_mafile::read(text),
        F::AndOtp => and_otp::read(text),
        F::Bitwarden => bitwarden::read_items(text),
        F::KeyVault => key_vault::read(text),
        _ => return gathered(text),
    }?;
    Ok((format, entries))
}

/// What an object is, by its members.
fn kind_of_object(outline: &Outline) -> ImportFormat {
    use ImportFormat as F;
    let has = |names: &[&str]| outline.has(names);
    let inside = |member: &str, names: &[&str]| outline.has_inside(member, names);
    if has(&["db", "header"]) {
        F::Aegis
    } else if has(&["servicesencrypted"]) || has(&["services"]) {
        F::TwoFas
    } else if has(&["app", "data"]) || inside("data", &["otp_type"]) {
        F::TwoFAuth
    } else if is_mafile(outline) || inside("entries", &["encryption_iv", "steamid", "steam_id"]) {
        F::SteamMaFile
    } else if has(&["tokens"]) {
        F::FreeOtpPlus
    } else if has(&["authenticators"]) {
        F::Stratum
    } else if has(&["kdfparams", "encrypteddata"]) {
        F::Ente
    } else if inside("entries", &["content"]) || has(&["salt", "content"]) {
        F::ProtonAuthenticator
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
    } else if has(&["id"]) && is_vault(outline) {
        F::KeyVault
    } else {
        F::Json
    }
}

fn read_object(text: &str, outline: &Outline, opening: &Opening<'_>) -> ReadAs {
    use ImportFormat as F;
    let has = |names: &[&str]| outline.has(names);
    if has(&["encrypted", "passwords"]) && is_encrypted(text) {
        let what = kinds::ENCRYPTED_EXPORT.to_owned();
        return Err(InputProblem::ImportUnsupported { what });
    }
    let format = kind_of_object(outline);
    if format == F::Bitwarden && !has(&["encrypted"]) && !has(&["login"]) {
        // Others have items, too.
        let read = bitwarden::read(text, opening);
        let is_own = ["login", "reprompt", "organizationid", "collectionids"];
        let is_own = is_own
            .iter()
            .any(|name| outline.has_inside("items", &[name]));
        let has_account = |entries: &[ImportEntry]| {
            let mut read = entries.iter().flat_map(|entry| &entry.content);
            read.any(|text| otpauth::parse(text).is_ok())
        };
        let (may_be_other, needs_account) = match &read {
            Ok(entries) => (!is_own && !has_account(entries), true),
            Err(problem) => (
                matches!(problem, InputProblem::ImportMalformed { .. }),
                false,
            ),
        };
        if may_be_other
            && let Ok(other) = gather::read(text)
            && (!needs_account || has_account(&other))
        {
            return Ok((F::UriList, other));
        }
        return Ok((format, read?));
    }
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
        _ => return gathered(text),
    }?;
    Ok((format, entries))
}

impl Sketch {
    fn kind(&self) -> ImportFormat {
        match self.is_list {
            true => kind_of_list(&self.outline),
            false => kind_of_object(&self.outline),
        }
    }
}

/// Whether a text begins like an object of a program, with a name in single quotes.
pub(super) fn is_program_object(text: &str) -> bool {
    let inside = text.trim_start_matches(|c: char| c.is_whitespace() || c == '[' || c == '{');
    inside.starts_with('\'') && sketch(text).is_some_and(|seen| seen.is_code)
}

/// What a text that begins like a document is, although it cannot be read; nothing if there is
/// nothing of a document in it.
pub(super) fn damaged(text: &str) -> Option<InputProblem> {
    let seen = sketch(text)?;
    if seen.is_code {
        let what = kinds::PROGRAM_OBJECT.to_owned();
        return Some(InputProblem::ImportUnsupported { what });
    }
    Some(InputProblem::ImportMalformed {
        format: seen.kind(),
    })
}

/// The document in a text that has a little around it: a name and an equals sign in front of it, a
/// comment, a semicolon behind it. Nothing if there is none, or more than that.
pub(super) fn within(text: &str) -> Option<&str> {
    let at = text.find(['{', '['])?;
    let (before, document) = text.split_at(at);
    let is_short = before.len() <= MAX_BEFORE && before.lines().count() <= MAX_LINES_BEFORE;
    let is_plain = !before.is_empty() && !before.contains(['<', '"', '\'']);
    if !is_short || !is_plain || otpauth::is_meant(before) {
        return None;
    }
    let mut stream = serde_json::Deserializer::from_str(document).into_iter::<IgnoredAny>();
    let is_whole = stream.next().is_some_and(|first| first.is_ok());
    if !is_whole {
        // What is damaged is named, if it has names like one that was exported.
        let seen = sketch(document)?;
        return (!seen.is_code && document.contains("\":")).then_some(document);
    }
    let (whole, behind) = document.split_at(stream.byte_offset());
    let is_end = behind.trim().trim_matches([';', ')', '`']).is_empty();
    let seen = sketch(whole)?;
    if is_end {
        return Some(whole);
    }
    // Two exports are not one; what is not known is left to what it may be otherwise.
    (!matches!(seen.kind(), ImportFormat::Json)).then_some(document)
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
