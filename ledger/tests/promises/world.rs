//! A front door and a worker in one: it signs, judges and decides on a ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use countersign_authority::{
    Act, Case, Decide, Decision, Mandate, MandatedAct, Matter, MatterState, Permit, Refusal,
    Release, RunId, SigningKey, SigningKeys, Store, Terms, VERSION, judge, shown,
};
use countersign_enrollment::account::{AccountPreview, Algorithm};
use countersign_enrollment::account_request::RequestKind;
use countersign_enrollment::mandate::{Digest, SignedDecision, SignedMandate};
use countersign_ledger::{Ledger, NewEntry, Outcome};
use zeroize::Zeroizing;

pub(crate) const ENROLLMENT: &str = "totp-5f0c3b1e-9a53-4d5e-8f2a-2b6f6f1a7c11";
pub(crate) const REQUEST: &str = "request-5f0c3b1e-9a53-4d5e-8f2a-2b6f6f1a7c11";
pub(crate) const IMPORT: &str = "import-5f0c3b1e-9a53-4d5e-8f2a-2b6f6f1a7c11";
pub(crate) const ACCOUNTS: [&str; 3] = [
    "totp-00000000-0000-4000-8000-000000000001",
    "totp-00000000-0000-4000-8000-000000000002",
    "totp-00000000-0000-4000-8000-000000000003",
];
const FINGERPRINT: &str = "00112233445566778899aabbccddeeff";

/// Where one ledger of a kind is kept, for as long as this lives.
pub(crate) trait Home: Sized {
    /// Whether there is what it takes; says so if not.
    fn is_there() -> bool {
        true
    }
    /// A place of its own with nothing in it.
    fn new() -> Self;
    /// The ledger there, as one more process opens it.
    fn open(&self) -> Arc<dyn Ledger>;
}

pub(crate) struct World {
    pub(crate) ledger: Arc<dyn Ledger>,
    keys: SigningKeys,
    nonces: AtomicU8,
}

impl World {
    pub(crate) fn on(home: &impl Home) -> Self {
        Self::over(home.open())
    }

    pub(crate) fn over(ledger: Arc<dyn Ledger>) -> Self {
        let key = SigningKey::from_seed(Zeroizing::new([1; 32])).unwrap();
        Self {
            ledger,
            keys: SigningKeys::new(key),
            nonces: AtomicU8::new(0),
        }
    }

    fn mandate(&self, id: &str, run: u8, needed: u8, act: MandatedAct) -> (Mandate, SignedMandate) {
        let mandate = Mandate {
            v: VERSION,
            ledger: self.ledger.id().clone(),
            id: id.to_owned(),
            run: RunId::from_bytes([run; 16]),
            act,
            terms: Terms {
                needed,
                from: Vec::new(),
                deadline: start() + TimeDelta::hours(1),
                notify: false,
                reminders: 0,
            },
            requested_by: "alice".parse().unwrap(),
            person: "hand-of-alice".to_owned(),
            reason: None,
            policy: "as usual".to_owned(),
            issued_at: start(),
        };
        let signed = self.keys.sign_mandate(&mandate).unwrap();
        (mandate, signed)
    }

    pub(crate) fn enrollment(&self, run: u8, needed: u8) -> (Mandate, SignedMandate) {
        let act = MandatedAct::Enroll {
            source: Digest::of(b"a sealed picture"),
            prove: false,
            received: false,
            steam: false,
            unless_there: false,
            recovery: None,
        };
        self.mandate(ENROLLMENT, run, needed, act)
    }

    pub(crate) fn import(&self, run: u8) -> (Mandate, SignedMandate) {
        let act = MandatedAct::Import {
            sources: vec![Digest::of(b"a sealed list")],
            key: Digest::of(b"a sealed key"),
            pick: None,
            dry_run: false,
            skip_same: false,
        };
        self.mandate(IMPORT, run, 0, act)
    }

    pub(crate) fn request(
        &self,
        run: u8,
        needed: u8,
        act: RequestKind,
    ) -> (Mandate, SignedMandate) {
        let act = MandatedAct::Request {
            account: ENROLLMENT.parse().unwrap(),
            act,
            preview: preview(),
            fingerprint: FINGERPRINT.to_owned(),
        };
        self.mandate(REQUEST, run, needed, act)
    }

    /// The same mandate, once the ledger has it.
    pub(crate) async fn registered(
        &self,
        (mandate, signed): (Mandate, SignedMandate),
    ) -> (Mandate, SignedMandate) {
        self.ledger.register(&mandate, &signed).await.unwrap();
        (mandate, signed)
    }

    /// What the ledger holds of `about` under a mandate.
    pub(crate) async fn held(&self, mandate: &Mandate, about: &str) -> MatterState {
        self.ledger.state(&matter(mandate, about)).await.unwrap()
    }

    /// The permit for an act by what the ledger holds now.
    pub(crate) async fn permit<D: Act>(
        &self,
        signed: &SignedMandate,
        about: &str,
        act: D,
    ) -> Result<Permit<D>, Refusal> {
        let keys = self.keys.checking();
        let mandate = keys.read_mandate(signed)?;
        let state = self.held(&mandate, about).await;
        let case = Case {
            mandate: signed,
            about,
            evidence: &state.decisions,
            state: &state,
            keys: &keys,
            now: start() + TimeDelta::minutes(10),
        };
        judge(case, act)
    }

    /// A decision that counts by what the ledger holds now, signed and not yet recorded.
    pub(crate) async fn decides(
        &self,
        signed: &SignedMandate,
        about: &str,
        approved: bool,
        by: &str,
    ) -> (Permit<Decide>, SignedDecision) {
        let mandate = self.keys.checking().read_mandate(signed).unwrap();
        let nonce = self.nonces.fetch_add(1, Ordering::Relaxed);
        let decision = Decision {
            v: VERSION,
            ledger: mandate.ledger,
            run: mandate.run,
            about: about.to_owned(),
            mandate: signed.digest(),
            shown: shown(&preview(), FINGERPRINT),
            approved,
            by: by.parse().unwrap(),
            person: format!("hand-of-{by}"),
            groups: Vec::new(),
            comment: None,
            decided_at: start() + TimeDelta::minutes(5),
            nonce: RunId::from_bytes([nonce; 16]),
        };
        let permit = self.permit(signed, about, Decide { decision }).await;
        let permit = permit.unwrap();
        let signed = self.keys.sign_decision(&permit).unwrap();
        (permit, signed)
    }
}

pub(crate) fn start() -> DateTime<Utc> {
    "2026-03-04T05:06:07Z".parse().unwrap()
}

pub(crate) fn matter(mandate: &Mandate, about: &str) -> Matter {
    Matter {
        run: mandate.run.clone(),
        about: about.to_owned(),
    }
}

pub(crate) fn read(reads: u32) -> RequestKind {
    RequestKind::Read {
        reads,
        seconds: 3_600,
    }
}

pub(crate) fn transfer() -> RequestKind {
    RequestKind::Transfer {
        to: "countersign-seal-key-1 x".to_owned(),
    }
}

/// A line of the journal, as a worker writes it.
pub(crate) fn entry(action: &str, about: &str) -> NewEntry {
    NewEntry {
        at: start(),
        about: about.to_owned(),
        account: None,
        action: action.to_owned(),
        outcome: Outcome::Done,
        reason: None,
    }
}

/// Giving the requester a code.
pub(crate) fn release() -> Release {
    Release {
        caller: "alice".parse().unwrap(),
        kind: "read",
        fingerprint: FINGERPRINT.to_owned(),
    }
}

pub(crate) fn store(account: &str) -> Store {
    Store {
        account: account.parse().unwrap(),
        shown: shown(&preview(), FINGERPRINT),
    }
}

fn preview() -> AccountPreview {
    AccountPreview {
        issuer: Some("ACME".to_owned()),
        account_name: "ci".to_owned(),
        label_issuer: None,
        algorithm: Algorithm::Sha1,
        digits: 6,
        period: 30,
    }
}
