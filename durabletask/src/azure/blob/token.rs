//! The tokens that stand for blobs, in the two forms of the official SDKs.

use azure_core::http::Url;
use percent_encoding::percent_decode_str;

const V1: &str = "blob:v1:";
const V2: &str = "blob:v2:";

/// The form of the tokens that a store writes. It reads both.
///
/// ```
/// use durabletask::azure::{BlobTokens, BlobPayloadStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), durabletask::azure::BlobSettingsError> {
/// let store = BlobPayloadStore::from_connection_string("UseDevelopmentStorage=true")?
///     .tokens(BlobTokens::V2);
/// # let _ = store;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlobTokens {
    /// `blob:v1:<container>:<name>`, which the official SDKs of every language read. It
    /// does not name the account, so all must be set to the same one.
    #[default]
    V1,
    /// `blob:v2:<address of the blob>`, which those of .NET and Go read, and write
    /// themselves.
    V2,
}

impl BlobTokens {
    /// The token of a blob in the container at `url`, which has no query.
    pub(super) fn token(self, container: &str, url: &Url, blob: &str) -> String {
        match self {
            Self::V1 => format!("{V1}{container}:{blob}"),
            Self::V2 => format!("{V2}{url}/{blob}"),
        }
    }
}

/// Whether `text` has the form of a token.
pub(super) fn is_token(text: &str) -> bool {
    text.starts_with(V1) || text.starts_with(V2)
}

/// The name of the blob that `token` refers to, if it is in this container.
///
/// Another one is never read: the token comes with a message, and the writer of that
/// would choose where the account's credential is sent.
pub(super) fn blob_name(token: &str, container: &str, url: &Url) -> Option<String> {
    let name = if let Some(rest) = token.strip_prefix(V1) {
        let (theirs, name) = rest.split_once(':')?;
        (theirs == container).then(|| name.to_owned())?
    } else {
        let theirs = Url::parse(token.strip_prefix(V2)?).ok()?;
        if theirs.origin() != url.origin() {
            return None;
        }
        let name = theirs.path().strip_prefix(url.path())?.strip_prefix('/')?;
        percent_decode_str(name).decode_utf8().ok()?.into_owned()
    };
    Some(name).filter(|name| !name.is_empty())
}
