//! Calls of the service by any of the SDK's clients: bounded, with tries of our own.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use azure_core::http::{ClientOptions, RetryOptions, Transport};
use tokio::time::Instant;

use super::error::{KeyVaultError, Operation};
use super::pace::Gate;
use super::settings::{KeyVaultSettings, SettingsError};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);

/// How long a call may take.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    pub(super) one: Duration,
    pub(super) all: Duration,
}

/// What has happened since the process started.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) calls: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) throttled: AtomicU64,
}

/// The calls of one client.
#[derive(Default)]
pub(super) struct Calls {
    gate: Gate,
    pub(super) counters: Counters,
}

impl Calls {
    /// Tries until it works, cannot work, or the budget would be exceeded.
    pub(super) async fn call<T, A, F>(
        &self,
        operation: Operation,
        budget: Budget,
        attempt: A,
    ) -> Result<T, KeyVaultError>
    where
        A: Fn() -> F,
        F: Future<Output = azure_core::Result<T>>,
    {
        let started = Instant::now();
        let deadline = started + budget.all;
        let mut tries = 0;
        loop {
            if let Some(opens) = self.gate.opens() {
                if opens > deadline.max(started + budget.one) {
                    return Err(KeyVaultError::Throttled {
                        retry_after: Some(opens - Instant::now()),
                    });
                }
                tokio::time::sleep_until(opens).await;
            }
            self.counters.calls.fetch_add(1, Ordering::Relaxed);
            let patience = match tries {
                0 => budget.one,
                _ => budget.one.min(deadline - Instant::now()),
            };
            let error = match tokio::time::timeout(patience, attempt()).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) => KeyVaultError::from_sdk(operation, &error),
                Err(_) => KeyVaultError::TimedOut { after: patience },
            };
            self.note(operation, &error, tries);
            let Some(wait) = error.wait(tries) else {
                return Err(error);
            };
            let wait = jitter(wait);
            if Instant::now() + wait >= deadline {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            tries += 1;
            self.counters.retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn note(&self, operation: Operation, error: &KeyVaultError, tries: u32) {
        if let KeyVaultError::Throttled { retry_after } = error {
            self.counters.throttled.fetch_add(1, Ordering::Relaxed);
            // The others need not find out on their own.
            if let Some(wait) = retry_after {
                self.gate.close(*wait);
            }
        }
        if error.wait(tries).is_some() {
            tracing::warn!(operation = operation.name, tries, %error, "Key Vault call failed");
        }
    }
}

/// What a client of the SDK is set up with.
pub(super) fn options_of(settings: &KeyVaultSettings) -> Result<ClientOptions, SettingsError> {
    let mut http = reqwest::Client::builder()
        // Whatever the environment says: what is sent is for the vault alone.
        .no_proxy()
        .connect_timeout(CONNECT)
        // Longer than any try, which is cut off by its own bound.
        .read_timeout(settings.limits.write_try)
        .redirect(reqwest::redirect::Policy::none());
    if let Some(path) = &settings.ca_file {
        let failed = |reason: String| SettingsError::CaFile {
            path: path.clone(),
            reason,
        };
        let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|error| failed(error.to_string()))?;
        if certificates.is_empty() {
            return Err(failed("it contains no certificate in PEM form".to_owned()));
        }
        http = http.tls_certs_merge(certificates);
    }
    let http = http
        .build()
        .map_err(|error| SettingsError::Client(error.to_string()))?;
    Ok(ClientOptions {
        transport: Some(Transport::new(Arc::new(http))),
        retry: RetryOptions::none(),
        ..ClientOptions::default()
    })
}

/// A little longer, by chance, so that those who failed together do not come back
/// together.
fn jitter(wait: Duration) -> Duration {
    wait + wait.mul_f64(rand::random_range(0.0..0.2))
}
