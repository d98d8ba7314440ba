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
use crate::ids::EnrollmentId;

const SIGNATURE: &[u8] = b"countersign decision v1";
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
        let mac = self.mac(&[FINGERPRINT, account.secret().expose()])?;
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
        let mut nonce = [0; 16];
        SysRng
            .try_fill_bytes(&mut nonce)
            .map_err(|_| DecisionKeyError::Random)?;
        let nonce = HEXLOWER.encode(&nonce);
        let mac = self.signature(enrollment, &decision, &nonce, shown)?;
        Ok(RaisedDecision {
            decision,
            signature: Some(Signature {
                mac: HEXLOWER.encode(&mac.finalize().into_bytes()),
                nonce,
            }),
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
        let Some(signature) = &raised.signature else {
            return false;
        };
        let Ok(claimed) = HEXLOWER.decode(signature.mac.as_bytes()) else {
            return false;
        };
        self.signature(enrollment, &raised.decision, &signature.nonce, shown)
            .is_ok_and(|mac| mac.verify_slice(&claimed).is_ok())
    }

    fn signature(
        &self,
        enrollment: &EnrollmentId,
        decision: &ApprovalDecision,
        nonce: &str,
        shown: Shown<'_>,
    ) -> Result<Hmac<Sha256>, DecisionKeyError> {
        let preview = shown.preview;
        let decided_at = decision
            .decided_at
            .to_rfc3339_opts(SecondsFormat::Millis, true);
        let text = |text: &Option<String>| match text {
            Some(text) => format!("+{text}"),
            None => String::new(),
        };
        // Field by field, so that a member that a later release adds to what is shown
        // does not make its front door and an older worker disagree.
        self.mac(&[
            SIGNATURE,
            enrollment.as_str().as_bytes(),
            if decision.approved { b"yes" } else { b"no" },
            decision.by.as_str().as_bytes(),
            text(&decision.comment).as_bytes(),
            decided_at.as_bytes(),
            nonce.as_bytes(),
            text(&preview.issuer).as_bytes(),
            preview.account_name.as_bytes(),
            preview.algorithm.as_str().as_bytes(),
            &[preview.digits],
            &preview.period.to_be_bytes(),
            shown.fingerprint.as_bytes(),
        ])
    }

    /// Over length-prefixed parts, so that no two lists of parts give the same input.
    fn mac(&self, parts: &[&[u8]]) -> Result<Hmac<Sha256>, DecisionKeyError> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&*self.0).map_err(|_| DecisionKeyError::Key)?;
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Ok(mac)
    }
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
