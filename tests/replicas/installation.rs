//! Two front doors with a folder each, one worker and one task hub, on one database.

use std::path::{Path, PathBuf};
use std::process::Output;

use countersign::app::{Parts, Running};
use countersign::clock::SystemClock;
use countersign::config::{Config, DatabaseConfig};
use countersign_database::DatabaseUrl;
use serde_json::Value;

pub(crate) use crate::support::door::SECRET;
pub(crate) use crate::support::{Door, PATIENCE};

pub(crate) const ADMIN: &str = "administrators-token-of-tests";

/// What an operator copies from the first machine to every other one.
pub(crate) const KEYS: [&str; 6] = [
    "server.key",
    "mandate.key",
    "mandate.pub",
    "fingerprint.key",
    "seal.pub",
    "vault.key",
];

/// How callers reach a front door that runs here.
pub(crate) fn door(running: &Running) -> Door {
    Door::at(&running.server_url().unwrap(), ADMIN)
}

pub(crate) struct Installation {
    first: Running,
    second: Running,
    pub(crate) one: Door,
    pub(crate) other: Door,
    folder: tempfile::TempDir,
    url: String,
}

impl Installation {
    /// The first front door with worker and hub at `near`, and the second one at `far`: the
    /// same database, perhaps by another way.
    pub(crate) async fn start(near: &DatabaseUrl, far: &DatabaseUrl) -> Self {
        Self::start_with(near, far, |_| {}).await
    }

    /// The same with other settings of both front doors.
    pub(crate) async fn start_with(
        near: &DatabaseUrl,
        far: &DatabaseUrl,
        set: impl Fn(&mut Config),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (folder.path().join("one"), folder.path().join("other"));
        let mut settings = config(&here, near);
        set(&mut settings);
        let first = Running::start_parts(settings, Parts::Everything, clock());
        let first = first.await.unwrap();
        copy_keys(&here, &there);
        let mut settings = elsewhere(&there, far, &first);
        set(&mut settings);
        let second = Running::start_parts(settings, Parts::FrontDoor, clock());
        let second = second.await.unwrap();
        let installation = Self {
            one: door(&first),
            other: door(&second),
            first,
            second,
            folder,
            url: near.to_string(),
        };
        for door in [&installation.one, &installation.other] {
            door.until("/readyz", ADMIN, 200, PATIENCE).await;
        }
        installation
    }

    /// A key that is made on the host, and so of no administrator's hand.
    pub(crate) async fn local_key(&self, name: &str, role: &str) -> String {
        let made = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args([
                "key",
                "create",
                name,
                "--role",
                role,
                "--json",
                "--data-dir",
            ])
            .arg(self.folder("other"))
            .env("COUNTERSIGN_DATABASE_URL", &self.url)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        made["key"].as_str().unwrap().to_owned()
    }

    /// The settings of one more front door on the folder `name`.
    pub(crate) fn third(&self, name: &str, at: &DatabaseUrl) -> Config {
        elsewhere(&self.folder(name), at, &self.first)
    }

    /// Runs a command on the folder `name`, with the database `at`.
    pub(crate) fn run(&self, name: &str, at: &DatabaseUrl, words: &[&str]) -> Output {
        run(&self.folder(name), at, words)
    }

    /// What `config check` says of the database.
    pub(crate) fn check(&self, name: &str, at: &DatabaseUrl) -> Checked {
        check(&self.folder(name), at)
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn stop(self) -> tempfile::TempDir {
        for (name, running) in [("second", self.second), ("first", self.first)] {
            let stopped = running.stop().await;
            stopped.unwrap_or_else(|error| panic!("the {name} front door: {error} ({error:?})"));
        }
        self.folder
    }
}

/// What `config check` says of a database.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) ok: bool,
    pub(crate) said: String,
}

pub(crate) fn check(folder: &Path, at: &DatabaseUrl) -> Checked {
    let output = run(folder, at, &["config", "check", "--json"]);
    let document: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let mut checks = document["checks"].as_array().unwrap().iter();
    let found = checks.find(|check| check["name"] == "database");
    let found = found.unwrap_or_else(|| panic!("{document}"));
    Checked {
        ok: found["ok"] == true,
        said: found["detail"].as_str().unwrap().to_owned(),
    }
}

pub(crate) fn run(folder: &Path, at: &DatabaseUrl, words: &[&str]) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(words).arg("--data-dir").arg(folder);
    command.env("COUNTERSIGN_DATABASE_URL", at.to_string());
    tokio::task::block_in_place(|| command.output().unwrap())
}

/// The database `name` by the port of its server, or of what passes everything on to it.
pub(crate) fn at(port: u16, name: &str) -> DatabaseUrl {
    let text = format!("postgresql://countersign@127.0.0.1:{port}/{name}");
    text.parse().unwrap()
}

pub(crate) fn clock() -> std::sync::Arc<SystemClock> {
    std::sync::Arc::new(SystemClock)
}

pub(crate) fn config(folder: &Path, at: &DatabaseUrl) -> Config {
    let mut config = Config::embedded(folder);
    config.admin_token = Some(ADMIN.to_owned().into());
    config.database = Some(DatabaseConfig {
        url: at.clone(),
        tokens: false,
    });
    config
}

fn elsewhere(folder: &Path, at: &DatabaseUrl, first: &Running) -> Config {
    let mut config = config(folder, at);
    config.connection_string = Some(format!(
        "Endpoint=http://{};TaskHub=default;Authentication=Token;TokenFile={}",
        first.scheduler_addr.unwrap(),
        first.hub_token_file.as_ref().unwrap().display()
    ));
    config
}

pub(crate) fn copy_keys(from: &Path, to: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut private = std::fs::DirBuilder::new();
    private.mode(0o700).create(to).unwrap();
    for name in KEYS {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}
