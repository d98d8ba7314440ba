//! Payloads as the bytes of blobs.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::LARGEST_BYTES;

/// How blobs are compressed that a store writes. It reads every kind.
///
/// | Written | Read by .NET, Java, Go | Read by Python |
/// | --- | --- | --- |
/// | `Gzip` | yes | with `enable_compression=False` |
/// | `GzipUnmarked` | no | by default |
/// | `Off` | yes | with `enable_compression=False` |
///
/// ```
/// use durabletask::azure::{BlobCompression, BlobPayloadStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), durabletask::azure::BlobSettingsError> {
/// let store = BlobPayloadStore::from_connection_string("UseDevelopmentStorage=true")?
///     .compression(BlobCompression::GzipUnmarked);
/// # let _ = store;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlobCompression {
    /// By gzip, which the blob's `Content-Encoding` tells: as the SDKs for .NET, Java and
    /// Go do by default.
    #[default]
    Gzip,
    /// By gzip, without `Content-Encoding`: as the SDK for Python does by default.
    GzipUnmarked,
    /// Not at all.
    Off,
}

/// The first bytes of what gzip writes. No text in UTF-8 has the second one there.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The bytes of a payload. Takes a moment for a large one.
pub(super) fn pack(payload: &str, compression: BlobCompression) -> std::io::Result<Bytes> {
    if compression == BlobCompression::Off {
        return Ok(Bytes::copy_from_slice(payload.as_bytes()));
    }
    // The network is waited for as well, so speed counts for more than the last percent.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(payload.as_bytes())?;
    Ok(encoder.finish()?.into())
}

/// The payload that the bytes are, or what is wrong with them.
pub(super) fn unpack(bytes: &[u8]) -> Result<String, String> {
    let plain = if bytes.starts_with(&MAGIC) {
        let mut plain = Vec::new();
        GzDecoder::new(bytes)
            .take(LARGEST_BYTES as u64 + 1)
            .read_to_end(&mut plain)
            .map_err(|error| format!("it is not whole: {error}"))?;
        plain
    } else {
        bytes.to_vec()
    };
    if plain.len() > LARGEST_BYTES {
        return Err(format!("it is larger than {LARGEST_BYTES} bytes"));
    }
    String::from_utf8(plain).map_err(|_| "it is not text in UTF-8".to_owned())
}
