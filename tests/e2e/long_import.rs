//! More accounts than anyone has, of mixed kinds from one archive, through the command line.
//! Takes minutes: `.ci/long import` runs it.

use std::collections::BTreeMap;
use std::io::Write as _;

use data_encoding::{BASE32_NOPAD, BASE64};
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use crate::support::App;

const COUNT: usize = 2_000;
/// Accounts of an export that stand in one text.
const EXPORTED: usize = 10;

fn name(number: usize) -> String {
    format!("account-{number}")
}

/// One in a hundred cannot be enrolled.
fn is_damaged(number: usize) -> bool {
    number % 100 == 7 && number < COUNT - EXPORTED
}

fn bytes(number: usize) -> [u8; 20] {
    let mut bytes = *b"12345678901234567890";
    bytes[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
    bytes
}

fn secret(number: usize) -> String {
    if is_damaged(number) {
        return "1".to_owned();
    }
    BASE32_NOPAD.encode(&bytes(number))
}

/// A message of Google Authenticator's export with the last accounts.
fn export() -> String {
    let mut payload = Vec::new();
    for number in COUNT - EXPORTED..COUNT {
        let name = name(number);
        let mut entry = vec![0x0a, 20];
        entry.extend(bytes(number));
        entry.extend([0x12, u8::try_from(name.len()).unwrap()]);
        entry.extend(name.as_bytes());
        entry.extend([0x1a, 4]);
        entry.extend(b"Many");
        entry.extend([0x20, 1, 0x28, 1, 0x30, 2]);
        payload.extend([0x0a, u8::try_from(entry.len()).unwrap()]);
        payload.extend(entry);
    }
    payload.extend([0x10, 1, 0x18, 1, 0x20, 0, 0x28, 77]);
    let data = BASE64.encode(&payload);
    let data = data
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    format!("otpauth-migration://offline?data={data}\n")
}

fn archive() -> Vec<u8> {
    let and_otp: Vec<_> = (0..400)
        .map(|n| json!({"secret": secret(n), "issuer": "Many", "label": name(n), "type": "TOTP", "algorithm": "SHA1", "digits": 6, "period": 30, "thumbnail": "Default"}))
        .collect();
    let two_fauth: Vec<_> = (400..800)
        .map(|n| json!({"otp_type": "totp", "service": "Many", "account": name(n), "secret": secret(n), "digits": 8, "algorithm": "sha256", "period": 60}))
        .collect();
    let mut table = "name,username,totp\n".to_owned();
    for n in 800..1_200 {
        table.push_str(&format!("Many,{},{}\n", name(n), secret(n)));
    }
    let mut list = export();
    for n in 1_200..1_600 {
        let (name, secret) = (name(n), secret(n));
        list.push_str(&format!(
            "otpauth://totp/Many:{name}?secret={secret}&issuer=Many\n"
        ));
    }
    let mut xml = "<KeePassFile><Root><Group>".to_owned();
    for n in 1_600..COUNT - EXPORTED {
        xml.push_str(&format!(
            "<Entry><String><Key>Title</Key><Value>Many</Value></String><String><Key>UserName</Key><Value>{}</Value></String><String><Key>otp</Key><Value>{}</Value></String><String><Key>Backup codes</Key><Value>{n}-a, {n}-b</Value></String></Entry>",
            name(n),
            secret(n)
        ));
    }
    xml.push_str("</Group></Root></KeePassFile>");
    let two_fauth = json!({"app": "2fauth_v5", "data": two_fauth});
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in [
        ("andotp.json", serde_json::to_vec(&and_otp).unwrap()),
        ("2fauth.json", serde_json::to_vec(&two_fauth).unwrap()),
        ("table.csv", table.into_bytes()),
        ("list.txt", list.into_bytes()),
        ("keepass.xml", xml.into_bytes()),
    ] {
        archive
            .start_file(name, SimpleFileOptions::default())
            .unwrap();
        archive.write_all(&content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// Each account's name, or its number where it could not be read, and what became of it.
fn imported(app: &App, file: &str) -> BTreeMap<String, String> {
    let output = app.command(&["import", file, "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(told["problems"], json!([]));
    let accounts = told["accounts"].as_array().unwrap();
    let of = |account: &Value| {
        let known = account["preview"]["accountName"].as_str();
        let name = known.unwrap_or_else(|| {
            // The name in the report is that of the file: "Many: account-7".
            let shown = account["name"].as_str().unwrap_or_default();
            shown.strip_prefix("Many: ").unwrap_or(shown)
        });
        (
            name.to_owned(),
            account["result"].as_str().unwrap().to_owned(),
        )
    };
    assert_eq!(accounts.len(), COUNT);
    accounts.iter().map(of).collect()
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn two_thousand_accounts_of_mixed_kinds_are_all_there_and_the_same_again_adds_nothing() {
    let app = App::start().await;
    let file = app.folder().join("many.zip");
    std::fs::write(&file, archive()).unwrap();
    let file = file.to_str().unwrap();

    for (again, result) in [(false, "enrolled"), (true, "already-there")] {
        let begun = std::time::Instant::now();
        let results = imported(&app, file);
        println!("{result}: {:?}", begun.elapsed());
        let named = results.len();
        // Damaged URIs of a list have no name of their own.
        let unnamed = (1_200..1_600).filter(|number| is_damaged(*number)).count();
        assert!(named >= COUNT - unnamed, "{named} again: {again}");
        for number in 0..COUNT {
            let expected = if is_damaged(number) {
                "invalid"
            } else {
                result
            };
            let found = results.get(&name(number)).map(String::as_str);
            let listed = (1_200..1_600).contains(&number);
            assert!(
                found == Some(expected) || is_damaged(number) && listed,
                "{number}: {found:?}"
            );
        }
    }
    // Recovery codes are kept with their accounts, once.
    let admin = app.admin();
    for number in (1_600..COUNT - EXPORTED).filter(|number| number % 100 == 0) {
        let found = admin
            .get(&format!("/api/accounts?search=account-{number}"))
            .await;
        let id = found.body["accounts"][0]["id"].as_str().unwrap().to_owned();
        let path = format!("/api/accounts/{id}/recovery-codes");
        let count = admin.get(&path).await.body;
        assert_eq!(count, json!({"total": 2, "left": 2}), "{number}");
    }
    // A list has each account once.
    let good = (0..COUNT).filter(|number| !is_damaged(*number)).count();
    let mut names = std::collections::BTreeSet::new();
    let mut count = 0;
    let mut cursor = None;
    loop {
        let query = cursor.map_or_else(String::new, |cursor: String| format!("&cursor={cursor}"));
        let page = app
            .admin()
            .get(&format!("/api/accounts?limit=200{query}"))
            .await;
        assert_eq!(page.status, 200, "{page:?}");
        let accounts = page.body["accounts"].as_array().unwrap().clone();
        count += accounts.len();
        names.extend(accounts.iter().map(|it| it["accountName"].to_string()));
        match page.body["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!((count, names.len()), (good, good));
}
