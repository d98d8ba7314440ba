//! Signing decisions and checking signatures.

use std::fmt;

use chrono::SecondsFormat;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::TryRng as _;
use rand::rngs::SysRng;
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{ApprovalDecision, RaisedDecision, Signature};
use crate::account::{AccountPreview, TotpAccount};
use crate::account_request::Asked;
use crate::ids::{EnrollmentId, RequestId};

const SIGNATURE: &[u8] = b"countersign decision v1";
const REQUEST_SIGNATURE: &[u8] = b"countersign request decision v1";
const FINGERPRINT: &[u8] = b"countersign secret fingerprint v1";
/// How many bytes of a fingerprint are kept: enough that no two secrets share one.
const FINGERPRINT_BYTES: usize = 16;

/// Why a decision cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecisionKeyError {
    /// The system has no random numbers to give.
    #[error("the system's random number source failed")]
    Random,
    /// The key cannot be used by the algorithm.
    #[error("the decision key cannot be used")]
    Key,
}

/// What an approver was shown: the account, and which secret it is about.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Issuer, account name and parameters.
    pub preview: &'a AccountPreview,
    /// [`DecisionKey::fingerprint`] of the account.
    pub fingerprint: &'a str,
}

/// The key that front door and worker share: who holds it can sign decisions. Wiped
/// when dropped.
#[derive(Clone)]
pub struct DecisionKey(Zeroizing<[u8; 32]>);

impl DecisionKey {
    /// A key of 256 random bits.
    #[must_use]
    pub const fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self(key)
    }

    /// What tells an account's secret from any other, in hexadecimal. Without the key
    /// nobody can find the secret by trying.
    ///
    /// # Errors
    ///
    /// [`DecisionKeyError::Key`].
    pub fn fingerprint(&self, account: &TotpAccount) -> Result<String, DecisionKeyError> {
        let mac = self.mac([FINGERPRINT, account.secret().expose()])?;
        Ok(HEXLOWER.encode(&mac.finalize().into_bytes()[..FINGERPRINT_BYTES]))
    }

    /// Signs what was decided on an enrollment after `shown` was shown.
    ///
    /// # Errors
    ///
    /// [`DecisionKeyError`].
    pub fn sign(
        &self,
        enrollment: &EnrollmentId,
        decision: ApprovalDecision,
        shown: Shown<'_>,
    ) -> Result<RaisedDecision, DecisionKeyError> {
        signed(decision, |decision, nonce| {
            self.signature(enrollment, decision, nonce, shown)
        })
    }

    /// Signs what was decided on a request after `asked` was shown.
    ///
    /// # Errors
    ///
    /// [`DecisionKeyError`].
    pub fn sign_request(
        &self,
        request: &RequestId,
        decision: ApprovalDecision,
        asked: &Asked,
    ) -> Result<RaisedDecision, DecisionKeyError> {
        signed(decision, |decision, nonce| {
            self.request_signature(request, decision, nonce, asked)
        })
    }

    /// Whether the front door has signed exactly this decision on this enrollment,
    /// after exactly this was shown. Takes as long for a wrong signature as for a right
    /// one.
    #[must_use]
    pub fn has_signed(
        &self,
        enrollment: &EnrollmentId,
        raised: &RaisedDecision,
        shown: Shown<'_>,
    ) -> bool {
        holds(raised, |decision, nonce| {
            self.signature(enrollment, decision, nonce, shown)
        })
    }

    /// Whether the front door has signed exactly this decision on this request, after
    /// exactly `asked` was shown.
    #[must_use]
    pub fn has_signed_request(
        &self,
        request: &RequestId,
        raised: &RaisedDecision,
        asked: &Asked,
    ) -> bool {
        holds(raised, |decision, nonce| {
            self.request_signature(request, decision, nonce, asked)
        })
    }

    fn signature(
        &self,
        enrollment: &EnrollmentId,
        decision: &ApprovalDecision,
        nonce: &str,
        shown: Shown<'_>,
    ) -> Result<Hmac<Sha256>, DecisionKeyError> {
        let preview = shown.preview;
        // Field by field, so that a member that a later release adds to what is shown
        // does not make its front door and an older worker disagree.
        let digits = [preview.digits];
        let period = preview.period.to_be_bytes();
        let (comment, issuer) = (
            optional(decision.comment.as_deref()),
            optional(preview.issuer.as_deref()),
        );
        let moment = moment(decision);
        let parts: [&[u8]; 13] = [
            SIGNATURE,
            enrollment.as_str().as_bytes(),
            word(decision),
            decision.by.as_str().as_bytes(),
            comment.as_bytes(),
            moment.as_bytes(),
            nonce.as_bytes(),
            issuer.as_bytes(),
            preview.account_name.as_bytes(),
            preview.algorithm.as_str().as_bytes(),
            &digits,
            &period,
            shown.fingerprint.as_bytes(),
        ];
        self.mac(parts.into_iter().chain(groups(decision)))
    }

    fn request_signature(
        &self,
        request: &RequestId,
        decision: &ApprovalDecision,
        nonce: &str,
        asked: &Asked,
    ) -> Result<Hmac<Sha256>, DecisionKeyError> {
        let preview = &asked.preview;
        let terms = asked.act.terms();
        let digits = [preview.digits];
        let period = preview.period.to_be_bytes();
        let (comment, issuer, reason) = (
            optional(decision.comment.as_deref()),
            optional(preview.issuer.as_deref()),
            optional(asked.reason.as_deref()),
        );
        let moment = moment(decision);
        let parts: [&[u8]; 17] = [
            REQUEST_SIGNATURE,
            request.as_str().as_bytes(),
            word(decision),
            decision.by.as_str().as_bytes(),
            comment.as_bytes(),
            moment.as_bytes(),
            nonce.as_bytes(),
            asked.account.as_str().as_bytes(),
            terms.as_bytes(),
            asked.requested_by.as_str().as_bytes(),
            reason.as_bytes(),
            issuer.as_bytes(),
            preview.account_name.as_bytes(),
            preview.algorithm.as_str().as_bytes(),
            &digits,
            &period,
            asked.fingerprint.as_bytes(),
        ];
        self.mac(parts.into_iter().chain(groups(decision)))
    }

    /// Over length-prefixed parts, so that no two lists of parts give the same input.
    fn mac<'a>(
        &self,
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Hmac<Sha256>, DecisionKeyError> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&*self.0).map_err(|_| DecisionKeyError::Key)?;
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Ok(mac)
    }
}

/// A decision with the signature that `mac` makes of it and a new nonce.
fn signed(
    decision: ApprovalDecision,
    mac: impl FnOnce(&ApprovalDecision, &str) -> Result<Hmac<Sha256>, DecisionKeyError>,
) -> Result<RaisedDecision, DecisionKeyError> {
    let mut nonce = [0; 16];
    SysRng
        .try_fill_bytes(&mut nonce)
        .map_err(|_| DecisionKeyError::Random)?;
    let nonce = HEXLOWER.encode(&nonce);
    let mac = mac(&decision, &nonce)?;
    Ok(RaisedDecision {
        decision,
        signature: Some(Signature {
            mac: HEXLOWER.encode(&mac.finalize().into_bytes()),
            nonce,
        }),
    })
}

/// Whether a decision carries the signature that `mac` makes of it. Takes as long for a
/// wrong signature as for a right one.
fn holds(
    raised: &RaisedDecision,
    mac: impl FnOnce(&ApprovalDecision, &str) -> Result<Hmac<Sha256>, DecisionKeyError>,
) -> bool {
    let Some(signature) = &raised.signature else {
        return false;
    };
    let Ok(claimed) = HEXLOWER.decode(signature.mac.as_bytes()) else {
        return false;
    };
    mac(&raised.decision, &signature.nonce).is_ok_and(|mac| mac.verify_slice(&claimed).is_ok())
}

fn word(decision: &ApprovalDecision) -> &'static [u8] {
    if decision.approved { b"yes" } else { b"no" }
}

/// Tells no text from an empty one.
fn optional(text: Option<&str>) -> String {
    match text {
        Some(text) => format!("+{text}"),
        None => String::new(),
    }
}

/// The groups that a decision was made for: none says what releases before groups said.
fn groups(decision: &ApprovalDecision) -> impl Iterator<Item = &[u8]> {
    decision.groups.iter().map(String::as_bytes)
}

fn moment(decision: &ApprovalDecision) -> String {
    decision
        .decided_at
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl fmt::Debug for DecisionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecisionKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otpauth;

    fn key(byte: u8) -> DecisionKey {
        DecisionKey::new(Zeroizing::new([byte; 32]))
    }

    fn account(uri: &str) -> TotpAccount {
        otpauth::parse(uri).unwrap().account
    }

    fn decision() -> ApprovalDecision {
        ApprovalDecision {
            approved: true,
            by: "second-pair-of-eyes".parse().unwrap(),
            comment: Some("seen".to_owned()),
            decided_at: "2026-01-02T03:04:05.678Z".parse().unwrap(),
            groups: Vec::new(),
        }
    }

    #[test]
    fn a_signature_is_for_one_decision_on_one_enrollment_of_one_secret() {
        let key = key(1);
        let id = EnrollmentId::random();
        let shown_account = account("otpauth://totp/ACME:ci?secret=GEZDGNBVGY3TQOJQ&issuer=ACME");
        let fingerprint = key.fingerprint(&shown_account).unwrap();
        let preview = shown_account.preview();
        let shown = Shown {
            preview: &preview,
            fingerprint: &fingerprint,
        };
        let signed = key.sign(&id, decision(), shown).unwrap();
        assert!(key.has_signed(&id, &signed, shown));
        // It survives the way through the task hub.
        let text = serde_json::to_string(&signed).unwrap();
        let signed: RaisedDecision = serde_json::from_str(&text).unwrap();
        assert!(key.has_signed(&id, &signed, shown));

        let changed = |change: fn(&mut RaisedDecision)| {
            let mut other = signed.clone();
            change(&mut other);
            key.has_signed(&id, &other, shown)
        };
        assert!(!changed(|d| d.decision.approved = false));
        assert!(!changed(|d| d.decision.by = "mallory".parse().unwrap()));
        assert!(!changed(|d| d.decision.comment = None));
        assert!(!changed(|d| d.decision.decided_at = DateTime::UNIX_EPOCH));
        assert!(!changed(|d| d.decision.groups.push("ops".to_owned())));
        assert!(!changed(|d| d.signature = None));
        assert!(!changed(|d| d.signature.as_mut().unwrap().nonce.push('0')));
        assert!(!changed(|d| d.signature.as_mut().unwrap().mac.clear()));
        assert!(!key.has_signed(&EnrollmentId::random(), &signed, shown));
        assert!(!self::key(2).has_signed(&id, &signed, shown));

        let swapped = account("otpauth://totp/ACME:ci?secret=JBSWY3DPEHPK3PXP&issuer=ACME");
        assert_eq!(swapped.preview(), preview, "an approver sees no difference");
        let fingerprint = key.fingerprint(&swapped).unwrap();
        let other = Shown {
            preview: &preview,
            fingerprint: &fingerprint,
        };
        assert!(!key.has_signed(&id, &signed, other));
    }

    use chrono::DateTime;
}
