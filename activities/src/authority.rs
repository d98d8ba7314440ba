//! What the activities are permitted to do: nothing that comes from the task hub is believed.
//!
//! An activity looks a mandate up in the ledger, asks `authority` for a permit, and writes
//! down what it does before it does it. What it may not do is refused permanently, logged, and
//! noted in the ledger's journal.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use countersign_authority::{
    Act, ActName, Case, CheckingKeys, Counted, Decision, Mandate, MandatedAct, Matter, MatterState,
    Permit, Plan, Refusal, Status, Store, examine, judge,
};
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::mandate::{Digest, SignedDecision, SignedMandate};
use countersign_ledger::{Begun, Finished, Gives, Ledger, LedgerError, NewEntry, Outcome};
use durabletask_core::Failure;

/// How often an act is judged again because something was written in the meantime.
const MAX_TRIES: usize = 8;
/// How many refusals are noted and logged one by one in a [`WINDOW`]; more are counted.
const MAX_NOTED: u32 = 30;
const WINDOW: Duration = Duration::from_secs(60);

/// Where the keys come from that mandates are checked with: the vault or the data folder,
/// never the task hub.
pub trait CheckingKeySource: Send + Sync {
    /// The keys; looked up again, within bounds, where the one with the id `claimed` is not
    /// among them.
    fn keys(&self, claimed: Option<&str>) -> Arc<CheckingKeys>;
}

impl CheckingKeySource for CheckingKeys {
    fn keys(&self, _claimed: Option<&str>) -> Arc<CheckingKeys> {
        Arc::new(self.clone())
    }
}

/// The ledger and the keys by which activities are permitted things. Clones share one instance.
#[derive(Clone)]
pub struct Authority {
    ledger: Arc<dyn Ledger>,
    keys: Arc<dyn CheckingKeySource>,
    noted: Arc<Noted>,
    ignored: Arc<Noted>,
}

/// How many refusals were noted since a window began.
struct Noted(Mutex<(Instant, u32)>);

impl Noted {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new((Instant::now(), 0))))
    }

    /// How many were not listed before this one; none if this one is not either.
    fn lists(&self) -> Option<u32> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = &mut *noted;
        let mut more = 0;
        if since.elapsed() > WINDOW {
            more = count.saturating_sub(MAX_NOTED);
            (*since, *count) = (Instant::now(), 0);
        }
        *count = count.saturating_add(1);
        (*count <= MAX_NOTED).then_some(more)
    }
}

/// A mandate that is authentic, with what the ledger holds of a matter under it.
pub(crate) struct CheckedMandate<'a> {
    authority: &'a Authority,
    signed: &'a SignedMandate,
    about: &'a str,
    keys: Arc<CheckingKeys>,
    mandate: Mandate,
    state: MatterState,
}

impl Authority {
    /// Looks in `ledger` and checks signatures by `keys`.
    pub fn new(ledger: Arc<dyn Ledger>, keys: Arc<dyn CheckingKeySource>) -> Self {
        Self {
            ledger,
            keys,
            noted: Noted::new(),
            ignored: Noted::new(),
        }
    }

    /// Writes down which accounts an import may enroll.
    ///
    /// # Errors
    ///
    /// Retriable while the ledger does not answer.
    pub(crate) async fn plan(
        &self,
        permit: &Permit<Plan>,
        accounts: &[EnrollmentId],
    ) -> Result<(), Failure> {
        self.ledger
            .plan(permit, accounts)
            .await
            .map_err(ledger_failure)
    }

    /// What holds of `about` under a mandate. `action` names what is wanted, if it is
    /// refused.
    ///
    /// # Errors
    ///
    /// Permanent when the mandate is none of ours; retriable while the ledger does not
    /// answer, or does not know the mandate's key yet.
    pub(crate) async fn look<'a>(
        &'a self,
        action: &'static str,
        signed: &'a SignedMandate,
        about: &'a str,
    ) -> Result<CheckedMandate<'a>, Failure> {
        let claimed = CheckingKeys::claimed_key(signed);
        let keys = self.keys.keys(claimed.as_deref());
        let mandate = match keys.read_mandate(signed) {
            Ok(mandate) => mandate,
            Err(refusal) => return Err(self.refused(action, about, None, refusal).await),
        };
        let matter = Matter {
            run: mandate.run.clone(),
            about: about.to_owned(),
        };
        let state = self.ledger.state(&matter).await.map_err(ledger_failure)?;
        Ok(CheckedMandate {
            authority: self,
            signed,
            about,
            keys,
            mandate,
            state,
        })
    }

    /// Which of an account's recovery codes were given out, by their marks.
    ///
    /// # Errors
    ///
    /// Retriable while the ledger does not answer.
    pub(crate) async fn recovery_given(
        &self,
        account: &EnrollmentId,
        marks: &[String],
    ) -> Result<Vec<bool>, Failure> {
        let given = self.ledger.recovery_given(account, marks).await;
        given.map_err(ledger_failure)
    }

    /// Writes down that recovery codes that come with an account were given out where it comes
    /// from.
    ///
    /// # Errors
    ///
    /// Retriable while the ledger does not answer.
    pub(crate) async fn give_recovery(
        &self,
        _permit: &Permit<Store>,
        account: &EnrollmentId,
        marks: &[String],
    ) -> Result<(), Failure> {
        let given = self.ledger.give_all_recovery(account, marks, Utc::now());
        given.await.map(drop).map_err(ledger_failure)
    }

    /// A refusal as the failure of an activity, noted where operators and auditors look.
    async fn refused(
        &self,
        action: &'static str,
        about: &str,
        account: Option<String>,
        refusal: Refusal,
    ) -> Failure {
        if let Some(more) = self.noted.lists() {
            tracing::warn!(
                instance_id = %about.escape_debug(),
                action,
                refusal = refusal.code(),
                "refused: {refusal}"
            );
            let entry = NewEntry {
                at: Utc::now(),
                about: about.to_owned(),
                account,
                action: action.to_owned(),
                outcome: Outcome::Refused,
                reason: Some(match more {
                    0 => refusal.code().to_owned(),
                    more => format!("{}, after {more} more refusals", refusal.code()),
                }),
            };
            if let Err(error) = self.ledger.note(entry).await {
                tracing::error!(%error, "cannot record a refusal in the ledger");
            }
        }
        // A key may be published, and a moment come, a little later.
        let retriable = matches!(refusal, Refusal::UnknownKey { .. } | Refusal::TooEarly);
        let failure = Failure::from(refusal);
        if retriable {
            failure
        } else {
            failure.permanent()
        }
    }

    /// Logs that a decision does not count. Anyone who reaches the task hub can raise any number of
    /// them looked at.
    pub(crate) fn ignored(&self, about: &str, refusal: &Refusal) {
        if let Some(more) = self.ignored.lists() {
            tracing::warn!(
                instance_id = %about.escape_debug(),
                refusal = refusal.code(),
                more_before = more,
                "ignored an invalid decision: {refusal}"
            );
        }
    }
}

impl CheckedMandate<'_> {
    pub(crate) const fn mandate(&self) -> &Mandate {
        &self.mandate
    }

    /// The decisions that the ledger holds, in that order.
    pub(crate) fn recorded(&self) -> Vec<SignedDecision> {
        self.state.decisions.clone()
    }

    /// Ends the matter, since there is nothing to do.
    ///
    /// # Errors
    ///
    /// Retriable while the ledger does not answer.
    pub(crate) async fn end(&self) -> Result<(), Failure> {
        let matter = Matter {
            run: self.mandate.run.clone(),
            about: self.about.to_owned(),
        };
        end(&*self.authority.ledger, &matter).await
    }

    /// Whether an act that is done once is done: what it was done with is not opened again.
    pub(crate) fn has_done(&self, act: ActName) -> bool {
        self.state.done(act).is_some()
    }

    /// The digest of the signed mandate.
    pub(crate) fn digest(&self) -> Digest {
        self.signed.digest()
    }

    fn case<'b>(&'b self, evidence: &'b [SignedDecision]) -> Case<'b> {
        Case {
            mandate: self.signed,
            about: self.about,
            evidence,
            state: &self.state,
            keys: &self.keys,
            now: Utc::now(),
        }
    }

    /// The permit for an act.
    ///
    /// # Errors
    ///
    /// Permanent when it is refused; retriable when it is refused for now.
    pub(crate) async fn permit<D: Act>(
        &self,
        action: &'static str,
        evidence: &[SignedDecision],
        act: D,
    ) -> Result<Permit<D>, Failure> {
        match judge(self.case(evidence), act) {
            Ok(permit) => Ok(permit),
            Err(refusal) => {
                let account = account_of(&self.mandate);
                Err(self
                    .authority
                    .refused(action, self.about, account, refusal)
                    .await)
            }
        }
    }

    /// What a decision says, if it counts on this matter.
    pub(crate) fn examine(
        &self,
        signed: &SignedDecision,
        shown: &Digest,
    ) -> Result<Decision, Refusal> {
        examine(self.case(&[]), signed, shown)
    }

    /// The permit for an act that the ledger counts, with the act begun there.
    ///
    /// # Errors
    ///
    /// As [`CheckedMandate::permit`]; retriable while the ledger does not answer.
    pub(crate) async fn begin<D: Act + Clone>(
        mut self,
        action: &'static str,
        evidence: &[SignedDecision],
        act: D,
    ) -> Result<(Permit<D>, Started), Failure> {
        for _ in 0..MAX_TRIES {
            let permit = self.permit(action, evidence, act.clone()).await?;
            let Some(counted) = permit.counted() else {
                return Err(Failure::new("Ledger", "this act is not counted").permanent());
            };
            let ledger = &self.authority.ledger;
            match ledger.begin(&counted, Utc::now()).await {
                Ok(begun) => {
                    let started = Started {
                        ledger: Arc::clone(ledger),
                        counted,
                        begun,
                        action,
                        account: account_of(&self.mandate),
                    };
                    return Ok((permit, started));
                }
                Err(LedgerError::Stale) => {
                    self.state = ledger
                        .state(counted.matter())
                        .await
                        .map_err(ledger_failure)?;
                }
                Err(error) => return Err(ledger_failure(error)),
            }
        }
        // Someone keeps writing about the matter; a later try may find it at rest.
        Err(ledger_failure(LedgerError::Stale))
    }
}

/// An act that is written down as begun.
pub(crate) struct Started {
    ledger: Arc<dyn Ledger>,
    counted: Counted,
    begun: Begun,
    action: &'static str,
    account: Option<String>,
}

impl Started {
    /// What came of it, if it is done already and only the answer was lost.
    pub(crate) fn done_before(&self) -> Option<Option<&str>> {
        match &self.begun {
            Begun::Before(before) if before.done_at.is_some() => Some(before.result.as_deref()),
            Begun::Before(_) | Begun::Now => None,
        }
    }

    /// Ends the matter: what was found in the vault leaves nothing to do, now or whenever a
    /// task hub asks again.
    ///
    /// # Errors
    ///
    /// Retriable while the ledger does not answer.
    pub(crate) async fn end(self) -> Result<(), Failure> {
        end(&*self.ledger, self.counted.matter()).await
    }

    /// Writes down that it is done.
    ///
    /// # Errors
    ///
    /// Retriable while the ledger does not answer.
    pub(crate) async fn finish(
        self,
        result: Option<&str>,
        status: Option<Status>,
    ) -> Result<(), Failure> {
        self.finish_giving(result, status, None).await
    }

    /// Writes down that it is done, and which recovery codes are given out by it.
    ///
    /// # Errors
    ///
    /// Retriable while the ledger does not answer, and when a code was given out in the
    /// meantime.
    pub(crate) async fn finish_giving(
        self,
        result: Option<&str>,
        status: Option<Status>,
        gives: Option<Gives<'_>>,
    ) -> Result<(), Failure> {
        let left = gives.map(|gives| gives.given.iter().filter(|given| !**given).count());
        let now = Utc::now();
        let about = self.counted.matter().about.clone();
        let finished = Finished {
            at: now,
            result,
            status,
            entry: Some(NewEntry {
                at: now,
                account: self.account.or_else(|| Some(about.clone())),
                about,
                action: self.action.to_owned(),
                outcome: Outcome::Done,
                reason: left.map(|left| format!("with {left} recovery codes")),
            }),
            gives,
        };
        self.ledger
            .finish(&self.counted, finished)
            .await
            .map_err(ledger_failure)
    }
}

/// Ends a matter in the ledger: nothing is done about it from now on.
async fn end(ledger: &dyn Ledger, matter: &Matter) -> Result<(), Failure> {
    ledger.withdraw(matter).await.map_err(ledger_failure)
}

/// The account that a mandate is about, if it says one.
fn account_of(mandate: &Mandate) -> Option<String> {
    match &mandate.act {
        MandatedAct::Request { account, .. } => Some(account.to_string()),
        MandatedAct::Enroll { .. } | MandatedAct::Import { .. } => None,
    }
}

fn ledger_failure(error: LedgerError) -> Failure {
    tracing::warn!(%error, "the ledger is unavailable");
    let lasting = matches!(error, LedgerError::OtherLedger | LedgerError::RunTaken);
    let failure = Failure::from(error);
    if lasting {
        failure.permanent()
    } else {
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_listed_in_a_while_and_the_next_one_after_it_says_how_many_were_not() {
        let noted = Noted::new();
        let listed = (0..1_000).filter(|_| noted.lists() == Some(0)).count();
        assert_eq!(listed, MAX_NOTED as usize);
        let past = Instant::now().checked_sub(WINDOW * 2).unwrap();
        noted.0.lock().unwrap().0 = past;
        assert_eq!(noted.lists(), Some(1_000 - MAX_NOTED));
        assert_eq!(noted.lists(), Some(0));
    }
}
