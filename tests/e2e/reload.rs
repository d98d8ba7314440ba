//! SIGHUP: what a running server takes over from its settings file, and what it names.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{BINARY, PATIENCE};

/// A server that takes all of its settings from a file.
struct FromFile {
    folder: tempfile::TempDir,
    server: Child,
}

impl FromFile {
    fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("settings.toml"), settings).unwrap();
        let output = File::create(folder.path().join("output.log")).unwrap();
        let server = Command::new(BINARY)
            .args(["serve", "--config"])
            .arg(folder.path().join("settings.toml"))
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(["--listen", "127.0.0.1:0"])
            .args(["--scheduler-listen", "127.0.0.1:0"])
            .args(["--dashboard-listen", "none"])
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { folder, server }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.file("output.log")).unwrap()
    }

    fn write(&self, settings: &str) {
        fs::write(self.file("settings.toml"), settings).unwrap();
    }

    fn reload(&self) {
        let id = self.server.id().to_string();
        let asked = Command::new("kill").args(["-HUP", &id]).status().unwrap();
        assert!(asked.success());
    }

    async fn until(&mut self, what: &str, happened: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        while !happened(&self.log()) {
            assert!(
                begun.elapsed() < PATIENCE && self.server.try_wait().unwrap().is_none(),
                "never: {what}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for FromFile {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap()
}

#[tokio::test]
async fn a_reload_takes_the_log_filter_over_and_names_what_needs_a_restart() {
    let mut server = FromFile::start("log = \"warn\"\n");
    let addresses = server.file("data/serve.json");
    server.until("it listens", |_| is_there(&addresses)).await;
    assert!(!server.log().contains(" INFO "), "{}", server.log());

    server.write("log = \"info\"\napprovals = 2\nrequire-proof = true\n");
    server.reload();
    server
        .until("the new filter", |log| {
            log.contains("reloaded the settings")
        })
        .await;
    server
        .until("what needs a restart", |log| {
            log.contains("need a restart") && log.contains("require-proof, approvals")
        })
        .await;

    // What waits for a restart is named by each reload until there is one.
    server.reload();
    let named = |log: &str| log.matches("require-proof, approvals").count() == 2;
    server.until("the same again", named).await;
}

#[tokio::test]
async fn settings_that_cannot_be_used_change_nothing() {
    let mut server = FromFile::start("log = \"info\"\n");
    let addresses = server.file("data/serve.json");
    server.until("it listens", |_| is_there(&addresses)).await;

    server.write("log = \"error\"\naprovals = 2\n");
    server.reload();
    server
        .until("the problem", |log| {
            log.contains("none of them was reloaded") && log.contains("did you mean approvals?")
        })
        .await;

    // Lines below an error still appear: the filter is the one before.
    server.write("log = \"info\"\n");
    server.reload();
    server
        .until("the reload", |log| log.contains("reloaded the settings"))
        .await;
}
