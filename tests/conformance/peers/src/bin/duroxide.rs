//! Hello-cities on duroxide over an SQLite file, in one process, as that library is used.
//!
//! Arguments: instances, a folder for the database, orchestrations and activities in progress at
//! once. Prints the seconds from the first start to the last completion, and nothing else.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use durabletask_peers::{CITIES, hello, measure};
use duroxide::providers::sqlite::SqliteProvider;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{Runtime, RuntimeOptions};
use duroxide::{
    ActivityContext, Client, OrchestrationContext, OrchestrationRegistry, OrchestrationStatus,
};

const IN_FLIGHT: usize = 64;
/// Longer than any machine takes.
const PATIENCE: Duration = Duration::from_secs(3600);

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [instances, folder, concurrency] = &arguments[..] else {
        panic!("needs a number of instances, a folder and a number of workers");
    };
    let concurrency = concurrency.parse().expect("a number of workers");
    let file = Path::new(folder).join("duroxide.sqlite3");
    std::fs::File::create(&file).expect("the folder can be written");
    let url = format!("sqlite:{}", file.display());
    let store = Arc::new(SqliteProvider::new(&url, None).await.expect("a database"));

    let activities = ActivityRegistry::builder()
        .register("say-hello", async |_: ActivityContext, city: String| {
            Ok(hello(&city))
        })
        .build();
    let orchestrations = OrchestrationRegistry::builder()
        .register(
            "hello-cities",
            |ctx: OrchestrationContext, _: String| async move {
                let mut greetings = Vec::with_capacity(CITIES.len());
                for city in CITIES {
                    greetings.push(ctx.schedule_activity("say-hello", city).await?);
                }
                serde_json::to_string(&greetings).map_err(|error| error.to_string())
            },
        )
        .build();
    let options = RuntimeOptions {
        orchestration_concurrency: concurrency,
        worker_concurrency: concurrency,
        ..RuntimeOptions::default()
    };
    let runtime =
        Runtime::start_with_options(store.clone(), activities, orchestrations, options).await;
    let client = Client::new(store);
    let (begin, end) = (&client, &client);
    measure(
        instances.parse().expect("a number of instances"),
        IN_FLIGHT,
        |n| async move {
            let id = format!("i{n}");
            let started = begin.start_orchestration(&id, "hello-cities", "").await;
            started.expect("an instance starts");
        },
        |n| async move {
            match end.wait_for_orchestration(&format!("i{n}"), PATIENCE).await {
                Ok(OrchestrationStatus::Completed { output, .. }) => {
                    serde_json::from_str(&output).expect("a list")
                }
                other => panic!("i{n} ended with {other:?}"),
            }
        },
    )
    .await;
    runtime.shutdown(None).await;
}
