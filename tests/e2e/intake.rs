//! What people really send, in the forms that it comes in: each is enrolled as it was meant, or
//! refused with a reason that names what it is, and no answer repeats a secret.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, App, Caller};

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

fn utf16(text: &str) -> Vec<u8> {
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

fn no_secret(answer: &Answer) {
    let told = answer.body.to_string();
    assert!(!told.contains(&SECRET[..8]), "{told}");
}

/// The parameters and warnings of what was enrolled.
async fn enrolled(admin: &Caller, query: &str, kind: &str, body: Vec<u8>) -> (Value, Vec<Value>) {
    let path = format!("/api/enrollments{query}");
    let answer = admin.post_bytes(&path, kind, body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    no_secret(&answer);
    let ended = admin.ended(&answer.id()).await;
    assert_eq!(ended.body["stage"], "Enrolled", "{ended:?}");
    let mut warnings = ended.body["warnings"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    // The same secret is enrolled in many forms here.
    warnings.retain(|warning| warning["warning"] != "duplicate");
    (ended.body["preview"].clone(), warnings)
}

#[tokio::test]
async fn what_was_damaged_or_encoded_on_its_way_is_enrolled_as_it_was_meant() {
    let app = App::start().await;
    let admin = app.admin();
    let uri = format!(
        "otpauth://totp/GitHub:alice?secret={SECRET}&period=60&digits=8&issuer=GitHub&algorithm=SHA256"
    );
    let json = json!({ "uri": uri }).to_string();
    let escaped = uri.replace('&', "&amp;");
    for (kind, body, warned) in [
        ("application/json", json.clone().into_bytes(), false),
        (
            "application/json",
            format!("\u{feff}{json}").into_bytes(),
            false,
        ),
        ("application/json", utf16(&json), false),
        (
            "application/json",
            json!({ "uri": escaped }).to_string().into_bytes(),
            true,
        ),
        (
            "application/json",
            json!({ "uri": format!("\u{feff}{uri}") })
                .to_string()
                .into_bytes(),
            false,
        ),
        ("text/plain", uri.clone().into_bytes(), false),
        ("text/plain", utf16(&uri), false),
        (
            "text/plain",
            format!("\u{feff}\"{uri}\"\r\n").into_bytes(),
            false,
        ),
        (
            "text/plain",
            uri.replace("algorithm", "algor\r\nithm").into_bytes(),
            false,
        ),
        ("application/octet-stream", utf16(&uri), false),
        ("application/octet-stream", uri.clone().into_bytes(), false),
    ] {
        let (preview, warnings) = enrolled(&admin, "", kind, body).await;
        assert_eq!(preview["algorithm"], "SHA256", "{kind}");
        assert_eq!(
            (&preview["digits"], &preview["period"]),
            (&json!(8), &json!(60)),
            "{kind}"
        );
        let said = warnings
            .iter()
            .any(|it| it["warning"] == "escapesUndone" || it["code"] == "escapesUndone");
        assert_eq!(said, warned, "{kind} {warnings:?}");
    }
    for (uri, code) in [
        (
            format!("otpauth://totp/a?secret={SECRET}&peri0d=60"),
            "param-damaged",
        ),
        (
            format!("otpauth://totp/a?secret={SECRET};digits=8"),
            "param-damaged",
        ),
        (
            format!("otpauth://totp/a?secret={SECRET}#digits=8"),
            "params-conflict",
        ),
        (
            format!("otpauth://totp/a?secret={SECRET}\notpauth://totp/b?secret={SECRET}"),
            "otpauth-not-alone",
        ),
        (SECRET.to_owned(), "not-otpauth"),
        (format!("mail: secret is {SECRET}"), "not-otpauth"),
    ] {
        let answer = admin.post("/api/enrollments", &json!({ "uri": uri })).await;
        answer.assert_problem(422, code);
        no_secret(&answer);
    }
    let latin = b"otpauth://totp/caf\xe9?secret=GEZDGNBVGY3TQOJQ".to_vec();
    let answer = admin
        .post_bytes("/api/enrollments", "text/plain", latin)
        .await;
    answer.assert_problem(422, "text-undecodable");
    assert!(
        answer.body["detail"]
            .as_str()
            .unwrap()
            .contains("Windows-1252"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn steam_is_read_in_all_spellings_and_chosen_where_nothing_says_it() {
    let app = App::start().await;
    let admin = app.admin();
    for text in [
        format!("steam://{SECRET}"),
        format!("otpauth://totp/Steam:gordon?secret={SECRET}&issuer=Steam&digits=5"),
        format!(
            "otpauth://totp/gordon?secret={SECRET}&period=30&digits=6&issuer=Steam&encoder=steam"
        ),
    ] {
        let (preview, warnings) = enrolled(&admin, "", "text/plain", text.into_bytes()).await;
        assert_eq!(preview["digits"], 5);
        assert_eq!(warnings, [] as [Value; 0]);
    }
    let own = format!("otpauth://totp/Steam:gordon?secret={SECRET}&issuer=Steam");
    let (preview, warnings) = enrolled(&admin, "", "text/plain", own.clone().into_bytes()).await;
    assert_eq!(preview["digits"], 6);
    assert!(
        warnings[0]["detail"]
            .as_str()
            .unwrap()
            .contains("kind=steam"),
        "{warnings:?}"
    );
    for body in [own.clone(), SECRET.to_owned()] {
        let (preview, warnings) =
            enrolled(&admin, "?kind=steam", "text/plain", body.into_bytes()).await;
        assert_eq!((&preview["digits"], warnings.len()), (&json!(5), 0));
    }
    let other = format!("otpauth://totp/GitHub:octo?secret={SECRET}&digits=8");
    let refused = |query: &'static str, body: Vec<u8>, kind: &'static str| {
        let admin = admin.clone();
        async move {
            admin
                .post_bytes(&format!("/api/enrollments{query}"), kind, body)
                .await
        }
    };
    refused("?kind=steam", other.into_bytes(), "text/plain")
        .await
        .assert_problem(422, "params-conflict");
    refused("?kind=motp", own.clone().into_bytes(), "text/plain")
        .await
        .assert_problem(400, "invalid-parameter");
    let picture = crate::support::qr_png(&own);
    let (preview, warnings) = enrolled(&admin, "?kind=steam", "image/png", picture).await;
    assert_eq!((&preview["digits"], warnings.len()), (&json!(5), 0));

    // From the command line, where nothing that looks like a secret is repeated.
    let told = app.command(&["enroll", &own, "--kind", "steam", "--json"]);
    let shown: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(shown["preview"]["digits"], 5, "{shown}");
    for args in [
        &["enroll", SECRET][..],
        &["enroll", "GEZD", "GNBV", "GY3T", "QOJQ"],
        &["import", SECRET],
        &["import", "x.json", "--password-file", SECRET],
        &["enroll", "x.png", "--kind", SECRET],
        &["status", "totp-1", SECRET],
        &[SECRET],
    ] {
        let output = app.command(args);
        assert_ne!(output.status.code(), Some(0), "{args:?}");
        let told = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        for part in [&SECRET[..8], "GNBV", "QOJQ"] {
            assert!(!told.contains(part), "{args:?}: {told}");
        }
    }
}

#[tokio::test]
async fn files_of_all_kinds_are_imported_or_named() {
    let app = App::start().await;
    let admin = app.admin();
    let data = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/enrollment/tests/data/import");
        std::fs::read(format!("{folder}/{name}")).unwrap()
    };
    let import = async |name: &str, password: Option<&[u8]>| {
        let part = reqwest::multipart::Part::bytes(data(name)).file_name("file");
        let mut form = reqwest::multipart::Form::new().part("file", part);
        if let Some(password) = password {
            form = form.part(
                "password",
                reqwest::multipart::Part::bytes(password.to_vec()),
            );
        }
        let request = admin
            .request(Method::POST, "/api/imports?dryRun=true")
            .multipart(form);
        admin.send(request).await
    };
    let bom = b"\xef\xbb\xbfcorrect horse\r\n";
    for (name, password, count) in [
        ("2fauth.json", None, 4),
        ("1password.1pux", None, 2),
        ("keepassxc.csv", None, 2),
        ("ente-encrypted.json", Some(&bom[..]), 3),
        (
            "stratum-encrypted.stratum",
            Some(&utf16("correct horse")),
            5,
        ),
        ("raivo-encrypted.zip", Some(b"correct horse\n"), 3),
    ] {
        let answer = import(name, password).await;
        assert_eq!(answer.status, 202, "{name}: {answer:?}");
        let path = format!("/api/imports/{}?wait=10", answer.id());
        let ended = admin.get(&path).await;
        assert_eq!(ended.body["stage"], "Done", "{name}: {ended:?}");
        assert_eq!(
            ended.body["accounts"].as_array().unwrap().len(),
            count,
            "{name}: {ended:?}"
        );
        no_secret(&ended);
    }
    // Codes as images: in a web page, and in an archive.
    let code = |name: &str| {
        crate::support::qr_png(&format!(
            "otpauth://totp/{name}?secret={SECRET}&issuer=Pictures"
        ))
    };
    let tag = |name: &str| {
        let png = data_encoding::BASE64.encode(&code(name));
        format!("<td><img src=\"data:image/png;base64,{png}\"></td>")
    };
    let page = format!(
        "<!DOCTYPE html><html><table>{}{}</table></html>",
        tag("a"),
        tag("b")
    );
    let answer = admin
        .post_bytes("/api/imports?dryRun=true", "text/html", page.into_bytes())
        .await;
    let ended = admin
        .get(&format!("/api/imports/{}?wait=10", answer.id()))
        .await;
    let names: Vec<&str> = ended.body["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|account| account["preview"]["accountName"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a", "b"], "{ended:?}");
    // A code that is escaped is read like a text that is.
    let escaped = format!("otpauth://totp/a?secret={SECRET}&amp;digits=8");
    let answer = admin
        .post_bytes(
            "/api/enrollments",
            "image/png",
            crate::support::qr_png(&escaped),
        )
        .await;
    let ended = admin.ended(&answer.id()).await;
    assert_eq!(ended.body["preview"]["digits"], 8, "{ended:?}");
    let steam = crate::support::qr_png(&format!("steam://{SECRET}"));
    let answer = admin
        .post_bytes("/api/enrollments", "image/png", steam)
        .await;
    let ended = admin.ended(&answer.id()).await;
    assert_eq!(ended.body["preview"]["digits"], 5, "{ended:?}");

    let answer = import("stratum-encrypted.stratum", None).await;
    answer.assert_problem(422, "import-password-missing");
    assert!(
        answer.body["detail"].as_str().unwrap().contains("Stratum"),
        "{answer:?}"
    );
    let answer = import("raivo-encrypted.zip", Some(b"wrong")).await;
    answer.assert_problem(422, "import-password-wrong");
    let answer = import("key-vault-list.json", None).await;
    answer.assert_problem(422, "import-values-missing");
}

#[tokio::test]
async fn more_accounts_than_one_import_takes_are_sent_in_parts_and_reported_together() {
    let app = App::start().await;
    let list: String = (1..=1_203)
        .map(|number| match number % 400 {
            0 => format!("otpauth://totp/Many:{number}?secret=1\n"),
            // Its recovery codes go into the part in which it is.
            100 => format!(
                "otpauth://totp/Many:{number}?secret={SECRET}&issuer=Many\nRecovery codes:\na-1\nb-2\nc-3 (used)\n"
            ),
            _ => format!("otpauth://totp/Many:{number}?secret={SECRET}&issuer=Many\n"),
        })
        .collect();
    let file = app.folder().join("many.txt");
    std::fs::write(&file, &list).unwrap();
    let answer = app
        .admin()
        .post_bytes("/api/imports", "text/plain", list.into_bytes())
        .await;
    answer.assert_problem(422, "import-too-many");
    let output = app.command(&["import", file.to_str().unwrap(), "--dry-run", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let accounts = told["accounts"].as_array().unwrap();
    assert_eq!(accounts.len(), 1_203);
    for (position, account) in (1_u64..).zip(accounts) {
        assert_eq!(account["position"], position, "{account}");
        if position % 400 == 0 {
            assert_eq!(account["result"], "invalid", "{account}");
        } else {
            assert_eq!(account["result"], "new", "{account}");
            let with = position % 400 == 100;
            let codes = account["recoveryCodes"].as_u64().unwrap_or(0);
            assert_eq!(codes, if with { 2 } else { 0 }, "{account}");
            let mut warnings = account["warnings"].as_array().into_iter().flatten();
            let unread = warnings.any(|it| it["warning"] == "recoveryCodesUnread");
            assert_eq!(unread, with, "{account}");
            assert_eq!(
                account["preview"]["accountName"],
                position.to_string(),
                "{account}"
            );
        }
    }
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    use std::io::Write as _;
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        archive
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[tokio::test]
async fn an_image_or_a_file_that_cannot_be_read_is_named_and_takes_no_other_with_it() {
    let app = App::start().await;
    let admin = app.admin();
    let code = |name: &str| {
        crate::support::qr_png(&format!(
            "otpauth://totp/{name}?secret={SECRET}&issuer=Acme"
        ))
    };
    let (a, b) = (code("a"), code("b"));
    // One is too large for a message and cannot be made smaller; a worker reads the other.
    let broken = [&a[..40], &[7; 2 * 1024 * 1024]].concat();
    let small = [&a[..40], b"damaged"].concat();
    let list = format!("otpauth://totp/Acme:l?secret={SECRET}&issuer=Acme&digits=8\n");
    let tag = |png: &[u8]| {
        let png = data_encoding::BASE64.encode(png);
        format!("<img src=\"data:image/png;base64,{png}\">")
    };
    let page = format!("<html>{}{}</html>", tag(&a), tag(&broken));
    let import = async |files: Vec<Vec<u8>>| {
        let form = files
            .into_iter()
            .fold(reqwest::multipart::Form::new(), |form, file| {
                form.part(
                    "file",
                    reqwest::multipart::Part::bytes(file).file_name("file"),
                )
            });
        let request = admin
            .request(Method::POST, "/api/imports?dryRun=true")
            .multipart(form);
        admin.send(request).await
    };
    let archive = zip(&[
        ("a.png", &a),
        ("broken.png", &broken),
        ("small.png", &small),
        ("list.txt", list.as_bytes()),
        ("page.html", page.as_bytes()),
        ("b.png", &b),
    ]);
    for (files, bad, unread, good) in [
        (
            vec![archive],
            vec!["broken.png", "page.html: image 2"],
            json!(["small.png"]),
            vec!["a", "a", "b", "l"],
        ),
        (
            vec![
                a.clone(),
                b"%PDF-1.7 \xff".to_vec(),
                b.clone(),
                broken.clone(),
            ],
            vec!["file 2", "file 4"],
            json!([]),
            vec!["a", "b"],
        ),
    ] {
        let answer = import(files).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let path = format!("/api/imports/{}?wait=10", answer.id());
        let ended = admin.get(&path).await;
        assert_eq!(ended.body["stage"], "Done", "{ended:?}");
        let accounts = ended.body["accounts"].as_array().unwrap();
        let of = |invalid: bool, member: &dyn Fn(&Value) -> String| {
            let mut found: Vec<String> = accounts
                .iter()
                .filter(|account| (account["result"] == "invalid") == invalid)
                .map(member)
                .collect();
            found.sort();
            found
        };
        let name = |account: &Value| account["name"].as_str().unwrap().to_owned();
        assert_eq!(of(true, &name), bad, "{ended:?}");
        let seen = |account: &Value| {
            let name = account["preview"]["accountName"].as_str();
            name.unwrap_or_default().to_owned()
        };
        assert_eq!(of(false, &seen), good, "{ended:?}");
        for account in accounts.iter().filter(|it| it["result"] == "invalid") {
            let code = account["problem"]["code"].as_str().unwrap();
            assert!(code.starts_with("image-"), "{account}");
        }
        let problems = ended.body["problems"].as_array();
        let problems = problems.cloned().unwrap_or_default();
        let names: Vec<&Value> = problems.iter().map(|problem| &problem["name"]).collect();
        assert_eq!(json!(names), unread, "{ended:?}");
        no_secret(&ended);
    }
    // Where nothing can be read, the reason is the answer; a bound is named for what it is.
    let nothing = zip(&[("broken.png", &broken)]);
    let answer = import(vec![nothing, broken]).await;
    assert!(
        answer.body["code"].as_str().unwrap().starts_with("image-"),
        "{answer:?}"
    );
    let names: Vec<String> = (0..65).map(|number| format!("{number}.png")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &a[..])).collect();
    let answer = import(vec![zip(&many)]).await;
    answer.assert_problem(422, "import-too-many-pictures");
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.contains("64 images"), "{detail}");
}
