//! The vocabulary of an enrollment: ids, requests, outcomes, otpauth URIs and sealed values.
//!
//! Everything here is a value. Nothing here reads a clock, a file or a socket; the
//! only effect is drawing random numbers for ids, keys and envelopes.

pub mod account;
pub mod account_request;
mod bounds;
pub mod causes;
pub mod code_parts;
pub mod contract;
pub mod decision;
pub mod filing;
pub mod fingerprint;
pub mod foreign;
pub mod google_export;
pub mod ids;
pub mod import;
pub mod mandate;
pub mod notice;
pub mod otpauth;
pub mod outcome;
pub mod package;
pub mod problem;
pub mod progress;
pub mod recovery;
pub mod region;
pub mod request;
pub mod sealed;
pub mod text;
pub mod time;
