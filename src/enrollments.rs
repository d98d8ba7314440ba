//! Enrollments as the front door sees them: started, followed, decided and ended
//! through the task hub. There is no other record of them here.

mod imports;
mod list;
mod requests;
mod snapshot;

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, Utc};
use countersign_enrollment::contract::{APPROVAL, ENROLL};
use countersign_enrollment::decision::{ApprovalDecision, DecisionKey, Shown};
use countersign_enrollment::ids::{CallerId, EnrollmentId, uuid_of};
use countersign_enrollment::request::{Approval, EnrollmentRequest, Source};
use countersign_enrollment::sealed::{ImageBytes, OtpauthText, SealKey, Sealed};
use data_encoding::HEXLOWER;
use durabletask::{
    Client, ClientError, IdReuse, InstanceState, Payloads, Recursive, StartRequest, Status,
};
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::access::{Group, secret};
use crate::clock::Clock;
use crate::intake::Accepted;

pub(crate) use imports::{ImportSnapshot, NewImport};
pub(crate) use list::{Cursor, ListQuery};
pub(crate) use requests::{NewRequest, RequestQuery, RequestSnapshot, RequestStage};
pub(crate) use snapshot::{Snapshot, Stage};

/// How often a followed enrollment is looked at: quickly at first, when steps take
/// milliseconds, then ever slower, when it waits for a person.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const SLOWEST_LOOK: Duration = Duration::from_millis(500);
/// How long a decision waits to see that it was taken.
const DECISION_SEEN: Duration = Duration::from_secs(2);

/// Why an enrollment cannot be started, seen or changed.
#[derive(Debug, Error)]
pub(crate) enum EnrollmentError {
    #[error("no such enrollment")]
    Unknown,
    #[error("the idempotency key was used for something else")]
    KeyReused,
    #[error("the id is in use")]
    IdTaken,
    #[error("the requester may not decide")]
    SelfApproval,
    #[error("the key that decides and the one that asked are from one hand")]
    OneHand,
    #[error("not awaiting approval")]
    NotAwaiting,
    #[error("already decided")]
    AlreadyDecided,
    #[error("the time for a decision is over")]
    ApprovalExpired,
    #[error("already ended")]
    AlreadyEnded,
    #[error("the caller is in none of the groups that are asked")]
    NotAsked,
    #[error("no such request")]
    RequestUnknown,
    #[error("nothing is granted by the request, or no longer")]
    NotGranted,
    #[error("the task hub does not answer")]
    HubUnavailable(#[source] Box<dyn StdError + Send + Sync>),
    #[error("the enrollment could not be handled")]
    Internal(#[source] Box<dyn StdError + Send + Sync>),
}

/// What to enroll and how.
pub(crate) struct NewEnrollment<'a> {
    /// By [`Enrollments::id_for`].
    pub(crate) id: EnrollmentId,
    pub(crate) accepted: Accepted,
    pub(crate) caller: &'a str,
    pub(crate) approval_asked: bool,
    pub(crate) proof_asked: bool,
}

/// Somebody who decides.
#[derive(Clone, Copy)]
pub(crate) struct Decider<'a> {
    pub(crate) id: &'a str,
    pub(crate) groups: &'a [Group],
}

impl Decider<'_> {
    /// Its decision now. Only members of the groups in `from` may agree, if there are any.
    fn decision(
        self,
        approved: bool,
        comment: Option<String>,
        from: &[String],
        now: DateTime<Utc>,
    ) -> Result<ApprovalDecision, EnrollmentError> {
        let groups: Vec<String> = self
            .groups
            .iter()
            .map(|group| group.as_str().to_owned())
            .filter(|group| from.contains(group))
            .collect();
        if approved && !from.is_empty() && groups.is_empty() {
            return Err(EnrollmentError::NotAsked);
        }
        Ok(ApprovalDecision {
            approved,
            by: self.id.parse().map_err(internal)?,
            comment,
            decided_at: now.trunc_subsecs(3),
            groups,
        })
    }
}

/// What can be read from the state of an instance.
trait Seen: Sized {
    /// Nothing if the instance is of another kind.
    fn read(state: &InstanceState) -> Option<Self>;
    /// Who asked for it.
    fn requested_by(&self) -> &str;
    /// The keyed hash of what was asked for.
    fn fingerprint(&self) -> &str;
}

/// How far an instance says that it is.
enum Said<P, O> {
    /// It has said nothing yet, or nothing that this release understands.
    Nothing,
    Progress(P),
    Outcome(O),
    /// Also with an outcome that this release does not understand: that is no success.
    Failed,
    Terminated,
}

fn said<P: DeserializeOwned, O: DeserializeOwned>(state: &InstanceState) -> Said<P, O> {
    match state.status {
        Status::Completed => state.output().map_or(Said::Failed, Said::Outcome),
        Status::Failed => Said::Failed,
        Status::Terminated | Status::Canceled => Said::Terminated,
        _ => state.custom_status().map_or(Said::Nothing, Said::Progress),
    }
}

/// What can be followed from stage to stage.
trait Staged: Seen {
    type Stage: Copy + PartialEq;
    fn id(&self) -> &str;
    fn stage(&self) -> Self::Stage;
    /// Whether nothing more will happen.
    fn has_ended(&self) -> bool;
}

/// Starts, follows, decides and ends enrollments.
pub(crate) struct Enrollments {
    client: Client,
    seal: SealKey,
    idempotency: Zeroizing<[u8; 32]>,
    decisions: DecisionKey,
    policy: ApprovalPolicy,
    prove_all: bool,
    clock: Arc<dyn Clock>,
}

/// What an enrollment that needs approval needs.
#[derive(Clone, Debug)]
pub(crate) struct ApprovalPolicy {
    /// How long it waits.
    pub(crate) timeout: Duration,
    /// Whether every enrollment does, asked for or not.
    pub(crate) always: bool,
    /// How many people have to agree.
    pub(crate) approvals: u8,
    /// How many people have to agree to a request on an account; nobody has to if 0.
    pub(crate) request_approvals: u8,
    /// The groups whose members have to agree; everybody who may decide if none.
    pub(crate) from: Vec<String>,
    /// When to remind of it, counted from its start.
    pub(crate) reminders: Vec<Duration>,
    /// Whether there is somebody to tell.
    pub(crate) notify: bool,
}

impl Enrollments {
    /// `server_key` is the front door's own key; ids for idempotency keys and
    /// fingerprints of bodies are derived from it.
    pub(crate) fn new(
        client: Client,
        seal: SealKey,
        server_key: &[u8; 32],
        decisions: DecisionKey,
        policy: ApprovalPolicy,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let label: &[u8] = b"countersign idempotency v1";
        Self {
            client,
            seal,
            idempotency: Zeroizing::new(secret::mac(server_key, &[label])),
            decisions,
            policy,
            prove_all: false,
            clock,
        }
    }

    /// Whether every enrolled account has to be proved before it is in use.
    pub(crate) fn proving_all(mut self, all: bool) -> Self {
        self.prove_all = all;
        self
    }

    /// The id of the enrollment that a caller starts: with an idempotency key the same
    /// each time, known before anything is started.
    pub(crate) fn id_for(&self, caller: &str, idempotency_key: Option<&str>) -> EnrollmentId {
        match idempotency_key {
            None => EnrollmentId::random(),
            Some(key) => EnrollmentId::from_uuid(self.uuid_for(b"id", caller, key)),
        }
    }

    /// Starts an enrollment, or finds the one that the same caller started with the
    /// same id and body.
    pub(crate) async fn start(&self, new: NewEnrollment<'_>) -> Result<Snapshot, EnrollmentError> {
        let caller: CallerId = new.caller.parse().map_err(internal)?;
        let id = new.id;
        let approval = self.approval(new.approval_asked);
        let asked: &[u8] = match (new.approval_asked, new.proof_asked) {
            (false, false) => b"",
            (true, false) => b"approval",
            (false, true) => b"proof",
            (true, true) => b"approval, proof",
        };
        let fingerprint = match &new.accepted {
            Accepted::Uri(text) => self.fingerprint(&[b"uri", text.as_bytes(), asked]),
            Accepted::Image { original, .. } => self.fingerprint(&[b"image", original, asked]),
        };
        let source = match new.accepted {
            Accepted::Uri(text) => Source::Uri(
                self.seal
                    .seal(&id, &OtpauthText::new(text))
                    .map_err(internal)?,
            ),
            Accepted::Image { bytes, .. } => Source::Image(
                self.seal
                    .seal(&id, &ImageBytes::new(bytes))
                    .map_err(internal)?,
            ),
        };
        let request = self.request(source, approval, new.proof_asked, fingerprint, caller);
        self.begin(&id, &request, IdReuse::Never).await
    }

    /// Takes over an account that another installation has sealed for this one, under the
    /// id that it has there. A try of the same caller that came to nothing, with a damaged
    /// package for one, is no obstacle.
    pub(crate) async fn receive(
        &self,
        id: EnrollmentId,
        package: Sealed<OtpauthText>,
        caller: &str,
    ) -> Result<Snapshot, EnrollmentError> {
        let caller: CallerId = caller.parse().map_err(internal)?;
        let fingerprint = self.fingerprint(&[b"transfer", package.as_text().as_bytes()]);
        let (source, approval) = (Source::Uri(package), self.approval(false));
        let request = EnrollmentRequest {
            received: true,
            ..self.request(source, approval, false, fingerprint, caller)
        };
        let earlier = match self.begin(&id, &request, IdReuse::Never).await {
            Err(EnrollmentError::KeyReused) => match self.get(&id, None).await {
                Ok(other) if other.came_to_nothing_for(&request.requested_by) => other,
                Ok(_) | Err(EnrollmentError::Unknown) => return Err(EnrollmentError::IdTaken),
                Err(error) => return Err(error),
            },
            began => began?,
        };
        if !earlier.came_to_nothing_for(&request.requested_by) {
            return Ok(earlier);
        }
        let ended = vec![Status::Completed, Status::Failed, Status::Terminated];
        let again = self.begin(&id, &request, IdReuse::Statuses(ended)).await;
        again.map_err(|error| match error {
            EnrollmentError::KeyReused => EnrollmentError::IdTaken,
            error => error,
        })
    }

    /// Whether this installation's worker can open a package.
    pub(crate) fn is_for_us(&self, package: &Sealed<OtpauthText>) -> bool {
        package.key_id() == self.seal.id()
    }

    /// The key that others seal packages for this installation with. It is public.
    pub(crate) fn seal_key(&self) -> String {
        self.seal.to_text()
    }

    fn request(
        &self,
        source: Source,
        approval: Approval,
        proof_asked: bool,
        fingerprint: String,
        requested_by: CallerId,
    ) -> EnrollmentRequest {
        EnrollmentRequest {
            source,
            approval,
            requested_by,
            prove: proof_asked || self.prove_all,
            received: false,
            fingerprint,
        }
    }

    async fn begin(
        &self,
        id: &EnrollmentId,
        request: &EnrollmentRequest,
        reuse: IdReuse,
    ) -> Result<Snapshot, EnrollmentError> {
        let start = self.client.start(&ENROLL, request).reuse(reuse);
        let (caller, fingerprint) = (request.requested_by.as_str(), &request.fingerprint);
        self.start_once(start, id.as_str(), caller, fingerprint, || {
            tracing::info!(instance_id = %id, "enrollment started");
            Snapshot::just_started(id, request, self.clock.now())
        })
        .await
    }

    /// Starts the instance `id` for `caller`, or yields what a request with the same
    /// fingerprint has started under that id.
    async fn start_once<S: Seen>(
        &self,
        start: StartRequest,
        id: &str,
        caller: &str,
        fingerprint: &str,
        just_started: impl FnOnce() -> S,
    ) -> Result<S, EnrollmentError> {
        let started = start
            .instance_id(id)
            .tag("requestedBy", caller)
            .send()
            .await;
        match started {
            Ok(_) => Ok(just_started()),
            Err(ClientError::AlreadyExists { .. }) => self.repeated(id, fingerprint).await,
            Err(error) => Err(hub(error)),
        }
    }

    /// The enrollment as it is, if there is one and `only`, if given, asked for it.
    pub(crate) async fn get(
        &self,
        id: &EnrollmentId,
        only: Option<&str>,
    ) -> Result<Snapshot, EnrollmentError> {
        self.look(id.as_str(), only).await
    }

    /// What an instance says, if it is of this kind and `only`, if given, asked for it.
    async fn look<S: Seen>(&self, id: &str, only: Option<&str>) -> Result<S, EnrollmentError> {
        let state = self
            .client
            .get(id, Payloads::Include)
            .await
            .map_err(hub)?
            .ok_or(EnrollmentError::Unknown)?;
        let seen = S::read(&state).ok_or(EnrollmentError::Unknown)?;
        match only {
            Some(caller) if seen.requested_by() != caller => Err(EnrollmentError::Unknown),
            _ => Ok(seen),
        }
    }

    /// What was started before under the same id, if it was asked for in the same way.
    async fn repeated<S: Seen>(&self, id: &str, fingerprint: &str) -> Result<S, EnrollmentError> {
        let seen: S = self.look(id, None).await?;
        if secret::same(seen.fingerprint().as_bytes(), fingerprint.as_bytes()) {
            Ok(seen)
        } else {
            Err(EnrollmentError::KeyReused)
        }
    }

    /// Waits until the enrollment is in another stage than `since`, has ended, or
    /// `time` is over; then it is as returned.
    pub(crate) async fn follow(
        &self,
        snapshot: Snapshot,
        since: Stage,
        time: Duration,
    ) -> Result<Snapshot, EnrollmentError> {
        self.until_past(snapshot, since, time).await
    }

    /// The same of anything that has stages.
    async fn until_past<S: Staged>(
        &self,
        seen: S,
        since: S::Stage,
        time: Duration,
    ) -> Result<S, EnrollmentError> {
        let until = Instant::now() + time;
        let mut latest = seen;
        let mut pause = FIRST_LOOK;
        while latest.stage() == since && !latest.has_ended() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let ended = async {
                let waited = self
                    .client
                    .wait_for_completion(latest.id(), Payloads::Omit, left);
                // A wait that fails at once must not turn this into a busy loop;
                // the looks at their own pace meet the same failure.
                if waited.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = ended => {}
                () = tokio::time::sleep(pause.min(left)) => {}
            }
            pause = (pause * 2).min(SLOWEST_LOOK);
            latest = self.look(latest.id(), None).await?;
        }
        Ok(latest)
    }

    /// Waits until the enrollment has ended or waits for a decision, or `time` is over.
    pub(crate) async fn settle(
        &self,
        snapshot: Snapshot,
        time: Duration,
    ) -> Result<Snapshot, EnrollmentError> {
        let until = Instant::now() + time;
        let mut latest = snapshot;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if latest.stage.has_ended() || latest.stage == Stage::AwaitingApproval || left.is_zero()
            {
                return Ok(latest);
            }
            let since = latest.stage;
            latest = self.follow(latest, since, left).await?;
        }
    }

    /// Decides on an enrollment that waits for it.
    pub(crate) async fn decide(
        &self,
        id: &EnrollmentId,
        decider: Decider<'_>,
        approved: bool,
        comment: Option<String>,
    ) -> Result<Snapshot, EnrollmentError> {
        let caller = decider.id;
        let snapshot = self.get(id, None).await?;
        match snapshot.stage {
            Stage::AwaitingApproval => {}
            Stage::Expired => return Err(EnrollmentError::ApprovalExpired),
            Stage::Pending | Stage::Decoding | Stage::Validating => {
                return Err(EnrollmentError::NotAwaiting);
            }
            _ if snapshot.decision.is_some() || snapshot.stage == Stage::Storing => {
                return Err(if snapshot.approval_required {
                    EnrollmentError::AlreadyDecided
                } else {
                    EnrollmentError::NotAwaiting
                });
            }
            _ => return Err(EnrollmentError::NotAwaiting),
        }
        // The orchestration ignores such a decision too; here the caller is told.
        if snapshot.requested_by == caller {
            return Err(EnrollmentError::SelfApproval);
        }
        if approved && snapshot.has_agreed(caller) {
            return Err(EnrollmentError::AlreadyDecided);
        }
        let now = self.clock.now();
        let decision = decider.decision(approved, comment, &snapshot.approvers, now)?;
        let preview = snapshot.preview.as_ref();
        let shown = Shown {
            preview: preview.ok_or(EnrollmentError::NotAwaiting)?,
            fingerprint: &snapshot.secret_fingerprint,
        };
        let signed = self.decisions.sign(id, decision, shown).map_err(internal)?;
        self.client
            .raise_event(id.as_str(), &APPROVAL, &signed)
            .await
            .map_err(hub)?;
        tracing::info!(instance_id = %id, approved, "decision sent");
        // Waits a moment until it has arrived, so that whoever comes next finds it.
        self.until(snapshot, DECISION_SEEN, |latest: &Snapshot| {
            latest.stage != Stage::AwaitingApproval || (approved && latest.has_agreed(caller))
        })
        .await
    }

    /// Looks at something until it is as wanted, or `time` is over.
    async fn until<S: Staged>(
        &self,
        seen: S,
        time: Duration,
        wanted: impl Fn(&S) -> bool,
    ) -> Result<S, EnrollmentError> {
        let until = Instant::now() + time;
        let mut latest = seen;
        let mut pause = FIRST_LOOK;
        while !wanted(&latest) && Instant::now() < until {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(SLOWEST_LOOK);
            latest = self.look(latest.id(), None).await?;
        }
        Ok(latest)
    }

    /// Ends an enrollment, or an import with the enrollments that it waits for, that
    /// still runs.
    pub(crate) async fn terminate(&self, id: &str, caller: &str) -> Result<(), EnrollmentError> {
        let reason = format!("terminated by {caller}");
        self.client
            .terminate(id, &reason, Recursive::Yes)
            .await
            .map_err(hub)?;
        tracing::info!(instance_id = %id, "termination sent");
        Ok(())
    }

    /// Whether the task hub answers.
    pub(crate) async fn reachable(&self) -> Result<(), EnrollmentError> {
        self.client.hello().await.map_err(hub)
    }

    /// Whether somebody else has to agree: asked for, or a rule of this server.
    fn approval(&self, asked: bool) -> Approval {
        if asked || self.policy.always {
            self.required(self.policy.approvals)
        } else {
            Approval::NotRequired
        }
    }

    /// The approval of this many people, by the rules of this server; of nobody if 0.
    fn required(&self, approvals: u8) -> Approval {
        if approvals == 0 {
            return Approval::NotRequired;
        }
        Approval::Required {
            deadline_seconds: self.policy.timeout.as_secs(),
            approvals,
            signed: true,
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

    /// What belongs to a caller's idempotency key.
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

fn internal(error: impl StdError + Send + Sync + 'static) -> EnrollmentError {
    EnrollmentError::Internal(Box::new(error))
}

fn hub(error: ClientError) -> EnrollmentError {
    match error {
        ClientError::NotFound { .. } => EnrollmentError::Unknown,
        error @ (ClientError::Unavailable(_)
        | ClientError::DeadlineExceeded(_)
        | ClientError::Cancelled(_)
        | ClientError::Timeout { .. }) => EnrollmentError::HubUnavailable(Box::new(error)),
        error => EnrollmentError::Internal(Box::new(error)),
    }
}
