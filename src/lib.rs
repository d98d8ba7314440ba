//! Countersign: a server-side TOTP authenticator for teams and automation.
//!
//! This package is the front door, the command line and the wiring; the other
//! packages of the workspace do the work.

pub mod access;
pub mod app;
pub mod audit;
pub mod backup;
mod bounds;
pub mod cli;
pub mod clock;
mod codes;
pub mod commands;
pub mod config;
pub mod data_dir;
pub mod duration;
pub mod hardening;
pub mod http;
mod hub;
mod intake;
pub mod keys;
mod ledger;
pub mod local_hub;
mod local_proof;
mod mandates;
mod mcp;
mod memory;
mod metrics;
pub mod migrate;
mod name_match;
mod private_file;
mod problem;
pub mod shutdown;
pub mod telemetry;
mod unfit;
pub mod verify;

use countersign_enrollment::causes;
