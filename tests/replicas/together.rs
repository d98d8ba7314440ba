//! Any operation at any front door.

use std::process::Command;
use std::time::Duration;

use countersign_database::testing::Postgres;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::installation::{ADMIN, Door, Installation, SECRET, at};

/// Within which what one changes counts at the other.
const SOON: Duration = Duration::from_secs(1);

async fn start() -> Option<(Installation, String, &'static Postgres)> {
    let server = tokio::task::block_in_place(Postgres::shared)?;
    let name = tokio::task::block_in_place(|| server.make());
    let at = at(server.port(), &name);
    Some((Installation::start(&at, &at).await, name, server))
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rules_and_sessions_of_one_front_door_hold_at_the_other() {
    let Some((both, ..)) = start().await else {
        return;
    };
    let (one, other) = (&both.one, &both.other);
    let account = one.account("shared").await;
    let path = format!("/api/tokens?id={account}");
    let key = one.key("bot", "reader", false).await;
    for _ in 0..3 {
        assert_eq!(other.status(&path, &key).await, 200);
        assert_eq!(one.status(&path, &key).await, 200);
    }

    // *Approval only*, set at one, refuses at the other, and the other way round.
    for (set, refuses) in [(one, other), (other, one)] {
        let change = format!("/api/accounts/{account}");
        for (approval, status) in [(true, 403), (false, 200)] {
            let body = json!({"readApproval": approval});
            set.done(Method::PATCH, &change, ADMIN, body).await;
            refuses.until(&path, &key, status, SOON).await;
        }
    }

    // A session that begins at one goes on at the other, and ends at both.
    let log_in = |door: &Door, body: Value| {
        let request = door.request(Method::POST, "/api/session");
        request.header("sec-fetch-site", "same-origin").json(&body)
    };
    let link = one.done(Method::POST, "/api/login-links", ADMIN, json!({}));
    let link = link.await["link"].as_str().unwrap().to_owned();
    let code = link.split_once("#code=").unwrap().1.to_owned();
    let begun = log_in(other, json!({"code": code})).send().await.unwrap();
    assert_eq!(begun.status(), 200);
    let mut set = begun.headers().get_all("set-cookie").iter();
    let set = set.find_map(|it| it.to_str().ok().filter(|it| !it.contains("Max-Age=0")));
    let cookie = set.unwrap().split(';').next().unwrap().to_owned();
    let again = log_in(one, json!({"code": code})).send().await.unwrap();
    assert_eq!(
        again.status(),
        401,
        "a link works once, wherever it is used"
    );
    let with_cookie = |door: &Door, method: Method| {
        let request = door
            .request(method, "/api/session")
            .header("cookie", &cookie);
        request.header("sec-fetch-site", "same-origin").send()
    };
    for door in [one, other] {
        let who = with_cookie(door, Method::GET).await.unwrap();
        assert_eq!(who.status(), 200);
    }
    let ended = with_cookie(one, Method::DELETE).await.unwrap();
    assert_eq!(ended.status(), 204);
    let who = with_cookie(other, Method::GET).await.unwrap();
    assert_eq!(who.status(), 401);

    // A key that is revoked at one reads nothing at the other a second later.
    other
        .done(Method::DELETE, "/api/keys/bot", ADMIN, json!({}))
        .await;
    one.until(&path, &key, 401, SOON).await;
    assert_eq!(one.status(&path, &key).await, 401);

    // What is removed at one is gone at the other.
    let removed = format!("/api/accounts/{account}");
    assert_eq!(other.status(&path, ADMIN).await, 200);
    one.done(Method::DELETE, &removed, ADMIN, json!({})).await;
    other.until(&path, ADMIN, 404, SOON).await;
    both.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counted_readings_verifications_and_lockouts_are_exact_over_both() {
    let Some((both, ..)) = start().await else {
        return;
    };
    let (one, other) = (&both.one, &both.other);
    let account = other.account("counted").await;
    let key = one.key("leased", "reader", true).await;
    let grant = json!({"caller": "leased", "account": account, "reads": 5});
    one.done(Method::POST, "/api/grants", ADMIN, grant).await;
    let path = format!("/api/tokens?id={account}");
    let mut readings = JoinSet::new();
    for number in 0..40 {
        let door = [one, other][number % 2];
        let request = door.request(Method::GET, &path).bearer_auth(&key);
        readings.spawn(async move { request.send().await.unwrap().status() });
    }
    let read = readings.join_all().await;
    let given = read.iter().filter(|status| **status == 200).count();
    assert_eq!(given, 5, "{read:?}");

    // One code, checked at both at once, is right once.
    let read: Value = one.get(&path, ADMIN).await.json().await.unwrap();
    let code = read["token"].as_str().unwrap().to_owned();
    let verify = format!("/api/accounts/{account}/verify");
    let mut checks = JoinSet::new();
    for number in 0..8 {
        let door = [one, other][number % 2];
        let request = door.request(Method::POST, &verify);
        // Each of a caller of its own: nobody is locked out.
        let who = door
            .key(&format!("checker-{number}"), "reader", false)
            .await;
        let request = request.bearer_auth(who).json(&json!({"token": code}));
        checks.spawn(async move { request.send().await.unwrap().json::<Value>().await.unwrap() });
    }
    let checked = checks.join_all().await;
    let valid = checked.iter().filter(|it| it["valid"] == true).count();
    assert_eq!(valid, 1, "{checked:?}");

    // Guesses at one count at the other.
    let guesser = one.key("guesser", "reader", false).await;
    let second = other.account("guessed").await;
    let verify = format!("/api/accounts/{second}/verify");
    let mut statuses = Vec::new();
    for number in 0..8 {
        let door = [one, other][number % 2];
        let body = json!({"token": "000000"});
        let tried = door.send(Method::POST, &verify, &guesser, body).await;
        statuses.push(tried.status());
    }
    let (tried, refused) = statuses.split_at(5);
    assert!(tried.iter().all(|it| *it == 200), "{statuses:?}");
    assert!(
        refused
            .iter()
            .all(|it| *it == StatusCode::TOO_MANY_REQUESTS),
        "{statuses:?}"
    );
    both.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_are_two_people_at_any_front_door_and_one_chain_records_them() {
    let Some((both, name, server)) = start().await else {
        return;
    };
    let (one, other) = (&both.one, &both.other);
    let account = one.account("exported").await;
    // A key of the requester's own making is the requester.
    let own = other.key("own", "approver", false).await;
    let ask = format!("/api/accounts/{account}/requests");
    let body = json!({"kind": "export", "reason": "a drill"});
    let asked = one.done(Method::POST, &ask, ADMIN, body).await;
    let id = asked["id"].as_str().unwrap().to_owned();
    let request = format!("/api/requests/{id}");
    let decide = format!("{request}/approval");
    let yes = json!({"approved": true});
    for (door, key) in [
        (one, ADMIN),
        (other, ADMIN),
        (one, own.as_str()),
        (other, &own),
    ] {
        let refused = door.send(Method::POST, &decide, key, yes.clone()).await;
        assert_eq!(refused.status(), 403);
    }
    let export = format!("{request}/export");
    for door in [one, other] {
        let refused = door.send(Method::POST, &export, ADMIN, json!({})).await;
        assert_eq!(refused.status(), 409, "nobody has agreed");
    }
    let approver = approver(&both).await;
    let agreed = other.send(Method::POST, &decide, &approver, yes).await;
    assert_eq!(agreed.status(), 202);
    let given = one.done(Method::POST, &export, ADMIN, json!({})).await;
    assert!(given["uri"].as_str().unwrap().contains(SECRET));

    // A caller of either sees what was done at both.
    let page = one.get("/api/audit?limit=200", ADMIN).await;
    let seen = page.json::<Value>().await.unwrap()["entries"].clone();
    let seen = seen.as_array().unwrap();
    for action in ["create-key", "export"] {
        assert!(seen.iter().any(|it| it["action"] == action), "{action}");
    }
    let folder = both.stop().await;
    for place in ["one", "other"] {
        let checked = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["audit", "verify", "--json", "--data-dir"])
            .arg(folder.path().join(place))
            .env(
                "COUNTERSIGN_DATABASE_URL",
                at(server.port(), &name).to_string(),
            )
            .output()
            .unwrap();
        let said: Value = serde_json::from_slice(&checked.stdout).unwrap_or_default();
        assert_eq!(said["intact"], true, "{place}: {checked:?}");
        assert!(said["entries"].as_u64().unwrap() >= seen.len() as u64);
    }

    // A dump of all that holds no secret, and nothing that opens one.
    let dump = server.dump(&name).unwrap();
    let mut sought = vec![SECRET.to_owned(), ADMIN.to_owned(), approver, own];
    for file in crate::installation::KEYS {
        if !file.ends_with(".pub") {
            let text = std::fs::read_to_string(folder.path().join("one").join(file)).unwrap();
            sought.extend(text.split_whitespace().map(str::to_owned));
        }
    }
    for secret in sought.iter().filter(|text| text.len() >= 32) {
        assert!(!dump.contains(secret.as_str()), "the dump holds a secret");
    }
}

/// Someone whose key no administrator has made over HTTP, by `countersign key create`.
async fn approver(both: &Installation) -> String {
    both.local_key("approver", "approver").await
}
