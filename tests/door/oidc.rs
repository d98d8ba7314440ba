//! Callers with tokens of an issuer.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use countersign::access::{Grantee, OidcSettings};
use countersign::clock::ManualClock;
use countersign::config::{Config, Settings};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::server::Server;
use crate::support::issuer::{AUDIENCE, Issuer, SigningKey};

/// The settings for an issuer, as an operator writes them.
fn settings(issuer: &Issuer, change: impl FnOnce(&mut Settings)) -> Option<OidcSettings> {
    let mut settings = Settings {
        oidc_issuer: Some(issuer.name()),
        oidc_audience: Some(AUDIENCE.to_owned()),
        ..Settings::default()
    };
    change(&mut settings);
    Config::resolve(&settings, |_| None).unwrap().oidc
}

fn claims(issuer: &Issuer, now: DateTime<Utc>, roles: &[&str]) -> Value {
    json!({
        "iss": issuer.name(),
        "aud": AUDIENCE,
        "sub": "alice",
        "preferred_username": "alice@example.com",
        "roles": roles,
        "groups": ["ops"],
        "iat": now.timestamp(),
        "exp": (now + TimeDelta::hours(1)).timestamp(),
    })
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

async fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    let code = body["code"].as_str().unwrap_or_default().to_owned();
    (status, code)
}

#[tokio::test]
async fn a_token_is_taken_from_its_issuer_alone_and_each_fault_has_its_words() {
    let now = Utc::now();
    let kinds = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256];
    let keys = kinds.map(|kind| SigningKey::new(&format!("{kind:?}"), kind));
    let issuer = Issuer::start(&keys.each_ref()).await;
    let server = Server::start_with(|config| config.oidc = settings(&issuer, |_| ())).await;
    let reader = claims(&issuer, now, &["reader"]);
    for key in &keys {
        let token = key.sign(&reader);
        // Checked, then remembered.
        for _ in 0..2 {
            assert_eq!(server.get("/api/accounts", &token).await.status(), 200);
        }
        let forbidden = code(server.get("/api/keys", &token).await).await;
        assert_eq!(forbidden, (403, "role-missing".to_owned()));
    }
    let session = server.get("/api/session", &keys[0].sign(&reader)).await;
    let session: Value = session.json().await.unwrap();
    assert_eq!(session["caller"], "oidc:alice");
    assert_eq!(session["displayName"], "alice@example.com");
    assert_eq!(session["roles"], json!(["reader"]));
    assert_eq!(session["groups"], json!(["ops"]));
    assert_eq!(session["grantedOnly"], false);

    // A token is proof for one request; no session outlives it.
    let login = server.request(Method::POST, "/api/session");
    let login = login
        .header("sec-fetch-site", "same-origin")
        .json(&json!({}))
        .bearer_auth(keys[0].sign(&reader))
        .send()
        .await
        .unwrap();
    assert_eq!(login.status(), 200);
    assert!(login.headers().get("set-cookie").is_none());

    let key = &keys[0];
    let long_ago = (now - TimeDelta::minutes(5)).timestamp();
    let to_come = (now + TimeDelta::minutes(5)).timestamp();
    let stranger = SigningKey::new("ES256", Algorithm::ES256);
    let unknown = SigningKey::new("unknown", Algorithm::ES256);
    let shared = |secret: &[u8]| {
        let key = EncodingKey::from_secret(secret);
        encode(&Header::new(Algorithm::HS256), &reader, &key).unwrap()
    };
    let of_kind = |kind: &str| {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(kind.to_owned());
        key.sign_with(&header, &reader)
    };
    let good = key.sign(&reader);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (head, body) = signed.split_once('.').unwrap();
    let none = BASE64URL_NOPAD.encode(br#"{"alg":"none","typ":"JWT"}"#);
    let richer = with(reader.clone(), "roles", json!(["admin"])).to_string();
    let richer = BASE64URL_NOPAD.encode(richer.as_bytes());
    let changed = |name: &str, value: Value| key.sign(&with(reader.clone(), name, value));
    let mut critical = Header::new(Algorithm::ES256);
    critical.crit = Some(vec!["b64".to_owned()]);
    let table: Vec<(&str, String, &str)> = vec![
        ("expired", changed("exp", json!(long_ago)), "token-expired"),
        (
            "not yet",
            changed("nbf", json!(to_come)),
            "token-not-yet-valid",
        ),
        (
            "of the future",
            changed("iat", json!(to_come)),
            "token-not-yet-valid",
        ),
        (
            "for another",
            changed("aud", json!("another")),
            "token-audience",
        ),
        (
            "from another",
            changed("iss", json!("https://a.example")),
            "token-invalid",
        ),
        ("no expiry", changed("exp", Value::Null), "token-invalid"),
        ("no audience", changed("aud", Value::Null), "token-invalid"),
        ("no issuer", changed("iss", Value::Null), "token-invalid"),
        (
            "a list with the issuer",
            changed("iss", json!([issuer.name()])),
            "token-invalid",
        ),
        (
            "a longer list",
            changed("iss", json!(["https://a.example", issuer.name()])),
            "token-invalid",
        ),
        ("no subject", changed("sub", Value::Null), "token-invalid"),
        (
            "another's key of the same name",
            stranger.sign(&reader),
            "token-invalid",
        ),
        ("an unknown key", unknown.sign(&reader), "token-invalid"),
        (
            "the public key as a secret",
            shared(key.public_pem().as_bytes()),
            "token-invalid",
        ),
        ("the set's own secret", shared(b"secret"), "token-invalid"),
        ("none", format!("{none}.{body}."), "token-invalid"),
        (
            "none with a signature",
            format!("{none}.{body}.{signature}"),
            "token-invalid",
        ),
        (
            "other claims",
            format!("{head}.{richer}.{signature}"),
            "token-invalid",
        ),
        ("no signature", format!("{head}.{body}."), "token-invalid"),
        ("a logout token", of_kind("logout+jwt"), "token-invalid"),
        (
            "something critical",
            key.sign_with(&critical, &reader),
            "token-invalid",
        ),
        ("garbage", "eyJ.eyJ.x".to_owned(), "token-invalid"),
        (
            "too long",
            format!("{}.b.c", "eyJ".repeat(6000)),
            "token-invalid",
        ),
        ("no token at all", "eyJ".to_owned(), "unauthenticated"),
    ];
    for (what, token, expected) in table {
        let refused = server.get("/api/accounts", &token).await;
        let challenge = refused.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains("error=\"invalid_token\""), "{what}");
        assert_eq!(code(refused).await, (401, expected.to_owned()), "{what}");
    }
    assert_eq!(
        server
            .get("/api/accounts", &of_kind("at+jwt"))
            .await
            .status(),
        200
    );
    let listed = changed("aud", json!(["another", AUDIENCE]));
    assert_eq!(server.get("/api/accounts", &listed).await.status(), 200);
    // Keys and the administrator's token are taken as before.
    assert_eq!(
        server.get("/api/accounts", &server.admin).await.status(),
        200
    );
    server.stop().await;
}

#[tokio::test]
async fn keys_rotate_and_outlive_an_issuer_that_is_silent_for_a_while() {
    let start = Utc::now();
    let clock = ManualClock::new(start);
    let [first, second, third] =
        ["first", "second", "third"].map(|id| SigningKey::new(id, Algorithm::ES256));
    let issuer = Issuer::start(&[&first]).await;
    let stale = |settings: &mut Settings| settings.oidc_max_stale = Some("2h".to_owned());
    let server = Server::start_on(Arc::new(clock.clone()), |config| {
        config.oidc = settings(&issuer, stale);
    })
    .await;
    let token = |key: &SigningKey| {
        let claims = claims(&issuer, start, &["reader"]);
        key.sign(&with(
            claims,
            "exp",
            json!((start + TimeDelta::hours(9)).timestamp()),
        ))
    };
    let answer =
        async |key: &SigningKey| code(server.get("/api/accounts", &token(key)).await).await;
    let taken = (200, String::new());
    let refused = (401, "token-invalid".to_owned());
    assert_eq!(answer(&first).await, taken);

    // A new key is fetched when a token names it, but not at every stranger's whim.
    issuer.publish(&[&first, &second]);
    clock.set(start + TimeDelta::minutes(1));
    assert_eq!(answer(&second).await, taken);
    assert_eq!(answer(&first).await, taken);
    let asked = issuer.asked();
    for _ in 0..20 {
        assert_eq!(answer(&third).await, refused);
    }
    assert_eq!(issuer.asked(), asked, "asked moments ago");

    // The old key goes; tokens that it has signed stop with it, remembered or not.
    issuer.publish(&[&second, &third]);
    clock.set(start + TimeDelta::minutes(2));
    assert_eq!(answer(&third).await, taken);
    assert_eq!(answer(&first).await, refused);
    assert_eq!(answer(&second).await, taken);

    issuer.fall_silent(true);
    clock.set(start + TimeDelta::minutes(90));
    assert_eq!(answer(&second).await, taken);
    assert_eq!(answer(&first).await, refused);
    clock.set(start + TimeDelta::hours(3));
    let unavailable = (503, "issuer-unavailable".to_owned());
    assert_eq!(answer(&second).await, unavailable);
    assert_eq!(
        server.get("/api/accounts", &server.admin).await.status(),
        200
    );

    issuer.fall_silent(false);
    assert_eq!(answer(&second).await, unavailable, "asked moments ago");
    clock.set(start + TimeDelta::hours(3) + TimeDelta::minutes(1));
    assert_eq!(answer(&second).await, taken);
    server.stop().await;
}

#[tokio::test]
async fn claims_become_roles_groups_and_grants() {
    let key = SigningKey::new("only", Algorithm::ES256);
    let issuer = Issuer::start(&[&key]).await;
    let change = |settings: &mut Settings| {
        settings.oidc_subject_claim = Some("oid".to_owned());
        settings.oidc_roles_claim = Some("app.roles".to_owned());
        settings.oidc_role_map = Some("Totp.Read=granted-reader,Totp.All=admin".to_owned());
        // Explicit, past discovery.
        settings.oidc_jwks_url = Some(format!("{}/keys", issuer.name()));
    };
    let server = Server::start_with(|config| config.oidc = settings(&issuer, change)).await;
    let (ours, alices, other) = (
        server.account().await,
        server.account().await,
        server.account().await,
    );
    server.grant(Grantee::Group("ops".parse().unwrap()), &ours);
    server.grant(Grantee::Caller("oidc:alice-oid".to_owned()), &alices);
    let token = |oid: &str, roles: &[&str]| {
        let mut claims = claims(&issuer, Utc::now(), &["admin"]);
        claims["oid"] = json!(oid);
        claims["app"] = json!({ "roles": roles });
        key.sign(&claims)
    };
    let (alice, bob) = (
        token("alice-oid", &["Totp.Read"]),
        token("bob-oid", &["Totp.Read", "admin"]),
    );
    for (account, for_alice, for_bob) in
        [(&ours, 200, 200), (&alices, 200, 404), (&other, 404, 404)]
    {
        let path = format!("/api/tokens?id={account}");
        assert_eq!(server.get(&path, &alice).await.status(), for_alice);
        assert_eq!(server.get(&path, &bob).await.status(), for_bob);
    }
    let admin = token("carol-oid", &["Totp.All"]);
    assert_eq!(server.get("/api/audit", &admin).await.status(), 200);
    let nobody = code(server.get("/api/accounts", &token("dave", &[])).await).await;
    assert_eq!(nobody, (403, "role-missing".to_owned()));

    // Who asked is kept under the issuer's id, and nobody decides on their own.
    let post = |path: String, body: Value| {
        let request = server.request(Method::POST, &path).bearer_auth(&admin);
        request.json(&body).send()
    };
    let path = "/api/enrollments?approval=required".to_owned();
    let started = post(path, json!({"uri": crate::support::SEED_URI}))
        .await
        .unwrap();
    assert_eq!(started.status(), 202);
    let started: Value = started.json().await.unwrap();
    let status = format!("{}?wait=20", started["statusQueryGetUri"].as_str().unwrap());
    let mut shown = started.clone();
    // Each wait ends with the next stage.
    while shown["stage"] != "AwaitingApproval" {
        let answer = server.get(&status, &admin).await;
        assert_eq!(answer.status(), 202);
        shown = answer.json().await.unwrap();
    }
    assert_eq!(shown["requestedBy"], "oidc:carol-oid");
    let approval = started["approvalPostUri"].as_str().unwrap().to_owned();
    let own = post(approval, json!({"approved": true})).await.unwrap();
    assert_eq!(code(own).await, (403, "self-approval-forbidden".to_owned()));
    server.stop().await;
}
