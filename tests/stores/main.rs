//! What the stores promise that front doors share, tried on each kind of store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod audit;
mod checks;
mod rotated;
