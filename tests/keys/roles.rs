//! Keys in Key Vault, under the roles that deploy/azure/roles.bicep gives, and no others.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use countersign_enrollment::sealed::OpenKey;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fake::{FakeKeyVault, Op, Roles};
use crate::parts::Installation;
use crate::support::{Process, printed};

const BICEP: &str = include_str!("../../deploy/azure/roles.bicep");
const FRONT_DOOR: &str = "token-of-the-front-door";
const WORKER: &str = "token-of-the-worker";

/// The strings of a table of the Bicep file.
fn table(name: &str) -> Vec<String> {
    let start = format!("var {name} = [");
    let rest = BICEP
        .split_once(&start)
        .unwrap_or_else(|| panic!("there is a table {name}"))
        .1;
    let (table, _) = rest.split_once(']').expect("the table ends");
    let lines = table.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| line.trim_matches('\'').to_owned())
        .collect()
}

/// An installation whose keys and accounts are in a Key Vault each.
struct Azure {
    at: Installation,
    accounts: FakeKeyVault,
    keys: FakeKeyVault,
    certificates: PathBuf,
    identities: [String; 2],
}

impl Azure {
    async fn start() -> Self {
        let at = Installation::start().await;
        let (accounts, keys) = (FakeKeyVault::start().await, FakeKeyVault::start().await);
        let certificates = at.folder.path().join("certificates.pem");
        let both = [accounts.ca_file(), keys.ca_file()].map(|file| std::fs::read(file).unwrap());
        std::fs::write(&certificates, both.concat()).unwrap();

        let mut roles = Roles::default();
        roles.assign(FRONT_DOOR, None, &table("frontDoorOnAccounts"));
        roles.assign(WORKER, None, &table("workerOnAccounts"));
        accounts.enforce(roles);
        let mut roles = Roles::default();
        for (token, owns, reads) in [
            (FRONT_DOOR, "frontDoorOwns", "frontDoorReads"),
            (WORKER, "workerOwns", "workerReads"),
        ] {
            for (secrets, actions) in [(owns, table("owner")), (reads, table("reader"))] {
                for secret in table(secrets) {
                    roles.assign(token, Some(&secret), &actions);
                }
            }
        }
        keys.enforce(roles);
        Self {
            at,
            accounts,
            keys,
            certificates,
            identities: [identity(FRONT_DOOR).await, identity(WORKER).await],
        }
    }

    /// The command for a part, with its own managed identity.
    fn command(&self, part: &str) -> std::process::Command {
        let [front_door, worker] = &self.identities;
        let endpoint = if part == "worker" { worker } else { front_door };
        let mut command = self.at.command(part);
        command
            .args(["--azure-identity", "managed-identity"])
            .args(["--key-vault", &self.accounts.url()])
            .args(["--keys-vault", &self.keys.url(), "--key-vault-emulator"])
            .arg("--key-vault-ca-file")
            .arg(&self.certificates)
            .env("COUNTERSIGN_SINGLE_FRONT_DOOR", "true")
            .env("IDENTITY_ENDPOINT", endpoint)
            .env("IDENTITY_HEADER", "proof")
            .env("NO_PROXY", "*");
        command
    }

    async fn run(&self, part: &str) -> Process {
        self.at.run_as(self.command(part), part).await
    }

    /// What the identity with this token has done in a vault, with the names of keys.
    fn done(vault: &FakeKeyVault, token: &str) -> BTreeSet<(String, &'static str)> {
        let token = format!("Bearer {token}");
        let seen = vault.seen().into_iter();
        seen.filter(|seen| seen.token.as_ref() == Some(&token))
            .map(|seen| {
                let name = match seen.name.strip_prefix("totp-") {
                    Some(_) => "totp-*".to_owned(),
                    None => seen.name,
                };
                (name, does(seen.op))
            })
            .collect()
    }
}

const fn does(op: Op) -> &'static str {
    match op {
        Op::Get => "get",
        Op::Set => "set",
        Op::Update => "update",
        Op::Delete => "delete",
        Op::Versions | Op::List | Op::GetDeleted | Op::ListDeleted => "look",
        Op::Recover => "recover",
        Op::Purge => "purge",
        Op::Wrap => "wrap",
        Op::Unwrap => "unwrap",
    }
}

fn set(of: &[(&str, &[&'static str])]) -> BTreeSet<(String, &'static str)> {
    of.iter()
        .flat_map(|(name, done)| done.iter().map(|&op| ((*name).to_owned(), op)))
        .collect()
}

/// The endpoint at which a container gets the token of its managed identity.
async fn identity(token: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/msi/token", listener.local_addr().unwrap());
    let answer = async |State(token): State<Arc<str>>, headers: HeaderMap| {
        assert_eq!(headers["x-identity-header"], "proof");
        axum::Json(json!({
            "access_token": &*token,
            "expires_on": "4102444800",
            "resource": "https://vault.azure.net",
            "token_type": "Bearer",
        }))
    };
    let router = Router::new().fallback(answer).with_state(token.into());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// Asks for something to be done to an account, agrees to it, and waits until it is done.
async fn request(front_door: &Process, approver: &str, account: &str, body: Value) -> Value {
    let path = format!("/api/accounts/{account}/requests");
    let (status, asked) = front_door.call(Method::POST, &path, Some(body)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{asked}");
    let id = asked["id"].as_str().unwrap();
    front_door
        .until_stage("requests", id, "AwaitingApproval")
        .await;
    let path = format!("/api/requests/{id}/approval");
    let yes = Some(json!({"approved": true}));
    let (status, decided) = front_door.call_as(approver, Method::POST, &path, yes).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{decided}");
    front_door.until_stage("requests", id, "Done").await
}

#[tokio::test]
async fn the_roles_of_the_templates_are_enough_and_each_part_uses_only_its_own_keys() {
    let azure = Azure::start().await;
    let mut worker = azure.run("worker").await;
    let front_door = azure.run("front-door").await;

    // A whole life, with all that a worker does to accounts.
    let (first, second) = (front_door.enroll().await, front_door.enroll().await);
    let account = format!("/api/accounts/{first}");
    let token = format!("/api/tokens?id={first}");
    assert_eq!(
        front_door.call(Method::GET, &token, None).await.0,
        StatusCode::OK
    );
    let renamed = Some(json!({"accountName": "renamed"}));
    for (method, path, body) in [
        (Method::PATCH, account.as_str(), renamed),
        (Method::DELETE, &account, None),
        (Method::POST, &format!("{account}/restore"), None),
    ] {
        let (status, answer) = front_door.call(method, path, body).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
    }
    // By the hand of someone other than the requester.
    let approver = azure.at.approver().await;
    let to = OpenKey::generate().unwrap().seal_key().to_text();
    let transfer = json!({"kind": "transfer", "to": to});
    let done = request(&front_door, &approver, &first, transfer).await;
    assert!(done["package"].is_string(), "{done}");
    let delete = json!({"kind": "delete", "seconds": 0});
    request(&front_door, &approver, &second, delete).await;
    assert!(azure.accounts.vault(|vault| !vault.is_deleted(&second)));
    // An operator with the front door's role rotates its key.
    let rotate = azure.command("mandate-key rotate");
    let rotated = printed(rotate).await["id"].as_str().unwrap().to_owned();
    let list = printed(azure.command("mandate-key list")).await;
    assert_eq!(list["keys"][0], json!({"id": rotated, "state": "signs"}));
    assert_eq!(worker.stop().await, Some(0));

    // Exactly these, and what a part does with another's is refused besides.
    assert_eq!(
        Azure::done(&azure.keys, FRONT_DOOR),
        set(&[
            ("countersign-fingerprint-key", &["get", "look"]),
            ("countersign-installation", &["get", "look", "set"]),
            ("countersign-mandate-key", &["get", "look", "set"]),
            ("countersign-mandate-keys", &["get", "set"]),
            ("countersign-seal-key-public", &["get"]),
            ("countersign-server-key", &["get", "look", "set"]),
        ])
    );
    assert_eq!(
        Azure::done(&azure.keys, WORKER),
        set(&[
            ("countersign-fingerprint-key", &["get", "look", "set"]),
            ("countersign-mandate-keys", &["get"]),
            ("countersign-seal-key", &["get", "look", "set"]),
            ("countersign-seal-key-public", &["get", "set"]),
        ])
    );
    let looked = ["installation", "mandate-key", "server-key"];
    let looked = looked.map(|name| format!("countersign-{name}"));
    let mut expected = set(&[("totp-*", &["get", "look", "update", "delete", "recover"])]);
    expected.extend(looked.map(|name| (name, "look")));
    let mut done = Azure::done(&azure.accounts, FRONT_DOOR);
    done.remove(&(String::new(), "look"));
    assert_eq!(done, expected);
    let looked = ["countersign-fingerprint-key", "countersign-seal-key"];
    let mut expected = set(&[("totp-*", &["get", "look", "set", "delete", "purge"])]);
    expected.extend(looked.map(|name| (name.to_owned(), "look")));
    // It lists them too, to find the same account again.
    expected.insert((String::new(), "look"));
    assert_eq!(Azure::done(&azure.accounts, WORKER), expected);
    // No key of the installation is in the vault that the front door may read whole.
    let left = azure.accounts.vault(|vault| {
        let names = ["seal-key", "server-key", "fingerprint-key", "mandate-key"];
        names.map(|name| vault.versions(&format!("countersign-{name}")).len())
    });
    assert_eq!(left, [0; 4]);
}

#[test]
fn the_templates_keep_keys_apart_and_the_vaults_off_the_public_network() {
    for role in ["frontDoorOwns", "frontDoorReads"] {
        assert!(!table(role).contains(&"countersign-seal-key".to_owned()));
    }
    for role in ["workerOwns", "workerReads"] {
        for key in ["countersign-mandate-key", "countersign-server-key"] {
            assert!(!table(role).contains(&key.to_owned()));
        }
    }
    let front_door = table("frontDoorOnAccounts").join(" ");
    assert!(!front_door.contains("setSecret"), "{front_door}");
    assert!(!front_door.contains("purge"), "{front_door}");

    let vault = include_str!("../../deploy/azure/vault.bicep");
    assert!(vault.contains("publicNetworkAccess: 'Disabled'"));
    assert!(vault.contains("networkAcls: { defaultAction: 'Deny', bypass: 'None' }"));
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/azure");
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("0.0.0.0"), "{}", file.display());
    }
}

#[tokio::test]
async fn a_front_door_with_another_folder_starts_only_if_an_operator_allows_it() {
    let azure = Azure::start().await;
    let _worker = azure.run("worker").await;
    azure.run("front-door").await;
    let files = azure.at.files();
    assert!(!files.contains("vault.key"), "{files:?}");
    assert!(!files.contains("seal.key"), "{files:?}");
    assert!(!files.contains("seal.pub"), "{files:?}");

    // The same folder again, and then an empty one as after a pod without a volume.
    azure.run("front-door").await;
    let data = azure.at.data();
    std::fs::rename(&data, azure.at.folder.path().join("before")).unwrap();
    let start = || Process::spawn(azure.command("front-door"), azure.at.folder.path(), "other");
    let mut other = start();
    assert_eq!(other.ended().await, Some(1), "{}", other.log());
    assert!(
        other.log().contains("countersign-installation"),
        "{}",
        other.log()
    );

    azure
        .keys
        .vault(|vault| vault.put("countersign-installation", "new", json!({})));
    let mut taken = start();
    taken.ready().await;
    assert!(
        taken.log().contains("is now the installation"),
        "{}",
        taken.log()
    );
    drop(taken);

    // The folder before it is now the other one.
    std::fs::rename(&data, azure.at.folder.path().join("after")).unwrap();
    std::fs::rename(azure.at.folder.path().join("before"), &data).unwrap();
    let mut before = start();
    assert_eq!(before.ended().await, Some(1), "{}", before.log());
}

#[tokio::test]
async fn keys_that_are_still_in_the_accounts_vault_are_not_made_a_second_time() {
    let azure = Azure::start().await;
    azure
        .accounts
        .vault(|vault| vault.put("countersign-seal-key", "of before", json!({})));
    let mut worker = Process::spawn(azure.command("worker"), azure.at.folder.path(), "worker");
    assert_eq!(worker.ended().await, Some(1));
    assert!(worker.log().contains("Copy its value"), "{}", worker.log());
    let made = azure
        .keys
        .vault(|vault| vault.versions("countersign-seal-key").len());
    assert_eq!(made, 0);
}

#[tokio::test]
async fn one_vault_for_accounts_and_keys_works_with_a_warning() {
    let at = Installation::start().await;
    let vault = FakeKeyVault::start().await;
    let identity = identity(WORKER).await;
    let mut command = at.command("worker");
    command
        .args(["--azure-identity", "managed-identity"])
        .args(["--key-vault", &vault.url(), "--key-vault-emulator"])
        .arg("--key-vault-ca-file")
        .arg(vault.ca_file())
        .env("IDENTITY_ENDPOINT", identity)
        .env("IDENTITY_HEADER", "proof")
        .env("NO_PROXY", "*");
    let worker = at.run_as(command, "worker").await;
    assert!(worker.log().contains("--keys-vault"), "{}", worker.log());
    // No key is in the folder.
    let ledger = ["installation.ledger", "ledger.sqlite3"].map(str::to_owned);
    assert_eq!(at.files(), BTreeSet::from(ledger));
}
