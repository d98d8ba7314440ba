//! How Azure's crates reach its services: directly, whatever proxies the environment names.

use std::sync::Arc;
use std::time::Duration;

use azure_core::http::{ClientOptions, Transport};

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Options with a client that ignores `HTTP_PROXY` and its like: what is sent holds tokens,
/// secrets and payloads, and is for the service alone.
///
/// # Errors
///
/// Why there is no such client, in words.
pub(super) fn direct() -> Result<ClientOptions, String> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| format!("the HTTP client cannot be set up: {error}"))?;
    Ok(ClientOptions {
        transport: Some(Transport::new(Arc::new(client))),
        ..ClientOptions::default()
    })
}
