//! Browser sessions: from which page they come and count, how long, and for whom.

use countersign::access::Role;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::server::{Server, cookie, cookies, problem};
use crate::support::SEED_URI;

const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");

fn with(request: RequestBuilder, headers: &[(&str, &str)]) -> RequestBuilder {
    let add = |request: RequestBuilder, (name, value): &(&str, &str)| request.header(*name, *value);
    headers.iter().fold(request, add)
}

async fn refused(response: Response, status: u16, code: &str) -> Value {
    assert_eq!(response.status(), status);
    let problem = problem(response).await;
    assert_eq!(problem["code"], code, "{problem}");
    problem
}

#[tokio::test]
async fn a_session_is_made_from_the_own_page_only() {
    let server = Server::start().await;
    let key = server.key("r", Role::Reader);
    let post = |path: &str| {
        let request = server.request(Method::POST, path);
        request
            .header("content-type", "application/json")
            .body("{}")
    };
    // By a key in the address, from anywhere.
    for from in [OWN, ("sec-fetch-site", "cross-site"), ("accept", "*/*")] {
        let request = with(post(&format!("/api/session?code={key}")), &[from]);
        let response = request.send().await.unwrap();
        assert!(response.status().is_client_error(), "{from:?}");
        assert!(cookies(&response).is_empty(), "{from:?}");
    }
    let origin = server.base.as_str();
    let elsewhere: [&[(&str, &str)]; 8] = [
        &[],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "cross-site"), ("origin", origin)],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        &[("referer", "http://evil.example/")],
    ];
    for headers in elsewhere {
        let request = with(post("/api/session").bearer_auth(&key), headers);
        let response = request.send().await.unwrap();
        assert!(cookies(&response).is_empty(), "{headers:?}");
        refused(response, 403, "cross-site").await;
    }
    for headers in [OWN, ("origin", origin)] {
        let request = with(post("/api/session").bearer_auth(&key), &[headers]);
        assert_eq!(request.send().await.unwrap().status(), 200, "{headers:?}");
    }
    let form = server.request(Method::POST, "/api/session");
    let form = with(form, &[OWN]).bearer_auth(&key).body("a=b");
    let form = form.header("content-type", "text/plain");
    refused(form.send().await.unwrap(), 415, "unsupported-media-type").await;
    server.stop().await;
}

#[tokio::test]
async fn a_session_is_made_under_the_servers_own_names_only() {
    let own = "https://codes.example".parse().unwrap();
    let server = Server::start_with(|config| config.public_urls = vec![own]).await;
    let link = server.request(Method::POST, "/api/login-links");
    let link = link.bearer_auth(&server.admin).send().await.unwrap();
    let link: Value = link.json().await.unwrap();
    let (_, code) = link["link"].as_str().unwrap().split_once("code=").unwrap();
    let port = server.base.rsplit(':').next().unwrap().to_owned();
    let log_in = async |host: &str, header: (&str, &str), code: Option<&str>| {
        let request = server.request(Method::POST, "/api/session");
        let request = with(request, &[("host", host), header]);
        let request = match code {
            Some(code) => request.json(&json!({ "code": code })),
            None => request.bearer_auth(&server.admin).json(&json!({})),
        };
        request.send().await.unwrap()
    };
    // A name that resolves to this server, with a page of that name.
    for host in [
        format!("evil.example:{port}"),
        "evil.example".to_owned(),
        format!("localhost.evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        format!("codes.example.evil.example:{port}"),
        format!("10.0.0.1:{port}"),
    ] {
        let origin = format!("http://{host}");
        for header in [OWN, ("origin", origin.as_str())] {
            for code in [None, Some(code)] {
                let response = log_in(&host, header, code).await;
                assert!(cookies(&response).is_empty(), "{host} {header:?}");
                let problem = refused(response, 403, "cross-site").await;
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains("--public-url"), "{detail}");
            }
        }
    }
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        "codes.example".to_owned(),
    ] {
        let response = log_in(&host, OWN, None).await;
        assert_eq!(response.status(), 200, "{host}");
        assert!(!cookies(&response).is_empty(), "{host}");
    }
    // The code was not used up by those who may not use it.
    let response = log_in(&format!("127.0.0.1:{port}"), OWN, Some(code)).await;
    assert_eq!(response.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn a_cookie_counts_only_in_requests_of_the_own_page() {
    let server = Server::start().await;
    let account = server.account().await;
    let request = server.session(&json!({})).bearer_auth(&server.admin);
    let response = request.send().await.unwrap();
    let set = cookies(&response).pop().unwrap();
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(set.contains(attribute), "{set}");
    }
    let cookie = cookie(&response);
    let origin = server.base.as_str();
    let ask = async |method: &Method, headers: &[(&str, &str)]| {
        let request = match *method {
            Method::POST => {
                let request = server.request(Method::POST, "/api/enrollments");
                request.json(&json!({"uri": SEED_URI}))
            }
            _ => {
                let path = format!("/api/accounts/{account}/token");
                server.request(method.clone(), &path)
            }
        };
        let request = with(request.header("cookie", &cookie), headers);
        request.send().await.unwrap()
    };
    let shows = ("x-countersign-caller", "admin");
    let elsewhere: [&[(&str, &str)]; 8] = [
        &[],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "same-site"), shows],
        &[("sec-fetch-site", "none")],
        &[("origin", "http://evil.example")],
        &[("origin", "http://evil.example"), shows],
        &[("referer", "http://evil.example/"), shows],
    ];
    for method in [Method::GET, Method::HEAD, Method::POST] {
        for headers in elsewhere {
            let response = ask(&method, headers).await;
            assert_eq!(response.status(), 403, "{method} {headers:?}");
        }
    }
    let told = server.told("action=read-code").await;
    assert_eq!(told, Vec::<Value>::new(), "nothing was read");
    for headers in [OWN, ("origin", origin)] {
        assert_eq!(ask(&Method::POST, &[headers]).await.status(), 202);
        assert_eq!(ask(&Method::GET, &[headers]).await.status(), 200);
    }
    // A browser that does not say where a request comes from: a header that no page elsewhere
    // can send does, for readings.
    assert_eq!(ask(&Method::GET, &[shows]).await.status(), 200);
    let response = ask(&Method::POST, &[shows]).await;
    refused(response, 403, "cross-site").await;
    server.stop().await;
}

#[tokio::test]
async fn the_page_learns_that_the_session_is_another_callers() {
    let server = Server::start().await;
    let key = server.key("enr", Role::Enroller);
    let cookie = server.log_in(&key).await;
    for (method, path) in [
        (Method::GET, "/api/session"),
        (Method::GET, "/api/enrollments"),
        (Method::POST, "/api/enrollments"),
    ] {
        let request = server.request(method, path).json(&json!({"uri": SEED_URI}));
        let request = with(request, &[OWN, ("x-countersign-caller", "admin")]);
        let response = request.header("cookie", &cookie).send().await.unwrap();
        refused(response, 409, "session-changed").await;
    }
    let own = server.request(Method::GET, "/api/enrollments");
    let own = with(own, &[OWN, ("x-countersign-caller", "enr")]);
    let own = own.header("cookie", &cookie).send().await.unwrap();
    let page: Value = own.json().await.unwrap();
    assert_eq!(page["enrollments"], json!([]), "nothing was enrolled");
    server.stop().await;
}

#[tokio::test]
async fn that_nobody_is_logged_in_is_an_answer_where_a_page_asks_for_it() {
    let server = Server::start().await;
    let admins = server.log_in(&server.admin).await;
    let ask = async |path: &str, headers: &[(&str, &str)]| {
        let request = with(server.request(Method::GET, path), headers);
        request.send().await.unwrap()
    };
    const PATH: &str = "/api/session/current";
    let junk = ("cookie", "countersign_session=junk");
    for headers in [&[OWN] as &[_], &[OWN, junk], &[]] {
        let answer = ask(PATH, headers).await;
        assert_eq!(answer.status(), StatusCode::OK, "{headers:?}");
        let removed =
            cookies(&answer).contains(&"countersign_session=; Path=/api; Max-Age=0".to_owned());
        assert_eq!(removed, headers.contains(&junk), "{headers:?}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body, json!({"session": null}), "{headers:?}");
    }
    let own = ask(PATH, &[OWN, ("cookie", &admins)]).await;
    let own: Value = own.json().await.unwrap();
    assert_eq!(own["session"]["caller"], "admin", "{own}");

    // What was presented and is wrong stays a refusal.
    let wrong = ask(PATH, &[OWN, ("authorization", "Bearer nobody's")]).await;
    refused(wrong, 401, "unauthenticated").await;
    let other = [OWN, ("cookie", &admins), ("x-countersign-caller", "enr")];
    refused(ask(PATH, &other).await, 409, "session-changed").await;
    let elsewhere = [("sec-fetch-site", "same-site"), ("cookie", admins.as_str())];
    refused(ask(PATH, &elsewhere).await, 403, "cross-site").await;
    let unknown = ask("/api/session/current?of=me", &[OWN]).await;
    refused(unknown, 400, "invalid-parameter").await;
    server.stop().await;
}

#[tokio::test]
async fn a_session_is_replaced_only_where_the_request_says_whose() {
    let server = Server::start().await;
    let key = server.key("enr", Role::Enroller);
    let admins = server.log_in(&server.admin).await;
    let log_in = async |key: &str, cookie: &str, body: Value| {
        let request = server.session(&body).bearer_auth(key);
        request.header("cookie", cookie).send().await.unwrap()
    };
    let is_good = async |cookie: &str| {
        let request = with(server.request(Method::GET, "/api/session"), &[OWN]);
        let answer = request.header("cookie", cookie).send().await.unwrap();
        answer.status() == StatusCode::OK
    };
    for body in [json!({}), json!({"replace": "enr"}), json!({"replace": ""})] {
        let response = log_in(&key, &admins, body).await;
        assert!(cookies(&response).is_empty());
        let problem = refused(response, 409, "session-of-another").await;
        assert!(problem["detail"].as_str().unwrap().contains("admin"));
    }
    assert!(is_good(&admins).await);
    let replaced = log_in(&key, &admins, json!({"replace": "admin"})).await;
    assert_eq!(replaced.status(), 200);
    let enrollers = cookie(&replaced);
    assert!(!is_good(&admins).await, "it ended with that");
    assert!(is_good(&enrollers).await);
    // The same caller again is no other; what is over is nobody's.
    let again = log_in(&key, &enrollers, json!({})).await;
    assert_eq!(again.status(), 200);
    assert_eq!(
        log_in(&server.admin, &admins, json!({})).await.status(),
        200
    );
    server.stop().await;
}

#[tokio::test]
async fn logging_out_ends_the_session_at_the_server_also_across_a_restart() {
    let server = Server::start().await;
    let (one, other) = (
        server.log_in(&server.admin).await,
        server.log_in(&server.admin).await,
    );
    let log_out = async |cookie: &str, from: (&str, &str)| {
        let request = with(server.request(Method::DELETE, "/api/session"), &[from]);
        request.header("cookie", cookie).send().await.unwrap()
    };
    let elsewhere = log_out(&one, ("sec-fetch-site", "same-site")).await;
    assert!(cookies(&elsewhere).is_empty());
    refused(elsewhere, 403, "cross-site").await;
    let done = log_out(&one, OWN).await;
    assert_eq!(done.status(), 204);
    let gone = cookies(&done);
    assert!(
        gone.iter()
            .any(|cookie| cookie.starts_with("countersign_session=; Path=/; Max-Age=0")),
        "{gone:?}"
    );
    let who = async |server: &Server, cookie: &str| {
        let request = with(server.request(Method::GET, "/api/session"), &[OWN]);
        let answer = request.header("cookie", cookie).send().await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!(who(&server, &one).await, 401);
    assert_eq!(who(&server, &other).await, 200);
    let told = server.told("action=log-out").await;
    assert_eq!(told, [json!([null, "done", null])]);
    let server = server.restart().await;
    assert_eq!(who(&server, &one).await, 401);
    assert_eq!(who(&server, &other).await, 200);
    server.stop().await;
}

#[tokio::test]
async fn two_cookies_of_the_name_are_refused_and_taken_away() {
    let server = Server::start().await;
    let account = server.account().await;
    let key = server.key("enr", Role::Enroller);
    let victims = server.log_in(&server.admin).await;
    let attackers = server.log_in(&key).await;
    let path = format!("/api/accounts/{account}/token");
    let ask = async |method: Method, path: &str, sent: &str| {
        let request = server.request(method, path).json(&json!({}));
        let request = with(request, &[OWN]).header("cookie", sent);
        request.send().await.unwrap()
    };
    let junk = "countersign_session=junk";
    let host = "__Host-countersign_session=junk";
    for beside in [attackers.as_str(), junk, host, victims.as_str()] {
        for sent in [
            format!("{beside}; {victims}"),
            format!("{victims};{beside}"),
        ] {
            let response = ask(Method::GET, &path, &sent).await;
            let gone = cookies(&response);
            // Wherever another program has put one that this request sends.
            for folder in ["/", "/api", "/api/", "/api/accounts", path.as_str()] {
                let removal = format!("countersign_session=; Path={folder}; Max-Age=0");
                assert!(gone.contains(&removal), "{folder} of {gone:?}");
            }
            refused(response, 401, "session-ambiguous").await;
        }
    }
    assert_eq!(server.told("action=read-code").await, Vec::<Value>::new());
    // A token is no cookie: what is beside it does not matter.
    let request = server
        .request(Method::GET, &path)
        .bearer_auth(&server.admin);
    let request = request.header("cookie", format!("{junk}; {victims}"));
    assert_eq!(request.send().await.unwrap().status(), 200);
    // Alone, junk is nobody, is taken away, and is not in the way of logging in.
    let alone = ask(Method::GET, "/api/session", junk).await;
    assert!(cookies(&alone).contains(&"countersign_session=; Path=/api; Max-Age=0".to_owned()));
    refused(alone, 401, "unauthenticated").await;
    let request = server.session(&json!({})).bearer_auth(&server.admin);
    let response = request.header("cookie", junk).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let gone = cookies(&response);
    assert!(gone.contains(&"countersign_session=; Path=/api; Max-Age=0".to_owned()));
    cookie(&response);
    server.stop().await;
}

#[tokio::test]
async fn a_link_logs_in_once_and_as_the_caller_who_asked_for_it() {
    let server = Server::start().await;
    let boss = server.key("boss", Role::Admin);
    let link = async |key: &str| {
        let request = server.request(Method::POST, "/api/login-links");
        let made = request.bearer_auth(key).send().await.unwrap();
        assert_eq!(made.status(), 201);
        let made: Value = made.json().await.unwrap();
        let link = made["link"].as_str().unwrap();
        link.strip_prefix("/login#code=").unwrap().to_owned()
    };
    let log_in = async |code: &str, headers: &[(&str, &str)]| {
        let request = server.session(&json!({"code": code}));
        with(request, headers).send().await.unwrap()
    };
    for (key, caller) in [(&server.admin, "admin"), (&boss, "boss")] {
        let code = link(key).await;
        assert!(code.len() >= 22 && !code.contains(key.as_str()));
        let who = log_in(&code, &[]).await;
        let cookie = cookie(&who);
        assert_eq!(who.json::<Value>().await.unwrap()["caller"], caller);
        let request = with(server.request(Method::GET, "/api/keys"), &[OWN]);
        let request = request.header("cookie", &cookie);
        assert_eq!(request.send().await.unwrap().status(), 200);
        refused(log_in(&code, &[]).await, 401, "login-code-over").await;
        // It is a code for the page, and nothing that the API takes.
        assert_eq!(server.status(Method::GET, "/api/keys", &code).await, 401);
    }
    // A refusal uses nothing up.
    let code = link(&boss).await;
    let elsewhere = server.request(Method::POST, "/api/session");
    let elsewhere = with(elsewhere, &[("sec-fetch-site", "cross-site")]);
    let elsewhere = elsewhere.json(&json!({"code": code})).send().await.unwrap();
    refused(elsewhere, 403, "cross-site").await;
    let admins = server.log_in(&server.admin).await;
    let over = log_in(&code, &[("cookie", &admins)]).await;
    refused(over, 409, "session-of-another").await;
    assert_eq!(log_in(&code, &[]).await.status(), 200);
    // A key that is revoked has no links either.
    let code = link(&boss).await;
    server.keys().revoke("boss", chrono::Utc::now()).unwrap();
    refused(log_in(&code, &[]).await, 401, "login-code-over").await;
    // Nothing of a code outlives the server.
    let code = link(&server.admin).await;
    let server = server.restart().await;
    let request = server.session(&json!({"code": code}));
    refused(request.send().await.unwrap(), 401, "login-code-over").await;
    server.stop().await;
}

#[tokio::test]
async fn every_answer_has_the_headers_that_keep_other_origins_out() {
    let server = Server::start().await;
    let paths = [
        "/",
        "/login",
        "/app.js",
        "/docs",
        "/healthz",
        "/readyz",
        "/api/session",
    ];
    for path in paths
        .into_iter()
        .chain(["/api/openapi.json", "/mcp", "/nowhere"])
    {
        for method in [Method::GET, Method::PUT] {
            let request = server.request(method.clone(), path);
            let response = request.send().await.unwrap();
            for (name, value) in [
                ("cross-origin-resource-policy", "same-origin"),
                ("cross-origin-opener-policy", "same-origin"),
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("referrer-policy", "no-referrer"),
            ] {
                let said = response.headers().get(name);
                assert_eq!(
                    said.map(|said| said.to_str().unwrap()),
                    Some(value),
                    "{name} of {method} {path}"
                );
            }
            for name in ["permissions-policy", "content-security-policy"] {
                assert!(response.headers().contains_key(name), "{name} of {path}");
            }
        }
    }
    server.stop().await;
}
