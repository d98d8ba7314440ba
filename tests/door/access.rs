//! Access control, tested over HTTP against a whole running server.

use countersign::access::Role;
use countersign::config::AuthMode;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::server::{NOWHERE, Server, problem};
use crate::support::SEED_URI;

#[tokio::test]
async fn each_role_does_its_own_and_nothing_else() {
    use Role::{Approver, Enroller, Reader};
    let server = Server::start().await;
    let keys = [
        (Enroller, server.key("e", Enroller)),
        (Approver, server.key("a", Approver)),
        (Reader, server.key("r", Reader)),
        (Role::Admin, server.key("boss", Role::Admin)),
    ];
    let enrollment = format!("/api/enrollments/{NOWHERE}");
    let approval = format!("{enrollment}/approval");
    let token = format!("/api/accounts/{NOWHERE}/token");
    let table: [(Method, &str, &[Role]); 16] = [
        (Method::POST, "/api/enrollments", &[Enroller]),
        (Method::POST, "/api/accounts", &[Enroller]),
        (Method::GET, "/api/enrollments", &[Enroller, Approver]),
        (Method::GET, &enrollment, &[Enroller, Approver]),
        (Method::DELETE, &enrollment, &[Enroller]),
        (Method::POST, &approval, &[Approver]),
        (Method::GET, "/api/accounts", &[Reader]),
        (Method::GET, &token, &[Reader]),
        (Method::GET, "/api/audit", &[]),
        (Method::GET, "/api/keys", &[]),
        (Method::POST, "/api/keys", &[]),
        (Method::DELETE, "/api/keys/nobody", &[]),
        (Method::GET, "/api/grants", &[]),
        (Method::POST, "/api/grants", &[]),
        (Method::DELETE, "/api/grants?account=x&caller=y", &[]),
        (Method::GET, "/api/system", &[]),
    ];
    for (method, path, roles) in table {
        let nobody = server.request(method.clone(), path).send().await.unwrap();
        assert_eq!(nobody.status(), 401, "{method} {path}");
        assert!(
            nobody.headers()["www-authenticate"]
                .to_str()
                .unwrap()
                .starts_with("Bearer")
        );
        assert_eq!(problem(nobody).await["code"], "unauthenticated");
        for (role, key) in &keys {
            let allowed = *role == Role::Admin || roles.contains(role);
            let status = server.status(method.clone(), path, key).await;
            assert_eq!(status != 403, allowed, "{role} {method} {path}: {status}");
            assert!(
                !status.is_server_error(),
                "{role} {method} {path}: {status}"
            );
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_key_is_accepted_in_every_usual_place_until_it_is_revoked() {
    let server = Server::start().await;
    let key = server.key("r", Role::Reader);
    let by_header = server
        .request(Method::GET, "/api/accounts")
        .header("x-functions-key", &key);
    assert_eq!(by_header.send().await.unwrap().status(), 200);
    let by_query = format!("/api/accounts?code={key}");
    let query = server.request(Method::GET, &by_query).send().await.unwrap();
    assert_eq!(query.status(), 200);

    let cookie = server.log_in(&key).await;
    let with_cookie = || {
        server
            .request(Method::GET, "/api/accounts")
            .header("sec-fetch-site", "same-origin")
            .header("cookie", &cookie)
    };
    assert_eq!(with_cookie().send().await.unwrap().status(), 200);

    server.keys().revoke("r", chrono::Utc::now()).unwrap();
    let query = server.request(Method::GET, &by_query).send().await.unwrap();
    assert_eq!(query.status(), 401);
    assert_eq!(with_cookie().send().await.unwrap().status(), 401);
    server.stop().await;
}

#[tokio::test]
async fn a_cookie_is_valid_only_under_the_servers_names() {
    let server = Server::start_with(|config| {
        config.public_urls = vec!["https://codes.example".parse().unwrap()];
    })
    .await;
    let cookie = server.log_in(&server.admin).await;
    let port = server.base.rsplit(':').next().unwrap();
    let ask = async |host: &str, with: (&str, &str)| {
        let request = server
            .request(Method::POST, "/api/enrollments")
            .header("host", host)
            .header("origin", format!("http://{host}"))
            .header("sec-fetch-site", "same-origin")
            .header(with.0, with.1)
            .json(&json!({"uri": SEED_URI}));
        request.send().await.unwrap().status().as_u16()
    };
    for own in ["localhost", "127.0.0.1", "[::1]"] {
        let host = format!("{own}:{port}");
        assert_eq!(ask(&host, ("cookie", &cookie)).await, 202, "{host}");
    }
    assert_eq!(ask("codes.example", ("cookie", &cookie)).await, 202);
    let evil = format!("evil.example:{port}");
    for host in [
        evil.as_str(),
        "localhost.evil.example",
        "10.0.0.1",
        "codes.example.evil",
    ] {
        assert_eq!(ask(host, ("cookie", &cookie)).await, 403, "{host}");
    }
    // No page can make a browser send a key.
    let key = format!("Bearer {}", server.admin);
    assert_eq!(ask(&evil, ("authorization", &key)).await, 202);
    server.stop().await;
}

#[tokio::test]
async fn without_access_control_other_sites_are_kept_out_still() {
    let server = Server::start_with(|config| config.auth = AuthMode::None).await;
    let get = |name: &str, value: &str| {
        server
            .request(Method::GET, "/api/accounts")
            .header(name, value)
            .send()
    };
    let plain = server.request(Method::GET, "/api/accounts").send();
    assert_eq!(plain.await.unwrap().status(), 200);
    assert_eq!(
        get("sec-fetch-site", "cross-site").await.unwrap().status(),
        403
    );
    assert_eq!(get("host", "rebound.example").await.unwrap().status(), 403);
    server.stop().await;
}

#[tokio::test]
async fn an_enroller_sees_its_own_enrollments_only() {
    let server = Server::start().await;
    let (one, two) = (
        server.key("one", Role::Enroller),
        server.key("two", Role::Enroller),
    );
    let started: Value = server
        .request(Method::POST, "/api/enrollments")
        .bearer_auth(&one)
        .json(&json!({"uri": SEED_URI}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let path = started["statusQueryGetUri"].as_str().unwrap();
    // Each wait ends with the next stage.
    let mut status = StatusCode::ACCEPTED;
    while status == StatusCode::ACCEPTED {
        let waited = format!("{path}?wait=60");
        status = server.status(Method::GET, &waited, &one).await;
    }
    assert_eq!(status, 200);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(server.status(method, path, &two).await, 404);
    }
    for (key, count) in [(&one, 1), (&two, 0), (&server.admin, 1)] {
        let list: Value = server
            .request(Method::GET, "/api/enrollments")
            .bearer_auth(key)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(list["enrollments"].as_array().unwrap().len(), count);
    }
    server.stop().await;
}

#[tokio::test]
async fn an_administrator_makes_and_revokes_keys_over_http() {
    let server = Server::start().await;
    let make = async |body: Value| {
        let request = server.request(Method::POST, "/api/keys").json(&body);
        request.bearer_auth(&server.admin).send().await.unwrap()
    };
    let soon = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    let made = make(json!({
        "name": "bot", "role": "reader", "groups": ["Team Ops"], "grantedOnly": true,
        "expiresAt": soon.to_rfc3339(),
    }));
    let made = made.await;
    assert_eq!(made.status(), 201);
    assert_eq!(made.headers()["location"], "/api/keys/bot");
    assert_eq!(made.headers()["cache-control"], "no-store");
    let made: Value = made.json().await.unwrap();
    let key = made["key"].as_str().expect("the key is shown once");
    assert_eq!(made["groups"], json!(["Team Ops"]));
    assert!(made["expiresAt"].is_string(), "{made}");
    assert_eq!(server.status(Method::GET, "/api/accounts", key).await, 200);

    let list = server
        .request(Method::GET, "/api/keys")
        .bearer_auth(&server.admin);
    let list = list.send().await.unwrap().text().await.unwrap();
    let proof = key.rsplit('_').next().unwrap();
    assert!(list.contains("\"bot\"") && !list.contains(proof), "{list}");

    let past = "2020-01-01T00:00:00Z";
    let groups: Vec<String> = (0..33).map(|n| n.to_string()).collect();
    for (body, status, code) in [
        (
            json!({"name": "bot", "role": "admin"}),
            409,
            "key-name-taken",
        ),
        (
            json!({"name": "a b", "role": "admin"}),
            400,
            "invalid-parameter",
        ),
        (
            json!({"name": "admin", "role": "admin"}),
            400,
            "invalid-parameter",
        ),
        (json!({"name": "x", "role": "owner"}), 400, "invalid-json"),
        (
            json!({"name": "x", "role": "admin", "groups": [" "]}),
            400,
            "invalid-json",
        ),
        (
            json!({"name": "x", "role": "admin", "groups": groups}),
            400,
            "invalid-parameter",
        ),
        (
            json!({"name": "x", "role": "admin", "grantedOnly": true}),
            400,
            "invalid-parameter",
        ),
        (
            json!({"name": "x", "role": "admin", "expiresAt": past}),
            400,
            "invalid-parameter",
        ),
    ] {
        let refused = make(body.clone()).await;
        assert_eq!(refused.status(), status, "{body}");
        assert_eq!(problem(refused).await["code"], code, "{body}");
    }

    let revoke = async |name: &str| {
        let path = format!("/api/keys/{name}");
        server.status(Method::DELETE, &path, &server.admin).await
    };
    assert_eq!(revoke("nobody").await, 404);
    assert_eq!(revoke("bot").await, 200);
    assert_eq!(server.status(Method::GET, "/api/accounts", key).await, 401);
    let told = server.told("action=create-key").await;
    assert_eq!(told[0], json!(["bot", "done", null]));
    assert_eq!(told[1], json!([null, "refused", null]));
    let told = server.told("action=revoke-key").await;
    assert_eq!(told[1], json!(["bot", "done", null]));
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_a_problem_and_never_a_crash() {
    let server = Server::start().await;
    let send = |request: RequestBuilder| request.bearer_auth(&server.admin).send();
    let post = || server.request(Method::POST, "/api/enrollments");
    let json = "application/json";
    let big = vec![b'x'; 11 * 1024 * 1024];
    let table: Vec<(RequestBuilder, u16, &str)> = vec![
        (server.request(Method::GET, "/nowhere"), 404, "no-such-path"),
        (
            server.request(Method::PUT, "/api/tokens"),
            405,
            "method-not-allowed",
        ),
        (post(), 400, "empty-body"),
        (
            post().header("content-type", json).body("{"),
            400,
            "invalid-json",
        ),
        (
            post().header("content-type", json).body("{}"),
            400,
            "invalid-json",
        ),
        (
            post().header("content-type", "text/csv").body("a"),
            415,
            "unsupported-media-type",
        ),
        (
            post()
                .header("content-type", "image/png")
                .body("%PDF-1.7 x"),
            415,
            "unsupported-media-type",
        ),
        (
            post().header("content-type", "image/png").body(big),
            413,
            "payload-too-large",
        ),
        (
            post().json(&json!({"uri": "https://example.com"})),
            422,
            "not-otpauth",
        ),
        (
            server.request(Method::GET, "/api/enrollments/x"),
            404,
            "enrollment-unknown",
        ),
        (
            server.request(Method::GET, "/api/enrollments?stage=x"),
            400,
            "invalid-parameter",
        ),
        (
            server.request(Method::GET, "/api/enrollments?cursor=x"),
            400,
            "invalid-parameter",
        ),
        (
            server.request(Method::GET, "/api/tokens"),
            400,
            "invalid-parameter",
        ),
        (
            server.request(Method::GET, "/api/tokens?id=x"),
            404,
            "account-unknown",
        ),
    ];
    for (request, status, code) in table {
        let response = send(request).await.unwrap();
        let url = response.url().clone();
        assert_eq!(response.status(), status, "{url} {code}");
        let request_id = response.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let problem = problem(response).await;
        assert_eq!(problem["code"], code, "{url}");
        assert_eq!(problem["type"], format!("urn:countersign:problem:{code}"));
        assert_eq!(
            problem["instance"],
            format!("urn:countersign:request:{request_id}")
        );
        assert_eq!(
            problem["error"].is_string(),
            url.path() == "/api/tokens",
            "{url}"
        );
    }
    server.stop().await;
}
