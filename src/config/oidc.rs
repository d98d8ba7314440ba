//! Settings for callers with tokens of an OpenID Connect issuer.

use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;
use url::{Host, Url};

use super::Settings;
use super::exposure::items;
use crate::access::{MappedRole, OidcSettings};
use crate::duration;

/// How long keys are used while their issuer does not answer, by default.
const MAX_STALE: Duration = Duration::from_secs(24 * 3600);

impl Settings {
    /// The settings of this module, from the environment.
    pub(super) fn oidc_from_environment(&mut self, var: &impl Fn(&str) -> Option<String>) {
        self.oidc_issuer = var("COUNTERSIGN_OIDC_ISSUER");
        self.oidc_audience = var("COUNTERSIGN_OIDC_AUDIENCE");
        self.oidc_jwks_url = var("COUNTERSIGN_OIDC_JWKS_URL");
        self.oidc_ca_file = var("COUNTERSIGN_OIDC_CA_FILE");
        self.oidc_subject_claim = var("COUNTERSIGN_OIDC_SUBJECT_CLAIM");
        self.oidc_name_claim = var("COUNTERSIGN_OIDC_NAME_CLAIM");
        self.oidc_roles_claim = var("COUNTERSIGN_OIDC_ROLES_CLAIM");
        self.oidc_groups_claim = var("COUNTERSIGN_OIDC_GROUPS_CLAIM");
        self.oidc_role_map = var("COUNTERSIGN_OIDC_ROLE_MAP");
        self.oidc_max_stale = var("COUNTERSIGN_OIDC_MAX_STALE");
    }

    /// The settings of this module, checked; none if no issuer is named.
    pub(super) fn check_oidc(&self, problems: &mut Vec<String>) -> Option<OidcSettings> {
        let Some(issuer_text) = self.oidc_issuer.clone() else {
            if self.says_something_of_oidc() {
                problems.push(
                    "the oidc- settings need an issuer, but oidc-issuer is not set".to_owned(),
                );
            }
            return None;
        };
        let issuer = address("oidc-issuer", &issuer_text, problems);
        let jwks_url = self
            .oidc_jwks_url
            .as_deref()
            .map(|text| address("oidc-jwks-url", text, problems));
        let audience = self.oidc_audience.as_deref().unwrap_or_default();
        let audiences: Vec<String> = items(audience).map(str::to_owned).collect();
        if audiences.is_empty() {
            problems.push(
                "oidc-audience is required: an issuer's keys also sign tokens for other audiences"
                    .to_owned(),
            );
        }
        let roles = self.check_role_map(problems);
        let max_stale = match self.oidc_max_stale.as_deref().map(duration::parse) {
            None => MAX_STALE,
            Some(Ok(time)) => time,
            Some(Err(reason)) => {
                problems.push(format!("oidc-max-stale: {reason}"));
                MAX_STALE
            }
        };
        let claim = |text: &Option<String>, usual: &str| text.clone().unwrap_or(usual.to_owned());
        Some(OidcSettings {
            issuer: issuer?,
            issuer_text,
            audiences,
            jwks_url: jwks_url.flatten(),
            ca_file: self.oidc_ca_file.as_deref().map(PathBuf::from),
            subject_claim: claim(&self.oidc_subject_claim, "sub"),
            name_claim: claim(&self.oidc_name_claim, "preferred_username"),
            roles_claim: claim(&self.oidc_roles_claim, "roles"),
            groups_claim: claim(&self.oidc_groups_claim, "groups"),
            roles,
            max_stale: TimeDelta::from_std(max_stale).unwrap_or(TimeDelta::MAX),
        })
    }

    fn says_something_of_oidc(&self) -> bool {
        [
            &self.oidc_audience,
            &self.oidc_jwks_url,
            &self.oidc_ca_file,
            &self.oidc_subject_claim,
            &self.oidc_name_claim,
            &self.oidc_roles_claim,
            &self.oidc_groups_claim,
            &self.oidc_role_map,
            &self.oidc_max_stale,
        ]
        .into_iter()
        .any(Option::is_some)
    }

    fn check_role_map(&self, problems: &mut Vec<String>) -> Vec<(String, MappedRole)> {
        let named = |text: &str| {
            let mut names = MappedRole::NAMES.into_iter();
            names.find(|(name, _)| *name == text).map(|(_, role)| role)
        };
        let Some(text) = self.oidc_role_map.as_deref() else {
            return MappedRole::NAMES
                .into_iter()
                .map(|(name, role)| (name.to_owned(), role))
                .collect();
        };
        let mut map = Vec::new();
        for pair in items(text) {
            let parts = pair.rsplit_once('=');
            let known = parts.and_then(|(value, role)| Some((value.trim(), named(role.trim())?)));
            match known {
                Some((value, role)) if !value.is_empty() => map.push((value.to_owned(), role)),
                _ => problems.push(format!(
                    "oidc-role-map: write VALUE=ROLE with one of enroller, approver, reader, \
                     granted-reader and admin, not {pair:?}"
                )),
            }
        }
        if map.is_empty() {
            problems.push("oidc-role-map names no role, so no caller could do anything".to_owned());
        }
        map
    }
}

/// An https:// address, or an http:// one of this machine: anyone who can change the keys in
/// transit can be any caller.
fn address(name: &str, text: &str, problems: &mut Vec<String>) -> Option<Url> {
    let url = text.parse::<Url>().ok();
    let good = url.filter(|url| {
        let here = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        plain && (url.scheme() == "https" || url.scheme() == "http" && here)
    });
    if good.is_none() {
        problems.push(format!(
            "{name} must be an https:// address without a query (or an http:// address of this \
             machine), not {text:?}"
        ));
    }
    good
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;

    fn check(settings: &Settings) -> Result<Option<OidcSettings>, Vec<String>> {
        let mut problems = Vec::new();
        let checked = settings.check_oidc(&mut problems);
        if problems.is_empty() {
            Ok(checked)
        } else {
            Err(problems)
        }
    }

    fn settings() -> Settings {
        Settings {
            oidc_issuer: Some("https://login.example/tenant/v2.0".to_owned()),
            oidc_audience: Some("api://countersign, other".to_owned()),
            ..Settings::default()
        }
    }

    #[test]
    fn an_issuer_needs_an_audience_and_the_rest_has_defaults() {
        let checked = check(&settings()).unwrap().unwrap();
        assert_eq!(checked.audiences, ["api://countersign", "other"]);
        assert_eq!(checked.roles.len(), MappedRole::NAMES.len());
        assert_eq!(checked.max_stale, TimeDelta::hours(24));
        assert_eq!(check(&Settings::default()), Ok(None));
        let problems = check(&Settings {
            oidc_audience: None,
            ..settings()
        });
        assert!(problems.unwrap_err()[0].contains("oidc-audience"));
        let problems = check(&Settings {
            oidc_issuer: None,
            ..settings()
        });
        assert!(problems.unwrap_err()[0].contains("oidc-issuer"));
    }

    #[test]
    fn an_issuer_and_its_keys_must_be_https_or_on_this_machine() {
        for (text, good) in [
            ("https://login.example", true),
            ("http://127.0.0.1:1/x", true),
            ("http://[::1]:1", true),
            ("http://localhost:1", true),
            ("http://login.example", false),
            ("http://127.0.0.1.example", false),
            ("https://login.example?x", false),
            ("https://a@login.example", false),
            ("login.example", false),
        ] {
            let issuer = check(&Settings {
                oidc_issuer: Some(text.to_owned()),
                ..settings()
            });
            assert_eq!(issuer.is_ok(), good, "{text}");
            let keys = check(&Settings {
                oidc_jwks_url: Some(text.to_owned()),
                ..settings()
            });
            assert_eq!(keys.is_ok(), good, "{text}");
        }
    }

    #[test]
    fn a_role_map_says_which_value_is_which_role() {
        let map = |text: &str| {
            let checked = check(&Settings {
                oidc_role_map: Some(text.to_owned()),
                ..settings()
            });
            checked.map(|checked| checked.unwrap().roles)
        };
        assert_eq!(
            map("Totp.Decide=approver, a=b=granted-reader").unwrap(),
            [
                ("Totp.Decide".to_owned(), MappedRole::Whole(Role::Approver)),
                ("a=b".to_owned(), MappedRole::GrantedReader),
            ]
        );
        for wrong in ["", ",", "x", "x=", "=admin", "x=owner"] {
            assert!(map(wrong).is_err(), "{wrong}");
        }
    }
}
