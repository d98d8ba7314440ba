//! The same account twice: found by its content whichever way it came in, said to whoever adds
//! it, and left to them.

use std::io::Write as _;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, App, Caller, PATIENCE, qr_png};

const URI: &str =
    "otpauth://totp/GitHub:alice?secret=MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43U&issuer=GitHub";

/// The same secret and codes under another name.
const RENAMED: &str =
    "otpauth://totp/Old%20phone:al?secret=mfrggzdfmztwq2lknnwg23tpobyxe43u&digits=6";

async fn import(caller: &Caller, query: &str, file: &[u8]) -> Answer {
    let path = format!("/api/imports{query}");
    let kind = "application/octet-stream";
    let started = caller.post_bytes(&path, kind, file.to_vec()).await;
    assert_eq!(started.status, StatusCode::ACCEPTED, "{started:?}");
    let begun = std::time::Instant::now();
    loop {
        let answer = caller
            .get(&format!("/api/imports/{}?wait=5", started.id()))
            .await;
        if answer.body["stage"] == "Done" {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer:?}");
    }
}

fn results(answer: &Answer) -> Vec<&str> {
    let accounts = answer.body["accounts"].as_array().unwrap().iter();
    accounts.map(|it| it["result"].as_str().unwrap()).collect()
}

async fn count(admin: &Caller) -> usize {
    let accounts = admin.get("/api/accounts?limit=200").await;
    accounts.body["accounts"].as_array().unwrap().len()
}

fn duplicate(answer: &Value) -> &Value {
    let mut warnings = answer["warnings"].as_array().unwrap().iter();
    warnings
        .rfind(|warning| warning["warning"] == "duplicate")
        .expect("it says so")
}

#[tokio::test]
async fn of_accounts_that_are_added_at_the_same_moment_one_has_a_warning() {
    let app = App::start().await;
    let admin = app.admin();
    let add = async |name: &str| {
        let uri = URI.replace("alice", name);
        admin.post("/api/accounts", &json!({ "uri": uri })).await
    };
    let added = tokio::join!(add("a"), add("b"), add("c"));
    let added = [added.0, added.1, added.2];
    let ids = added
        .each_ref()
        .map(|answer| answer.body["secretName"].clone());
    let told: Vec<&Value> = added
        .iter()
        .filter_map(|answer| answer.body["warnings"].as_array())
        .flatten()
        .collect();
    // The last one that was stored sees those before it.
    assert!(!told.is_empty(), "{added:?}");
    for warning in told {
        assert_eq!(warning["warning"], "duplicate", "{added:?}");
        let others = warning["accounts"].as_array().unwrap();
        assert!(others.iter().all(|id| ids.contains(id)), "{added:?}");
    }
}

#[tokio::test]
async fn adding_an_account_again_warns_and_leaves_the_choice() {
    let app = App::start().await;
    let admin = app.admin();
    let enroller = app.new_caller("enroller", "enroller");
    let first = enroller.enroll(URI, false).await;
    assert_eq!(enroller.ended(&first).await.body["warnings"], Value::Null);

    // Both are kept unless someone says otherwise; ids are for those who see accounts.
    for uri in [URI, RENAMED] {
        let again = enroller.enroll(uri, false).await;
        let told = enroller.ended(&again).await;
        assert_eq!(told.body["stage"], "Enrolled", "{told:?}");
        assert_eq!(duplicate(&told.body).get("accounts"), None, "{told:?}");
        let told = admin.get(&format!("/api/enrollments/{again}")).await;
        assert_eq!(duplicate(&told.body)["accounts"][0], first, "{told:?}");
    }
    let created = admin.post("/api/accounts", &json!({ "uri": URI })).await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    assert_eq!(duplicate(&created.body)["accounts"][0], first);
    assert_eq!(count(&admin).await, 4);

    // An image, too.
    let picture = |query: &str| {
        let path = format!("/api/enrollments{query}");
        let admin = admin.clone();
        async move { admin.post_bytes(&path, "image/png", qr_png(RENAMED)).await }
    };
    let refused = picture("?duplicates=refuse").await;
    assert_eq!(refused.status, StatusCode::ACCEPTED, "{refused:?}");
    let refused = admin.ended(&refused.id()).await;
    assert_eq!(refused.body["stage"], "Invalid", "{refused:?}");
    assert_eq!(refused.body["problem"]["code"], "account-there");
    let there = refused.body["problem"]["accounts"].as_array().unwrap();
    assert!(there.contains(&json!(first)), "{refused:?}");
    let refused = enroller
        .post("/api/accounts?duplicates=refuse", &json!({ "uri": URI }))
        .await;
    refused.assert_problem(422, "account-there");
    assert!(!refused.body.to_string().contains("totp-"), "{refused:?}");
    picture("?duplicates=both")
        .await
        .assert_problem(400, "invalid-parameter");
    // Other codes are another account, and one that is out of use is none.
    let other = format!("{URI}&digits=8");
    let other = admin
        .post("/api/accounts?duplicates=refuse", &json!({ "uri": other }))
        .await;
    assert_eq!(other.status, StatusCode::CREATED, "{other:?}");
    assert_eq!(other.body["warnings"], Value::Null, "{other:?}");
    assert_eq!(count(&admin).await, 5);
    let only = "otpauth://totp/a?secret=ON2GC5DFNVSW45BAOB2XEYLO";
    let only = json!({ "uri": only });
    let gone = admin.post("/api/accounts", &only).await;
    let gone = gone.body["secretName"].as_str().unwrap();
    admin.delete(&format!("/api/accounts/{gone}")).await;
    let back = admin.post("/api/accounts?duplicates=refuse", &only).await;
    assert_eq!(back.status, StatusCode::CREATED, "{back:?}");
}

#[tokio::test]
async fn of_many_at_the_same_moment_one_is_kept() {
    let app = App::start().await;
    let admin = app.admin();
    let sending = (0..16).map(|number| {
        let uri = format!("otpauth://totp/ACME:{number}?secret=NBSWY3DPFQQHO33SNRSCCII");
        let admin = admin.clone();
        async move {
            let body = json!({ "uri": uri });
            let started = admin
                .post("/api/enrollments?duplicates=refuse", &body)
                .await;
            assert_eq!(started.status, StatusCode::ACCEPTED, "{started:?}");
            admin.ended(&started.id()).await
        }
    });
    let ended = futures_util::future::join_all(sending).await;
    let kept: Vec<_> = ended
        .iter()
        .filter(|answer| answer.body["stage"] == "Enrolled")
        .collect();
    assert_eq!(kept.len(), 1, "{ended:?}");
    let kept = kept[0].id();
    let others = ended.iter().filter(|answer| answer.id() != kept);
    for refused in others {
        assert_eq!(refused.body["stage"], "Invalid", "{refused:?}");
        let problem = &refused.body["problem"];
        assert_eq!(problem["code"], "account-there", "{refused:?}");
        assert_eq!(problem["accounts"], json!([kept]), "{refused:?}");
    }
    assert_eq!(count(&admin).await, 1);
}

#[tokio::test]
async fn an_archive_adds_nothing_that_is_there_however_it_came_in() {
    let app = App::start().await;
    let admin = app.admin();
    let enroller = app.new_caller("enroller", "enroller");
    let single = enroller.enroll(URI, false).await;
    assert_eq!(enroller.ended(&single).await.body["stage"], "Enrolled");
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let data =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("enrollment/tests/data/import");
    let files = [
        "aegis-plain.json",
        "keepassxc.xml",
        "bitwarden.csv",
        "raivo.json",
    ];
    for name in files {
        let content = std::fs::read(data.join(name)).unwrap();
        archive
            .start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        archive.write_all(&content).unwrap();
    }
    archive
        .start_file("list.txt", zip::write::SimpleFileOptions::default())
        .unwrap();
    archive
        .write_all(format!("{URI}\n{RENAMED}\n").as_bytes())
        .unwrap();
    let archive = archive.finish().unwrap().into_inner();

    let dry = import(&admin, "?dryRun=true&duplicates=skip", &archive).await;
    assert_eq!(
        results(&dry)[results(&dry).len() - 2..],
        ["already-there"; 2],
        "{dry:?}"
    );
    let first = import(&enroller, "", &archive).await;
    let told = results(&first);
    // Under its name it is not added again; under another it is, and that is said.
    assert_eq!(
        told[told.len() - 2..],
        ["already-there", "enrolled"],
        "{first:?}"
    );
    let accounts = first.body["accounts"].as_array().unwrap();
    assert_eq!(accounts[accounts.len() - 2]["id"], Value::Null, "{first:?}");
    assert!(duplicate(&accounts[accounts.len() - 1]).is_object());
    let before = count(&admin).await;
    for query in ["", "?duplicates=skip"] {
        let again = import(&admin, query, &archive).await;
        for (first, again) in told.iter().zip(results(&again)) {
            let expected = match *first {
                "enrolled" => "already-there",
                other => other,
            };
            assert_eq!(again, expected, "{first:?}");
        }
        assert_eq!(count(&admin).await, before);
    }
    let request = admin.request(Method::POST, "/api/imports?duplicates=merge");
    let answer = admin.send(request.body("otpauth://")).await;
    answer.assert_problem(400, "invalid-parameter");
}

#[tokio::test]
async fn every_one_of_two_thousand_accounts_is_reported() {
    let app = App::start().await;
    let account = |number: usize| {
        let secret =
            data_encoding::BASE32_NOPAD.encode(format!("secret number {number:06}").as_bytes());
        (format!("account-{number}"), secret)
    };
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let mut add = |name: &str, content: String| {
        archive
            .start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        archive.write_all(content.as_bytes()).unwrap();
    };
    let lines = (0..700).map(account);
    let mut list: String = lines
        .map(|(name, secret)| format!("otpauth://totp/List:{name}?secret={secret}&issuer=List\n"))
        .collect();
    list.push_str("otpauth://totp/List:damaged?secret=GEZDGNBV0189&issuer=List\n");
    add("list.txt", list);
    let rows = (700..1_400).map(account);
    let rows: String = rows
        .map(|(name, secret)| format!("{name},https://example.com,alice,{secret}\n"))
        .collect();
    add("table.csv", format!("name,url,username,totp\n{rows}"));
    let items = (1_400..1_999).map(account).map(|(name, secret)| {
        json!({"type": 1, "name": name, "login": {"username": "alice", "totp": secret}})
    });
    let items: Vec<Value> = items.collect();
    add(
        "bitwarden.json",
        json!({"encrypted": false, "items": items}).to_string(),
    );
    let archive = archive.finish().unwrap().into_inner();

    // The API says what to do.
    let answer = app
        .admin()
        .post_bytes("/api/imports", "application/zip", archive.clone())
        .await;
    answer.assert_problem(422, "import-too-many");
    let next = answer.body["nextStep"].as_str().unwrap();
    assert!(next.contains("countersign import"), "{next}");

    let file = app.folder().join("all.zip");
    std::fs::write(&file, archive).unwrap();
    let output = app.command(&["import", file.to_str().unwrap(), "--dry-run", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let accounts = told["accounts"].as_array().unwrap();
    assert_eq!(accounts.len(), 2_000, "{output:?}");
    let of = |result: &str| accounts.iter().filter(|it| it["result"] == result).count();
    assert_eq!((of("new"), of("invalid")), (1_999, 1));
    for (position, account) in (1..).zip(accounts) {
        assert_eq!(account["position"], position);
    }
    let damaged = accounts
        .iter()
        .find(|it| it["result"] == "invalid")
        .unwrap();
    assert_eq!(damaged["position"], 701, "{damaged}");
    assert!(damaged["problem"]["code"].is_string(), "{damaged}");
    assert!(!damaged.to_string().contains("GEZDGNBV"), "{damaged}");
}
