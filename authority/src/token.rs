//! Signed texts: JWS in compact form (RFC 7515) with EdDSA (RFC 8037).

use countersign_enrollment::mandate::{SignedDecision, SignedMandate};
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::act::Decide;
use crate::decision::Decision;
use crate::judge::Permit;
use crate::keys::{CheckingKeys, KeyProblem, Known, SigningKeys};
use crate::mandate::{Mandate, VERSION};
use crate::refusal::Refusal;

/// The type in a mandate's header.
const MANDATE: &str = "countersign-mandate+jwt";
/// The type in a decision's header.
const DECISION: &str = "countersign-decision+jwt";

/// What is read first: another version may have other members.
#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

impl SigningKeys {
    /// Signs a mandate.
    ///
    /// # Errors
    ///
    /// [`KeyProblem::Unusable`].
    pub fn sign_mandate(&self, mandate: &Mandate) -> Result<SignedMandate, KeyProblem> {
        self.sign(MANDATE, mandate).map(SignedMandate::from_text)
    }

    /// Signs a decision that was permitted.
    ///
    /// # Errors
    ///
    /// [`KeyProblem::Unusable`].
    pub fn sign_decision(&self, permit: &Permit<Decide>) -> Result<SignedDecision, KeyProblem> {
        self.sign(DECISION, &permit.act().decision)
            .map(SignedDecision::from_text)
    }

    fn sign(&self, kind: &str, claims: &impl Serialize) -> Result<String, KeyProblem> {
        let key = self.first();
        let header = Header {
            typ: Some(kind.to_owned()),
            kid: Some(key.id().to_owned()),
            ..Header::new(Algorithm::EdDSA)
        };
        encode(&header, claims, &key.encoding).map_err(|_| KeyProblem::Unusable)
    }
}

impl CheckingKeys {
    /// The mandate that a front door of this installation has signed.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: that there is none, that it is another release's, or that its key is
    /// unknown or retired.
    pub fn read_mandate(&self, signed: &SignedMandate) -> Result<Mandate, Refusal> {
        if signed.is_empty() {
            return Err(Refusal::NoMandate);
        }
        let digest = signed.digest();
        if let Some(mandate) = self.seen.get(&digest) {
            return Ok(mandate);
        }
        let mandate: Mandate = self.read(MANDATE, signed.as_text())?;
        self.seen.keep(digest, &mandate);
        Ok(mandate)
    }

    /// The decision that a front door of this installation has signed.
    ///
    /// # Errors
    ///
    /// As [`CheckingKeys::read_mandate`].
    pub fn read_decision(&self, signed: &SignedDecision) -> Result<Decision, Refusal> {
        self.read(DECISION, signed.as_text())
    }

    /// The id of the key that a text claims to be signed with. It is only a claim.
    #[must_use]
    pub fn claimed_key(signed: &SignedMandate) -> Option<String> {
        decode_header(signed.as_text()).ok()?.kid
    }

    fn read<T: DeserializeOwned>(&self, kind: &str, text: &str) -> Result<T, Refusal> {
        let header = decode_header(text).map_err(|_| Refusal::Forged)?;
        if header.typ.as_deref() != Some(kind) || header.alg != Algorithm::EdDSA {
            return Err(Refusal::Forged);
        }
        let id = header.kid.ok_or(Refusal::Forged)?;
        let key = match self.find(&id) {
            Known::InForce(key) => key,
            Known::Retired => return Err(Refusal::RetiredKey { key: id }),
            Known::Unknown => {
                return Err(Refusal::UnknownKey {
                    key: shortened(&id),
                });
            }
        };
        let mut validation = Validation::new(Algorithm::EdDSA);
        // Times are compared with the moment that the caller names, by the judgment.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        // The signature is checked before anything is read.
        let claims = decode::<serde_json::Value>(text, &key, &validation)
            .map_err(|_| Refusal::Forged)?
            .claims;
        let version = Versioned::deserialize(&claims)
            .map_err(|_| Refusal::Forged)?
            .v;
        if version != VERSION {
            return Err(Refusal::OtherVersion { version });
        }
        // It is authentic; a part that is not understood is new.
        T::deserialize(claims).map_err(|_| Refusal::NotUnderstood)
    }
}

/// An id that anyone may have written, at a length that fits a message.
fn shortened(id: &str) -> String {
    id.chars()
        .filter(char::is_ascii_alphanumeric)
        .take(16)
        .collect()
}
