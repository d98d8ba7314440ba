//! The judgement: the one function that both worker and front door call.

use std::fmt;

use countersign_enrollment::mandate::{Digest, SignedDecision};

use crate::approvals::approval;
use crate::case::Case;
use crate::decision::Decision;
use crate::deed::Deed;
use crate::holdings::{DeedName, Matter};
use crate::mandate::Mandate;
use crate::refusal::Refusal;

/// The permission to do one deed. Only [`judge`] creates one.
///
/// A counted deed must be begun in the ledger with it, against the version that
/// was judged, before it is done.
pub struct Permit<D> {
    deed: D,
    mandate: Mandate,
    matter: Matter,
    version: u64,
    repeats: bool,
}

impl<D> Permit<D> {
    /// The permitted deed.
    pub const fn deed(&self) -> &D {
        &self.deed
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

    /// Whether the ledger holds the deed as begun or done already: a repetition after a
    /// crash or a lost answer, which takes nothing more.
    pub const fn repeats(&self) -> bool {
        self.repeats
    }
}

impl<D: Deed> Permit<D> {
    /// The ledger's name for the deed; none if the ledger does not count it.
    pub fn counted(&self) -> Option<Counted> {
        let (deed, name) = self.deed.counted_as()?;
        Some(Counted {
            matter: self.matter.clone(),
            version: self.version,
            deed,
            name,
            limit: self.deed.limit(&self.mandate),
        })
    }
}

/// A deed that was permitted, as the ledger counts it. It comes from a [`Permit`] only.
#[derive(Clone, Debug)]
pub struct Counted {
    matter: Matter,
    version: u64,
    deed: DeedName,
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

    /// The deed.
    #[must_use]
    pub const fn deed(&self) -> DeedName {
        self.deed
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
            .field("deed", &self.deed)
            .field("about", &self.matter.about)
            .field("repeats", &self.repeats)
            .finish_non_exhaustive()
    }
}

/// Whether a deed may be done.
///
/// It is total and reads nothing but its arguments: the same case has the same answer.
///
/// # Errors
///
/// [`Refusal`]: why not.
pub fn judge<D: Deed>(case: Case<'_>, deed: D) -> Result<Permit<D>, Refusal> {
    let checked = case.check()?;
    deed.judge(&checked)?;
    let repeats = match deed.counted_as() {
        Some((kind, name)) => {
            let mut uses = case.holdings.uses.iter();
            deed.limit(&checked.mandate) == 1 && uses.any(|it| it.deed == kind && it.name == name)
        }
        None => false,
    };
    Ok(Permit {
        deed,
        matter: checked.matter(),
        version: case.holdings.version,
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
    if !case.holdings.decisions.contains(signed) {
        return Err(Refusal::Unregistered);
    }
    Ok(decision)
}
