//! Settings that name no storage account or container.

/// Why there is no store for these settings.
///
/// ```
/// use durabletask::azure::{BlobPayloadStore, BlobSettingsError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let error = BlobPayloadStore::from_connection_string("Acount=totp").unwrap_err();
/// assert_eq!(error, BlobSettingsError::UnknownKey { key: "Acount".to_owned() });
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlobSettingsError {
    /// A segment is not `key=value`.
    #[error("segment {position} of the storage connection string is not of the form key=value")]
    Segment {
        /// Counted from 1.
        position: usize,
    },
    /// A key is not known.
    #[error(
        "the storage connection string has the unknown key '{key}'; copy it as the account's \
         page \"Access keys\" gives it, or write UseDevelopmentStorage=true for Azurite"
    )]
    UnknownKey {
        /// The key as given.
        key: String,
    },
    /// A required key is absent or empty.
    #[error("the storage connection string lacks '{key}'")]
    Missing {
        /// The key that is missing.
        key: &'static str,
    },
    /// The account's key is not base64.
    #[error("the AccountKey of the storage connection string is not base64")]
    AccountKey,
    /// The account's address is not an http or https address.
    #[error("the storage account's address is not a valid http:// or https:// address")]
    Endpoint,
    /// A token would be sent in clear over the network.
    #[error(
        "a token may not be sent to an http:// address; use the account's https:// address, or a \
         connection string with the account's key"
    )]
    TokenInClear,
    /// The container's name is not one that Azure takes.
    #[error(
        "'{name}' is no name of a container: 3 to 63 lower-case letters, digits and single \
         hyphens, beginning and ending with a letter or digit"
    )]
    Container {
        /// The name as given.
        name: String,
    },
    /// The client cannot be made.
    #[error("the client of the storage account cannot be made: {0}")]
    Client(String),
}
