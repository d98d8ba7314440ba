//! Steam Guard's codes, which every program spells another way.

use super::{Parsed, account, conflict, label, query, secret};
use crate::account::{Algorithm, CodeParameters};
use crate::foreign::ForeignKind;
use crate::problem::{InputProblem, Parameter};
use crate::text;

/// What issuers are called whose codes are Steam's, letters and digits only.
const NAMES: [&str; 10] = [
    "steam",
    "steamguard",
    "steampowered",
    "steampoweredcom",
    "storesteampoweredcom",
    "loginsteampoweredcom",
    "helpsteampoweredcom",
    "wwwsteamcommunitycom",
    "steamcommunity",
    "steamcommunitycom",
];

/// Whether an issuer, or an account without one, is called as Steam is.
pub(super) fn is_named(issuer: Option<&str>, account_name: &str) -> bool {
    let name = issuer.unwrap_or(account_name);
    let folded: String = name
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    NAMES.contains(&folded.as_str())
}

/// Steam's codes are always made the same way; parameters may only say so. Six digits are
/// what several programs write whatever the codes are (KeePassXC does).
pub(super) fn parameters(
    algorithm: Option<Algorithm>,
    digits: Option<u8>,
    period: Option<u32>,
) -> Result<CodeParameters, InputProblem> {
    let steam = CodeParameters::STEAM;
    if algorithm.is_some_and(|it| it != steam.algorithm()) {
        return Err(conflict(Parameter::Algorithm));
    }
    if digits.is_some_and(|it| it != steam.digits() && it != 6) {
        return Err(conflict(Parameter::Digits));
    }
    if period.is_some_and(|it| it != steam.period()) {
        return Err(conflict(Parameter::Period));
    }
    Ok(steam)
}

/// The shortest secret behind another number of slashes than two.
const SHORTEST: usize = 16;

/// What follows `steam://`, which Bitwarden writes before a bare secret. With other slashes, only
/// a secret is one: Steam's own program opens such addresses.
pub(super) fn after_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("steam") {
        return None;
    }
    if let Some(rest) = rest
        .strip_prefix("//")
        .filter(|rest| !rest.starts_with('/'))
    {
        return Some(rest);
    }
    let rest = rest.trim_start_matches('/');
    let is_secret = !rest.starts_with(char::is_whitespace) && text::may_be_secret(rest, SHORTEST);
    is_secret.then_some(rest)
}

/// The account of a bare secret of Steam's.
pub(super) fn read(given: &str) -> Result<Parsed, InputProblem> {
    let given = given.trim_end_matches('/');
    if given.contains(['/', '?']) {
        // The scheme also opens pages of Steam's own program.
        return Err(InputProblem::NotOtpauth {
            kind: ForeignKind::Login,
        });
    }
    let query = query::Query {
        issuer: Some("Steam".to_owned()),
        secret: Some(secret::read(given)?.ok_or(InputProblem::SecretMissing)?),
        steam: true,
        ..query::Query::default()
    };
    let label = label::from_names("", query.issuer.as_deref());
    account(label, query)
}
