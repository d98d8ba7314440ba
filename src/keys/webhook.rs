//! The key that notices are signed with, which may be replaced while a worker runs.

use std::time::Duration;

use chrono::Utc;
use countersign_activities::webhook::Webhook;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::data_dir::{Before, DataDir, DataDirError};

/// The file in the data folder with the key that notices are signed with.
pub(crate) const WEBHOOK_SECRET: &str = "webhook-secret";
/// How often to check for another key, and whether the previous one is still valid.
const LOOK: Duration = Duration::from_secs(1);

/// Follows the key in the data folder until asked to stop. A key that
/// cannot be read is ignored, and logged once.
pub(crate) async fn follow_webhook(data: DataDir, webhook: Webhook, stop: CancellationToken) {
    let mut said = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let folder = data.clone();
        let read = tokio::task::spawn_blocking(move || read(&folder)).await;
        let problem = match read {
            Err(_) => return,
            Ok(Ok(Some((key, before)))) => {
                let before = before.filter(|(_, until)| Utc::now() < *until);
                webhook.sign_with(key, before.map(|(key, _)| key));
                None
            }
            Ok(Ok(None)) => Some(format!("{WEBHOOK_SECRET} is gone")),
            Ok(Err(error)) => Some(error.to_string()),
        };
        if problem.is_some() && problem != said {
            tracing::warn!(problem, "keeping the previous webhook key");
        }
        said = problem;
    }
}

type WebhookKeys = (Zeroizing<String>, Option<Before>);

fn read(data: &DataDir) -> Result<Option<WebhookKeys>, DataDirError> {
    let key = data.read_secret(WEBHOOK_SECRET)?;
    let before = data.secret_before(WEBHOOK_SECRET)?;
    Ok(key.map(|key| (key, before)))
}
