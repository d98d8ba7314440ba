//! A ledger that is missing, older, damaged, another one's or busy, and keys that are retired:
//! nothing is done under what cannot be checked, it says what to do, and nothing is lost.

use std::fs;
use std::path::{Path, PathBuf};

use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::sealed::{OtpauthText, SealKey};
use durabletask::client::{Payloads, Recursive, Status};
use durabletask::{Client, Connection};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::adversary::Adversary;
use crate::request_helpers::{ask, decide, enrolled, until, use_it};
use crate::separate_processes::SeparateProcesses;
use crate::support::{Answer, App, Caller, PATIENCE, Process, SEED_URI, countersign};

const LEDGER: &str = "ledger.sqlite3";
/// Where a data folder notes which ledger is its own.
const NOTE: &str = "installation.ledger";

/// That an answer says that something has to be submitted again.
fn assert_to_submit_again(answer: &Answer) {
    answer.assert_problem(409, "mandate-refused");
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.contains("ubmit it again"), "{answer:?}");
}

/// Asserts that no one is offered a decision on what is pending.
async fn assert_no_decision(approver: &Caller, waiting: &[&str]) {
    let inbox = approver.get("/api/approvals").await;
    let decisions = inbox.body["decisions"].as_array().unwrap();
    for &id in waiting {
        let told = decisions.iter().find(|told| told["id"] == id).unwrap();
        let expected = json!({
            "id": id, "mayApprove": false, "mayRefuse": false, "obstacle": "mandate-refused",
        });
        assert_eq!(*told, expected, "{inbox:?}");
    }
}

async fn assert_code(caller: &Caller, account: &str) {
    let token = caller.get(&format!("/api/accounts/{account}/token")).await;
    assert_eq!(token.status, StatusCode::OK, "{token:?}");
}

#[tokio::test]
async fn what_a_retired_key_has_signed_has_to_be_submitted_again() {
    let mut app = App::start().await;
    let (admin, approver) = (
        app.admin(),
        app.new_caller("second-pair-of-eyes", "approver"),
    );
    let account = enrolled(&admin).await;
    let waiting = admin.enroll(SEED_URI, true).await;
    approver.until_stage(&waiting, "AwaitingApproval").await;
    let asked = ask(&admin, &account, json!({ "kind": "export" })).await;
    until(&admin, &asked, "AwaitingApproval").await;
    let granted = ask(&admin, &account, json!({ "kind": "read", "reads": 9 })).await;
    until(&admin, &granted, "AwaitingApproval").await;
    decide(&approver, &granted, true).await;
    until(&admin, &granted, "Granted").await;

    assert_eq!(app.stop().await, Some(0));
    let listed = app.command(&["mandate-key", "list", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let old = listed["keys"][0]["id"].as_str().unwrap().to_owned();
    let retire = ["mandate-key", "retire", &old];
    // The key that signs is not retired before there is another one.
    assert!(!app.command(&retire).status.success());
    let rotated = app.command(&["mandate-key", "rotate", "--json"]);
    let rotated: Value = serde_json::from_slice(&rotated.stdout).unwrap();
    app.launch().await;
    let (admin, approver) = (app.with_token_of(&admin), app.with_token_of(&approver));
    // What the key before has signed counts for as long as that is not retired.
    assert_eq!(use_it(&admin, &granted, "code").await.status, 200);
    assert_eq!(app.stop().await, Some(0));
    assert!(app.command(&retire).status.success());
    app.launch().await;
    let (admin, approver) = (app.with_token_of(&admin), app.with_token_of(&approver));

    // Both are in the record, by whom and which.
    for (action, key) in [
        ("rotate-mandate-key", rotated["id"].clone()),
        ("retire-mandate-key", json!(old)),
    ] {
        let told = admin.get(&format!("/api/audit?action={action}")).await;
        let entries = told.body["entries"].as_array().unwrap().clone();
        assert_eq!(entries.len(), 1, "{told:?}");
        assert_eq!(entries[0]["caller"], "local", "{told:?}");
        assert_eq!(entries[0]["subject"], key, "{told:?}");
    }
    // It says which cause it is, what to do, and each once.
    let said = app.command(&["approve", &asked]);
    let said = String::from_utf8(said.stderr).unwrap();
    for words in [
        "What was accepted cannot be verified",
        "has been retired since",
        "Submit it again",
    ] {
        assert_eq!(said.matches(words).count(), 1, "{said}");
    }
    assert!(said.contains(&old), "{said}");
    assert_to_submit_again(&use_it(&admin, &granted, "code").await);
    assert_to_submit_again(&decide(&approver, &asked, true).await);
    assert_to_submit_again(&approver.decide(&waiting, true, "").await);
    admin
        .get(&format!("/api/accounts/{waiting}"))
        .await
        .assert_problem(404, "account-unknown");
    assert_code(&admin, &account).await;
    // Submitted again, it goes its way.
    let again = admin.enroll(SEED_URI, true).await;
    approver.until_stage(&again, "AwaitingApproval").await;
    assert_eq!(approver.decide(&again, true, "").await.status, 202);
    assert_eq!(admin.ended(&again).await.body["stage"], "Enrolled");
}

/// The files of the ledger, as they are.
fn ledger_files(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    ["", "-wal", "-shm"]
        .iter()
        .map(|end| data.join(format!("{LEDGER}{end}")))
        .filter_map(|path| Some((path.clone(), fs::read(path).ok()?)))
        .collect()
}

fn remove_ledger(data: &Path) {
    for (path, _) in ledger_files(data) {
        fs::remove_file(path).unwrap();
    }
}

fn restore_ledger(data: &Path, files: &[(PathBuf, Vec<u8>)]) {
    remove_ledger(data);
    for (path, bytes) in files {
        fs::write(path, bytes).unwrap();
    }
}

fn accept_loss(app: &App, reason: &str) -> std::process::Output {
    app.command(&["ledger", "accept-loss", "--reason", reason])
}

/// Takes the ledger away, which is noticed, and accepts that.
async fn lose_ledger(app: &App) {
    let data = app.data_dir();
    let nothing = accept_loss(app, "nothing is missing yet");
    assert_eq!(nothing.status.code(), Some(5), "{nothing:?}");
    remove_ledger(&data);
    for empty in [false, true] {
        if empty {
            fs::write(data.join(LEDGER), "").unwrap();
        }
        let said = refuses_to_start(&data).await;
        for words in [
            "is missing",
            LEDGER,
            "backup",
            "countersign ledger accept-loss",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        let there = fs::read(data.join(LEDGER)).ok();
        assert_eq!(there, empty.then(Vec::new), "nothing was made");
    }
    let unsaid = accept_loss(app, " ");
    assert_eq!(unsaid.status.code(), Some(2), "{unsaid:?}");
    let accepted = accept_loss(app, "the disk is gone");
    assert!(accepted.status.success(), "{accepted:?}");
    let said = String::from_utf8(accepted.stdout).unwrap();
    assert!(said.contains("Recovery codes"), "{said}");
    let told = app.command(&["audit", "export", "--action", "accept-loss"]);
    let told = String::from_utf8(told.stdout).unwrap();
    for words in [
        "\"subject\":\"ledger\"",
        "the disk is gone",
        "\"caller\":\"local\"",
    ] {
        assert!(told.contains(words), "{told}");
    }
}

/// What a server says that does not start on a data folder.
async fn refuses_to_start(data: &Path) -> String {
    let mut command = countersign(data, &["serve"]);
    for listener in ["--listen", "--scheduler-listen", "--dashboard-listen"] {
        command.args([listener, "127.0.0.1:0"]);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut server = Process::spawn(command, folder.path(), "refused");
    assert_ne!(server.ended().await, Some(0));
    server.log()
}

#[tokio::test]
async fn a_missing_older_or_damaged_ledger_gives_out_nothing_and_loses_nothing() {
    let mut app = App::start().await;
    let data = app.data_dir();
    let (admin, approver) = (
        app.admin(),
        app.new_caller("second-pair-of-eyes", "approver"),
    );
    let account = enrolled(&admin).await;
    assert_eq!(app.stop().await, Some(0));
    let older = ledger_files(&data);
    app.launch().await;
    let (admin, approver) = (app.with_token_of(&admin), app.with_token_of(&approver));
    let spent = ask(&admin, &account, json!({ "kind": "export" })).await;
    until(&admin, &spent, "AwaitingApproval").await;
    decide(&approver, &spent, true).await;
    until(&admin, &spent, "Granted").await;
    assert_eq!(use_it(&admin, &spent, "export").await.status, 200);
    let granted = ask(&admin, &account, json!({ "kind": "read", "reads": 2 })).await;
    until(&admin, &granted, "AwaitingApproval").await;
    decide(&approver, &granted, true).await;
    until(&admin, &granted, "Granted").await;
    let waiting = admin.enroll(SEED_URI, true).await;
    approver.until_stage(&waiting, "AwaitingApproval").await;
    let asked = ask(&admin, &account, json!({ "kind": "export" })).await;
    until(&admin, &asked, "AwaitingApproval").await;
    assert_eq!(app.stop().await, Some(0));
    let right = ledger_files(&data);

    // Replaced by an older copy, and lost, which someone has to accept.
    for put in [Some(&older), None] {
        match put {
            None => lose_ledger(&app).await,
            Some(files) => restore_ledger(&data, files),
        }
        app.launch().await;
        let (admin, approver) = (app.with_token_of(&admin), app.with_token_of(&approver));
        for (request, what) in [(&spent, "export"), (&granted, "code")] {
            let answer = use_it(&admin, request, what).await;
            answer.assert_problem(404, "request-unknown");
        }
        assert_to_submit_again(&approver.decide(&waiting, true, "").await);
        assert_to_submit_again(&approver.decide(&waiting, false, "").await);
        assert_to_submit_again(&decide(&approver, &asked, true).await);
        assert_to_submit_again(&decide(&approver, &asked, false).await);
        assert_no_decision(&approver, &[&waiting, &asked]).await;
        admin
            .get(&format!("/api/accounts/{waiting}"))
            .await
            .assert_problem(404, "account-unknown");
        assert_code(&admin, &account).await;
        enrolled(&admin).await;
        assert_eq!(app.stop().await, Some(0));
    }

    // What cannot be read as a ledger keeps the server from starting, and says what to do.
    remove_ledger(&data);
    let file = data.join(LEDGER);
    fs::write(&file, vec![0x5a; 8192]).unwrap();
    let said = refuses_to_start(&data).await;
    assert!(
        said.contains(LEDGER) && said.contains("restore it from a backup"),
        "{said}"
    );
    // It may be mended yet, so it is not given up in passing.
    let damaged = accept_loss(&app, "it is damaged");
    assert_eq!(damaged.status.code(), Some(1), "{damaged:?}");
    assert_eq!(fs::read(&file).unwrap(), vec![0x5a; 8192]);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let said = refuses_to_start(&data).await;
    assert!(said.contains(LEDGER), "{said}");
    fs::remove_dir(&file).unwrap();

    // With the right one nothing is lost, and nothing is had twice. In the place of the one that
    // was made in the meantime, it is another.
    restore_ledger(&data, &right);
    let said = refuses_to_start(&data).await;
    assert!(said.contains("is not this data folder's ledger"), "{said}");
    assert!(accept_loss(&app, "the right one is back").status.success());
    app.launch().await;
    let (admin, approver) = (app.with_token_of(&admin), app.with_token_of(&approver));
    use_it(&admin, &spent, "export")
        .await
        .assert_problem(409, "not-granted");
    assert_eq!(use_it(&admin, &granted, "code").await.status, 200);
    assert_eq!(approver.decide(&waiting, true, "").await.status, 202);
    assert_eq!(admin.ended(&waiting).await.body["stage"], "Enrolled");
}

/// Everything of a data folder but its ledger.
fn copy_without_ledger(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let is_ledger = name
            .to_str()
            .is_some_and(|name| name.starts_with(LEDGER) || name == NOTE);
        if entry.file_type().unwrap().is_file() && !is_ledger {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_folder_that_never_had_a_ledger_gets_one() {
    let mut app = App::start().await;
    let account = enrolled(&app.admin()).await;
    assert_eq!(app.stop().await, Some(0));
    // As an earlier release has left it.
    remove_ledger(&app.data_dir());
    fs::remove_file(app.data_dir().join(NOTE)).unwrap();
    app.launch().await;
    assert_code(&app.admin(), &account).await;
    enrolled(&app.admin()).await;
}

#[tokio::test]
async fn a_worker_with_another_ledger_refuses_and_says_why() {
    let mut apart = SeparateProcesses::start(&[]).await;
    let (admin, approver) = (
        apart.admin(),
        apart.new_caller("second-pair-of-eyes", "approver"),
    );
    let account = enrolled(&admin).await;
    apart.stop_worker().await;
    let (right, other) = (apart.data_dir(), apart.data_dir().with_file_name("other"));
    copy_without_ledger(&right, &other);
    apart.start_worker(&other).await;
    let hub = Client::new(&Connection::parse(&apart.hub()).unwrap()).unwrap();
    let failure = async |id: &str| {
        let state = hub.wait_for_completion(id, Payloads::Include, PATIENCE);
        let state = state.await.unwrap();
        assert_eq!(state.status, Status::Failed, "{state:?}");
        state.failure.unwrap().to_string()
    };
    let enrollment = admin.enroll(SEED_URI, false).await;
    let deletion = ask(&admin, &account, json!({ "kind": "delete", "seconds": 0 })).await;
    for id in [&enrollment, &deletion] {
        let why = failure(id).await;
        assert!(why.contains("different ledger"), "{why}");
        assert!(why.contains("share one data folder"), "{why}");
    }
    let shown = admin.get(&format!("/api/enrollments/{enrollment}")).await;
    assert_eq!(shown.body["stage"], "Failed", "{shown:?}");
    let refused = decide(&approver, &deletion, true).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
    assert_code(&admin, &account).await;
    assert!(
        apart.worker_log().contains("other-ledger"),
        "{}",
        apart.worker_log()
    );

    apart.stop_worker().await;
    apart.start_worker(&right).await;
    let again = enrolled(&admin).await;
    assert_code(&admin, &again).await;
    assert_code(&admin, &account).await;
    apart.stop().await;
}

#[tokio::test]
async fn what_an_earlier_release_has_started_ends_in_a_refusal() {
    let app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let account = enrolled(&admin).await;
    let adversary = Adversary::of(&app);
    let mut enrollment = adversary.input(&account).await;
    enrollment
        .as_object_mut()
        .unwrap()
        .remove("mandate")
        .unwrap();
    let request = json!({
        "account": account, "act": { "kind": "delete", "seconds": 0 },
        "approval": { "required": { "deadlineSeconds": 600 } }, "requestedBy": "admin",
        "fingerprint": "f",
    });
    let import = json!({
        "sources": [], "key": enrollment["source"]["uri"], "approval": "notRequired",
        "requestedBy": "admin", "fingerprint": "f",
    });
    for (name, kind, id, input) in [
        (
            "enroll",
            "enrollments",
            "totp-00000000-0000-4000-8000-000000000001",
            enrollment,
        ),
        (
            "account-request",
            "requests",
            "request-00000000-0000-4000-8000-000000000001",
            request,
        ),
        (
            "import",
            "imports",
            "import-00000000-0000-4000-8000-000000000001",
            import,
        ),
    ] {
        let ended = adversary.start(name, id, &input).await;
        let why = ended.expect_err("it is refused");
        assert!(why.contains("submit it again"), "{name}: {why}");
        let shown = admin.get(&format!("/api/{kind}/{id}")).await;
        assert_eq!(shown.status, StatusCode::OK, "{shown:?}");
        assert_eq!(shown.body["stage"], "Failed", "{shown:?}");
    }
    let refused = approver
        .decide("totp-00000000-0000-4000-8000-000000000001", true, "")
        .await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
    assert_code(&admin, &account).await;
    adversary.stop().await;
}

#[tokio::test]
async fn a_ledger_that_cannot_be_written_is_reported_and_codes_are_served() {
    let app = App::start().await;
    let (admin, approver) = (
        app.admin(),
        app.new_caller("second-pair-of-eyes", "approver"),
    );
    let account = enrolled(&admin).await;
    let waiting = admin.enroll(SEED_URI, true).await;
    approver.until_stage(&waiting, "AwaitingApproval").await;
    let granted = ask(&admin, &account, json!({ "kind": "export" })).await;
    until(&admin, &granted, "AwaitingApproval").await;
    decide(&approver, &granted, true).await;
    until(&admin, &granted, "Granted").await;

    // Someone else writes, and does not come to an end.
    let other = rusqlite::Connection::open(app.data_dir().join(LEDGER)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let start = json!({ "uri": SEED_URI });
    let token = format!("/api/accounts/{account}/token");
    let (started, decided, used, code) = tokio::join!(
        admin.post("/api/enrollments", &start),
        approver.decide(&waiting, true, ""),
        use_it(&admin, &granted, "export"),
        admin.get(&token),
    );
    for refused in [&started, &decided, &used] {
        refused.assert_problem(503, "ledger-unavailable");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains("the server's log"), "{refused:?}");
        assert!(!refused.body.to_string().contains("otpauth"), "{refused:?}");
    }
    assert_eq!(code.status, StatusCode::OK, "{code:?}");
    other.execute_batch("ROLLBACK").unwrap();
    // Nothing was taken by what was refused.
    assert_eq!(use_it(&admin, &granted, "export").await.status, 200);
    assert_eq!(approver.decide(&waiting, true, "").await.status, 202);
    assert_eq!(admin.ended(&waiting).await.body["stage"], "Enrolled");
}

#[tokio::test]
async fn a_repeated_transfer_replaces_the_one_before() {
    let app = App::start_with(&["--require-approval"]).await;
    let (admin, approver) = (
        app.admin(),
        app.new_caller("second-pair-of-eyes", "approver"),
    );
    let key = admin.get("/api/system").await.body["sealKey"].clone();
    let key = SealKey::from_text(key.as_str().unwrap()).unwrap();
    let id = "totp-00000000-0000-4000-8000-000000000001";
    let uri = OtpauthText::new(SEED_URI.to_owned().into());
    let package = key
        .seal(&id.parse::<EnrollmentId>().unwrap(), &uri)
        .unwrap();
    let package = json!({ "id": id, "package": package });
    let adversary = Adversary::of(&app);
    let send = async || {
        let taken = admin.post("/api/transfers", &package).await;
        assert_eq!(taken.status, StatusCode::ACCEPTED, "{taken:?}");
        approver.until_stage(id, "AwaitingApproval").await;
    };
    send().await;
    let first = adversary.input(id).await;
    // Ended by someone who has the hub, it is sent again, and someone rejects.
    let ended = adversary.client.terminate(id, "", Recursive::No).await;
    ended.unwrap();
    assert_eq!(admin.ended(id).await.body["stage"], "Terminated");
    send().await;
    assert_ne!(adversary.input(id).await["mandate"], first["mandate"]);
    assert_eq!(approver.decide(id, false, "not ours").await.status, 202);
    assert_eq!(admin.ended(id).await.body["stage"], "Rejected");
    // The first try does not come back.
    let why = adversary.start("enroll", id, &first).await.unwrap_err();
    assert!(why.contains("it has finished already"), "{why}");
    adversary.stop().await;
}
