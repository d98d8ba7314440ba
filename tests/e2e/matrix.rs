//! Who gets what: every operation of the API by every kind of caller, from one table.

use std::collections::BTreeSet;

use chrono::{TimeDelta, Utc};
use countersign::access::{KeyStore, NewKey, Role};
use durabletask::client::Payloads;
use jsonwebtoken::Algorithm;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::issuer::{AUDIENCE, Issuer, SigningKey};
use crate::support::response_schema::DESCRIPTION;
use crate::support::{App, Caller, PATIENCE, SEED_URI};

/// One operation: its name in the description, the path and body to send, and the status
/// that each known caller gets.
///
/// `{account}`, `{enrollment}` and `{request}` are new ones for each caller, of an enrolled
/// account, by the enroller and by the reader; `{pending}` is a new account of the
/// enroller's that waits to be proved, `{kept}` an account for all of them,
/// `{deleted}` a new one that is deleted, `{import}` one of the enroller's that has ended,
/// and `{key}` the name of a new key.
struct Row {
    operation: &'static str,
    path: &'static str,
    body: Option<&'static str>,
    statuses: [u16; 5],
}

/// The callers of the columns. The stranger is an enroller for what enrollers do, and
/// otherwise a reader of granted accounts that was granted none.
const COLUMNS: [&str; 5] = ["enroller", "approver", "reader", "admin", "stranger"];

const fn row(operation: &'static str, path: &'static str, statuses: [u16; 5]) -> Row {
    Row {
        operation,
        path,
        body: None,
        statuses,
    }
}

const fn send(
    operation: &'static str,
    path: &'static str,
    body: &'static str,
    statuses: [u16; 5],
) -> Row {
    Row {
        operation,
        path,
        body: Some(body),
        statuses,
    }
}

const URI: &str = r#"{"uri": "otpauth://totp/Test%20Token?secret=2FASTEST&issuer=2FAS"}"#;
const APPROVE: &str = r#"{"approved": true}"#;
const WRONG_CODE: &str = r#"{"code": "none"}"#;

#[rustfmt::skip]
const TABLE: &[Row] = &[
    // enroller, approver, reader, admin, stranger
    row("GET /healthz", "/healthz",                                       [200, 200, 200, 200, 200]),
    row("GET /readyz", "/readyz",                                         [200, 200, 200, 200, 200]),
    row("GET /api/openapi.json", "/api/openapi.json",                     [200, 200, 200, 200, 200]),
    row("GET /api/openapi-3.0.json", "/api/openapi-3.0.json",             [200, 200, 200, 200, 200]),
    row("GET /v1/sys/health", "/v1/sys/health",                           [200, 200, 200, 200, 200]),
    row("GET /v1/sys/seal-status", "/v1/sys/seal-status",                 [200, 200, 200, 200, 200]),
    row("GET /v1/sys/init", "/v1/sys/init",                               [200, 200, 200, 200, 200]),
    row("GET /v1/sys/leader", "/v1/sys/leader",                           [200, 200, 200, 200, 200]),
    row("GET /api/session", "/api/session",                               [200, 200, 200, 200, 200]),
    row("GET /api/session/current", "/api/session/current",               [200, 200, 200, 200, 200]),
    send("POST /api/session", "/api/session", "{}",                       [200, 200, 200, 200, 200]),
    row("POST /api/login-links", "/api/login-links",                      [403, 403, 403, 201, 403]),
    row("DELETE /api/session", "/api/session",                            [204, 204, 204, 204, 204]),

    row("GET /api/enrollments", "/api/enrollments",                       [200, 200, 403, 200, 200]),
    send("POST /api/enrollments", "/api/enrollments", URI,                [202, 403, 403, 202, 202]),
    row("GET /api/enrollments/{id}", "/api/enrollments/{enrollment}",     [202, 202, 403, 202, 404]),
    row("DELETE /api/enrollments/{id}", "/api/enrollments/{enrollment}",  [202, 403, 403, 202, 404]),
    row("POST /api/enrollments/{id}/terminate", "/api/enrollments/{enrollment}/terminate",
                                                                          [202, 403, 403, 202, 404]),
    send("POST /api/enrollments/{id}/approval", "/api/enrollments/{enrollment}/approval", APPROVE,
                                                                          [403, 202, 403, 202, 403]),

    row("GET /api/approvals", "/api/approvals",                           [403, 200, 403, 200, 403]),

    send("POST /api/imports", "/api/imports", SEED_URI,                        [202, 403, 403, 202, 202]),
    row("GET /api/imports/{id}", "/api/imports/{import}",                 [200, 200, 403, 200, 404]),
    row("DELETE /api/imports/{id}", "/api/imports/{import}",              [409, 403, 403, 409, 404]),
    row("POST /api/imports/{id}/terminate", "/api/imports/{import}/terminate",
                                                                          [409, 403, 403, 409, 404]),

    row("GET /api/accounts", "/api/accounts",                             [403, 403, 200, 200, 200]),
    send("POST /api/accounts", "/api/accounts", URI,                      [201, 403, 403, 201, 201]),
    send("PUT /api/accounts", "/api/accounts", URI,                       [403, 403, 403, 200, 403]),
    row("GET /api/accounts/{id}", "/api/accounts/{kept}",                 [403, 403, 200, 200, 404]),
    send("PATCH /api/accounts/{id}", "/api/accounts/{account}", r#"{"accountName": "other"}"#,
                                                                          [403, 403, 403, 200, 403]),
    row("DELETE /api/accounts/{id}", "/api/accounts/{account}",           [403, 403, 403, 204, 403]),
    row("POST /api/accounts/{id}/restore", "/api/accounts/{deleted}/restore",
                                                                          [403, 403, 403, 200, 403]),
    row("GET /api/accounts/{id}/proof", "/api/accounts/{pending}/proof",  [200, 403, 403, 200, 404]),
    send("POST /api/accounts/{id}/proof", "/api/accounts/{pending}/proof", r#"{"accepted": false}"#,
                                                                          [204, 403, 403, 204, 404]),
    send("POST /api/accounts/{id}/verify", "/api/accounts/{kept}/verify", r#"{"token": "none"}"#,
                                                                          [403, 403, 200, 200, 404]),
    row("GET /api/accounts/{id}/token", "/api/accounts/{kept}/token",     [403, 403, 200, 200, 404]),
    row("GET /api/tokens", "/api/tokens?id={kept}",                       [403, 403, 200, 200, 404]),
    row("GET /v1/auth/token/lookup-self", "/v1/auth/token/lookup-self",   [200, 200, 200, 200, 200]),
    row("GET /v1/totp/code/{id}", "/v1/totp/code/{kept}",                 [403, 403, 200, 200, 404]),
    send("POST /v1/totp/code/{id}", "/v1/totp/code/{kept}", WRONG_CODE,   [403, 403, 200, 200, 404]),
    send("PUT /v1/totp/code/{id}", "/v1/totp/code/{kept}", WRONG_CODE,    [403, 403, 200, 200, 404]),

    row("GET /api/accounts/{id}/recovery-codes", "/api/accounts/{kept}/recovery-codes",
                                                                          [403, 403, 200, 200, 404]),
    send("PUT /api/accounts/{id}/recovery-codes", "/api/accounts/{account}/recovery-codes", r#"{"codes": ["a"]}"#,
                                                                          [403, 403, 403, 202, 403]),
    row("POST /api/accounts/{id}/recovery-code", "/api/accounts/{kept}/recovery-code",
                                                                          [403, 403, 409, 409, 404]),
    send("POST /api/accounts/{id}/requests", "/api/accounts/{kept}/requests", r#"{"kind": "read"}"#,
                                                                          [403, 403, 202, 202, 404]),
    send("POST /api/transfers", "/api/transfers", r#"{"id": "{kept}", "package": "none"}"#,
                                                                          [400, 403, 403, 400, 400]),
    row("GET /api/requests", "/api/requests",                             [200, 200, 200, 200, 200]),
    row("GET /api/requests/{id}", "/api/requests/{request}",              [404, 202, 202, 202, 404]),
    row("DELETE /api/requests/{id}", "/api/requests/{request}",           [404, 202, 202, 202, 404]),
    send("POST /api/requests/{id}/approval", "/api/requests/{request}/approval", APPROVE,
                                                                          [403, 202, 403, 202, 403]),
    row("POST /api/requests/{id}/code", "/api/requests/{request}/code",   [403, 403, 409, 404, 404]),
    row("POST /api/requests/{id}/recovery-code", "/api/requests/{request}/recovery-code",
                                                                          [403, 403, 409, 404, 404]),
    row("POST /api/requests/{id}/export", "/api/requests/{request}/export",
                                                                          [403, 403, 403, 404, 403]),

    row("GET /api/audit", "/api/audit",                                   [403, 403, 403, 200, 403]),
    row("GET /api/system", "/api/system",                                 [403, 403, 403, 200, 403]),
    row("POST /api/dashboard/tickets", "/api/dashboard/tickets",          [403, 403, 403, 201, 403]),
    row("GET /api/keys", "/api/keys",                                     [403, 403, 403, 200, 403]),
    send("POST /api/keys", "/api/keys", r#"{"name": "made", "role": "reader"}"#,
                                                                          [403, 403, 403, 201, 403]),
    send("POST /api/keys/{name}/rotate", "/api/keys/nobody/rotate", "{}",
                                                                          [404, 404, 404, 404, 404]),
    row("GET /api/keys/{name}", "/api/keys/{key}",                        [403, 403, 403, 200, 403]),
    row("DELETE /api/keys/{name}", "/api/keys/{key}",                     [403, 403, 403, 200, 403]),
    row("GET /api/grants", "/api/grants",                                 [403, 403, 403, 200, 403]),
    send("POST /api/grants", "/api/grants", r#"{"group": "readers", "account": "{kept}"}"#,
                                                                          [403, 403, 403, 201, 403]),
    send("PUT /api/grants", "/api/grants", r#"{"group": "readers", "account": "{kept}"}"#,
                                                                          [403, 403, 403, 200, 403]),
    row("GET /api/grants/mine", "/api/grants/mine",                       [403, 403, 200, 200, 200]),
    row("DELETE /api/grants", "/api/grants?group=readers&account={kept}", [403, 403, 403, 204, 403]),
];

/// The operations in the description with the roles that it says may; none for all.
fn described() -> Vec<(String, Option<BTreeSet<String>>)> {
    let paths = DESCRIPTION["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(move |(method, operation)| {
                let schemes = operation["security"].as_array();
                let roles = schemes.map(|schemes| {
                    let roles = schemes[0]["bearer"].as_array().unwrap().iter();
                    roles.map(|r| r.as_str().unwrap().to_owned()).collect()
                });
                (format!("{} {path}", method.to_uppercase()), roles)
            })
        })
        .collect()
}

#[test]
fn the_table_has_every_operation_and_agrees_with_its_roles() {
    let described = described();
    let rows: Vec<&str> = TABLE.iter().map(|row| row.operation).collect();
    for (operation, roles) in &described {
        let Some(row) = TABLE.iter().find(|row| row.operation == operation) else {
            panic!("{operation} is not in the table");
        };
        let Some(roles) = roles else { continue };
        for (role, status) in COLUMNS.iter().zip(row.statuses).take(4) {
            assert_eq!(
                roles.contains(*role),
                status != 403,
                "{operation} by {role}"
            );
        }
    }
    assert_eq!(rows.len(), described.len(), "{rows:?}");
}

/// A server with something of each kind on it.
struct World {
    app: App,
    enroller: Caller,
    reader: Caller,
    kept: String,
    import: String,
    keys: KeyStore,
    made: usize,
}

impl World {
    async fn new(args: &[&str]) -> Self {
        let app = App::start_with(args).await;
        let admin = app.admin();
        let enroller = app.new_caller("enroller", "enroller");
        let kept = enrolled(&admin).await;
        let import = enroller
            .post_bytes("/api/imports", "text/plain", SEED_URI.into())
            .await;
        let import = import.id();
        let begun = std::time::Instant::now();
        while enroller
            .get(&format!("/api/imports/{import}?wait=1"))
            .await
            .status
            != 200
        {
            assert!(begun.elapsed() < PATIENCE, "the import does not end");
        }
        Self {
            reader: app.new_caller("reader", "reader"),
            keys: KeyStore::open(&app.data_dir().join("access.sqlite3")).unwrap(),
            enroller,
            kept,
            import,
            app,
            made: 0,
        }
    }

    fn key(&self, new: NewKey) -> String {
        self.keys.create(new, Utc::now()).unwrap().1.to_string()
    }

    /// The text with what its placeholders stand for.
    async fn fill(&mut self, text: &str) -> String {
        let admin = self.app.admin();
        let mut text = text
            .replace("{kept}", &self.kept)
            .replace("{import}", &self.import);
        if text.contains("{account}") {
            text = text.replace("{account}", &enrolled(&admin).await);
        }
        if text.contains("{deleted}") {
            let id = enrolled(&admin).await;
            assert_eq!(
                admin.delete(&format!("/api/accounts/{id}")).await.status,
                204
            );
            text = text.replace("{deleted}", &id);
        }
        if text.contains("{pending}") {
            let asked = json!({ "uri": SEED_URI });
            let path = "/api/accounts?proof=required";
            let answer = self.enroller.post(path, &asked).await;
            text = text.replace("{pending}", answer.body["secretName"].as_str().unwrap());
        }
        if text.contains("{enrollment}") {
            let id = self.enroller.enroll(SEED_URI, true).await;
            self.enroller.until_stage(&id, "AwaitingApproval").await;
            text = text.replace("{enrollment}", &id);
        }
        if text.contains("{request}") {
            let path = format!("/api/accounts/{}/requests", self.kept);
            let id = self.reader.post(&path, &json!({"kind": "read"})).await.id();
            let path = format!("/api/requests/{id}?wait=1");
            let begun = std::time::Instant::now();
            while self.reader.get(&path).await.body["stage"] != "AwaitingApproval" {
                assert!(begun.elapsed() < PATIENCE, "the request does not wait");
            }
            text = text.replace("{request}", &id);
        }
        if text.contains("{key}") {
            self.made += 1;
            let name = format!("key-{}", self.made);
            self.key(NewKey::new(&name, Role::Reader));
            text = text.replace("{key}", &name);
        }
        text
    }
}

async fn enrolled(admin: &Caller) -> String {
    let answer = admin
        .post("/api/accounts", &json!({ "uri": SEED_URI }))
        .await;
    answer.body["secretName"].as_str().unwrap().to_owned()
}

async fn ask(caller: &Caller, row: &Row, path: &str, body: Option<&str>) -> (u16, Value) {
    ask_with(caller, row, path, body, None).await
}

/// The same with a cookie.
async fn ask_with(
    caller: &Caller,
    row: &Row,
    path: &str,
    body: Option<&str>,
    cookie: Option<&str>,
) -> (u16, Value) {
    let (method, _) = row.operation.split_once(' ').unwrap();
    let mut request = caller.request(Method::from_bytes(method.as_bytes()).unwrap(), path);
    if let Some(cookie) = cookie {
        request = request
            .header("cookie", cookie)
            .header("sec-fetch-site", "same-origin");
    }
    if row.operation == "POST /api/session" && cookie.is_none() {
        // For the own page only.
        request = request.header("sec-fetch-site", "same-origin");
    }
    if let Some(body) = body {
        let kind = match body.starts_with('{') {
            true => "application/json",
            false => "text/plain",
        };
        request = request.header("content-type", kind).body(body.to_owned());
    }
    let answer = caller.send(request).await;
    (answer.status.as_u16(), answer.body)
}

#[tokio::test]
async fn every_operation_answers_every_caller_as_the_table_says() {
    let mut world = World::new(&[]).await;
    let approver = world.app.new_caller("approver", "approver");
    let admin = world.app.new_caller("boss", "admin");
    let other_enroller = world.app.new_caller("other-enroller", "enroller");
    let limited = world.key(NewKey {
        granted_only: true,
        ..NewKey::new("stranger", Role::Reader)
    });
    let limited = world.app.caller(Some(&limited));
    let mut wrong = Vec::new();
    for row in TABLE {
        let enrolls = row.statuses[0] != 403 && row.statuses[2] == 403
            || row.operation == "POST /api/accounts";
        let stranger = if enrolls { &other_enroller } else { &limited };
        let (enroller, reader) = (world.enroller.clone(), world.reader.clone());
        let callers = [&enroller, &approver, &reader, &admin, stranger];
        for ((column, caller), expected) in COLUMNS.iter().zip(callers).zip(row.statuses) {
            let path = world.fill(row.path).await;
            let body = match row.body {
                Some(body) => Some(world.fill(body).await),
                None => None,
            };
            let (status, answer) = ask(caller, row, &path, body.as_deref()).await;
            if status != expected {
                wrong.push(format!(
                    "{} by {column}: {status} instead of {expected}: {answer}",
                    row.operation
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The cookie of someone who is logged in to the dashboard.
async fn dashboard_cookie(app: &App) -> String {
    let ticket = app.admin().post("/api/dashboard/tickets", &json!({})).await;
    let url = ticket.body["url"].as_str().unwrap();
    let entered = reqwest::Client::new().get(url).send().await.unwrap();
    let set = entered.headers()["set-cookie"].to_str().unwrap();
    set.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn no_access_without_a_valid_key() {
    let now = Utc::now();
    let signer = SigningKey::new("1", Algorithm::ES256);
    let issuer = Issuer::start(&[&signer]).await;
    let name = issuer.name();
    let args = ["--oidc-issuer", &name, "--oidc-audience", AUDIENCE];
    let mut world = World::new(&args).await;
    let token = |by: &SigningKey, audience: &str, expires: TimeDelta| {
        by.sign(&json!({
            "iss": name, "aud": audience, "sub": "mallory", "roles": ["admin"],
            "iat": (now - TimeDelta::hours(2)).timestamp(), "exp": (now + expires).timestamp(),
        }))
    };
    let hour = TimeDelta::hours(1);
    let good = world.app.caller(Some(&token(&signer, AUDIENCE, hour)));
    assert_eq!(good.get("/api/keys").await.status, 200);
    let elsewhere = token(&signer, "api://something-else", hour);
    let over = token(&signer, AUDIENCE, -hour);
    let forged = token(&SigningKey::new("1", Algorithm::ES256), AUDIENCE, hour);
    let expired = world.key(NewKey {
        expires_at: Some(now - TimeDelta::seconds(1)),
        ..NewKey::new("expired", Role::Admin)
    });
    let revoked = world.key(NewKey::new("revoked", Role::Admin));
    world.keys.revoke("revoked", now).unwrap();
    let cut = world.app.admin_token();
    // What those have who can use the task hub, read its database, or see its dashboard.
    let hub_token = world.app.hub_token();
    let enrollment = world.fill("{enrollment}").await;
    let of_database = world.app.task_hub();
    let stored = of_database.get(&enrollment, Payloads::Include).await;
    let stored: Value = stored.unwrap().unwrap().input().unwrap();
    let mandate = stored["mandate"].as_str().unwrap().to_owned();
    let dashboard = dashboard_cookie(&world.app).await;
    let renamed = format!(
        "countersign_session={}",
        dashboard.split_once('=').unwrap().1
    );
    let callers = [
        ("no key", None),
        ("an empty key", Some("")),
        ("a wrong key", Some("cs_000000000000_0000")),
        ("a key cut short", Some(&cut[..cut.len() - 1])),
        ("an expired key", Some(&*expired)),
        ("a revoked key", Some(&*revoked)),
        ("a token for another audience", Some(&*elsewhere)),
        ("an expired token", Some(&*over)),
        ("a token that somebody else has signed", Some(&*forged)),
        ("the task hub's token", Some(&*hub_token)),
        ("a mandate from the task hub's database", Some(&*mandate)),
    ];
    let cookies = [
        ("the dashboard's cookie", dashboard.as_str()),
        (
            "the dashboard's cookie under another name",
            renamed.as_str(),
        ),
    ];
    let open: BTreeSet<String> = described()
        .into_iter()
        .filter(|(_, roles)| roles.is_none())
        .map(|(operation, _)| operation)
        .collect();
    let request = world.fill("{request}").await;
    let pending = world.fill("{pending}").await;
    let mut wrong = Vec::new();
    // Another protocol with a description of its own.
    let beside = [send("POST /mcp", "/mcp", "{}", [200; 5])];
    for row in TABLE.iter().chain(&beside) {
        // Nothing is changed, so nothing has to be new.
        let fill = |text: &str| {
            text.replace("{enrollment}", &enrollment)
                .replace("{request}", &request)
                .replace("{pending}", &pending)
                .replace("{import}", &world.import)
                .replace("{account}", &world.kept)
                .replace("{deleted}", &world.kept)
                .replace("{kept}", &world.kept)
                .replace("{key}", "reader")
        };
        for (name, key) in callers {
            let caller = world.app.caller(key);
            // Vault's clients are refused as Vault does it: 403 for a token that is wrong. It
            // needs no one to be logged in, but a wrong key is not passed over.
            let expected = match (open.contains(row.operation), key) {
                (true, Some(_)) if row.operation == "GET /api/session/current" => 401,
                (true, _) => row.statuses[0],
                (false, Some(_)) if row.path.starts_with("/v1/") => 403,
                (false, _) => 401,
            };
            let body = row.body.map(fill);
            let (status, answer) = ask(&caller, row, &fill(row.path), body.as_deref()).await;
            if status != expected {
                wrong.push(format!(
                    "{} with {name}: {status} instead of {expected}: {answer}",
                    row.operation
                ));
            }
        }
        for (name, cookie) in cookies {
            let (nobody, path) = (world.app.caller(None), fill(row.path));
            let body = row.body.map(fill);
            let (status, answer) =
                ask_with(&nobody, row, &path, body.as_deref(), Some(cookie)).await;
            if status != 401 && !open.contains(row.operation) {
                wrong.push(format!("{} with {name}: {status}: {answer}", row.operation));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let admin = world.app.admin();
    let kept = admin.get(&format!("/api/accounts/{}", world.kept)).await;
    assert_eq!(kept.body["accountName"], "Test Token");
    let waits = admin.get(&format!("/api/enrollments/{enrollment}")).await;
    assert_eq!(waits.body["stage"], "AwaitingApproval");
}
