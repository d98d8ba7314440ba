//! What strangers try is in the log, and what one caller sends costs no more than it may.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{App, PATIENCE, SEED_URI};

/// The lines of the log about refused requests.
fn refused(app: &App) -> Vec<String> {
    let logs = app.logs();
    let lines = logs
        .lines()
        .filter(|line| line.contains("refused a request"));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn what_strangers_try_is_in_the_log_and_does_not_fill_it() {
    let app = App::start().await;
    let reader = app.new_caller("reader", "reader");
    let secret = "0123456789abcdef".repeat(4);
    let guess = app.caller(Some(&format!("cs_0123456789ab_{secret}")));
    guess
        .get("/api/accounts")
        .await
        .assert_problem(401, "unauthenticated");
    reader
        .post("/api/enrollments", &json!({ "uri": SEED_URI }))
        .await
        .assert_problem(403, "role-missing");
    let login = guess.request(Method::POST, "/api/session");
    assert_eq!(guess.send(login).await.status, StatusCode::UNAUTHORIZED);
    app.until_logged("route=\"/api/session\"").await;
    let lines = refused(&app);
    let told = |parts: &[&str]| {
        let found = lines
            .iter()
            .any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "{parts:?}: {lines:#?}");
    };
    told(&[
        "INFO",
        "401",
        "127.0.0.1",
        "/api/accounts",
        "0123456789ab",
        "unauthenticated",
    ]);
    told(&[
        "INFO",
        "403",
        "127.0.0.1",
        "/api/enrollments",
        "reader",
        "role-missing",
    ]);
    told(&["INFO", "401", "/api/session", "0123456789ab"]);
    for _ in 0..30 {
        guess.get("/api/accounts").await;
    }
    // Five a minute for each address, and a test may take more than one.
    let minutes = 1 + lines.len() / 5;
    assert!(
        refused(&app).len() <= 5 * (minutes + 1),
        "{:#?}",
        refused(&app)
    );
    assert!(!app.logs().contains(&secret));
}

#[tokio::test]
async fn a_wrong_credential_is_in_the_log_whatever_else_is_refused() {
    let mut app = App::start().await;
    let stranger = app.caller(None);
    for _ in 0..40 {
        let answer = stranger.get("/api/accounts").await;
        answer.assert_problem(401, "unauthenticated");
    }
    let key = |id: &str| format!("cs_{id}_{}", "0123456789abcdef".repeat(4));
    let ask = |method: Method, path: &str| stranger.request(method, path);
    let tries = [
        (
            "0000000000a1",
            ask(Method::GET, "/api/accounts").bearer_auth(key("0000000000a1")),
        ),
        (
            "0000000000a2",
            ask(Method::GET, "/api/accounts").header("x-functions-key", key("0000000000a2")),
        ),
        (
            "0000000000a3",
            ask(
                Method::GET,
                &format!("/api/accounts?code={}", key("0000000000a3")),
            ),
        ),
        (
            "0000000000a4",
            ask(Method::GET, "/v1/auth/token/lookup-self")
                .header("x-vault-token", key("0000000000a4")),
        ),
        (
            "0000000000a5",
            ask(Method::POST, "/mcp")
                .bearer_auth(key("0000000000a5"))
                .json(&json!({})),
        ),
        (
            "0000000000a6",
            ask(Method::POST, "/api/session")
                .header("sec-fetch-site", "same-origin")
                .bearer_auth(key("0000000000a6"))
                .json(&json!({})),
        ),
        // Anyone gets this, so nothing is refused.
        (
            "0000000000a7",
            ask(Method::GET, "/docs").bearer_auth(key("0000000000a7")),
        ),
        (
            "credential=\"session\"",
            ask(Method::GET, "/api/accounts")
                .header("sec-fetch-site", "same-origin")
                .header("cookie", "countersign_session=k.0123456789ab.1.AAAA"),
        ),
        // Who nobody is, is no refusal here, but tells whether a guess was right.
        (
            "route=\"/api/session/current\"",
            ask(Method::GET, "/api/session/current")
                .header("sec-fetch-site", "same-origin")
                .header("cookie", "countersign_session=k.0123456789ab.1.AAAA"),
        ),
        (
            "credential=\"login code\"",
            ask(Method::POST, "/api/session")
                .header("sec-fetch-site", "same-origin")
                .json(&json!({ "code": "A".repeat(43) })),
        ),
    ];
    for (told, request) in tries {
        request.send().await.unwrap();
        app.until_logged(told).await;
        let logs = app.logs();
        let line = logs.lines().find(|line| line.contains(told)).unwrap();
        assert!(line.contains("wrong credential"), "{line}");
        assert!(line.contains("from=\"127.0.0.1\""), "{line}");
    }
    // Bounded, and at the end it is told how many there were.
    let begun = Instant::now();
    for number in 0..100 {
        let request = ask(Method::GET, "/api/accounts");
        let request = request.bearer_auth(key(&format!("{number:012}")));
        request.send().await.unwrap();
    }
    let windows = 2 + begun.elapsed().as_secs() as usize / 60;
    let count = |app: &App, words: &str| app.logs().matches(words).count();
    let listed = count(&app, "refused a request with a wrong credential");
    assert!((9..=20 * windows).contains(&listed), "{listed}");
    assert_eq!(app.stop().await, Some(0));
    let summary = "refused more requests with wrong credentials within a minute";
    assert!(count(&app, summary) >= 1, "{}", app.logs());
}

/// A vault of Aegis with `slots` of a password, each of which takes `n` and `p`.
fn vault(slots: usize, n: u64, p: u64) -> Vec<u8> {
    let sealing = json!({ "nonce": "00".repeat(12), "tag": "00".repeat(16) });
    let slot = json!({
        "type": 1, "key": "00".repeat(32), "key_params": sealing,
        "n": n, "r": 8, "p": p, "salt": "00".repeat(32),
    });
    let header = json!({ "slots": vec![slot; slots], "params": sealing });
    json!({ "version": 1, "header": header, "db": "AAAA" })
        .to_string()
        .into_bytes()
}

fn form(files: &[Vec<u8>]) -> reqwest::multipart::Form {
    let mut form = reqwest::multipart::Form::new().text("password", "guess");
    for file in files {
        form = form.part("file", reqwest::multipart::Part::bytes(file.clone()));
    }
    form
}

#[tokio::test]
async fn an_import_costs_no_more_than_its_budget_and_ends_with_its_request() {
    let app = App::start().await;
    let enroller = app.new_caller("enroller", "enroller");
    let import = |files: &[Vec<u8>]| {
        let request = enroller.request(Method::POST, "/api/imports");
        request.multipart(form(files))
    };
    for (file, what) in [
        (vault(1, 1 << 30, 1), "memory"),
        (vault(1, 1 << 15, 1_000), "more key derivation"),
    ] {
        let answer = enroller.send(import(&[file])).await;
        answer.assert_problem(422, "import-too-costly");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(what), "{detail}");
    }
    // As real exports are: some slots, and none opens.
    let answer = enroller.send(import(&[vault(3, 1 << 15, 1)])).await;
    answer.assert_problem(422, "import-password-wrong");

    // Many files with many costly slots, from a client that hangs up in the middle.
    let files = vec![vault(8, 1 << 17, 1); 32];
    let hung_up = import(&files)
        .timeout(Duration::from_millis(700))
        .send()
        .await;
    assert!(hung_up.is_err(), "{hung_up:?}");
    let begun = Instant::now();
    let outcome = loop {
        let record = app
            .admin()
            .get("/api/audit?action=import&caller=enroller")
            .await;
        let entries = record.body["entries"].as_array().unwrap().clone();
        if entries.len() == 4 {
            let last = entries
                .iter()
                .max_by_key(|entry| entry["sequence"].as_u64());
            break last.unwrap().clone();
        }
        assert!(begun.elapsed() < PATIENCE, "it never ends: {entries:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    // Its budget would have been spent, and that told, if it had gone on.
    assert_eq!(outcome["problem"], Value::from("timeout"), "{outcome}");
}
