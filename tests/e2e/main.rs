//! The whole system through its public doors: the real binary, its HTTP API, its
//! command line and its files.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each test program uses a part of it"
)]
mod support;

mod accounts;
mod adversary;
mod agent;
mod approvals;
mod audit;
mod audit_changes;
mod backup;
mod bad_input;
mod by_name;
mod codes;
mod collector;
mod command_line;
mod crash;
mod duplicates;
mod enrollment;
mod ensure;
mod final_decisions;
mod folders;
mod golden_responses;
mod groups_and_tags;
mod hardening;
mod hostile_hub;
mod hostile_worker;
mod hub;
mod imports;
mod intake;
mod leak;
mod ledger;
mod local_server;
mod long_import;
mod matrix;
mod mcp;
mod metrics;
mod on_the_machine;
mod operations;
mod other_program;
mod oversize;
mod pending_stream;
mod persons;
mod proof;
mod recovery;
mod recovery_hostile;
mod recovery_imports;
mod recovery_moves;
mod reload;
mod request_commands;
mod request_helpers;
mod requests;
mod rotations;
mod separate_processes;
mod settings;
mod single_front_door;
mod strangers;
mod telemetry;
mod tracing;
mod webhook;
