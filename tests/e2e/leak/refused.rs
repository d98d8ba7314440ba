//! What is refused, on every way in: no answer, no output of a command and no log repeats the
//! secret, in any of the forms in which it could have been copied.

use std::fs;
use std::time::Instant;

use data_encoding::{BASE32_NOPAD, BASE64, HEXLOWER};
use serde_json::json;

use super::{MARKER, Search, assert_nowhere};
use crate::support::{Answer, App, Caller, PATIENCE, qr_png};

/// Texts that are no account: damaged, unknown, of other kinds, or a secret in another form.
const TEXTS: [&str; 25] = [
    "{S}",
    "{lower}",
    "Setup key: {S}",
    "secret={S}",
    "{hex}",
    "0x{hex}",
    "{base64}",
    "steam:{S}0",
    "steam://run/{S}",
    "totp/x?secret={S}",
    "otp-auth://totp/x?secret={S}",
    "otpauth://hotp/x?secret={S}&counter=1",
    "otpauth://motp/x?secret={S}",
    "otpauth://totp/x?secret={S}&digits=5",
    "otpauth://totp/x?secret={S}&algorithm={S}",
    "otpauth://totp/x?secret={S}&period={S}",
    "otpauth://totp/x?secret={S}&peri0d=60",
    "otpauth://totp/x?secret={S}1",
    "otpauth://totp/x?secret={hex}",
    "otpauth://totp/x?secret={base64}",
    "otpauth://totp/x?secret={S}&secret=JBSWY3DPEHPK3PXP",
    "otpauth://{S}",
    "otpauth://totp/secret={S}",
    "otpauth-migration://offline?data={base64}",
    "https://example.com/qr?data={S}",
];

/// Files that hold no account that can be imported.
const FILES: [&str; 22] = [
    "{S}\n{lower}\n",
    "Secret: {S}\n",
    "{\"secret\": \"{S}\"",
    "{\"secret\": \"{S}\"}",
    "{\"totp_secret\": \"{S}\", \"digits\": 5, \"issuer\": \"x\"}",
    "{\"version\": 1, \"header\": {}, \"db\": \"{base64}\"}",
    "{\"version\": 1, \"header\": {\"slots\": null, \"params\": null}, \"db\": {\"entries\": [{\"type\": \"{S}\", \"info\": {\"secret\": \"{S}\"}}]}}",
    "{\"services\": [{\"name\": \"x\", \"secret\": \"{S}\", \"otp\": {\"digits\": 5}}]}",
    "{\"shared_secret\": \"{S}!\", \"account_name\": \"x\"}",
    "{\"tokens\": [{\"secret\": \"{S}\", \"type\": \"TOTP\"}]}",
    "{\"Authenticators\": [{\"Type\": 9, \"Secret\": \"{S}\"}]}",
    "{\"encrypted\": true, \"passwords\": \"{base64}\"}",
    "{\"id\": \"https://v/secrets/x\", \"attributes\": {}, \"note\": \"{S}\"}",
    "[{\"key\": \"{hex}\", \"base\": 7, \"name\": \"x\"}]",
    "[{\"accountType\": \"authy\", \"digits\": 9, \"secretSeed\": \"{hex}\", \"name\": \"x\"}]",
    "name,totp\nx,{hex}\n",
    "name,totp,digits\nx,{S},5\n",
    "name,totp\nx,{S},{S}\n",
    "<KeePassFile><Entry><String><Key>otp</Key><Value>{S}",
    "<database><card title=\"x\"><field type=\"one_time_password\">{hex}</field></card></database>",
    "<html><body>otpauth://totp/x?secret={S}&amp;digits=5</body></html>",
    "otpauth://totp/x?secret={S}&digits=5\nnot a URI {S}\n",
];

fn filled(template: &str) -> String {
    let bytes = BASE32_NOPAD.decode(MARKER.as_bytes()).unwrap();
    template
        .replace("{S}", MARKER)
        .replace("{lower}", &MARKER.to_lowercase())
        .replace("{hex}", &HEXLOWER.encode(&bytes))
        .replace("{base64}", &BASE64.encode(&bytes))
}

/// Follows an import until it has ended.
async fn ended(caller: &Caller, id: &str) -> Answer {
    let begun = Instant::now();
    loop {
        let answer = caller.get(&format!("/api/imports/{id}?wait=5")).await;
        if answer.status.as_u16() == 200 {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not end: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_refused_is_not_repeated() {
    let app = App::start().await;
    let admin = app.admin();
    let mut search = Search::new(&qr_png(MARKER));
    for template in TEXTS {
        let text = filled(template);
        let uri = json!({ "uri": text });
        for (path, kind, body) in [
            ("/api/enrollments", "application/json", uri.to_string()),
            ("/api/accounts", "application/json", uri.to_string()),
            ("/api/enrollments", "text/plain", text.clone()),
            ("/api/enrollments", "application/octet-stream", text.clone()),
        ] {
            let answer = admin.post_bytes(path, kind, body.into_bytes()).await;
            let is_refused = answer.status.is_client_error();
            assert!(is_refused, "{template} {path} {kind}: {answer:?}");
            let told = format!("{} {:?}", answer.body, answer.headers);
            search.in_text(&format!("{template} {path} {kind}"), told.as_bytes());
        }
    }
    for template in FILES {
        let file = filled(template).into_bytes();
        let answer = admin
            .post_bytes("/api/imports", "application/octet-stream", file)
            .await;
        let told = format!("{} {:?}", answer.body, answer.headers);
        search.in_text(template, told.as_bytes());
        if answer.status.is_success() {
            let ended = ended(&admin, &answer.id()).await;
            let accounts = ended.body["accounts"].as_array();
            let enrolled = accounts.iter().copied().flatten();
            let mut enrolled = enrolled.filter(|it| it["result"] == "enrolled");
            assert_eq!(enrolled.next(), None, "{template}");
            search.in_text(template, ended.body.to_string().as_bytes());
        }
    }
    // The command line refuses most of it before it asks the server.
    let path = app.folder().join("given");
    let given = path.to_str().unwrap();
    let mut run = |template: &str, args: &[&str]| {
        let output = app.command(args);
        assert!(!output.status.success(), "{template}: {output:?}");
        search.in_text(template, &[output.stdout, output.stderr].concat());
    };
    for (number, template) in TEXTS.iter().enumerate() {
        let text = filled(template);
        fs::write(&path, &text).unwrap();
        run(template, &["enroll", &text]);
        run(template, &[["enroll", "import"][number % 2], given]);
    }
    for template in FILES {
        fs::write(&path, filled(template)).unwrap();
        run(template, &["import", given]);
    }
    fs::remove_file(&path).unwrap();
    search.in_text("the log", app.logs().as_bytes());
    assert_nowhere(MARKER, &app.data_dir());
}
