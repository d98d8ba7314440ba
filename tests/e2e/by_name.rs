//! Commands on accounts and requests by what people call them.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::App;

fn uri(issuer: &str, account: &str) -> String {
    format!("otpauth://totp/{account}?secret=2FASTEST&issuer={issuer}")
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    assert_eq!(code(output), 0, "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

async fn three(app: &App) -> [String; 3] {
    let admin = app.admin();
    let mut ids = Vec::new();
    for (issuer, account) in [
        ("GitHub", "octo"),
        ("GitHub", "octocat"),
        ("GitLab", "octo"),
    ] {
        let id = admin.enroll(&uri(issuer, account), false).await;
        admin.ended(&id).await;
        ids.push(id);
    }
    ids.try_into().unwrap()
}

#[tokio::test]
async fn an_account_is_found_by_its_name_or_the_beginning_of_its_id() {
    let app = App::start().await;
    let [octo, octocat, gitlab] = three(&app).await;
    let admin = app.admin();
    for (name, id) in [
        ("GitHub: octo", &octo),
        ("github octo", &octo),
        ("octocat", &octocat),
        ("gitlab", &gitlab),
        (&gitlab[..16], &gitlab),
        (&gitlab, &gitlab),
    ] {
        let token = app.command(&["token", name, "--json"]);
        let token: Value = serde_json::from_str(&out(&token)).unwrap();
        let read = admin.get(&format!("/api/accounts/{id}/token")).await.body;
        assert_eq!(token["algorithm"], read["algorithm"], "{name}");
        let present = app.command(&["tag", name, &id[5..9], "--json"]);
        let present: Value = serde_json::from_str(&out(&present)).unwrap();
        assert_eq!(present["id"], json!(id), "{name}");
    }
    let several = app.command(&["token", "octo"]);
    assert_eq!(code(&several), 12, "{several:?}");
    for line in [&octo, &gitlab, "GitHub: octo  added 20", "GitLab: octo"] {
        assert!(said(&several).contains(line), "{several:?}");
    }
    assert!(
        !said(&several).contains(&octocat),
        "a whole name goes first"
    );
    let nobody = app.command(&["remove", "nobody"]);
    assert_eq!(code(&nobody), 5, "{nobody:?}");
    // A service and the beginning of an account's name are no account, but there is one near.
    let near = app.command(&["remove", "github: octoc"]);
    assert_eq!(code(&near), 5, "{near:?}");
    assert!(
        said(&near).contains("did you mean:\n  GitHub: octocat"),
        "{near:?}"
    );
    let few = app.command(&["token", "totp-"]);
    assert_eq!(code(&few), 12, "{few:?}");
}

#[tokio::test]
async fn an_account_is_renamed_filed_removed_and_brought_back() {
    let app = App::start().await;
    let [octo, ..] = three(&app).await;
    let admin = app.admin();
    let present = async || admin.get(&format!("/api/accounts/{octo}")).await.body;
    out(&app.command(&["rename", "GitHub: octo", "deploy", "--issuer", "Forge"]));
    let renamed = present().await;
    assert_eq!(
        (&renamed["issuer"], &renamed["accountName"]),
        (&json!("Forge"), &json!("deploy"))
    );
    out(&app.command(&["rename", "Forge", "--no-issuer"]));
    assert!(present().await["issuer"].is_null());
    out(&app.command(&["group", "deploy", "Build servers"]));
    out(&app.command(&["tag", "deploy", "ci", "prod"]));
    out(&app.command(&["tag", "deploy", "blue", "--remove", "CI"]));
    let filed = present().await;
    assert_eq!(filed["group"], "Build servers");
    assert_eq!(filed["tags"], json!(["blue", "prod"]));
    out(&app.command(&["group", "deploy"]));
    assert!(present().await["group"].is_null());
    assert_eq!(code(&app.command(&["rename", "deploy"])), 2);

    out(&app.command(&["remove", "deploy"]));
    let listed = out(&app.command(&["list"]));
    assert!(!listed.contains(&octo), "{listed}");
    assert!(listed.contains("ADDED"), "{listed}");
    let removed = out(&app.command(&["list", "--removed"]));
    assert!(
        removed.starts_with("ID") && removed.contains(&octo),
        "{removed}"
    );
    assert_eq!(code(&app.command(&["token", "deploy"])), 5);
    out(&app.command(&["restore", "deploy"]));
    assert!(out(&app.command(&["list"])).contains(&octo));
}

#[tokio::test]
async fn codes_are_read_copied_and_checked() {
    let app = App::start().await;
    let admin = app.admin();
    let long = "otpauth://totp/slow?secret=2FASTEST&period=86400";
    let id = admin.enroll(long, false).await;
    admin.ended(&id).await;
    let read = admin.get(&format!("/api/accounts/{id}/token")).await.body;
    assert_eq!(out(&app.command(&["token", "slow"])).trim(), read["token"]);
    for least in ["1", "1s", "1000ms"] {
        let lasting = app.command(&["token", "slow", "--min-validity", least]);
        assert_eq!(out(&lasting).trim(), read["token"], "{least}");
    }
    let next = app.command(&["token", "slow", "--next"]);
    assert_eq!(out(&next).trim(), read["nextToken"]);

    // A clipboard of its own: a program that writes what it is given into a file.
    let tools = app.folder().join("tools");
    let copied = app.folder().join("copied");
    std::fs::create_dir(&tools).unwrap();
    let program = tools.join("wl-copy");
    std::fs::write(
        &program,
        format!("#!/bin/sh\nexec cat > '{}'\n", copied.display()),
    )
    .unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let copy = std::process::Command::new(crate::support::BINARY)
        .args(["token", "slow", "--copy", "--data-dir"])
        .arg(app.data_dir())
        .env("PATH", path)
        .env("WAYLAND_DISPLAY", "wayland-test")
        .output()
        .unwrap();
    assert_eq!(out(&copy), "", "nothing is printed");
    assert_eq!(std::fs::read_to_string(copied).unwrap(), read["token"]);

    let token = read["token"].as_str().unwrap();
    assert_eq!(
        out(&app.command(&["verify", "slow", token])).trim(),
        "valid"
    );
    let again = app.command(&["verify", "slow", token, "--json"]);
    assert_eq!(code(&again), 13, "{again:?}");
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["reason"], "already-used");
}

#[tokio::test]
async fn what_waits_is_decided_by_its_accounts_name() {
    let app = App::start().await;
    let asking = app.new_caller("asking", "enroller");
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let id = asking.enroll(&uri("Forge", "smith"), true).await;
    asking.until_stage(&id, "AwaitingApproval").await;
    let key = approver.token().unwrap().to_owned();
    let decided = app.command(&["approve", "Forge", "--token", &key]);
    assert!(out(&decided).contains(&id), "{decided:?}");
    asking.ended(&id).await;
    assert_eq!(
        code(&app.command(&["approve", "Forge", "--token", &key])),
        5
    );
    let status = app.command(&["status", "smith"]);
    assert!(out(&status).contains("Enrolled"), "{status:?}");
    let status = app.command(&["status", &id[..14]]);
    assert!(out(&status).contains(&id), "{status:?}");
    let proved = app.command(&["enroll", &uri("Proof", "later"), "--proof"]);
    assert_eq!(code(&proved), 0, "{proved:?}");
    assert_eq!(code(&app.command(&["token", "Proof"])), 1);
    assert!(out(&app.command(&["prove", "Proof"])).contains("now, for"));
    let wrong = app.command(&["prove", "Proof", "--accepted", "000000", "000001"]);
    assert_ne!(code(&wrong), 0, "{wrong:?}");
    assert!(out(&app.command(&["prove", "Proof", "--refused"])).contains("removed"));
}

#[tokio::test]
async fn a_list_has_no_end() {
    const ACCOUNTS: usize = 230;
    let app = App::start().await;
    let lines: Vec<String> = (0..ACCOUNTS)
        .map(|n| format!("otpauth://totp/account-{n:03}?secret=2FASTEST&issuer=Many"))
        .collect();
    let file = app.folder().join("many.txt");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let imported = app.command(&["import", file.to_str().unwrap()]);
    assert_eq!(code(&imported), 0, "{imported:?}");
    let listed = out(&app.command(&["list"]));
    // One line is the head.
    assert_eq!(listed.lines().count(), ACCOUNTS + 1);
    let all: Value = serde_json::from_str(&out(&app.command(&["list", "--json"]))).unwrap();
    assert_eq!(all["accounts"].as_array().unwrap().len(), ACCOUNTS);
    assert!(all["next"].is_null());
    let enrollments = out(&app.command(&["list", "--enrollments"]));
    assert_eq!(enrollments.lines().count(), ACCOUNTS + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_has_a_message_and_an_exit_code_of_its_own() {
    let app = App::start().await;
    let folder = app.folder();
    let run = |arguments: &[&str]| {
        std::process::Command::new(crate::support::BINARY)
            .args(arguments)
            .env_remove("COUNTERSIGN_DATA_DIR")
            .current_dir(folder)
            .output()
            .unwrap()
    };
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    std::fs::write(at("a-file"), "").unwrap();
    std::fs::create_dir(at("empty")).unwrap();
    // A server that is another folder's.
    std::fs::create_dir(at("elsewhere")).unwrap();
    let addresses = app.data_dir().join("serve.json");
    std::fs::copy(addresses, at("elsewhere/serve.json")).unwrap();
    for (arguments, exit, words) in [
        (
            vec!["list", "--data-dir", &at("nowhere")],
            10,
            "there is no data folder",
        ),
        (vec!["list", "--data-dir", &at("a-file")], 10, "is a file"),
        (
            vec!["list", "--data-dir", &at("empty")],
            10,
            "no server has run",
        ),
        (
            vec!["list", "--enrollments", "--stage", "Enroled"],
            2,
            "did you mean Enrolled?",
        ),
        (
            vec!["list", "--requests", "--stage", "Bogus"],
            2,
            "AwaitingApproval",
        ),
        (
            vec!["serve", "--data-dir", &at("a-file"), "--json"],
            10,
            "is a file",
        ),
        (
            vec!["serve", "--data-dir", &at("a-file/below"), "--json"],
            10,
            "a-file",
        ),
        (
            vec!["key", "list", "--data-dir", &at("nowhere")],
            10,
            "there is no data folder",
        ),
        (
            vec!["grant", "remove", "a", "b", "--data-dir", &at("nowhere")],
            10,
            "there is no data folder",
        ),
        (
            vec!["list", "--data-dir", &at("elsewhere")],
            10,
            "wants a token",
        ),
    ] {
        let output = run(&arguments);
        assert_eq!(code(&output), exit, "{arguments:?}: {output:?}");
        assert!(said(&output).contains(words), "{arguments:?}: {output:?}");
    }

    assert!(!folder.join("nowhere").exists(), "it was made");

    // Another service, which answers everything.
    let other = axum::Router::new().fallback(async || (StatusCode::NOT_FOUND, "nothing here"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, other).await });
    let output =
        tokio::task::block_in_place(|| run(&["list", "--server", &address, "--token", "any"]));
    assert_eq!(code(&output), 8, "{output:?}");
    assert!(said(&output).contains("is not countersign"), "{output:?}");
    // TLS where there is none, and a service that speaks something else.
    let tls = address.replace("http:", "https:");
    let hub = serde_json::from_slice::<Value>(&std::fs::read(at("elsewhere/serve.json")).unwrap());
    let hub = hub.unwrap()["scheduler"].as_str().unwrap().to_owned();
    for (address, words) in [(&tls, "does not speak TLS"), (&hub, "does not speak HTTP")] {
        for command in ["list", "health"] {
            let arguments = [command, "--server", address, "--token", "any"];
            let output = tokio::task::block_in_place(|| run(&arguments));
            assert_eq!(code(&output), 8, "{output:?}");
            assert!(said(&output).contains(words), "{output:?}");
        }
    }
    let unknown = run(&[
        "list",
        "--server",
        "https://nowhere.invalid",
        "--token",
        "any",
    ]);
    assert_eq!(code(&unknown), 1, "{unknown:?}");
    assert!(!said(&unknown).contains("is it running"), "{unknown:?}");
    serving.abort();

    let misspelt = std::process::Command::new(crate::support::BINARY)
        .args(["list", "--data-dir"])
        .arg(app.data_dir())
        .env("COUNTERSIGN_TOKN", "x")
        .output()
        .unwrap();
    assert_eq!(code(&misspelt), 2, "{misspelt:?}");
    assert!(
        said(&misspelt).contains("did you mean COUNTERSIGN_TOKEN?"),
        "{misspelt:?}"
    );

    let file = at("settings.toml");
    std::fs::write(
        &file,
        "listne = '127.0.0.1:1'\napproval-timeout = '12x'\napprovals = 'two'\n",
    )
    .unwrap();
    let checked = run(&["config", "check", "--config", &file, "--approvals", "0"]);
    assert_eq!(code(&checked), 2, "{checked:?}");
    for words in [
        "did you mean listen?",
        "approval-timeout",
        "The setting `approvals` has an invalid value; it must be a whole number from 1 to 10\n",
    ] {
        assert!(said(&checked).contains(words), "{words}: {checked:?}");
    }
    std::fs::write(&file, "approvals = 2\nlisten = \n").unwrap();
    let broken = run(&["config", "check", "--config", &file]);
    assert_eq!(code(&broken), 2, "{broken:?}");
    assert!(
        said(&broken).contains("settings.toml, line 2: this is not TOML: "),
        "{broken:?}"
    );
}

#[tokio::test]
async fn an_unreadable_file_is_reported_as_such() {
    use std::os::unix::process::CommandExt as _;

    let app = App::start().await;
    let data = app.data_dir();
    let metadata = std::fs::metadata(&data).unwrap();
    // Root may read everything: another user tries then, with a program that it can reach.
    let root = std::os::unix::fs::MetadataExt::uid(&metadata) == 0;
    let open = tempfile::tempdir().unwrap();
    let program = open.path().join("countersign");
    if root {
        std::fs::copy(crate::support::BINARY, &program).unwrap();
        for path in [open.path(), program.as_path()] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    } else {
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o000)).unwrap();
    }
    for arguments in [
        &["list"][..],
        &["token", "any"],
        &["key", "list"],
        &["grant", "list"],
        &["serve", "--listen", "127.0.0.1:0"],
    ] {
        let mut command = match root {
            true => std::process::Command::new(&program),
            false => std::process::Command::new(crate::support::BINARY),
        };
        if root {
            command.uid(65_534).gid(65_534).current_dir("/");
        }
        let output = command.args(arguments).arg("--data-dir").arg(&data);
        let output = output.output().unwrap();
        assert_eq!(code(&output), 11, "{arguments:?}: {output:?}");
        assert!(
            said(&output).contains("Permission denied"),
            "{arguments:?}: {output:?}"
        );
    }
    std::fs::set_permissions(&data, metadata.permissions()).unwrap();
}

#[tokio::test]
async fn an_account_is_granted_by_its_name_at_the_server_of_the_folder() {
    let mut app = App::start().await;
    let [octo, _, gitlab] = three(&app).await;
    let made = app.command(&[
        "key",
        "create",
        "bot",
        "--role",
        "reader",
        "--granted-only",
        "--json",
    ]);
    let made: Value = serde_json::from_str(&out(&made)).unwrap();
    let bot = app.caller(made["key"].as_str());
    // Another server that the environment names is not asked.
    let added = std::process::Command::new(crate::support::BINARY)
        .args([
            "grant",
            "add",
            "bot",
            "github octo",
            "--reads",
            "3",
            "--data-dir",
        ])
        .arg(app.data_dir())
        .env("COUNTERSIGN_SERVER", "http://127.0.0.1:1")
        .output()
        .unwrap();
    assert!(out(&added).contains(&octo), "{added:?}");
    assert_eq!(bot.get(&format!("/api/accounts/{octo}")).await.status, 200);
    out(&app.command(&["grant", "add", "bot", &gitlab[..12]]));
    let several = app.command(&["grant", "add", "bot", "octo"]);
    assert_eq!(code(&several), 12, "{several:?}");
    assert!(said(&several).contains("GitLab: octo"), "{several:?}");
    assert_eq!(code(&app.command(&["grant", "add", "bot", "nobody"])), 5);
    out(&app.command(&["grant", "remove", "bot", "gitlab"]));

    let listed = out(&app.command(&["grant", "list"]));
    let rows: Vec<&str> = listed.lines().collect();
    assert!(
        rows[0].starts_with("TO") && rows[0].ends_with("READS LEFT"),
        "{listed}"
    );
    assert_eq!(rows.len(), 2, "{listed}");
    assert!(
        rows[1].contains(&octo) && rows[1].contains("GitHub: octo") && rows[1].ends_with('3'),
        "{listed}"
    );
    let keys = out(&app.command(&["key", "list"]));
    assert!(keys.starts_with("NAME"), "{keys}");
    assert!(keys.contains("reader, granted accounts only"), "{keys}");

    // Without a server an id is needed, and enough.
    app.stop().await;
    let unreachable = app.command(&["grant", "add", "bot", "github octo"]);
    assert_eq!(code(&unreachable), 1, "{unreachable:?}");
    assert!(said(&unreachable).contains("no server"), "{unreachable:?}");
    out(&app.command(&["grant", "add", "bot", &gitlab]));
}

#[tokio::test]
async fn a_lease_that_gives_no_more_is_named_as_such() {
    let app = App::start().await;
    let [octo, octocat, gitlab] = three(&app).await;
    let admin = app.admin();
    let body = json!({ "name": "bot", "role": "reader", "grantedOnly": true });
    let made = admin.post("/api/keys", &body).await;
    let key = made.body["key"].as_str().unwrap();
    let bot = app.caller(Some(key));
    let soon = chrono::Utc::now() + chrono::TimeDelta::seconds(2);
    for lease in [
        json!({ "caller": "bot", "account": octo, "reads": 1 }),
        json!({ "caller": "bot", "account": octocat, "until": soon }),
        json!({ "caller": "bot", "account": gitlab, "reads": 3 }),
    ] {
        let granted = admin.post("/api/grants", &lease).await;
        assert_eq!(granted.status, StatusCode::CREATED, "{granted:?}");
    }
    let read = |name: &str| app.command(&["token", name, "--token", key]);
    out(&read("GitHub: octo"));
    let states = async || {
        let mine = bot.get("/api/grants/mine").await.body;
        let grants = mine["grants"].as_array().unwrap().clone();
        let state = |id: &str| {
            let mut all = grants.iter();
            let grant = all.find(|grant| grant["account"] == id).unwrap();
            (grant["state"].clone(), grant["readsLeft"].clone())
        };
        [state(&octo), state(&octocat), state(&gitlab)]
    };
    let begun = std::time::Instant::now();
    while states().await[1].0 != "over" {
        assert!(
            begun.elapsed() < crate::support::PATIENCE,
            "the lease does not end"
        );
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(
        states().await,
        [
            (json!("used-up"), json!(0)),
            (json!("over"), Value::Null),
            (json!("active"), json!(3)),
        ]
    );
    for (name, words) in [
        ("GitHub: octo", "read all the codes"),
        ("octocat", "has expired"),
        (octo.as_str(), "read all the codes"),
    ] {
        let refused = read(name);
        assert_eq!(code(&refused), 6, "{refused:?}");
        assert!(said(&refused).contains(words), "{name}: {refused:?}");
    }
    let unknown = read("GitHub: octopus");
    assert!(
        said(&unknown).contains("there is no account"),
        "{unknown:?}"
    );
    // What others were granted is nobody else's business.
    let other = app.new_caller("other", "reader");
    let none = other.get("/api/grants/mine").await;
    assert_eq!(none.body["grants"], json!([]));
}

#[tokio::test]
async fn a_name_means_open_enrollments_before_finished_ones() {
    let app = App::start().await;
    let admin = app.admin();
    let enroll = async |approval: bool| admin.enroll(&uri("Shop", "till"), approval).await;
    let done = enroll(false).await;
    admin.ended(&done).await;
    // One that has ended is the only one, and is meant.
    let shown = app.command(&["status", "Shop", "--json"]);
    let shown: Value = serde_json::from_str(&out(&shown)).unwrap();
    assert_eq!(shown["id"], json!(done));
    let none = app.command(&["cancel", "Shop"]);
    assert_eq!(code(&none), 1, "{none:?}");
    assert!(said(&none).contains("has finished"), "{none:?}");
    let open = enroll(true).await;
    admin.until_stage(&open, "AwaitingApproval").await;
    let shown = app.command(&["status", "Shop", "--json"]);
    assert_eq!(code(&shown), 4, "{shown:?}");
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["id"], json!(open));
    let second = enroll(true).await;
    admin.until_stage(&second, "AwaitingApproval").await;
    let several = app.command(&["cancel", "Shop"]);
    assert_eq!(code(&several), 12, "{several:?}");
    let choices = said(&several);
    assert!(
        choices.contains(&open) && choices.contains(&second),
        "{choices}"
    );
    assert!(!choices.contains(&done), "{choices}");
    let counted = "the name matches 2 enrollments or requests;";
    assert!(choices.contains(counted), "{choices}");
    out(&app.command(&["cancel", &second]));
    out(&app.command(&["cancel", "Shop: till"]));
    assert_eq!(admin.ended(&open).await.body["stage"], "Terminated");
    let none = app.command(&["cancel", "Shop"]);
    assert_eq!(code(&none), 5, "{none:?}");
    assert!(said(&none).contains("none of the 3"), "{none:?}");
}

#[tokio::test]
async fn an_enroller_without_read_access_proves_by_name() {
    let app = App::start().await;
    let body = json!({ "name": "onboarding", "role": "enroller" });
    let made = app.admin().post("/api/keys", &body).await;
    let key = made.body["key"].as_str().unwrap();
    let enroller = app.caller(Some(key));
    let quick = format!("{}&period=1", uri("Shop", "till"));
    let asked = json!({ "uri": quick });
    let started = enroller.post("/api/accounts?proof=required", &asked).await;
    assert_eq!(started.status, StatusCode::CREATED, "{started:?}");
    let shown = out(&app.command(&["prove", "Shop", "--token", key]));
    let codes: Vec<&str> = shown
        .lines()
        .filter_map(|line| line.split("  ").next())
        .collect();
    assert_eq!(codes.len(), 2, "{shown}");
    let words = [
        "prove",
        "Shop: till",
        "--token",
        key,
        "--accepted",
        codes[0],
        codes[1],
    ];
    // The second code is valid a second later.
    let begun = std::time::Instant::now();
    loop {
        let proved = app.command(&words);
        if code(&proved) != 13 || begun.elapsed() > crate::support::PATIENCE {
            out(&proved);
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let nobody = app.command(&["prove", "Shed", "--token", key]);
    assert_eq!(code(&nobody), 5, "{nobody:?}");
}

#[tokio::test]
async fn what_is_typed_wrong_ends_with_two_and_names_commands() {
    let app = App::start().await;
    let [octo, ..] = three(&app).await;
    for wrong in [
        &["token", "octocat", "--min-validity", "61"][..],
        &["token", "octocat", "--min-validity", "31"],
        &["token", "octocat", "--min-validity", "2m"],
        &["token", "octocat", "--min-validity", "500ms"],
        &["token", "octocat", "--min-validity", "ten"],
        &["request", "read", "octocat", "--reads", "99"],
        &["request", "read", "octocat", "--reads", "0"],
        &["rename", "octocat", ""],
        &["rename", "octocat", "--issuer", ""],
        &["rename", "octocat", "  "],
        &["list", "--enrollments", "--stage", "Bogus"],
        &["grant", "add", "bot", "octocat", "--reads", "0"],
        &["mcp", "--json"],
    ] {
        let output = app.command(wrong);
        assert_eq!(code(&output), 2, "{wrong:?}: {output:?}");
        assert!(!said(&output).contains("/api/"), "{output:?}");
    }
    let listed = out(&app.command(&["list"]));
    assert!(
        listed.contains("GitHub: octocat"),
        "nothing was renamed: {listed}"
    );

    out(&app.command(&["guard", &octo]));
    let guarded = app.command(&["token", &octo]);
    assert_eq!(code(&guarded), 6, "{guarded:?}");
    assert!(
        said(&guarded).contains("`countersign request read ACCOUNT`"),
        "{guarded:?}"
    );
    assert!(!said(&guarded).contains("/api/"), "{guarded:?}");

    let body = json!({ "name": "bot", "role": "reader", "grantedOnly": true });
    app.admin().post("/api/keys", &body).await;
    let nowhere = "totp-00000000-0000-4000-8000-000000000000";
    let granted = app.command(&["grant", "add", "bot", nowhere]);
    assert_eq!(code(&granted), 5, "{granted:?}");
    out(&app.command(&["remove", &octo]));
    let granted = app.command(&["grant", "add", "bot", &octo]);
    assert_eq!(code(&granted), 5, "{granted:?}");
    assert!(said(&granted).contains("was removed"), "{granted:?}");
    let none = out(&app.command(&["grant", "list", "--json"]));
    assert!(!none.contains("bot"), "{none}");
}
