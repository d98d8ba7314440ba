//! What tests of the whole program share: it as processes or within the test, its callers, and
//! the others that it talks to. Each test program uses a part.

pub(crate) mod app;
pub(crate) mod caller;
pub(crate) mod door;
pub(crate) mod images;
pub(crate) mod issuer;
pub(crate) mod process;
pub(crate) mod relay;
pub(crate) mod response_schema;

use std::time::Duration;

pub(crate) use app::App;
pub(crate) use caller::{Answer, Caller};
pub(crate) use door::Door;
pub(crate) use images::{png, qr_png};
pub(crate) use process::{BINARY, Process, countersign, document, output, printed};

/// How long anything may take before a test gives up on it. Only a failure waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The example of the documentation: secret `2FASTEST`, issuer `2FAS`.
pub(crate) const SEED_URI: &str = "otpauth://totp/Test%20Token?secret=2FASTEST&issuer=2FAS";

/// How often a condition is checked.
const CHECKED_EVERY: Duration = Duration::from_millis(10);

/// Waits until there is an answer. `what` says what was waited for, if it never comes.
pub(crate) async fn until<T>(what: impl Fn() -> String, ask: impl AsyncFn() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not happen: {}", what());
        tokio::time::sleep(CHECKED_EVERY).await;
    }
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}
