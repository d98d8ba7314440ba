//! Histories that are kept: what has been released must still replay.

use std::fs;
use std::path::PathBuf;

use countersign_orchestrations::register;
use durabletask_core::testing::{TestRun, replay_history};
use durabletask_core::{HistoryEvent, Registry};

/// Asserts that the run's history is the stored one and that the stored one replays.
pub(crate) fn assert_golden<O>(instance: &str, name: &str, run: &TestRun<O>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.json"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = serde_json::to_string_pretty(&run.history).unwrap();
        fs::write(&path, text + "\n").unwrap();
    }
    let text = fs::read_to_string(&path).expect("the golden history exists");
    let golden: Vec<HistoryEvent> = serde_json::from_str(&text).unwrap();
    replay_history(register(Registry::new()), instance, &golden)
        .expect("the stored history replays");
    assert_eq!(
        run.history, golden,
        "{name} makes the history it used to make"
    );
}

/// Asserts that histories of a release before mandates replay: they continue to their next
/// activity, which refuses to act without one.
#[allow(dead_code, reason = "one of the tests that share this file calls it")]
pub(crate) fn assert_former_histories_replay(instance: impl Fn(&str) -> &'static str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/before-mandates");
    let mut replayed = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let history: Vec<HistoryEvent> = serde_json::from_str(&text).unwrap();
        replay_history(register(Registry::new()), instance(&name), &history)
            .unwrap_or_else(|error| panic!("{name} does not replay: {error}"));
        replayed += 1;
    }
    assert!(replayed > 10, "only {replayed} histories were found");
}
