//! What can be done with an account that is there: codes for automation, checking
//! codes, renaming, removing.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{App, Caller, SEED_URI, unix_now};

async fn enrolled(app: &App, uri: &str) -> String {
    let admin = app.admin();
    let id = admin.enroll(uri, false).await;
    assert_eq!(admin.ended(&id).await.body["stage"], "Enrolled");
    id
}

#[tokio::test]
async fn an_account_is_renamed_removed_and_restored_by_administrators_only() {
    let app = App::start().await;
    let admin = app.admin();
    let id = enrolled(&app, SEED_URI).await;
    let path = format!("/api/accounts/{id}");
    let patch = async |body: &serde_json::Value| {
        admin
            .send(admin.request(Method::PATCH, &path).json(body))
            .await
    };
    let reader = app.new_caller("dashboard-wall", "reader");
    for method in [Method::PATCH, Method::DELETE] {
        let request = reader
            .request(method, &path)
            .json(&json!({"accountName": "x"}));
        reader
            .send(request)
            .await
            .assert_problem(403, "role-missing");
    }

    let renamed = patch(&json!({"accountName": "deploy bot"})).await;
    assert_eq!(renamed.status, StatusCode::OK, "{renamed:?}");
    assert_eq!(renamed.body["accountName"], "deploy bot");
    assert_eq!(renamed.body["issuer"], "2FAS", "what is left out stays");
    let renamed = patch(&json!({"issuer": null})).await;
    assert!(renamed.body["issuer"].is_null(), "{renamed:?}");
    patch(&json!({"accountName": "x".repeat(2_000)}))
        .await
        .assert_problem(422, "label-too-long");
    patch(&json!({"secret": "2FASTEST"}))
        .await
        .assert_problem(400, "invalid-json");

    let removed = admin.delete(&path).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    admin
        .get(&format!("{path}/token"))
        .await
        .assert_problem(404, "account-unknown");
    // It is listed for those who can restore it.
    let listed = async |caller: &Caller, query: &str| {
        let page = caller.get(&format!("/api/accounts{query}")).await;
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        let accounts = page.body["accounts"].as_array().unwrap().clone();
        accounts.iter().all(|account| account["id"] == json!(id)) && !accounts.is_empty()
    };
    assert!(!listed(&admin, "").await);
    assert!(!listed(&admin, "?removed=false").await);
    assert!(listed(&admin, "?removed=true").await);
    assert!(listed(&admin, "?removed=true&search=DEPLOY").await);
    assert!(!listed(&admin, "?removed=true&search=another").await);
    let page = admin.get("/api/accounts?removed=true").await;
    assert!(
        page.body["accounts"][0]["removedAt"].is_string(),
        "{page:?}"
    );
    assert_eq!(page.body["accounts"][0]["readApproval"], false, "{page:?}");
    reader
        .get("/api/accounts?removed=true")
        .await
        .assert_problem(403, "role-missing");
    admin
        .get("/api/accounts?removed=perhaps")
        .await
        .assert_problem(400, "invalid-parameter");
    // What is known of it stays known to administrators, so that it can be restored.
    let seen = admin.get(&path).await;
    assert_eq!(seen.body["state"], "removed", "{seen:?}");
    reader
        .get(&path)
        .await
        .assert_problem(404, "account-unknown");
    patch(&json!({"accountName": "y"}))
        .await
        .assert_problem(404, "account-unknown");
    let listed = admin.get("/api/accounts").await;
    assert_eq!(listed.body["accounts"], json!([]));
    let restored = admin.post(&format!("{path}/restore"), &json!({})).await;
    assert_eq!(restored.status, StatusCode::OK, "{restored:?}");
    assert_eq!(restored.body["accountName"], "deploy bot");
    assert_eq!(restored.body["state"], "active");
    assert_eq!(reader.get(&path).await.body["state"], "active");
    assert_eq!(
        admin.get(&format!("{path}/token")).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn codes_for_automation() {
    let app = App::start().await;
    let admin = app.admin();
    // A step so long that no test runs over its end.
    let slow = enrolled(&app, "otpauth://totp/slow?secret=2FASTEST&period=86400").await;
    let quick = enrolled(&app, "otpauth://totp/quick?secret=2FASTEST&period=1").await;

    // The same step has the same tag.
    let first = admin.get(&format!("/api/tokens?id={slow}")).await;
    let tag = first.headers["etag"].to_str().unwrap();
    let strong = tag.strip_prefix("W/").unwrap();
    for (given, status) in [
        (tag, StatusCode::NOT_MODIFIED),
        (strong, StatusCode::NOT_MODIFIED),
        (&format!("\"1\", {tag}"), StatusCode::NOT_MODIFIED),
        ("*", StatusCode::NOT_MODIFIED),
        ("W/\"1\"", StatusCode::OK),
        (strong.trim_matches('"'), StatusCode::OK),
    ] {
        let request = admin
            .request(Method::GET, &format!("/api/tokens?id={slow}"))
            .header("if-none-match", given);
        assert_eq!(admin.send(request).await.status, status, "{given}");
    }

    // A code of one second is good for all of it only at its very start: the next is given early.
    let next = admin
        .get(&format!(
            "/api/tokens?id={quick}&minValidity=1&whenShort=next"
        ))
        .await;
    let time = |name: &str| {
        chrono::DateTime::parse_from_rfc3339(next.body[name].as_str().unwrap()).unwrap()
    };
    assert!(time("validFrom") > time("serverTime"), "{next:?}");
    assert!(next.body["timeRemaining"].as_u64().unwrap() >= 1);

    let several = admin
        .get(&format!("/api/tokens?id={slow}&id=totp-unknown&id={quick}"))
        .await;
    assert_eq!(several.status, StatusCode::OK, "{several:?}");
    let tokens = several.body["tokens"].as_array().unwrap();
    assert_eq!(tokens[0]["id"], slow);
    assert_eq!(tokens[0]["token"], first.body["token"]);
    assert_eq!(tokens[1]["problem"], "account-unknown");
    assert!(tokens[2]["token"].is_string());

    for bad in [
        format!("/api/tokens?id={slow}&minValidity=-1"),
        format!("/api/tokens?id={slow}&minValidity=many"),
        format!("/api/tokens?id={slow}&whenShort=never"),
        format!("/api/tokens?id={slow}&minValidity=1&minValidity=30"),
        format!("/api/tokens?id={slow}&whenShort=next&whenShort=next"),
        format!("/api/tokens?{}", "id=totp-a&".repeat(501)),
    ] {
        admin
            .get(&bad)
            .await
            .assert_problem(400, "invalid-parameter");
    }
}

#[tokio::test]
async fn a_code_is_verified_once_also_after_a_crash_and_guessing_is_stopped() {
    let mut app = App::start().await;
    let id = enrolled(&app, "otpauth://totp/slow?secret=2FASTEST&period=86400").await;
    let path = format!("/api/accounts/{id}/verify");
    let admin = app.admin();
    let shown = admin.get(&format!("/api/tokens?id={id}")).await;
    let code = shown.body["token"].clone();
    let body = json!({ "token": code });

    let first = admin.post(&path, &body).await;
    assert_eq!(first.status, StatusCode::OK, "{first:?}");
    assert_eq!(first.body, json!({"valid": true, "drift": 0}));
    app.kill();
    app.launch().await;
    let admin = app.admin();
    let again = admin.post(&path, &body).await;
    assert_eq!(
        again.body,
        json!({"valid": false, "reason": "already-used"})
    );

    let guesser = app.new_caller("guesser", "reader");
    for _ in 0..5 {
        let wrong = guesser.post(&path, &json!({"token": "badcode"})).await;
        assert_eq!(wrong.body, json!({"valid": false, "reason": "wrong"}));
    }
    let stopped = guesser.post(&path, &body).await;
    stopped.assert_problem(429, "too-many-attempts");
    let wait: u64 = stopped.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=301).contains(&wait), "{wait}");
    // Someone else's tries are counted apart.
    assert_eq!(admin.post(&path, &body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_key_reads_only_what_was_granted_to_it_and_learns_of_nothing_else() {
    let app = App::start().await;
    let theirs = enrolled(&app, SEED_URI).await;
    let other = enrolled(&app, "otpauth://totp/other?secret=2FASTEST").await;
    let made = app.command(&[
        "key",
        "create",
        "bot",
        "--role",
        "reader",
        "--granted-only",
        "--json",
    ]);
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let bot = app.caller(Some(made["key"].as_str().unwrap()));
    assert_eq!(bot.get("/api/accounts").await.body["accounts"], json!([]));

    let granted = app.command(&["grant", "add", "bot", &theirs, "--reads", "2"]);
    assert!(granted.status.success(), "{granted:?}");
    let listed = bot.get("/api/accounts").await;
    let listed = listed.body["accounts"].as_array().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["id"], theirs);

    // The same words for an account of others as for one that does not exist.
    let nowhere = "totp-00000000-0000-4000-8000-000000000000";
    for path in [
        "/api/accounts/{}",
        "/api/accounts/{}/token",
        "/api/tokens?id={}",
    ] {
        let mut shown = Vec::new();
        for id in [other.as_str(), nowhere] {
            let mut answer = bot.get(&path.replace("{}", id)).await;
            answer.assert_problem(404, "account-unknown");
            answer.body.as_object_mut().unwrap().remove("instance");
            shown.push(answer.body);
        }
        assert_eq!(shown[0], shown[1], "{path}");
    }
    let batch = bot
        .get(&format!("/api/tokens?id={theirs}&id={other}"))
        .await;
    assert!(batch.body["tokens"][0]["token"].is_string(), "{batch:?}");
    assert_eq!(batch.body["tokens"][1]["problem"], "account-unknown");

    let path = format!("/api/tokens?id={theirs}");
    assert_eq!(bot.get(&path).await.status, StatusCode::OK);
    bot.get(&path).await.assert_problem(403, "grant-used-up");
    // Someone who may read all still does.
    let reader = app.new_caller("dashboard-wall", "reader");
    assert_eq!(reader.get(&path).await.status, StatusCode::OK);

    let taken = app.command(&["grant", "remove", "bot", &theirs]);
    assert!(taken.status.success(), "{taken:?}");
    let taken = app.command(&["grant", "remove", "bot", &theirs]);
    assert_eq!(taken.status.code(), Some(5), "{taken:?}");
    let refused = app.command(&["grant", "add", "dashboard-wall", &theirs]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}

#[tokio::test]
async fn clients_of_hashicorp_vault_read_and_check_codes() {
    let app = App::start().await;
    let account = enrolled(&app, "otpauth://totp/slow?secret=2FASTEST&period=86400").await;
    let path = format!("/v1/totp/code/{account}");
    let reader = app.new_caller("vault-client", "reader");
    // As its clients send it: their own header, and PUT where others POST.
    let key = reader.token().unwrap();
    let nobody = app.caller(None);
    let client = |method: Method, path: &str| {
        nobody
            .request(method, path)
            .header("x-vault-token", key)
            .header("x-vault-request", "true")
    };
    // Many ask first whether their token is good.
    let who = client(Method::GET, "/v1/auth/token/lookup-self");
    let who = nobody.send(who).await;
    assert_eq!(who.body["data"]["display_name"], "vault-client", "{who:?}");
    assert_eq!(who.body["data"]["policies"], json!(["reader"]));
    let read = nobody.send(client(Method::GET, &path)).await;
    assert_eq!(read.status, StatusCode::OK, "{read:?}");
    let code = read.body["data"]["code"].as_str().unwrap().to_owned();
    let ours = reader.get(&format!("/api/tokens?id={account}")).await;
    assert_eq!(ours.body["token"], code.as_str());
    assert_eq!(read.body["lease_duration"], 0);

    let check = async |method: Method, code: &str| {
        let body = json!({ "code": code }).to_string();
        // As curl sends it by default.
        let form = "application/x-www-form-urlencoded";
        let request = client(method, &path).header("content-type", form);
        nobody.send(request.body(body)).await
    };
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let checked = check(Method::POST, wrong).await;
    assert_eq!(checked.body["data"]["valid"], false, "{checked:?}");
    let checked = check(Method::PUT, &code).await;
    assert_eq!(checked.body["data"]["valid"], true, "{checked:?}");
    let used = check(Method::PUT, &code).await;
    assert_eq!(used.status, StatusCode::BAD_REQUEST);
    let told = used.body["errors"][0].as_str().unwrap();
    assert!(told.contains("accepted once"), "{told}");

    let nowhere = "/v1/totp/code/totp-00000000-0000-4000-8000-000000000000";
    let unknown = nobody.send(client(Method::GET, nowhere)).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(unknown.headers["content-type"], "application/json");
    assert!(unknown.body["errors"][0].is_string(), "{unknown:?}");
    let stranger = nobody.get(&path).await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);

    let audit = app.admin().get("/api/audit?action=read-code").await;
    let entries = audit.body["entries"].as_array().unwrap();
    assert!(
        entries
            .iter()
            .any(|entry| entry["subject"] == account.as_str())
    );
}

#[tokio::test]
async fn a_parameter_that_an_operation_does_not_have_is_refused() {
    let app = App::start().await;
    let admin = app.admin();
    let id = enrolled(&app, SEED_URI).await;
    let document = admin.get("/api/openapi.json").await.body;
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let described = item.get("get").and_then(|get| get.get("security"));
        if described.is_none() || path == "/api/session" {
            continue;
        }
        seen += 1;
        let path = path.replace("{id}", &id).replace("{name}", "nobody");
        for wrong in ["nonsense=1", "LIMITS=3", "=", "minvalidity=10"] {
            let refused = admin.get(&format!("{path}?{wrong}")).await;
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{refused:?}");
            assert_eq!(refused.body["code"], "invalid-parameter", "{refused:?}");
            let detail = refused.body["detail"].as_str().unwrap();
            assert!(!detail.contains("nonsense"), "{path}: {detail}");
        }
    }
    assert!(seen > 15, "{seen}");
    // What everyone may ask, and the page with its files, too.
    let nobody = app.caller(None);
    for path in [
        "/",
        "/login",
        "/docs",
        "/app.js",
        "/healthz",
        "/readyz",
        "/api/openapi.json",
        "/v1/sys/health",
    ] {
        assert_eq!(nobody.get(path).await.status, StatusCode::OK, "{path}");
        let refused = nobody.get(&format!("{path}?nonsense=1")).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{refused:?}");
        assert_eq!(refused.body["code"], "invalid-parameter", "{refused:?}");
    }
    let stranger = nobody.get("/api/accounts?nonsense=1").await;
    assert_eq!(
        stranger.status,
        StatusCode::UNAUTHORIZED,
        "who calls comes first"
    );
    let changed = admin
        .delete(&format!("/api/accounts/{id}?forever=true"))
        .await;
    changed.assert_problem(400, "invalid-parameter");
    let there = admin.get(&format!("/api/accounts/{id}")).await;
    assert_eq!(there.body["state"], "active", "nothing was done");
    let misspelt = admin
        .get(&format!("/api/accounts/{id}/token?minvalidity=10"))
        .await;
    let detail = misspelt.body["detail"].as_str().unwrap();
    assert!(detail.contains("`minValidity`"), "{detail}");
}

#[tokio::test]
async fn more_validity_than_a_code_has_is_not_promised() {
    let app = App::start().await;
    let admin = app.admin();
    let id = enrolled(&app, SEED_URI).await;
    for way in ["", "&whenShort=next"] {
        for path in [
            format!("/api/tokens?id={id}&minValidity=31{way}"),
            format!("/api/accounts/{id}/token?minValidity=60{way}"),
        ] {
            let refused = admin.get(&path).await;
            refused.assert_problem(400, "invalid-parameter");
            let detail = refused.body["detail"].as_str().unwrap();
            assert!(detail.contains("30 seconds"), "{detail}");
        }
    }
    let several = admin
        .get(&format!("/api/tokens?id={id}&id={id}&minValidity=31"))
        .await;
    assert_eq!(several.body["tokens"][0]["problem"], "invalid-parameter");
    let whole = admin
        .get(&format!(
            "/api/tokens?id={id}&minValidity=30&whenShort=next"
        ))
        .await;
    assert_eq!(whole.status, StatusCode::OK, "{whole:?}");
}

#[tokio::test]
async fn a_start_that_is_repeated_says_where_it_is() {
    let app = App::start().await;
    let admin = app.admin();
    for (path, body, at) in [
        (
            "/api/enrollments",
            json!({ "uri": SEED_URI }),
            "/api/enrollments/",
        ),
        (
            "/api/accounts",
            json!({ "uri": SEED_URI }),
            "/api/accounts/",
        ),
    ] {
        let mut locations = Vec::new();
        for _ in 0..3 {
            let request = admin
                .request(Method::POST, path)
                .header("idempotency-key", path.replace('/', "-"))
                .json(&body);
            let answer = admin.send(request).await;
            assert!(answer.status.is_success(), "{answer:?}");
            let location = answer.headers["location"].to_str().unwrap().to_owned();
            assert!(location.starts_with(at), "{location}");
            locations.push(location.clone());
            admin.ended(location.rsplit('/').next().unwrap()).await;
        }
        locations.dedup();
        assert_eq!(locations.len(), 1, "{locations:?}");
    }
}

#[tokio::test]
async fn clients_of_vault_get_the_answers_that_they_expect() {
    let app = App::start().await;
    let nobody = app.caller(None);
    let bad = nobody
        .request(Method::GET, "/v1/auth/token/lookup-self")
        .header("x-vault-token", "bad");
    let refused = nobody.send(bad).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    assert!(refused.body["errors"][0].is_string(), "{refused:?}");
    // Elsewhere it is as everywhere.
    let refused = nobody.get("/api/accounts").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{refused:?}");
    let health = nobody.get("/v1/sys/health").await;
    assert_eq!(health.status, StatusCode::OK, "{health:?}");
    assert_eq!(
        (&health.body["initialized"], &health.body["sealed"]),
        (&json!(true), &json!(false))
    );
    let head = nobody.request(Method::HEAD, "/v1/sys/health?standbyok=true");
    assert_eq!(head.send().await.unwrap().status(), StatusCode::OK);
    // As Vault's own client for Go asks, and with a status of the client's choice.
    let asked = "/v1/sys/health?drsecondarycode=299&haunhealthycode=299&performancestandbycode=299\
        &removedcode=299&sealedcode=299&standbycode=299&uninitcode=299";
    assert_eq!(nobody.get(asked).await.status, StatusCode::OK);
    let chosen = nobody.get("/v1/sys/health?activecode=299").await;
    assert_eq!(chosen.status.as_u16(), 299, "{chosen:?}");
    let other = nobody.get("/v1/sys/health?sealedcode=42").await;
    assert_eq!(other.status, StatusCode::BAD_REQUEST, "{other:?}");
    assert_eq!(other.body["code"], "invalid-parameter", "{other:?}");
    let seal = nobody.get("/v1/sys/seal-status").await;
    assert_eq!(seal.body["sealed"], false, "{seal:?}");
    assert_eq!(nobody.get("/v1/sys/leader").await.body["ha_enabled"], false);
    assert_eq!(nobody.get("/v1/sys/init").await.body["initialized"], true);
}

#[tokio::test]
async fn a_key_is_renewed_under_its_name_and_a_grant_is_repeated() {
    let app = App::start().await;
    let admin = app.admin();
    let id = enrolled(&app, SEED_URI).await;
    let body = json!({ "name": "ci", "role": "reader", "grantedOnly": true });
    let made = admin.post("/api/keys", &body).await;
    let old = app.caller(made.body["key"].as_str());
    // What declares keys reads each back at its address, without the key itself.
    let address = made.headers["location"].to_str().unwrap();
    let read = admin.get(address).await;
    assert_eq!(read.body["name"], "ci", "{read:?}");
    assert!(read.body.get("key").is_none(), "{read:?}");
    admin
        .get("/api/keys/nobody")
        .await
        .assert_problem(404, "key-unknown");
    let put = async |reads: u32| {
        let lease = json!({ "caller": "ci", "account": id, "reads": reads });
        let request = admin.request(Method::PUT, "/api/grants").json(&lease);
        admin.send(request).await
    };
    assert_eq!(put(5).await.status, StatusCode::CREATED);
    let path = format!("/api/accounts/{id}/token");
    assert_eq!(old.get(&path).await.status, StatusCode::OK);
    let again = put(5).await;
    assert_eq!(
        (again.status, &again.body["readsLeft"]),
        (StatusCode::OK, &json!(4))
    );
    assert_eq!(again.body["reads"], 5);
    // Fewer and more are both other terms.
    for reads in [3, 9] {
        let other = put(reads).await;
        assert_eq!(other.status, StatusCode::CREATED, "{other:?}");
        let number = &json!(reads);
        let said = (&other.body["reads"], &other.body["readsLeft"]);
        assert_eq!(said, (number, number));
    }

    // By its holder, with an overlap; the grants stay.
    let renewed = old
        .post("/api/keys/ci/rotate", &json!({ "overlapSeconds": 600 }))
        .await;
    assert_eq!(renewed.status, StatusCode::OK, "{renewed:?}");
    let until = &renewed.body["formerKeyUntil"];
    let listed = admin.get("/api/keys").await.body;
    assert_eq!(listed["keys"][0]["formerKeyUntil"], *until, "{listed}");
    let until = chrono::DateTime::parse_from_rfc3339(until.as_str().unwrap()).unwrap();
    let left = until.timestamp() - i64::try_from(unix_now()).unwrap();
    assert!((500..=600).contains(&left), "{left}");
    let shown = app.command(&["key", "list"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("the old one until "), "{shown}");
    let new = app.caller(renewed.body["key"].as_str());
    for caller in [&old, &new] {
        assert_eq!(caller.get("/api/session").await.body["caller"], "ci");
    }
    assert_eq!(new.get(&path).await.status, StatusCode::OK);
    // A key that was replaced renews nothing: anyone it leaked to would have the only one.
    let refused = old.post("/api/keys/ci/rotate", &json!({})).await;
    refused.assert_problem(403, "key-not-presented");
    assert_eq!(new.get("/api/session").await.body["caller"], "ci");
    // Without one the key before ends at once.
    let renewed = new
        .post("/api/keys/ci/rotate", &json!({ "overlapSeconds": 0 }))
        .await;
    let newest = app.caller(renewed.body["key"].as_str());
    for gone in [&old, &new] {
        let refused = gone.get("/api/session").await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{refused:?}");
    }
    assert_eq!(newest.get("/api/session").await.body["caller"], "ci");
    newest
        .post("/api/keys/other/rotate", &json!({}))
        .await
        .assert_problem(404, "key-unknown");
    admin
        .post("/api/keys/nobody/rotate", &json!({}))
        .await
        .assert_problem(404, "key-unknown");

    // Someone else's is left alone: anyone who rotates a key sees it, and could use it.
    let boss = app.new_caller("boss", "admin");
    let refused = boss.post("/api/keys/ci/rotate", &json!({})).await;
    refused.assert_problem(403, "key-of-another");
    let own = app.command(&["key", "rotate", "ci", "--overlap", "0s"]);
    assert!(own.status.success(), "{own:?}");
    let shown = String::from_utf8(own.stdout).unwrap();
    let last = app.caller(Some(shown.trim()));
    assert_eq!(last.get("/api/session").await.body["caller"], "ci");
    let told = admin.get("/api/audit?action=rotate-key").await;
    assert_eq!(
        told.body["entries"].as_array().unwrap().len(),
        7,
        "{told:?}"
    );
}
