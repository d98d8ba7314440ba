//! A front door on its own: when it is ready, that it is the only one, and what signals do.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::StatusCode;

use crate::support::{App, BINARY, PATIENCE};

/// Nothing listens there.
const NO_HUB: &str = "Endpoint=http://127.0.0.1:1;TaskHub=default;Authentication=None";

struct FrontDoor {
    child: Child,
    said: std::path::PathBuf,
}

impl FrontDoor {
    fn start(data: &Path, said: &Path) -> Self {
        let output = File::create(said).unwrap();
        let child = Command::new(BINARY)
            .args(["front-door", "--listen", "127.0.0.1:0"])
            .args(["--connection-string", NO_HUB, "--data-dir"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self {
            child,
            said: said.to_owned(),
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    async fn until_said(&self, words: &str) {
        let begun = Instant::now();
        while !self.said().contains(words) {
            assert!(begun.elapsed() < PATIENCE, "{words}: {}", self.said());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for FrontDoor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_front_door_is_ready_when_it_can_do_its_work_and_is_the_only_one() {
    let mut app = App::start().await;
    let data = app.data_dir();
    let at = |name: &str| app.folder().join(name);
    let (first, second) = (at("first.log"), at("second.log"));
    // The keys are there from now on.
    assert_eq!(app.stop().await, Some(0));

    let mut door = FrontDoor::start(&data, &first);
    door.until_said("waiting for the task hub").await;
    let addresses = fs::read(data.join("serve.json")).unwrap();
    let bound: serde_json::Value = serde_json::from_slice(&addresses).unwrap();
    let server = bound["server"].as_str().unwrap().trim_end_matches('/');
    let ready = reqwest::get(format!("{server}/readyz")).await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!door.said().contains("is ready"), "{}", door.said());

    // A second one leaves the first where it is.
    let mut other = FrontDoor::start(&data, &second);
    assert_eq!(other.child.wait().unwrap().code(), Some(1));
    assert!(other.said().contains("already runs"), "{}", other.said());
    assert_eq!(fs::read(data.join("serve.json")).unwrap(), addresses);

    door.signal("-HUP");
    door.until_said("reload").await;
    let alive = reqwest::get(format!("{server}/healthz")).await.unwrap();
    assert_eq!(alive.status(), StatusCode::OK);
    door.signal("-TERM");
    assert_eq!(
        door.child.wait().unwrap().code(),
        Some(0),
        "{}",
        door.said()
    );
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
}
