//! JSON Web Tokens (RFC 7519), signed with one of the keys in a file.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use jsonwebtoken::jwk::{JwkSet, PublicKeyUse};
use jsonwebtoken::{
    AlgorithmFamily, DecodingKey, Validation, decode, decode_header, get_current_timestamp,
};
use lru::LruCache;
use serde::Deserialize;

use super::tokens::digest;
use super::{AccessError, text};

/// How far the clocks of the signer and of this machine may be apart, in seconds.
const LEEWAY: u64 = 60;
/// How many accepted tokens are remembered, so that not each call checks a signature.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Which JSON Web Tokens are accepted. Issuer and audience are not optional: the keys of
/// a public issuer also sign the tokens of everyone else there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtRules {
    /// File with the public keys: a JSON Web Key Set (RFC 7517), or one key as PEM.
    pub keys: PathBuf,
    /// The required value of the claim `iss`.
    pub issuer: String,
    /// A value that the claim `aud` must be or contain.
    pub audience: String,
}

pub(super) struct JwtCheck {
    keys: Vec<Key>,
    issuer: String,
    audience: String,
    /// Digests of tokens that were accepted, with the second they expire in.
    accepted: Mutex<LruCache<[u8; 32], u64>>,
}

struct Key {
    id: Option<String>,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Claims {
    exp: u64,
}

impl std::fmt::Debug for JwtCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtCheck")
            .field("keys", &self.keys.len())
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

impl JwtCheck {
    /// The keys of the file.
    pub(super) fn parse(rules: &JwtRules, content: &[u8]) -> Result<Self, AccessError> {
        let text = text(&rules.keys, content)?;
        let keys = if text.trim_start().starts_with('{') {
            key_set(text)
        } else {
            pem(text.as_bytes())
        }
        .map_err(|reason| AccessError::Keys {
            path: rules.keys.clone(),
            reason,
        })?;
        Ok(Self {
            keys,
            issuer: rules.issuer.clone(),
            audience: rules.audience.clone(),
            accepted: Mutex::new(LruCache::new(REMEMBERED)),
        })
    }

    pub(super) fn accepts(&self, token: &str) -> bool {
        let digest = digest(token);
        let now = get_current_timestamp();
        let remembered = self.remembered().get(&digest).copied();
        if let Some(expires) = remembered {
            return now <= expires.saturating_add(LEEWAY);
        }
        let Some(expires) = self.check(token) else {
            return false;
        };
        self.remembered().put(digest, expires);
        true
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, LruCache<[u8; 32], u64>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a valid token expires, in seconds since 1970.
    fn check(&self, token: &str) -> Option<u64> {
        let header = decode_header(token).ok()?;
        let named = |key: &&Key| match (&header.kid, &key.id) {
            (Some(wanted), Some(id)) => wanted == id,
            _ => true,
        };
        self.keys.iter().filter(named).find_map(|key| {
            // The key decides which algorithms are accepted, not the token.
            let mut rules = Validation::new_for_family(key.key.family());
            rules.leeway = LEEWAY;
            rules.validate_nbf = true;
            rules.set_issuer(&[&self.issuer]);
            rules.set_audience(&[&self.audience]);
            rules.set_required_spec_claims(&["exp", "iss", "aud"]);
            match decode::<Claims>(token, &key.key, &rules) {
                Ok(token) => Some(token.claims.exp),
                Err(error) => {
                    tracing::debug!(%error, "a token was not accepted");
                    None
                }
            }
        })
    }
}

/// The keys of a set that can check signatures.
fn key_set(text: &str) -> Result<Vec<Key>, String> {
    let set: JwkSet = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let keys: Vec<Key> = set
        .keys
        .iter()
        .filter(|key| key.common.public_key_use != Some(PublicKeyUse::Encryption))
        .filter_map(|key| {
            Some(Key {
                id: key.common.key_id.clone(),
                key: DecodingKey::from_jwk(key).ok().filter(is_public)?,
            })
        })
        .collect();
    if keys.is_empty() {
        return Err("the set has no RSA, EC or Ed25519 key".to_owned());
    }
    Ok(keys)
}

fn pem(text: &[u8]) -> Result<Vec<Key>, String> {
    let key = DecodingKey::from_rsa_pem(text)
        .or_else(|_| DecodingKey::from_ec_pem(text))
        .or_else(|_| DecodingKey::from_ed_pem(text))
        .map_err(|error| error.to_string())?;
    Ok(vec![Key { id: None, key }])
}

/// A shared secret would let everyone who can check tokens make them.
fn is_public(key: &DecodingKey) -> bool {
    key.family() != AlgorithmFamily::Hmac
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
    use serde_json::{Value, json};

    use super::*;
    use crate::Access;

    const ISSUER: &str = "https://issuer.example";
    const AUDIENCE: &str = "https://durabletask.io";

    fn claims(change: impl FnOnce(&mut Value)) -> Value {
        let mut claims = json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "exp": get_current_timestamp() + 3600,
        });
        change(&mut claims);
        claims
    }

    fn sign(key: &KeyPair, header: &Header, claims: &Value) -> String {
        let pem = key.serialize_pem();
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
        encode(header, claims, &key).unwrap()
    }

    fn checking(keys: &str) -> Result<Access, AccessError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, keys).unwrap();
        Access::default().with_jwt(&JwtRules {
            keys: path,
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
        })
    }

    fn admits(access: &Access, token: &str) -> bool {
        access.admits(Some(&format!("Bearer {token}"))).is_ok()
    }

    #[test]
    fn a_valid_token_is_accepted_and_each_fault_is_refused() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let access = checking(&key.public_key_pem()).unwrap();
        let header = Header::new(Algorithm::ES256);
        let good = sign(&key, &header, &claims(|_| ()));
        // Checked, then remembered.
        assert!(admits(&access, &good) && admits(&access, &good));
        let listed = claims(|c| c["aud"] = json!(["other", AUDIENCE]));
        assert!(admits(&access, &sign(&key, &header, &listed)));

        let now = get_current_timestamp();
        let faults: [(&str, Value); 8] = [
            ("expired", claims(|c| c["exp"] = json!(now - 2 * LEEWAY))),
            ("not yet", claims(|c| c["nbf"] = json!(now + 2 * LEEWAY))),
            ("other audience", claims(|c| c["aud"] = json!("other"))),
            ("other issuer", claims(|c| c["iss"] = json!("other"))),
            ("no expiry", claims(|c| c["exp"] = Value::Null)),
            ("no audience", claims(|c| c["aud"] = Value::Null)),
            ("no issuer", claims(|c| c["iss"] = Value::Null)),
            ("text for a time", claims(|c| c["exp"] = json!("never"))),
        ];
        for (what, claims) in faults {
            assert!(!admits(&access, &sign(&key, &header, &claims)), "{what}");
        }
        let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        assert!(!admits(&access, &sign(&other, &header, &claims(|_| ()))));
        // The public key is not secret, so it must not be accepted as a shared secret.
        let secret = EncodingKey::from_secret(key.public_key_pem().as_bytes());
        let forged = encode(&Header::new(Algorithm::HS256), &claims(|_| ()), &secret).unwrap();
        assert!(!admits(&access, &forged));
        let body = good.split('.').nth(1).unwrap();
        // {"alg":"none"}
        assert!(!admits(&access, &format!("eyJhbGciOiJub25lIn0.{body}.")));
        assert!(!admits(&access, "garbage"));
    }

    #[test]
    fn the_keys_of_a_set_are_distinguished_by_their_ids() {
        let keys = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384]
            .map(|kind| KeyPair::generate_for(kind).unwrap());
        let algorithms = [Algorithm::ES256, Algorithm::ES384];
        let set: Vec<Value> = keys
            .iter()
            .zip(algorithms)
            .map(|(key, algorithm)| {
                // An uncompressed point: a 4, then both coordinates.
                let point = &key.public_key_raw()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({
                    "kty": "EC",
                    "crv": if algorithm == Algorithm::ES256 { "P-256" } else { "P-384" },
                    "x": BASE64URL_NOPAD.encode(x),
                    "y": BASE64URL_NOPAD.encode(y),
                    "kid": format!("{algorithm:?}"),
                    "use": "sig",
                })
            })
            .collect();
        let secret = json!({"kty": "oct", "k": "c2VjcmV0", "kid": "secret"});
        let mut set = json!({ "keys": set });
        set["keys"].as_array_mut().unwrap().push(secret.clone());
        let access = checking(&set.to_string()).unwrap();
        for (key, algorithm) in keys.iter().zip(algorithms) {
            let mut header = Header::new(algorithm);
            assert!(admits(&access, &sign(key, &header, &claims(|_| ()))));
            header.kid = Some(format!("{algorithm:?}"));
            assert!(admits(&access, &sign(key, &header, &claims(|_| ()))));
            header.kid = Some("another".to_owned());
            assert!(!admits(&access, &sign(key, &header, &claims(|_| ()))));
        }
        let forged = encode(
            &Header::new(Algorithm::HS256),
            &claims(|_| ()),
            &EncodingKey::from_secret(b"secret"),
        );
        assert!(!admits(&access, &forged.unwrap()));

        for none in [
            json!({"keys": [secret]}).to_string(),
            json!({"keys": []}).to_string(),
            "{".to_owned(),
            "-----BEGIN PUBLIC KEY-----".to_owned(),
        ] {
            let error = checking(&none).unwrap_err();
            assert!(matches!(error, AccessError::Keys { .. }), "{error}");
        }
    }
}
