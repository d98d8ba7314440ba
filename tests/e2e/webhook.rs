//! Notices of pending decisions are delivered, even if the receiver is down for a while.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{App, Caller, PATIENCE, SEED_URI};

/// What a receiver does with the next notice.
#[derive(Clone, Copy)]
pub(crate) enum Mood {
    Takes,
    Fails,
    Stalls,
    SendsElsewhere,
}

/// A receiver of notices, as someone would run one.
#[derive(Clone, Default)]
pub(crate) struct Receiver {
    moods: Arc<Mutex<Vec<Mood>>>,
    got: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    trapped: Arc<Mutex<usize>>,
}

impl Receiver {
    /// Starts one that is in these moods first, and then takes everything.
    pub(crate) async fn start(moods: &[Mood]) -> (Self, SocketAddr) {
        let receiver = Self::default();
        receiver.moods.lock().unwrap().extend(moods.iter().rev());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/hook", post(take))
            .route("/trap", post(trap).get(trap))
            .with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (receiver, address)
    }

    /// Every request so far: headers and body.
    fn requests(&self) -> Vec<(HeaderMap, Value)> {
        let got = self.got.lock().unwrap();
        got.iter()
            .map(|(headers, body)| (headers.clone(), serde_json::from_str(body).unwrap()))
            .collect()
    }

    /// Every body so far.
    pub(crate) fn text(&self) -> String {
        let got = self.got.lock().unwrap();
        got.iter().map(|(_, body)| body.as_str()).collect()
    }

    /// Waits until this many requests have come.
    pub(crate) async fn until(&self, count: usize) -> Vec<(HeaderMap, Value)> {
        let begun = Instant::now();
        loop {
            let requests = self.requests();
            if requests.len() >= count {
                return requests;
            }
            assert!(begun.elapsed() < PATIENCE, "only {requests:?} came");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asserts that everything that came was signed with `key`.
    fn assert_signed(&self, key: &str) {
        let got = self.got.lock().unwrap();
        for (headers, body) in got.iter() {
            assert!(is_signed(headers, body, key), "{headers:?}");
        }
    }

    /// Asserts that every notice of the kind `event` was signed with exactly these keys.
    pub(crate) fn assert_signed_with(&self, event: &str, keys: &[&str]) {
        let got = self.got.lock().unwrap();
        let of_it = |body: &str| serde_json::from_str::<Value>(body).unwrap()["type"] == event;
        let notices: Vec<_> = got.iter().filter(|(_, body)| of_it(body)).collect();
        assert!(!notices.is_empty(), "no notice {event} came");
        for (headers, body) in notices {
            let signature = headers["countersign-signature"].to_str().unwrap();
            assert_eq!(signature.matches(",v1=").count(), keys.len(), "{signature}");
            for key in keys {
                assert!(is_signed(headers, body, key), "{headers:?} {body}");
            }
        }
    }
}

fn is_signed(headers: &HeaderMap, body: &str, key: &str) -> bool {
    let signature = headers["countersign-signature"].to_str().unwrap();
    let mut parts = signature.split(',');
    let seconds = parts.next().unwrap().strip_prefix("t=").unwrap();
    let mut expected = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    expected.update(format!("{seconds}.{body}").as_bytes());
    let mut macs = parts.map(|part| HEXLOWER.decode(&part.as_bytes()[3..]).unwrap());
    macs.any(|mac| expected.clone().verify_slice(&mac).is_ok())
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    let body = String::from_utf8(body.to_vec()).unwrap();
    receiver.got.lock().unwrap().push((headers, body));
    let mood = receiver.moods.lock().unwrap().pop().unwrap_or(Mood::Takes);
    match mood {
        Mood::Takes => StatusCode::OK.into_response(),
        Mood::Fails => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Stalls => std::future::pending().await,
        Mood::SendsElsewhere => {
            let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
            response
                .headers_mut()
                .insert(header::LOCATION, HeaderValue::from_static("/trap"));
            response
        }
    }
}

async fn trap(State(receiver): State<Receiver>) -> StatusCode {
    *receiver.trapped.lock().unwrap() += 1;
    StatusCode::OK
}

/// A server that notifies `address`, and the key that it signs with.
async fn telling(address: SocketAddr, more: &[&str]) -> (App, String) {
    let url = format!("http://{address}/hook");
    let mut args = vec!["--webhook-url", url.as_str()];
    args.extend_from_slice(more);
    let app = App::start_with(&args).await;
    let key = std::fs::read_to_string(app.data_dir().join("webhook-secret")).unwrap();
    (app, key.trim().to_owned())
}

async fn waiting(caller: &Caller) -> String {
    let id = caller.enroll(SEED_URI, true).await;
    caller.until_stage(&id, "AwaitingApproval").await;
    id
}

#[tokio::test]
async fn a_notice_gets_through_to_a_receiver_that_fails_stalls_and_recovers() {
    let (receiver, address) = Receiver::start(&[Mood::Fails, Mood::Stalls]).await;
    let (app, key) = telling(address, &[]).await;
    let enroller = app.new_caller("build-server", "enroller");
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let id = waiting(&enroller).await;
    let requests = receiver.until(3).await;
    for (headers, body) in &requests {
        assert_eq!(body["type"], "countersign.requested", "{body}");
        assert_eq!(body["request"]["id"], id.as_str());
        assert_eq!(body["request"]["path"], format!("/api/enrollments/{id}"));
        assert_eq!(body["request"]["requestedBy"], "build-server");
        assert_eq!(
            headers["countersign-delivery"].to_str().unwrap(),
            body["id"].as_str().unwrap(),
        );
        assert_eq!(headers["content-type"], "application/json");
    }
    assert!(
        requests.iter().all(|(_, body)| body == &requests[0].1),
        "the same notice each time"
    );
    let text = requests[0].1["text"].as_str().unwrap();
    assert!(
        text.starts_with("build-server asks to enroll 2FAS (Test Token)."),
        "{text}"
    );

    approver.decide(&id, true, "seen on the screen").await;
    let requests = receiver.until(4).await;
    let (_, decided) = &requests[3];
    assert_eq!(decided["type"], "countersign.decided", "{decided}");
    assert_eq!(decided["decision"]["by"], "second-pair-of-eyes");
    assert_eq!(decided["decision"]["comment"], "seen on the screen");
    receiver.assert_signed(&key);
    for (_, body) in requests {
        assert!(!body.to_string().contains("2FASTEST"), "{body}");
    }
    // A notice that is in progress keeps nothing else from its end.
    assert_eq!(enroller.ended(&id).await.body["stage"], "Enrolled");
    assert!(!app.logs().contains("/hook"), "an address may hold a key");
}

#[tokio::test]
async fn a_notice_that_is_sent_after_a_rotation_is_signed_with_the_new_key() {
    let (receiver, address) = Receiver::start(&[]).await;
    let (app, first) = telling(address, &[]).await;
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let (one, other) = (waiting(&admin).await, waiting(&admin).await);
    receiver.until(2).await;
    let rotate = |overlap| {
        let words = ["rotate", "webhook-secret", "--overlap", overlap, "--json"];
        let rotated = app.command(&words);
        assert!(rotated.status.success(), "{rotated:?}");
        let rotated: Value = serde_json::from_slice(&rotated.stdout).unwrap();
        rotated["value"].as_str().unwrap().to_owned()
    };

    let second = rotate("1h");
    assert_eq!(approver.decide(&one, true, "").await.status, 202);
    receiver.until(3).await;
    receiver.assert_signed_with("countersign.decided", &[&second, &first]);
    receiver.assert_signed_with("countersign.requested", &[&first]);

    receiver.got.lock().unwrap().clear();
    let third = rotate("0");
    assert_eq!(approver.decide(&other, true, "").await.status, 202);
    receiver.until(1).await;
    receiver.assert_signed_with("countersign.decided", &[&third]);
}

#[tokio::test]
async fn a_receiver_cannot_send_a_notice_elsewhere() {
    let (receiver, address) = Receiver::start(&[Mood::SendsElsewhere]).await;
    let (app, _) = telling(address, &[]).await;
    let id = waiting(&app.admin()).await;
    let requests = receiver.until(2).await;
    assert_eq!(requests[1].1["request"]["id"], id.as_str());
    assert_eq!(*receiver.trapped.lock().unwrap(), 0);
}

#[tokio::test]
async fn a_proxy_of_the_environment_gets_nothing() {
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (receiver, address) = Receiver::start(&[]).await;
    let (url, through) = (
        format!("http://{address}/hook"),
        format!("http://{}", proxy.local_addr().unwrap()),
    );
    let environment = [
        ("HTTP_PROXY", through.as_str()),
        ("http_proxy", &through),
        ("HTTPS_PROXY", &through),
        ("https_proxy", &through),
        ("ALL_PROXY", &through),
        ("all_proxy", &through),
        ("NO_PROXY", ""),
        ("no_proxy", ""),
    ];
    // The issuer is queried at startup; no host has this name.
    let issuer = [
        "--oidc-issuer",
        "https://issuer.invalid",
        "--oidc-audience",
        "x",
    ];
    let args = [["--webhook-url", url.as_str()].as_slice(), &issuer].concat();
    let app = App::start_under(&environment, &args).await;
    waiting(&app.admin()).await;
    receiver.until(1).await;
    app.until_logged("the issuer's keys cannot be fetched")
        .await;
    let called = tokio::time::timeout(Duration::from_millis(50), proxy.accept()).await;
    assert!(called.is_err(), "somebody called the proxy: {called:?}");
}

#[tokio::test]
async fn others_are_reminded_and_notified_of_the_expiry() {
    let (receiver, address) = Receiver::start(&[]).await;
    let (app, key) = telling(
        address,
        &["--approval-timeout", "3s", "--approval-reminders", "1s,2s"],
    )
    .await;
    let id = waiting(&app.admin()).await;
    let requests = receiver.until(4).await;
    let mut told: Vec<&str> = requests
        .iter()
        .map(|(_, body)| body["type"].as_str().unwrap())
        .collect();
    // Each goes its own way, so they may overtake each other.
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "countersign.expired",
            "countersign.reminder",
            "countersign.reminder",
            "countersign.requested",
        ]
    );
    assert_eq!(app.admin().ended(&id).await.body["stage"], "Expired");
    receiver.assert_signed(&key);
}

#[tokio::test]
async fn only_members_of_the_groups_that_are_asked_can_agree() {
    let (receiver, address) = Receiver::start(&[]).await;
    let (app, _) = telling(address, &["--approvers", "ops,security"]).await;
    let admin = app.admin();
    let outsider = app.new_caller("outsider", "approver");
    let output = app.command(&[
        "key", "create", "insider", "--role", "approver", "--group", "security", "--json",
    ]);
    assert!(output.status.success(), "{output:?}");
    let key: Value = serde_json::from_slice(&output.stdout).unwrap();
    let insider = app.caller(key["key"].as_str());

    let id = waiting(&admin).await;
    let state = admin.get(&format!("/api/enrollments/{id}")).await;
    assert_eq!(state.body["approval"]["from"], json!(["ops", "security"]));
    outsider
        .decide(&id, true, "")
        .await
        .assert_problem(403, "approver-group-missing");
    assert_eq!(insider.decide(&id, true, "").await.status, 202);
    let ended = admin.ended(&id).await;
    assert_eq!(ended.body["stage"], "Enrolled", "{ended:?}");
    let decision = &ended.body["approval"]["decision"];
    assert_eq!(decision["groups"], json!(["security"]));
    let requests = receiver.until(2).await;
    assert_eq!(requests[0].1["request"]["from"], json!(["ops", "security"]));

    // A refusal by any approver is enough against it.
    let id = waiting(&admin).await;
    assert_eq!(outsider.decide(&id, false, "no").await.status, 202);
    assert_eq!(admin.ended(&id).await.body["stage"], "Rejected");
}
