//! A planted secret is found nowhere: not in a database, a log or an answer.

use std::fs;
use std::path::Path;

use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL, HEXLOWER, HEXUPPER};
use reqwest::StatusCode;
use serde_json::json;

use crate::support::{App, Caller, png, qr_png};

/// The planted secret, in base32: nothing else looks like it.
const MARKER: &str = "LEAKMARKERSECRETLEAKMARKERSECRET";

/// What to look for: each form that the marker could have been copied in.
fn needles(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut needles = vec![secret.to_vec()];
    for hex in [HEXLOWER.encode(secret), HEXUPPER.encode(secret)] {
        needles.push(hex.into_bytes());
    }
    for encoding in [&BASE64, &BASE64URL] {
        for offset in 0..3 {
            // Inside a longer text, base64 depends on where the secret begins.
            let mut padded = vec![0; offset];
            padded.extend_from_slice(secret);
            let text = encoding.encode(&padded);
            let text = text.trim_end_matches('=').as_bytes();
            // The first and last group mix in the neighbours.
            needles.push(text[4..text.len() - 4].to_vec());
        }
    }
    needles
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

/// Every file under a folder but the keys, which hold no TOTP secret.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    found
}

/// Follows an enrollment to its end; answers its stage.
async fn outcome(caller: &Caller, id: &str) -> String {
    let ended = caller.ended(id).await;
    ended.body["stage"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_planted_secret_is_found_nowhere() {
    let uri = format!("otpauth://totp/Leak:test?secret={MARKER}&issuer=Leak");
    let picture = qr_png(&uri);
    let mut app = App::start_with(&["--approval-timeout", "2s"]).await;
    let approver = app.new_caller("second-pair-of-eyes", "approver");

    // Good: by URI, by picture, by the seed's endpoint.
    let admin = app.admin();
    let good = admin.enroll(&uri, false).await;
    assert_eq!(outcome(&admin, &good).await, "Enrolled");
    let answer = admin
        .post_bytes("/api/enrollments", "image/png", picture.clone())
        .await;
    assert_eq!(outcome(&admin, &answer.id()).await, "Enrolled");
    let answer = admin.post("/api/accounts", &json!({ "uri": uri })).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    admin.get(&format!("/api/tokens?id={good}")).await;
    admin.get("/api/accounts").await;

    // Refused at the door, in the picture, by the approver; expired; terminated.
    let broken = uri.replace("otpauth://totp", "otpauth://hotp");
    assert_eq!(
        admin
            .post("/api/enrollments", &json!({ "uri": broken }))
            .await
            .status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let answer = admin
        .post_bytes("/api/enrollments", "image/png", qr_png(&broken))
        .await;
    assert_eq!(outcome(&admin, &answer.id()).await, "Invalid");
    let answer = admin
        .post_bytes(
            "/api/enrollments",
            "image/png",
            qr_png(&format!("WIFI:P:{MARKER};;")),
        )
        .await;
    assert_eq!(outcome(&admin, &answer.id()).await, "Invalid");
    let refused = admin.enroll(&uri, true).await;
    approver.until_stage(&refused, "AwaitingApproval").await;
    approver.decide(&refused, false, "no").await;
    assert_eq!(outcome(&admin, &refused).await, "Rejected");
    let terminated = admin.enroll(&uri, true).await;
    admin
        .delete(&format!("/api/enrollments/{terminated}"))
        .await;
    assert_eq!(outcome(&admin, &terminated).await, "Terminated");
    let expired = admin.enroll(&uri, true).await;
    assert_eq!(outcome(&admin, &expired).await, "Expired");

    // Malformed requests that carry it in odd places.
    admin
        .post_bytes(
            "/api/enrollments",
            "application/json",
            format!("{{\"uri\": \"{uri}").into_bytes(),
        )
        .await;
    admin
        .post("/api/enrollments", &json!({ "uri": [uri] }))
        .await;
    admin
        .post("/api/enrollments", &json!({ MARKER: uri }))
        .await;
    admin
        .post_bytes("/api/enrollments", "text/plain", uri.clone().into_bytes())
        .await;
    admin
        .post_bytes("/api/enrollments", "image/png", uri.clone().into_bytes())
        .await;
    admin.get(&format!("/api/tokens?id={MARKER}")).await;

    // Crashed: killed with enrollments under way.
    for _ in 0..3 {
        let admin = app.admin();
        for _ in 0..4 {
            admin.enroll(&uri, false).await;
            admin
                .post_bytes("/api/enrollments", "image/png", picture.clone())
                .await;
        }
        app.kill();
        app.launch().await;
    }

    // The command line, with the URI on standard input and as an argument.
    let shown = app.command(&["enroll", &uri, "--json"]);
    assert!(shown.status.success(), "{shown:?}");
    let listed = app.command(&["list"]);
    // The picture goes on being one after the middle; its pixels would show too.
    let dashboard = app.dashboard_pages().await;

    let secret = BASE32_NOPAD.decode(MARKER.as_bytes()).unwrap();
    let mut needles = needles(&secret);
    needles.extend(self::needles(MARKER.as_bytes()));
    needles.extend(self::needles(MARKER.to_lowercase().as_bytes()));
    let middle = &picture[picture.len() / 2 - 12..picture.len() / 2 + 12];
    needles.extend(self::needles(middle));

    app.stop().await;
    let mut places = files(app.folder());
    places.push(("answers".to_owned(), app.answers().join("\n").into_bytes()));
    places.push(("enroll output".to_owned(), shown.stdout));
    places.push(("enroll progress".to_owned(), shown.stderr));
    places.push(("list output".to_owned(), listed.stdout));
    places.push(("dashboard".to_owned(), dashboard.into_bytes()));

    let databases = places.iter().filter(|(name, _)| name.ends_with(".sqlite3"));
    assert!(
        databases.count() >= 2,
        "the scheduler's and the vault's database are searched"
    );
    let logs = app.logs();
    assert!(logs.contains("TRACE"), "logs are at their most talkative");
    assert!(logs.contains(&good), "logs name the enrollment");
    for (name, bytes) in &places {
        for needle in &needles {
            assert!(
                !contains(bytes, needle),
                "{name} holds the planted secret as {:?}",
                String::from_utf8_lossy(needle)
            );
        }
    }
}

#[tokio::test]
async fn the_search_would_find_it() {
    let secret = BASE32_NOPAD.decode(MARKER.as_bytes()).unwrap();
    let needles = needles(&secret);
    let mut text = b"some words before it ".to_vec();
    text.extend_from_slice(&secret);
    text.extend_from_slice(b" and after");
    for copy in [
        text.clone(),
        HEXLOWER.encode(&text).into_bytes(),
        BASE64.encode(&text).into_bytes(),
        BASE64URL.encode(&text[1..]).into_bytes(),
    ] {
        assert!(needles.iter().any(|needle| contains(&copy, needle)));
    }
    let picture = png(&image::DynamicImage::new_luma8(30, 30));
    assert!(!needles.iter().any(|needle| contains(&picture, needle)));
}
