//! One stop signal for all loops of the process.

use tokio_util::sync::CancellationToken;

/// A token that is canceled when the process is asked to stop (SIGINT or
/// SIGTERM). A second signal ends the process at once with exit code 1, for when
/// draining takes longer than someone is willing to wait. SIGHUP, which would end it, does
/// nothing.
///
/// # Errors
///
/// When the signal handlers cannot be installed.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        // What can change while this runs is looked at all the time; nothing is left to do.
        while hangup.recv().await.is_some() {
            tracing::info!(
                "reload requested; nothing to do: certificate, keys and grants are always up to date"
            );
        }
    });
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
