//! Many accounts at once: files, images and exports in parts, over HTTP and from the
//! command line.

use data_encoding::BASE64;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, App, Caller, PATIENCE, qr_png};

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// A message of Google Authenticator's export, written field by field.
fn export(names: &[&str], [of, index]: [u8; 2]) -> String {
    let mut payload = Vec::new();
    for name in names {
        let mut entry = vec![0x0a, 20];
        entry.extend(b"12345678901234567890");
        entry.extend([0x12, name.len() as u8]);
        entry.extend(name.as_bytes());
        entry.extend([0x20, 1, 0x28, 1, 0x30, 2]);
        payload.extend([0x0a, entry.len() as u8]);
        payload.extend(entry);
    }
    payload.extend([0x10, 2, 0x18, of, 0x20, index, 0x28, 77]);
    let data = BASE64.encode(&payload);
    let data = data
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    format!("otpauth-migration://offline?data={data}")
}

fn form(files: Vec<Vec<u8>>) -> reqwest::multipart::Form {
    files
        .into_iter()
        .fold(reqwest::multipart::Form::new(), |form, file| {
            let part = reqwest::multipart::Part::bytes(file).file_name("file");
            form.part("file", part)
        })
}

async fn import(caller: &Caller, query: &str, files: Vec<Vec<u8>>) -> Answer {
    let request = caller
        .request(Method::POST, &format!("/api/imports{query}"))
        .multipart(form(files));
    let answer = caller.send(request).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let path = answer.headers["location"].to_str().unwrap().to_owned();
    assert_eq!(path, format!("/api/imports/{}", answer.id()));
    ended(caller, &path).await
}

async fn ended(caller: &Caller, path: &str) -> Answer {
    let begun = std::time::Instant::now();
    loop {
        let answer = caller.get(&format!("{path}?wait=5")).await;
        if answer.status == StatusCode::OK {
            assert_eq!(answer.body["stage"], "Done", "{answer:?}");
            return answer;
        }
        assert!(
            answer.status == StatusCode::ACCEPTED && begun.elapsed() < PATIENCE,
            "the import does not end: {answer:?}"
        );
    }
}

/// Name or label and result of each account.
fn results(answer: &Answer) -> Vec<(String, String)> {
    let told = |account: &Value| {
        let name = match account["preview"]["accountName"].as_str() {
            Some(name) => name,
            None => account["name"].as_str().unwrap_or_default(),
        };
        let result = account["result"].as_str().unwrap();
        (name.to_owned(), result.to_owned())
    };
    answer.body["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(told)
        .collect()
}

fn all(names: &[&str], result: &str) -> Vec<(String, String)> {
    names
        .iter()
        .map(|name| ((*name).to_owned(), result.to_owned()))
        .collect()
}

async fn count(caller: &Caller) -> usize {
    let answer = caller.get("/api/accounts?limit=200").await;
    answer.body["accounts"].as_array().unwrap().len()
}

#[tokio::test]
async fn an_export_in_parts_is_imported_once_whatever_the_order() {
    let app = App::start().await;
    let admin = app.admin();
    let parts = [
        qr_png(&export(&["One:a", "One:b"], [3, 0])),
        qr_png(&export(&["Two:c"], [3, 1])),
        export(&["Three:d"], [3, 2]).into_bytes(),
    ];

    // What is there is imported, and what is missing is named.
    let some = import(&admin, "", vec![parts[2].clone(), parts[0].clone()]).await;
    assert_eq!(
        results(&some),
        all(&["a", "b", "d"], "enrolled"),
        "{some:?}"
    );
    let problem = &some.body["problems"][0];
    assert_eq!(problem["code"], "export-parts-missing", "{some:?}");
    assert!(
        problem["detail"].as_str().unwrap().contains("number 2"),
        "{problem}"
    );
    for account in some.body["accounts"].as_array().unwrap() {
        let id = account["id"].as_str().unwrap();
        let token = admin.get(&format!("/api/tokens?id={id}")).await;
        assert_eq!(token.status, StatusCode::OK, "{token:?}");
        // Each is an enrollment of its own.
        let status = account["statusQueryGetUri"].as_str().unwrap();
        assert_eq!(admin.get(status).await.body["stage"], "Enrolled");
    }
    assert_eq!(count(&admin).await, 3);

    // The whole export adds what was missing; again, it adds nothing and says so.
    let whole = vec![parts[1].clone(), parts[2].clone(), parts[0].clone()];
    let second = import(&admin, "?dryRun=true", whole.clone()).await;
    let expected = ["already-there", "already-there", "new", "already-there"];
    let names = ["a", "b", "c", "d"];
    let told = |expected: [&str; 4]| -> Vec<(String, String)> {
        names
            .iter()
            .zip(expected)
            .map(|(n, r)| ((*n).to_owned(), r.to_owned()))
            .collect()
    };
    assert_eq!(results(&second), told(expected));
    assert_eq!(count(&admin).await, 3, "a dry run changes nothing");
    let second = import(&admin, "", whole.clone()).await;
    assert_eq!(
        results(&second),
        told(expected.map(|r| if r == "new" { "enrolled" } else { r }))
    );
    let third = import(&admin, "", whole).await;
    assert_eq!(results(&third), told(["already-there"; 4]));
    assert_eq!(third.body["problems"], Value::Null, "{third:?}");
    assert_eq!(count(&admin).await, 4);
}

#[tokio::test]
async fn one_bad_account_or_image_takes_no_other_with_it() {
    let app = App::start().await;
    let admin = app.admin();
    let uri = |name: &str| format!("otpauth://totp/{name}?secret={SECRET}");
    let list = format!(
        "{}\n{}\notpauth://hotp/old?secret={SECRET}\n{}\notpauth://totp/x?secret=MFR\n{}\n",
        uri("a"),
        uri("b"),
        uri("a"),
        uri("c"),
    );
    let wifi = qr_png("WIFI:S:guests;T:WPA;P:letmein12;;");
    let files = vec![list.into_bytes(), wifi, qr_png(&uri("d"))];
    let answer = import(&admin, "?pick=1-5,7", files).await;
    let results: Vec<String> = results(&answer)
        .into_iter()
        .map(|(_, result)| result)
        .collect();
    assert_eq!(
        results,
        [
            "enrolled",
            "enrolled",
            "invalid",
            "repeated",
            "invalid",
            "not-picked",
            "enrolled"
        ],
        "{answer:?}"
    );
    let accounts = &answer.body["accounts"];
    assert_eq!(
        accounts[2]["problem"]["code"], "hotp-unsupported",
        "{answer:?}"
    );
    assert_eq!(accounts[3]["repeats"], 1, "{answer:?}");
    assert_eq!(
        accounts[4]["problem"]["code"], "secret-truncated",
        "{answer:?}"
    );
    let problem = &answer.body["problems"][0];
    assert_eq!(problem["source"], 2, "{answer:?}");
    assert_eq!(problem["code"], "qr-not-otpauth", "{answer:?}");
    assert_eq!(problem["kind"], "wifi", "{answer:?}");
    assert_eq!(count(&admin).await, 3);
}

#[tokio::test]
async fn what_is_picked_and_not_there_is_reported() {
    let app = App::start().await;
    let admin = app.admin();
    let uri = |name: &str| format!("otpauth://totp/{name}?secret={SECRET}");
    let list = format!("{}\n{}\n", uri("a"), export(&["Two:b", "Two:c"], [1, 0]));

    // The number of accounts in files is known at once: nothing is started.
    for query in ["?pick=1,4-6", "?pick=4-6&dryRun=true"] {
        let path = format!("/api/imports{query}");
        let body = list.clone().into_bytes();
        let refused = admin.post_bytes(&path, "text/plain", body).await;
        refused.assert_problem(422, "pick-not-there");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(
            detail.contains("4-6") && detail.ends_with("only 3 accounts."),
            "{detail}"
        );
    }
    admin
        .post_bytes("/api/imports?pick=501", "text/plain", list.clone().into())
        .await
        .assert_problem(400, "invalid-parameter");
    assert_eq!(count(&admin).await, 0);
    let file = app.folder().join("list.txt");
    std::fs::write(&file, &list).unwrap();
    let refused = app.command(&["import", file.to_str().unwrap(), "--pick", "4"]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("Position 4 was picked"), "{told}");

    // An image has to be read first: existing accounts are enrolled, and the others reported.
    let picture = qr_png(&uri("d"));
    let answer = import(&admin, "?pick=2,5,7", vec![list.into_bytes(), picture]).await;
    let told: Vec<String> = results(&answer)
        .into_iter()
        .map(|(_, result)| result)
        .collect();
    assert_eq!(
        told,
        ["not-picked", "enrolled", "not-picked", "not-picked"],
        "{answer:?}"
    );
    let problems = answer.body["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 1, "{answer:?}");
    assert_eq!(problems[0]["code"], "pick-not-there", "{answer:?}");
    assert_eq!(problems[0]["source"], Value::Null, "{answer:?}");
    let detail = problems[0]["detail"].as_str().unwrap();
    assert!(
        detail.contains("5, 7") && detail.ends_with("only 4 accounts."),
        "{detail}"
    );
    assert_eq!(count(&admin).await, 1);
}

#[tokio::test]
async fn other_programs_exports_from_the_command_line() {
    let app = App::start().await;
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/enrollment/tests/data/import");
    let encrypted = format!("{data}/aegis-encrypted.json");
    let password = app.folder().join("password");
    std::fs::write(&password, "correct horse\n").unwrap();
    let password = password.to_str().unwrap();

    let refused = app.command(&["import", &encrypted]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("--password-file"), "{told}");

    let import = |more: &[&str]| -> (Option<i32>, Value) {
        let mut args = vec!["import", &encrypted, "--password-file", password, "--json"];
        args.extend(more);
        let output = app.command(&args);
        (
            output.status.code(),
            serde_json::from_slice(&output.stdout).unwrap(),
        )
    };
    let summary = |document: &Value| -> Vec<String> {
        let accounts = document["accounts"].as_array().unwrap().iter();
        accounts
            .map(|account| account["result"].as_str().unwrap().to_owned())
            .collect()
    };
    let (code, dry) = import(&["--dry-run"]);
    assert_eq!(
        code,
        Some(3),
        "some of its accounts cannot be enrolled: {dry}"
    );
    assert_eq!(
        summary(&dry),
        ["new", "new", "new", "invalid", "invalid", "invalid"]
    );
    let (code, done) = import(&["--pick", "1-3"]);
    assert_eq!(code, Some(3), "{done}");
    assert_eq!(summary(&done)[..3], ["enrolled"; 3], "{done}");
    let steam = done["accounts"][2]["id"].as_str().unwrap();
    let token = app.command(&["token", steam]);
    let token = String::from_utf8(token.stdout).unwrap();
    let characters = token.split_whitespace().next().unwrap();
    assert!(
        characters.len() == 5
            && characters
                .chars()
                .all(|c| "23456789BCDFGHJKMNPQRTVWXY".contains(c)),
        "{token}"
    );

    let shown = app.command(&[
        "import",
        &format!("{data}/2fas.json"),
        &format!("{data}/bitwarden.json"),
        &format!("{data}/key-vault.json"),
    ]);
    let told = String::from_utf8(shown.stdout).unwrap();
    assert!(
        told.contains("already-there  GitHub: octo@example.com"),
        "{told}"
    );
    assert!(told.contains("2FAS: Test Token"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn an_import_is_refused_followed_approved_and_ended_like_an_enrollment() {
    let app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let enroller = app.new_caller("build-server", "enroller");
    for (body, status, code) in [
        (&b"just a text"[..], 422, "import-unknown"),
        (b"{\"encrypted\": true}", 422, "import-encrypted"),
        (b"[]", 422, "import-empty"),
        (b"%PDF-1.7 \xff", 415, "unsupported-media-type"),
        (b"", 400, "empty-body"),
    ] {
        admin
            .post_bytes("/api/imports", "application/octet-stream", body.to_vec())
            .await
            .assert_problem(status, code);
    }
    for query in ["?pick=0", "?pick=x", "?dryRun=perhaps", "?approval=perhaps"] {
        admin
            .post_bytes(
                &format!("/api/imports{query}"),
                "text/plain",
                b"otpauth://totp/a".to_vec(),
            )
            .await
            .assert_problem(400, "invalid-parameter");
    }
    let list = format!("otpauth://totp/a?secret={SECRET}\notpauth://totp/b?secret={SECRET}\n");
    approver
        .post_bytes("/api/imports", "text/plain", list.clone().into_bytes())
        .await
        .assert_problem(403, "role-missing");

    // Each account is approved on its own.
    let started = admin
        .send(
            admin
                .request(Method::POST, "/api/imports?approval=required")
                .header("idempotency-key", "once")
                .multipart(form(vec![list.clone().into_bytes()])),
        )
        .await;
    let path = format!("/api/imports/{}", started.id());
    enroller
        .get(&path)
        .await
        .assert_problem(404, "enrollment-unknown");
    let begun = std::time::Instant::now();
    let waiting = loop {
        let page = approver
            .get("/api/enrollments?stage=AwaitingApproval")
            .await;
        let waiting = page.body["enrollments"].as_array().unwrap().clone();
        if waiting.len() == 2 {
            break waiting;
        }
        assert!(begun.elapsed() < PATIENCE, "{page:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    for enrollment in waiting {
        let yes = enrollment["preview"]["accountName"] == "a";
        let id = enrollment["id"].as_str().unwrap();
        assert_eq!(
            approver.decide(id, yes, "").await.status,
            StatusCode::ACCEPTED
        );
    }
    let done = ended(&admin, &path).await;
    let told: Vec<String> = results(&done)
        .into_iter()
        .map(|(_, result)| result)
        .collect();
    assert_eq!(told, ["enrolled", "rejected"]);
    admin
        .delete(&path)
        .await
        .assert_problem(409, "already-ended");
    // The same key is the same import, and nothing else.
    let repeat = |text: &str| {
        let request = admin
            .request(Method::POST, "/api/imports?approval=required")
            .header("idempotency-key", "once")
            .multipart(form(vec![text.as_bytes().to_vec()]));
        let admin = admin.clone();
        async move { admin.send(request).await }
    };
    assert_eq!(repeat(&list).await.id(), started.id());
    repeat("otpauth://totp/c?secret=2FASTEST")
        .await
        .assert_problem(422, "idempotency-key-reused");
    // What was rejected can be asked for again.
    let again = import(&admin, "", vec![list.into_bytes()]).await;
    let told: Vec<String> = results(&again)
        .into_iter()
        .map(|(_, result)| result)
        .collect();
    assert_eq!(told, ["already-there", "enrolled"]);
}

#[tokio::test]
async fn an_import_continues_after_a_crash_and_enrolls_each_account_once() {
    let mut app = App::start().await;
    let list: String = (0..40)
        .map(|number| format!("otpauth://totp/account-{number}?secret={SECRET}\n"))
        .collect();
    let admin = app.admin();
    let started = admin
        .post_bytes("/api/imports", "text/plain", list.clone().into_bytes())
        .await;
    assert_eq!(started.status, StatusCode::ACCEPTED, "{started:?}");
    let path = format!("/api/imports/{}", started.id());
    // Killed in the middle: between its bursts some accounts are there, and not all.
    let begun = std::time::Instant::now();
    loop {
        let there = count(&app.admin()).await;
        if there > 0 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "nothing is enrolled");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    app.kill();
    app.launch().await;
    let admin = app.admin();
    let done = ended(&admin, &path).await;
    assert!(
        results(&done)
            .iter()
            .all(|(_, result)| result == "enrolled"),
        "{done:?}"
    );
    assert_eq!(count(&admin).await, 40);
    let again = admin
        .post_bytes("/api/imports", "text/plain", list.into_bytes())
        .await;
    let again = ended(&admin, &format!("/api/imports/{}", again.id())).await;
    assert!(
        results(&again)
            .iter()
            .all(|(_, result)| result == "already-there"),
        "{again:?}"
    );
    assert_eq!(json!(count(&admin).await), json!(40));
}

#[tokio::test]
async fn every_file_and_option_of_a_form_is_used_or_refused() {
    let app = App::start().await;
    let admin = app.admin();
    let uri =
        |name: usize| format!("otpauth://totp/Many:{name}?secret=JBSWY3DPEHPK3PXP&issuer=Many");
    let files = |count| (0..count).map(|name| uri(name).into_bytes()).collect();
    let planned = import(&admin, "?dryRun=true", files(40)).await;
    assert_eq!(planned.body["accounts"].as_array().unwrap().len(), 40);

    let send = async |path: &str, form: reqwest::multipart::Form| {
        let request = admin.request(Method::POST, path).multipart(form);
        admin.send(request).await
    };
    let text = |name: &'static str, text: String| reqwest::multipart::Form::new().text(name, text);
    for (path, form) in [
        ("/api/imports", form(files(65))),
        ("/api/imports", form(files(1)).text("dryRun", "true")),
        (
            "/api/enrollments",
            text("uri", uri(0)).text("approval", "required"),
        ),
        ("/api/enrollments", text("uri", uri(0)).text("uri", uri(1))),
    ] {
        send(path, form)
            .await
            .assert_problem(400, "invalid-parameter");
    }
    assert_eq!(count(&admin).await, 0);
}
