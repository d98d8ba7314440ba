//! What needs Azure's own crates: nothing here is part of the default build.
//!
//! | Cargo feature | Adds |
//! | ------------- | ---- |
//! | `azure-blob` | [`BlobPayloadStore`]: large payloads in Azure Blob Storage |

mod blob;
mod causes;

pub use blob::{BlobCompression, BlobPayloadStore, BlobSettingsError, BlobTokens};
