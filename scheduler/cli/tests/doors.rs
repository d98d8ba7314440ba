//! Access: tokens, TLS, and addresses that other machines can reach.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use durabletask_proto::completion_stream_service_client::CompletionStreamServiceClient;
use durabletask_proto::{CompletionFrame, GetWorkItemsRequest, work_item};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use support::*;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};

const TOKEN: &str = "8c7d9e0f1a2b3c4d5e6f708192a3b4c5";

fn token_file(folder: &Path) -> PathBuf {
    let path = folder.join("tokens");
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    path
}

/// A certificate for 127.0.0.1: the files of certificate and key.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    (certificate, key)
}

/// Over a connection of its own that trusts this certificate alone.
async fn connect(process: &Process, pem: &[u8]) -> Option<Client> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
    let channel = Channel::from_shared(process.grpc.clone())
        .unwrap()
        .tls_config(tls)
        .unwrap();
    channel.connect().await.ok().map(Client::new)
}

/// The status of the dashboard's first page, likewise.
async fn page(process: &Process, pem: &[u8], token: &str) -> Option<u16> {
    let http = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(pem).unwrap()])
        .build()
        .unwrap();
    let answer = http.get(&process.http).bearer_auth(token).send().await;
    answer.ok().map(|answer| answer.status().as_u16())
}

fn with_token<T>(message: T, token: &str) -> tonic::Request<T> {
    let mut request = to_hub("default", message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

async fn hello(client: &Client, token: Option<&str>) -> Result<(), Code> {
    let request = match token {
        Some(token) => with_token((), token),
        None => to_hub("default", ()),
    };
    let answer = client.clone().hello(request).await;
    answer.map(|_| ()).map_err(|status| status.code())
}

#[tokio::test]
async fn grpc_and_dashboard_require_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = token_file(folder.path());
    let process = Process::start(folder.path(), &["--token-file", tokens.to_str().unwrap()]);
    let client = process.client();
    assert_eq!(hello(&client, None).await, Err(Code::Unauthenticated));
    let wrong = TOKEN.replace('8', "9");
    assert_eq!(
        hello(&client, Some(&wrong)).await,
        Err(Code::Unauthenticated)
    );
    assert_eq!(hello(&client, Some(TOKEN)).await, Ok(()));
    let worker = client
        .clone()
        .get_work_items(to_hub("default", Default::default()))
        .await;
    assert_eq!(worker.unwrap_err().code(), Code::Unauthenticated);

    let http = reqwest::Client::new();
    for path in ["/", "/api/hubs", "/metrics", "/api/changes"] {
        let url = format!("{}{path}", process.http);
        let refused = http.get(&url).send().await.unwrap();
        assert_eq!(refused.status().as_u16(), 401, "{path}");
        let challenges = refused.headers().get_all("www-authenticate");
        assert_eq!(challenges.iter().count(), 2, "{path}");
        let body = refused.text().await.unwrap();
        assert!(body.contains("authorization: Bearer"), "{body}");
        let bearer = http.get(&url).bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(bearer.status().as_u16(), 200, "{path}");
        let basic = http.get(&url).basic_auth("me", Some(TOKEN));
        assert_eq!(basic.send().await.unwrap().status().as_u16(), 200, "{path}");
    }
    // A supervisor has no token, and learns nothing else.
    let (status, text) = http_as(&process.http, None, "/healthz").await;
    assert_eq!((status, text.as_str()), (200, "ok\n"));
}

#[tokio::test]
async fn grpc_and_dashboard_speak_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(folder.path());
    let process = Process::start(
        folder.path(),
        &[
            "--tls-cert",
            certificate.to_str().unwrap(),
            "--tls-key",
            key.to_str().unwrap(),
        ],
    );
    let pem = std::fs::read(&certificate).unwrap();
    let client = connect(&process, &pem).await.unwrap();
    assert!(process.grpc.starts_with("https://"), "{}", process.grpc);
    assert_eq!(start(&client, "default", "a").await.unwrap(), "a");
    assert!(exists(&client, "default", "a").await);

    let trusting = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()])
        .build()
        .unwrap();
    let pages = trusting.get(&process.http).send().await.unwrap();
    assert_eq!(pages.status().as_u16(), 200);
    // An unknown certificate is not trusted, and plaintext gets no answer.
    assert!(
        reqwest::Client::new()
            .get(&process.http)
            .send()
            .await
            .is_err()
    );
    let plain = process.http.replace("https", "http");
    assert!(trusting.get(plain).send().await.is_err());
    let plain = Channel::from_shared(process.grpc.replace("https", "http")).unwrap();
    let code = hello(&Client::new(plain.connect_lazy()), None).await;
    assert_ne!(code, Ok(()));
    // It still stops when asked to, with a connection open.
    assert!(process.terminate().success());
}

#[tokio::test]
async fn files_that_change_are_in_use_before_long_and_a_stream_ends_with_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = token_file(folder.path());
    let (cert_file, key_file) = certificate(folder.path());
    let process = Process::start(
        folder.path(),
        &[
            "--token-file",
            tokens.to_str().unwrap(),
            "--tls-cert",
            cert_file.to_str().unwrap(),
            "--tls-key",
            key_file.to_str().unwrap(),
        ],
    );
    let old = std::fs::read(&cert_file).unwrap();
    let before = connect(&process, &old).await.unwrap();
    let ask = with_token(GetWorkItemsRequest::default(), TOKEN);
    let mut stream = before
        .clone()
        .get_work_items(ask)
        .await
        .unwrap()
        .into_inner();

    certificate(folder.path());
    let new = std::fs::read(&cert_file).unwrap();
    let token = TOKEN.replace('8', "9");
    std::fs::write(&tokens, &token).unwrap();
    let begun = Instant::now();
    let after = loop {
        // Each attempt is a connection, which checks the files.
        if let Some(client) = connect(&process, &new).await
            && hello(&client, Some(&token)).await.is_ok()
            && page(&process, &new, &token).await == Some(200)
        {
            break client;
        }
        assert!(begun.elapsed() < PATIENCE, "the new files are in use");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(connect(&process, &old).await.is_none(), "none of before");
    assert_eq!(page(&process, &old, &token).await, None);
    assert_eq!(page(&process, &new, TOKEN).await, Some(401));
    for client in [&before, &after] {
        assert_eq!(hello(client, Some(TOKEN)).await, Err(Code::Unauthenticated));
        assert_eq!(hello(client, Some(&token)).await, Ok(()));
    }

    // Streams of the old token end, and lose no work.
    let ended = loop {
        match tokio::time::timeout(PATIENCE, stream.message())
            .await
            .unwrap()
        {
            Ok(item) => assert!(item.is_some(), "the end says why"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
    let start = with_token(new_instance("a"), &token);
    after.clone().start_instance(start).await.unwrap();
    let ask = with_token(GetWorkItemsRequest::default(), &token);
    let mut stream = after
        .clone()
        .get_work_items(ask)
        .await
        .unwrap()
        .into_inner();
    let turn = loop {
        let item = stream.message().await.unwrap().unwrap();
        if let Some(work_item::Request::OrchestratorRequest(turn)) = item.request {
            break turn;
        }
    };
    assert_eq!(turn.instance_id, "a");
}

#[tokio::test]
async fn results_on_a_stream_need_a_token_for_as_long_as_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = token_file(folder.path());
    let process = Process::start(folder.path(), &["--token-file", tokens.to_str().unwrap()]);
    let channel = Channel::from_shared(process.grpc.clone())
        .unwrap()
        .connect_lazy();
    let mut client = CompletionStreamServiceClient::new(channel);
    let nothing = || tokio_stream::pending::<CompletionFrame>();
    let refused = client.complete(nothing()).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let open = client.complete(with_token(nothing(), TOKEN)).await;
    let mut answers = open.unwrap().into_inner();

    std::fs::write(&tokens, TOKEN.replace('8', "9")).unwrap();
    let end = tokio::time::timeout(PATIENCE, answers.message()).await;
    assert_eq!(end.unwrap().unwrap_err().code(), Code::Unauthenticated);
}

#[test]
fn addresses_of_other_machines_need_authentication_or_a_flag() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = token_file(folder.path());
    let (certificate, key) = certificate(folder.path());
    let everywhere = ["--listen", "0.0.0.0:0", "--dashboard", "0.0.0.0:0"];
    let data = folder.path().join("data");
    let refused = output(&[&everywhere[..], &["--data-dir", data.to_str().unwrap()]].concat());
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    let said = stderr(&refused);
    assert_eq!(
        said.matches("--token-file or --jwt-keys").count(),
        2,
        "{said}"
    );
    assert!(!data.exists(), "nothing was touched");

    let (tokens, certificate, key) = (
        tokens.to_str().unwrap(),
        certificate.to_str().unwrap(),
        key.to_str().unwrap(),
    );
    // A certificate identifies the scheduler, not its callers.
    let encrypted = ["--tls-cert", certificate, "--tls-key", key];
    let refused = output(&[&everywhere[..], &encrypted].concat());
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    for guard in [&["--token-file", tokens][..], &["--allow-remote"]] {
        let arguments = [&everywhere[..], guard].concat();
        let process = Process::try_start(&data, &arguments).unwrap();
        assert!(process.grpc.contains("0.0.0.0"), "{}", process.grpc);
        process.kill();
    }
}

#[test]
fn unusable_files_are_reported_at_startup() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, _) = certificate(folder.path());
    let missing = folder.path().join("missing");
    let missing = missing.to_str().unwrap();
    let other = folder.path().join("other.pem");
    let stranger = rcgen::KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(&other, stranger).unwrap();
    let certificate = certificate.to_str().unwrap();
    for (arguments, says) in [
        (&["--token-file", missing][..], "cannot read"),
        (&["--token-file", certificate], "is not a token"),
        (
            &["--tls-cert", missing, "--tls-key", missing],
            "a certificate from",
        ),
        (
            &["--tls-cert", certificate, "--tls-key", certificate],
            "a private key from",
        ),
        (
            &[
                "--tls-cert",
                certificate,
                "--tls-key",
                other.to_str().unwrap(),
            ],
            "cannot be used",
        ),
        (&["--tls-cert", certificate], "--tls-key"),
        (&["--jwt-keys", missing], "--jwt-issuer"),
        (
            &[
                "--jwt-keys",
                other.to_str().unwrap(),
                "--jwt-issuer",
                "i",
                "--jwt-audience",
                "a",
            ],
            "no key to verify",
        ),
    ] {
        let refused = output(&[&["--memory"][..], arguments].concat());
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        let said = stderr(&refused);
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}

/// What a scheduler logs until it is ready.
fn log_of_a_start(arguments: &[&str]) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_durabletask-scheduler"))
        .args(["--memory", "--listen", "127.0.0.1:0", "--dashboard", "none"])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut log = String::new();
    for line in lines {
        log.push_str(&line.unwrap());
        log.push('\n');
        if log.contains("the scheduler is ready") {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    log
}

#[test]
fn a_scheduler_without_authentication_warns_when_it_starts() {
    const SAYS: &str = "no credential is required";
    let open = log_of_a_start(&[]);
    assert!(
        open.contains(SAYS) && open.contains("--token-file"),
        "{open}"
    );
    let folder = tempfile::tempdir().unwrap();
    let tokens = token_file(folder.path());
    let asking = log_of_a_start(&["--token-file", tokens.to_str().unwrap()]);
    assert!(asking.contains("the scheduler is ready"), "{asking}");
    assert!(!asking.contains(SAYS), "{asking}");
}
