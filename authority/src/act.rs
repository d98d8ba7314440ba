//! The acts that a permit is for, and the conditions of each.

use chrono::{DateTime, TimeDelta, Utc};
use countersign_enrollment::account_request::RequestKind;
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::mandate::Digest;
use countersign_enrollment::notice::NoticeEvent;

use crate::approvals::{approvals, is_approver};
use crate::case::Checked;
use crate::decision::{Decision, shown};
use crate::mandate::{Mandate, MandatedAct};
use crate::matter::{ActName, Status};
use crate::refusal::Refusal;

mod sealed {
    pub trait Sealed {}
}

/// Something that may be done under a mandate.
pub trait Act: sealed::Sealed {
    /// Checks whether the case permits it.
    #[doc(hidden)]
    fn judge(&self, checked: &Checked<'_>) -> Result<(), Refusal>;

    /// The ledger's name for it, and its name among those of its kind; none if the ledger
    /// does not count it.
    fn counted_as(&self) -> Option<(ActName, String)> {
        None
    }

    /// How often it may be done.
    fn limit(&self, _mandate: &Mandate) -> usize {
        1
    }
}

macro_rules! acts {
    ($($act:ident),+ $(,)?) => {
        $(impl sealed::Sealed for $act {})+
    };
}
acts!(
    Decide,
    Describe,
    Disable,
    Notify,
    Open,
    Plan,
    Purge,
    Release,
    Restore,
    Seal,
    SetRecovery,
    Store,
    Withdraw
);

/// Opening what was sealed for an enrollment or import: to read it, not to keep it.
#[derive(Clone, Debug)]
pub struct Open {
    /// The digest of what a front door has sealed; none for what a worker has stored, which
    /// is bound to the mandate separately.
    pub source: Option<Digest>,
}

impl Act for Open {
    fn judge(&self, checked: &Checked<'_>) -> Result<(), Refusal> {
        // A worker may read what it stored even after the end: to repeat an
        // answer that was lost, and to name in a notice what was refused.
        if self.source.is_some() {
            checked.open()?;
        }
        let named = |source: &Digest| match &checked.mandate.act {
            MandatedAct::Enroll {
                source: only,
                recovery,
                ..
            } => only == source || recovery.as_ref() == Some(source),
            MandatedAct::Import { sources, key, .. } => {
                (sources.contains(source) || key == source)
                    && checked.case.about == checked.mandate.id
            }
            MandatedAct::Request {
                act: RequestKind::RecoveryCodes { source: only, .. },
                ..
            } => only == source,
            MandatedAct::Request { .. } => false,
        };
        match (&self.source, &checked.mandate.act) {
            (None, MandatedAct::Request { .. }) => Err(Refusal::NotCovered),
            (Some(source), MandatedAct::Request { act, .. })
                if !matches!(act, RequestKind::RecoveryCodes { .. }) || !named(source) =>
            {
                Err(Refusal::NotCovered)
            }
            (Some(source), _) if !named(source) => Err(Refusal::OtherSource),
            _ => Ok(()),
        }
    }
}

/// Planning an import: which accounts are enrolled under which ids.
#[derive(Clone, Copy, Debug)]
pub struct Plan;

impl Act for Plan {
    fn judge(&self, checked: &Checked<'_>) -> Result<(), Refusal> {
        checked.open()?;
        match checked.mandate.act {
            MandatedAct::Import { .. } if checked.case.about == checked.mandate.id => Ok(()),
            _ => Err(Refusal::NotCovered),
        }
    }
}

/// Putting an account into the vault.
#[derive(Clone, Debug)]
pub struct Store {
    /// The id.
    pub account: EnrollmentId,
    /// What approvers must have been shown, by [`shown`], of the very account.
    pub shown: Digest,
}

impl Act for Store {
    fn judge(&self, checked: &Checked<'_>) -> Result<(), Refusal> {
        if self.account.as_str() != checked.case.about {
            return Err(Refusal::OtherMatter);
        }
        match &checked.mandate.act {
            MandatedAct::Enroll { .. } => {}
            MandatedAct::Import { dry_run: false, .. }
                if checked.case.about != checked.mandate.id => {}
            _ => return Err(Refusal::NotCovered),
        }
        if checked.case.state.done(ActName::Store).is_some() {
            return Ok(());
        }
        checked.open()?;
        checked.approved(&self.shown).map(drop)
    }

    fn counted_as(&self) -> Option<(ActName, String)> {
        once(ActName::Store)
    }
}

/// Describing the mandate's account as in the vault.
#[derive(Clone, Copy, Debug)]
pub struct Describe;

impl Act for Describe {
    fn judge(&self, checked: &Checked<'_>) -> Result<(), Refusal> {
        request(&checked.mandate)?;
        checked.open()
    }
}

/// Sealing the mandate's account for the installation that it names.
#[derive(Clone, Copy, Debug)]
pub struct Seal;

impl Act for Seal {
    fn judge(&self, checked: &Checked<'_>) -> Result<(), Refusal> {
        let asked = request(&checked.mandate)?;
        if !matches!(asked.act, RequestKind::Transfer { .. }) {
            return Err(Refusal::NotCovered);
        }
        if checked.case.state.done(ActName::Seal).is_some() {
            return Ok(());
        }
        checked.open()?;
        checked.approved(&asked.shown()).map(drop)
    }

    fn counted_as(&self) -> Option<(ActName, String)> {
        once(ActName::Seal)
    }
}

/// Disabling the mandate's account.
#[derive(Clone, Copy, Debug)]
pub struct Disable;

impl Act for Disable {
    fn judge(&self, checked: &Checked<'_>) -> Result<(), Refusal> {
        let asked = request(&checked.mandate)?;
        let state = checked.case.state;
        match asked.act {
            RequestKind::Transfer { .. } if state.done(ActName::Seal).is_none() => {
                return Err(Refusal::TooEarly);
            }
            RequestKind::Transfer { .. } | RequestKind::Delete { .. } => {}
            RequestKind::Read { .. }
            | RequestKind::Export { .. }
            | RequestKind::RecoveryCodes { .. } => {
                return Err(Refusal::NotCovered);
            }
        }
        if state.done(ActName::Disable).is_some() {
            return Ok(());
        }
        checked.open()?;
        checked.approved(&asked.shown()).map(drop)
    }

    fn counted_as(&self) -> Option<(ActName, String)> {
        once(ActName::Disable)
    }
}

/// Destroying the mandate's account.
#[derive(Clone, Copy, Debug)]
pub struct Purge;

impl Act for Purge {
    fn judge(&self, checked: &Checked<'_>) -> Result<(), Refusal> {
        let asked = request(&checked.mandate)?;
        let RequestKind::Delete { seconds } = asked.act else {
            return Err(Refusal::NotCovered);
        };
        let state = checked.case.state;
        if state.done(ActName::Purge).is_some() {
            return Ok(());
        }
        checked.open()?;
        checked.approved(&asked.shown())?;
        let disabled = state.done(ActName::Disable).and_then(|it| it.done_at);
        let due = disabled.ok_or(Refusal::TooEarly)?;
        if checked.case.now < after(due, *seconds) {
            return Err(Refusal::TooEarly);
        }
        Ok(())
    }

    fn counted_as(&self) -> Option<(ActName, String)> {
        once(ActName::Purge)
    }
}

/// Setting the recovery codes of the mandate's account.
#[derive(Clone, Copy, Debug)]
pub struct SetRecovery;

impl Act for SetRecovery {
    fn judge(&self, checked: &Checked<'_>) -> Result<(), Refusal> {
        let asked = request(&checked.mandate)?;
        if !matches!(asked.act, RequestKind::RecoveryCodes { .. }) {
            return Err(Refusal::NotCovered);
        }
        if checked.case.state.done(ActName::SetRecovery).is_some() {
            return Ok(());
        }
        checked.open()?;
        checked.approved(&asked.shown()).map(drop)
    }

    fn counted_as(&self) -> Option<(ActName, String)> {
        once(ActName::SetRecovery)
    }
}

/// How long after a rejection an account may be restored automatically, in seconds: a day, in which a vault
/// or a worker may be down.
const RESTORED_WITHIN: u64 = 24 * 3_600;

/// Enabling the mandate's account again, since someone rejected its removal.
#[derive(Clone, Copy, Debug)]
pub struct Restore;

impl Act for Restore {
    fn judge(&self, checked: &Checked<'_>) -> Result<(), Refusal> {
        let asked = request(&checked.mandate)?;
        let state = checked.case.state;
        if !matches!(asked.act, RequestKind::Delete { .. })
            || state.of(ActName::Disable).is_none()
            || state.of(ActName::Purge).is_some()
        {
            return Err(Refusal::NotCovered);
        }
        // After that it must be restored manually.
        let rejected = checked.rejection().ok_or(Refusal::NotRejected)?;
        if checked.case.now > after(rejected.decided_at, RESTORED_WITHIN) {
            return Err(Refusal::Lapsed);
        }
        Ok(())
    }

    fn counted_as(&self) -> Option<(ActName, String)> {
        once(ActName::Restore)
    }
}

/// Giving the requester a code or the URI of the mandate's account.
#[derive(Clone, Debug)]
pub struct Release {
    /// The caller.
    pub caller: CallerId,
    /// The kind of request that is used: `read` or `export`.
    pub kind: &'static str,
    /// The fingerprint of the secret in the vault.
    pub fingerprint: String,
}

impl Act for Release {
    fn judge(&self, checked: &Checked<'_>) -> Result<(), Refusal> {
        let asked = request(&checked.mandate)?;
        if checked.mandate.requested_by != self.caller {
            return Err(Refusal::OtherCaller);
        }
        let seconds = match asked.act {
            RequestKind::Read { seconds, .. } | RequestKind::Export { seconds } => *seconds,
            RequestKind::Transfer { .. }
            | RequestKind::Delete { .. }
            | RequestKind::RecoveryCodes { .. } => {
                return Err(Refusal::NotCovered);
            }
        };
        if asked.act.kind() != self.kind {
            return Err(Refusal::NotCovered);
        }
        if checked.case.state.count(ActName::Release) >= self.limit(&checked.mandate) {
            return Err(Refusal::UsedUp);
        }
        checked.open()?;
        let since = checked.approved(&asked.shown())?;
        if checked.case.now >= after(since, seconds) {
            return Err(Refusal::Lapsed);
        }
        if *asked.fingerprint != self.fingerprint {
            return Err(Refusal::OtherSecret);
        }
        Ok(())
    }

    fn counted_as(&self) -> Option<(ActName, String)> {
        Some((ActName::Release, String::new()))
    }

    fn limit(&self, mandate: &Mandate) -> usize {
        match &mandate.act {
            MandatedAct::Request {
                act: RequestKind::Read { reads, .. },
                ..
            } => usize::try_from(*reads).unwrap_or(usize::MAX),
            _ => 1,
        }
    }
}

/// Signing someone's decision.
#[derive(Clone, Debug)]
pub struct Decide {
    /// The decision, as it would be signed.
    pub decision: Decision,
}

impl Act for Decide {
    fn judge(&self, checked: &Checked<'_>) -> Result<(), Refusal> {
        let decision = &self.decision;
        let mandate = &checked.mandate;
        if !checked.is_about_this(decision) {
            return Err(Refusal::OtherMatter);
        }
        let own = decision.by == mandate.requested_by;
        let may_take_back = matches!(mandate.act, MandatedAct::Request { .. });
        if own && (decision.approved || !may_take_back) {
            return Err(Refusal::OwnRequest);
        }
        match checked.status {
            Status::Open => {}
            Status::Done | Status::Rejected => return Err(Refusal::AlreadyDecided),
            ended @ Status::Withdrawn => return Err(Refusal::Ended(ended)),
        }
        if checked.rejection().is_some() {
            return Err(Refusal::AlreadyDecided);
        }
        if decision.approved {
            self.approves(checked)
        } else {
            self.rejects(checked)
        }
    }
}

impl Decide {
    fn approves(&self, checked: &Checked<'_>) -> Result<(), Refusal> {
        let decision = &self.decision;
        let terms = &checked.mandate.terms;
        if terms.needed == 0 {
            return Err(Refusal::NotAwaiting);
        }
        // All recorded decisions are evidence here, so a hub cannot leave any out.
        let recorded = &checked.case.state.decisions;
        let counted = approvals(checked, recorded, &decision.shown).counted;
        if counted.len() >= usize::from(terms.needed)
            || counted.iter().any(|earlier| earlier.by == decision.by)
        {
            return Err(Refusal::AlreadyDecided);
        }
        if decision.decided_at > terms.deadline {
            return Err(Refusal::TooLate);
        }
        if decision.decided_at < checked.mandate.issued_at {
            return Err(Refusal::TooEarly);
        }
        let persons = counted.iter().map(|earlier| &earlier.person);
        if persons
            .chain([&checked.mandate.person])
            .any(|person| *person == decision.person)
        {
            return Err(Refusal::SamePerson);
        }
        if !is_approver(&terms.from, decision) {
            return Err(Refusal::NotAnApprover);
        }
        Ok(())
    }

    /// A rejection counts as long as it can have an effect.
    fn rejects(&self, checked: &Checked<'_>) -> Result<(), Refusal> {
        let state = checked.case.state;
        let begun = |act| state.of(act).is_some();
        match &checked.mandate.act {
            MandatedAct::Enroll { .. } | MandatedAct::Import { .. } => {
                if checked.mandate.terms.needed == 0 {
                    return Err(Refusal::NotAwaiting);
                }
                if begun(ActName::Store) {
                    return Err(Refusal::AlreadyDecided);
                }
                if self.decision.decided_at > checked.mandate.terms.deadline {
                    return Err(Refusal::TooLate);
                }
            }
            MandatedAct::Request { .. } => {
                if begun(ActName::Seal) || begun(ActName::Purge) || begun(ActName::SetRecovery) {
                    return Err(Refusal::AlreadyDecided);
                }
            }
        }
        Ok(())
    }
}

/// Ending what is in progress: by its requester, or by an administrator.
#[derive(Clone, Copy, Debug)]
pub struct Withdraw;

impl Act for Withdraw {
    fn judge(&self, checked: &Checked<'_>) -> Result<(), Refusal> {
        // An import is planned and done while its accounts are still being enrolled.
        let planned = matches!(checked.mandate.act, MandatedAct::Import { .. })
            && checked.case.about == checked.mandate.id
            && checked.status == Status::Done;
        if planned {
            return Ok(());
        }
        checked.open()
    }
}

/// Sending a notice.
#[derive(Clone, Debug)]
pub struct Notify {
    /// The reason for the notice.
    pub event: NoticeEvent,
    /// The notice's name: each is delivered once.
    pub name: String,
    /// Which reminder, from 0; 0 for everything else.
    pub number: u8,
    /// What deciders are shown, by [`shown`].
    pub shown: Digest,
}

impl Act for Notify {
    fn judge(&self, checked: &Checked<'_>) -> Result<(), Refusal> {
        let terms = &checked.mandate.terms;
        if !terms.notify {
            return Err(Refusal::NotCovered);
        }
        let ended = matches!(checked.status, Status::Rejected | Status::Withdrawn);
        let rejected = ended || checked.rejection().is_some();
        let approved = || checked.approved(&self.shown).map(drop);
        match self.event {
            NoticeEvent::Requested | NoticeEvent::Reminder if terms.needed == 0 => {
                Err(Refusal::NotCovered)
            }
            NoticeEvent::Requested => Ok(()),
            NoticeEvent::Reminder if self.number >= terms.reminders => Err(Refusal::NotCovered),
            NoticeEvent::Reminder if checked.case.now > terms.deadline => Err(Refusal::TooLate),
            NoticeEvent::Reminder => {
                checked.open()?;
                match approved() {
                    Ok(()) => Err(Refusal::AlreadyDecided),
                    Err(_) => Ok(()),
                }
            }
            NoticeEvent::Decided if checked.rejection().is_some() => Ok(()),
            NoticeEvent::Decided => approved(),
            NoticeEvent::Stopped if checked.rejection().is_some() => Ok(()),
            NoticeEvent::Stopped => Err(Refusal::NotRejected),
            NoticeEvent::Expired if rejected || approved().is_ok() => Err(Refusal::AlreadyDecided),
            NoticeEvent::Expired if checked.case.now < terms.deadline => Err(Refusal::TooEarly),
            NoticeEvent::Expired => Ok(()),
        }
    }

    fn counted_as(&self) -> Option<(ActName, String)> {
        Some((ActName::Notify, self.name.clone()))
    }
}

/// A mandate's details of an account in the vault.
struct Requested<'a> {
    act: &'a RequestKind,
    preview: &'a countersign_enrollment::account::AccountPreview,
    fingerprint: &'a str,
}

impl Requested<'_> {
    fn shown(&self) -> Digest {
        shown(self.preview, self.fingerprint)
    }
}

fn request(mandate: &Mandate) -> Result<Requested<'_>, Refusal> {
    match &mandate.act {
        MandatedAct::Request {
            act,
            preview,
            fingerprint,
            ..
        } => Ok(Requested {
            act,
            preview,
            fingerprint,
        }),
        _ => Err(Refusal::NotCovered),
    }
}

const fn once(act: ActName) -> Option<(ActName, String)> {
    Some((act, String::new()))
}

/// The time this many seconds later; none if that is out of range.
fn after(moment: DateTime<Utc>, seconds: u64) -> DateTime<Utc> {
    i64::try_from(seconds)
        .ok()
        .and_then(TimeDelta::try_seconds)
        .and_then(|delta| moment.checked_add_signed(delta))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}
