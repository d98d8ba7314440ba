//! The command line does the same as the API, for people and for scripts.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{App, BINARY, SEED_URI, qr_png};

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("one JSON document on stdout ({error}): {output:?}"))
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("the command ends by itself")
}

#[tokio::test]
async fn an_image_is_enrolled_and_its_code_shown() {
    let app = App::start().await;
    let picture = app.folder().join("code.png");
    std::fs::write(&picture, qr_png(SEED_URI)).unwrap();

    let enrolled = app.command(&["enroll", picture.to_str().unwrap(), "--json"]);
    assert_eq!(code(&enrolled), 0, "{enrolled:?}");
    let id = json(&enrolled)["id"].as_str().unwrap().to_owned();

    let status = app.command(&["status", &id, "--json"]);
    assert_eq!(code(&status), 0, "{status:?}");
    assert_eq!(json(&status)["stage"], "Enrolled");

    let token = app.command(&["token", &id]);
    assert_eq!(code(&token), 0, "{token:?}");
    let text = String::from_utf8(token.stdout).unwrap();
    let digits: String = text.split_whitespace().next().unwrap().to_owned();
    assert!(
        digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit()),
        "{text}"
    );

    let list = app.command(&["list", "--json"]);
    assert_eq!(json(&list)["accounts"][0]["id"], id.as_str());
}

#[tokio::test]
async fn a_uri_on_standard_input_stays_out_of_the_shells_history() {
    let app = App::start().await;
    let mut child = Command::new(BINARY)
        .args(["enroll", "-", "--json", "--data-dir"])
        .arg(app.data_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(SEED_URI.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(json(&output)["stage"], "Enrolled");
}

#[tokio::test]
async fn approval_from_the_terminal() {
    let app = App::start().await;
    let approver = app.command(&[
        "key",
        "create",
        "second-pair-of-eyes",
        "--role",
        "approver",
        "--json",
    ]);
    let key = json(&approver)["key"].as_str().unwrap().to_owned();

    for (verb, stage, exit) in [("approve", "Enrolled", 0), ("reject", "Rejected", 3)] {
        let started = app.command(&[
            "enroll",
            SEED_URI,
            "--approval",
            "required",
            "--no-wait",
            "--json",
        ]);
        assert_eq!(code(&started), 4, "{started:?}");
        let id = json(&started)["id"].as_str().unwrap().to_owned();
        app.admin().until_stage(&id, "AwaitingApproval").await;

        let own = app.command(&[verb, &id]);
        assert_eq!(code(&own), 6, "the requester may not decide: {own:?}");
        let decided = app.command(&[verb, &id, "--comment", "as agreed", "--token", &key]);
        assert_eq!(code(&decided), 0, "{decided:?}");
        app.admin().ended(&id).await;
        let status = app.command(&["status", &id, "--json"]);
        assert_eq!(code(&status), exit, "{status:?}");
        assert_eq!(json(&status)["stage"], stage);
    }
}

#[tokio::test]
async fn exit_codes_and_messages_say_what_went_wrong() {
    let app = App::start().await;
    let unknown = app.command(&["status", "totp-00000000-0000-4000-8000-000000000000"]);
    assert_eq!(code(&unknown), 5, "{unknown:?}");
    let invalid = app.command(&["enroll", "otpauth://totp/x?secret=1"]);
    assert_eq!(code(&invalid), 3, "{invalid:?}");
    let message = String::from_utf8_lossy(&invalid.stderr).into_owned();
    assert!(
        !message.is_empty() && !message.contains("secret=1"),
        "{message}"
    );
    let usage = app.command(&["approve"]);
    assert_eq!(code(&usage), 2, "{usage:?}");
    let missing = app.command(&["enroll", "no-such-file.png"]);
    assert_eq!(code(&missing), 1, "{missing:?}");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no-such-file.png"));
    let nobody = app.command(&["list", "--server", "http://127.0.0.1:1"]);
    assert_eq!(code(&nobody), 1, "{nobody:?}");
    let wrong = app.command(&["list", "--token", "wrong"]);
    assert_eq!(code(&wrong), 6, "{wrong:?}");
    let twice = app.command(&["key", "create", "second-pair-of-eyes", "--role", "approver"]);
    assert_eq!(code(&twice), 0);
    let twice = app.command(&["key", "create", "second-pair-of-eyes", "--role", "reader"]);
    assert_eq!(code(&twice), 1, "a name is given once: {twice:?}");
}

#[test]
fn a_server_that_cannot_be_safe_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        &["--listen", "0.0.0.0:0", "--auth", "none"][..],
        &["--scheduler-listen", "0.0.0.0:0"],
        &["--dashboard-listen", "0.0.0.0:0"],
        &["--approval-timeout", "soon"],
    ] {
        let output = Command::new(BINARY)
            .args(["serve", "--data-dir"])
            .arg(folder.path())
            .args(args)
            .output()
            .unwrap();
        assert!(matches!(code(&output), 1 | 2), "{args:?}: {output:?}");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        let named = message.contains(args[0]) || message.contains(args[1]);
        assert!(named, "says what is wrong with {args:?}: {message}");
    }
}
