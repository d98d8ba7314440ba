//! The vault's key is wrapped by a key in a Key Vault, which is a fake with real RSA.

use std::path::PathBuf;
use std::process::Command;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fake::FakeKeyVault;
use crate::parts::{Installation, program};
use crate::support::{Process, output, printed};

const NAME: &str = "vault-key";

struct Wrapped {
    at: Installation,
    fake: FakeKeyVault,
}

impl Wrapped {
    async fn start() -> Self {
        let fake = FakeKeyVault::start().await;
        fake.vault(|vault| vault.keys.make(NAME));
        Self {
            at: Installation::start().await,
            fake,
        }
    }

    /// The command with the settings that name the key.
    fn with_key(&self, mut command: Command) -> Command {
        command
            .env(
                "COUNTERSIGN_VAULT_KEY_WRAPPED_BY",
                format!("{}/keys/{NAME}", self.fake.url()),
            )
            .env("KEY_VAULT_EMULATOR", "true")
            .env("KEY_VAULT_CA_FILE", self.fake.ca_file())
            .env("COUNTERSIGN_AZURE_IDENTITY", "unsigned");
        command
    }

    async fn run(&self, part: &str) -> Process {
        let command = self.with_key(self.at.command(part));
        self.at.run_as(command, part).await
    }

    fn file(&self) -> PathBuf {
        self.at.data().join("vault.key")
    }

    fn keys(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    async fn tell(&self, words: &str) -> Value {
        printed(self.with_key(program(words, &self.at.data()))).await
    }

    /// What a part says that does not start, with or without the setting.
    async fn refused(&self, part: &str, with_key: bool) -> String {
        let mut command = self.at.command(part);
        if with_key {
            command = self.with_key(command);
        }
        let mut process = Process::spawn(command, self.at.folder.path(), "refused");
        assert_ne!(process.ended().await, Some(0));
        process.log()
    }
}

async fn code(front_door: &Process, account: &str) -> String {
    let path = format!("/api/tokens?id={account}");
    let (status, code) = front_door.call(Method::GET, &path, None).await;
    assert_eq!(status, StatusCode::OK, "{code}");
    code["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_folder_holds_the_wrapped_key_only_and_opens_nothing_without_the_other() {
    let at = Wrapped::start().await;
    let mut worker = at.run("worker").await;
    let mut front_door = at.run("front-door").await;
    let account = front_door.enroll().await;
    code(&front_door, &account).await;
    let keys = at.keys();
    assert!(
        keys.starts_with("countersign-vault-key-wrapped-1 "),
        "{keys}"
    );
    assert_eq!(keys.lines().count(), 1);
    assert!(keys.contains(&format!("/keys/{NAME}/")), "{keys}");
    assert_eq!(front_door.stop().await, Some(0));
    assert_eq!(worker.stop().await, Some(0));

    let said = at.refused("worker", false).await;
    assert!(
        said.contains("set --vault-key-wrapped-by to that key"),
        "{said}"
    );
    at.fake.vault(|vault| vault.keys.enable(NAME, false));
    let said = at.refused("worker", true).await;
    assert!(said.contains("set-attributes"), "{said}");
    at.fake.vault(|vault| vault.keys.enable(NAME, true));
    // A file that asks another key is not obeyed: it might be anyone's.
    let other = keys.replace(&format!("/keys/{NAME}/"), "/keys/another/");
    std::fs::write(at.file(), &other).unwrap();
    let said = at.refused("worker", true).await;
    assert!(said.contains("name the key that has wrapped it"), "{said}");
    std::fs::write(at.file(), keys).unwrap();

    // Its key may be rotated there: the version that has wrapped it unwraps it.
    at.fake.vault(|vault| vault.keys.make(NAME));
    let _worker = at.run("worker").await;
    let front_door = at.run("front-door").await;
    code(&front_door, &account).await;
}

#[tokio::test]
async fn a_key_in_clear_is_replaced_by_a_wrapped_one_and_back_while_accounts_are_read() {
    let at = Wrapped::start().await;
    let mut worker = at.at.run("worker").await;
    let mut front_door = at.at.run("front-door").await;
    let account = front_door.enroll().await;
    let clear = at.keys();
    assert!(clear.starts_with("countersign-vault-key-1 "), "{clear}");
    assert_eq!(front_door.stop().await, Some(0));
    assert_eq!(worker.stop().await, Some(0));

    // Named, but not used yet, which is said.
    let mut worker = at.run("worker").await;
    let mut front_door = at.run("front-door").await;
    worker.until_logged("contains a key in clear").await;
    assert_eq!(at.keys(), clear);
    let rotated = at.tell("rotate vault-key").await;
    assert_ne!(rotated["key"], rotated["before"][0]);
    let wrapped = at.keys();
    assert!(
        wrapped.starts_with("countersign-vault-key-wrapped-1 "),
        "{wrapped}"
    );
    assert_eq!(wrapped.lines().count(), 1);
    code(&front_door, &account).await;
    front_door.enroll().await;

    // Wrapped by the latest version.
    let version = at.fake.vault(|vault| vault.keys.make(NAME));
    at.tell("rotate vault-key").await;
    assert!(at.keys().contains(&version), "{}", at.keys());
    code(&front_door, &account).await;

    // Without the setting nothing is rotated; with it, also back.
    let mut blind = program("rotate vault-key", &at.at.data());
    blind.env_remove("COUNTERSIGN_VAULT_KEY_WRAPPED_BY");
    let refused = output(blind).await;
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("set --vault-key-wrapped-by"), "{said}");
    at.tell("rotate vault-key --in-clear").await;
    assert!(
        at.keys().starts_with("countersign-vault-key-1 "),
        "{}",
        at.keys()
    );
    code(&front_door, &account).await;
    assert_eq!(front_door.stop().await, Some(0));
    assert_eq!(worker.stop().await, Some(0));
    let _worker = at.at.run("worker").await;
    let front_door = at.at.run("front-door").await;
    code(&front_door, &account).await;
}

#[tokio::test]
async fn a_backup_says_which_key_it_needs_and_is_counted_without_it() {
    let at = Wrapped::start().await;
    let _worker = at.run("worker").await;
    let front_door = at.run("front-door").await;
    let account = front_door.enroll().await;
    let file = at.at.folder.path().join("backup").display().to_string();
    let words = format!("backup create {file} --unencrypted --with-all-secrets-in-clear");
    let blind = output(program(&words, &at.at.data())).await;
    assert!(
        !blind.status.success(),
        "it could not be checked: {blind:?}"
    );
    let made = at.tell(&words).await;
    let by = made["contents"]["vaultKeyWrappedBy"].as_str().unwrap();
    assert!(by.contains(&format!("/keys/{NAME}/")), "{made}");
    assert_eq!(made["contents"]["accounts"], json!(1));

    // Verified elsewhere, with and without the key.
    let verify = format!("backup verify {file}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(verify.split(' ')).arg("--json");
    let counted = output(command).await;
    assert!(counted.status.success(), "{counted:?}");
    let said = String::from_utf8_lossy(&counted.stderr).into_owned();
    assert!(said.contains("counted and not decrypted"), "{said}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(verify.split(' ')).arg("--json");
    let opened = output(at.with_key(command)).await;
    assert!(opened.status.success(), "{opened:?}");
    at.fake.vault(|vault| vault.keys.enable(NAME, false));
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(verify.split(' ')).arg("--json");
    let closed = output(at.with_key(command)).await;
    assert!(!closed.status.success(), "{closed:?}");
    at.fake.vault(|vault| vault.keys.enable(NAME, true));

    // Restored, it works with that key.
    let restored = at.at.folder.path().join("restored");
    let restore = format!("backup restore {file}");
    printed(program(&restore, &restored)).await;
    let command = at.with_key(at.at.command_on("worker", &restored));
    let _worker = at.at.run_as(command, "restored-worker").await;
    let command = at.with_key(at.at.command_on("front-door", &restored));
    let front_door = at.at.run_as(command, "restored-front-door").await;
    code(&front_door, &account).await;
}
