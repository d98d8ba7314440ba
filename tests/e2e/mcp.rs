//! An agent with the official client of the Model Context Protocol, over HTTP and over
//! standard input and output.

use std::process::Stdio;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{RoleClient, ServiceExt as _};
use serde_json::{Value, json};

use crate::collector::Collector;
use crate::support::{App, BINARY, Caller, PATIENCE, SEED_URI};

type Agent = RunningService<RoleClient, ()>;

/// An agent that comes in over HTTP with a caller's key.
async fn agent(app: &App, caller: &Caller) -> Agent {
    let url = format!("http://{}/mcp", app.address());
    let settings = StreamableHttpClientTransportConfig::with_uri(url)
        .auth_header(caller.token().expect("the caller has a key"));
    let transport = StreamableHttpClientTransport::with_client(reqwest::Client::new(), settings);
    ().serve(transport).await.expect("the agent is let in")
}

/// Calls a tool.
async fn call(agent: &Agent, tool: &'static str, arguments: Value) -> CallToolResult {
    let arguments = arguments.as_object().expect("arguments are an object");
    let request = CallToolRequestParams::new(tool).with_arguments(arguments.clone());
    agent.call_tool(request).await.expect("the tool answers")
}

/// What a tool gave.
fn given(result: &CallToolResult) -> &Value {
    assert_ne!(result.is_error, Some(true), "{result:?}");
    result
        .structured_content
        .as_ref()
        .expect("it is structured")
}

/// Why a tool gave nothing.
fn refused(result: &CallToolResult) -> String {
    assert_eq!(result.is_error, Some(true), "{result:?}");
    result.content[0]
        .as_text()
        .expect("it is told")
        .text
        .clone()
}

async fn enrolled(admin: &Caller, uri: &str) -> String {
    let id = admin.enroll(uri, false).await;
    assert_eq!(admin.ended(&id).await.body["stage"], "Enrolled");
    id
}

/// The code that the API gives.
async fn code(reader: &Caller, id: &str) -> String {
    let answer = reader.get(&format!("/api/tokens?id={id}")).await;
    answer.body["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_agent_gets_the_codes_that_its_key_may_read_and_no_others() {
    let collector = Collector::start().await;
    let mut app = App::start_with(&["--otlp-endpoint", &collector.url()]).await;
    let admin = app.admin();
    let reader = app.new_caller("deploy-agent", "reader");
    let id = enrolled(&admin, SEED_URI).await;
    enrolled(
        &admin,
        "otpauth://totp/Other:me?secret=JBSWY3DPEHPK3PXP&issuer=Other",
    )
    .await;
    let told = agent(&app, &reader).await;

    let tools = told.list_all_tools().await.unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    assert_eq!(
        names,
        ["get_code", "list_accounts", "request_code_with_approval"]
    );
    for tool in &tools {
        assert!(tool.output_schema.is_some(), "{tool:?}");
        assert!(tool.description.is_some(), "{tool:?}");
    }

    let page = call(&told, "list_accounts", json!({ "search": "2fas" })).await;
    let accounts = given(&page)["accounts"].as_array().unwrap();
    assert_eq!(accounts.len(), 1, "{page:?}");
    assert_eq!(accounts[0]["id"], id);
    assert_eq!(accounts[0]["issuer"], "2FAS");
    let first = call(&told, "list_accounts", json!({ "limit": 1 })).await;
    let next = given(&first)["next"].as_str().unwrap();
    let second = call(
        &told,
        "list_accounts",
        json!({ "limit": 1, "cursor": next }),
    )
    .await;
    assert_ne!(given(&first)["accounts"], given(&second)["accounts"]);

    let before = code(&reader, &id).await;
    let reason = "Rollout für Kunde 7\nnachts";
    let arguments = json!({ "account": id, "minValidity": 1, "reason": reason });
    let got = call(&told, "get_code", arguments).await;
    let after = code(&reader, &id).await;
    let got = given(&got);
    // A time step may have ended in between.
    assert!(
        [&before, &after].iter().any(|code| got["token"] == **code),
        "{got}"
    );
    assert!(got["secondsRemaining"].as_u64().unwrap() >= 1, "{got}");
    let record = admin
        .get("/api/audit?action=read-code&caller=deploy-agent")
        .await;
    assert_eq!(record.body["entries"][1]["subject"], id, "{record:?}");
    assert_eq!(
        record.body["entries"][1]["reason"],
        "Rollout für Kunde 7 nachts"
    );
    assert_eq!(record.body["entries"][1]["from"], "127.0.0.1");

    // Whatever is written in place of an id is no way to another path.
    for account in [
        "totp-00000000-0000-4000-8000-000000000000",
        "../../audit",
        "",
        "%2e%2e",
    ] {
        let lost = call(&told, "get_code", json!({ "account": account })).await;
        assert!(refused(&lost).contains("There is no account"), "{lost:?}");
    }
    let mistaken = call(
        &told,
        "get_code",
        json!({ "account": id, "minValidity": 99 }),
    )
    .await;
    assert!(refused(&mistaken).contains("minValidity"), "{mistaken:?}");
    let misspelt = call(&told, "get_code", json!({ "acount": id })).await;
    let misspelt = refused(&misspelt);
    assert!(
        misspelt.contains("The tool takes only account, minValidity, reason"),
        "{misspelt}"
    );
    assert!(!misspelt.contains("acount"), "{misspelt}");

    let made = app.command(&[
        "key",
        "create",
        "narrow",
        "--role",
        "reader",
        "--granted-only",
        "--json",
    ]);
    let key: Value = serde_json::from_slice(&made.stdout).unwrap();
    let narrow = app.caller(key["key"].as_str());
    let told_little = agent(&app, &narrow).await;
    let nothing = call(&told_little, "list_accounts", json!({})).await;
    assert_eq!(given(&nothing)["accounts"], json!([]));
    let unknown = call(&told_little, "get_code", json!({ "account": id })).await;
    assert!(refused(&unknown).contains("account-unknown"), "{unknown:?}");
    assert!(
        app.command(&["grant", "add", "narrow", &id, "--reads", "1"])
            .status
            .success()
    );
    let once = call(&told_little, "get_code", json!({ "account": id })).await;
    assert!(given(&once)["token"].is_string());
    let twice = call(&told_little, "get_code", json!({ "account": id })).await;
    assert!(refused(&twice).contains("grant-used-up"), "{twice:?}");

    let enroller = app.new_caller("build-server", "enroller");
    let wrong_role = agent(&app, &enroller).await;
    let no = call(&wrong_role, "get_code", json!({ "account": id })).await;
    assert!(refused(&no).contains("role-missing"), "{no:?}");

    assert_eq!(app.stop().await, Some(0), "{}", app.logs());
    // What a tool did is below the message that asked for it.
    let spans = collector.spans();
    let read = spans
        .iter()
        .rev()
        .find(|span| span.name == "GET /api/accounts");
    let read = read.expect("the list was asked for");
    let message = spans
        .iter()
        .find(|span| span.span_id == read.parent_span_id);
    assert_eq!(message.expect("by a message").name, "POST /mcp");
    // The library below prints whole messages, and codes are in them.
    let logs = app.logs();
    assert!(!logs.contains(" rmcp::"), "{logs}");
}

#[tokio::test]
async fn only_known_callers_and_no_other_sites_come_in() {
    let mut app = App::start().await;
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let post = |caller: &Caller| {
        caller
            .request(Method::POST, "/mcp")
            .header("accept", "application/json, text/event-stream")
            .json(&message)
    };
    let (admin, nobody) = (app.admin(), app.caller(None));
    nobody
        .send(post(&nobody))
        .await
        .assert_problem(401, "unauthenticated");
    let stranger = app.caller(Some("cs_made-up"));
    stranger
        .send(post(&stranger))
        .await
        .assert_problem(401, "unauthenticated");
    for origin in ["https://evil.example", "null"] {
        admin
            .send(post(&admin).header("origin", origin))
            .await
            .assert_problem(403, "cross-site");
    }
    let own = post(&admin).header("origin", format!("http://{}", app.address()));
    let answer = admin.send(own).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert!(answer.body["result"]["tools"].is_array(), "{answer:?}");
    // No session is given out, so there is none to take over.
    assert!(!answer.headers.contains_key("mcp-session-id"));
    for method in [Method::GET, Method::DELETE] {
        let request = admin
            .request(method, "/mcp")
            .header("accept", "text/event-stream");
        let answer = admin.send(request).await;
        assert_eq!(answer.headers["allow"], "POST", "{answer:?}");
        answer.assert_problem(405, "method-not-allowed");
    }
    // What is no message is told so as everywhere else.
    let long = format!(
        r#"{{"jsonrpc": "2.0", "id": 1, "method": "{}"}}"#,
        "x".repeat(100_000)
    );
    let both = "application/json, text/event-stream";
    for (accept, kind, body, status, code) in [
        (both, "application/json", &*long, 413, "payload-too-large"),
        (both, "application/json", "{", 400, "invalid-json"),
        (both, "application/json", "{}", 400, "invalid-json"),
        (both, "application/json", "", 400, "invalid-json"),
        (both, "text/xml", "<a/>", 415, "unsupported-media-type"),
        ("text/html", "application/json", "{}", 406, "not-acceptable"),
    ] {
        let request = admin.request(Method::POST, "/mcp").header("accept", accept);
        let request = request.header("content-type", kind).body(body.to_owned());
        admin.send(request).await.assert_problem(status, code);
    }
    // A client that takes anything takes that kind of answer too.
    let request = admin.request(Method::POST, "/mcp").json(&message);
    let answer = admin.send(request.header("accept", "*/*")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    app.stop().await;

    // Pages of some sites may come in, with a key, if the settings say so.
    app.launch_with(&["--cors-origins", "https://app.example"])
        .await;
    let admin = app.admin();
    let invited = post(&admin).header("origin", "https://app.example");
    assert_eq!(admin.send(invited).await.status, StatusCode::OK);
    let other = post(&admin).header("origin", "https://evil.example");
    admin.send(other).await.assert_problem(403, "cross-site");
    app.stop().await;

    // Without access control a page under another name of this machine is another site.
    app.launch_with(&["--auth", "none"]).await;
    let nobody = app.caller(None);
    assert_eq!(nobody.send(post(&nobody)).await.status, StatusCode::OK);
    let rebound = post(&nobody)
        .header("host", "evil.example:7071")
        .header("origin", "http://evil.example:7071");
    nobody.send(rebound).await.assert_problem(403, "cross-site");
}

#[tokio::test]
async fn the_same_tools_are_there_on_standard_input_and_output() {
    let app = App::start().await;
    let reader = app.new_caller("desk-agent", "reader");
    let id = enrolled(&app.admin(), SEED_URI).await;
    let mut program = tokio::process::Command::new(BINARY)
        .args(["mcp", "--server", &format!("http://{}", app.address())])
        .env("COUNTERSIGN_TOKEN", reader.token().unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (output, input) = (
        program.stdout.take().unwrap(),
        program.stdin.take().unwrap(),
    );
    let told = ().serve((output, input)).await.unwrap();

    let page = call(&told, "list_accounts", json!({})).await;
    assert_eq!(given(&page)["accounts"][0]["id"], id);
    let arguments = json!({ "account": id, "reason": "nightly deploy" });
    assert!(given(&call(&told, "get_code", arguments).await)["token"].is_string());
    let lost = call(&told, "get_code", json!({ "account": "totp-nothing" })).await;
    assert!(refused(&lost).contains("account-unknown"), "{lost:?}");
    let record = app
        .admin()
        .get("/api/audit?action=read-code&caller=desk-agent")
        .await;
    assert_eq!(
        record.body["entries"][0]["reason"], "nightly deploy",
        "{record:?}"
    );

    told.cancel().await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, program.wait()).await;
    assert!(ended.expect("it ends with its input").unwrap().success());
}

/// Decides on the only request that waits for it, once it does.
async fn decide(approver: &Caller, approved: bool, comment: &str) {
    let begun = Instant::now();
    let request = loop {
        let waiting = approver.get("/api/requests?stage=AwaitingApproval").await;
        if let Some(id) = waiting.body["requests"][0]["id"].as_str() {
            break id.to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "nothing waits: {waiting:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let answer = approver
        .post(
            &format!("/api/requests/{request}/approval"),
            &json!({ "approved": approved, "comment": comment }),
        )
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
}

#[tokio::test]
async fn an_agent_gets_a_code_once_someone_agrees() {
    const TOOL: &str = "request_code_with_approval";
    let app = App::start().await;
    let admin = app.admin();
    let reader = app.new_caller("deploy-agent", "reader");
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let id = enrolled(&admin, SEED_URI).await;
    let rule = admin
        .request(Method::PATCH, &format!("/api/accounts/{id}"))
        .json(&json!({ "readApproval": true }));
    assert!(admin.send(rule).await.status.is_success());
    let told = agent(&app, &reader).await;

    let page = call(&told, "list_accounts", json!({})).await;
    assert_eq!(given(&page)["accounts"][0]["readApproval"], true);
    let alone = call(&told, "get_code", json!({ "account": id })).await;
    assert!(refused(&alone).contains(TOOL), "{alone:?}");
    let silent = call(&told, TOOL, json!({ "account": id })).await;
    assert!(refused(&silent).contains("reason"), "{silent:?}");

    // The call waits for the decision.
    let arguments = json!({ "account": id, "reason": "nightly deploy", "waitSeconds": 50 });
    let (asked, ()) = tokio::join!(
        call(&told, TOOL, arguments),
        decide(&approver, true, "go ahead"),
    );
    let granted = given(&asked);
    assert_eq!(granted["status"], "granted", "{asked:?}");
    let token = granted["code"]["token"].as_str().unwrap();
    assert_eq!(token.len(), 6, "{asked:?}");
    // It was one code.
    let again = json!({ "requestId": granted["requestId"] });
    let again = call(&told, TOOL, again).await;
    assert!(refused(&again).contains("given out already"), "{again:?}");

    // The call ends before the decision, and another one learns of it.
    let arguments = json!({ "account": id, "reason": "curious", "waitSeconds": 0 });
    let asked = call(&told, TOOL, arguments).await;
    let waiting = given(&asked);
    assert_eq!(waiting["status"], "waiting", "{asked:?}");
    assert!(waiting["code"].is_null(), "{asked:?}");
    decide(&approver, false, "not today").await;
    let later = json!({ "requestId": waiting["requestId"], "waitSeconds": 50 });
    let later = call(&told, TOOL, later).await;
    assert!(refused(&later).contains("not today"), "{later:?}");

    // Someone else's request is none of anyone's business.
    let other = app.new_caller("other-agent", "reader");
    let other = agent(&app, &other).await;
    let theirs = json!({ "requestId": waiting["requestId"] });
    let theirs = call(&other, TOOL, theirs).await;
    assert!(refused(&theirs).contains("request-unknown"), "{theirs:?}");

    let record = admin.get("/api/audit?caller=deploy-agent&limit=100").await;
    let entries = record.body["entries"].as_array().unwrap();
    let reasons = |action: &str| -> Vec<&Value> {
        let of_kind = entries.iter().filter(|entry| entry["action"] == action);
        of_kind.map(|entry| &entry["reason"]).collect()
    };
    assert_eq!(reasons("request-read"), ["nightly deploy", "curious"]);
}

#[tokio::test]
async fn a_lease_counts_codes_and_its_end_is_reported() {
    let app = App::start().await;
    let admin = app.admin();
    // A step so long that no test runs over its end.
    let slow = "otpauth://totp/octo?secret=2FASTEST&issuer=GitHub&period=86400";
    let id = enrolled(&admin, slow).await;
    let other = enrolled(
        &admin,
        "otpauth://totp/octocat?secret=2FASTEST&issuer=GitHub",
    )
    .await;
    let key = json!({ "name": "deploy-agent", "role": "reader", "grantedOnly": true });
    let key = admin.post("/api/keys", &key).await;
    let caller = app.caller(key.body["key"].as_str());
    for (account, reads) in [(&id, 2), (&other, 9)] {
        let lease = json!({ "caller": "deploy-agent", "account": account, "reads": reads });
        let granted = admin.post("/api/grants", &lease).await;
        assert_eq!(granted.status, StatusCode::CREATED, "{granted:?}");
    }
    let told = agent(&app, &caller).await;

    // By name, and with the choices where several fit.
    let several = call(&told, "get_code", json!({ "account": "github" })).await;
    let several = refused(&several);
    assert!(
        several.contains(&id) && several.contains(&other),
        "{several}"
    );
    let mut codes = Vec::new();
    for name in ["GitHub: octo", &id, "octo"] {
        let read = call(&told, "get_code", json!({ "account": name })).await;
        codes.push(given(&read)["token"].clone());
    }
    codes.dedup();
    assert_eq!(codes.len(), 1, "{codes:?}");
    let left = async || {
        let grants = admin.get("/api/grants").await.body;
        let grants = grants["grants"].as_array().unwrap().clone();
        let mine = grants
            .into_iter()
            .find(|grant| grant["account"] == json!(id));
        mine.unwrap()["readsLeft"].as_u64().unwrap()
    };
    assert_eq!(left().await, 1, "three calls in one step take one read");

    // The API itself counts each.
    let read = caller.get(&format!("/api/accounts/{id}/token")).await;
    assert_eq!(read.status, StatusCode::OK, "{read:?}");
    assert_eq!(left().await, 0);
    let over = caller.get(&format!("/api/accounts/{id}/token")).await;
    over.assert_problem(403, "grant-used-up");
    assert_eq!(over.body["grant"], "used-up", "{over:?}");
    let spent = call(&told, "get_code", json!({ "account": id })).await;
    assert!(refused(&spent).contains("used all the reads"), "{spent:?}");
    // By its name as well, which the list of accounts no longer has.
    let by_name = call(&told, "get_code", json!({ "account": "GitHub: octo" })).await;
    assert_eq!(refused(&by_name), refused(&spent));
    for (tool, arguments, words) in [
        (
            "get_code",
            json!({}),
            "The argument `account` is missing. The tool takes only account,",
        ),
        (
            "get_code",
            json!({ "account": 7 }),
            "The argument `account` has an invalid value; it must be a string.",
        ),
        (
            "get_code",
            json!({ "account": id, "minValidity": "soon" }),
            "The argument `minValidity` has an invalid value; it must be a whole number from 0 to 60",
        ),
        (
            "get_code",
            json!({ "account": id, "why": "x" }),
            "There is an unknown argument. The tool takes only account, minValidity, reason.",
        ),
        (
            "get_code",
            json!({ "account": id, "reason": "x".repeat(201) }),
            "`reason` may have at most 200 characters; it has 201.",
        ),
        (
            "request_code_with_approval",
            json!({ "account": id, "reason": "x".repeat(501) }),
            "`reason` may have at most 500 characters; it has 501.",
        ),
    ] {
        let wrong = call(&told, tool, arguments).await;
        assert!(refused(&wrong).starts_with(words), "{wrong:?}");
    }
    let misnamed = call(&told, "get_code", json!({ "account": "GitHub: octopus" })).await;
    assert!(
        refused(&misnamed).contains("There is no account"),
        "{misnamed:?}"
    );
    let nowhere = "totp-00000000-0000-4000-8000-000000000000";
    let unknown = call(&told, "get_code", json!({ "account": nowhere })).await;
    assert!(
        !refused(&unknown).contains("used all the reads"),
        "{unknown:?}"
    );
    for fault in [&spent, &unknown] {
        assert!(!refused(fault).contains("/api/"), "{fault:?}");
    }
}

#[tokio::test]
async fn a_command_that_cannot_serve_tools_fails_immediately() {
    let app = App::start().await;
    let wrong = app.command(&["mcp", "--token", "wrong"]);
    assert_eq!(wrong.status.code(), Some(6), "{wrong:?}");
    assert!(wrong.stdout.is_empty(), "{wrong:?}");
    let nobody = app.command(&["mcp", "--token", "x", "--server", "http://127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(1), "{nobody:?}");
    // A client that goes away before it asked for anything.
    let gone = app.command(&["mcp"]);
    assert_eq!(gone.status.code(), Some(0), "{gone:?}");
}
