//! A storage account: where it is, and what opens it.

use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use azure_core::http::Url;
use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::error::BlobSettingsError;
use super::shared_key::SharedKey;

/// The account that Azurite has from the start. Its key is public.
const DEVELOPMENT: &str = "AccountName=devstoreaccount1;\
    AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;\
    BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1";

/// A storage account.
pub(super) struct Account {
    /// The address of its blobs, without query.
    pub(super) endpoint: Url,
    /// What opens it.
    pub(super) access: Access,
}

/// What opens an account.
pub(super) enum Access {
    /// The account's key signs every request.
    Key(Arc<SharedKey>),
    /// A shared access signature, as the query of every address.
    Signature(Zeroizing<String>),
    /// Tokens of Microsoft Entra.
    Token(Arc<dyn TokenCredential>),
}

impl Account {
    /// An account that takes tokens.
    pub(super) fn with_token(
        address: &str,
        credential: Arc<dyn TokenCredential>,
    ) -> Result<Self, BlobSettingsError> {
        let endpoint = endpoint(address)?;
        if endpoint.scheme() != "https" {
            return Err(BlobSettingsError::TokenInClear);
        }
        Ok(Self {
            endpoint,
            access: Access::Token(credential),
        })
    }

    /// Reads a connection string of Azure Storage.
    pub(super) fn parse(text: &str) -> Result<Self, BlobSettingsError> {
        let mut said = ConnectionParts::default();
        said.read(text)?;
        if said.development {
            said = ConnectionParts::default();
            said.read(DEVELOPMENT)?;
        }
        let address = said.blob_endpoint.clone().map_or_else(
            || {
                let account = said.account.as_deref();
                let account = account.ok_or(BlobSettingsError::Missing { key: "AccountName" })?;
                Ok(format!(
                    "{}://{account}.blob.{}",
                    said.protocol.as_deref().unwrap_or("https"),
                    said.suffix.as_deref().unwrap_or("core.windows.net"),
                ))
            },
            Ok,
        )?;
        let access = match (said.key, said.signature) {
            (Some(key), _) => {
                let key = BASE64
                    .decode(key.as_bytes())
                    .map_err(|_| BlobSettingsError::AccountKey)?;
                let account = said.account;
                let account = account.ok_or(BlobSettingsError::Missing { key: "AccountName" })?;
                Access::Key(Arc::new(SharedKey::new(account, key)))
            }
            (None, Some(signature)) => Access::Signature(signature),
            (None, None) => {
                return Err(BlobSettingsError::Missing {
                    key: "AccountKey or SharedAccessSignature",
                });
            }
        };
        Ok(Self {
            endpoint: endpoint(&address)?,
            access,
        })
    }

    /// The address of a container, without query.
    pub(super) fn container(&self, name: &str) -> Result<Url, BlobSettingsError> {
        let letters = name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let edges = !name.starts_with('-') && !name.ends_with('-') && !name.contains("--");
        if !letters || !edges || !(3..=63).contains(&name.len()) {
            return Err(BlobSettingsError::Container {
                name: name.to_owned(),
            });
        }
        let mut url = self.endpoint.clone();
        url.path_segments_mut()
            .map_err(|()| BlobSettingsError::Endpoint)?
            .pop_if_empty()
            .push(name);
        Ok(url)
    }
}

fn endpoint(address: &str) -> Result<Url, BlobSettingsError> {
    let mut url = Url::parse(address).map_err(|_| BlobSettingsError::Endpoint)?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(BlobSettingsError::Endpoint);
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// The blob settings of a connection string.
#[derive(Default)]
struct ConnectionParts {
    development: bool,
    protocol: Option<String>,
    account: Option<String>,
    key: Option<Zeroizing<String>>,
    signature: Option<Zeroizing<String>>,
    suffix: Option<String>,
    blob_endpoint: Option<String>,
}

impl ConnectionParts {
    fn read(&mut self, text: &str) -> Result<(), BlobSettingsError> {
        for (index, segment) in text.split(';').enumerate() {
            let segment = segment.trim();
            if segment.is_empty() {
                continue;
            }
            let position = index + 1;
            let (key, value) = segment
                .split_once('=')
                .ok_or(BlobSettingsError::Segment { position })?;
            let value = Some(value.trim())
                .filter(|value| !value.is_empty())
                .map(str::to_owned);
            match key.trim().to_ascii_lowercase().as_str() {
                "usedevelopmentstorage" => {
                    self.development = value.is_some_and(|v| v.eq_ignore_ascii_case("true"));
                }
                "defaultendpointsprotocol" => self.protocol = value,
                "accountname" => self.account = value,
                "accountkey" => self.key = value.map(Zeroizing::new),
                "sharedaccesssignature" => {
                    self.signature = value.map(|value| {
                        Zeroizing::new(value.strip_prefix('?').unwrap_or(&value).to_owned())
                    });
                }
                "endpointsuffix" => self.suffix = value,
                "blobendpoint" => self.blob_endpoint = value,
                // About other services, and about reading from a second region.
                "queueendpoint"
                | "tableendpoint"
                | "fileendpoint"
                | "blobsecondaryendpoint"
                | "queuesecondaryendpoint"
                | "tablesecondaryendpoint"
                | "filesecondaryendpoint" => {}
                _ => {
                    return Err(BlobSettingsError::UnknownKey {
                        key: key.trim().to_owned(),
                    });
                }
            }
        }
        Ok(())
    }
}
