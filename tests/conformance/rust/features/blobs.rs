//! Payloads that travel as tokens and lie in a blob service.

use durabletask::azure::{BlobCompression, BlobPayloadStore, BlobTokens};
use durabletask::payloads::LargePayloads;
use durabletask::{Activity, ActivityContext, Orchestration, OrchestrationContext, Registry};

use super::{Feature, row};
use crate::backend::Hub;

/// Names the connection string of a blob service, such as Azurite.
pub const VARIABLE: &str = "CONFORMANCE_BLOBS";

pub fn features() -> Vec<Feature> {
    vec![row!("blobs", Registry::new, blobs)]
}

/// The blob service's store.
pub fn store() -> BlobPayloadStore {
    let connection_string = std::env::var(VARIABLE).unwrap();
    BlobPayloadStore::from_connection_string(&connection_string).unwrap()
}

const ECHO: Activity<String, String> = Activity::new("blob-echo");
const CARRY: Orchestration<String, String> = Orchestration::new("blob-carry");

fn registry() -> Registry {
    Registry::new()
        .activity(&ECHO, async |_: ActivityContext, text: String| Ok(text))
        .orchestration(&CARRY, async |ctx: OrchestrationContext, text: String| {
            Ok(ctx.call_activity(&ECHO, &text).await?)
        })
}

/// Text that compression makes little smaller, so that it is written in several blocks.
fn noise(bytes: usize) -> String {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        // Xorshift: the same text in every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    text
}

async fn blobs(hub: Hub) {
    let noise = noise(9_500_000);
    let short = "Grüße, \u{1F4E6} ".repeat(20_000);
    for (tokens, prefix) in [
        (BlobTokens::V1, "blob:v1:conformance-rust:"),
        (BlobTokens::V2, "blob:v2:http"),
    ] {
        for (compression, text) in [
            (BlobCompression::Gzip, &noise),
            (BlobCompression::GzipUnmarked, &short),
            (BlobCompression::Off, &noise),
        ] {
            let store = store()
                .tokens(tokens)
                .compression(compression)
                .container("conformance-rust")
                .unwrap();
            let large = LargePayloads::new(store);
            let worker = hub.worker(registry(), |builder| builder.large_payloads(large.clone()));
            let mut carrying = hub.clone();
            carrying.client = hub.client.clone().with_large_payloads(large);
            let id = carrying.start(&CARRY, text).await;
            let output: String = carrying.output(&id).await;
            assert!(&output == text, "a payload changed on the way");
            // What the backend has is the token.
            let state = hub.get(&id).await.unwrap();
            for token in [state.input_json, state.output_json] {
                let token = token.unwrap();
                assert!(token.starts_with(prefix), "{:.100}", token);
            }
            worker.stop().await;
        }
    }
}
