//! A front door on its own: when it is ready, that it is the only one, and what signals do.

use std::fs;
use std::path::Path;
use std::process::Command;

use reqwest::StatusCode;

use crate::support::{App, BINARY, Process, countersign};

/// Nothing listens there.
const NO_HUB: &str = "Endpoint=http://127.0.0.1:1;TaskHub=default;Authentication=None";

fn front_door(data: &Path, folder: &Path, name: &str) -> Process {
    let mut command = countersign(data, &["front-door", "--listen", "127.0.0.1:0"]);
    command.args(["--connection-string", NO_HUB]);
    Process::spawn(command, folder, name)
}

#[tokio::test]
async fn a_front_door_is_ready_when_it_can_do_its_work_and_is_the_only_one() {
    let mut app = App::start().await;
    let data = app.data_dir();
    let folder = app.folder().to_owned();
    // The keys are there from now on.
    assert_eq!(app.stop().await, Some(0));

    let mut door = front_door(&data, &folder, "first");
    door.until_logged("waiting for the task hub").await;
    let addresses = fs::read(data.join("serve.json")).unwrap();
    let bound: serde_json::Value = serde_json::from_slice(&addresses).unwrap();
    let server = bound["server"].as_str().unwrap().trim_end_matches('/');
    let ready = reqwest::get(format!("{server}/readyz")).await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!door.log().contains("is ready"), "{}", door.log());
    assert_eq!(door.printed(), "");

    // A second one leaves the first where it is.
    let mut other = front_door(&data, &folder, "second");
    assert_eq!(other.ended().await, Some(1));
    assert!(other.log().contains("already runs"), "{}", other.log());
    assert_eq!(fs::read(data.join("serve.json")).unwrap(), addresses);

    door.signal("HUP");
    door.until_logged("reload").await;
    let alive = reqwest::get(format!("{server}/healthz")).await.unwrap();
    assert_eq!(alive.status(), StatusCode::OK);
    assert_eq!(door.stop().await, Some(0), "{}", door.log());
    assert!(!data.join("serve.json").exists());
}

#[test]
fn the_program_says_what_it_is_and_describes_itself() {
    let run = |arguments: &[&str]| {
        let output = Command::new(BINARY).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let version = run(&["--version"]);
    assert!(version.starts_with(concat!("countersign ", env!("CARGO_PKG_VERSION"))));
    for (shell, words) in [
        ("bash", "_countersign"),
        ("zsh", "#compdef"),
        ("fish", "complete -c"),
    ] {
        assert!(run(&["completions", shell]).contains(words), "{shell}");
    }
    assert!(run(&["man"]).starts_with(".ie"), "{}", run(&["man"]));
    let folder = tempfile::tempdir().unwrap();
    run(&["man", "--output", folder.path().to_str().unwrap()]);
    for page in [
        "countersign.1",
        "countersign-token.1",
        "countersign-request-read.1",
    ] {
        let text = fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(text.contains(".SH NAME"), "{page}");
    }
    let help = run(&["--help"]);
    for words in ["Accounts and codes:", "Running:", "Exit codes:"] {
        assert!(help.contains(words), "{words}: {help}");
    }
    assert!(run(&["token", "--help"]).contains("Examples:"));
    // What does not fit on a line goes on below itself.
    let hangs = "  request         Request to read an account's codes, or to export, transfer or \
        delete it, which\n                  another person must approve\n";
    assert!(help.contains(hangs), "{help}");
    for arguments in [&["--help"][..], &["serve", "--help"], &["token", "--help"]] {
        let help = run(arguments);
        let wide = help.lines().find(|line| line.chars().count() > 100);
        assert_eq!(wide, None, "{arguments:?}");
    }
}
