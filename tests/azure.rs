//! The binary on Azure by configuration alone: Key Vault over TLS and a managed identity,
//! both played by small fakes of our own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../azure/tests/fake/mod.rs"]
mod fake;
#[path = "support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each test program uses a part of it"
)]
mod support;

use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use fake::{FakeKeyVault, Fault, Op};
use serde_json::{Value, json};
use support::{Process, SEED_URI, countersign, output};

const TOKEN: &str = "an-administrator-for-tests";
const NOWHERE: &str = "totp-00000000-0000-4000-8000-000000000000";

/// The endpoint at which containers get tokens of their managed identity.
struct ManagedIdentity {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ManagedIdentity {
    async fn start() -> Self {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/msi/token", listener.local_addr().unwrap());
        let router = Router::new().fallback(token).with_state(Arc::clone(&asked));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, asked }
    }
}

async fn token(
    State(asked): State<Arc<Mutex<Vec<String>>>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if headers
        .get("x-identity-header")
        .is_none_or(|value| value != "proof")
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    asked.lock().unwrap().push(query.unwrap_or_default());
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    axum::Json(json!({
        "access_token": "token-of-the-managed-identity",
        // A string, as App Service sends it.
        "expires_on": (now + 86_400).to_string(),
        "resource": "https://vault.azure.net",
        "token_type": "Bearer",
    }))
    .into_response()
}

struct Azure {
    vault: FakeKeyVault,
    identity: ManagedIdentity,
    folder: tempfile::TempDir,
}

struct Server(Process);

/// The program with its data in `folder` and a managed identity, wherever that comes from.
fn program(folder: &tempfile::TempDir, words: &[&str]) -> Command {
    let mut command = countersign(&folder.path().join("data"), words);
    command
        // What names a Key Vault that is not ours.
        .envs(std::env::vars())
        .env_remove("RUST_BACKTRACE")
        .env("COUNTERSIGN_ADMIN_TOKEN", TOKEN)
        .env("COUNTERSIGN_AZURE_IDENTITY", "managed-identity");
    command
}

impl Azure {
    async fn start() -> Self {
        Self {
            vault: FakeKeyVault::start().await,
            identity: ManagedIdentity::start().await,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn program(&self, words: &[&str]) -> Command {
        let mut command = program(&self.folder, words);
        command
            .env("IDENTITY_ENDPOINT", &self.identity.address)
            .env("IDENTITY_HEADER", "proof")
            .env("AZURE_CLIENT_ID", "the-client-id")
            .env("KEY_VAULT_URL", self.vault.url())
            .env("KEY_VAULT_EMULATOR", "true")
            .env("KEY_VAULT_CA_FILE", self.vault.ca_file())
            .env("COUNTERSIGN_SINGLE_FRONT_DOOR", "true")
            .env("NO_PROXY", "*");
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        output(self.program(arguments)).await
    }

    async fn serve(&self, more: &[&str]) -> Server {
        let words = [&["serve", "--json"], more].concat();
        Server::start(self.program(&words), &self.folder).await
    }
}

impl Server {
    async fn start(mut command: Command, folder: &tempfile::TempDir) -> Self {
        for listener in ["--listen", "--scheduler-listen", "--metrics-listen"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        command.args(["--dashboard-listen", "none"]);
        Self(Process::start(command, folder.path(), "serve").await)
    }

    fn base(&self) -> &str {
        self.0.announced("server")
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(reqwest::Method::GET, path, None).await
    }

    async fn enroll(&self) -> (StatusCode, Value) {
        let body = json!({ "uri": SEED_URI });
        self.send(reqwest::Method::POST, "/api/accounts", Some(body))
            .await
    }

    async fn send(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let answer = self.0.caller(TOKEN).call(method, path, body).await;
        (answer.status, answer.body)
    }

    /// The value of a counter.
    async fn counted(&self, name: &str) -> u64 {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = http
            .get(format!("{}/metrics", self.0.announced("metrics")))
            .send()
            .await;
        let text = answer.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .trim()
            .parse()
            .unwrap()
    }

    fn stop(mut self) {
        self.0.kill();
    }
}

#[tokio::test]
async fn an_account_goes_through_key_vault_with_a_managed_identity_and_survives_a_new_folder() {
    let azure = Azure::start().await;
    let server = azure.serve(&[]).await;
    let (status, enrolled) = server.enroll().await;
    assert_eq!(status, StatusCode::CREATED, "{enrolled}");
    let id = enrolled["secretName"].as_str().unwrap().to_owned();
    let (status, code) = server.get(&format!("/api/tokens?id={id}")).await;
    assert_eq!(status, StatusCode::OK, "{code}");
    assert_eq!(code["token"].as_str().unwrap().len(), 6);
    assert_eq!(code.get("vaultStaleSeconds"), None);
    let (_, ready) = server.get("/readyz").await;
    assert_eq!(ready["vault"], "ok");
    let (_, accounts) = server.get("/api/accounts").await;
    assert_eq!(accounts["accounts"][0]["issuer"], "2FAS", "{accounts}");
    let health = azure.run(&["health", "--server", server.base()]).await;
    assert!(health.status.success(), "{health:?}");

    // One version, by the identity that was named.
    assert_eq!(azure.vault.vault(|vault| vault.versions(&id).len()), 1);
    for seen in azure.vault.seen() {
        if let Some(token) = seen.token {
            assert_eq!(token, "Bearer token-of-the-managed-identity");
        }
    }
    let asked = azure.identity.asked.lock().unwrap().clone();
    assert!(asked[0].contains("client_id=the-client-id"), "{asked:?}");
    assert!(asked[0].contains("vault.azure.net"), "{asked:?}");

    // No account was in the folder; that rules and records were, an operator has to know of.
    server.stop();
    std::fs::remove_dir_all(azure.folder.path().join("data")).unwrap();
    azure
        .vault
        .vault(|vault| vault.put("countersign-installation", "new", json!({})));
    let server = azure.serve(&[]).await;
    let (status, code) = server.get(&format!("/api/tokens?id={id}")).await;
    assert_eq!(status, StatusCode::OK, "{code}");
}

#[tokio::test]
async fn a_backup_holds_no_secret_of_key_vault_and_a_move_is_refused_before_it_begins() {
    let azure = Azure::start().await;
    let server = azure.serve(&[]).await;
    let (_, enrolled) = server.enroll().await;
    let id = enrolled["secretName"].as_str().unwrap().to_owned();
    let named = json!({"name": "backed-up", "role": "reader"});
    let (status, made) = server
        .send(reqwest::Method::POST, "/api/keys", Some(named))
        .await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let file = azure.folder.path().join("backup").display().to_string();
    let in_clear = ["--unencrypted", "--with-all-secrets-in-clear"];
    let words = [&["backup", "create", &file, "--json"], &in_clear[..]].concat();
    let backup = azure.run(&words).await;
    assert!(backup.status.success(), "{backup:?}");
    // Nothing that is encrypted could be searched.
    let bytes = std::fs::read(&file).unwrap();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
    assert!(holds(b"backed-up"));
    let raw = data_encoding::BASE32_NOPAD.decode(b"2FASTEST").unwrap();
    assert!(!holds(b"2FASTEST") && !holds(&raw));

    // It comes back in an empty folder, beside the same Key Vault.
    server.stop();
    let data = azure.folder.path().join("data");
    std::fs::rename(&data, azure.folder.path().join("lost")).unwrap();
    let restored = azure.run(&["backup", "restore", &file, "--json"]).await;
    assert!(restored.status.success(), "{restored:?}");
    let server = azure.serve(&[]).await;
    let (status, code) = server.get(&format!("/api/tokens?id={id}")).await;
    assert_eq!(status, StatusCode::OK, "{code}");
    let (_, keys) = server.get("/api/keys").await;
    assert!(keys.to_string().contains("backed-up"), "{keys}");
    let verified = azure.run(&["audit", "verify"]).await;
    assert!(verified.status.success(), "{verified:?}");

    // Front doors on a database could not continue the folder's audit log.
    server.stop();
    let before = names(&data);
    for direction in ["to-database", "to-folder"] {
        let mut program = azure.program(&["migrate", direction]);
        program.env(
            "COUNTERSIGN_DATABASE_URL",
            "postgresql://u@127.0.0.1:1/none",
        );
        let refused = output(program).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(6), "{refused:?}");
        assert!(
            said.contains("nothing was moved: with the keys in Key Vault"),
            "{said}"
        );
        assert_eq!(names(&data), before);
    }
    let server = azure.serve(&[]).await;
    let (status, code) = server.get(&format!("/api/tokens?id={id}")).await;
    assert_eq!(status, StatusCode::OK, "{code}");
}

fn names(folder: &std::path::Path) -> std::collections::BTreeSet<std::ffi::OsString> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

#[tokio::test]
async fn codes_continue_while_key_vault_is_away_and_say_so() {
    let azure = Azure::start().await;
    let server = azure
        .serve(&["--token-cache-age", "1ms", "--token-max-stale", "10m"])
        .await;
    let (_, enrolled) = server.enroll().await;
    let id = enrolled["secretName"].as_str().unwrap().to_owned();
    let path = format!("/api/tokens?id={id}");
    let (status, _) = server.get(&path).await;
    assert_eq!(status, StatusCode::OK);

    for fault in [
        Fault::Answer(503, "ServiceUnavailable", "", None),
        Fault::Reset,
        Fault::Stall(Duration::from_secs(30)),
    ] {
        azure.vault.plan(Some(Op::Get), None, usize::MAX, fault);
        let (status, code) = server.get(&path).await;
        assert_eq!(status, StatusCode::OK, "{code}");
        assert!(code["vaultStaleSeconds"].is_u64(), "{code}");

        // What was never read cannot be stood in for; the answer comes all the same.
        let started = Instant::now();
        let (status, problem) = server.get(&format!("/api/tokens?id={NOWHERE}")).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
        let kind = problem["type"].as_str().unwrap();
        assert!(kind.ends_with("vault-unavailable"), "{problem}");
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{:?}",
            started.elapsed()
        );
        azure.vault.heal();
    }
    let (status, _) = server.get(&format!("/api/tokens?id={NOWHERE}")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn enrollments_outlast_a_vault_that_misbehaves() {
    let azure = Azure::start().await;
    let server = azure.serve(&[]).await;
    let stall = Duration::from_secs(30);
    for (op, times, fault) in [
        (Op::Set, 2, Fault::Answer(429, "Throttled", "", Some("1"))),
        (
            Op::Set,
            1,
            Fault::Answer(500, "InternalServerError", "", None),
        ),
        (Op::Versions, 1, Fault::Reset),
        (Op::Set, 1, Fault::DoneThenReset),
        (Op::Set, 1, Fault::DoneThenStall(stall)),
    ] {
        azure.vault.fail(op, times, fault);
        let (status, enrolled) = server.enroll().await;
        assert_eq!(status, StatusCode::CREATED, "{enrolled}");
        let id = enrolled["secretName"].as_str().unwrap();
        assert_eq!(azure.vault.vault(|vault| vault.versions(id).len()), 1);
    }
    // The token has ended before its time.
    azure.vault.vault(|vault| vault.reject_once = true);
    let (status, enrolled) = server.enroll().await;
    assert_eq!(status, StatusCode::CREATED, "{enrolled}");
    let id = enrolled["secretName"].as_str().unwrap();
    assert_eq!(azure.vault.vault(|vault| vault.versions(id).len()), 1);
    let throttled = server.counted("countersign_key_vault_throttled_total");
    assert_eq!(throttled.await, 2);

    // One call to the vault for many codes.
    for _ in 0..3 {
        let (status, code) = server.get(&format!("/api/tokens?id={id}")).await;
        assert_eq!(status, StatusCode::OK, "{code}");
    }
    assert_eq!(
        server.counted("countersign_vault_cache_hits_total").await,
        2
    );
    assert_eq!(
        server.counted("countersign_vault_cache_misses_total").await,
        1
    );
    assert_eq!(server.counted("countersign_vault_cache_entries").await, 1);
    // Each of those that docs/OBSERVABILITY.md promises.
    let document = include_str!("../docs/OBSERVABILITY.md");
    let promised: Vec<&str> = document
        .split('`')
        .filter(|word| word.starts_with("vault_cache_") || word.starts_with("key_vault_"))
        .collect();
    assert_eq!(promised.len(), 8, "{promised:?}");
    for name in promised {
        server.counted(&format!("countersign_{name}")).await;
    }
}

#[tokio::test]
async fn config_check_reports_what_works_and_what_to_do() {
    let azure = Azure::start().await;
    let good = azure.run(&["config", "check", "--json"]).await;
    assert!(good.status.success(), "{good:?}");
    let told: Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!(told["vault"]["ok"], true);
    assert_eq!(told["identity"], "managed-identity");
    assert_eq!(told["settings"]["key-vault"], azure.vault.url());
    assert!(!String::from_utf8_lossy(&good.stdout).contains(TOKEN));

    let mut command = azure.program(&["config", "check"]);
    command.env("COUNTERSIGN_AZURE_IDENTITY", "environment");
    let bad = output(command).await;
    assert_eq!(bad.status.code(), Some(1));
    let told = String::from_utf8(bad.stdout).unwrap();
    assert!(told.contains("AZURE_CLIENT_SECRET"), "{told}");

    azure.vault.vault(|vault| vault.forbidden.insert(Op::List));
    let bad = azure.run(&["config", "check"]).await;
    assert_eq!(bad.status.code(), Some(1));
    let told = String::from_utf8(bad.stdout).unwrap();
    assert!(told.contains("readMetadata"), "{told}");
}

/// The whole program against a Key Vault and an identity that are not ours.
#[tokio::test]
#[ignore = "needs a Key Vault; tests/emulators/run starts one"]
async fn an_account_lives_its_whole_life_in_a_key_vault_that_is_not_ours() {
    let folder = tempfile::tempdir().unwrap();
    let check = output(program(&folder, &["config", "check"])).await;
    assert!(check.status.success(), "{check:?}");
    // This folder takes the place of the one that was used before with the same vault.
    let azure = countersign::config::Config::load(&countersign::config::Settings {
        azure_identity: Some("managed-identity".to_owned()),
        ..Default::default()
    });
    let azure = azure.unwrap().azure;
    let identity = countersign_azure::Identity::new(&azure.identity);
    let vault = countersign_azure::KeyVault::new(&azure.key_vault.unwrap(), identity).unwrap();
    let new = "new".to_owned().into();
    let rotated = vault.rotate_secret("countersign-installation", &new).await;
    rotated.unwrap();
    let server = Server::start(program(&folder, &["serve", "--json"]), &folder).await;
    let (status, enrolled) = server.enroll().await;
    assert_eq!(status, StatusCode::CREATED, "{enrolled}");
    let id = enrolled["secretName"].as_str().unwrap();
    let token = format!("/api/tokens?id={id}");
    let account = format!("/api/accounts/{id}");
    let (status, code) = server.get(&token).await;
    assert_eq!(status, StatusCode::OK, "{code}");
    assert_eq!(code["token"].as_str().unwrap().len(), 6);

    let renamed = json!({"issuer": "2FAS", "accountName": "Renamed"});
    let (status, answer) = server
        .send(reqwest::Method::PATCH, &account, Some(renamed))
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let (_, found) = server.get("/api/accounts?search=renamed").await;
    assert_eq!(found["accounts"][0]["id"], id, "{found}");

    let (status, _) = server.send(reqwest::Method::DELETE, &account, None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = server.get(&token).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, answer) = server
        .send(reqwest::Method::POST, &format!("{account}/restore"), None)
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let (status, code) = server.get(&token).await;
    assert_eq!(status, StatusCode::OK, "{code}");
    server.stop();
}
