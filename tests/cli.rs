//! The program as people and scripts run it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const URI: &str = "otpauth://totp/Test%20Token?secret=2FASTEST&issuer=2FAS";
const NOWHERE: &str = "totp-00000000-0000-4000-8000-000000000000";

/// A `countersign serve` on free ports, killed when dropped.
struct Server {
    child: Child,
    data: PathBuf,
    said: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut child = program(&data)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args([
                "--scheduler-listen",
                "127.0.0.1:0",
                "--dashboard-listen",
                "none",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = Vec::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !said.iter().any(|line: &String| line.contains("curl")) {
            said.push(lines.next().expect("serve ended early").unwrap());
        }
        Self {
            child,
            data,
            said,
            _folder: folder,
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        program(&self.data).args(arguments).output().unwrap()
    }

    fn run_as(&self, key: &str, arguments: &[&str]) -> Output {
        let mut command = program(&self.data);
        command.env("COUNTERSIGN_TOKEN", key);
        command.args(arguments).output().unwrap()
    }

    fn pipe(&self, input: &[u8], arguments: &[&str]) -> Output {
        let mut child = program(&self.data)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    fn key(&self, name: &str, role: &str) -> String {
        stdout(&self.run(&["key", "create", name, "--role", role]))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn program(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    for variable in ["SERVER", "TOKEN", "ADMIN_TOKEN", "CONFIG", "LISTEN"] {
        command.env_remove(format!("COUNTERSIGN_{variable}"));
    }
    command.env("COUNTERSIGN_DATA_DIR", data);
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .trim()
        .to_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
}

#[test]
fn from_a_uri_to_a_code() {
    let server = Server::start();
    let enrolled = server.pipe(format!("{URI}\n").as_bytes(), &["enroll", "-", "--json"]);
    assert_code(&enrolled, 0);
    let view = json(&enrolled);
    assert_eq!(view["stage"], "Enrolled");
    assert_eq!(view["preview"]["issuer"], "2FAS");
    let id = view["id"].as_str().unwrap();

    let code = server.run(&["token", id]);
    assert_code(&code, 0);
    assert_eq!(stdout(&code).len(), 6);
    let detail = json(&server.run(&["token", id, "--json"]));
    assert_eq!(detail["period"], 30);

    let list = server.run(&["list"]);
    assert!(stdout(&list).contains("2FAS: Test Token"), "{list:?}");
    assert_code(&server.run(&["status", id]), 0);
}

#[test]
fn what_a_server_prints_into_a_pipe_opens_nothing() {
    let server = Server::start();
    let token = std::fs::read_to_string(server.data.join("admin-token")).unwrap();
    let said = server.said.join("\n");
    assert!(
        !said.contains(token.trim()) && !said.contains("#"),
        "{said}"
    );
    assert!(said.contains("countersign login-link --data-dir"), "{said}");
    let link = |arguments: &[&str]| {
        let made = server.run(arguments);
        assert_code(&made, 0);
        assert!(!stdout(&made).contains(token.trim()));
        stdout(&made)
    };
    let base = server.said[0].rsplit(' ').next().unwrap();
    let (one, other) = (link(&["login-link"]), link(&["login-link"]));
    for link in [&one, &other] {
        assert!(link.starts_with(&format!("{base}/login#code=")), "{link}");
    }
    assert_ne!(one, other);
    let told: Value = serde_json::from_str(&link(&["login-link", "--json"])).unwrap();
    assert!(told["link"].as_str().unwrap().starts_with(base), "{told}");
    let key = server.key("r", "reader");
    assert_code(&server.run_as(&key, &["login-link"]), 6);
}

#[test]
fn from_an_image_to_a_code() {
    let server = Server::start();
    let code = qrcode::QrCode::new(URI).unwrap();
    let picture = code
        .render::<image::Luma<u8>>()
        .module_dimensions(8, 8)
        .build();
    let file = server.data.join("code.png");
    picture.save(&file).unwrap();
    let enrolled = server.run(&["enroll", file.to_str().unwrap()]);
    assert_code(&enrolled, 0);
    assert!(
        stdout(&enrolled).contains("2FAS: Test Token"),
        "{enrolled:?}"
    );
}

#[test]
fn approval_takes_two() {
    let server = Server::start();
    let (enroller, approver) = (server.key("ci", "enroller"), server.key("ops", "approver"));
    let asked = server.run_as(
        &enroller,
        &["enroll", URI, "--approval", "required", "--json"],
    );
    assert_code(&asked, 4);
    let view = json(&asked);
    assert_eq!(view["stage"], "AwaitingApproval");
    assert_eq!(view["requestedBy"], "ci");
    let id = view["id"].as_str().unwrap();

    assert_code(&server.run_as(&enroller, &["approve", id]), 6);
    assert_code(&server.run_as(&approver, &["token", id]), 6);
    assert_code(&server.run(&["token", id]), 5);
    assert_code(
        &server.run_as(&approver, &["approve", id, "--comment", "seen"]),
        0,
    );
    let status = server.run(&["status", id, "--wait", "--json"]);
    assert_code(&status, 0);
    assert_eq!(json(&status)["approval"]["decision"]["by"], "ops");
    let again = server.run_as(&approver, &["reject", id]);
    assert_code(&again, 1);
    assert!(stderr(&again).contains("decided"), "{again:?}");

    let asked = server.run_as(
        &enroller,
        &["enroll", URI, "--approval", "required", "--no-wait"],
    );
    assert_code(&asked, 4);
    let id = stdout(&asked);
    assert_code(&server.run(&["status", &id, "--wait"]), 4);
    assert_code(
        &server.run_as(&approver, &["reject", &id, "--comment", "no"]),
        0,
    );
    assert_code(&server.run(&["status", &id, "--wait"]), 3);
}

#[test]
fn failures_have_their_own_exit_codes() {
    let server = Server::start();
    assert_code(&server.run(&["status", NOWHERE]), 5);
    assert_code(&server.run(&["token", "nonsense"]), 5);
    assert_code(&server.run_as("cs_wrong_key", &["list"]), 6);
    assert_code(&server.run(&["enroll", "./no-such-file.png"]), 1);
    assert_code(&server.run(&["nonsense"]), 2);
    let hotp = "otpauth://hotp/a?secret=JBSWY3DPEHPK3PXP&counter=1";
    let refused = server.pipe(hotp.as_bytes(), &["enroll", "-", "--json"]);
    assert_code(&refused, 3);
    assert_eq!(json(&refused)["code"], "hotp-unsupported");
    assert!(!stdout(&refused).contains("JBSWY3DP"));
    assert_code(&server.run(&["key", "revoke", "nobody"]), 5);
    let taken = server.said[0].rsplit("//").next().unwrap().to_owned();
    let other = tempfile::tempdir().unwrap();
    let second = program(other.path())
        .args([
            "serve",
            "--listen",
            &taken,
            "--scheduler-listen",
            "127.0.0.1:0",
        ])
        .output()
        .unwrap();
    assert_code(&second, 1);
    assert!(stderr(&second).contains("--listen"), "{second:?}");
    let same_folder = server.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_code(&same_folder, 1);
    assert!(
        stderr(&same_folder).contains("--data-dir"),
        "{same_folder:?}"
    );
}

#[test]
fn it_stops_when_asked_and_removes_its_address() {
    let mut server = Server::start();
    let addresses = server.data.join("serve.json");
    assert!(addresses.exists());
    let pid = server.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(!addresses.exists());
    let gone = server.run(&["list"]);
    assert_code(&gone, 1);
    assert!(stderr(&gone).contains("countersign serve"), "{gone:?}");
}
