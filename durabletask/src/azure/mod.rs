//! What needs Azure's own crates: nothing here is part of the default build.
//!
//! | Cargo feature | Adds |
//! | ------------- | ---- |
//! | `azure` | `Identity`: tokens of Microsoft Entra, as connection strings ask for them |
//! | `azure-blob` | `BlobPayloadStore`: large payloads in Azure Blob Storage |

#[cfg(feature = "azure-blob")]
mod blob;
mod causes;
#[cfg(feature = "azure")]
mod identity;
mod transport;

#[cfg(feature = "azure-blob")]
pub use blob::{BlobCompression, BlobPayloadStore, BlobSettingsError, BlobTokens};
#[cfg(feature = "azure")]
pub use identity::{
    Identity, IdentityError, IdentitySettings, Selection, Source, UnknownIdentity,
    UnsupportedAuthentication,
};
