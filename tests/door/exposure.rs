//! Certificates, proxies, and pages of other origins.

use std::path::Path;
use std::time::Duration;

use countersign::config::{Config, Settings, TlsFiles};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::{Certificate, Client, Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::server::Server;
use crate::support::PATIENCE;

/// Writes a new certificate with its key, and returns a client that trusts nothing else.
pub(crate) fn certify(folder: &Path) -> (TlsFiles, Client) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        certificate: folder.join("certificate.pem"),
        key: folder.join("key.pem"),
    };
    std::fs::write(&files.certificate, cert.pem()).unwrap();
    std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
    let trusted = Certificate::from_pem(cert.pem().as_bytes()).unwrap();
    let client = Client::builder()
        .no_proxy()
        .tls_certs_only([trusted])
        .build()
        .unwrap();
    (files, client)
}

#[tokio::test]
async fn a_certificate_is_shown_and_reloaded_when_its_files_change() {
    let folder = tempfile::tempdir().unwrap();
    let (files, first) = certify(folder.path());
    let server = Server::start_with(|config| config.tls = Some(files)).await;
    let base = format!("https://localhost:{}", server.address().port());
    let login = first.post(format!("{base}/api/session"));
    let login = login
        .header("sec-fetch-site", "same-origin")
        .json(&json!({}))
        .bearer_auth(&server.admin);
    let login = login.send().await.unwrap();
    assert_eq!(login.status(), StatusCode::OK);
    assert!(is_by_tls(&login));

    let (_, second) = certify(folder.path());
    let health = format!("{base}/healthz");
    assert!(!server.base.contains("http://"));
    tokio::time::timeout(PATIENCE, async {
        while second.get(&health).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the new certificate is shown");
    // Connections from before continue.
    assert_eq!(
        first.get(&health).send().await.unwrap().status(),
        StatusCode::OK
    );
    server.stop().await;
}

/// Whether an answer that sets a session is one to a browser that came by TLS.
fn is_by_tls(login: &Response) -> bool {
    let hsts = login.headers().contains_key("strict-transport-security");
    let set = login.headers().get_all("set-cookie").iter();
    let set: Vec<&str> = set.map(|cookie| cookie.to_str().unwrap()).collect();
    let set: Vec<&&str> = set
        .iter()
        .filter(|cookie| cookie.contains("Max-Age=43200"))
        .collect();
    let [cookie] = set.as_slice() else {
        panic!("{set:?}");
    };
    let secure = cookie.starts_with("__Host-countersign_session=")
        && cookie.contains("; Path=/;")
        && cookie.ends_with("; Secure");
    assert_eq!(hsts, secure, "{cookie}");
    assert_eq!(secure, cookie.contains("Secure"), "{cookie}");
    secure
}

#[tokio::test]
async fn a_trusted_proxy_says_that_the_browser_came_by_tls() {
    let log_in = async |server: &Server, name: &str, value: &str| {
        let request = server.request(Method::POST, "/api/session");
        let request = request
            .header("sec-fetch-site", "same-origin")
            .header(name, value)
            .json(&json!({}));
        let answer = request.bearer_auth(&server.admin).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        is_by_tls(&answer)
    };
    let plain = Server::start_with(|_| ()).await;
    assert!(!log_in(&plain, "x-forwarded-proto", "https").await);
    plain.stop().await;

    let trusting = Settings {
        trusted_proxies: Some("127.0.0.0/8".to_owned()),
        ..Settings::default()
    };
    let server = Server::start_with(|config| {
        config.trusted_proxies = checked(&trusting).trusted_proxies;
    })
    .await;
    for (name, value, by_tls) in [
        ("x-forwarded-proto", "https", true),
        ("x-forwarded-proto", "http", false),
        ("forwarded", "for=203.0.113.9;proto=https", true),
        ("x-forwarded-for", "203.0.113.9", false),
    ] {
        assert_eq!(
            log_in(&server, name, value).await,
            by_tls,
            "{name}: {value}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn files_without_a_certificate_are_reported_at_startup() {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = certify(folder.path());
    std::fs::write(&files.key, "not a key").unwrap();
    let mut config = Config::embedded(&folder.path().join("data"));
    config.tls = Some(files);
    let error = countersign::app::Running::start(config)
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("key.pem"), "{error}");
}

fn checked(settings: &Settings) -> Config {
    Config::resolve(settings, |_| None).unwrap()
}

/// The addresses of code readings in the audit log, last first.
async fn recorded(server: &Server, forwarded: &[(&str, &str)]) -> Value {
    let path = "/api/tokens?id=totp-00000000-0000-4000-8000-000000000000";
    let mut request = server.request(Method::GET, path).bearer_auth(&server.admin);
    for (name, value) in forwarded {
        request = request.header(*name, *value);
    }
    assert_eq!(
        request.send().await.unwrap().status(),
        StatusCode::NOT_FOUND
    );
    let page = server
        .get(
            "/api/audit?action=read-code&order=newest&limit=1",
            &server.admin,
        )
        .await;
    let page: Value = page.json().await.unwrap();
    page["entries"][0]["from"].clone()
}

#[tokio::test]
async fn only_trusted_proxies_may_name_their_clients() {
    let plain = Server::start_with(|_| ()).await;
    let claimed = [("x-forwarded-for", "203.0.113.9")];
    assert_eq!(recorded(&plain, &claimed).await, "127.0.0.1");
    plain.stop().await;

    let trusting = Settings {
        trusted_proxies: Some("127.0.0.0/8, 10.0.0.0/8".to_owned()),
        ..Settings::default()
    };
    let server = Server::start_with(|config| {
        config.trusted_proxies = checked(&trusting).trusted_proxies;
    })
    .await;
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[], "127.0.0.1"),
        (&claimed, "203.0.113.9"),
        // What the client itself wrote before the proxy did has no effect.
        (
            &[("x-forwarded-for", "198.51.100.1, 203.0.113.9")],
            "203.0.113.9",
        ),
        (
            &[("x-forwarded-for", "203.0.113.9, 10.1.2.3")],
            "203.0.113.9",
        ),
        (
            &[
                ("x-forwarded-for", "198.51.100.1"),
                ("x-forwarded-for", "203.0.113.9:4711"),
            ],
            "203.0.113.9",
        ),
        (&[("x-forwarded-for", "198.51.100.1, unknown")], "127.0.0.1"),
        (
            &[(
                "forwarded",
                "for=198.51.100.1, For=\"[2001:db8::1]:4711\";proto=https",
            )],
            "2001:db8::1",
        ),
        (&[("forwarded", "proto=https")], "127.0.0.1"),
    ];
    for (headers, expected) in cases {
        assert_eq!(recorded(&server, headers).await, expected, "{headers:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn pages_of_other_origins_call_only_where_that_is_configured() {
    let ask = async |server: &Server, method: Method, origin: &str| {
        let request = server.request(method, "/api/enrollments");
        request
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,idempotency-key",
            )
            .bearer_auth(&server.admin)
            .send()
            .await
            .unwrap()
    };
    let allowed = "access-control-allow-origin";
    let plain = Server::start_with(|_| ()).await;
    for method in [Method::GET, Method::OPTIONS] {
        let answer = ask(&plain, method, "https://app.example").await;
        assert!(answer.headers().get(allowed).is_none());
    }
    plain.stop().await;

    let settings = Settings {
        cors_origins: Some("https://app.example".to_owned()),
        ..Settings::default()
    };
    let server = Server::start_with(|config| {
        config.cors_origins = checked(&settings).cors_origins;
    })
    .await;
    let answer = ask(&server, Method::OPTIONS, "https://app.example").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[allowed], "https://app.example");
    let headers = answer.headers()["access-control-allow-headers"]
        .to_str()
        .unwrap();
    assert!(headers.contains("idempotency-key"), "{headers}");
    // Never with the cookie.
    assert!(
        answer
            .headers()
            .get("access-control-allow-credentials")
            .is_none()
    );
    let answer = ask(&server, Method::GET, "https://app.example").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[allowed], "https://app.example");
    for method in [Method::GET, Method::OPTIONS] {
        let answer = ask(&server, method, "https://evil.example").await;
        assert!(answer.headers().get(allowed).is_none());
    }
    server.stop().await;
}
