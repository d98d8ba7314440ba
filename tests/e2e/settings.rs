//! Settings that cannot be used: what `config check` and a start say of them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use jsonwebtoken::Algorithm;
use serde_json::Value;

use crate::support::BINARY;
use crate::support::issuer::{Issuer, SigningKey};

/// Where what is not asked for by a test listens.
const QUIET: [&str; 6] = [
    "--listen",
    "127.0.0.1:0",
    "--scheduler-listen",
    "127.0.0.1:0",
    "--dashboard-listen",
    "none",
];

fn run(folder: &Path, words: &[&str], settings: &[&str]) -> Output {
    let output = Command::new(BINARY)
        .args(words)
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args(QUIET)
        .args(settings)
        .output();
    output.unwrap()
}

fn checked(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the check says of one thing.
fn check<'a>(document: &'a Value, name: &str) -> &'a Value {
    let mut checks = document["checks"].as_array().unwrap().iter();
    let found = checks.find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("{name}: {document}"))
}

#[test]
fn what_a_start_refuses_is_refused_by_the_check_and_both_end_with_two() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(path("cert.pem"), made.cert.pem()).unwrap();
    fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    fs::write(path("other.pem"), other.signing_key.serialize_pem()).unwrap();
    fs::write(path("not.pem"), "no certificate").unwrap();
    fs::write(path("open"), "a-key-that-everyone-can-read").unwrap();
    fs::set_permissions(path("open"), fs::Permissions::from_mode(0o644)).unwrap();
    let (cert, key, other) = (path("cert.pem"), path("key.pem"), path("other.pem"));
    let (not, open, missing) = (path("not.pem"), path("open"), path("missing"));
    let hook = "https://chat.example/hooks/T0K3N";
    let issuer = [
        "--oidc-issuer",
        "https://login.example",
        "--oidc-audience",
        "api",
    ];
    let cases: [(&str, Vec<&str>); 7] = [
        (
            "TLS",
            vec!["--tls-certificate", &missing, "--tls-key", &key],
        ),
        ("TLS", vec!["--tls-certificate", &not, "--tls-key", &key]),
        ("TLS", vec!["--tls-certificate", &cert, "--tls-key", &other]),
        (
            "webhook",
            vec!["--webhook-url", hook, "--webhook-secret-file", &missing],
        ),
        (
            "webhook",
            vec!["--webhook-url", hook, "--webhook-secret-file", &open],
        ),
        ("issuer", [&issuer[..], &["--oidc-ca-file", &not]].concat()),
        (
            "issuer",
            [&issuer[..], &["--oidc-ca-file", &missing]].concat(),
        ),
    ];
    for (name, settings) in &cases {
        let refused = run(folder.path(), &["config", "check", "--json"], settings);
        assert_eq!(refused.status.code(), Some(2), "{settings:?}: {refused:?}");
        let document = checked(&refused);
        assert_eq!(check(&document, name)["ok"], false, "{document}");
        assert!(!document.to_string().contains("T0K3N"), "{document}");
        assert!(
            !folder.path().join("data").exists(),
            "a check creates nothing"
        );
    }
    for (_, settings) in &cases {
        let refused = run(folder.path(), &["serve"], settings);
        assert_eq!(refused.status.code(), Some(2), "{settings:?}: {refused:?}");
    }
    // Nor would a front door start that is not said to be the only one.
    let hub = "Endpoint=http://hub.invalid:1;TaskHub=default;Authentication=None";
    for (more, good, exit) in [(&[][..], false, 2), (&["--single-front-door"], true, 1)] {
        let settings = [&["--connection-string", hub], more].concat();
        let output = run(folder.path(), &["config", "check", "--json"], &settings);
        assert_eq!(output.status.code(), Some(exit), "{output:?}");
        let document = checked(&output);
        assert_eq!(check(&document, "front door")["ok"], good, "{document}");
    }
    let taken = run(
        folder.path(),
        &["serve"],
        &["--metrics-listen", "192.0.2.1:9"],
    );
    assert_eq!(taken.status.code(), Some(2), "{taken:?}");

    let good = run(
        folder.path(),
        &["config", "check", "--json"],
        &[
            "--tls-certificate",
            &cert,
            "--tls-key",
            &key,
            "--rate-per-caller",
            "7",
        ],
    );
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    let document = checked(&good);
    for name in [
        "data folder",
        "addresses",
        "front door",
        "TLS",
        "task hub",
        "vault",
    ] {
        assert_eq!(check(&document, name)["ok"], true, "{document}");
    }
    let settings = &document["settings"];
    assert_eq!(settings["tls-key"], key.as_str());
    assert_eq!(settings["rate-per-caller"], "7");
    assert_eq!(settings["max-connections"], 10_000);
}

#[tokio::test]
async fn the_check_asks_the_issuer() {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::new("one", Algorithm::ES256);
    let issuer = Issuer::start(&[&key]).await;
    let url = issuer.name();
    let place = folder.path().to_owned();
    let ask = |url: String| {
        let place = place.clone();
        tokio::task::spawn_blocking(move || {
            let settings = ["--oidc-issuer", &url, "--oidc-audience", "api"];
            run(&place, &["config", "check", "--json"], &settings)
        })
    };
    let good = ask(url).await.unwrap();
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    assert_eq!(check(&checked(&good), "issuer")["ok"], true);
    // One that does not answer is no fault of the settings.
    let gone = ask("http://127.0.0.1:9".to_owned()).await.unwrap();
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    assert_eq!(check(&checked(&gone), "issuer")["ok"], false);
}
