//! The key that notices are signed with, which may be replaced while a worker runs.

use chrono::Utc;
use countersign_activities::webhook::WebhookKeys;

use crate::data_dir::{DataDir, DataDirError, NotedFile};

/// The file in the data folder with the key that notices are signed with.
pub(crate) const WEBHOOK_SECRET: &str = NotedFile::Webhook.name();

/// Reads the keys in the data folder. Ones that cannot be read are ignored, and logged.
pub(crate) fn webhook_keys(data: &DataDir) -> Option<WebhookKeys> {
    let problem = match read(data) {
        Ok(Some(keys)) => return Some(keys),
        Ok(None) => format!("{WEBHOOK_SECRET} is gone"),
        Err(error) => error.to_string(),
    };
    tracing::warn!(problem, "keeping the previous webhook key");
    None
}

fn read(data: &DataDir) -> Result<Option<WebhookKeys>, DataDirError> {
    let Some(key) = data.read_secret(WEBHOOK_SECRET)? else {
        return Ok(None);
    };
    let before = data
        .secret_before(WEBHOOK_SECRET)?
        .filter(|(_, until)| Utc::now() < *until)
        .map(|(before, _)| before);
    Ok(Some(std::iter::once(key).chain(before).collect()))
}
