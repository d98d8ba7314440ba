//! Signals: one stop for all loops of the process, and a reload.

use tokio_util::sync::CancellationToken;

use crate::config::{Changes, ConfigError, Written};
use crate::telemetry::LogFilter;

/// A token that is canceled when the process is asked to stop (SIGINT or
/// SIGTERM). A second signal ends the process at once with exit code 1, in case
/// draining takes too long.
///
/// # Errors
///
/// When the signal handlers cannot be installed.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("shutdown requested; draining");
        cancelled.cancel();
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::warn!("second signal; exiting immediately");
        std::process::exit(1);
    });
    Ok(stop)
}

/// Reads the settings file again on each SIGHUP, which would otherwise end the process: applies
/// what can change while it runs, and names in the log what cannot. `follows` is whether the
/// log's filter is that of the file.
///
/// # Errors
///
/// When the signal handler cannot be installed.
pub(crate) fn reload_on_hangup(
    mut written: Written,
    filter: LogFilter,
    follows: bool,
) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut hangup = signal(SignalKind::hangup())?;
    // Runs until the process ends: a SIGHUP must never end it.
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let reread = written.reread();
            if let (Ok(changes), true) = (&reread, follows) {
                filter.set(&changes.config.log.filter);
            }
            tell(written.file(), reread);
        }
    });
    Ok(())
}

/// Logs the result of a reload.
fn tell(file: Option<&str>, reread: Result<Changes, ConfigError>) {
    let Some(file) = file else {
        tracing::info!(
            "reloaded: no settings file is named, so no setting can have changed; certificates, \
             keys, grants and token files are read again whenever they change"
        );
        return;
    };
    match reread {
        Ok(Changes { live, waiting, .. }) => {
            let applied = match live.is_empty() {
                true => "nothing that has changed".to_owned(),
                false => live.join(", "),
            };
            tracing::info!(file, applied, "reloaded the settings");
            if !waiting.is_empty() {
                tracing::warn!(
                    file,
                    settings = waiting.join(", "),
                    "these settings have changed and need a restart"
                );
            }
        }
        Err(error) => tracing::error!(
            file,
            problems = error.problems.join("; "),
            "the settings cannot be used and none of them was reloaded"
        ),
    }
}
