//! What is permitted, and that nothing else is: by cases, and by random tampering.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use chrono::{DateTime, TimeDelta, Utc};
use countersign_authority::{
    ActName, Case, CheckingKeys, Decide, Decision, Describe, Disable, LedgerId, Mandate,
    MandatedAct, MatterState, Notify, Open, Plan, Purge, Refusal, Release, Restore, RunId, Seal,
    SigningKey, SigningKeys, Status, Store, Terms, Use, VERSION, Withdraw, judge, shown,
};
use countersign_enrollment::account::AccountPreview;
use countersign_enrollment::account_request::RequestKind;
use countersign_enrollment::mandate::{Digest, SignedDecision, SignedMandate};
use countersign_enrollment::notice::NoticeEvent;
use proptest::prelude::*;
use zeroize::Zeroizing;

const ENROLLMENT: &str = "totp-5f0c3b1e-9a53-4d5e-8f2a-2b6f6f1a7c11";
const REQUEST: &str = "request-5f0c3b1e-9a53-4d5e-8f2a-2b6f6f1a7c11";
const FINGERPRINT: &str = "00112233445566778899aabbccddeeff";

fn start() -> DateTime<Utc> {
    "2026-03-04T05:06:07Z".parse().unwrap()
}

fn keys(byte: u8) -> SigningKeys {
    SigningKeys::new(SigningKey::from_seed(Zeroizing::new([byte; 32])).unwrap())
}

fn run(byte: u8) -> RunId {
    RunId::from_bytes([byte; 16])
}

fn ledger(byte: u8) -> LedgerId {
    LedgerId::from_bytes([byte; 16])
}

fn preview() -> AccountPreview {
    serde_json::from_value(serde_json::json!({
        "issuer": "ACME", "accountName": "ci", "algorithm": "SHA1", "digits": 6, "period": 30,
    }))
    .unwrap()
}

fn source() -> Digest {
    Digest::of(b"a sealed picture")
}

/// Everything of one case, to be tampered with.
#[derive(Clone)]
struct World {
    keys: SigningKeys,
    checking: CheckingKeys,
    mandate: Mandate,
    about: String,
    decisions: Vec<Decision>,
    /// Which of the decisions the ledger holds, and which are handed over.
    recorded: Vec<bool>,
    handed: Vec<bool>,
    status: Option<Status>,
    registered: bool,
    ledger: LedgerId,
    uses: Vec<Use>,
    now: DateTime<Utc>,
}

impl World {
    fn new(about: &str, act: MandatedAct, needed: u8) -> Self {
        let keys = keys(1);
        Self {
            checking: keys.checking(),
            keys,
            mandate: Mandate {
                v: VERSION,
                ledger: ledger(7),
                id: about.to_owned(),
                run: run(1),
                act,
                terms: Terms {
                    needed,
                    from: Vec::new(),
                    deadline: start() + TimeDelta::hours(1),
                    notify: true,
                    reminders: 2,
                },
                requested_by: "alice".parse().unwrap(),
                person: "hand-of-alice".to_owned(),
                reason: None,
                policy: "as usual".to_owned(),
                issued_at: start(),
            },
            about: about.to_owned(),
            decisions: Vec::new(),
            recorded: Vec::new(),
            handed: Vec::new(),
            status: Some(Status::Open),
            registered: true,
            ledger: ledger(7),
            uses: Vec::new(),
            now: start() + TimeDelta::minutes(10),
        }
    }

    fn enrollment(needed: u8) -> Self {
        let act = MandatedAct::Enroll {
            source: source(),
            prove: false,
            received: false,
            steam: false,
            unless_there: false,
            recovery: None,
        };
        Self::new(ENROLLMENT, act, needed)
    }

    fn request(act: RequestKind, needed: u8) -> Self {
        let act = MandatedAct::Request {
            account: ENROLLMENT.parse().unwrap(),
            act,
            preview: preview(),
            fingerprint: FINGERPRINT.to_owned(),
        };
        Self::new(REQUEST, act, needed)
    }

    fn signed(&self) -> SignedMandate {
        self.keys.sign_mandate(&self.mandate).unwrap()
    }

    fn decision(&self, approved: bool, by: &str) -> Decision {
        Decision {
            v: VERSION,
            ledger: self.mandate.ledger.clone(),
            run: self.mandate.run.clone(),
            about: self.about.clone(),
            mandate: self.signed().digest(),
            shown: shown(&preview(), FINGERPRINT),
            approved,
            by: by.parse().unwrap(),
            person: format!("hand-of-{by}"),
            groups: Vec::new(),
            comment: None,
            decided_at: start() + TimeDelta::minutes(5),
            nonce: RunId::from_bytes([by.len() as u8 + self.decisions.len() as u8; 16]),
        }
    }

    fn decided(mut self, approved: bool, by: &str) -> Self {
        let decision = self.decision(approved, by);
        self.decisions.push(decision);
        self.recorded.push(true);
        self.handed.push(true);
        self
    }

    /// The same with the last decision changed before it is signed and recorded.
    fn with_last(mut self, change: impl FnOnce(&mut Decision)) -> Self {
        change(self.decisions.last_mut().unwrap());
        self
    }

    fn used(mut self, act: ActName, done: bool) -> Self {
        self.uses.push(Use {
            act,
            name: String::new(),
            begun_at: start() + TimeDelta::minutes(6),
            done_at: done.then(|| start() + TimeDelta::minutes(6)),
            result: None,
        });
        self
    }

    fn judged<T>(&self, judgment: impl FnOnce(Case<'_>) -> T) -> T {
        let mandate = self.signed();
        let signed: Vec<SignedDecision> = self
            .decisions
            .iter()
            .map(|decision| sign(&self.keys, decision))
            .collect();
        let some = |which: &[bool]| -> Vec<SignedDecision> {
            let pairs = signed.iter().zip(which);
            pairs
                .filter(|(_, is)| **is)
                .map(|(it, _)| it.clone())
                .collect()
        };
        let (evidence, decisions) = (some(&self.handed), some(&self.recorded));
        let state = MatterState {
            ledger: self.ledger.clone(),
            mandate: self.registered.then(|| mandate.digest()),
            status: self.status,
            version: 1,
            decisions,
            uses: self.uses.clone(),
        };
        judgment(Case {
            mandate: &mandate,
            about: &self.about,
            evidence: &evidence,
            state: &state,
            keys: &self.checking,
            now: self.now,
        })
    }

    fn store(&self) -> Result<(), Refusal> {
        let act = Store {
            account: self.about.parse().unwrap(),
            shown: shown(&preview(), FINGERPRINT),
        };
        self.judged(|case| judge(case, act).map(drop))
    }

    fn release(&self) -> Result<(), Refusal> {
        let act = Release {
            caller: "alice".parse().unwrap(),
            kind: "export",
            fingerprint: FINGERPRINT.to_owned(),
        };
        self.judged(|case| judge(case, act).map(drop))
    }
}

/// Signs any decision with a front door's key, as [`SigningKeys::sign_decision`] does with one
/// that counts: an adversary may have got hold of those on other matters.
fn sign(keys: &SigningKeys, decision: &Decision) -> SignedDecision {
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    let header = Header {
        typ: Some("countersign-decision+jwt".to_owned()),
        kid: Some(keys.first().id().to_owned()),
        ..Header::new(Algorithm::EdDSA)
    };
    // PKCS#8 of an Ed25519 seed (RFC 8410): a fixed prefix and the seed.
    let text = keys.first().to_text();
    let seed = data_encoding::BASE64URL_NOPAD
        .decode(text.rsplit(' ').next().unwrap().as_bytes())
        .unwrap();
    let mut document = data_encoding::HEXLOWER
        .decode(b"302e020100300506032b657004220420")
        .unwrap();
    document.extend_from_slice(&seed);
    let key = EncodingKey::from_ed_der(&document);
    SignedDecision::from_text(encode(&header, decision, &key).unwrap())
}

fn export() -> RequestKind {
    RequestKind::Export { seconds: 3_600 }
}

fn delete() -> RequestKind {
    RequestKind::Delete { seconds: 60 }
}

fn transfer() -> RequestKind {
    RequestKind::Transfer {
        to: "countersign-seal-key-1 x".to_owned(),
    }
}

fn not_approved(result: Result<(), Refusal>) -> bool {
    matches!(result, Err(Refusal::NotApproved { .. }))
}

#[test]
fn what_enough_distinct_people_agreed_to_is_permitted() {
    assert_eq!(World::enrollment(0).store(), Ok(()));
    assert!(not_approved(World::enrollment(1).store()));
    let one = World::enrollment(1).decided(true, "bob");
    assert_eq!(one.store(), Ok(()));
    let two = World::enrollment(2).decided(true, "bob");
    assert!(not_approved(two.store()));
    assert_eq!(two.decided(true, "carol").store(), Ok(()));
    assert_eq!(
        World::request(export(), 1).decided(true, "bob").release(),
        Ok(())
    );
}

#[test]
fn one_person_is_counted_once() {
    let by_requester = World::enrollment(1)
        .decided(true, "bob")
        .with_last(|decision| decision.person = "hand-of-alice".to_owned());
    assert!(not_approved(by_requester.store()));
    let twice = World::enrollment(2)
        .decided(true, "bob")
        .decided(true, "carol")
        .with_last(|decision| decision.person = "hand-of-bob".to_owned());
    assert!(not_approved(twice.store()));
    let own = World::enrollment(1).decided(true, "alice");
    assert!(not_approved(own.store()));
}

#[test]
fn a_rejection_is_final() {
    let world = World::enrollment(1)
        .decided(true, "bob")
        .decided(false, "carol");
    assert_eq!(world.store(), Err(Refusal::Rejected));
    let mut refused = World::enrollment(1).decided(true, "bob");
    refused.status = Some(Status::Rejected);
    assert_eq!(refused.store(), Err(Refusal::Rejected));
}

#[test]
fn what_has_finished_is_not_done_again() {
    for status in [Status::Done, Status::Withdrawn] {
        let mut world = World::request(export(), 0);
        world.status = Some(status);
        assert_eq!(world.release(), Err(Refusal::Ended(status)));
    }
    let used = World::request(export(), 0).used(ActName::Release, false);
    assert_eq!(used.release(), Err(Refusal::UsedUp));
    let mut late = World::request(export(), 1).decided(true, "bob");
    late.now = start() + TimeDelta::minutes(5) + TimeDelta::seconds(3_600);
    assert_eq!(late.release(), Err(Refusal::Lapsed));
}

#[test]
fn an_account_is_destroyed_only_after_its_time_and_without_a_rejection() {
    let purge = |world: &World| world.judged(|case| judge(case, Purge).map(drop));
    let world = World::request(delete(), 1).decided(true, "bob");
    assert_eq!(purge(&world), Err(Refusal::TooEarly));
    let disabled = world.clone().used(ActName::Disable, true);
    assert_eq!(purge(&disabled), Ok(()));
    let mut early = disabled.clone();
    early.now = start() + TimeDelta::minutes(6) + TimeDelta::seconds(59);
    assert_eq!(purge(&early), Err(Refusal::TooEarly));
    let mut refused = disabled.clone().decided(false, "carol");
    refused.status = Some(Status::Rejected);
    assert_eq!(purge(&refused), Err(Refusal::Rejected));
    let restore = |world: &World| world.judged(|case| judge(case, Restore).map(drop));
    assert_eq!(restore(&refused), Ok(()));
    assert_eq!(restore(&disabled), Err(Refusal::NotRejected));
    let mut late = refused.clone();
    late.now = start() + TimeDelta::minutes(6) + TimeDelta::days(1);
    assert_eq!(restore(&late), Err(Refusal::Lapsed));
    let destroyed = refused.used(ActName::Purge, true);
    assert_eq!(restore(&destroyed), Err(Refusal::NotCovered));
}

#[test]
fn a_transferred_account_is_sealed_before_it_is_disabled() {
    let world = World::request(transfer(), 1).decided(true, "bob");
    let disable = |world: &World| world.judged(|case| judge(case, Disable).map(drop));
    assert_eq!(disable(&world), Err(Refusal::TooEarly));
    assert_eq!(disable(&world.clone().used(ActName::Seal, true)), Ok(()));
    let seal = |world: &World| world.judged(|case| judge(case, Seal).map(drop));
    assert_eq!(seal(&world), Ok(()));
    assert_eq!(seal(&World::request(delete(), 0)), Err(Refusal::NotCovered));
}

#[test]
fn only_what_was_sent_is_opened() {
    let open = |source| {
        let world = World::enrollment(1);
        world.judged(|case| judge(case, Open { source }).map(drop))
    };
    assert_eq!(open(Some(source())), Ok(()));
    assert_eq!(open(None), Ok(()));
    let other = Digest::of(b"another sealed picture");
    assert_eq!(open(Some(other)), Err(Refusal::OtherSource));
}

#[test]
fn a_mandate_counts_with_its_ledger_key_and_version_only() {
    let mut other_ledger = World::enrollment(0);
    other_ledger.ledger = ledger(8);
    assert_eq!(other_ledger.store(), Err(Refusal::OtherLedger));
    let mut unknown = World::enrollment(0);
    unknown.registered = false;
    assert_eq!(unknown.store(), Err(Refusal::Unregistered));
    let mut newer = World::enrollment(0);
    newer.mandate.v = VERSION + 1;
    let version = VERSION + 1;
    assert_eq!(newer.store(), Err(Refusal::OtherVersion { version }));
    let mut retired = World::enrollment(0);
    let id = retired.keys.first().id().to_owned();
    retired.checking = keys(2)
        .checking()
        .merged(retired.checking.retiring(&id).unwrap());
    assert_eq!(retired.store(), Err(Refusal::RetiredKey { key: id }));
    let mut elsewhere = World::enrollment(0);
    elsewhere.checking = keys(2).checking();
    assert!(matches!(elsewhere.store(), Err(Refusal::UnknownKey { .. })));
    let none = World::enrollment(0);
    none.judged(|case| {
        let empty = SignedMandate::default();
        let case = Case {
            mandate: &empty,
            ..case
        };
        assert_eq!(judge(case, Withdraw).unwrap_err(), Refusal::NoMandate);
    });
}

#[test]
fn an_import_enrolls_what_was_planned_only() {
    let import = MandatedAct::Import {
        sources: vec![source()],
        key: Digest::of(b"key"),
        pick: None,
        dry_run: false,
        skip_same: false,
    };
    let mut world = World::new("import-5f0c3b1e-9a53-4d5e-8f2a-2b6f6f1a7c11", import, 0);
    assert_eq!(world.judged(|case| judge(case, Plan).map(drop)), Ok(()));
    world.about = ENROLLMENT.to_owned();
    assert_eq!(world.store(), Ok(()));
    assert_eq!(
        world.judged(|case| judge(case, Plan).map(drop)),
        Err(Refusal::NotCovered)
    );
    // The ledger has no such account under the import.
    world.status = None;
    assert_eq!(world.store(), Err(Refusal::OtherMatter));
    world.status = Some(Status::Open);
    if let MandatedAct::Import { dry_run, .. } = &mut world.mandate.act {
        *dry_run = true;
    }
    assert_eq!(world.store(), Err(Refusal::NotCovered));
}

#[test]
fn decisions_are_signed_in_time_once_and_by_the_approvers() {
    let decide = |world: &World, approved, by: &str| {
        let decision = world.decision(approved, by);
        world.judged(|case| judge(case, Decide { decision }).map(drop))
    };
    let open = World::enrollment(2);
    assert_eq!(decide(&open, true, "bob"), Ok(()));
    assert_eq!(decide(&open, true, "alice"), Err(Refusal::OwnRequest));
    assert_eq!(decide(&open, false, "alice"), Err(Refusal::OwnRequest));
    assert_eq!(decide(&open, false, "bob"), Ok(()));
    let once = open.clone().decided(true, "bob");
    assert_eq!(decide(&once, true, "bob"), Err(Refusal::AlreadyDecided));
    assert_eq!(decide(&once, false, "bob"), Ok(()));
    let full = once.decided(true, "carol");
    assert_eq!(decide(&full, true, "dave"), Err(Refusal::AlreadyDecided));
    assert_eq!(decide(&full, false, "dave"), Ok(()));
    let stored = full.used(ActName::Store, false);
    assert_eq!(decide(&stored, false, "dave"), Err(Refusal::AlreadyDecided));

    let mut groups = World::enrollment(1);
    groups.mandate.terms.from = vec!["ops".to_owned()];
    assert_eq!(decide(&groups, true, "bob"), Err(Refusal::NotAnApprover));
    let mut late = World::enrollment(1);
    late.mandate.terms.deadline = start() + TimeDelta::minutes(4);
    assert_eq!(decide(&late, true, "bob"), Err(Refusal::TooLate));
    assert_eq!(decide(&late, false, "bob"), Err(Refusal::TooLate));
    assert_eq!(
        decide(&World::enrollment(0), true, "bob"),
        Err(Refusal::NotAwaiting)
    );
    // The requester takes a request back.
    assert_eq!(decide(&World::request(delete(), 1), false, "alice"), Ok(()));
}

#[test]
fn notices_are_about_what_has_happened() {
    let notify = |world: &World, event| {
        let act = Notify {
            event,
            name: "n".to_owned(),
            number: 0,
            shown: shown(&preview(), FINGERPRINT),
        };
        world.judged(|case| judge(case, act).map(drop))
    };
    let open = World::request(export(), 1);
    assert_eq!(notify(&open, NoticeEvent::Requested), Ok(()));
    assert!(not_approved(notify(&open, NoticeEvent::Decided)));
    assert_eq!(
        notify(&open, NoticeEvent::Stopped),
        Err(Refusal::NotRejected)
    );
    let agreed = open.clone().decided(true, "bob");
    assert_eq!(notify(&agreed, NoticeEvent::Decided), Ok(()));
    assert_eq!(
        notify(&agreed, NoticeEvent::Expired),
        Err(Refusal::AlreadyDecided)
    );
    assert_eq!(notify(&open, NoticeEvent::Expired), Err(Refusal::TooEarly));
    let mut over = open.clone();
    over.now = over.mandate.terms.deadline;
    assert_eq!(notify(&over, NoticeEvent::Expired), Ok(()));
    assert_eq!(notify(&open, NoticeEvent::Reminder), Ok(()));
    let decided = NoticeEvent::Reminder;
    assert_eq!(notify(&agreed, decided), Err(Refusal::AlreadyDecided));
    let mut unasked = open.clone();
    unasked.mandate.terms.reminders = 0;
    assert_eq!(
        notify(&unasked, NoticeEvent::Reminder),
        Err(Refusal::NotCovered)
    );
    let mut silent = open;
    silent.mandate.terms.notify = false;
    assert_eq!(
        notify(&silent, NoticeEvent::Requested),
        Err(Refusal::NotCovered)
    );
}

#[test]
fn an_act_on_an_account_needs_a_mandate_for_that_account() {
    let enrollment = World::enrollment(0);
    assert_eq!(
        enrollment.judged(|case| judge(case, Describe).map(drop)),
        Err(Refusal::NotCovered)
    );
    let mut other = World::enrollment(0);
    other.about = "totp-00000000-9a53-4d5e-8f2a-2b6f6f1a7c11".to_owned();
    assert_eq!(other.store(), Err(Refusal::OtherMatter));
}

/// One way in which an adversary changes a case that would be permitted.
fn tampered(kind: usize, text: &str, number: i64) -> World {
    let mut world = World::enrollment(2)
        .decided(true, "bob")
        .decided(true, "carol");
    let decision = |world: &mut World, change: &dyn Fn(&mut Decision)| {
        change(&mut world.decisions[0]);
    };
    match kind % 16 {
        0 => world.handed[0] = false,
        1 => world.recorded[0] = false,
        2 => decision(&mut world, &|it| it.approved = false),
        3 => decision(&mut world, &|it| it.run = run(9)),
        4 => decision(&mut world, &|it| it.about = format!("totp-{text}")),
        5 => decision(&mut world, &|it| it.mandate = Digest::of(text.as_bytes())),
        6 => decision(&mut world, &|it| it.shown = Digest::of(text.as_bytes())),
        7 => decision(&mut world, &|it| it.ledger = ledger(9)),
        8 => decision(&mut world, &|it| {
            it.decided_at = start() - TimeDelta::seconds(1 + number)
        }),
        9 => decision(&mut world, &|it| {
            it.decided_at = start() + TimeDelta::hours(1) + TimeDelta::seconds(1 + number);
        }),
        10 => decision(&mut world, &|it| it.person = "hand-of-carol".to_owned()),
        11 => decision(&mut world, &|it| it.by = "alice".parse().unwrap()),
        12 => world.mandate.run = run(9),
        13 => world.mandate.terms.needed = 3,
        14 => world.mandate.terms.from = vec![format!("g{text}")],
        _ => world.ledger = ledger(9),
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_tampered_with_is_permitted(
        kind in 0_usize..16, text in "[a-z]{1,12}", number in 0_i64..100_000,
    ) {
        let right = World::enrollment(2).decided(true, "bob").decided(true, "carol");
        prop_assert_eq!(right.store(), Ok(()));
        let world = tampered(kind, &text, number);
        prop_assert!(world.store().is_err(), "tampered in the way {}", kind);
    }

    #[test]
    fn any_changed_byte_of_a_mandate_is_noticed(at in 0_usize..10_000, to in any::<u8>()) {
        let world = World::enrollment(0);
        let signed = world.signed();
        let mut bytes = signed.as_text().as_bytes().to_vec();
        let at = at % bytes.len();
        prop_assume!(bytes[at] != to && to.is_ascii());
        bytes[at] = to;
        let changed = SignedMandate::from_text(String::from_utf8(bytes).unwrap());
        world.judged(|case| {
            let case = Case { mandate: &changed, ..case };
            prop_assert!(judge(case, Withdraw).is_err());
            Ok(())
        })?;
    }

    #[test]
    fn arbitrary_text_is_never_a_mandate(text in "\\PC{0,300}") {
        let keys = keys(1).checking();
        prop_assert!(keys.read_mandate(&SignedMandate::from_text(text.clone())).is_err());
        prop_assert!(keys.read_decision(&SignedDecision::from_text(text)).is_err());
    }
}
