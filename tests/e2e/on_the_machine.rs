//! Commands on the server's own machine, however the server can be reached from elsewhere.

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{App, BINARY, PATIENCE, SEED_URI};

/// A server with an address and certificate of its own.
struct Exposed {
    folder: tempfile::TempDir,
    server: Child,
}

impl Exposed {
    async fn start(listen: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certify(&folder.path().join("certificate"));
        let output = File::create(folder.path().join("output.log")).unwrap();
        let tls = folder.path().join("certificate");
        let server = Command::new(BINARY)
            .args(["serve", "--listen", listen])
            .args(["--scheduler-listen", "127.0.0.1:0"])
            .args(["--dashboard-listen", "none"])
            .args(more)
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .env("COUNTERSIGN_TLS_CERTIFICATE", tls.with_extension("pem"))
            .env("COUNTERSIGN_TLS_KEY", tls.with_extension("key"))
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut exposed = Self { folder, server };
        exposed.until_said("Try it:").await;
        exposed
    }

    async fn until_said(&mut self, words: &str) {
        let begun = Instant::now();
        while !self.said().contains(words) {
            let ended = self.server.try_wait().unwrap();
            assert!(
                begun.elapsed() < PATIENCE && ended.is_none(),
                "never said: {words}\n{}",
                self.said()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn said(&self) -> String {
        fs::read_to_string(self.file("output.log")).unwrap()
    }

    fn bound(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file("data/serve.json")).unwrap()).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Output {
        Command::new(BINARY)
            .args(arguments)
            .arg("--data-dir")
            .arg(self.file("data"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

impl Drop for Exposed {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Writes a new certificate for a name that this machine does not have.
fn certify(at: &std::path::Path) {
    let made = rcgen::generate_simple_self_signed(vec!["codes.example".to_owned()]).unwrap();
    fs::write(at.with_extension("pem"), made.cert.pem()).unwrap();
    fs::write(at.with_extension("key"), made.signing_key.serialize_pem()).unwrap();
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(&out(output)).unwrap()
}

#[tokio::test]
async fn commands_reach_a_server_with_tls_on_all_addresses_and_follow_its_certificate() {
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let mut server = Exposed::start(listen, &["--public-url", "https://codes.example"]).await;
        // People use the public address.
        assert!(
            server
                .said()
                .contains("Countersign is ready at https://codes.example\n"),
            "{}",
            server.said()
        );
        let bound = server.bound();
        let local = bound["server"].as_str().unwrap();
        let loopback = ["https://127.0.0.1:", "https://[::1]:"];
        assert!(
            loopback.iter().any(|start| local.starts_with(start)),
            "{local}"
        );
        let link = json_of(&server.command(&["login-link", "--json"]));
        let link = link["link"].as_str().unwrap();
        assert!(
            link.starts_with("https://codes.example/login#code="),
            "{link}"
        );

        let enrolled = server.command(&["enroll", SEED_URI, "--json"]);
        let id = json_of(&enrolled)["id"].as_str().unwrap().to_owned();
        out(&server.command(&["health"]));
        out(&server.command(&["token", "2FAS"]));
        out(&server.command(&["key", "create", "ci", "--role", "reader", "--granted-only"]));
        out(&server.command(&["grant", "add", "ci", "2FAS"]));
        let grants = json_of(&server.command(&["grant", "list", "--json"]));
        assert_eq!(grants["grants"][0]["account"], json!(id), "{grants}");

        // A renewed certificate is the one that commands expect from then on.
        certify(&server.file("certificate"));
        server.until_said("TLS certificate reloaded").await;
        assert_ne!(server.bound()["certificates"], bound["certificates"]);
        out(&server.command(&["token", "2FAS"]));

        // Another program with another certificate gets nothing.
        let mut other = server.bound();
        other["certificates"] = json!(["00"]);
        fs::write(server.file("data/serve.json"), other.to_string()).unwrap();
        let refused = server.command(&["list"]);
        assert_eq!(refused.status.code(), Some(8), "{refused:?}");
        assert!(
            said(&refused).contains("its certificate is not the one"),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn the_folders_token_is_for_every_address_of_its_server() {
    let app = App::start().await;
    out(&app.command(&["enroll", SEED_URI]));
    let port = app.address().rsplit_once(':').unwrap().1.to_owned();
    let servers = [
        format!("http://127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
    ];
    for (number, server) in servers.into_iter().enumerate() {
        out(&app.command(&["token", "2FAS", "--server", &server]));
        let key = format!("key-{number}");
        out(&app.command(&[
            "key",
            "create",
            &key,
            "--role",
            "reader",
            "--granted-only",
            "--group",
            "night",
            "--server",
            &server,
        ]));
        let granted = app.command(&[
            "grant", "add", &key, "2FAS", "--for", "1h", "--reads", "3", "--server", &server,
        ]);
        assert!(out(&granted).contains("3 reads left"), "{granted:?}");
        // Nothing is replaced without a word.
        let again = app.command(&[
            "grant", "add", &key, "2FAS", "--reads", "1", "--server", &server,
        ]);
        assert!(
            said(&again).contains("It replaces an earlier grant: until "),
            "{again:?}"
        );
        assert!(out(&again).ends_with("1 read left\n"), "{again:?}");
        let listed = app.command(&["grant", "list", "--server", &server]);
        assert!(out(&listed).contains(&key), "{listed:?}");
        out(&app.command(&["grant", "remove", &key, "2FAS", "--server", &server]));
        let rotated = app.command(&[
            "key",
            "rotate",
            &key,
            "--overlap",
            "0s",
            "--server",
            &server,
        ]);
        assert!(out(&rotated).starts_with("cs_"), "{rotated:?}");
        out(&app.command(&["key", "revoke", &key, "--server", &server]));
        let keys = json_of(&app.command(&["key", "list", "--json", "--server", &server]));
        let revoked = keys["keys"].as_array().unwrap().iter();
        let revoked = revoked.filter(|row| row["name"] == json!(key));
        assert!(
            revoked.clone().all(|row| row["revokedAt"].is_string()) && revoked.count() == 1,
            "{keys}"
        );
    }
    // The same on the folder, and a group that nobody is in.
    let lonely = app.command(&["grant", "add", "owls", "2FAS", "--group"]);
    assert!(
        said(&lonely).contains("No key is in the group owls"),
        "{lonely:?}"
    );
    let elsewhere = App::start().await;
    let foreign = app.command(&[
        "list",
        "--server",
        &format!("http://{}", elsewhere.address()),
    ]);
    assert_eq!(foreign.status.code(), Some(8), "{foreign:?}");
    assert!(said(&foreign).contains("no token was sent"), "{foreign:?}");
}

#[tokio::test]
async fn a_server_on_one_address_of_the_network_is_still_the_folders() {
    let Some(own) = own_address() else {
        eprintln!("this machine has no address besides loopback; nothing to try");
        return;
    };
    let server = Exposed::start(&format!("{own}:0"), &[]).await;
    out(&server.command(&["enroll", SEED_URI]));
    out(&server.command(&["token", "2FAS"]));
}

/// An address of this machine that is not loopback: the one from which it would send.
fn own_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[test]
fn a_start_and_the_check_warn_about_a_front_door_without_tls() {
    let folder = tempfile::tempdir().unwrap();
    let check = |more: &[&str]| {
        let output = Command::new(BINARY)
            .args(["config", "check", "--scheduler-listen", "127.0.0.1:0"])
            .args(["--dashboard-listen", "none", "--data-dir"])
            .arg(folder.path().join("data"))
            .args(more)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let open = check(&["--listen", "0.0.0.0:0"]);
    assert!(
        open.contains("WARNING") && open.contains("without TLS"),
        "{open}"
    );
    let json: Value = serde_json::from_str(&check(&["--listen", "0.0.0.0:0", "--json"])).unwrap();
    assert_eq!(json["warnings"].as_array().unwrap().len(), 1, "{json}");
    for more in [
        &["--listen", "127.0.0.1:0"][..],
        &["--listen", "0.0.0.0:0", "--trusted-proxies", "10.0.0.1"],
    ] {
        assert!(!check(more).contains("WARNING"), "{more:?}");
    }
    // Nothing starts if one of its parts cannot be used.
    let missing = folder.path().join("missing.pem");
    let missing = missing.to_str().unwrap();
    let broken = check(&[
        "--listen",
        "127.0.0.1:0",
        "--tls-certificate",
        missing,
        "--tls-key",
        missing,
    ]);
    assert!(!broken.contains("would start"), "{broken}");
    assert!(broken.contains("would not start: see TLS"), "{broken}");
    assert!(
        broken.contains(&format!("--tls-certificate: cannot read {missing}")),
        "{broken}"
    );
}

#[tokio::test]
async fn the_audit_log_is_exported_by_name_and_time() {
    let app = App::start().await;
    let id = json_of(&app.command(&["enroll", SEED_URI, "--json"]))["id"].clone();
    out(&app.command(&["token", "2FAS"]));
    out(&app.command(&["key", "create", "ci", "--role", "reader"]));
    let export = |more: &[&str]| {
        let output = app.command(&[&["audit", "export"], more].concat());
        let lines = out(&output);
        let entries = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        entries.collect::<Vec<Value>>()
    };
    let named = export(&["--subject", "2fas", "--caller", "admin"]);
    let actions: Vec<&Value> = named.iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["enroll", "read-code"], "{named:?}");
    assert!(named.iter().all(|entry| entry["subject"] == id));
    assert_eq!(
        named,
        export(&["--subject", id.as_str().unwrap(), "--caller", "admin"])
    );
    assert_eq!(export(&["--subject", "ci"]).len(), 1);
    // What the worker did is copied from its journal a moment later.
    let begun = std::time::Instant::now();
    while export(&["--caller", "worker"]).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the worker's entry is missing");
        tokio::task::yield_now().await;
    }
    let all = export(&[]).len();
    assert_eq!(export(&["--since", "1h"]).len(), all);
    assert_eq!(export(&["--since", "2000-01-31"]).len(), all);
    assert_eq!(
        export(&["--until", "2000-01-31T12:00:00Z"]),
        [] as [Value; 0]
    );
    let whole = json_of(&app.command(&["audit", "export", "--json"]));
    assert_eq!(whole["entries"].as_array().unwrap().len(), all);
    let none = json_of(&app.command(&["audit", "export", "--json", "--caller", "nobody"]));
    assert_eq!(none, json!({ "entries": [] }));
    let none = app.command(&["audit", "export", "--caller", "nobody"]);
    assert!(said(&none).contains("No entries."), "{none:?}");
    let wrong = app.command(&["audit", "export", "--since", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    assert!(said(&wrong).contains("--since: write a date"), "{wrong:?}");
    let nobody = app.command(&["audit", "export", "--subject", "nobody"]);
    assert_eq!(nobody.status.code(), Some(5), "{nobody:?}");
    let archive = app.command(&["audit", "verify", "--archive", "/nope"]);
    assert!(
        said(&archive).contains("/nope: the archive cannot be read: No such file"),
        "{archive:?}"
    );
}

#[tokio::test]
async fn a_worker_is_ready_once_it_is_connected() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("worker.log");
    let output = File::create(&log).unwrap();
    // Bound, so that nothing else is there; nobody answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hub = format!(
        "Endpoint=http://{};TaskHub=default;Authentication=None",
        silent.local_addr().unwrap()
    );
    let mut worker = Command::new(BINARY)
        .args(["worker", "--connection-string", &hub, "--data-dir"])
        .arg(folder.path().join("data"))
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let read = || fs::read_to_string(&log).unwrap();
    while !read().contains("Waiting for the task hub") && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let said = read();
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert!(said.contains("Waiting for the task hub"), "{said}");
    assert!(!said.contains("is ready"), "{said}");
}

#[tokio::test]
async fn what_is_wrong_is_said_of_what_was_named() {
    let app = App::start().await;
    out(&app.command(&["enroll", SEED_URI]));
    out(&app.command(&["key", "create", "ci", "--role", "reader", "--granted-only"]));
    out(&app.command(&["key", "revoke", "ci"]));
    let server = format!("http://{}", app.address());
    for (arguments, exit, words) in [
        (
            &["key", "rotate", "ci"][..],
            1,
            "was revoked or has expired",
        ),
        (
            &["grant", "add", "ci", "2FAS"],
            1,
            "was revoked or has expired",
        ),
        (
            &["grant", "add", "ci", "2FAS", "--server", &server],
            1,
            "was revoked or has expired",
        ),
        (
            &["key", "rotate", "nobody"],
            5,
            "there is no key named 'nobody'",
        ),
        (
            &["restore", "2FAS"],
            5,
            "there is no removed account with this id or name; see `countersign list --removed`",
        ),
        (
            &["dashboard", "nope"],
            5,
            "there is no enrollment, import or request with the id",
        ),
    ] {
        let output = app.command(arguments);
        assert_eq!(output.status.code(), Some(exit), "{output:?}");
        assert!(said(&output).contains(words), "{output:?}");
    }
    // A part of a list is counted by itself.
    let list = app.folder().join("list.txt");
    let uris: Vec<String> = ["a", "b", "c"]
        .iter()
        .map(|name| format!("otpauth://totp/{name}?secret=GEZDGNBVGY3TQOJQ&issuer=Shop"))
        .collect();
    fs::write(&list, uris.join("\n")).unwrap();
    let picked = app.command(&["import", list.to_str().unwrap(), "--pick", "2"]);
    assert!(
        said(&picked).contains("1 of 1 enrolled; 2 not picked"),
        "{picked:?}"
    );
}
