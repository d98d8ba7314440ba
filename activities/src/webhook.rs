//! `send-notice`: a signed HTTP request for every notice.
//!
//! The body has a `text` for people, as chat programs take it, and the same in fields for
//! machines. The header `Countersign-Signature` is `t=SECONDS,v1=HEX`: the HMAC-SHA256 (RFC
//! 2104) of the seconds, a dot and the body, under the webhook's key. `Countersign-Delivery`
//! is the same however often a notice is sent.

mod body;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_authority::{Notify, Permit};
use countersign_enrollment::notice::{Notice, NoticeSent};
use data_encoding::HEXLOWER;
use durabletask_core::Failure;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::{CONTENT_TYPE, HeaderName};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use sha2::Sha256;
use thiserror::Error;
use url::{Host, Url};
use zeroize::Zeroizing;

/// How long a receiver may take to be reached.
const CONNECT: Duration = Duration::from_secs(5);
/// How long it may take until its answer begins.
const ANSWER: Duration = Duration::from_secs(10);
/// The largest body, in bytes. The parts of a notice are bounded, so none is larger.
const MAX_BODY: usize = 64 * 1024;

const SIGNATURE: HeaderName = HeaderName::from_static("countersign-signature");
const DELIVERY: HeaderName = HeaderName::from_static("countersign-delivery");

/// Why a webhook cannot be used.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// The address is none that notices are sent to. It is not repeated: such addresses
    /// often hold a key.
    #[error(
        "a webhook's address must begin with https://, or with http:// if it is on this machine, \
         and contain no user name"
    )]
    Address,
    /// The HTTP client cannot be made.
    #[error("the webhook's HTTP client cannot be created")]
    Client(#[source] reqwest::Error),
}

/// Why a notice was not taken.
#[derive(Debug, Error)]
enum NotTaken {
    #[error("the webhook cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("the webhook did not answer in time")]
    Late,
    #[error("the webhook answered {0}")]
    Refused(StatusCode),
    #[error("the notice is too large to send")]
    TooLarge,
    #[error("the webhook's key cannot be used")]
    Key,
}

/// The keys that a notice is signed with: the present one first, and the one before it for as
/// long as that counts. Receivers take a notice that one of the signatures fits.
pub type WebhookKeys = Vec<Zeroizing<String>>;

/// Reads the keys; none if they cannot be read at the moment. It may block.
type ReadKeys = dyn Fn() -> Option<WebhookKeys> + Send + Sync;

/// Where notices are sent to. `Debug` does not show the address, which may hold a key.
#[derive(Clone)]
pub struct Webhook {
    client: Client,
    address: Url,
    /// The keys that were read last.
    keys: Arc<RwLock<WebhookKeys>>,
    read: Option<Arc<ReadKeys>>,
}

impl Webhook {
    /// Sends to `address`, signed with the text `key`.
    ///
    /// Redirects are not followed: an answer of someone else must not choose whom this
    /// process talks to.
    ///
    /// # Errors
    ///
    /// [`WebhookError`].
    pub fn new(address: &str, key: Zeroizing<String>) -> Result<Self, WebhookError> {
        let client = Client::builder()
            // Whatever the environment says: a proxy would read what goes to this machine.
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .redirect(Policy::none())
            .build()
            .map_err(WebhookError::Client)?;
        Ok(Self {
            client,
            address: check_address(address)?,
            keys: Arc::new(RwLock::new(vec![key])),
            read: None,
        })
    }

    /// Reads the keys for each notice, so that one which is sent after a key was replaced is
    /// signed with the new key. While they cannot be read, those that were read last count.
    #[must_use]
    pub fn reading(
        mut self,
        read: impl Fn() -> Option<WebhookKeys> + Send + Sync + 'static,
    ) -> Self {
        self.read = Some(Arc::new(read));
        self
    }

    /// The keys to sign a notice with now.
    async fn keys_now(&self) -> WebhookKeys {
        let known = || {
            self.keys
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        };
        let Some(read) = &self.read else {
            return known();
        };
        let read = Arc::clone(read);
        match tokio::task::spawn_blocking(move || read()).await {
            Ok(Some(keys)) if !keys.is_empty() => {
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.clone();
                keys
            }
            _ => known(),
        }
    }

    /// Sends a notice once.
    ///
    /// # Errors
    ///
    /// Retriable unless the receiver has said that it will never take this notice.
    pub(crate) async fn send(
        &self,
        _permit: &Permit<Notify>,
        notice: &Notice,
    ) -> Result<NoticeSent, Failure> {
        match self.try_send(notice).await {
            Ok(()) => {
                tracing::info!(
                    instance_id = notice.about,
                    delivery = notice.id,
                    event = notice.event.as_str(),
                    "notice delivered"
                );
                Ok(NoticeSent::Delivered)
            }
            Err(error) => {
                let final_word = is_final(&error);
                tracing::warn!(
                    instance_id = notice.about,
                    delivery = notice.id,
                    event = notice.event.as_str(),
                    retriable = !final_word,
                    %error,
                    "notice not delivered"
                );
                let failure = Failure::from(error);
                Err(if final_word {
                    failure.permanent()
                } else {
                    failure
                })
            }
        }
    }

    async fn try_send(&self, notice: &Notice) -> Result<(), NotTaken> {
        let body = body::of(notice).to_string();
        if body.len() > MAX_BODY {
            return Err(NotTaken::TooLarge);
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let answer = self
            .client
            .post(self.address.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(SIGNATURE, sign(&self.keys_now().await, now, &body)?)
            .header(DELIVERY, &notice.id)
            .body(body)
            .send()
            .await
            .map_err(|error| {
                if error.is_timeout() {
                    NotTaken::Late
                } else {
                    // The address may hold a key.
                    NotTaken::Unreachable(error.without_url())
                }
            })?;
        // Nothing of the answer but its status matters, so nothing else is read.
        let status = answer.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(NotTaken::Refused(status))
        }
    }
}

fn sign(keys: &[Zeroizing<String>], seconds: u64, body: &str) -> Result<String, NotTaken> {
    let mut header = format!("t={seconds}");
    for key in keys {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(|_| NotTaken::Key)?;
        mac.update(format!("{seconds}.{body}").as_bytes());
        header.push_str(",v1=");
        header.push_str(&HEXLOWER.encode(&mac.finalize().into_bytes()));
    }
    Ok(header)
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Webhook(redacted)")
    }
}

/// Checks that notices may be sent to an address: encrypted, or to this machine.
///
/// # Errors
///
/// [`WebhookError::Address`].
pub fn check_address(text: &str) -> Result<Url, WebhookError> {
    let address = Url::parse(text).map_err(|_| WebhookError::Address)?;
    let here = match address.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => return Err(WebhookError::Address),
    };
    let safe = address.scheme() == "https" || (address.scheme() == "http" && here);
    let anonymous = address.username().is_empty() && address.password().is_none();
    if safe && anonymous {
        Ok(address)
    } else {
        Err(WebhookError::Address)
    }
}

/// Whether sending the same again cannot help.
fn is_final(error: &NotTaken) -> bool {
    match error {
        NotTaken::Refused(status) => matches!(
            *status,
            StatusCode::BAD_REQUEST
                | StatusCode::GONE
                | StatusCode::PAYLOAD_TOO_LARGE
                | StatusCode::UNPROCESSABLE_ENTITY
        ),
        NotTaken::TooLarge | NotTaken::Key => true,
        NotTaken::Unreachable(_) | NotTaken::Late => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_go_out_encrypted_or_not_at_all() {
        for right in [
            "https://hooks.example/services/T0/B0/xyz",
            "http://127.0.0.1:8080/hook",
            "http://localhost/hook",
            "http://[::1]:1/",
        ] {
            assert!(check_address(right).is_ok(), "{right}");
        }
        for wrong in [
            "",
            "hooks.example",
            "http://hooks.example/x",
            "http://10.0.0.1/",
            "ftp://127.0.0.1/",
            "https://user:secret@hooks.example/",
            "file:///etc/passwd",
        ] {
            let error = check_address(wrong).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    /// The MAC of the same text under the same key, made with another program:
    /// `printf '1700000000.{}' | openssl dgst -sha256 -hmac key`.
    #[tokio::test]
    async fn a_signature_is_over_the_time_and_the_body() {
        const MAC: &str = ",v1=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae";
        let webhook = Webhook::new("https://x.example", "key".to_owned().into()).unwrap();
        let signed = sign(&webhook.keys_now().await, 1_700_000_000, "{}").unwrap();
        assert_eq!(signed, format!("t=1700000000{MAC}"));
        assert!(!format!("{webhook:?}").contains("x.example"));
        // While two keys count there is a signature with each.
        let both = ["new", "key"].map(|key| Zeroizing::new(key.to_owned()));
        let both = sign(&both, 1_700_000_000, "{}").unwrap();
        assert_eq!(both.split(',').count(), 3, "{both}");
        assert!(both.ends_with(MAC), "{both}");
    }

    #[tokio::test]
    async fn keys_are_read_for_each_notice_and_the_last_ones_count_while_they_cannot_be() {
        let file = Arc::new(RwLock::new(None::<WebhookKeys>));
        let read = Arc::clone(&file);
        let webhook = Webhook::new("https://x.example", "first".to_owned().into())
            .unwrap()
            .reading(move || read.read().unwrap().clone());
        let keys = async || {
            let keys = webhook.keys_now().await;
            keys.iter().map(|key| key.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(keys().await, ["first"]);
        let both = ["second", "first"].map(|key| Zeroizing::new(key.to_owned()));
        *file.write().unwrap() = Some(both.to_vec());
        assert_eq!(keys().await, ["second", "first"], "at once");
        *file.write().unwrap() = None;
        assert_eq!(keys().await, ["second", "first"]);
        *file.write().unwrap() = Some(Vec::new());
        assert_eq!(keys().await, ["second", "first"], "never unsigned");
    }
}
