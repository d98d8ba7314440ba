//! The task hub and its dashboard authenticate every call.

use std::time::{Duration, SystemTime};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::separate_processes::SeparateProcesses;
use crate::support::{App, PATIENCE, SEED_URI};

const PROTOCOL: &str = include_str!("../../durabletask/proto/proto/orchestrator_service.proto");
/// What gRPC calls UNAUTHENTICATED.
const UNAUTHENTICATED: &str = "16";

/// The path of every method of the protocol, and of some that are none.
fn methods() -> Vec<String> {
    let service = PROTOCOL
        .split_once("service TaskHubSidecarService {")
        .unwrap()
        .1;
    let service = service.split_once("\n}").unwrap().0;
    let names = service
        .lines()
        .filter_map(|line| line.trim().strip_prefix("rpc "))
        .map(|rpc| rpc.split('(').next().unwrap().trim());
    let mut paths: Vec<String> = names
        .map(|name| format!("/TaskHubSidecarService/{name}"))
        .collect();
    for known in ["Hello", "StartInstance", "GetWorkItems", "DeleteTaskHub"] {
        assert!(paths.contains(&format!("/TaskHubSidecarService/{known}")));
    }
    assert!(paths.len() > 25, "{paths:?}");
    paths.push("/TaskHubSidecarService/NoSuchMethod".to_owned());
    paths.push("/grpc.health.v1.Health/Check".to_owned());
    paths.push("/".to_owned());
    paths
}

/// One gRPC call with an empty message: its status, and what it says.
async fn call(endpoint: &str, path: &str, authorization: Option<&str>) -> (String, String) {
    let address = endpoint.trim_start_matches("http://");
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut send, connection) = http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut request = hyper::Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    // An empty message that is not compressed.
    let body = http_body_util::Full::new(bytes::Bytes::from_static(&[0; 5]));
    let answer = send.send_request(request.body(body).unwrap());
    let answer = tokio::time::timeout(PATIENCE, answer)
        .await
        .unwrap()
        .unwrap();
    connection.abort();
    let said = |name: &str| {
        let value = answer.headers().get(name);
        value.map_or_else(String::new, |v| v.to_str().unwrap().to_owned())
    };
    (said("grpc-status"), said("grpc-message"))
}

#[tokio::test]
async fn no_call_of_the_protocol_is_answered_without_the_hubs_token() {
    let app = App::start().await;
    let endpoint = app.hub_endpoint();
    let token = app.hub_token();
    let presented = [
        None,
        Some(format!("Bearer {}x", token)),
        Some(format!("Bearer {}", &token[..token.len() - 1])),
        Some("Bearer ".to_owned()),
        Some(token.clone()),
        // What opens the front door opens nothing here.
        Some(format!("Bearer {}", app.admin_token())),
    ];
    for path in methods() {
        for authorization in &presented {
            let (status, said) = call(&endpoint, &path, authorization.as_deref()).await;
            assert_eq!(status, UNAUTHENTICATED, "{path} with {authorization:?}");
            assert!(said.contains("hub-token"), "{path}: {said}");
            assert!(!said.contains(&token), "{path}: {said}");
        }
    }
    let bearer = format!("Bearer {token}");
    let (status, _) = call(&endpoint, "/TaskHubSidecarService/Hello", Some(&bearer)).await;
    assert_ne!(status, UNAUTHENTICATED);
    // Nothing was lost to those who tried.
    let admin = app.admin();
    let id = admin.enroll(SEED_URI, false).await;
    assert_eq!(admin.ended(&id).await.body["stage"], "Enrolled");
}

#[tokio::test]
async fn a_stranger_starts_ends_and_takes_nothing_and_a_client_learns_what_to_present() {
    let app = App::start().await;
    let stranger = durabletask::Connection::insecure(&app.hub_endpoint(), "default").unwrap();
    let stranger = durabletask::Client::new(&stranger).unwrap();
    let refused = stranger.hello().await.unwrap_err();
    assert!(
        refused.to_string().contains("Authentication=Token"),
        "{refused}"
    );
    app.task_hub().hello().await.unwrap();
    let token = std::fs::metadata(app.data_dir().join("hub-token")).unwrap();
    let mode = std::os::unix::fs::MetadataExt::mode(&token);
    assert_eq!(mode & 0o777, 0o600);
    // The error names the token's file, never the token.
    app.until_logged("hub-token").await;
    assert!(!app.logs().contains(&app.hub_token()));
}

/// Every kind of page and call of the dashboard.
const ROUTES: [(&str, &str); 16] = [
    ("GET", "/"),
    ("GET", "/app.js"),
    ("GET", "/style.css"),
    ("GET", "/nothing"),
    ("GET", "/metrics"),
    (
        "GET",
        "/subscriptions/s/schedulers/s/taskhubs/default/orchestrations",
    ),
    ("GET", "/api/hubs"),
    ("GET", "/api/hubs/default/instances"),
    ("GET", "/api/hubs/default/instances/x"),
    ("GET", "/api/hubs/default/instances/x/history"),
    ("GET", "/api/hubs/default/workers"),
    ("GET", "/api/hubs/default/entities"),
    ("GET", "/api/changes"),
    ("GET", "/api/nothing"),
    ("POST", "/api/hubs/default/instances/x/terminate"),
    ("POST", "/api/hubs/default/instances/x/raise-event"),
];

struct Browser(reqwest::Client);

impl Browser {
    fn new() -> Self {
        let http = reqwest::Client::builder().timeout(PATIENCE);
        Self(
            http.redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
        )
    }

    async fn ask(&self, method: &str, url: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.0.request(method.clone(), url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if method == Method::POST {
            request = request.json(&json!({}));
        }
        request.send().await.unwrap()
    }
}

/// As a server's own page asks it.
const OWN_PAGE: (&str, &str) = ("sec-fetch-site", "same-origin");

/// The cookie that an answer sets, as it is sent back.
fn cookie(answer: &reqwest::Response) -> String {
    let set = answer.headers()["set-cookie"].to_str().unwrap();
    for rule in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(set.contains(rule), "{set}");
    }
    set.split(';').next().unwrap().to_owned()
}

async fn ticket(app: &App, query: &str) -> String {
    let path = format!("/api/dashboard/tickets{query}");
    let made = app.admin().post(&path, &json!({})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    assert!(made.body["expiresAt"].is_string(), "{made:?}");
    made.body["url"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_dashboard_shows_and_does_nothing_for_those_it_does_not_know() {
    let app = App::start().await;
    let browser = Browser::new();
    let admin = format!("Bearer {}", app.admin_token());
    let bearer = format!("Bearer {}", app.hub_token());
    let invented = "durabletask_dashboard=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for (method, path) in ROUTES {
        let url = format!("{}{path}", app.dashboard());
        for headers in [
            &[][..],
            &[("authorization", "Bearer wrong")],
            &[("authorization", admin.as_str())],
            &[("cookie", invented)],
        ] {
            let refused = browser.ask(method, &url, headers).await;
            assert_eq!(refused.status(), 401, "{method} {path} {headers:?}");
            let said = refused.text().await.unwrap();
            assert!(said.contains("hub-token"), "{path}: {said}");
        }
        let known = browser
            .ask(method, &url, &[("authorization", &bearer)])
            .await;
        assert_ne!(known.status(), 401, "{method} {path}");
    }
    let page = browser
        .ask(
            "GET",
            &format!("{}/", app.dashboard()),
            &[("accept", "text/html")],
        )
        .await;
    assert_eq!(page.status(), 401);
    let challenge = page.headers()["www-authenticate"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(!challenge.contains("Basic"), "no prompt: {challenge}");
    assert!(page.text().await.unwrap().contains("countersign dashboard"));
    // Alive is for anyone, under a name of its own only.
    let health = format!("{}/healthz", app.dashboard());
    assert_eq!(browser.ask("GET", &health, &[]).await.status(), 200);
    let foreign = [("host", "evil.example"), ("authorization", bearer.as_str())];
    for path in ["/healthz", "/metrics", "/api/hubs", "/login?ticket=x"] {
        let url = format!("{}{path}", app.dashboard());
        assert_eq!(
            browser.ask("GET", &url, &foreign).await.status(),
            403,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_ticket_of_the_front_door_logs_a_browser_in_once() {
    let app = App::start().await;
    let browser = Browser::new();
    let hubs = format!("{}/api/hubs", app.dashboard());
    let url = ticket(&app, "?instance=totp-1").await;
    assert!(
        url.starts_with(&format!("{}/login?ticket=", app.dashboard())),
        "{url}"
    );
    assert!(!url.contains(&app.hub_token()));

    // Nobody follows it here.
    browser.ask("HEAD", &url, &[]).await;
    browser
        .ask("GET", &url, &[("sec-purpose", "prefetch")])
        .await;
    let entered = browser.ask("GET", &url, &[]).await;
    assert_eq!(entered.status(), 200);
    let session = cookie(&entered);
    let page = entered.text().await.unwrap();
    assert!(page.contains("/#/hubs/default/instances/totp-1"), "{page}");
    let with = |cookie: &str, more: &[(&'static str, &'static str)]| {
        let mut headers = vec![("cookie", cookie.to_owned())];
        headers.extend(
            more.iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        headers
    };
    let ask = async |method: &str, url: &str, headers: Vec<(&'static str, String)>| {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        browser.ask(method, url, &headers).await.status().as_u16()
    };
    assert_eq!(ask("GET", &hubs, with(&session, &[])).await, 200);
    assert_eq!(
        ask(
            "GET",
            &hubs,
            with(&session, &[("sec-fetch-site", "same-origin")])
        )
        .await,
        200
    );
    // The browser of another port's page sends the cookie too.
    for site in ["same-site", "cross-site"] {
        assert_eq!(
            ask("GET", &hubs, with(&session, &[("sec-fetch-site", site)])).await,
            401
        );
    }
    // Two of the name, one of which was put there by someone else.
    let twice = format!("{session}; durabletask_dashboard=x");
    assert_eq!(ask("GET", &hubs, with(&twice, &[])).await, 401);

    let again = browser.ask("GET", &url, &[]).await;
    assert_eq!(again.status(), 401);
    assert!(again.headers().get("set-cookie").is_none());
    assert!(again.text().await.unwrap().contains("used already"));

    // It leaves an entry of who asked.
    let entries = app.admin().get("/api/audit?action=open-dashboard").await;
    assert_eq!(entries.body["entries"][0]["caller"], "admin", "{entries:?}");
    assert_eq!(
        entries.body["entries"][0]["subject"], "totp-1",
        "{entries:?}"
    );

    let out = format!("{}/logout", app.dashboard());
    assert_eq!(ask("POST", &out, with(&session, &[])).await, 204);
    assert_eq!(ask("GET", &hubs, with(&session, &[])).await, 401);
}

#[tokio::test]
async fn tickets_that_are_late_forged_or_of_before_a_restart_open_nothing() {
    let mut app = App::start().await;
    let browser = Browser::new();
    let token = app.hub_token();
    let made = |token: &str, seconds_ago: u64| {
        let then = SystemTime::now() - Duration::from_secs(seconds_ago);
        durabletask_scheduler::login_path(token, then, "/").unwrap()
    };
    let open = async |base: &str, path: &str| {
        let answer = browser.ask("GET", &format!("{base}{path}"), &[]).await;
        assert_eq!(
            answer.headers().contains_key("set-cookie"),
            answer.status() == 200
        );
        answer.status().as_u16()
    };
    let dashboard = app.dashboard().to_owned();
    assert_eq!(open(&dashboard, &made(&token, 61)).await, 401);
    assert_eq!(open(&dashboard, &made(&format!("{token}x"), 0)).await, 401);
    assert_eq!(open(&dashboard, &made(&app.admin_token(), 0)).await, 401);
    assert_eq!(open(&dashboard, "/login").await, 401);
    assert_eq!(open(&dashboard, "/login?ticket=&to=").await, 401);
    // Where it leads is on this dashboard.
    let elsewhere = made(&token, 0).replace("to=%2F", "to=%2F%2Fevil.example%22%3E");
    let answer = browser
        .ask("GET", &format!("{dashboard}{elsewhere}"), &[])
        .await;
    let page = answer.text().await.unwrap();
    assert!(!page.contains("evil"), "{page}");

    let used = made(&token, 0);
    assert_eq!(open(&dashboard, &used).await, 200);
    app.kill();
    app.launch().await;
    assert_eq!(open(app.dashboard(), &used).await, 401);
    assert_eq!(open(app.dashboard(), &made(&token, 0)).await, 200);
}

#[tokio::test]
async fn the_cookies_of_front_door_and_dashboard_are_refused_at_the_other() {
    let app = App::start().await;
    let browser = Browser::new();
    let front = format!("http://{}", app.address());
    let bearer = format!("Bearer {}", app.admin_token());
    let entered = browser
        .ask(
            "POST",
            &format!("{front}/api/session"),
            &[("authorization", &bearer), OWN_PAGE],
        )
        .await;
    // Others take away what could be sent beside it.
    let ours = entered.headers().get_all("set-cookie").iter();
    let mut ours = ours.map(|set| set.to_str().unwrap());
    let ours = ours.rfind(|set| set.contains("Max-Age=43200"));
    let ours = ours.unwrap().split(';').next().unwrap().to_owned();
    let theirs = cookie(&browser.ask("GET", &ticket(&app, "").await, &[]).await);
    let renamed = |cookie: &str, like: &str| {
        let (name, _) = like.split_once('=').unwrap();
        format!("{name}={}", cookie.split_once('=').unwrap().1)
    };
    let asks = async |url: String, cookie: &str| {
        let with = [("cookie", cookie), OWN_PAGE];
        let answer = browser.ask("GET", &url, &with).await;
        answer.status().as_u16()
    };
    let (system, hubs) = (
        format!("{front}/api/system"),
        format!("{}/api/hubs", app.dashboard()),
    );
    assert_eq!(asks(system.clone(), &ours).await, 200);
    assert_eq!(asks(hubs.clone(), &theirs).await, 200);
    for theirs in [&theirs, &renamed(&theirs, &ours)] {
        assert_eq!(asks(system.clone(), theirs).await, 401);
    }
    for ours in [&ours, &renamed(&ours, &theirs)] {
        assert_eq!(asks(hubs.clone(), ours).await, 401);
    }
}

#[tokio::test]
async fn a_token_that_is_replaced_is_in_use_at_once_everywhere() {
    let app = App::start().await;
    let session = {
        let browser = Browser::new();
        cookie(&browser.ask("GET", &ticket(&app, "").await, &[]).await)
    };
    let old = format!("Bearer {}", app.hub_token());
    let new = format!("cs_hub_{}", "n".repeat(43));
    let file = app.data_dir().join("hub-token");
    let next = app.data_dir().join("next");
    std::fs::write(&next, format!("{new}\n")).unwrap();
    std::fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::rename(&next, &file).unwrap();

    // Front door and worker continue, without a restart.
    let admin = app.admin();
    let id = admin.enroll(SEED_URI, false).await;
    assert_eq!(admin.ended(&id).await.body["stage"], "Enrolled");
    let hello = "/TaskHubSidecarService/Hello";
    let begun = std::time::Instant::now();
    while call(&app.hub_endpoint(), hello, Some(&old)).await.0 != UNAUTHENTICATED {
        assert!(begun.elapsed() < PATIENCE, "the old token is forgotten");
    }
    // And a session goes with the token that it came from.
    let hubs = format!("{}/api/hubs", app.dashboard());
    let answer = Browser::new()
        .ask("GET", &hubs, &[("cookie", &session)])
        .await;
    assert_eq!(answer.status(), 401);
}

#[tokio::test]
async fn the_command_prints_a_link_that_opens_the_dashboard() {
    let app = App::start().await;
    let id = app.admin().enroll(SEED_URI, false).await;
    let output = app.command(&["dashboard", &id, "--json"]);
    assert!(output.status.success(), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let answer = Browser::new()
        .ask("GET", said["url"].as_str().unwrap(), &[])
        .await;
    assert_eq!(answer.status(), 200);
    let page = answer.text().await.unwrap();
    let place = format!("/#/hubs/default/instances/{id}");
    assert!(page.contains(&place), "{page}");
}

#[tokio::test]
async fn three_processes_on_one_folder_find_the_token_and_the_dashboard() {
    let apart = SeparateProcesses::start_with("127.0.0.1:0", &[]).await;
    let enroll = apart.request(Method::POST, "/api/enrollments");
    let started = enroll
        .json(&json!({ "uri": SEED_URI }))
        .send()
        .await
        .unwrap();
    let started: Value = started.json().await.unwrap();
    let path = format!("/api/enrollments/{}", started["id"].as_str().unwrap());
    let begun = std::time::Instant::now();
    let mut stage = String::from("Pending");
    while stage != "Enrolled" {
        assert!(begun.elapsed() < PATIENCE, "it is {stage}");
        let asked = format!("{path}?wait=10&since={stage}");
        let seen = apart.request(Method::GET, &asked).send().await.unwrap();
        let seen: Value = seen.json().await.unwrap();
        stage = seen["stage"].as_str().unwrap().to_owned();
    }
    // What the scheduler says of itself is what others connect with.
    let said = apart.scheduler_said()["connectionString"].as_str().unwrap();
    let file = apart.data_dir().join("hub-token");
    let file = file.to_str().unwrap();
    assert!(
        said.ends_with(&format!("Authentication=Token;TokenFile={file}")),
        "{said}"
    );
    let connection = durabletask::Connection::parse(said).unwrap();
    durabletask::Client::new(&connection)
        .unwrap()
        .hello()
        .await
        .unwrap();
    let stranger = durabletask::Connection::insecure(connection.endpoint(), "default").unwrap();
    let stranger = durabletask::Client::new(&stranger).unwrap();
    assert!(stranger.hello().await.is_err());

    // The front door makes tickets for the other process's dashboard.
    let made = apart
        .request(Method::POST, "/api/dashboard/tickets")
        .send()
        .await
        .unwrap();
    let made: Value = made.json().await.unwrap();
    let url = made["url"].as_str().unwrap();
    assert!(url.starts_with(apart.dashboard()), "{url}");
    let browser = Browser::new();
    let session = cookie(&browser.ask("GET", url, &[]).await);
    let hubs = format!("{}/api/hubs", apart.dashboard());
    assert_eq!(browser.ask("GET", &hubs, &[]).await.status(), 401);
    let known = browser.ask("GET", &hubs, &[("cookie", &session)]).await;
    assert_eq!(known.status(), 200);
    apart.stop().await;
}

#[tokio::test]
async fn without_a_dashboard_there_is_no_link_to_one() {
    let apart = SeparateProcesses::start(&[]).await;
    let none = apart
        .request(Method::POST, "/api/dashboard/tickets")
        .send()
        .await
        .unwrap();
    assert_eq!(none.status(), 404);
    let said: Value = none.json().await.unwrap();
    assert_eq!(said["code"], "no-dashboard", "{said}");
    let system = apart
        .request(Method::GET, "/api/system")
        .send()
        .await
        .unwrap();
    let system: Value = system.json().await.unwrap();
    assert_eq!(system["dashboardTickets"], false, "{system}");
    apart.stop().await;
}

#[tokio::test]
async fn no_setting_allows_unsigned_decisions() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    std::fs::write(&file, "dashboard-approvals = false\n").unwrap();
    let file = file.to_str().unwrap();
    let variable = ("COUNTERSIGN_DASHBOARD_APPROVALS", "false");
    for (arguments, variable) in [
        (&["--dashboard-approvals"][..], None),
        (&["--dashboard-approvals=false"], None),
        (&["--config", file], None),
        (&[], Some(variable)),
    ] {
        let mut command = std::process::Command::new(crate::support::BINARY);
        command
            .arg("serve")
            .args(arguments)
            .arg("--data-dir")
            .arg(folder.path());
        command.envs(variable);
        let refused = command.output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{arguments:?} {refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(
            said.contains("was removed: decisions must be signed"),
            "{said}"
        );
    }
}
