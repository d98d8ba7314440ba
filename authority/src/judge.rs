//! The judgment: the one function that both worker and front door call.

use std::fmt;

use countersign_enrollment::mandate::{Digest, SignedDecision};

use crate::act::Act;
use crate::approvals::approval;
use crate::case::Case;
use crate::decision::Decision;
use crate::mandate::Mandate;
use crate::matter::{ActName, Matter};
use crate::refusal::Refusal;

/// The permission to do one act. Only [`judge`] creates one.
///
/// A counted act must be begun in the ledger with it, against the version that
/// was judged, before it is done.
pub struct Permit<D> {
    act: D,
    mandate: Mandate,
    matter: Matter,
    version: u64,
    repeats: bool,
}

impl<D> Permit<D> {
    /// The permitted act.
    pub const fn act(&self) -> &D {
        &self.act
    }

    /// The mandate.
    pub const fn mandate(&self) -> &Mandate {
        &self.mandate
    }

    /// The matter.
    pub const fn matter(&self) -> &Matter {
        &self.matter
    }

    /// The version of the matter that was judged.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Whether the ledger holds the act as begun or done already: a repetition after a
    /// crash or a lost answer, which takes nothing more.
    pub const fn repeats(&self) -> bool {
        self.repeats
    }
}

impl<D: Act> Permit<D> {
    /// The ledger's name for the act; none if the ledger does not count it.
    pub fn counted(&self) -> Option<Counted> {
        let (act, name) = self.act.counted_as()?;
        Some(Counted {
            matter: self.matter.clone(),
            version: self.version,
            act,
            name,
            limit: self.act.limit(&self.mandate),
        })
    }
}

/// An act that was permitted, as the ledger counts it. It comes from a [`Permit`] only.
#[derive(Clone, Debug)]
pub struct Counted {
    matter: Matter,
    version: u64,
    act: ActName,
    name: String,
    limit: usize,
}

impl Counted {
    /// The matter.
    #[must_use]
    pub const fn matter(&self) -> &Matter {
        &self.matter
    }

    /// The version of the matter that was judged.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The act.
    #[must_use]
    pub const fn act(&self) -> ActName {
        self.act
    }

    /// Its name among those of its kind; empty if there is only one.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How often it may be done.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }
}

impl<D: fmt::Debug> fmt::Debug for Permit<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("act", &self.act)
            .field("about", &self.matter.about)
            .field("repeats", &self.repeats)
            .finish_non_exhaustive()
    }
}

/// Whether an act may be done.
///
/// It is total and reads nothing but its arguments: the same case has the same answer.
///
/// # Errors
///
/// [`Refusal`]: why not.
pub fn judge<D: Act>(case: Case<'_>, act: D) -> Result<Permit<D>, Refusal> {
    let checked = case.check()?;
    act.judge(&checked)?;
    let repeats = match act.counted_as() {
        Some((kind, name)) => {
            let mut uses = case.state.uses.iter();
            act.limit(&checked.mandate) == 1 && uses.any(|it| it.act == kind && it.name == name)
        }
        None => false,
    };
    Ok(Permit {
        act,
        matter: checked.matter(),
        version: case.state.version,
        mandate: checked.mandate,
        repeats,
    })
}

/// A recorded decision, if it counts: whether it is one that a front door has
/// signed on exactly this matter, and recorded.
///
/// # Errors
///
/// [`Refusal`] when the mandate itself does not hold, or the decision does not count.
pub fn examine(
    case: Case<'_>,
    signed: &SignedDecision,
    shown: &Digest,
) -> Result<Decision, Refusal> {
    let checked = case.check()?;
    let decision = case.keys.read_decision(signed)?;
    if decision.approved {
        return approval(&checked, signed, shown).map_err(|reason| Refusal::NotApproved {
            needed: checked.mandate.terms.needed,
            counted: 0,
            reason: Some(reason),
        });
    }
    if !checked.is_about_this(&decision) {
        return Err(Refusal::OtherMatter);
    }
    if !case.state.decisions.contains(signed) {
        return Err(Refusal::Unregistered);
    }
    Ok(decision)
}
