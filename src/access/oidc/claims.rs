//! From a token's claims to a caller.

use chrono::{DateTime, Utc};
use countersign_enrollment::account::clean;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::{LEEWAY, MappedRole, OidcSettings, PREFIX, TokenProblem};
use crate::access::identity::{Group, Identity, Subject};
use crate::access::role::{Role, Roles};
use crate::access::secret;

/// The longest subject, in bytes (OpenID Connect Core 1.0 section 2).
const MAX_SUBJECT: usize = 255;
/// The longest subject that fits an id unchanged.
const MAX_PLAIN_SUBJECT: usize = 59;
/// The prefix of the ids of longer subjects.
const HASHED_PREFIX: &str = "oidc:sha256:";
/// The longest display name, in characters.
const MAX_NAME: usize = 128;

/// The claims of a token with a valid signature.
pub(super) struct Claims<'a> {
    said: &'a Map<String, Value>,
    settings: &'a OidcSettings,
}

impl<'a> Claims<'a> {
    pub(super) const fn new(said: &'a Map<String, Value>, settings: &'a OidcSettings) -> Self {
        Self { said, settings }
    }

    /// The caller, and until when the token is valid.
    pub(super) fn read(
        &self,
        now: DateTime<Utc>,
    ) -> Result<(Identity, DateTime<Utc>), TokenProblem> {
        let missing = |claim: &str| TokenProblem::Claim(claim.to_owned());
        let until = self.time("exp")?.ok_or_else(|| missing("exp"))?;
        let until = until.checked_add_signed(LEEWAY).unwrap_or(until);
        if now >= until {
            return Err(TokenProblem::Expired);
        }
        for claim in ["nbf", "iat"] {
            if self.time(claim)?.is_some_and(|begin| begin - LEEWAY > now) {
                return Err(TokenProblem::NotYet);
            }
        }
        let subject = self.text(&self.settings.subject_claim);
        let id = subject
            .and_then(id)
            .ok_or_else(|| missing(&self.settings.subject_claim))?;
        let name = self.text(&self.settings.name_claim).map(plain);
        let (roles, granted_only) = self.roles();
        let identity = Identity {
            display_name: name
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| id.clone()),
            id,
            roles,
            groups: self.groups(),
            subject: Subject::Token,
            granted_only,
        };
        Ok((identity, until))
    }

    /// A claim by its name or, if there is none, by a dotted path to a member of one.
    fn claim(&self, name: &str) -> Option<&'a Value> {
        self.said.get(name).or_else(|| {
            let (first, rest) = name.split_once('.')?;
            rest.split('.')
                .try_fold(self.said.get(first)?, |value, part| value.get(part))
        })
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.claim(name)?.as_str()
    }

    /// A moment in seconds since 1970, which may have a fraction.
    fn time(&self, name: &str) -> Result<Option<DateTime<Utc>>, TokenProblem> {
        let Some(value) = self.said.get(name).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let seconds = value.as_i64().or_else(|| {
            let seconds = value.as_f64()?.floor();
            // Only times beyond every calendar are cut off.
            (seconds.abs() < 1e15).then_some(seconds as i64)
        });
        seconds
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
            .map(Some)
            .ok_or_else(|| TokenProblem::Claim(name.to_owned()))
    }

    /// The texts of a claim: a list of them, or one with spaces between, as scopes are.
    fn list(&self, name: &str, separated: bool) -> Vec<&'a str> {
        match self.claim(name) {
            Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(text)) if separated => text.split_whitespace().collect(),
            Some(Value::String(text)) => vec![text.as_str()],
            _ => Vec::new(),
        }
    }

    /// The roles in the claim, and whether they are limited to granted accounts.
    fn roles(&self) -> (Roles, bool) {
        let said = self.list(&self.settings.roles_claim, true);
        let mapped = self.settings.roles.iter();
        let mapped: Vec<MappedRole> = mapped
            .filter(|(value, _)| said.contains(&value.as_str()))
            .map(|(_, role)| *role)
            .collect();
        let roles = mapped.iter().map(|mapped| match mapped {
            MappedRole::Whole(role) => *role,
            MappedRole::GrantedReader => Role::Reader,
        });
        let reads_all = mapped
            .iter()
            .any(|mapped| matches!(mapped, MappedRole::Whole(Role::Reader | Role::Admin)));
        let roles: Roles = roles.collect();
        (roles, roles.contains(Role::Reader) && !reads_all)
    }

    fn groups(&self) -> Vec<Group> {
        let said = self.list(&self.settings.groups_claim, false);
        if said.is_empty() && self.said.contains_key("_claim_names") {
            // Fewer groups are fewer rights, so this is safe.
            tracing::debug!(
                "the caller's token leaves out its groups because there are too many; it has no groups here"
            );
        }
        let groups = said.into_iter().filter_map(|text| text.parse().ok());
        let mut groups: Vec<Group> = groups.collect();
        groups.sort();
        groups.dedup();
        groups
    }
}

/// The id of a subject. No two subjects have the same.
fn id(subject: &str) -> Option<String> {
    if subject.is_empty() || subject.len() > MAX_SUBJECT {
        return None;
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    if subject.len() <= MAX_PLAIN_SUBJECT && subject.bytes().all(allowed) {
        return Some(format!("{PREFIX}{subject}"));
    }
    let hash = BASE64URL_NOPAD.encode(&secret::hash(subject));
    Some(format!("{HASHED_PREFIX}{hash}"))
}

/// A name, made safe to show and log.
fn plain(text: &str) -> String {
    let shown: String = clean(text).chars().take(MAX_NAME).collect();
    shown.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings() -> OidcSettings {
        OidcSettings {
            issuer: "https://issuer.example".parse().unwrap(),
            issuer_text: "https://issuer.example".to_owned(),
            audiences: vec!["countersign".to_owned()],
            jwks_url: None,
            ca_file: None,
            subject_claim: "sub".to_owned(),
            name_claim: "preferred_username".to_owned(),
            roles_claim: "roles".to_owned(),
            groups_claim: "groups".to_owned(),
            roles: MappedRole::NAMES
                .iter()
                .map(|(name, role)| ((*name).to_owned(), *role))
                .collect(),
            max_stale: chrono::TimeDelta::hours(24),
        }
    }

    fn read(settings: &OidcSettings, said: &Value) -> Result<Identity, TokenProblem> {
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let mut claims = json!({"sub": "alice", "exp": 1_000_100});
        for (name, value) in said.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let claims = claims.as_object().unwrap();
        Claims::new(claims, settings)
            .read(now)
            .map(|(identity, _)| identity)
    }

    #[test]
    fn times_have_leeway_and_must_be_times() {
        let check = |said: Value, expected: Option<TokenProblem>| {
            assert_eq!(read(&settings(), &said).err(), expected, "{said}");
        };
        let claim = |name: &str| Some(TokenProblem::Claim(name.to_owned()));
        check(json!({}), None);
        check(json!({"exp": 999_941}), None);
        check(json!({"exp": 1_000_000.5}), None);
        check(json!({"exp": 999_940}), Some(TokenProblem::Expired));
        check(json!({"nbf": 1_000_060, "iat": 1_000_060}), None);
        check(json!({"nbf": 1_000_061}), Some(TokenProblem::NotYet));
        check(json!({"iat": 1_000_061}), Some(TokenProblem::NotYet));
        check(json!({"exp": null}), claim("exp"));
        check(json!({"exp": "1000100"}), claim("exp"));
        check(json!({"exp": 1e300}), claim("exp"));
        check(json!({"nbf": "soon"}), claim("nbf"));
    }

    #[test]
    fn every_subject_has_an_id_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for subject in [
            "alice",
            "Alice",
            "auth0|1",
            "sha256:x",
            &"x".repeat(59),
            &"x".repeat(60),
            &"ä".repeat(100),
        ] {
            let id = read(&settings(), &json!({"sub": subject})).unwrap().id;
            assert!(
                id.parse::<countersign_enrollment::ids::CallerId>().is_ok(),
                "{id}"
            );
            assert!(seen.insert(id.clone()), "{id}");
        }
        assert!(seen.contains("oidc:alice"));
        for wrong in [json!(""), json!(1), json!(null), json!("x".repeat(256))] {
            let problem = read(&settings(), &json!({ "sub": wrong })).unwrap_err();
            assert_eq!(problem, TokenProblem::Claim("sub".to_owned()));
        }
    }

    #[test]
    fn roles_and_groups_come_from_the_claims_that_are_configured() {
        let check = |settings: &OidcSettings, said: Value, roles: &[Role], granted_only: bool| {
            let identity = read(settings, &said).unwrap();
            let expected: Roles = roles.iter().copied().collect();
            assert_eq!(
                (identity.roles, identity.granted_only),
                (expected, granted_only),
                "{said}"
            );
        };
        let usual = settings();
        check(&usual, json!({}), &[], false);
        check(&usual, json!({"roles": ["owner", 1]}), &[], false);
        check(&usual, json!({"roles": ["admin"]}), &[Role::Admin], false);
        check(
            &usual,
            json!({"roles": ["granted-reader"]}),
            &[Role::Reader],
            true,
        );
        check(
            &usual,
            json!({"roles": "granted-reader reader enroller"}),
            &[Role::Reader, Role::Enroller],
            false,
        );
        let nested = OidcSettings {
            roles_claim: "resource_access.totp.roles".to_owned(),
            roles: vec![("Totp.Decide".to_owned(), MappedRole::Whole(Role::Approver))],
            ..settings()
        };
        let said = json!({"resource_access": {"totp": {"roles": ["Totp.Decide", "admin"]}}});
        check(&nested, said, &[Role::Approver], false);
        let said = json!({"resource_access.totp.roles": ["Totp.Decide"]});
        check(&nested, said, &[Role::Approver], false);

        let said = json!({"groups": ["b", "a", "b", " ", 7], "preferred_username": "Al\nice "});
        let identity = read(&usual, &said).unwrap();
        let groups: Vec<&str> = identity.groups.iter().map(Group::as_str).collect();
        assert_eq!(groups, ["a", "b"]);
        assert_eq!(identity.display_name, "Alice");
        let identity = read(&usual, &json!({"groups": "one group"})).unwrap();
        assert_eq!(identity.groups[0].as_str(), "one group");
        assert_eq!(identity.display_name, "oidc:alice");
    }
}
