//! A planted secret is found nowhere: not in a database, a log or an answer.

mod leaving;
mod refused;

use std::fs;
use std::path::Path;

use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL, HEXLOWER, HEXUPPER};
use memchr::memmem::Finder;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::collector::Collector;
use crate::support::{App, Caller, PATIENCE, png, qr_png};
use crate::webhook::{Mood, Receiver};

/// The planted secret, in base32: nothing else looks like it.
const MARKER: &str = "LEAKMARKERSECRETLEAKMARKERSECRET";

/// A way to write bytes down.
type Encoding = fn(&[u8]) -> Vec<u8>;

/// Ways in which each byte is written on its own, so that a text's middle is a part of it.
const BYTE_BY_BYTE: [Encoding; 7] = [
    <[u8]>::to_vec,
    |bytes| HEXLOWER.encode(bytes).into_bytes(),
    |bytes| HEXUPPER.encode(bytes).into_bytes(),
    // As `{:?}` prints bytes, and as it prints a byte string.
    |bytes| format!("{bytes:?}").trim_matches(['[', ']']).into(),
    |bytes| bytes.escape_ascii().to_string().into_bytes(),
    // In an address, and as UTF-16.
    |bytes| {
        url::form_urlencoded::byte_serialize(bytes)
            .collect::<String>()
            .into_bytes()
    },
    |bytes| bytes.iter().flat_map(|&byte| [byte, 0]).collect(),
];
/// Ways that write three bytes together.
const IN_THREES: [Encoding; 2] = [
    |bytes| BASE64.encode(bytes).into_bytes(),
    |bytes| BASE64URL.encode(bytes).into_bytes(),
];

/// What to look for: each form that the marker could have been copied in.
fn needles(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut needles: Vec<Vec<u8>> = BYTE_BY_BYTE.iter().map(|encode| encode(secret)).collect();
    for encode in IN_THREES {
        for offset in 0..3 {
            // Inside a longer text, base64 depends on where the secret begins.
            let mut padded = vec![0; offset];
            padded.extend_from_slice(secret);
            let text = encode(&padded);
            let text = text.strip_suffix(b"=").unwrap_or(&text);
            let text = text.strip_suffix(b"=").unwrap_or(text);
            // The first and last group mix in the neighbors.
            needles.push(text[4..text.len() - 4].to_vec());
        }
    }
    needles
}

/// Every file under a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    found
}

/// That no file under a folder holds the secret, given in base32, in any form.
pub(crate) fn assert_nowhere(secret: &str, folder: &Path) {
    let bytes = BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    let forms = [bytes.as_slice(), secret.as_bytes()];
    let needles: Vec<Vec<u8>> = forms.into_iter().flat_map(needles).collect();
    let files = files(folder);
    assert!(!files.is_empty());
    for (name, content) in files {
        for needle in &needles {
            let found = memchr::memmem::find(&content, needle);
            assert_eq!(found, None, "{name} holds the planted secret");
        }
    }
}

/// What is looked for, and where it was looked for so far.
struct Search {
    needles: Vec<Finder<'static>>,
    places: usize,
}

impl Search {
    /// Looks for the secret in its own and in its written form, and for a piece of a
    /// image of it.
    fn new(picture: &[u8]) -> Self {
        let secret = BASE32_NOPAD.decode(MARKER.as_bytes()).unwrap();
        // The image is still one after the middle; its pixels would show too.
        let middle = &picture[picture.len() / 2 - 12..picture.len() / 2 + 12];
        let needles = [
            secret.as_slice(),
            MARKER.as_bytes(),
            MARKER.to_lowercase().as_bytes(),
            middle,
        ]
        .into_iter()
        .flat_map(needles)
        .map(|needle| Finder::new(&needle).into_owned())
        .collect();
        Self { needles, places: 0 }
    }

    /// The first form in which a text holds it.
    fn found(&self, bytes: &[u8]) -> Option<String> {
        self.needles
            .iter()
            .find(|finder| finder.find(bytes).is_some())
            .map(|finder| String::from_utf8_lossy(finder.needle()).into_owned())
    }

    fn in_text(&mut self, place: &str, bytes: &[u8]) {
        assert!(!bytes.is_empty(), "{place} has something to search");
        assert_eq!(self.found(bytes), None, "{place} holds the planted secret");
        self.places += 1;
    }

    /// What operators see: the dashboard, metrics and the record.
    async fn in_what_is_told(&mut self, app: &App) {
        let dashboard = app.dashboard_pages().await;
        assert!(
            dashboard.contains("totp-"),
            "the dashboard shows enrollments"
        );
        self.in_text("the dashboard", dashboard.as_bytes());
        self.in_text("the metrics", app.metrics().await.as_bytes());
        let scheduler = app.scheduler_metrics().await;
        self.in_text("the scheduler's metrics", scheduler.as_bytes());
        for format in ["cef", "jsonl"] {
            let exported = app.command(&["audit", "export", "--format", format]);
            self.in_text("the exported record", &exported.stdout);
        }
    }

    /// Databases with their write-ahead logs, keys, and the logs of every run.
    fn in_files(&mut self, app: &App, moment: &str) {
        let files = files(app.folder());
        for (name, bytes) in &files {
            assert_eq!(
                self.found(bytes),
                None,
                "{name} holds the planted secret {moment}"
            );
        }
        for ending in ["scheduler.sqlite3", "vault.sqlite3", ".log"] {
            assert!(
                files
                    .iter()
                    .any(|(name, bytes)| name.ends_with(ending) && !bytes.is_empty()),
                "{ending} is searched {moment}"
            );
        }
        self.places += files.len();
    }
}

/// Follows an enrollment to its end; answers its stage.
async fn outcome(caller: &Caller, id: &str) -> String {
    let ended = caller.ended(id).await;
    ended.body["stage"].as_str().unwrap().to_owned()
}

/// Does something to the vault's database that its owner would not.
fn tamper(app: &App, sql: &str) {
    let connection = rusqlite::Connection::open(app.data_dir().join("vault.sqlite3")).unwrap();
    connection.busy_timeout(PATIENCE).unwrap();
    connection.execute_batch(sql).unwrap();
}

/// Enrolled by URI, by image and by the seed's endpoint, and read.
async fn walk_the_good_paths(app: &App, uri: &str, picture: &[u8]) -> String {
    let admin = app.admin();
    let good = admin.enroll(uri, false).await;
    assert_eq!(outcome(&admin, &good).await, "Enrolled");
    let answer = admin
        .post_bytes("/api/enrollments", "image/png", picture.to_vec())
        .await;
    assert_eq!(outcome(&admin, &answer.id()).await, "Enrolled");
    let answer = admin.post("/api/accounts", &json!({ "uri": uri })).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let token = admin.get(&format!("/api/tokens?id={good}")).await;
    assert_eq!(token.status, StatusCode::OK);
    let accounts = admin.get("/api/accounts").await;
    assert_eq!(accounts.status, StatusCode::OK);
    good
}

/// Imported from a list, from another program's export and from an image, accounts that
/// cannot be enrolled among them; and refused at the door.
async fn walk_the_imports(app: &App, uri: &str) {
    let admin = app.admin();
    let list = format!(
        "{}\n{}\n{}\n",
        uri.replace("Leak:test", "Leak:listed"),
        uri.replace("totp/Leak", "hotp/Leak"),
        uri.replace(MARKER, &format!("{MARKER}A"))
    );
    let export = json!({"encrypted": false, "items": [
        {"name": "Leak", "login": {"username": "exported", "totp": MARKER}},
        {"name": "Cut", "login": {"username": "me", "totp": format!("{MARKER}A")}},
    ]});
    for (kind, body) in [
        ("text/plain", list.into_bytes()),
        ("application/json", export.to_string().into_bytes()),
        (
            "image/png",
            qr_png(&uri.replace("Leak:test", "Leak:pictured")),
        ),
    ] {
        let answer = admin.post_bytes("/api/imports", kind, body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        let path = format!("/api/imports/{}?wait=30", answer.id());
        let ended = loop {
            let answer = admin.get(&path).await;
            if answer.status != StatusCode::ACCEPTED {
                break answer;
            }
        };
        assert_eq!(ended.body["accounts"][0]["result"], "enrolled", "{ended:?}");
    }
    let refused = format!("{MARKER} {{").into_bytes();
    admin
        .post_bytes("/api/imports", "text/plain", refused)
        .await
        .assert_problem(422, "import-unknown");
}

/// Refused at the door, in the image and by the approver; terminated.
async fn walk_the_refused_paths(app: &App, uri: &str) {
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let broken = uri.replace("otpauth://totp", "otpauth://unheard-of");
    admin
        .post("/api/enrollments", &json!({ "uri": broken }))
        .await
        .assert_problem(422, "type-unsupported");
    for text in [&broken, &format!("WIFI:P:{MARKER};;")] {
        let answer = admin
            .post_bytes("/api/enrollments", "image/png", qr_png(text))
            .await;
        assert_eq!(outcome(&admin, &answer.id()).await, "Invalid");
    }
    let refused = admin.enroll(uri, true).await;
    approver.until_stage(&refused, "AwaitingApproval").await;
    approver
        .decide(&refused, false, &format!("no: {uri}, {MARKER}"))
        .await;
    assert_eq!(outcome(&admin, &refused).await, "Rejected");
    let terminated = admin.enroll(uri, true).await;
    admin
        .delete(&format!("/api/enrollments/{terminated}"))
        .await;
    assert_eq!(outcome(&admin, &terminated).await, "Terminated");
}

/// Requests that carry it in odd places, each refused.
async fn walk_the_malformed_paths(app: &App, uri: &str) {
    let admin = app.admin();
    let bytes = async |kind: &str, body: String| {
        let body = body.into_bytes();
        admin.post_bytes("/api/enrollments", kind, body).await
    };
    let json = async |body| admin.post("/api/enrollments", &body).await;
    for answer in [
        bytes("application/json", format!("{{\"uri\": \"{uri}")).await,
        json(json!({ "uri": [uri] })).await,
        json(json!({ MARKER: uri })).await,
        bytes("image/png", uri.to_owned()).await,
        bytes("application/x-www-form-urlencoded", format!("uri={uri}")).await,
        admin.get(&format!("/api/tokens?id={MARKER}")).await,
        admin.get(&format!("/api/{MARKER}")).await,
    ] {
        assert!(answer.status.is_client_error(), "{answer:?}");
    }
}

/// The vault fails: for a while, so that storing is tried again, and permanently.
async fn walk_the_failed_paths(app: &App, uri: &str) {
    let admin = app.admin();
    let approver = app.new_caller("third-pair-of-eyes", "approver");

    tamper(app, "ALTER TABLE accounts RENAME TO elsewhere");
    let tried_again = admin.enroll(uri, false).await;
    app.until_logged("secret not stored").await;
    admin
        .get("/api/accounts")
        .await
        .assert_problem(503, "vault-unavailable");
    tamper(app, "ALTER TABLE elsewhere RENAME TO accounts");
    assert_eq!(outcome(&admin, &tried_again).await, "Enrolled");

    let failed = admin.enroll(uri, true).await;
    approver.until_stage(&failed, "AwaitingApproval").await;
    tamper(
        app,
        &format!("INSERT INTO purged (id, purged_at) VALUES ('{failed}', 0)"),
    );
    approver.decide(&failed, true, "yes").await;
    assert_eq!(outcome(&admin, &failed).await, "Failed");
}

/// Someone who knows the secret and writes it where it does not belong.
async fn walk_the_headers(app: &App, uri: &str, good: &str) {
    let admin = app.admin();
    let request = |path: &str| admin.request(Method::GET, path);
    let read = request(&format!("/api/tokens?id={good}"))
        .header(
            "countersign-reason",
            format!("because of {uri} and {MARKER}"),
        )
        .header("tracestate", format!("leak={MARKER}"))
        .header("baggage", format!("leak={MARKER}"))
        .header("traceparent", MARKER);
    assert_eq!(admin.send(read).await.status, StatusCode::OK);
    let made_up = Method::from_bytes(MARKER.as_bytes()).unwrap();
    let made_up = admin.request(made_up, "/api/accounts");
    assert!(admin.send(made_up).await.status.is_client_error());
    let nobody = app.caller(Some(MARKER));
    nobody
        .get("/api/accounts")
        .await
        .assert_problem(401, "unauthenticated");
}

/// Tools for agents, with the secret in every argument.
async fn walk_the_tools(app: &App, uri: &str, good: &str) {
    let admin = app.admin();
    let tool = async |name: &str, arguments: serde_json::Value| {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": name, "arguments": arguments } });
        let request = admin
            .request(Method::POST, "/mcp")
            .header("accept", "application/json, text/event-stream")
            .json(&message);
        let answer = admin.send(request).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert!(answer.body["result"].is_object(), "{answer:?}");
        answer.body["result"]["isError"] == true
    };
    assert!(!tool("list_accounts", json!({ "search": "leak" })).await);
    assert!(!tool("get_code", json!({ "account": good, "reason": uri })).await);
    for (name, arguments) in [
        ("list_accounts", json!({ "limit": uri })),
        ("list_accounts", json!({ MARKER: 1 })),
        ("get_code", json!({ "account": MARKER })),
        ("get_code", json!({ "account": uri, "minValidity": uri })),
        ("request_code_with_approval", json!({ "requestId": MARKER })),
        (
            "request_code_with_approval",
            json!({ "account": uri, "reason": "x" }),
        ),
    ] {
        assert!(tool(name, arguments.clone()).await, "{name} {arguments}");
    }
}

/// Requests on an account, each done to its end: read, exported, destroyed. Only who
/// exports it gets to see it.
async fn walk_the_requests(app: &App, uri: &str, search: &mut Search) {
    let admin = app.admin();
    let approver = app.new_caller("fourth-pair-of-eyes", "approver");
    let account = admin
        .enroll(&uri.replace("Leak:test", "Leak:leaving"), false)
        .await;
    assert_eq!(outcome(&admin, &account).await, "Enrolled");
    // Recovery codes, of which one is given out; an answer that is not searched holds it.
    let path = format!("/api/accounts/{account}/recovery-codes");
    let codes = json!({ "codes": [MARKER, format!("{MARKER}2")], "reason": MARKER });
    let set = admin.request(Method::PUT, &path).json(&codes);
    let set = admin.send(set).await;
    assert_eq!(set.status, StatusCode::ACCEPTED, "{set:?}");
    let wrong = json!({ "codes": [MARKER.repeat(9)] });
    let wrong = admin.request(Method::PUT, &path).json(&wrong);
    admin
        .send(wrong)
        .await
        .assert_problem(400, "invalid-parameter");
    let begun = std::time::Instant::now();
    while admin.get(&path).await.body["left"] != 2 {
        assert!(begun.elapsed() < PATIENCE, "the codes are not set");
    }
    let take = format!("/api/accounts/{account}/recovery-code");
    let taken = admin.request(Method::POST, &take).send().await.unwrap();
    assert!(taken.text().await.unwrap().contains(MARKER));
    for (kind, more, useful) in [
        ("read", json!({}), Some("code")),
        ("export", json!({}), Some("export")),
        ("delete", json!({ "seconds": 0 }), None),
    ] {
        let mut body = json!({ "kind": kind, "reason": "moving house" });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let path = format!("/api/accounts/{account}/requests");
        let asked = admin.post(&path, &body).await;
        assert_eq!(asked.status, StatusCode::ACCEPTED, "{asked:?}");
        let request = format!("/api/requests/{}", asked.id());
        let stage = async |reached: &[&str]| {
            let begun = std::time::Instant::now();
            loop {
                let answer = admin.get(&format!("{request}?wait=1")).await;
                let stage = answer.body["stage"].as_str().unwrap_or_default();
                if reached.contains(&stage) {
                    return;
                }
                assert!(begun.elapsed() < PATIENCE, "{answer:?}");
            }
        };
        stage(&["AwaitingApproval"]).await;
        let agreed = json!({ "approved": true, "comment": "yes" });
        let agreed = approver.post(&format!("{request}/approval"), &agreed).await;
        assert_eq!(agreed.status, StatusCode::ACCEPTED, "{agreed:?}");
        if let Some(useful) = useful {
            stage(&["Granted"]).await;
            let used = admin.request(Method::POST, &format!("{request}/{useful}"));
            // Not among the answers that are searched: this one may hold it, once.
            let used = used.send().await.unwrap();
            assert_eq!(used.status(), StatusCode::OK);
            let used = used.bytes().await.unwrap();
            assert_eq!(search.found(&used).is_some(), kind == "export");
        }
        stage(&["Done"]).await;
    }
    search.places += 1;
}

// Commands are waited for; what is told in the meantime is taken by the other thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planted_secret_is_found_nowhere() {
    let uri = format!("otpauth://totp/Leak:test?secret={MARKER}&issuer=Leak");
    let picture = qr_png(&uri);
    let mut search = Search::new(&picture);
    let collector = Collector::start().await;
    let url = collector.url();
    // The address of a webhook is a secret too: who knows that of a chat room may write there.
    let (receiver, hook) = Receiver::start(&[Mood::Fails]).await;
    let hook = format!("http://{hook}/hook?key={MARKER}");
    let outward = ["--otlp-endpoint", &url, "--webhook-url", &hook];
    let mut app = App::start_with(&outward).await;
    let good = walk_the_good_paths(&app, &uri, &picture).await;
    walk_the_imports(&app, &uri).await;
    walk_the_refused_paths(&app, &uri).await;
    walk_the_malformed_paths(&app, &uri).await;
    walk_the_headers(&app, &uri, &good).await;
    walk_the_tools(&app, &uri, &good).await;
    walk_the_requests(&app, &uri, &mut search).await;
    let mut there = App::start_with(&outward[..2]).await;
    leaving::walk_the_commands(&app, &there, &uri, &mut search).await;
    walk_the_failed_paths(&app, &uri).await;

    // Crashed: killed with enrollments in progress; what a thief of the disk would find.
    for _ in 0..3 {
        let admin = app.admin();
        for _ in 0..4 {
            admin.enroll(&uri, false).await;
            admin
                .post_bytes("/api/enrollments", "image/png", picture.clone())
                .await;
        }
        app.kill();
        search.in_files(&app, "after a kill");
        app.launch().await;
    }

    // The command line, with the URI on standard input and as an argument.
    let shown = app.command(&["enroll", &uri, "--json"]);
    assert!(shown.status.success(), "{shown:?}");
    search.in_text("the output of enroll", &shown.stdout);
    let listed = app.command(&["list"]);
    search.in_text("the output of list", &listed.stdout);
    for app in [&app, &there] {
        search.in_what_is_told(app).await;
    }
    app.stop().await;
    there.stop().await;
    search.in_files(&there, "where an account was taken over");
    search.in_text("its answers", there.answers().join("\n").as_bytes());

    // Expired.
    let [first, second, third, fourth] = outward;
    app.launch_with(&["--approval-timeout", "1s", first, second, third, fourth])
        .await;
    let admin = app.admin();
    let expired = admin.enroll(&uri, true).await;
    assert_eq!(outcome(&admin, &expired).await, "Expired");
    app.stop().await;

    let logs = app.logs();
    assert!(logs.contains("TRACE"), "logs are at their most talkative");
    assert!(logs.contains(&good), "logs name the enrollment");
    search.in_text("the answers", app.answers().join("\n").as_bytes());
    search.in_files(&app, "after the last stop");
    let collected = collector.bytes();
    for came in ["vault store", "secret stored", "countersign.audit"] {
        let came = Finder::new(came).find(&collected);
        assert!(came.is_some(), "spans, logs and the record were collected");
    }
    search.in_text("what a collector got", &collected);
    let notices = receiver.text();
    assert!(notices.contains("Leak"), "the webhook was told: {notices}");
    search.in_text("what a webhook was told", notices.as_bytes());
    assert!(search.places > 100, "only {} places", search.places);
}

#[test]
fn the_search_would_find_it() {
    let secret = BASE32_NOPAD.decode(MARKER.as_bytes()).unwrap();
    let picture = qr_png(MARKER);
    let search = Search::new(&picture);
    for copied in [
        secret.as_slice(),
        MARKER.as_bytes(),
        MARKER.to_lowercase().as_bytes(),
        &picture,
    ] {
        // Base64 depends on how far into a text the secret begins.
        for before in ["", "s", "so", "some words before it "] {
            let mut text = before.as_bytes().to_vec();
            text.extend_from_slice(copied);
            text.extend_from_slice(b" and after");
            for (at, encode) in BYTE_BY_BYTE.iter().chain(&IN_THREES).enumerate() {
                assert!(search.found(&encode(&text)).is_some(), "{at} {before:?}");
            }
        }
    }
    assert_eq!(
        search.found(&png(&image::DynamicImage::new_luma8(30, 30))),
        None
    );
}
