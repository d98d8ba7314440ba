//! The database's clock is wrong, and that decides nothing.

use chrono::{DateTime, TimeDelta, Utc};
use countersign_database::testing::{Postgres, Setup};
use reqwest::Method;
use serde_json::{Value, json};

use crate::installation::{ADMIN, Installation, at};

#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_clock_is_days_off_changes_nothing() {
    for off in ["+3d", "-3d"] {
        let setup = Setup {
            clock: Some(off),
            ..Setup::default()
        };
        let Some(server) = tokio::task::block_in_place(|| Postgres::start(setup)) else {
            return;
        };
        let name = tokio::task::block_in_place(|| server.make());
        let at = at(server.port(), &name);
        let both = Installation::start(&at, &at).await;
        let (one, other) = (&both.one, &both.other);
        let begun = Utc::now();

        // A key and a grant end when they should, by the front door's clock.
        let account = one.account("timed").await;
        let key = one.key("leased", "reader", true).await;
        let until = (begun + TimeDelta::hours(1)).to_rfc3339();
        let grant = json!({"caller": "leased", "account": account, "until": until});
        one.done(Method::POST, "/api/grants", ADMIN, grant).await;
        let path = format!("/api/tokens?id={account}");
        let read: Value = other.get(&path, &key).await.json().await.unwrap();
        let code = read["token"].as_str().unwrap_or_else(|| panic!("{read}"));

        // A code is right once, a login link opens a session, which lasts.
        let verify = format!("/api/accounts/{account}/verify");
        let body = json!({ "token": code });
        let first = one.done(Method::POST, &verify, ADMIN, body.clone()).await;
        let again = other.done(Method::POST, &verify, ADMIN, body).await;
        assert_eq!(
            (&first["valid"], &again["valid"]),
            (&json!(true), &json!(false))
        );
        let link = one
            .done(Method::POST, "/api/login-links", ADMIN, json!({}))
            .await;
        let link = link["link"].as_str().unwrap();
        let code = link.split_once("#code=").unwrap().1;
        let opened = other.request(Method::POST, "/api/session");
        let opened = opened.header("sec-fetch-site", "same-origin");
        let opened = opened.json(&json!({ "code": code })).send().await.unwrap();
        assert_eq!(opened.status(), 200, "{off}");
        let mut set = opened.headers().get_all("set-cookie").iter();
        let set = set.find_map(|it| it.to_str().ok().filter(|it| !it.contains("Max-Age=0")));
        let cookie = set.unwrap().split(';').next().unwrap().to_owned();
        let who = one.request(Method::GET, "/api/session");
        let who = who.header("cookie", cookie);
        let who = who.header("sec-fetch-site", "same-origin").send().await;
        assert_eq!(who.unwrap().status(), 200, "{off}");

        // What is recorded has the time at which it was done.
        let page = other.get("/api/audit?limit=200", ADMIN).await;
        let page: Value = page.json().await.unwrap();
        let entries = page["entries"].as_array().unwrap();
        assert!(entries.len() > 5, "{page}");
        for entry in entries {
            let recorded: DateTime<Utc> = entry["at"].as_str().unwrap().parse().unwrap();
            let late = (recorded - begun).abs();
            assert!(late < TimeDelta::minutes(5), "{off}: {entry}");
        }

        // `config check` says so.
        let checked = both.check("one", &at);
        assert!(checked.said.contains("clock"), "{off}: {checked:?}");
        both.stop().await;
    }
}
