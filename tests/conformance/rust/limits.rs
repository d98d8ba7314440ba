//! What this machine gives at most, to hold beside what is measured on it: how often a second a
//! file is flushed, and how many gRPC calls a second a scheduler answers that do nothing.
//!
//! Arguments: `flushes` and a folder on the disk in question, or `calls`, the address of a scheduler
//! that runs already, and how many. Prints flushes or calls a second. `hello_cities.sh` runs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measuring program that reports to its reader"
)]

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use durabletask_proto::task_hub_sidecar_service_client::TaskHubSidecarServiceClient;
use futures_util::StreamExt as _;
use tonic::transport::Channel;

/// How long flushing is tried.
const TRIED: Duration = Duration::from_secs(3);
/// What SQLite writes for a small transaction: a page and its header.
const PAGE: [u8; 4096 + 24] = [7; 4096 + 24];
/// Calls in progress at once.
const IN_FLIGHT: usize = 256;

#[tokio::main]
async fn main() {
    // Cargo passes --bench to every benchmark.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["flushes", folder] => println!("{:.0}", flushes(&Path::new(folder).join("flushes"))),
        ["calls", address, count] => {
            let count = count.parse().expect("a number of calls");
            println!("{:.0}", calls(address, count).await);
        }
        _ => println!("limits: needs flushes and a folder, or calls, an address and a number"),
    }
}

/// Pages appended to a file a second, each flushed before the next.
fn flushes(path: &Path) -> f64 {
    let mut file = std::fs::File::create(path).expect("the folder can be written");
    let begun = Instant::now();
    let mut count = 0.0;
    while begun.elapsed() < TRIED {
        file.write_all(&PAGE).unwrap();
        file.sync_data().unwrap();
        count += 1.0;
    }
    count / begun.elapsed().as_secs_f64()
}

/// Calls a second, of so many.
async fn calls(address: &str, count: usize) -> f64 {
    let channel = Channel::from_shared(address.to_owned()).unwrap();
    let client = TaskHubSidecarServiceClient::new(channel.connect().await.unwrap());
    let begun = Instant::now();
    let answered = futures_util::stream::iter(0..count)
        .map(|_| {
            let mut client = client.clone();
            async move { client.hello(()).await.unwrap() }
        })
        .buffer_unordered(IN_FLIGHT)
        .count()
        .await;
    answered as f64 / begun.elapsed().as_secs_f64()
}
