//! Requests on accounts from the command line: asked for, agreed to, made use of and taken back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};

use image::{GrayImage, Luma};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::relay::Relay;
use crate::support::{App, BINARY, Caller, PATIENCE, SEED_URI, png};

/// The secret in [`SEED_URI`].
const SECRET: &str = "2FASTEST";

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("one JSON document on stdout ({error}): {output:?}"))
}

fn text_of(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// An installation with an account and someone who may agree.
struct Place {
    app: App,
    approver: Caller,
    account: String,
}

impl Place {
    async fn start() -> Self {
        let app = App::start().await;
        let approver = app.new_caller("second-pair-of-eyes", "approver");
        let account = app.admin().enroll(SEED_URI, false).await;
        app.admin().ended(&account).await;
        Self {
            app,
            approver,
            account,
        }
    }

    /// Runs a command that has to end with a code.
    #[track_caller]
    fn run(&self, code: i32, args: &[&str]) -> Output {
        let output = self.app.command(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        output
    }

    #[track_caller]
    fn code(&self, code: i32, id: &str) -> String {
        text_of(&self.run(code, &["token", id])).trim().to_owned()
    }

    /// Asks for something, which has to wait for someone; answers the request's id.
    #[track_caller]
    fn asked(&self, kind: &str, more: &[&str]) -> String {
        self.asked_of(&self.account, kind, more)
    }

    /// The same of another account.
    #[track_caller]
    fn asked_of(&self, account: &str, kind: &str, more: &[&str]) -> String {
        let mut args = vec!["request", kind, account, "--json"];
        args.extend(more);
        let asked = json_of(&self.run(4, &args));
        assert_eq!(asked["stage"], "AwaitingApproval", "{asked}");
        asked["id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn agree(&self, request: &str) {
        let key = self.approver.token().unwrap();
        self.run(
            0,
            &["approve", request, "--comment", "seen", "--token", key],
        );
    }

    /// Follows a request through whatever it waits for; answers its stage.
    #[track_caller]
    fn followed(&self, code: i32, request: &str) -> String {
        let state = json_of(&self.run(code, &["status", request, "--follow", "--json"]));
        state["stage"].as_str().unwrap().to_owned()
    }

    fn file(&self, name: &str) -> String {
        self.app.folder().join(name).to_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_guarded_account_is_read_with_what_a_request_grants() {
    let place = Place::start().await;
    let account = place.account.as_str();
    assert_eq!(place.code(0, account).len(), 6);
    place.run(0, &["guard", account]);
    place.code(6, account);

    let more = ["--reads", "2", "--for", "1h", "--reason", "nightly deploy"];
    let request = place.asked("read", &more);
    place.run(4, &["status", &request, "--wait"]);
    let waiting = ["list", "--requests", "--stage", "AwaitingApproval"];
    let listed = text_of(&place.run(0, &waiting));
    for part in [&request, account, "read", "2FAS: Test Token"] {
        assert!(listed.contains(part), "{part} in {listed}");
    }
    let elsewhere = "totp-00000000-0000-4000-8000-000000000000";
    let listed = ["list", "--requests", "--account", elsewhere, "--json"];
    assert_eq!(json_of(&place.run(0, &listed))["requests"], json!([]));

    place.code(4, &request);
    place.agree(&request);
    assert_eq!(place.followed(0, &request), "Granted");
    let told = text_of(&place.run(0, &["status", &request]));
    for part in [
        "Granted",
        "read 2 codes within 1h",
        "nightly deploy",
        "2 left",
        "approved  by second-pair-of-eyes: seen",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    for _ in 0..2 {
        assert_eq!(place.code(0, &request).len(), 6);
    }
    place.code(1, &request);
    place.run(0, &["guard", account, "--off"]);
    assert_eq!(place.code(0, account).len(), 6);
}

#[tokio::test]
async fn canceling_the_request_of_another_caller_rejects_it() {
    let place = Place::start().await;
    let request = place.asked("read", &[]);
    let approver = place.approver.token().unwrap();
    let cancel = ["cancel", &request, "--token", approver];
    let said = text_of(&place.run(0, &cancel));
    assert_eq!(said, format!("{request}  rejected\n"));
    assert_eq!(place.followed(3, &request), "Rejected");
}

#[tokio::test]
async fn the_reason_for_reading_a_code_is_in_the_audit_log() {
    let place = Place::start().await;
    let account = place.account.as_str();
    place.run(0, &["token", account, "--reason", "release 1.4"]);
    place.run(0, &["guard", account]);
    let request = place.asked("read", &["--reason", "nightly deploy"]);
    place.agree(&request);
    assert_eq!(place.followed(0, &request), "Granted");
    place.run(0, &["token", &request, "--reason", "run 2417"]);
    let readings = "/api/audit?action=read-code";
    let entries = place.app.admin().get(readings).await.body["entries"].clone();
    let entries = entries.as_array().unwrap();
    let reasons: Vec<_> = entries.iter().map(|entry| &entry["reason"]).collect();
    assert_eq!(reasons.len(), 2, "{entries:?}");
    assert_eq!(reasons[0], "release 1.4");
    let both = format!("{request}: nightly deploy; run 2417");
    assert_eq!(reasons[1], both.as_str());
}

#[tokio::test]
async fn a_lease_is_taken_back_and_what_is_wrong_is_reported() {
    let place = Place::start().await;
    let request = place.asked("read", &["--reads", "5", "--idempotency-key", "the-same"]);
    let again = place.asked("read", &["--reads", "5", "--idempotency-key", "the-same"]);
    assert_eq!(request, again);
    // There is no code yet, and later there is none any more.
    place.run(4, &["token", &request]);
    place.agree(&request);
    assert_eq!(place.followed(0, &request), "Granted");
    // Another stage than one that is over is there at once.
    let (admin, path) = (place.app.admin(), format!("/api/requests/{request}"));
    let waits = format!("{path}?wait=60&since=AwaitingApproval");
    assert_eq!(admin.get(&waits).await.body["stage"], "Granted");
    let nowhere = admin.get(&format!("{path}?since=nowhere")).await;
    nowhere.assert_problem(400, "invalid-parameter");
    let said = text_of(&place.run(0, &["cancel", &request]));
    assert_eq!(said, format!("{request}  withdrawn\n"));
    assert_eq!(place.followed(3, &request), "Withdrawn");
    place.run(3, &["token", &request]);
    place.run(1, &["cancel", &request]);
    // What lets nothing out, what is no request, and what is none of that at all.
    place.run(2, &["export", &request]);
    place.run(2, &["export", &place.account]);
    let unknown = "request-00000000-0000-4000-8000-000000000000";
    for verb in ["status", "export", "token", "cancel", "approve"] {
        place.run(5, &[verb, unknown]);
    }
    for more in [["--for", "250ms"], ["--for", "soon"], ["--reads", "many"]] {
        let mut args = vec!["request", "read", &place.account];
        args.extend(more);
        place.run(2, &args);
    }
}

#[tokio::test]
async fn an_account_is_written_down_once_and_for_its_owner_only() {
    let place = Place::start().await;
    let request = place.asked("export", &[]);
    let file = place.file("account.txt");
    place.run(4, &["export", &request, "--output", &file]);
    assert!(!Path::new(&file).exists());
    place.agree(&request);
    assert_eq!(place.followed(0, &request), "Granted");

    // A file that is there is not overwritten, and nothing is used up by that.
    fs::write(&file, "something else").unwrap();
    place.run(2, &["export", &request, "--output", &file]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "something else");
    fs::remove_file(&file).unwrap();

    let written = place.run(0, &["export", &request, "--output", &file, "--json"]);
    assert_eq!(json_of(&written)["account"], place.account.as_str());
    for told in [&written.stdout, &written.stderr] {
        assert!(memchr::memmem::find(told, SECRET.as_bytes()).is_none());
    }
    let uri = fs::read_to_string(&file).unwrap();
    assert!(uri.starts_with("otpauth://totp/") && uri.contains(SECRET));
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = place.file("again.txt");
    place.run(1, &["export", &request, "--output", &again]);
    assert!(!Path::new(&again).exists());
}

#[tokio::test]
async fn an_account_leaves_as_uri_as_image_and_as_a_code_on_the_terminal() {
    let place = Place::start().await;
    let exported = |account: &str, more: &[&str]| {
        let request = place.asked_of(account, "export", &["--for", "10m"]);
        place.agree(&request);
        assert_eq!(place.followed(0, &request), "Granted");
        let mut args = vec!["export", &request];
        args.extend(more);
        text_of(&place.run(0, &args))
    };
    let account = place.account.as_str();
    let whole: Value = serde_json::from_str(&exported(account, &["--json"])).unwrap();
    assert_eq!(whole["id"], account);
    let uri = exported(account, &[]);
    assert!(uri.contains(SECRET));
    assert_eq!(whole["uri"], uri.trim());
    assert!(exported(account, &["--format", "svg"]).contains("<svg"));

    let drawn = exported(account, &["--format", "qr"]);
    let photo = place.file("screen.png");
    fs::write(&photo, png(&photographed(&drawn).into())).unwrap();
    let seen = json_of(&place.run(0, &["enroll", &photo, "--json"]));
    assert_eq!(exported(seen["id"].as_str().unwrap(), &[]), uri);
}

/// A terminal that shows a text of half blocks, light where they are.
fn photographed(text: &str) -> GrayImage {
    const SIDE: u32 = 6;
    const MARGIN: u32 = 8 * SIDE;
    let rows: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
    let width = rows.iter().map(Vec::len).max().unwrap() as u32 * SIDE;
    let height = rows.len() as u32 * 2 * SIDE;
    GrayImage::from_fn(width + 2 * MARGIN, height + 2 * MARGIN, |x, y| {
        let (Some(x), Some(y)) = (x.checked_sub(MARGIN), y.checked_sub(MARGIN)) else {
            return Luma([0]);
        };
        let (column, half) = ((x / SIDE) as usize, y / SIDE);
        let row = rows.get(half as usize / 2);
        let glyph = row.and_then(|row| row.get(column)).copied();
        let light = match glyph.unwrap_or(' ') {
            '█' => true,
            '▀' => half.is_multiple_of(2),
            '▄' => !half.is_multiple_of(2),
            _ => false,
        };
        Luma([if light { 255 } else { 0 }])
    })
}

#[tokio::test]
async fn an_account_moves_from_one_installation_to_another() {
    let (here, there) = (Place::start().await, App::start().await);
    let key = text_of(&there.command(&["seal-key"]));
    let request = here.asked("transfer", &["--to", key.trim()]);
    here.agree(&request);
    assert_eq!(here.followed(0, &request), "Done");
    here.code(5, &here.account);
    here.run(2, &["export", &request, "--format", "uri"]);
    let package = here.file("package.json");
    here.run(0, &["export", &request, "--output", &package]);
    let mode = fs::metadata(&package).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // It is sealed for the other one.
    let own = here.run(1, &["receive", &package]);
    assert!(String::from_utf8_lossy(&own.stderr).contains("not sealed for this installation"));

    // A damaged one is told as such, and keeps the whole one out no more than it came in.
    let mut damaged: Value = serde_json::from_slice(&fs::read(&package).unwrap()).unwrap();
    let text = damaged["package"].as_str().unwrap();
    let (rest, last) = text.split_at(text.len() - 4);
    let other = if last == "AAAA" { "BBBB" } else { "AAAA" };
    damaged["package"] = format!("{rest}{other}").into();
    let file = here.file("damaged.json");
    fs::write(&file, damaged.to_string()).unwrap();
    let refused = there.command(&["receive", &file]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&refused.stdout),
        String::from_utf8_lossy(&refused.stderr)
    );
    assert!(told.contains("The package cannot be opened"), "{told}");

    for _ in 0..2 {
        let received = there.command(&["receive", &package, "--json"]);
        assert_eq!(received.status.code(), Some(0), "{received:?}");
        assert_eq!(json_of(&received)["id"], here.account.as_str());
    }
    let code = there.command(&["token", &here.account]);
    assert_eq!(code.status.code(), Some(0), "{code:?}");
    assert!(there.command(&["remove", &here.account]).status.success());
    let again = there.command(&["receive", &package]);
    let told = String::from_utf8_lossy(&again.stderr);
    assert!(
        told.contains("was received before, so nothing was added"),
        "{told}"
    );
    let advice = format!("countersign restore {}", here.account);
    assert!(told.contains(&advice), "{told}");
    let nonsense = here.file("nonsense.json");
    fs::write(&nonsense, SEED_URI).unwrap();
    let refused = there.command(&["receive", &nonsense]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(!String::from_utf8_lossy(&refused.stderr).contains(SECRET));
}

#[tokio::test]
async fn an_account_is_removed_and_restored_and_destroyed_with_time_to_object() {
    let place = Place::start().await;
    let account = place.account.as_str();
    place.run(0, &["remove", account]);
    place.code(5, account);
    place.run(0, &["restore", account]);
    place.code(0, account);

    let request = place.asked("delete", &["--after", "30d"]);
    place.agree(&request);
    let waiting = json_of(&place.run(4, &["status", &request, "--wait", "--json"]));
    assert_eq!(waiting["stage"], "Removing");
    assert!(waiting["removalAt"].is_string(), "{waiting}");
    place.code(5, account);
    let said = text_of(&place.run(0, &["cancel", &request]));
    assert_eq!(said, format!("{request}  stopped\n"));
    assert_eq!(place.followed(3, &request), "Withdrawn");
    place.code(0, account);

    let request = place.asked("delete", &["--now"]);
    place.agree(&request);
    assert_eq!(place.followed(0, &request), "Done");
    place.run(5, &["restore", account]);
}

#[tokio::test]
async fn a_waiting_enrollment_is_terminated() {
    let place = Place::start().await;
    let waiting = ["enroll", SEED_URI, "--approval", "required", "--no-wait"];
    let id = text_of(&place.run(4, &waiting)).trim().to_owned();
    place.run(4, &["status", &id, "--wait"]);
    let said = text_of(&place.run(0, &["cancel", &id]));
    assert_eq!(said, format!("{id}  terminated\n"));
    assert_eq!(place.followed(3, &id), "Terminated");
}

#[tokio::test]
async fn following_outlasts_a_server_that_is_away() {
    let mut place = Place::start().await;
    let relay = Relay::open().await;
    relay.lead_to(0, place.app.address().parse().ok());
    let request = place.asked("read", &[]);
    let mut following = tokio::process::Command::new(BINARY)
        .args(["status", &request, "--follow", "--json"])
        .args(["--server", &relay.url()])
        .args(["--token", &place.app.admin_token()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(following.stderr.take().unwrap()).lines();
    let mut until_said = async |what: &str| {
        let said = async {
            while let Some(line) = said.next_line().await.unwrap() {
                if line.contains(what) {
                    return;
                }
            }
            panic!("it ends before it says: {what}");
        };
        let said = tokio::time::timeout(PATIENCE, said).await;
        said.unwrap_or_else(|_| panic!("it does not say: {what}"));
    };
    until_said("waiting for approval").await;
    relay.lead_to(0, None);
    place.app.kill();
    until_said("retrying").await;
    place.app.launch().await;
    relay.lead_to(0, place.app.address().parse().ok());
    until_said("waiting for approval").await;
    place.agree(&request);
    let ended = tokio::time::timeout(PATIENCE, following.wait_with_output()).await;
    let ended = ended.expect("it ends").unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(json_of(&ended)["stage"], "Granted");
}
