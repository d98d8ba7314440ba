//! The committed wire types are what the `.proto` files say.
//!
//! After a change to one of them, run
//! `REGENERATE=1 cargo test -p durabletask-sdk-proto --test generated`
//! and review the difference.

#![allow(clippy::expect_used)] // A test says what it expects.

use std::path::Path;
use std::{env, fs};

const COMMITTED: &str = "src/generated/task_hub_sidecar_service.rs";
/// The protocol, and our extensions.
const PROTOCOL: [&str; 3] = [
    "orchestrator_service.proto",
    "completion_stream.proto",
    "fork.proto",
];

/// Generates the Rust code from the `.proto` files without a system `protoc`.
fn generate(out_dir: &Path) -> String {
    let descriptors = protox::compile(PROTOCOL, ["proto"]).expect("the .proto files compile");
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        // Connecting is the callers' business, with the transport that they choose.
        .build_transport(false)
        .client_mod_attribute(".", "#[cfg(feature = \"client\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .out_dir(out_dir)
        .compile_fds(descriptors)
        .expect("code generation succeeds");
    // A file without a package is generated under the name "_".
    fs::read_to_string(out_dir.join("_.rs")).expect("the generated file is readable")
}

#[test]
fn committed_code_matches_the_proto_file() {
    let out_dir = tempfile::tempdir().expect("a temporary directory can be made");
    let generated = generate(out_dir.path());
    if env::var_os("REGENERATE").is_some() {
        fs::write(COMMITTED, &generated).expect("the committed file is writable");
    }
    let committed = fs::read_to_string(COMMITTED).unwrap_or_default();
    assert!(
        committed == generated,
        "{COMMITTED} differs from what the files in proto/ generate; \
         run REGENERATE=1 cargo test -p durabletask-sdk-proto --test generated"
    );
}
