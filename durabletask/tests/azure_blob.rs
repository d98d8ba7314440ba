//! Payloads as blobs, against a blob service made of a map. A real one checks the
//! signatures: see `tests/conformance`.

#![cfg(feature = "azure-blob")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod blobs;

use std::io::Write as _;

use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use blobs::Blobs;
use durabletask::azure::{BlobCompression, BlobPayloadStore, BlobSettingsError, BlobTokens};
use durabletask::payloads::{PayloadStore, PayloadStoreError};
use flate2::Compression;
use flate2::write::GzEncoder;

const PAYLOAD: &str = "\"Grüße, \u{1F4E6}\"";
const CONTAINER: &str = "durabletask-payloads";

fn store(blobs: &Blobs) -> BlobPayloadStore {
    BlobPayloadStore::from_connection_string(&blobs.connection_string()).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The reason of what will not get better.
fn permanent<T: std::fmt::Debug>(result: Result<T, PayloadStoreError>) -> String {
    match result {
        Err(PayloadStoreError::Permanent(reason)) => reason,
        other => panic!("not a permanent error: {other:?}"),
    }
}

/// The reason of what may get better.
fn transient<T: std::fmt::Debug>(result: Result<T, PayloadStoreError>) -> String {
    match result {
        Err(PayloadStoreError::Transient(reason)) => reason,
        other => panic!("not a transient error: {other:?}"),
    }
}

#[tokio::test]
async fn a_payload_comes_back_and_the_container_is_made_once() {
    let blobs = Blobs::start().await;
    let store = store(&blobs);
    let token = store.put("abc", PAYLOAD).await.unwrap();
    let name = token
        .strip_prefix("blob:v1:durabletask-payloads:")
        .unwrap_or_else(|| panic!("{token}"));
    assert_eq!(name.len(), 32);
    assert!(name.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    let blob = blobs.blob(&format!("{CONTAINER}/{name}"));
    assert_eq!(blob.encoding.as_deref(), Some("gzip"));
    assert!(blob.bytes.starts_with(&[0x1f, 0x8b]));
    assert!(store.owns(&token));
    assert_eq!(store.get(&token).await.unwrap(), PAYLOAD);

    // Absent, made, written; from then on written only.
    assert_eq!(blobs.seen().len(), 4);
    store.put("abc", PAYLOAD).await.unwrap();
    let seen = blobs.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    let signed = seen[0].authorization.as_deref().unwrap();
    assert!(signed.starts_with("SharedKey account:"), "{signed}");
}

#[tokio::test]
async fn every_form_of_token_and_blob_is_read() {
    let blobs = Blobs::start().await;
    let store = store(&blobs);
    for (compression, encoding) in [
        (BlobCompression::Gzip, Some("gzip")),
        (BlobCompression::GzipUnmarked, None),
        (BlobCompression::Off, None),
    ] {
        let store = store
            .clone()
            .compression(compression)
            .tokens(BlobTokens::V2);
        let token = store.put("abc", PAYLOAD).await.unwrap();
        let prefix = format!("blob:v2:{}/{CONTAINER}/", blobs.endpoint);
        let name = token.strip_prefix(&prefix).unwrap();
        let blob = blobs.blob(&format!("{CONTAINER}/{name}"));
        assert_eq!(blob.encoding.as_deref(), encoding, "{compression:?}");
        assert_eq!(
            blob.bytes == PAYLOAD.as_bytes(),
            compression == BlobCompression::Off
        );
        assert_eq!(store.get(&token).await.unwrap(), PAYLOAD);
    }
    // As the SDK for Python does it: the instance's id as a folder, and no encoding.
    blobs.put("durabletask-payloads/abc/0123", gzip(b"\"theirs\""), None);
    for token in [
        "blob:v1:durabletask-payloads:abc/0123".to_owned(),
        format!("blob:v2:{}/{CONTAINER}/abc/0123", blobs.endpoint),
        format!("blob:v2:{}/{CONTAINER}/abc%2F0123", blobs.endpoint),
    ] {
        assert_eq!(store.get(&token).await.unwrap(), "\"theirs\"", "{token}");
    }
}

#[tokio::test]
async fn tokens_of_other_stores_are_refused_without_a_request() {
    let blobs = Blobs::start().await;
    let store = store(&blobs);
    for token in [
        "blob:v1:secrets:0123".to_owned(),
        "blob:v1:durabletask-payloads:".to_owned(),
        "blob:v1:durabletask-payloads".to_owned(),
        format!("blob:v2:{}/secrets/0123", blobs.endpoint),
        format!("blob:v2:{}/{CONTAINER}-other/0123", blobs.endpoint),
        format!("blob:v2:{}/{CONTAINER}/../secrets/0123", blobs.endpoint),
        format!("blob:v2:https://example.com/account/{CONTAINER}/0123"),
        "blob:v2:nonsense".to_owned(),
    ] {
        assert!(store.owns(&token), "{token}");
        let reason = permanent(store.get(&token).await);
        assert!(reason.contains("must use the same one"), "{reason}");
    }
    assert!(blobs.seen().is_empty());
    assert!(!store.owns("blob:v3:what will come"));
}

#[tokio::test]
async fn blobs_that_are_no_payloads_are_refused() {
    let blobs = Blobs::start().await;
    let store = store(&blobs);
    let whole = gzip(PAYLOAD.as_bytes());
    blobs.put("durabletask-payloads/cut", whole[..20].to_vec(), None);
    blobs.put("durabletask-payloads/bytes", vec![0xff, 0xfe], None);
    for (name, wrong) in [
        ("cut", "not whole"),
        ("bytes", "UTF-8"),
        ("lost", "BlobNotFound"),
    ] {
        let token = format!("blob:v1:{CONTAINER}:{name}");
        let reason = permanent(store.get(&token).await);
        assert!(
            reason.contains(name) && reason.contains(wrong),
            "{name}: {reason}"
        );
    }
    // One that unpacks to more memory than a payload may take.
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![b' '; 1024 * 1024];
    for _ in 0..257 {
        bomb.write_all(&zeros).unwrap();
    }
    blobs.put("durabletask-payloads/bomb", bomb.finish().unwrap(), None);
    let reason = permanent(store.get("blob:v1:durabletask-payloads:bomb").await);
    assert!(reason.contains("larger than"), "{reason}");
}

#[tokio::test]
async fn the_status_says_whether_retrying_helps() {
    let blobs = Blobs::start().await;
    let store = store(&blobs);
    blobs.fail([(403, "AuthenticationFailed")]);
    let reason = permanent(store.put("", PAYLOAD).await);
    assert!(
        reason.ends_with("durabletask-payloads: status 403, AuthenticationFailed: no"),
        "{reason}"
    );
    blobs.fail([(409, "ContainerBeingDeleted")]);
    transient(store.put("", PAYLOAD).await);
    // Somebody else makes the container at the same time.
    store.put("", PAYLOAD).await.unwrap();
    blobs.fail([(404, "ContainerNotFound")]);
    store.put("", PAYLOAD).await.unwrap();
    // Tried again by itself, for a while.
    blobs.seen();
    blobs.fail([(503, "ServerBusy")]);
    store.put("", PAYLOAD).await.unwrap();
    assert_eq!(blobs.seen().len(), 2);
    blobs.fail([(503, "ServerBusy"); 4]);
    let reason = transient(store.put("", PAYLOAD).await);
    assert!(reason.contains("ServerBusy"), "{reason}");
    assert_eq!(blobs.seen().len(), 4);
}

#[tokio::test]
async fn a_signature_opens_the_account_and_is_never_shown() {
    let blobs = Blobs::start().await;
    let sas = "sv=2026-01-01&sig=hush%3D";
    let text = format!(
        "BlobEndpoint={};SharedAccessSignature=?{sas}",
        blobs.endpoint
    );
    let store = BlobPayloadStore::from_connection_string(&text)
        .unwrap()
        .tokens(BlobTokens::V2);
    let token = store.put("", PAYLOAD).await.unwrap();
    assert_eq!(store.get(&token).await.unwrap(), PAYLOAD);
    let seen = blobs.seen();
    for request in &seen {
        assert!(request.query.contains("sig=hush%3D"), "{request:?}");
        assert_eq!(request.authorization, None);
    }
    // Nobody listens there: such errors are the ones that show addresses.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let text = format!("BlobEndpoint=http://127.0.0.1:{port}/x;SharedAccessSignature={sas}");
    let gone = BlobPayloadStore::from_connection_string(&text).unwrap();
    let reason = transient(gone.put("", PAYLOAD).await);
    for shown in [token, format!("{store:?}"), format!("{gone:?}"), reason] {
        assert!(!shown.contains("hush"), "{shown}");
    }
}

#[derive(Debug)]
struct Nobody;

#[async_trait::async_trait]
impl TokenCredential for Nobody {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        Err(azure_core::Error::with_message(
            azure_core::error::ErrorKind::Credential,
            "nobody is logged in",
        ))
    }
}

#[tokio::test]
async fn a_token_is_sent_over_tls_only_and_a_missing_one_is_transient() {
    let open = |address| BlobPayloadStore::with_credential(address, std::sync::Arc::new(Nobody));
    assert_eq!(
        open("http://account.blob.core.windows.net").unwrap_err(),
        BlobSettingsError::TokenInClear
    );
    let store = open("https://account.blob.core.windows.net/").unwrap();
    let reason = transient(store.put("", PAYLOAD).await);
    assert!(reason.contains("nobody is logged in"), "{reason}");
}

#[test]
fn connection_strings_say_what_is_wrong() {
    use BlobSettingsError as Error;
    let open = BlobPayloadStore::from_connection_string;
    for (text, error) in [
        ("", Error::Missing { key: "AccountName" }),
        ("AccountName=a;what", Error::Segment { position: 2 }),
        (
            "AccountName=a",
            Error::Missing {
                key: "AccountKey or SharedAccessSignature",
            },
        ),
        ("AccountName=a;AccountKey=%", Error::AccountKey),
        (
            "AcountName=a",
            Error::UnknownKey {
                key: "AcountName".to_owned(),
            },
        ),
        ("BlobEndpoint=x;SharedAccessSignature=y", Error::Endpoint),
        (
            "BlobEndpoint=https://x;AccountKey=a2V5",
            Error::Missing { key: "AccountName" },
        ),
    ] {
        assert_eq!(open(text).unwrap_err(), error, "{text}");
    }
    let shown = |text| format!("{:?}", open(text).unwrap());
    assert!(
        shown("UseDevelopmentStorage=true")
            .contains("http://127.0.0.1:10000/devstoreaccount1/durabletask-payloads")
    );
    let text = "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=a2V5;\
                EndpointSuffix=core.chinacloudapi.cn";
    assert!(shown(text).contains("https://a.blob.core.chinacloudapi.cn/durabletask-payloads"));
    assert!(!shown(text).contains("a2V5"));
    for name in ["ab", "Upper", "-edge", "two--hyphens", "a/b"] {
        let refused = open(text).unwrap().container(name).unwrap_err();
        assert_eq!(
            refused,
            Error::Container {
                name: name.to_owned()
            }
        );
    }
    open(text).unwrap().container("payloads-of-mine").unwrap();
}
