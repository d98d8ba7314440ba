//! Code of several versions under one name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use durabletask_core::testing::TestHub;
use durabletask_core::{
    Activity, ActivityContext, Failure, Orchestration, OrchestrationContext, Registry,
};
use futures_util::FutureExt;
use serde_json::json;

const ORDER: Orchestration<(), String> = Orchestration::new("order");
const PLAIN: Orchestration<(), String> = Orchestration::new("plain");
const PACK: Activity<(), String> = Activity::new("pack");
const WRAP: Activity<(), String> = Activity::new("wrap");

async fn without(_: OrchestrationContext, (): ()) -> Result<String, Failure> {
    Ok("without".to_owned())
}

async fn second(_: OrchestrationContext, (): ()) -> Result<String, Failure> {
    Ok("second".to_owned())
}

fn registry() -> Registry {
    Registry::new()
        .orchestration(&PLAIN, without)
        .orchestration(&ORDER, without)
        .orchestration_version(&ORDER, "2.0-RC", second)
        .activity(&WRAP, async |_: ActivityContext, (): ()| {
            Ok("wrapped".to_owned())
        })
        .activity_version(&PACK, "1", async |_: ActivityContext, (): ()| {
            Ok("in paper".to_owned())
        })
        .activity_version(&PACK, "2", async |_: ActivityContext, (): ()| {
            Ok("in a box".to_owned())
        })
}

/// How an instance of `version` ends, or why it fails.
fn end(orchestration: &Orchestration<(), String>, version: &str) -> Result<String, String> {
    TestHub::new(registry())
        .version(version)
        .run(orchestration, &(), |_, _| Ok(json!(null)))
        .output()
        .map_err(|details| format!("{}: {}", details.error_type, details.message))
}

#[test]
fn an_instance_runs_the_code_of_its_version() {
    assert_eq!(end(&ORDER, "").unwrap(), "without");
    for version in ["2.0-RC", "2.0-rc"] {
        assert_eq!(end(&ORDER, version).unwrap(), "second");
    }
    // Without code for a version, there is one for all.
    for version in ["", "1", "3"] {
        assert_eq!(end(&PLAIN, version).unwrap(), "without");
    }
    assert_eq!(
        end(&ORDER, "3").unwrap_err(),
        "OrchestratorTaskNotFound: no orchestration 'order' of version '3' is registered with this worker (there are the versions '', '2.0-rc'); register it or start a worker that has it"
    );
}

#[test]
fn a_call_runs_the_code_of_its_version() {
    let registry = registry();
    let run = |name: &'static str, version: Option<&str>| {
        let context =
            ActivityContext::new(name, "order-1", 0).with_version(version.map(str::to_owned));
        registry
            .start_activity(context, None)
            .map(|running| running.now_or_never().unwrap().unwrap())
            .map_err(|failure| failure.to_string())
    };
    assert_eq!(run("pack", Some("1")).unwrap(), "\"in paper\"");
    assert_eq!(run("pack", Some("2")).unwrap(), "\"in a box\"");
    for version in [None, Some("2")] {
        assert_eq!(run("wrap", version).unwrap(), "\"wrapped\"");
    }
    for version in [None, Some("3")] {
        let refused = run("pack", version).unwrap_err();
        assert!(
            refused.contains("there are the versions '1', '2'"),
            "{refused}"
        );
    }
}

#[test]
fn versions_are_reported_and_duplicates_named() {
    let registry = registry();
    let versions = |name| {
        registry
            .orchestration_versions(name)
            .collect::<Vec<_>>()
            .join(",")
    };
    assert_eq!(versions("order"), ",2.0-rc");
    for any in ["plain", "nobody"] {
        assert_eq!(registry.orchestration_versions(any).count(), 0);
    }
    assert_eq!(
        registry.activity_versions("pack").collect::<Vec<_>>(),
        ["1", "2"]
    );
    for (name, version, has) in [
        ("order", "", true),
        ("order", "2.0-rc", true),
        ("order", "1", false),
        ("plain", "1", true),
        ("nobody", "", false),
    ] {
        assert_eq!(registry.has_orchestration(name, version), has, "{name}");
    }
    assert!(registry.has_activity("pack", "1") && !registry.has_activity("pack", ""));

    let again = Registry::new()
        .orchestration(&ORDER, second)
        .orchestration_version(&ORDER, "3", second)
        .activity_version(&PACK, "2", async |_: ActivityContext, (): ()| {
            Ok(String::new())
        });
    assert!(again.duplicates().is_empty());
    let merged = registry
        .merge(again)
        .orchestration_version(&ORDER, "2.0-rc", second);
    assert_eq!(
        merged.duplicates(),
        [
            "orchestration 'order'",
            "activity 'pack' of version '2'",
            "orchestration 'order' of version '2.0-rc'",
        ]
    );
    assert!(merged.has_orchestration("order", "3"));
}
