//! `countersign serve` and the single parts: start, print the addresses, run until asked to stop.

use std::io::IsTerminal as _;
use std::sync::Arc;

use serde_json::json;

use super::folder::folder_fault;
use super::output;
use super::{Exit, Fault, Outcome};
use crate::app::{AppError, Parts, Running};
use crate::cli::ServeArgs;
use crate::clock::SystemClock;
use crate::config::{AuthMode, Config, LockMemory, Written};
use crate::data_dir::DataDir;
use crate::hardening;
use crate::keys::KeyMaterialError;
use crate::shutdown;
use crate::telemetry::Telemetry;

pub(super) async fn everything(args: &ServeArgs) -> Outcome {
    run(args, Parts::Everything).await
}

pub(super) async fn front_door(args: &ServeArgs) -> Outcome {
    run(args, Parts::FrontDoor).await
}

pub(super) async fn worker(args: &ServeArgs) -> Outcome {
    run(args, Parts::Worker).await
}

async fn run(args: &ServeArgs, parts: Parts) -> Outcome {
    let config = super::load(&args.settings)?;
    let written = Written::now(&args.settings);
    let telemetry = Telemetry::start(&config).map_err(|error| {
        Fault::new(
            Exit::Usage,
            format!("the settings of OpenTelemetry cannot be used: {error}"),
        )
    })?;
    let outcome = match shutdown::reload_on_hangup(written, telemetry.filter(), true) {
        Ok(()) => serve(config, parts, args.json).await,
        Err(error) => Err(Fault::failed(error)),
    };
    telemetry.stop().await;
    outcome
}

async fn serve(config: Config, parts: Parts, json: bool) -> Outcome {
    hardening::harden();
    keep_out_of_swap(config.lock_memory)?;
    let stop = shutdown::on_signal().map_err(Fault::failed)?;
    let starting = Running::start_parts(config.clone(), parts, Arc::new(SystemClock));
    let running = tokio::select! {
        started = starting => started.map_err(not_started)?,
        // The front door may be waiting for a worker.
        () = stop.cancelled() => return Ok(()),
    };
    if json {
        // Its address is known, and other parts may need it to start.
        announce_json(&running)?;
    } else {
        let waits = |lacks: &str| {
            output::note(&match running.server_url() {
                Some(server) => format!("Listening at {server}, and waiting for {lacks}"),
                None => format!("Waiting for {lacks}"),
            });
        };
        tokio::select! {
            () = running.ready(waits) => announce(&config, &running).await,
            () = stop.cancelled() => {}
        }
    }
    running.run_until(stop).await.map_err(Fault::failed)
}

/// A front door without a worker has its own exit code: a restart may help.
fn not_started(error: AppError) -> Fault {
    let exit = match error {
        AppError::DataDir(error) => return folder_fault(error),
        AppError::KeyMaterial(KeyMaterialError::NoWorker { .. }) => Exit::NoWorker,
        _ if error.is_of_a_setting() => Exit::Usage,
        _ => Exit::Failed,
    };
    Fault::new(exit, error.to_string())
}

/// Before any secret is read.
fn keep_out_of_swap(wish: LockMemory) -> Outcome {
    if wish == LockMemory::Off {
        return Ok(());
    }
    match hardening::lock_memory() {
        Ok(()) => Ok(()),
        Err(error) if wish == LockMemory::Auto => {
            tracing::info!(%error, "memory may be swapped out");
            Ok(())
        }
        Err(error) => Err(Fault::new(
            Exit::Failed,
            format!("--lock-memory on: {error}"),
        )),
    }
}

fn announce_json(running: &Running) -> Outcome {
    let url = |address: Option<std::net::SocketAddr>| address.map(|a| format!("http://{a}"));
    output::document(&json!({
        "server": running.server_url(),
        "publicUrl": running.public_url(),
        "scheduler": url(running.scheduler_addr),
        "hubTokenFile": running.hub_token_file,
        "dashboard": url(running.dashboard_addr),
        "metrics": url(running.metrics_addr),
        "pid": std::process::id(),
    }))
}

async fn announce(config: &Config, running: &Running) {
    if let Some(server) = running.public_url() {
        output::line(&format!("Countersign is ready at {server}"));
    } else {
        output::line("Countersign is ready");
    }
    if let Some(server) = running.http_addr {
        output::line(&format!("  Listening   {server}"));
        announce_front_door(config, running).await;
    }
    if let Some(address) = running.dashboard_addr {
        output::line(&format!(
            "  Dashboard   http://{address} (`countersign dashboard` prints a link that opens it)"
        ));
    }
    if let Some(address) = running.metrics_addr {
        output::line(&format!("  Metrics     http://{address}/metrics"));
    }
    if let (Some(address), Some(token_file)) = (running.scheduler_addr, &running.hub_token_file) {
        output::line(&format!(
            "  Task hub    Endpoint=http://{address};TaskHub={};Authentication=Token;TokenFile={}",
            config.task_hub,
            token_file.display()
        ));
    }
    if let Some(server) = running.public_url() {
        announce_first_step(config, &server);
    }
}

async fn announce_front_door(config: &Config, running: &Running) {
    if config.auth == AuthMode::None {
        output::line("  Access      everyone on this machine may do everything (--auth none)");
        return;
    }
    // A log or a journal is not a place for what opens the door, not even once.
    let link = match std::io::stdout().is_terminal() {
        true => running.login_link().await,
        false => None,
    };
    match link {
        Some(link) => output::line(&format!(
            "  Log in      {}  (works once; for another: countersign login-link)",
            link.as_str()
        )),
        None => output::line(&format!(
            "  Log in      countersign login-link --data-dir '{}'",
            config.data_dir.display()
        )),
    }
    if config.admin_token.is_some() {
        output::line("  Token       from COUNTERSIGN_ADMIN_TOKEN");
        return;
    }
    let file = DataDir::at(&config.data_dir).admin_token_path();
    output::line(&format!("  Token file  {}", file.display()));
}

fn announce_first_step(config: &Config, server: &str) {
    let credential = match (config.auth, &config.admin_token) {
        (AuthMode::None, _) => String::new(),
        (AuthMode::Token, Some(_)) => {
            " -H \"Authorization: Bearer $COUNTERSIGN_ADMIN_TOKEN\"".to_owned()
        }
        (AuthMode::Token, None) => format!(
            " -H \"Authorization: Bearer $(cat '{}')\"",
            DataDir::at(&config.data_dir).admin_token_path().display()
        ),
    };
    output::line("Try it:");
    output::line(&format!(
        "  curl{credential} -H 'content-type: application/json' -d '{{\"uri\":\"otpauth://totp/Test%20Token?secret=2FASTEST&issuer=2FAS\"}}' {server}/api/accounts"
    ));
}
