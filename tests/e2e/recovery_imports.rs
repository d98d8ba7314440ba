//! Recovery codes that come with the accounts of an import: kept with their account, given out
//! once each, never in clear on the way, and not added a second time.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::adversary::Adversary;
use crate::leak::assert_nowhere;
use crate::support::{Answer, App, Caller, PATIENCE};

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
/// A recovery code that is searched for: nothing else looks like it.
const CODE: &str = "LEAKMARKERFORCODESLEAKMARKERCODE";

async fn import(caller: &Caller, query: &str, file: &Value) -> Answer {
    let path = format!("/api/imports{query}");
    let file = file.to_string().into_bytes();
    let answer = caller.post_bytes(&path, "application/json", file).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    ended(caller, &answer.id()).await
}

async fn ended(caller: &Caller, id: &str) -> Answer {
    let begun = std::time::Instant::now();
    loop {
        let answer = caller.get(&format!("/api/imports/{id}?wait=5")).await;
        if answer.status == StatusCode::OK {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not end: {answer:?}");
    }
}

/// Of each account: what became of it, how many codes came with it, and its warnings.
fn told(answer: &Answer) -> Vec<(String, u64, Vec<String>)> {
    let of = |account: &Value| {
        let warnings = account["warnings"].as_array().into_iter().flatten();
        (
            account["result"].as_str().unwrap().to_owned(),
            account["recoveryCodes"].as_u64().unwrap_or(0),
            warnings
                .map(|it| it["warning"].as_str().unwrap().to_owned())
                .collect(),
        )
    };
    let accounts = answer.body["accounts"].as_array().unwrap();
    accounts.iter().map(of).collect()
}

fn row(result: &str, codes: u64, warnings: &[&str]) -> (String, u64, Vec<String>) {
    let warnings = warnings.iter().map(|it| (*it).to_owned()).collect();
    (result.to_owned(), codes, warnings)
}

fn id(answer: &Answer, index: usize) -> String {
    let id = answer.body["accounts"][index]["id"].as_str();
    id.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

async fn left(caller: &Caller, id: &str) -> Value {
    let path = format!("/api/accounts/{id}/recovery-codes");
    caller.get(&path).await.body
}

async fn take(caller: &Caller, id: &str) -> Answer {
    let path = format!("/api/accounts/{id}/recovery-code");
    caller.send(caller.request(Method::POST, &path)).await
}

/// An export of Bitwarden with these items, of each its name, its code and its recovery codes.
fn bitwarden(items: &[(&str, &str, &str)]) -> Value {
    let items: Vec<Value> = items
        .iter()
        .map(|(name, totp, codes)| {
            json!({"type": 1, "name": name, "login": {"username": "me", "totp": totp},
                   "fields": [{"name": "Recovery codes", "type": 1, "value": codes}]})
        })
        .collect();
    json!({"encrypted": false, "items": items})
}

#[tokio::test]
async fn they_are_kept_with_their_account_and_given_out_once() {
    let app = App::start().await;
    let admin = app.admin();
    let used = format!("{CODE}\nb-2\nc-3\nd-4 (used)");
    let again = "e-5, b-2";
    let file = bitwarden(&[
        ("GitHub", SECRET, &used),
        ("Bank", "MFRGGZDFMZTWQ2LK", ""),
        // The same account with another code, and one whose codes have no account.
        ("GitHub", SECRET, again),
        ("Shop", "", "f-6"),
        ("Damaged", "1", "g-7"),
    ]);
    let unread = ["recoveryCodesUnread"];
    let rows = |result: &str, warnings: &[&str]| {
        vec![
            row(result, 4, warnings),
            row(result, 0, &["weakSecret"]),
            row("repeated", 2, &[]),
            row("invalid", 1, &[]),
            row("invalid", 1, &[]),
        ]
    };

    let dry = import(&admin, "?dryRun=true", &file).await;
    assert_eq!(told(&dry), rows("new", &unread), "{dry:?}");
    let first = import(&admin, "", &file).await;
    assert_eq!(told(&first), rows("enrolled", &unread), "{first:?}");
    let problem = &first.body["accounts"][3]["problem"];
    assert_eq!(problem["code"], "recovery-codes-alone", "{first:?}");
    assert!(first.body.to_string().contains("recovery-codes set"));
    let account = id(&first, 0);
    assert_eq!(left(&admin, &account).await, json!({"total": 4, "left": 4}));
    assert_eq!(left(&admin, &id(&first, 1)).await["total"], 0);

    // The same again adds nothing and complains of nothing; others are not added, and said so.
    assert_eq!(take(&admin, &account).await.body["code"], CODE);
    let second = import(&admin, "", &file).await;
    assert_eq!(told(&second), rows("already-there", &unread), "{second:?}");
    let other = import(&admin, "", &bitwarden(&[("GitHub", SECRET, "x-9\nb-2")])).await;
    let not_added = ["recoveryCodesNotAdded"];
    assert_eq!(told(&other), [row("already-there", 2, &not_added)]);
    assert_eq!(left(&admin, &account).await, json!({"total": 4, "left": 3}));
    // Under another name it is another account, with codes of its own.
    let renamed = bitwarden(&[("Hub", SECRET, "y-1")]);
    let renamed = import(&admin, "", &renamed).await;
    assert_eq!(told(&renamed), [row("enrolled", 1, &["duplicate"])]);

    let mut taken = BTreeSet::new();
    for expected in [2, 1, 0] {
        let answer = take(&admin, &account).await;
        assert_eq!(answer.body["left"], expected, "{answer:?}");
        assert!(taken.insert(answer.body["code"].as_str().unwrap().to_owned()));
    }
    assert_eq!(taken.into_iter().collect::<Vec<_>>(), ["b-2", "c-3", "e-5"]);
    take(&admin, &account)
        .await
        .assert_problem(409, "no-recovery-code");

    // In clear they are nowhere: not in the task hub, the vault, the record, a log or a report.
    assert_nowhere(CODE, &app.data_dir());
    for text in [app.logs(), first.body.to_string(), dry.body.to_string()] {
        assert!(!text.contains(CODE), "{text}");
    }
}

#[tokio::test]
async fn recovery_codes_wait_for_their_accounts_approval() {
    let app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("approver", "approver");
    let file = bitwarden(&[("Yes", SECRET, "a-1"), ("No", "MFRGGZDFMZTWQ2LK", "b-2")]);
    let path = "/api/imports?approval=required";
    let body = file.to_string().into_bytes();
    let started = admin.post_bytes(path, "application/json", body).await;
    let begun = std::time::Instant::now();
    let mut waiting = Vec::new();
    while waiting.len() < 2 {
        assert!(begun.elapsed() < PATIENCE, "{started:?}");
        let list = approver
            .get("/api/enrollments?stage=AwaitingApproval")
            .await;
        waiting = list.body["enrollments"].as_array().unwrap().clone();
    }
    for enrollment in &waiting {
        let id = enrollment["id"].as_str().unwrap();
        let yes = enrollment["preview"]["issuer"] == "Yes";
        let answer = approver.decide(id, yes, "as it says").await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    }
    let ended = ended(&admin, &started.id()).await;
    let rows = [row("enrolled", 1, &[]), row("rejected", 1, &["weakSecret"])];
    assert_eq!(told(&ended), rows, "{ended:?}");
    assert_eq!(take(&admin, &id(&ended, 0)).await.body["code"], "a-1");
    take(&admin, &id(&ended, 1))
        .await
        .assert_problem(404, "account-unknown");
}

#[tokio::test]
async fn a_task_hub_neither_takes_them_away_nor_adds_others() {
    let app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("approver", "approver");
    let file = bitwarden(&[
        ("One", SECRET, "a-1\nb-2"),
        ("Two", "MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43U", ""),
    ]);
    let path = "/api/imports?approval=required";
    let body = file.to_string().into_bytes();
    admin.post_bytes(path, "application/json", body).await;
    let begun = std::time::Instant::now();
    let mut waiting = Vec::new();
    while waiting.len() < 2 {
        assert!(begun.elapsed() < PATIENCE, "they do not wait");
        let list = approver
            .get("/api/enrollments?stage=AwaitingApproval")
            .await;
        waiting = list.body["enrollments"].as_array().unwrap().clone();
    }
    let of = |issuer: &str| {
        let found = waiting.iter().find(|it| it["preview"]["issuer"] == issuer);
        found.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let (one, two) = (of("One"), of("Two"));
    let adversary = Adversary::of(&app);
    let (first, second) = (adversary.input(&one).await, adversary.input(&two).await);
    // An account and its codes are one envelope, which belongs to one account.
    assert!(first["recovery"].is_null(), "{first}");
    let validate = |id: &str, input: &Value, uri: &Value| json!({"mandate": input["mandate"], "enrollment": id, "uri": {"read": uri}});
    let (a, b) = (&first["source"]["planned"], &second["source"]["planned"]);
    for (id, uri) in [(&one, b), (&two, a)] {
        let swapped = validate(id, &first, uri);
        let answer = adversary.call("validate-uri", &swapped).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    let valid = validate(&two, &second, b);
    let valid = adversary.call("validate-uri", &valid).await.unwrap();
    // Codes that someone without the worker's key has sealed are not kept with it.
    let key = admin.get("/api/system").await.body["sealKey"].clone();
    let key = countersign_enrollment::sealed::SealKey::from_text(key.as_str().unwrap()).unwrap();
    let scope: countersign_enrollment::ids::EnrollmentId = two.parse().unwrap();
    let codes = countersign_enrollment::recovery::RecoveryCodes::new(["mallory"]).unwrap();
    let codes = serde_json::to_value(key.seal(&scope, &codes).unwrap()).unwrap();
    approver.decide(&one, true, "yes").await;
    approver.decide(&two, true, "yes").await;
    for account in [&one, &two] {
        admin.until_stored(account).await;
    }
    let mut input =
        json!({"mandate": second["mandate"], "enrollment": two, "account": valid["account"]});
    let again = adversary.call("store-secret", &input).await;
    assert!(again.is_ok(), "{again:?}");
    input["recovery"] = codes;
    let added = adversary.call("store-secret", &input).await;
    assert!(added.is_err(), "{added:?}");
    assert_eq!(left(&admin, &one).await, json!({"total": 2, "left": 2}));
    assert_eq!(left(&admin, &two).await["total"], 0);
    adversary.stop().await;
}

#[tokio::test]
async fn what_the_command_line_exports_it_imports_again() {
    let app = App::start().await;
    let folder = app.folder();
    let (account, beside) = (
        folder.join("account.txt"),
        folder.join("account.txt.recovery-codes"),
    );
    std::fs::write(
        &account,
        format!("otpauth://totp/GitHub:alice?secret={SECRET}&issuer=GitHub\n"),
    )
    .unwrap();
    std::fs::write(&beside, "- a\nc: d\n1. e\n").unwrap();
    let import = |files: &[&std::path::Path]| {
        let mut args = vec!["import"];
        args.extend(files.iter().map(|file| file.to_str().unwrap()));
        app.command(&args)
    };
    let output = import(&[&account, &beside]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(
        said.contains("3 recovery codes") && !said.contains("c: d"),
        "{said}"
    );
    let accounts = app.admin().get("/api/accounts").await;
    let id = accounts.body["accounts"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for code in ["- a", "c: d", "1. e"] {
        assert_eq!(take(&app.admin(), &id).await.body["code"], code);
    }
    std::fs::write(&account, "not an account").unwrap();
    let refused = import(&[&account, &beside]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
}
