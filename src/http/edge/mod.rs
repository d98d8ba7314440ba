//! What every operation has in common: who is admitted, which limits apply,
//! how requests are read, what is recorded, and which headers an answer has. It knows no
//! operation: those of [`api`](super::api) use it, never the other way round.

pub(crate) mod arrival;
pub(crate) mod audited;
pub(crate) mod auth;
pub(crate) mod body;
mod causes;
pub(crate) mod cookie;
pub(crate) mod drain;
pub(crate) mod error;
pub(crate) mod facts;
pub(crate) mod form;
pub(crate) mod idempotency;
mod key_problem;
pub(crate) mod limits;
pub(crate) mod mandate_problem;
pub(crate) mod names;
pub(crate) mod observe;
pub(crate) mod operations;
pub(crate) mod parameters;
pub(crate) mod path;
pub(crate) mod person;
pub(crate) mod problem_code;
pub(crate) mod refusals;
pub(crate) mod reply;
pub(crate) mod security_headers;
pub(crate) mod unread;
