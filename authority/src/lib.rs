//! What may be done with an account, and why.
//!
//! The task hub, its database and its dashboard are not trusted: everything in an
//! orchestration's input, in an event or in an activity's result is only a claim. So the
//! front door signs what it has accepted, a [`Mandate`], and what people decide, a
//! [`Decision`]; and worker and front door call this crate before they act on a secret:
//!
//! *(mandate, evidence, what the ledger holds, keys, now) → permit or refusal.*
//!
//! It is the house's third pure core. It reads no clock, no file and no socket, and it is
//! total: every input has an answer. Everything that releases, changes, seals, signs or sends requires a
//! [`Permit`], which only [`judge`] creates.
//!
//! ```text
//!  front door                       task hub                      worker
//!  ──────────                       ────────                      ──────
//!  Mandate ── sign ──▶ ledger
//!        └──────────▶ carried along, but not trusted ───────────▶ judge ──▶ Permit ──▶ vault
//!  Decision ─ sign ──▶ ledger ◀──────────── what is there ──────────┘
//! ```

mod act;
mod approvals;
mod case;
mod decision;
mod judge;
mod keys;
mod mandate;
mod matter;
mod refusal;
mod token;

pub use act::{
    Act, Decide, Describe, Disable, Notify, Open, Plan, Purge, Release, Restore, Seal, SetRecovery,
    Store, Withdraw,
};
pub use case::Case;
pub use decision::{Decision, shown};
pub use judge::{Counted, Permit, examine, judge};
pub use keys::{CheckingKeys, KeyProblem, SigningKey, SigningKeys};
pub use mandate::{LedgerId, Mandate, MandatedAct, RunId, Terms, VERSION};
pub use matter::{ActName, Matter, MatterState, Status, Use};
pub use refusal::{Discounted, Refusal};
