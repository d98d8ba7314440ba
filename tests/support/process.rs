//! The program as a process: started, watched, signalled and ended.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Instant;

use serde_json::Value;

use super::{CHECKED_EVERY, PATIENCE};

/// The path of the binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_countersign");

/// The program on a data folder, with no settings but those given here and later.
pub(crate) fn countersign(data: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .env_clear()
        .args(words)
        .arg("--data-dir")
        .arg(data)
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end, beside everything else in the test.
pub(crate) async fn output(mut command: Command) -> Output {
    let running = tokio::task::spawn_blocking(move || command.output());
    running.await.unwrap().unwrap()
}

/// Runs a command to its end, and returns the document that it prints.
pub(crate) async fn printed(command: Command) -> Value {
    document(&output(command).await)
}

/// The document that a successful command has printed.
#[track_caller]
pub(crate) fn document(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A process, with what it prints and logs in files. It is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    printed: Written,
    log: Written,
    announced: Value,
}

/// A file that this process writes to, behind what earlier ones of its name have written.
#[derive(Clone)]
struct Written {
    path: PathBuf,
    begins: usize,
}

impl Written {
    fn behind(path: PathBuf) -> Self {
        let begins = fs::read(&path).map_or(0, |bytes| bytes.len());
        Self { path, begins }
    }

    fn open(&self) -> File {
        let mut options = OpenOptions::new();
        options.create(true).append(true).open(&self.path).unwrap()
    }

    fn text(&self) -> String {
        let bytes = fs::read(&self.path).unwrap();
        String::from_utf8_lossy(&bytes[self.begins..]).into_owned()
    }
}

impl Process {
    /// Starts a process that may have to wait for another one, or not start at all. What it
    /// prints is in the folder's `NAME.out`, what it logs in `NAME.log`, each after that of an
    /// earlier process of the same name.
    pub(crate) fn spawn(mut command: Command, folder: &Path, name: &str) -> Self {
        let printed = Written::behind(folder.join(format!("{name}.out")));
        let log = Written::behind(folder.join(format!("{name}.log")));
        let child = command
            .stdin(Stdio::null())
            .stdout(printed.open())
            .stderr(log.open())
            .spawn()
            .unwrap();
        Self {
            child,
            printed,
            log,
            announced: Value::Null,
        }
    }

    /// Starts a process that was given `--json`, and waits until it says that it is ready.
    pub(crate) async fn start(command: Command, folder: &Path, name: &str) -> Self {
        let mut process = Self::spawn(command, folder, name);
        process.ready().await;
        process
    }

    /// Waits until a process that was given `--json` says that it is ready.
    pub(crate) async fn ready(&mut self) {
        assert!(self.becomes_ready().await, "it ends: {}", self.log());
    }

    /// The same; false if it ends before.
    pub(crate) async fn becomes_ready(&mut self) -> bool {
        let printed = self.printed.clone();
        let document = move || serde_json::from_str(&printed.text()).ok();
        match self.before_its_end("it is ready", document).await {
            Some(document) => self.announced = document,
            None => return false,
        }
        true
    }

    /// An address, or what else it has printed when it was ready.
    #[track_caller]
    pub(crate) fn announced(&self, member: &str) -> &str {
        let said = self.announced[member].as_str();
        said.unwrap_or_else(|| panic!("{member}: {}", self.announced))
    }

    /// The whole document that it has printed when it was ready.
    pub(crate) const fn announcement(&self) -> &Value {
        &self.announced
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// What it has printed.
    pub(crate) fn printed(&self) -> String {
        self.printed.text()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has logged this.
    pub(crate) async fn until_logged(&mut self, words: &str) {
        let log = self.log.clone();
        self.until(words, move || log.text().contains(words).then_some(()))
            .await;
    }

    /// Waits until there is an answer, as long as the process runs.
    pub(crate) async fn until<T>(&mut self, what: &str, ask: impl Fn() -> Option<T>) -> T {
        let answer = self.before_its_end(what, ask).await;
        answer.unwrap_or_else(|| panic!("it ends before {what:?}: {}", self.log()))
    }

    /// The answer, or none if the process ends without one.
    async fn before_its_end<T>(&mut self, what: &str, ask: impl Fn() -> Option<T>) -> Option<T> {
        let begun = Instant::now();
        loop {
            let ended = self.status().is_some();
            let answer = ask();
            if answer.is_some() || ended {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "never: {what}\n{}", self.log());
            tokio::time::sleep(CHECKED_EVERY).await;
        }
    }

    /// How it has ended, if it has.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it ends on its own, and returns its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.status() {
                return status.code();
            }
            let log = || self.log();
            assert!(begun.elapsed() < PATIENCE, "it does not end: {}", log());
            tokio::time::sleep(CHECKED_EVERY).await;
        }
    }

    /// Sends a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Asks it to stop, waits until it has, and returns its exit code.
    pub(crate) async fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.ended().await
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
