//! Large payloads in Azure Blob Storage, so that workers and clients of other SDKs read
//! what this one wrote, and the other way round.

mod account;
mod error;
mod packing;
mod shared_key;
mod token;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::TokenCredential;
use azure_core::http::{
    ClientOptions, ExponentialRetryOptions, RequestContent, RetryOptions, StatusCode, Url,
};
use azure_core::time::Duration;
use azure_storage_blob::models::{BlobClientUploadOptions, StorageErrorCode};
use azure_storage_blob::{
    BlobClient, BlobContainerClient, BlobContainerClientOptions, StorageError,
};
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use uuid::Uuid;

use super::causes::in_one_line;
use super::transport::direct;
use crate::payloads::{PayloadStore, PayloadStoreError};
use account::{Access, Account};

pub use error::BlobSettingsError;
pub use packing::BlobCompression;
pub use token::BlobTokens;

/// The container that all official SDKs use where none is named.
const CONTAINER: &str = "durabletask-payloads";
/// The largest payload that is written or read, in bytes: far above what
/// [`LargePayloads`](crate::LargePayloads) lets through, so that a blob that is not ours,
/// or that unpacks to very much more than it is, does not fill the memory.
const LARGEST_BYTES: usize = 256 * 1024 * 1024;
/// How often a request is tried again before the work item is returned.
const RETRIES: u32 = 3;

/// Keeps large payloads as blobs of a container in Azure Storage.
///
/// Container, names and tokens are those of the official SDKs; what has to be set so
/// that they read one another's blobs is said at [`BlobTokens`] and [`BlobCompression`].
/// Blobs are never deleted: the protocol does not say when they are no longer needed. A
/// lifecycle rule of the account does it by age.
///
/// ```
/// use durabletask::azure::BlobPayloadStore;
/// use durabletask::payloads::LargePayloads;
/// use durabletask::{Connection, Worker};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Azurite on this machine; in production the connection string of the account, or
/// // `BlobPayloadStore::with_credential`.
/// let store = BlobPayloadStore::from_connection_string("UseDevelopmentStorage=true")?;
/// let connection = Connection::insecure("http://127.0.0.1:8080", "default")?;
/// let worker = Worker::builder(&connection)
///     .large_payloads(LargePayloads::new(store))
///     .build()?;
/// # let _ = worker;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BlobPayloadStore {
    account: Arc<Account>,
    name: String,
    /// The container's address, without query.
    url: Url,
    container: Arc<BlobContainerClient>,
    tokens: BlobTokens,
    compression: BlobCompression,
}

impl BlobPayloadStore {
    /// A store in the container `durabletask-payloads` of the account that a connection
    /// string of Azure Storage names: with `AccountKey` or `SharedAccessSignature`, or
    /// `UseDevelopmentStorage=true` for Azurite. The container is made when it is first
    /// written to and absent.
    ///
    /// # Errors
    ///
    /// [`BlobSettingsError`] with the key that is at fault.
    pub fn from_connection_string(text: &str) -> Result<Self, BlobSettingsError> {
        Self::new(Account::parse(text)?)
    }

    /// A store in the container `durabletask-payloads` of the account at `address`, such
    /// as `https://NAME.blob.core.windows.net`, opened by tokens of Microsoft Entra. It
    /// needs the role "Storage Blob Data Contributor".
    ///
    /// # Errors
    ///
    /// [`BlobSettingsError`] if the address is not one that a token may be sent to.
    pub fn with_credential(
        address: &str,
        credential: Arc<dyn TokenCredential>,
    ) -> Result<Self, BlobSettingsError> {
        Self::new(Account::with_token(address, credential)?)
    }

    fn new(account: Account) -> Result<Self, BlobSettingsError> {
        let account = Arc::new(account);
        let (url, container) = connect(&account, CONTAINER)?;
        Ok(Self {
            account,
            name: CONTAINER.to_owned(),
            url,
            container,
            tokens: BlobTokens::default(),
            compression: BlobCompression::default(),
        })
    }

    /// Uses another container of the account.
    ///
    /// # Errors
    ///
    /// [`BlobSettingsError::Container`] if Azure takes no such name.
    pub fn container(mut self, name: &str) -> Result<Self, BlobSettingsError> {
        (self.url, self.container) = connect(&self.account, name)?;
        self.name = name.to_owned();
        Ok(self)
    }

    /// The form of the tokens that it writes.
    #[must_use]
    pub fn tokens(mut self, tokens: BlobTokens) -> Self {
        self.tokens = tokens;
        self
    }

    /// How it compresses what it writes.
    #[must_use]
    pub fn compression(mut self, compression: BlobCompression) -> Self {
        self.compression = compression;
        self
    }

    async fn upload(&self, blob: &BlobClient, bytes: &Bytes) -> azure_core::Result<()> {
        let encoding = (self.compression == BlobCompression::Gzip).then(|| "gzip".to_owned());
        let options = BlobClientUploadOptions {
            blob_content_encoding: encoding,
            ..BlobClientUploadOptions::default()
        };
        let content = RequestContent::from(bytes.to_vec());
        blob.upload(content, Some(options)).await.map(drop)
    }

    async fn download(&self, name: &str) -> Result<Bytes, PayloadStoreError> {
        let told = |error| self.failure(&format!("the blob {name}"), error);
        let blob = self.container.blob_client(name);
        let mut body = blob.download(None).await.map_err(told)?.body;
        let mut bytes = BytesMut::new();
        while let Some(part) = body.try_next().await.map_err(told)? {
            if bytes.len() + part.len() > LARGEST_BYTES {
                return Err(PayloadStoreError::Permanent(format!(
                    "the blob {name} is larger than {LARGEST_BYTES} bytes"
                )));
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes.freeze())
    }

    /// Whether a retry may help depends on the status, as in the official SDKs.
    fn failure(&self, what: &str, error: azure_core::Error) -> PayloadStoreError {
        let passing = match error.http_status() {
            Some(StatusCode::RequestTimeout | StatusCode::TooManyRequests) | None => true,
            Some(status) => {
                !status.is_client_error() || is(&error, &StorageErrorCode::ContainerBeingDeleted)
            }
        };
        let mut reason = reason(error);
        if let Access::Signature(signature) = &self.account.access {
            // The HTTP client's errors show the whole address.
            reason = reason.replace(signature.as_str(), "(signature)");
        }
        let text = format!("{what} in the container {}: {reason}", self.url);
        if passing {
            PayloadStoreError::Transient(text)
        } else {
            PayloadStoreError::Permanent(text)
        }
    }
}

/// The service's error, or why it did not answer, in one line.
fn reason(error: azure_core::Error) -> String {
    let whole = in_one_line(&error);
    if error.http_status().is_none() {
        return whole;
    }
    let Ok(said) = StorageError::try_from(error) else {
        return whole;
    };
    let mut text = format!("status {}", said.status_code);
    if let Some(code) = said.error_code {
        text.push_str(&format!(", {code}"));
    }
    // The lines after the first one are the request's id and time.
    if let Some(line) = said.message.as_deref().and_then(|m| m.lines().next()) {
        text.push_str(&format!(": {line}"));
    }
    text
}

#[async_trait]
impl PayloadStore for BlobPayloadStore {
    async fn put(&self, _: &str, payload: &str) -> Result<String, PayloadStoreError> {
        if payload.len() > LARGEST_BYTES {
            return Err(PayloadStoreError::Permanent(format!(
                "a payload of {} bytes is larger than {LARGEST_BYTES} bytes",
                payload.len()
            )));
        }
        let (owned, compression) = (payload.to_owned(), self.compression);
        let bytes = off_thread(move || packing::pack(&owned, compression))
            .await?
            .map_err(|error| PayloadStoreError::Permanent(error.to_string()))?;
        // The SDK for Java reads names of this form only.
        let name = Uuid::new_v4().simple().to_string();
        let blob = self.container.blob_client(&name);
        let told = |error| self.failure("a new blob", error);
        match self.upload(&blob, &bytes).await {
            Err(error) if is(&error, &StorageErrorCode::ContainerNotFound) => {
                match self.container.create(None).await {
                    Ok(_) => {}
                    // Someone else was faster.
                    Err(error) if is(&error, &StorageErrorCode::ContainerAlreadyExists) => {}
                    Err(error) => return Err(told(error)),
                }
                self.upload(&blob, &bytes).await.map_err(told)?;
            }
            done => done.map_err(told)?,
        }
        Ok(self.tokens.token(&self.name, &self.url, &name))
    }

    async fn get(&self, token: &str) -> Result<String, PayloadStoreError> {
        let Some(name) = token::blob_name(token, &self.name, &self.url) else {
            return Err(PayloadStoreError::Permanent(format!(
                "{token} is not in the container {}; all clients and workers of a task hub must \
                 use the same one",
                self.url
            )));
        };
        let bytes = self.download(&name).await?;
        off_thread(move || packing::unpack(&bytes))
            .await?
            .map_err(|reason| PayloadStoreError::Permanent(format!("the blob {name}: {reason}")))
    }

    fn owns(&self, text: &str) -> bool {
        token::is_token(text)
    }
}

impl fmt::Debug for BlobPayloadStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobPayloadStore")
            .field("container", &self.url.as_str())
            .field("tokens", &self.tokens)
            .field("compression", &self.compression)
            .finish_non_exhaustive()
    }
}

/// A container's address without query, and a client for it.
fn connect(
    account: &Account,
    name: &str,
) -> Result<(Url, Arc<BlobContainerClient>), BlobSettingsError> {
    let url = account.container(name)?;
    let mut client_options = ClientOptions {
        retry: RetryOptions::exponential(ExponentialRetryOptions {
            max_retries: RETRIES,
            max_total_elapsed: Duration::seconds(30),
            ..ExponentialRetryOptions::default()
        }),
        ..direct().map_err(BlobSettingsError::Client)?
    };
    let mut opened = url.clone();
    let mut credential = None;
    match &account.access {
        Access::Key(key) => client_options.per_try_policies.push(key.clone()),
        Access::Signature(signature) => opened.set_query(Some(signature)),
        Access::Token(token) => credential = Some(Arc::clone(token)),
    }
    let options = BlobContainerClientOptions {
        client_options,
        ..BlobContainerClientOptions::default()
    };
    let container = BlobContainerClient::new(opened, credential, Some(options))
        .map_err(|error| BlobSettingsError::Client(in_one_line(&error)))?;
    Ok((url, Arc::new(container)))
}

fn is(error: &azure_core::Error, code: &StorageErrorCode) -> bool {
    match error.kind() {
        azure_core::error::ErrorKind::HttpResponse { error_code, .. } => {
            error_code.as_deref() == Some(code.as_ref())
        }
        _ => false,
    }
}

/// Runs what takes a moment where it does not keep other tasks waiting.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PayloadStoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| PayloadStoreError::Transient(error.to_string()))
}
