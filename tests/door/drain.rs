//! A server that speaks TLS and is asked to stop answers what is in progress, ends its
//! connections in order and loses nothing.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::{http1, http2};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_stream::wrappers::ReceiverStream;

use crate::exposure::certify;
use crate::support::{PATIENCE, Process, SEED_URI, countersign, document, until};

/// `countersign serve` with a certificate.
struct Secured {
    server: Process,
    data: PathBuf,
    port: u16,
    client: Client,
}

impl Secured {
    async fn start(folder: &Path) -> Self {
        let data = folder.join("data");
        let (files, client) = certify(folder);
        let mut command = countersign(&data, &["serve", "--json", "--log", "error"]);
        command
            .args(["--listen", "127.0.0.1:0"])
            .args(["--scheduler-listen", "127.0.0.1:0"])
            .args(["--dashboard-listen", "none"])
            // So that others can see that one request is being answered.
            .args(["--concurrency-per-caller", "1"])
            .arg("--tls-certificate")
            .arg(&files.certificate)
            .arg("--tls-key")
            .arg(&files.key);
        let server = Process::start(command, folder, "serve").await;
        let port = server.announced("server").rsplit(':').next().unwrap();
        let port = port.trim_end_matches('/').parse().unwrap();
        Self {
            server,
            data,
            port,
            client,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// Creates an enroller, and returns its key.
    fn key(&self, name: &str) -> String {
        let create = ["key", "create", name, "--role", "enroller", "--json"];
        let created = countersign(&self.data, &create).output().unwrap();
        document(&created)["key"].as_str().unwrap().to_owned()
    }

    async fn get(&self, path: &str, key: &str) -> (StatusCode, Value) {
        let request = self.client.get(self.url(path)).bearer_auth(key);
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    /// Starts an enrollment that waits for approval; returns the path of its status.
    async fn waiting(&self, key: &str) -> String {
        let start = self
            .client
            .post(self.url("/api/enrollments?approval=required"));
        let start = start.bearer_auth(key).json(&json!({ "uri": SEED_URI }));
        let started: Value = start.send().await.unwrap().json().await.unwrap();
        let path = started["statusQueryGetUri"].as_str().unwrap().to_owned();
        self.stage(&path, key, "AwaitingApproval").await;
        path
    }

    async fn stage(&self, path: &str, key: &str, stage: &str) {
        until(
            || stage.to_owned(),
            async || {
                let (_, state) = self.get(path, key).await;
                (state["stage"] == stage).then_some(())
            },
        )
        .await;
    }

    fn ask_to_stop(&self) {
        self.server.signal("TERM");
    }

    async fn exit_code(mut self) -> Option<i32> {
        self.server.ended().await
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", self.port)).await
    }

    /// A connection with TLS for one version of HTTP.
    async fn secure(&self, folder: &Path, version: &[u8]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        let trusted = CertificateDer::from_pem_file(folder.join("certificate.pem")).unwrap();
        roots.add(trusted).unwrap();
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![version.to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let stream = self.connect().await.unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream = stream.await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(version));
        stream
    }
}

async fn soon<T>(what: &str, coming: impl Future<Output = T>) -> T {
    let come = tokio::time::timeout(PATIENCE, coming).await;
    come.unwrap_or_else(|_| panic!("never: {what}"))
}

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Answer = (StatusCode, header::HeaderMap, Value);

fn nothing() -> Body {
    Empty::new().boxed_unsync()
}

/// A body whose parts come as they are sent.
fn in_parts() -> (mpsc::Sender<Result<Frame<Bytes>, Infallible>>, Body) {
    let (parts, body) = mpsc::channel(4);
    let body = StreamBody::new(ReceiverStream::new(body));
    (parts, body.boxed_unsync())
}

fn part(text: &'static str) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

fn request(method: Method, uri: String, key: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(uri)
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .unwrap()
}

async fn answer(
    coming: impl Future<Output = hyper::Result<hyper::Response<hyper::body::Incoming>>>,
) -> Answer {
    let (head, body) = coming.await.expect("an answer").into_parts();
    let body = body.collect().await.expect("all of it").to_bytes();
    (
        head.status,
        head.headers,
        serde_json::from_slice(&body).unwrap_or_default(),
    )
}

/// A connection with HTTP/1.1, and how it ends.
struct One {
    send: http1::SendRequest<Body>,
    end: JoinHandle<hyper::Result<()>>,
}

impl One {
    async fn open(process: &Secured, folder: &Path) -> Self {
        let stream = TokioIo::new(process.secure(folder, b"http/1.1").await);
        let (send, connection) = http1::handshake(stream).await.unwrap();
        let end = tokio::spawn(connection);
        Self { send, end }
    }
}

/// A connection with HTTP/2, and how it ends.
struct Two {
    send: http2::SendRequest<Body>,
    end: JoinHandle<hyper::Result<()>>,
}

impl Two {
    async fn open(process: &Secured, folder: &Path) -> Self {
        let stream = TokioIo::new(process.secure(folder, b"h2").await);
        let (send, connection) = http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
        let end = tokio::spawn(connection);
        Self { send, end }
    }

    /// Returns when everything sent before has been received.
    async fn health(&mut self, process: &Secured) {
        let request = request(Method::GET, process.url("/healthz"), "", nothing());
        let (status, ..) = answer(self.send.send_request(request)).await;
        assert_eq!(status, StatusCode::OK);
    }
}

#[tokio::test]
async fn what_is_in_progress_over_tls_is_answered_and_connections_end_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let process = Secured::start(folder).await;
    let keys = ["one-polls", "one-sends", "two-polls", "two-sends"].map(|name| process.key(name));
    let [one_polls, one_sends, two_polls, two_sends] = &keys;
    let polls = [
        process.waiting(one_polls).await,
        process.waiting(two_polls).await,
    ];
    let ask = polls
        .each_ref()
        .map(|path| format!("{path}?wait=60&since=AwaitingApproval"));

    // A poll that waits, seen by its caller being busy.
    let mut one = One::open(&process, folder).await;
    let (path, key) = (ask[0].clone(), one_polls.clone());
    let one_poll = tokio::spawn(async move {
        loop {
            let request = request(Method::GET, path.clone(), &key, nothing());
            let answer = answer(one.send.send_request(request)).await;
            // It came while its caller was being looked at.
            if answer.0 != StatusCode::TOO_MANY_REQUESTS {
                return (answer, one.end);
            }
        }
    });
    until(
        || "the poll waits".to_owned(),
        async || {
            let (status, _) = process.get("/api/session", one_polls).await;
            (status == StatusCode::TOO_MANY_REQUESTS).then_some(())
        },
    )
    .await;

    // An upload, seen by the answer 100 Continue.
    let mut sending = One::open(&process, folder).await;
    let (one_parts, body) = in_parts();
    let mut upload = request(Method::POST, "/api/enrollments".into(), one_sends, body);
    upload.headers_mut().insert(
        header::EXPECT,
        header::HeaderValue::from_static("100-continue"),
    );
    let (told, go_on) = tokio::sync::oneshot::channel();
    let told = std::sync::Mutex::new(Some(told));
    hyper::ext::on_informational(&mut upload, move |head| {
        assert_eq!(head.status(), StatusCode::CONTINUE);
        told.lock().unwrap().take().map(|told| told.send(()));
    });
    let one_upload = tokio::spawn(answer(sending.send.send_request(upload)));
    one_parts.send(part("{\"uri\": ")).await.unwrap();
    soon("the upload is taken", go_on).await.unwrap();

    // The same over HTTP/2, both on one connection.
    let mut two = Two::open(&process, folder).await;
    let poll = request(Method::GET, process.url(&ask[1]), two_polls, nothing());
    let two_poll = tokio::spawn(answer(two.send.send_request(poll)));
    let (two_parts, body) = in_parts();
    let upload = request(
        Method::POST,
        process.url("/api/enrollments"),
        two_sends,
        body,
    );
    let two_upload = tokio::spawn(answer(two.send.send_request(upload)));
    two_parts.send(part("{\"uri\": ")).await.unwrap();
    two.health(&process).await;

    // Connections on which nothing is in progress: used before, silent, not even secure.
    let mut idle_one = One::open(&process, folder).await;
    let health = request(Method::GET, "/healthz".into(), "", nothing());
    answer(idle_one.send.send_request(health)).await;
    let mut idle_two = Two::open(&process, folder).await;
    idle_two.health(&process).await;
    let mut silent = process.secure(folder, b"http/1.1").await;
    let mut bare = process.connect().await.unwrap();

    process.ask_to_stop();
    until(
        || "nobody new is let in".to_owned(),
        async || {
            let refused = process.connect().await.err()?;
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            Some(())
        },
    )
    .await;

    // Uploads are taken to their end.
    let rest = format!("\"{SEED_URI}\"}}").leak();
    for parts in [one_parts, two_parts] {
        parts.send(part(rest)).await.unwrap();
    }
    let (one_poll, one_end) = soon("the poll over HTTP/1.1", one_poll).await.unwrap();
    let one_upload = soon("the upload over HTTP/1.1", one_upload).await.unwrap();
    let two_poll = soon("the poll over HTTP/2", two_poll).await.unwrap();
    let two_upload = soon("the upload over HTTP/2", two_upload).await.unwrap();
    for (status, _, state) in [&one_poll, &one_upload, &two_poll, &two_upload] {
        assert_eq!(*status, StatusCode::ACCEPTED, "{state}");
    }
    for (_, headers, _) in [&one_poll, &one_upload] {
        assert_eq!(headers[header::CONNECTION], "close");
    }
    for (_, _, state) in [&one_poll, &two_poll] {
        assert_eq!(state["stage"], "AwaitingApproval");
    }
    // TLS says goodbye on each, so that no truncation looks like an end.
    for end in [one_end, sending.end, two.end, idle_one.end, idle_two.end] {
        soon("the connection ends", end)
            .await
            .unwrap()
            .expect("in order");
    }
    // With or without a goodbye where nothing was ever said.
    let mut bytes = Vec::new();
    let _ = soon("the silent one ends", silent.read_to_end(&mut bytes)).await;
    let _ = soon("the bare one ends", bare.read_to_end(&mut bytes)).await;
    assert_eq!(bytes, b"");
    assert_eq!(process.exit_code().await, Some(0));

    let process = Secured::start(folder).await;
    for (path, key) in [(&polls[0], one_polls), (&polls[1], two_polls)] {
        process.stage(path, key, "AwaitingApproval").await;
    }
    for ((_, headers, _), key) in [(&one_upload, one_sends), (&two_upload, two_sends)] {
        let path = headers[header::LOCATION].to_str().unwrap();
        process.stage(path, key, "Enrolled").await;
    }
    process.ask_to_stop();
    assert_eq!(process.exit_code().await, Some(0));
}
