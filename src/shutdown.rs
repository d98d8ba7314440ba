//! One stop signal for all loops of the process.

use tokio_util::sync::CancellationToken;

/// A token that is cancelled when the process is asked to stop (SIGINT or
/// SIGTERM). A second signal ends the process at once with exit code 1, for when
/// draining takes longer than somebody is willing to wait.
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
        tracing::info!("asked to stop, finishing what is under way");
        cancelled.cancel();
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::warn!("asked to stop again, ending at once");
        std::process::exit(1);
    });
    Ok(stop)
}
