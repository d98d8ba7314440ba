//! Communication between the front door and the task hub: enrollments, imports and requests
//! are started, followed, decided on and ended through the hub. There is no other record of
//! their progress here.

mod approval;
mod decide;
mod error;
mod follow;
mod imports;
mod list;
mod options;
mod patience;
mod recovery;
mod request_snapshot;
mod requests;
mod snapshot;
mod starting;

use std::fmt::{self, Display};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use countersign_authority::{MandatedAct, Refusal, Terms};
use countersign_enrollment::contract::ENROLL;
use countersign_enrollment::ids::{CallerId, EnrollmentId, uuid_of};
use countersign_enrollment::mandate::SignedMandate;
use countersign_enrollment::package::Package;
use countersign_enrollment::recovery::RecoveryCodes;
use countersign_enrollment::request::{Approval, EnrollmentRequest, RecoverySource, Source};
use countersign_enrollment::sealed::{ImageBytes, OtpauthText};
use data_encoding::HEXLOWER;
use durabletask::Client;
use durabletask::client::{IdReuse, InstanceState, Payloads, Recursive, Status};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::access::secret;
use crate::clock::Clock;
use crate::intake::AcceptedUpload;
use crate::keys::SealingKeys;
use crate::mandates::{self, MandateError, Mandates};
use error::{hub, internal};
use starting::Starting;

pub(crate) use approval::{ApprovalPolicy, Decider, Requester};
pub(crate) use decide::Ballot;
pub(crate) use error::HubError;
pub(crate) use imports::{ImportSnapshot, NewImport};
pub(crate) use list::{Cursor, ListQuery};
pub(crate) use options::EnrollmentOptions;
pub(crate) use recovery::NewRecoveryCodes;
pub(crate) use request_snapshot::{RequestSnapshot, RequestStage};
pub(crate) use requests::{Mandated, NewRequest, RequestQuery};
pub(crate) use snapshot::{Snapshot, Stage};

/// How long a decision waits to see that it has arrived.
const DECISION_SEEN: Duration = Duration::from_secs(2);
/// How long a decision waits for its subject to reach its approval.
const EARLY: Duration = Duration::from_secs(5);

/// What to enroll and how.
pub(crate) struct NewEnrollment<'a> {
    /// The id from [`Hub::id_for`].
    pub(crate) id: StartId<EnrollmentId>,
    pub(crate) accepted: AcceptedUpload,
    pub(crate) caller: Requester<'a>,
    pub(crate) approval_asked: bool,
    pub(crate) proof_asked: bool,
    pub(crate) options: EnrollmentOptions,
    /// The account's recovery codes, if there are any.
    pub(crate) recovery: RecoveryCodes,
}

/// The id of what is to be started, and whether anything can have been started under it before.
#[derive(Clone, Debug)]
pub(crate) struct StartId<Id> {
    id: Id,
    /// Drawn at random for this start: nothing has it, and the ledger need not be asked.
    drawn: bool,
}

impl<Id> StartId<Id> {
    pub(crate) fn drawn(id: Id) -> Self {
        Self { id, drawn: true }
    }

    /// An id that an earlier start may have had too: by the caller's idempotency key, by what is
    /// declared, or the one of another installation.
    fn given(id: Id) -> Self {
        Self { id, drawn: false }
    }
}

impl<Id> Deref for StartId<Id> {
    type Target = Id;

    fn deref(&self) -> &Id {
        &self.id
    }
}

impl<Id: Display> Display for StartId<Id> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(out)
    }
}

/// An enrollment, import or request, as an instance's state reports it.
trait FromState: Sized {
    /// None if the instance is of another kind.
    fn read(state: &InstanceState) -> Option<Self>;
    /// The instance's id.
    fn id(&self) -> &str;
    /// The caller that started it.
    fn requested_by(&self) -> &str;
    /// The keyed hash of what was requested.
    fn fingerprint(&self) -> &str;
    /// Whether it has finished.
    fn has_ended(&self) -> bool;
}

/// An instance's progress, by its own account.
enum Reported<P, O> {
    /// It has reported nothing yet, or nothing that this release understands.
    Nothing,
    Progress(P),
    Outcome(O),
    /// Also for an outcome that this release does not understand: that is not a success.
    Failed,
    Terminated,
}

fn reported<P: DeserializeOwned, O: DeserializeOwned>(state: &InstanceState) -> Reported<P, O> {
    match state.status {
        Status::Completed => state.output().map_or(Reported::Failed, Reported::Outcome),
        Status::Failed => Reported::Failed,
        Status::Terminated | Status::Canceled => Reported::Terminated,
        _ => state
            .custom_status()
            .map_or(Reported::Nothing, Reported::Progress),
    }
}

/// The front door's client of the task hub: starts, follows, decides on and ends what runs there.
pub(crate) struct Hub {
    client: Client,
    seal: SealingKeys,
    idempotency: Zeroizing<[u8; 32]>,
    mandates: Mandates,
    policy: ApprovalPolicy,
    prove_all: bool,
    clock: Arc<dyn Clock>,
}

/// What to start, before it is signed.
struct Draft {
    source: Source,
    approval: Approval,
    prove: bool,
    received: bool,
    options: EnrollmentOptions,
    recovery: Option<RecoverySource>,
    /// The keyed hash of what was requested.
    fingerprint: String,
}

impl Hub {
    /// `server_key` is the front door's own key; ids for idempotency keys and
    /// fingerprints of bodies are derived from it.
    pub(crate) fn new(
        client: Client,
        seal: SealingKeys,
        server_key: &[u8; 32],
        mandates: Mandates,
        policy: ApprovalPolicy,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let label: &[u8] = b"countersign idempotency v1";
        Self {
            client,
            seal,
            idempotency: Zeroizing::new(secret::mac(server_key, &[label])),
            mandates,
            policy,
            prove_all: false,
            clock,
        }
    }

    /// Whether every enrolled account must be proved before it is in use.
    pub(crate) fn proving_all(mut self, all: bool) -> Self {
        self.prove_all = all;
        self
    }

    /// The id of the enrollment that a caller starts: with an idempotency key the same
    /// each time, known before anything is started.
    pub(crate) fn id_for(
        &self,
        caller: &str,
        idempotency_key: Option<&str>,
    ) -> StartId<EnrollmentId> {
        match idempotency_key {
            None => StartId::drawn(EnrollmentId::random()),
            Some(key) => StartId::given(EnrollmentId::from_uuid(self.uuid_for(b"id", caller, key))),
        }
    }

    /// The id of the enrollment of an account that is declared with this URI, known before
    /// anything is started: another one for each `turn`.
    pub(crate) fn id_declared(&self, uri: &str, turn: u32) -> StartId<EnrollmentId> {
        let turn = turn.to_string();
        StartId::given(EnrollmentId::from_uuid(self.uuid_for(
            b"declared",
            &turn,
            uri,
        )))
    }

    /// Starts an enrollment, or finds the one that the same caller started with the
    /// same id and body.
    pub(crate) async fn start(&self, new: NewEnrollment<'_>) -> Result<Snapshot, HubError> {
        let id = new.id;
        let approval = self.approval(new.approval_asked);
        let asked = match (new.approval_asked, new.proof_asked) {
            (false, false) => "",
            (true, false) => "approval",
            (false, true) => "proof",
            (true, true) => "approval, proof",
        };
        let asked = format!("{asked}{}", new.options.fingerprint_text());
        let recovery = match new.recovery.is_empty() {
            true => None,
            false => {
                let sealed = self.seal.seal(&*id, &new.recovery).map_err(internal)?;
                Some(RecoverySource::Sent(sealed))
            }
        };
        let codes = new.recovery.to_bytes();
        let mut asked = Zeroizing::new(asked.into_bytes());
        if !codes.is_empty() {
            asked.extend_from_slice(b", recovery codes ");
            asked.extend_from_slice(&codes);
        }
        let asked = asked.as_slice();
        let fingerprint = match &new.accepted {
            AcceptedUpload::Uri(text) => self.fingerprint(&[b"uri", text.as_bytes(), asked]),
            AcceptedUpload::Image { original, .. } => {
                self.fingerprint(&[b"image", original, asked])
            }
        };
        let source = match new.accepted {
            AcceptedUpload::Uri(text) => Source::Uri(
                self.seal
                    .seal(&*id, &OtpauthText::new(text))
                    .map_err(internal)?,
            ),
            AcceptedUpload::Image { bytes, .. } => Source::Image(
                self.seal
                    .seal(&*id, &ImageBytes::new(bytes))
                    .map_err(internal)?,
            ),
        };
        let draft = Draft {
            source,
            approval,
            prove: new.proof_asked || self.prove_all,
            received: false,
            options: new.options,
            recovery,
            fingerprint,
        };
        self.begin(&id, &draft, new.caller, IdReuse::Never).await
    }

    /// Receives an account that another installation has sealed for this one, under the
    /// id that it has there. An earlier failed attempt of the same caller, for example with a damaged
    /// package, does not prevent another.
    pub(crate) async fn receive(
        &self,
        id: EnrollmentId,
        package: Package,
        caller: Requester<'_>,
    ) -> Result<Snapshot, HubError> {
        let id = StartId::given(id);
        let draft = Draft {
            fingerprint: self.fingerprint(&[b"transfer", package.to_text().as_bytes()]),
            source: Source::Packed(package.account),
            approval: self.approval(false),
            prove: self.prove_all,
            received: true,
            options: EnrollmentOptions::default(),
            recovery: package.recovery.map(RecoverySource::Moved),
        };
        let by: CallerId = caller.id.parse().map_err(internal)?;
        let earlier = match self.begin(&id, &draft, caller, IdReuse::Never).await {
            Err(HubError::KeyReused) => match self.get(&id, None).await {
                Ok(other) if other.failed_for(&by) => other,
                Ok(_) | Err(HubError::Unknown) => return Err(HubError::IdTaken),
                Err(error) => return Err(error),
            },
            began => began?,
        };
        if !earlier.failed_for(&by) {
            return Ok(earlier);
        }
        // Whatever the task hub does with the earlier attempt, this one replaces it.
        match self.withdraw(id.as_str(), None).await {
            Ok(_) | Err(MandateError::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let ended = vec![Status::Completed, Status::Failed, Status::Terminated];
        let reuse = IdReuse::Statuses(ended);
        let again = self.begin(&id, &draft, caller, reuse).await;
        again.map_err(|error| match error {
            HubError::KeyReused => HubError::IdTaken,
            error => error,
        })
    }

    /// Whether this installation's worker can open a package.
    pub(crate) fn is_for_us(&self, package: &Package) -> bool {
        let recovery = package.recovery.as_ref();
        self.seal.opens(package.account.key_id())
            && recovery.is_none_or(|codes| self.seal.opens(codes.key_id()))
    }

    /// The public key with which others seal packages for this installation.
    pub(crate) fn seal_key(&self) -> String {
        self.seal.to_text()
    }

    /// Signs the draft and starts it.
    async fn begin(
        &self,
        id: &StartId<EnrollmentId>,
        draft: &Draft,
        caller: Requester<'_>,
        reuse: IdReuse,
    ) -> Result<Snapshot, HubError> {
        if reuse == IdReuse::Never
            && let Some(before) = self.started_before(id, &draft.fingerprint).await?
        {
            return Ok(before);
        }
        let source = match &draft.source {
            Source::Image(image) => image.digest(),
            Source::Uri(uri) => uri.digest(),
            Source::Packed(account) => account.digest(),
            // Only workers plan, within an import.
            Source::Planned(_) => return Err(HubError::Unknown),
        };
        let act = MandatedAct::Enroll {
            source,
            prove: draft.prove,
            received: draft.received,
            steam: draft.options.steam,
            unless_there: draft.options.unless_there,
            recovery: draft.recovery.as_ref().map(RecoverySource::digest),
        };
        let mandate = self
            .accept(id.as_str(), act, &draft.approval, caller, None)
            .await?;
        let request = EnrollmentRequest {
            mandate: mandate.clone(),
            source: draft.source.clone(),
            approval: draft.approval.clone(),
            requested_by: caller.id.parse().map_err(internal)?,
            prove: draft.prove,
            received: draft.received,
            recovery: draft.recovery.clone(),
            fingerprint: draft.fingerprint.clone(),
        };
        let starting = Starting {
            start: || self.client.start(&ENROLL, &request).reuse(reuse.clone()),
            id: id.as_str(),
            caller: caller.id,
            fingerprint: &request.fingerprint,
            mandate: &mandate,
        };
        self.start_once(starting, || {
            tracing::info!(instance_id = %id, "enrollment started");
            Snapshot::just_started(id, &request, self.clock.now())
        })
        .await
    }

    /// Signs what is accepted and records it in the ledger.
    async fn accept(
        &self,
        id: &str,
        act: MandatedAct,
        approval: &Approval,
        caller: Requester<'_>,
        reason: Option<String>,
    ) -> Result<SignedMandate, HubError> {
        let at = self.clock.now();
        let accepted = mandates::NewMandate {
            id: id.to_owned(),
            act,
            terms: self.terms(approval, at),
            requested_by: caller.id.parse().map_err(internal)?,
            person: self.mandates.pseudonym(caller.person),
            reason,
            policy: self.policy.in_words(self.prove_all),
            at,
        };
        Ok(self.mandates.accept(accepted).await?)
    }

    /// The signed form of an approval.
    fn terms(&self, approval: &Approval, at: DateTime<Utc>) -> Terms {
        let deadline = TimeDelta::from_std(self.policy.timeout)
            .ok()
            .and_then(|time| at.checked_add_signed(time))
            .unwrap_or(DateTime::<Utc>::MAX_UTC);
        Terms {
            needed: approval.needed(),
            from: approval.from().to_vec(),
            deadline,
            notify: matches!(approval, Approval::Required { notify: true, .. }),
            reminders: u8::try_from(self.policy.reminders.len()).unwrap_or(u8::MAX),
        }
    }

    /// The enrollment's state, if there is one and `only`, if given, started it.
    pub(crate) async fn get(
        &self,
        id: &EnrollmentId,
        only: Option<&str>,
    ) -> Result<Snapshot, HubError> {
        let mut snapshot = self.look(id.as_str(), only).await?;
        self.belongs(id.as_str(), only).await?;
        self.check(&mut snapshot).await?;
        Ok(snapshot)
    }

    /// Checks that `only`, if given, started it: by the ledger, whatever the task hub says.
    async fn belongs(&self, id: &str, only: Option<&str>) -> Result<(), HubError> {
        match only {
            Some(caller) if !self.mandates.asked_by(id, caller).await? => Err(HubError::Unknown),
            _ => Ok(()),
        }
    }

    /// Replaces the requester, the required approvers and the approvals that the task hub reports by those of the
    /// ledger, since people base decisions on them. The preview is signed with each decision.
    async fn check(&self, snapshot: &mut Snapshot) -> Result<(), HubError> {
        let decided = !snapshot.approved_by.is_empty() || snapshot.decision.is_some();
        if snapshot.stage != Stage::AwaitingApproval && !decided {
            return Ok(());
        }
        let Some(current) = self.mandates.current(snapshot.id.as_str()).await? else {
            return Ok(());
        };
        current.correct(&mut snapshot.approved_by, &mut snapshot.decision);
        snapshot.persons = current.persons();
        snapshot.in_ledger = true;
        let mandate = current.mandate;
        snapshot.approvals_needed = mandate.terms.needed;
        snapshot.approvers = mandate.terms.from;
        snapshot.requested_by = mandate.requested_by.to_string();
        Ok(())
    }

    /// An instance's state, if it is of this kind and `only`, if given, started it.
    async fn look<S: FromState>(&self, id: &str, only: Option<&str>) -> Result<S, HubError> {
        let state = self
            .client
            .get(id, Payloads::Include)
            .await
            .map_err(hub)?
            .ok_or(HubError::Unknown)?;
        let seen = S::read(&state).ok_or(HubError::Unknown)?;
        match only {
            Some(caller) if seen.requested_by() != caller => Err(HubError::Unknown),
            _ => Ok(seen),
        }
    }

    /// Ends a running enrollment, or an import with the enrollments that it waits for,
    /// so that nothing is done under its mandate from now on, whatever the task hub does.
    /// With `only`, it is ended only if the ledger names this requester.
    pub(crate) async fn terminate(
        &self,
        id: &str,
        only: Option<&str>,
        caller: &str,
    ) -> Result<(), HubError> {
        match self.withdraw(id, only).await {
            Ok(true) => {}
            Ok(false) => return Err(HubError::Unknown),
            // It has no mandate, or the mandate has ended already: the task hub may still think that
            // it is running.
            Err(MandateError::Refused(refusal)) => {
                tracing::info!(instance_id = %id, %refusal, "nothing to withdraw");
            }
            Err(error) => return Err(error.into()),
        }
        let reason = format!("terminated by {caller}");
        self.client
            .terminate(id, &reason, Recursive::Yes)
            .await
            .map_err(hub)?;
        tracing::info!(instance_id = %id, "termination sent");
        Ok(())
    }

    /// Withdraws every mandate of `id` under which something may be done; none if they are not this
    /// requester's.
    async fn withdraw(&self, id: &str, only: Option<&str>) -> Result<bool, MandateError> {
        let mut open = self.mandates.still_open(id).await?;
        if open.is_empty() {
            // What has ended says so.
            let latest = self.mandates.latest(id).await?;
            open.push(latest.ok_or(Refusal::NoMandate)?);
        }
        let others = |caller: &str| {
            let mut mandates = open.iter().map(|(_, mandate)| mandate);
            mandates.any(|mandate| mandate.requested_by.as_str() != caller)
        };
        if only.is_some_and(others) {
            return Ok(false);
        }
        for (signed, _) in &open {
            self.mandates.withdraw(signed, id).await?;
        }
        Ok(true)
    }

    /// Whether the task hub answers.
    pub(crate) async fn reachable(&self) -> Result<(), HubError> {
        self.client.hello().await.map_err(hub)
    }

    /// Whether another person must approve: as requested, or by this server's rules.
    fn approval(&self, asked: bool) -> Approval {
        if asked || self.policy.always {
            self.required(self.policy.approvals)
        } else {
            Approval::NotRequired
        }
    }

    /// An approval by this many people, under this server's rules; none if 0.
    fn required(&self, approvals: u8) -> Approval {
        if approvals == 0 {
            return Approval::NotRequired;
        }
        Approval::Required {
            deadline_seconds: self.policy.timeout.as_secs(),
            approvals,
            from: self.policy.from.clone(),
            reminder_seconds: self
                .policy
                .reminders
                .iter()
                .map(Duration::as_secs)
                .collect(),
            notify: self.policy.notify,
        }
    }

    /// The UUID that belongs to a caller's idempotency key.
    fn uuid_for(&self, purpose: &[u8], caller: &str, key: &str) -> uuid::Uuid {
        let parts = [purpose, caller.as_bytes(), key.as_bytes()];
        uuid_of(&secret::mac(&self.idempotency, &parts))
    }

    fn fingerprint(&self, parts: &[&[u8]]) -> String {
        let mut all: Vec<&[u8]> = vec![b"body"];
        all.extend_from_slice(parts);
        HEXLOWER.encode(&secret::mac(&self.idempotency, &all))
    }
}
