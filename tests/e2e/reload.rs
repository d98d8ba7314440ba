//! SIGHUP: what a running server takes over from its settings file, and what it names.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Process, countersign};

/// A server that takes all of its settings from a file.
struct FromFile {
    folder: tempfile::TempDir,
    server: Process,
}

impl FromFile {
    fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.toml");
        fs::write(&file, settings).unwrap();
        let mut command = countersign(&folder.path().join("data"), &["serve"]);
        command
            .arg("--config")
            .arg(file)
            .args(["--listen", "127.0.0.1:0"])
            .args(["--scheduler-listen", "127.0.0.1:0"])
            .args(["--dashboard-listen", "none"]);
        let server = Process::spawn(command, folder.path(), "output");
        Self { folder, server }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        self.server.log()
    }

    fn write(&self, settings: &str) {
        fs::write(self.file("settings.toml"), settings).unwrap();
    }

    fn reload(&self) {
        self.server.signal("HUP");
    }

    async fn until(&mut self, what: &str, happened: impl Fn(&str) -> bool) {
        let log = self.file("output.log");
        let ask = || happened(&fs::read_to_string(&log).unwrap()).then_some(());
        self.server.until(what, ask).await;
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
