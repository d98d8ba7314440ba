//! Signs and records what the front door accepts before anything is started, and
//! looks it up before anything is given out: the task hub is trusted in neither.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, Utc};
use countersign_activities::CheckingKeySource as _;
use countersign_authority::{
    ActName, Case, CheckingKeys, Decide, Decision, KeyProblem, Mandate, MandatedAct, Matter,
    MatterState, Permit, Refusal, Release, RunId, SigningKeys, Terms, VERSION, Withdraw, judge,
};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::decision::ApprovalDecision;
use countersign_enrollment::fingerprint::{FingerprintKey, FingerprintKeyError};
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::mandate::{Digest, SignedDecision, SignedMandate};
use countersign_enrollment::recovery::RecoveryCodes;
use countersign_ledger::{Begun, Given, Ledger, LedgerError};
use data_encoding::HEXLOWER;
use thiserror::Error;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::access::secret;
use crate::clock::Clock;
use crate::keys::{MandateChecks, MandateKeys};

/// How often a check is repeated because the ledger was written in the meantime.
const MAX_TRIES: usize = 8;
/// How many bytes of a person's pseudonym are kept.
const PSEUDONYM_BYTES: usize = 16;

/// The keys of a front door, which are replaced and retired while it runs.
pub(crate) struct DoorMandateKeys {
    /// What it signs with.
    pub(crate) signs: MandateKeys,
    /// What it checks with.
    pub(crate) checks: MandateChecks,
}

impl DoorMandateKeys {
    fn signing(&self) -> Arc<SigningKeys> {
        self.signs.signing()
    }

    fn checking(&self) -> Arc<CheckingKeys> {
        self.checks.keys(None)
    }
}

/// Why something is not signed or not given out.
#[derive(Debug, Error)]
pub(crate) enum MandateError {
    /// It is not permitted.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The ledger does not answer.
    #[error("the ledger is unavailable")]
    Ledger(#[from] LedgerError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyProblem),
    /// The key that secrets are named with cannot be used.
    #[error(transparent)]
    Fingerprint(#[from] FingerprintKeyError),
    /// The system has no random numbers to give.
    #[error("the system's random number source failed")]
    Random,
}

/// What to accept.
pub(crate) struct NewMandate {
    /// The enrollment, import or request.
    pub(crate) id: String,
    pub(crate) act: MandatedAct,
    pub(crate) terms: Terms,
    pub(crate) requested_by: CallerId,
    /// The person behind the requester, by [`Mandates::pseudonym`].
    pub(crate) person: String,
    pub(crate) reason: Option<String>,
    /// The rules in force, in words.
    pub(crate) policy: String,
    pub(crate) at: DateTime<Utc>,
}

/// What someone decides.
pub(crate) struct NewDecision {
    pub(crate) approved: bool,
    pub(crate) by: CallerId,
    pub(crate) person: String,
    pub(crate) groups: Vec<String>,
    pub(crate) comment: Option<String>,
    /// The digest of what was shown, by [`countersign_authority::shown`].
    pub(crate) shown: Digest,
}

/// What the ledger says of an enrollment or request.
pub(crate) struct CurrentMandate {
    pub(crate) mandate: Mandate,
    /// How often it was used.
    pub(crate) releases: usize,
    /// The package that a worker has sealed by it for another installation.
    pub(crate) package: Option<String>,
    decisions: Vec<Decision>,
}

impl CurrentMandate {
    /// Keeps of the approvals that the task hub shows those that someone has signed.
    pub(crate) fn correct(
        &self,
        approved_by: &mut Vec<CallerId>,
        decision: &mut Option<ApprovalDecision>,
    ) {
        let decided = |by: &CallerId, approved| {
            let mut decisions = self.decisions.iter();
            decisions.any(|it| it.by == *by && it.approved == approved)
        };
        approved_by.retain(|by| decided(by, true));
        decision.take_if(|it| !decided(&it.by, it.approved));
    }

    /// The people behind requester and approvers, by [`Mandates::pseudonym`]: none of them counts
    /// again.
    pub(crate) fn persons(&self) -> Vec<String> {
        let agreed = self.decisions.iter().filter(|decision| decision.approved);
        let persons = agreed.map(|decision| decision.person.clone());
        persons.chain([self.mandate.person.clone()]).collect()
    }
}

/// The ledger and the keys of a front door.
pub(crate) struct Mandates {
    ledger: Arc<dyn Ledger>,
    keys: DoorMandateKeys,
    fingerprints: FingerprintKey,
    pseudonyms: Zeroizing<[u8; 32]>,
    clock: Arc<dyn Clock>,
    /// Held while a use is checked and recorded, so that concurrent uses of one request
    /// wait for each other rather than retry until they give up.
    releasing: Mutex<()>,
}

impl Mandates {
    /// `server_key` is the front door's own key: people's pseudonyms are derived from it.
    pub(crate) fn new(
        ledger: Arc<dyn Ledger>,
        keys: DoorMandateKeys,
        fingerprints: FingerprintKey,
        server_key: &[u8; 32],
        clock: Arc<dyn Clock>,
    ) -> Self {
        let label: &[u8] = b"countersign hands v1";
        Self {
            ledger,
            keys,
            fingerprints,
            pseudonyms: Zeroizing::new(secret::mac(server_key, &[label])),
            clock,
            releasing: Mutex::new(()),
        }
    }

    /// The pseudonym under which a person is signed: equal for the same person, and meaningless to
    /// readers of a history.
    pub(crate) fn pseudonym(&self, person: &str) -> String {
        HEXLOWER.encode(&secret::mac(&self.pseudonyms, &[person.as_bytes()])[..PSEUDONYM_BYTES])
    }

    /// The fingerprint of an account's secret.
    pub(crate) fn fingerprint(&self, account: &TotpAccount) -> Result<String, MandateError> {
        Ok(self.fingerprints.fingerprint(account)?)
    }

    /// Signs what is accepted, and records it. When this returns, it is on disk.
    pub(crate) async fn accept(&self, new: NewMandate) -> Result<SignedMandate, MandateError> {
        let mandate = Mandate {
            v: VERSION,
            ledger: self.ledger.id().clone(),
            id: new.id,
            run: random_run()?,
            act: new.act,
            terms: new.terms,
            requested_by: new.requested_by,
            person: new.person,
            reason: new.reason,
            policy: new.policy,
            issued_at: new.at,
        };
        let signed = self.keys.signing().sign_mandate(&mandate)?;
        self.ledger.register(&mandate, &signed).await?;
        Ok(signed)
    }

    /// Removes a mandate under which nothing was started.
    pub(crate) async fn never_began(&self, signed: &SignedMandate) -> Result<(), MandateError> {
        let mandate = self.keys.checking().read_mandate(signed)?;
        let (run, about) = (mandate.run, mandate.id);
        Ok(self.ledger.withdraw(&Matter { run, about }).await?)
    }

    /// Ends what runs under a mandate: nothing is done under it from now on.
    pub(crate) async fn withdraw(
        &self,
        signed: &SignedMandate,
        about: &str,
    ) -> Result<(), MandateError> {
        let (state, keys) = self.state(signed, about).await?;
        let case = self.case(signed, about, &[], &state, &keys);
        let permit = judge(case, Withdraw)?;
        Ok(self.ledger.withdraw(permit.matter()).await?)
    }

    /// The mandate of a request, from the ledger.
    pub(crate) async fn latest(
        &self,
        about: &str,
    ) -> Result<Option<(SignedMandate, Mandate)>, MandateError> {
        let Some(registered) = self.ledger.latest(about).await? else {
            return Ok(None);
        };
        let mandate = self.keys.checking().read_mandate(&registered.mandate)?;
        Ok(Some((registered.mandate, mandate)))
    }

    /// The mandates of a request under which something may still be done, the last one first.
    pub(crate) async fn still_open(
        &self,
        about: &str,
    ) -> Result<Vec<(SignedMandate, Mandate)>, MandateError> {
        let open = self.ledger.still_open(about).await?;
        let keys = self.keys.checking();
        open.into_iter()
            .map(|registered| {
                let mandate = keys.read_mandate(&registered.mandate)?;
                Ok((registered.mandate, mandate))
            })
            .collect()
    }

    /// Signs and records a valid decision. One that the same caller has made before in
    /// the same way, and that may not have arrived, is returned as it was signed.
    pub(crate) async fn decide(
        &self,
        signed: &SignedMandate,
        about: &str,
        verdict: &NewDecision,
    ) -> Result<SignedDecision, MandateError> {
        for _ in 0..MAX_TRIES {
            let (state, keys) = self.state(signed, about).await?;
            let recorded = state.decisions.iter().find(|recorded| {
                keys.read_decision(recorded).is_ok_and(|earlier| {
                    earlier.by == verdict.by
                        && earlier.approved == verdict.approved
                        && earlier.shown == verdict.shown
                })
            });
            if let Some(recorded) = recorded {
                return Ok(recorded.clone());
            }
            let mandate = keys.read_mandate(signed)?;
            let decision = Decision {
                v: VERSION,
                ledger: self.ledger.id().clone(),
                run: mandate.run,
                about: about.to_owned(),
                mandate: signed.digest(),
                shown: verdict.shown.clone(),
                approved: verdict.approved,
                by: verdict.by.clone(),
                person: verdict.person.clone(),
                groups: verdict.groups.clone(),
                comment: verdict.comment.clone(),
                decided_at: self.clock.now().trunc_subsecs(3),
                nonce: random_run()?,
            };
            let case = self.case(signed, about, &[], &state, &keys);
            let permit: Permit<Decide> = judge(case, Decide { decision })?;
            let decision = self.keys.signing().sign_decision(&permit)?;
            match self.ledger.record(&permit, &decision).await {
                Ok(()) => return Ok(decision),
                Err(LedgerError::Stale) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LedgerError::Stale.into())
    }

    /// Whether, according to the ledger, enough people have approved the same thing.
    pub(crate) async fn agreed(
        &self,
        signed: &SignedMandate,
        about: &str,
    ) -> Result<bool, MandateError> {
        let (state, keys) = self.state(signed, about).await?;
        let mandate = keys.read_mandate(signed)?;
        let mut persons: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
        for decision in state.decisions {
            let decision = keys.read_decision(&decision)?;
            if decision.approved {
                persons
                    .entry(decision.shown)
                    .or_default()
                    .insert(decision.person);
            }
        }
        let needed = usize::from(mandate.terms.needed);
        Ok(needed > 0 && persons.values().any(|persons| persons.len() >= needed))
    }

    /// Takes one use of what a mandate grants to `caller`: when this returns, the use is
    /// recorded, and the code or URI of `account` may be given out once.
    pub(crate) async fn release(
        &self,
        signed: &SignedMandate,
        caller: &CallerId,
        kind: &'static str,
        account: &TotpAccount,
    ) -> Result<Permit<Release>, MandateError> {
        let fingerprint = self.fingerprint(account)?;
        let mandate = self.keys.checking().read_mandate(signed)?;
        let _one_at_a_time = self.releasing.lock().await;
        for _ in 0..MAX_TRIES {
            let (state, keys) = self.state(signed, &mandate.id).await?;
            let act = Release {
                caller: caller.clone(),
                kind,
                fingerprint: fingerprint.clone(),
            };
            // Decisions are in the ledger; the task hub need not provide them.
            let evidence = &state.decisions;
            let permit = judge(self.case(signed, &mandate.id, evidence, &state, &keys), act)?;
            if permit.repeats() {
                return Err(Refusal::UsedUp.into());
            }
            let Some(counted) = permit.counted() else {
                return Err(Refusal::NotCovered.into());
            };
            match self.ledger.begin(&counted, self.clock.now()).await {
                Ok(Begun::Now) => return Ok(permit),
                Ok(Begun::Before(_)) => return Err(Refusal::UsedUp.into()),
                Err(LedgerError::Stale) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LedgerError::Stale.into())
    }

    /// How many of an account's recovery codes are unused.
    pub(crate) async fn recovery_left(
        &self,
        account: &EnrollmentId,
        codes: &RecoveryCodes,
    ) -> Result<usize, MandateError> {
        let marks = self.recovery_marks(account, codes)?;
        let given = self.ledger.recovery_given(account, &marks).await?;
        Ok(given.into_iter().filter(|given| !given).count())
    }

    /// Records that one of an account's recovery codes is given out, and returns which.
    pub(crate) async fn give_recovery(
        &self,
        account: &EnrollmentId,
        codes: &RecoveryCodes,
    ) -> Result<Option<Given>, MandateError> {
        let marks = self.recovery_marks(account, codes)?;
        let now = self.clock.now();
        Ok(self.ledger.give_recovery(account, &marks, now).await?)
    }

    /// Writes down that all of an account's recovery codes are given out, and says which of
    /// them were not before.
    pub(crate) async fn give_all_recovery(
        &self,
        account: &EnrollmentId,
        codes: &RecoveryCodes,
    ) -> Result<Vec<bool>, MandateError> {
        let marks = self.recovery_marks(account, codes)?;
        let now = self.clock.now();
        Ok(self.ledger.give_all_recovery(account, &marks, now).await?)
    }

    fn recovery_marks(
        &self,
        account: &EnrollmentId,
        codes: &RecoveryCodes,
    ) -> Result<Vec<String>, MandateError> {
        let marks = codes
            .expose()
            .map(|code| self.fingerprints.of_recovery_code(account, code));
        Ok(marks.collect::<Result<_, _>>()?)
    }

    /// Whether a caller started an enrollment, import or request, by the ledger; for what it
    /// does not know, the task hub is trusted.
    pub(crate) async fn asked_by(&self, about: &str, caller: &str) -> Result<bool, MandateError> {
        match self.latest(about).await {
            Ok(Some((_, mandate))) => Ok(mandate.requested_by.as_str() == caller),
            Ok(None) | Err(MandateError::Refused(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// What the ledger says of an enrollment or request, whatever the task hub shows;
    /// none if there is no valid mandate for it.
    pub(crate) async fn current(
        &self,
        about: &str,
    ) -> Result<Option<CurrentMandate>, MandateError> {
        let (signed, mandate) = match self.latest(about).await {
            Ok(Some(found)) => found,
            Ok(None) | Err(MandateError::Refused(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (state, keys) = self.state(&signed, about).await?;
        let decisions = state.decisions.iter();
        Ok(Some(CurrentMandate {
            decisions: decisions
                .filter_map(|signed| keys.read_decision(signed).ok())
                .collect(),
            releases: state.count(ActName::Release),
            // Given out only once the account is disabled here.
            package: state
                .done(ActName::Disable)
                .and_then(|_| state.done(ActName::Seal))
                .and_then(|sealed| sealed.result.clone()),
            mandate,
        }))
    }

    async fn state(
        &self,
        signed: &SignedMandate,
        about: &str,
    ) -> Result<(MatterState, Arc<CheckingKeys>), MandateError> {
        let keys = self.keys.checking();
        let mandate = keys.read_mandate(signed)?;
        let matter = Matter {
            run: mandate.run,
            about: about.to_owned(),
        };
        Ok((self.ledger.state(&matter).await?, keys))
    }

    fn case<'a>(
        &self,
        mandate: &'a SignedMandate,
        about: &'a str,
        evidence: &'a [SignedDecision],
        state: &'a MatterState,
        keys: &'a CheckingKeys,
    ) -> Case<'a> {
        Case {
            mandate,
            about,
            evidence,
            state,
            keys,
            now: self.clock.now(),
        }
    }
}

fn random_run() -> Result<RunId, MandateError> {
    let bytes = secret::random_bytes::<16>().map_err(|_| MandateError::Random)?;
    Ok(RunId::from_bytes(*bytes))
}
