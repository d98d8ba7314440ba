//! What is granted, and what is taken back, of accounts and keys.

use std::sync::Arc;

use chrono::SubsecRound as _;
use countersign::access::{Grant, Grantee, NewKey, Reads, Role};
use countersign::clock::ManualClock;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::{NOWHERE, Server, problem};

#[tokio::test]
async fn an_administrator_leases_accounts_over_http() {
    let server = Server::start().await;
    let account = server.account().await;
    let key = server.granted_reader("bot", "Team Ops");
    server.key("all", Role::Reader);
    let grant = async |body: Value| {
        let request = server.request(Method::POST, "/api/grants").json(&body);
        request.bearer_auth(&server.admin).send().await.unwrap()
    };
    let code = format!("/api/tokens?id={account}");
    let until = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    let until = until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let granted = grant(json!({"caller": "bot", "account": account, "until": until, "reads": 1}));
    let granted = granted.await;
    assert_eq!(granted.status(), 201);
    let granted: Value = granted.json().await.unwrap();
    assert_eq!(granted["caller"], "bot");
    assert_eq!(granted["readsLeft"], 1);
    assert_eq!(server.status(Method::GET, &code, &key).await, 200);
    assert_eq!(server.status(Method::GET, &code, &key).await, 403);
    let granted = grant(json!({"group": "Team Ops", "account": account})).await;
    assert_eq!(granted.status(), 201);
    assert_eq!(server.status(Method::GET, &code, &key).await, 200);

    let list = server
        .request(Method::GET, "/api/grants")
        .bearer_auth(&server.admin);
    let list: Value = list.send().await.unwrap().json().await.unwrap();
    let who: Vec<Value> = list["grants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|grant| json!([grant["caller"], grant["group"], grant["readsLeft"]]))
        .collect();
    let expected = [json!(["bot", null, 0]), json!([null, "Team Ops", null])];
    assert_eq!(who, expected);

    let past = "2020-01-01T00:00:00Z";
    for (body, status, code) in [
        (json!({"account": account}), 400, "invalid-parameter"),
        (
            json!({"caller": "a", "group": "b", "account": account}),
            400,
            "invalid-parameter",
        ),
        (
            json!({"caller": "bot", "account": account, "reads": 0}),
            400,
            "invalid-parameter",
        ),
        (
            json!({"caller": "bot", "account": account, "until": past}),
            400,
            "invalid-parameter",
        ),
        (
            json!({"caller": "nobody", "account": account}),
            404,
            "key-unknown",
        ),
        (
            json!({"caller": "all", "account": account}),
            409,
            "key-not-limited",
        ),
        (
            json!({"caller": "bot", "account": NOWHERE}),
            404,
            "account-unknown",
        ),
    ] {
        let refused = grant(body.clone()).await;
        assert_eq!(refused.status(), status, "{body}");
        assert_eq!(problem(refused).await["code"], code, "{body}");
    }

    let path = format!("/api/grants?account={account}&group=Team%20Ops");
    for status in [204, 404] {
        assert_eq!(
            server.status(Method::DELETE, &path, &server.admin).await,
            status
        );
    }
    assert_eq!(server.status(Method::GET, &code, &key).await, 403);
    let told = server.told("action=grant").await;
    assert_eq!(
        told[0],
        json!([account, "done", format!("to bot until {until}, 1 read")])
    );
    let told = server.told("action=withdraw").await;
    assert_eq!(told[0], json!([account, "done", "from the group Team Ops"]));
    server.stop().await;
}

#[tokio::test]
async fn a_group_reads_what_is_granted_to_it_and_finds_nothing_else() {
    let server = Server::start().await;
    let (shown, hidden) = (server.account().await, server.account().await);
    let keys = [
        server.granted_reader("one", "ops"),
        server.granted_reader("two", "ops"),
    ];
    let foreign = server.granted_reader("three", "sales");
    server
        .keys()
        .grant(&Grant {
            to: Grantee::Group("ops".parse().unwrap()),
            account: shown.clone(),
            until: None,
            reads: Some(Reads::new(2)),
        })
        .unwrap();
    let status = async |key: &str, path: String| server.status(Method::GET, &path, key).await;
    let (account, code) = (
        |id: &str| format!("/api/accounts/{id}"),
        |id: &str| format!("/api/tokens?id={id}"),
    );
    let session = server.request(Method::GET, "/api/session");
    let session: Value = session
        .bearer_auth(&keys[0])
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(session["caller"], "one");
    assert_eq!(session["roles"], json!(["reader"]));
    assert_eq!(session["groups"], json!(["ops"]));
    for key in &keys {
        assert_eq!(status(key, account(&shown)).await, 200);
        assert_eq!(status(key, account(&hidden)).await, 404);
        assert_eq!(status(key, code(&hidden)).await, 404);
        assert_eq!(status(key, code(&shown)).await, 200);
    }
    // The group's two reads are used up, whoever used them.
    for key in &keys {
        assert_eq!(status(key, code(&shown)).await, 403);
    }
    assert_eq!(status(&foreign, code(&shown)).await, 404);
    server.stop().await;
}

#[tokio::test]
async fn what_another_process_takes_back_is_refused_at_once() {
    let server = Server::start().await;
    let key = server.key("ci", Role::Reader);
    // As the command does it, on a connection of its own.
    let keys = server.keys();
    let ask = async |key: &str| {
        let request = server.request(Method::GET, "/api/session").bearer_auth(key);
        request.send().await.unwrap().status()
    };
    // More than once, so that the server has it in memory.
    for _ in 0..3 {
        assert_eq!(ask(&key).await, StatusCode::OK);
    }
    keys.revoke("ci", chrono::Utc::now()).unwrap();
    assert_eq!(ask(&key).await, StatusCode::UNAUTHORIZED);

    let account = server.account().await;
    let granted = server.granted_reader("bot", "ops");
    let read = async || {
        let path = format!("/api/tokens?id={account}");
        server.status(Method::GET, &path, &granted).await
    };
    let grant = |to: &Grantee, reads: Option<u32>| Grant {
        to: to.clone(),
        account: account.clone(),
        until: None,
        reads: reads.map(Reads::new),
    };
    for to in [
        Grantee::Caller("bot".to_owned()),
        Grantee::Group("ops".parse().unwrap()),
    ] {
        keys.grant(&grant(&to, None)).unwrap();
        for _ in 0..3 {
            assert_eq!(read().await, StatusCode::OK, "{to}");
        }
        // In the place of one that counts nothing, one that does.
        keys.grant(&grant(&to, Some(1))).unwrap();
        // A HEAD request uses no read.
        let path = format!("/api/tokens?id={account}");
        for _ in 0..2 {
            let asked = server.status(Method::HEAD, &path, &granted).await;
            assert_eq!(asked, StatusCode::OK, "{to}");
        }
        assert_eq!(read().await, StatusCode::OK, "{to}");
        assert_eq!(read().await, StatusCode::FORBIDDEN, "{to}");
        keys.grant(&grant(&to, None)).unwrap();
        assert_eq!(read().await, StatusCode::OK, "{to}");
        assert!(keys.withdraw(&to, &account).unwrap());
        assert_eq!(read().await, StatusCode::NOT_FOUND, "{to}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_key_works_until_the_second_in_which_it_expires() {
    let begin = chrono::Utc::now().trunc_subsecs(0);
    let clock = ManualClock::new(begin);
    let server = Server::start_on(Arc::new(clock.clone()), |_| {}).await;
    let account = server.account().await;
    let after = chrono::TimeDelta::seconds;
    let new = NewKey {
        expires_at: Some(begin + after(60)),
        ..NewKey::new("brief", Role::Reader)
    };
    let (_, brief) = server.keys().create(new, begin).unwrap();
    let path = format!("/api/accounts/{account}");
    for (seconds, expected) in [(0, 200), (59, 200), (60, 401), (3_600, 401)] {
        clock.set(begin + after(seconds));
        let asked = server.status(Method::GET, &path, &brief).await;
        assert_eq!(asked, expected, "after {seconds} seconds");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_limit_counts_for_granted_accounts_too_and_a_used_up_grant_says_so() {
    let server = Server::start().await;
    let mut accounts = Vec::new();
    for _ in 0..3 {
        accounts.push(server.account().await);
    }
    let hidden = server.account().await;
    let key = server.granted_reader("bot", "ops");
    let grant = |account: &str, until, reads| Grant {
        to: Grantee::Caller("bot".to_owned()),
        account: account.to_owned(),
        until,
        reads,
    };
    for account in &accounts {
        server.keys().grant(&grant(account, None, None)).unwrap();
    }
    let get = async |path: &str| -> (u16, Value) {
        let request = server.request(Method::GET, path).bearer_auth(&key);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    };
    for wrong in [
        "limit=0",
        "limit=201",
        "cursor=totp-of-nobody",
        "limit=1&cursor=x",
    ] {
        let (status, body) = get(&format!("/api/accounts?{wrong}")).await;
        assert_eq!(
            (status, &body["code"]),
            (400, &json!("invalid-parameter")),
            "{wrong}"
        );
    }
    let (_, all) = get("/api/accounts").await;
    let mut paged = Vec::new();
    let mut at = "/api/accounts?limit=2".to_owned();
    let sizes = loop {
        let (_, page) = get(&at).await;
        let rows = page["accounts"].as_array().unwrap().clone();
        paged.push(rows);
        match page["next"].as_str() {
            Some(next) => at = format!("/api/accounts?limit=2&cursor={next}"),
            None => break paged.iter().map(Vec::len).collect::<Vec<_>>(),
        }
    };
    assert_eq!(sizes, [2, 1]);
    assert_eq!(json!(paged.concat()), all["accounts"]);

    // A grant that is used up or has expired is not hidden like an account that was never granted.
    let past = chrono::Utc::now() - chrono::TimeDelta::hours(1);
    server
        .keys()
        .grant(&grant(&accounts[0], None, Some(Reads::new(1))))
        .unwrap();
    server
        .keys()
        .grant(&grant(&accounts[1], Some(past), None))
        .unwrap();
    let token = |id: &str| format!("/api/accounts/{id}/token");
    assert_eq!(get(&token(&accounts[0])).await.0, 200);
    for (account, status, code) in [
        (&accounts[0], 403, "grant-used-up"),
        (&accounts[1], 403, "grant-expired"),
        (&hidden, 404, "account-unknown"),
    ] {
        for path in [token(account), format!("/api/accounts/{account}")] {
            let (answered, body) = get(&path).await;
            assert_eq!((answered, &body["code"]), (status, &json!(code)), "{path}");
        }
        let (_, batch) = get(&format!("/api/tokens?id={account}&id={}", accounts[2])).await;
        assert_eq!(batch["tokens"][0]["problem"], code, "{batch}");
    }
    server.stop().await;
}
