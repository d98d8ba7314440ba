//! Parts of the process: each with an owner, a stop signal and a bound on stopping.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use durabletask::Connection;
use durabletask_scheduler::kept_elsewhere;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{AppError, Parts};
use crate::config::Config;
use crate::data_dir::{DataDir, NotedFile};
use crate::ledger::{self, Noted};

/// Refuses a front door of which there could be several, each with keys, grants, counts and an
/// audit log of its own, unless they share a database or someone has said that it is the only
/// one.
pub(super) fn refuse_half(config: &Config, parts: Parts) -> Result<(), AppError> {
    if !parts.front_door() || config.single_front_door || config.database.is_some() {
        return Ok(());
    }
    let connection = match (parts.scheduler(), &config.connection_string) {
        (false, Some(text)) => Some(Connection::parse(text)?),
        _ => None,
    };
    if connection.is_some_and(|connection| !connection.is_local()) {
        return Err(AppError::HalfDeployment("a task hub on another machine"));
    }
    if parts.scheduler() && config.hub_database.is_some() {
        return Err(AppError::HalfDeployment("a task hub in a database"));
    }
    if config.azure.key_vault.is_some() {
        return Err(AppError::HalfDeployment("Azure Key Vault"));
    }
    Ok(())
}

/// The files that a start of these parts would create again if they were missing.
pub(super) fn needed(
    data: &DataDir,
    config: &Config,
    parts: Parts,
) -> Result<Vec<NotedFile>, AppError> {
    let mut files = Vec::new();
    let is_elsewhere = kept_elsewhere(data.path())?.is_some();
    if parts.scheduler() && config.hub_database.is_none() && !is_elsewhere {
        files.push(NotedFile::Hub);
    }
    let is_shared = !matches!(ledger::noted(data)?, Noted::Own(_) | Noted::None);
    if config.database.is_some() || is_shared {
        // The rest is in the database, or the start is refused for that reason.
        return Ok(files);
    }
    if config.azure.key_vault.is_none() {
        if parts.worker() {
            files.push(NotedFile::Fingerprint);
        }
        if parts.front_door() {
            files.push(NotedFile::Mandate);
        }
    }
    let webhook = config.webhook.as_ref();
    if parts.worker() && webhook.is_some_and(|webhook| webhook.secret_file.is_none()) {
        files.push(NotedFile::Webhook);
    }
    if parts.front_door() {
        files.extend(NotedFile::DOOR);
    }
    Ok(files)
}

/// One running part.
pub(super) struct Part {
    name: &'static str,
    stop: CancellationToken,
    drain: Duration,
    task: JoinHandle<Result<(), AppError>>,
}

impl Part {
    /// Runs `work` until it is asked to stop, and cancels `failed` if it ends before.
    pub(super) fn spawn<F, W>(
        name: &'static str,
        drain: Duration,
        failed: &CancellationToken,
        work: W,
    ) -> Self
    where
        W: FnOnce(CancellationToken) -> F,
        F: Future<Output = Result<(), AppError>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        // Dropped however the task ends, including by a panic.
        let failed = failed.clone().drop_guard();
        let work = work(stop.clone());
        let task = tokio::spawn(async move {
            let _failed = failed;
            let outcome = work.await;
            tracing::debug!(part = name, ok = outcome.is_ok(), "part ended");
            outcome
        });
        Self {
            name,
            stop,
            drain,
            task,
        }
    }

    /// Asks it to stop, without waiting.
    pub(super) fn cancel(&self) {
        self.stop.cancel();
    }

    /// Asks it to stop and waits for it, up to its limit.
    pub(super) async fn stop(self) -> Result<(), AppError> {
        let early = self.task.is_finished();
        self.stop.cancel();
        let abort = self.task.abort_handle();
        let ended = match tokio::time::timeout(self.drain, self.task).await {
            Ok(Ok(Ok(()))) if early => Err(AppError::Lost {
                part: self.name,
                how: "it returned although it was not asked to stop".to_owned(),
            }),
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Err(lost(self.name, error)),
            Err(_) => {
                // What was acknowledged is durable and unfinished work is retried, so
                // aborting it is not a failure.
                abort.abort();
                tracing::warn!(part = self.name, "did not stop in time; aborted");
                Ok(())
            }
        };
        if let Err(error) = &ended {
            tracing::error!(part = self.name, early, %error, "part failed");
        }
        ended
    }
}

/// The error of a part whose task has no outcome.
pub(super) fn lost(part: &'static str, error: JoinError) -> AppError {
    let how = match error.try_into_panic() {
        Ok(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("it panicked: {}", text.unwrap_or("without a text"))
        }
        Err(error) => error.to_string(),
    };
    AppError::Lost { part, how }
}

/// The key that notices are signed with, from the file that a setting names.
pub(super) fn webhook_secret(data: &DataDir, file: &Path) -> Result<Zeroizing<String>, AppError> {
    std::path::absolute(file)
        .ok()
        .and_then(|path| data.read_secret(path).transpose())
        .ok_or_else(|| AppError::WebhookSecret(file.to_owned()))?
        .map_err(AppError::WebhookFile)
}

/// Listens on `address`, which the flag `flag` sets.
pub(super) async fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => AppError::AddressInUse { address, flag },
            _ => AppError::Listen {
                address,
                flag,
                source,
            },
        })
}

/// Answers HTTP requests until asked to stop; then finishes those in progress.
pub(super) async fn serve_http(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> Result<(), AppError> {
    let listener = listener.tap_io(|stream| {
        // Answers are small; waiting to fill a packet only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
    });
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await?;
    Ok(())
}

/// Runs `work`, which blocks, on a thread for blocking work.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AppError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| lost("start", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    async fn ended<F>(work: impl FnOnce(CancellationToken) -> F) -> Result<(), AppError>
    where
        F: Future<Output = Result<(), AppError>> + Send + 'static,
    {
        let failed = CancellationToken::new();
        let part = Part::spawn("test", SOON, &failed, work);
        tokio::task::yield_now().await;
        part.stop().await
    }

    #[tokio::test]
    async fn the_error_of_a_part_says_which_one_it_was_and_how_it_ended() {
        let asked = ended(async |stop: CancellationToken| {
            stop.cancelled().await;
            Ok(())
        });
        assert!(asked.await.is_ok());
        let error = ended(async |_| Ok(())).await.unwrap_err().to_string();
        assert_eq!(
            error,
            "the test ended unexpectedly: it returned although it was not asked to stop"
        );
        let error = ended(async |_| panic!("{} is wrong", "this")).await;
        let error = error.unwrap_err().to_string();
        assert_eq!(
            error,
            "the test ended unexpectedly: it panicked: this is wrong"
        );
        // One that does not stop in time is aborted, which is no failure.
        assert!(ended(async |_| std::future::pending().await).await.is_ok());
    }
}
