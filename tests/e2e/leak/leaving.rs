//! What leaves an installation by its commands: written down for whom it is meant, sealed for
//! another installation, and found nowhere else.

use std::fs;
use std::process::Output;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::{MARKER, Search, outcome};
use crate::support::{App, Caller};

/// Someone at a terminal, and what it shows.
struct Terminal<'a> {
    app: &'a App,
    approver: &'a Caller,
    search: &'a mut Search,
}

impl<'a> Terminal<'a> {
    fn at(app: &'a App, approver: &'a Caller, search: &'a mut Search) -> Self {
        Self {
            app,
            approver,
            search,
        }
    }

    /// Runs a command that may show the secret.
    #[track_caller]
    fn run_freely(&self, code: i32, args: &[&str]) -> Output {
        let output = self.app.command(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        output
    }

    /// Runs a command that may not.
    #[track_caller]
    fn run(&mut self, code: i32, args: &[&str]) -> Vec<u8> {
        let mut output = self.run_freely(code, args);
        let shown = output.stdout.clone();
        output.stdout.append(&mut output.stderr);
        self.search.in_text(args[0], &output.stdout);
        shown
    }

    /// Asks for something, has it agreed to and follows it; answers the request's id.
    #[track_caller]
    fn ask(&mut self, stage: &str, args: &[&str]) -> String {
        // What is pasted where words belong is kept by nobody.
        let reason = format!("moving house with {MARKER}");
        let asking = [&["request"], args, &["--reason", &reason, "--json"]].concat();
        let asked: Value = serde_json::from_slice(&self.run(4, &asking)).unwrap();
        let id = asked["id"].as_str().unwrap().to_owned();
        let key = self.approver.token().unwrap().to_owned();
        let comment = format!("seen otpauth://totp/x?secret={MARKER}");
        let agreeing = ["approve", &id, "--token", &key, "--comment", &comment];
        self.run(0, &agreeing);
        let waits = if stage == "Removing" {
            (4, "--wait")
        } else {
            (0, "--follow")
        };
        let state = self.run(waits.0, &["status", &id, waits.1, "--json"]);
        let state: Value = serde_json::from_slice(&state).unwrap();
        assert_eq!(state["stage"], stage, "{state}");
        self.run(waits.0, &["status", &id]);
        id
    }
}

/// Read, exported, removed and handed over to another installation by commands, which is
/// told nonsense too.
pub(super) async fn walk_the_commands(app: &App, there: &App, uri: &str, search: &mut Search) {
    let admin = app.admin();
    let approver = app.new_caller("pair-of-eyes-at-a-terminal", "approver");
    let uri = uri.replace("Leak:test", "Leak:commanded");
    let account = admin.enroll(&uri, false).await;
    assert_eq!(outcome(&admin, &account).await, "Enrolled");
    // Files that are meant to hold it are not in the folder that is searched.
    let outside = tempfile::tempdir().unwrap();
    let file = |name: &str| outside.path().join(name).to_str().unwrap().to_owned();
    let mut terminal = Terminal::at(app, &approver, search);

    terminal.run(0, &["guard", &account]);
    let read = terminal.ask("Granted", &["read", &account]);
    terminal.run(0, &["token", &read]);
    terminal.run(0, &["guard", &account, "--off"]);

    for (more, shows) in [
        (&[][..], true),
        (&["--json"], true),
        (&["--format", "qr"], false),
    ] {
        let granted = terminal.ask("Granted", &["export", &account]);
        let shown = terminal.run_freely(0, &[&["export", granted.as_str()], more].concat());
        assert_eq!(terminal.search.found(&shown.stdout).is_some(), shows);
        assert_eq!(terminal.search.found(&shown.stderr), None);
        terminal.run(1, &["export", &granted]);
    }
    let granted = terminal.ask("Granted", &["export", &account]);
    let written = file("account.txt");
    terminal.run(0, &["export", &granted, "--output", &written]);
    let written = fs::read(written).unwrap();
    assert!(terminal.search.found(&written).is_some());

    terminal.run(0, &["remove", &account]);
    terminal.run(0, &["restore", &account]);
    let removing = terminal.ask("Removing", &["delete", &account]);
    terminal.run(0, &["cancel", &removing]);
    terminal.run(3, &["status", &removing, "--follow"]);

    let key = there.command(&["seal-key"]).stdout;
    let key = String::from_utf8(key).unwrap();
    let handed = ["transfer", &account, "--to", key.trim()];
    let handed = terminal.ask("Done", &handed);
    let package = file("package.json");
    terminal.run(0, &["export", &handed, "--output", &package]);
    let sealed: Value = serde_json::from_slice(&fs::read(&package).unwrap()).unwrap();
    let sealed = sealed["package"].as_str().unwrap();
    search.in_text("the package", sealed.as_bytes());
    for part in sealed.rsplit('.').take(2) {
        let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).unwrap();
        search.in_text("the package's bytes", &bytes);
    }
    // What was searched is the account, for there it is one.
    let mut terminal = Terminal::at(there, &approver, search);
    terminal.run(0, &["receive", &package]);
    terminal.run(0, &["token", &account]);
    let nonsense = file("nonsense.json");
    fs::write(&nonsense, &uri).unwrap();
    terminal.run(2, &["receive", &nonsense]);
    fs::write(&nonsense, json!({"id": MARKER, "package": uri}).to_string()).unwrap();
    terminal.run(1, &["receive", &nonsense]);
    tell_nonsense(app, there, &uri, sealed).await;

    let mut terminal = Terminal::at(app, &approver, search);
    terminal.run(0, &["restore", &account]);
    terminal.ask("Done", &["delete", &account, "--now"]);
    terminal.run(0, &["list", "--requests"]);
}

/// Requests and packages with the secret where it does not belong.
async fn tell_nonsense(app: &App, there: &App, uri: &str, sealed: &str) {
    let admin = app.admin();
    let account = admin.enroll(uri, false).await;
    assert_eq!(outcome(&admin, &account).await, "Enrolled");
    let path = format!("/api/accounts/{account}/requests");
    for body in [
        json!({"kind": "transfer", "to": uri}),
        json!({"kind": uri}),
        json!({"kind": "read", "reads": uri}),
        json!({"kind": "export", MARKER: uri}),
    ] {
        let refused = admin.post(&path, &body).await;
        assert!(refused.status.is_client_error(), "{refused:?}");
    }
    let receiver = there.admin();
    for body in [
        json!({"id": MARKER, "package": sealed}),
        json!({"id": account, "package": uri}),
        json!({"id": account, "package": sealed, MARKER: uri}),
    ] {
        let refused = receiver.post("/api/transfers", &body).await;
        assert!(refused.status.is_client_error(), "{refused:?}");
    }
    // Sealed for another account.
    let other = json!({"id": account, "package": sealed});
    let other = receiver.post("/api/transfers", &other).await;
    assert_ne!(outcome(&receiver, &other.id()).await, "Enrolled");
}
