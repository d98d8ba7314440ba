//! Callers who enroll, decide and end enrollments whatever is killed in the meantime: a caller that gets
//! no answer retries.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use data_encoding::BASE32_NOPAD;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::PATIENCE;
use crate::support::{png, qr_png};

/// How long one try of a request may take.
const TRY: Duration = Duration::from_secs(20);
/// How long an answer may wait for another stage, in seconds.
const LONGEST_POLL: u32 = 5;
/// How long to wait before the next.
const AGAIN: Duration = Duration::from_millis(50);
/// One in so many enrollments is sent twice at the same time.
const SENT_TWICE: usize = 7;
/// The two callers.
pub(crate) const ENROLLER: &str = "build-server";
pub(crate) const APPROVER: &str = "second-pair-of-eyes";

/// What is to become of an enrollment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Submission {
    /// A URI, enrolled.
    Uri,
    /// An image, enrolled.
    Picture,
    /// Enrolled, once it is approved.
    Approved,
    /// Rejected.
    Rejected,
    /// Ended while it waits for a decision.
    Terminated,
    /// An image of nothing.
    NoCode,
    /// An image of something else.
    OtherCode,
    /// Nothing that could be enrolled: refused at the door.
    NotEvenTaken,
}

impl Submission {
    /// What the enrollment with this number is for: each kind comes in twenty.
    pub(crate) const fn of(number: usize) -> Self {
        match number % 20 {
            1 | 11 => Self::Picture,
            3 | 13 => Self::Approved,
            5 | 15 => Self::Rejected,
            7 => Self::Terminated,
            9 => Self::NoCode,
            17 => Self::OtherCode,
            19 => Self::NotEvenTaken,
            _ => Self::Uri,
        }
    }

    /// The stage at its end; none if there is no enrollment.
    pub(crate) const fn stage(self) -> Option<&'static str> {
        match self {
            Self::Uri | Self::Picture | Self::Approved => Some("Enrolled"),
            Self::Rejected => Some("Rejected"),
            Self::Terminated => Some("Terminated"),
            Self::NoCode | Self::OtherCode => Some("Invalid"),
            Self::NotEvenTaken => None,
        }
    }

    /// The code of what is wrong with it.
    pub(crate) const fn problem(self) -> Option<&'static str> {
        match self {
            Self::NoCode => Some("qr-not-found"),
            Self::OtherCode => Some("qr-not-otpauth"),
            Self::NotEvenTaken => Some("not-otpauth"),
            _ => None,
        }
    }

    /// Whether someone decides on it, and how.
    pub(crate) const fn decision(self) -> Option<bool> {
        match self {
            Self::Approved => Some(true),
            Self::Rejected => Some(false),
            _ => None,
        }
    }

    const fn waits(self) -> bool {
        matches!(self, Self::Approved | Self::Rejected | Self::Terminated)
    }
}

/// The account that the enrollment with this number is for.
pub(crate) fn account(number: usize) -> String {
    format!("account-{number}")
}

/// Its secret, which no other has.
pub(crate) fn secret(number: usize) -> [u8; 20] {
    let mut secret = [0x5A; 20];
    secret[..8].copy_from_slice(&number.to_be_bytes());
    secret
}

fn uri(number: usize) -> String {
    let secret = BASE32_NOPAD.encode(&secret(number));
    format!("otpauth://totp/{}?secret={secret}", account(number))
}

/// An answered change, whatever the answer was.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) request: String,
    pub(crate) caller: &'static str,
    pub(crate) action: &'static str,
    pub(crate) status: StatusCode,
    /// The subject in the caller's answer.
    pub(crate) subject: Option<String>,
}

/// An enrollment that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) number: usize,
    /// None if it was not accepted.
    pub(crate) id: Option<String>,
    /// From the first try to start it until its end was seen.
    pub(crate) took: Duration,
}

/// Tries to change something that had to be repeated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tries {
    /// There was no complete answer.
    pub(crate) unanswered: u64,
    /// The answer was 503.
    pub(crate) put_off: u64,
}

/// What the callers share.
pub(crate) struct Load {
    http: Client,
    base: String,
    enroller: String,
    approver: String,
    pub(crate) answered: Mutex<Vec<Answered>>,
    pub(crate) tries: Mutex<Tries>,
}

/// The caller and its purpose.
#[derive(Clone, Copy)]
struct Change<'a> {
    caller: &'static str,
    action: &'static str,
    subject: Option<&'a str>,
}

impl Load {
    pub(crate) fn new(base: String, enroller: String, approver: String) -> Self {
        Self {
            http: Client::builder()
                .no_proxy()
                .timeout(TRY)
                .build()
                .expect("a client"),
            base,
            enroller,
            approver,
            answered: Mutex::default(),
            tries: Mutex::default(),
        }
    }

    /// Where the front door, or one of them, is.
    pub(crate) fn url(&self) -> &str {
        &self.base
    }

    /// Sees an enrollment to its end, from the moment on at which so many kills have been.
    pub(crate) async fn enroll(
        &self,
        number: usize,
        after: u64,
        mut kills: watch::Receiver<u64>,
    ) -> Ended {
        kills.wait_for(|kills| *kills >= after).await.unwrap();
        let begun = Instant::now();
        let submission = Submission::of(number);
        let id = if number.is_multiple_of(SENT_TWICE) {
            let (id, same) = tokio::join!(self.submit(number), self.submit(number));
            assert_eq!(id, same, "one key, one enrollment");
            id
        } else {
            self.submit(number).await
        };
        if let Some(id) = &id {
            if submission.waits() {
                self.until(id, |state| state["stage"] == "AwaitingApproval")
                    .await;
                match submission.decision() {
                    Some(approved) => self.decide(id, approved).await,
                    None => self.terminate(id).await,
                }
            }
            let state = self.ended(id).await;
            assert_eq!(
                state["stage"].as_str(),
                submission.stage(),
                "{submission:?}: {state}"
            );
        }
        Ended {
            number,
            id,
            took: begun.elapsed(),
        }
    }

    /// Sends the request that starts an enrollment, which always has the same key, until
    /// it is answered.
    pub(crate) async fn submit(&self, number: usize) -> Option<String> {
        let submission = Submission::of(number);
        let path = if submission.waits() {
            "/api/enrollments?approval=required"
        } else {
            "/api/enrollments"
        };
        let body = body(number);
        let what = Change {
            caller: ENROLLER,
            action: "enroll",
            subject: None,
        };
        let answer = self
            .change(what, || {
                let request = self
                    .request(Method::POST, path, &self.enroller)
                    .header("idempotency-key", format!("\"enrollment-{number}\""));
                match &body {
                    Body::Json(body) => request.json(body),
                    Body::Picture(bytes) => request
                        .header("content-type", "image/png")
                        .body(bytes.clone()),
                }
            })
            .await;
        let (status, body) = (answer.status, answer.body);
        if submission.stage().is_none() {
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
            assert_eq!(body["code"].as_str(), submission.problem(), "{body}");
            return None;
        }
        assert!(status.is_success(), "{submission:?}: {status} {body}");
        Some(body["id"].as_str().expect("an id").to_owned())
    }

    async fn decide(&self, id: &str, approved: bool) {
        let path = format!("/api/enrollments/{id}/approval");
        let what = Change {
            caller: APPROVER,
            action: if approved { "approve" } else { "reject" },
            subject: Some(id),
        };
        let decision = json!({ "approved": approved, "comment": "seen" });
        let answer = self
            .change(what, || {
                self.request(Method::POST, &path, &self.approver)
                    .json(&decision)
            })
            .await;
        answer.was_done("already-decided");
    }

    async fn terminate(&self, id: &str) {
        let path = format!("/api/enrollments/{id}");
        let what = Change {
            caller: ENROLLER,
            action: "terminate",
            subject: Some(id),
        };
        let answer = self
            .change(what, || self.request(Method::DELETE, &path, &self.enroller))
            .await;
        answer.was_done("already-ended");
    }

    /// Follows an enrollment until it has ended.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        self.until(id, |state| {
            let running = ["Pending", "Running"];
            !running.contains(&state["runtimeStatus"].as_str().unwrap_or_default())
        })
        .await
    }

    async fn until(&self, id: &str, reached: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        let mut path = format!("/api/enrollments/{id}");
        loop {
            let state = self.get(&path).await;
            if reached(&state) {
                return state;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{id} does not get there: {state}"
            );
            // Since the stage that was seen: one that came while nothing answered is reported
            // at once.
            let since = state["stage"].as_str().expect("a stage");
            path = format!("/api/enrollments/{id}?wait={LONGEST_POLL}&since={since}");
        }
    }

    /// Reads something as the approver, until there is an answer.
    pub(crate) async fn get(&self, path: &str) -> Value {
        self.get_as(&self.approver, path).await
    }

    /// Reads something with a token, until there is an answer, which has to be a good one.
    pub(crate) async fn get_as(&self, token: &str, path: &str) -> Value {
        let begun = Instant::now();
        loop {
            match self.attempt(self.request(Method::GET, path, token)).await {
                Some((status, answer)) if status.is_success() => return answer,
                Some((StatusCode::SERVICE_UNAVAILABLE, _)) | None => {}
                Some((status, answer)) => panic!("{path}: {status} {answer}"),
            }
            assert!(begun.elapsed() < PATIENCE, "{path} is not answered");
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Makes a change, and retries until the answer is not to
    /// retry. Notes every answer.
    async fn change(&self, what: Change<'_>, build: impl Fn() -> RequestBuilder) -> Answer {
        let begun = Instant::now();
        let mut again = false;
        loop {
            let request = Uuid::new_v4().to_string();
            let answer = self.attempt(build().header("x-request-id", &request));
            match answer.await {
                None => self.tries.lock().unwrap().unanswered += 1,
                Some((status, body)) => {
                    let subject = what.subject.or_else(|| body["id"].as_str());
                    self.answered.lock().unwrap().push(Answered {
                        request,
                        caller: what.caller,
                        action: what.action,
                        status,
                        subject: subject.map(str::to_owned),
                    });
                    if status != StatusCode::SERVICE_UNAVAILABLE {
                        return Answer {
                            status,
                            body,
                            again,
                        };
                    }
                    self.tries.lock().unwrap().put_off += 1;
                }
            }
            again = true;
            assert!(
                begun.elapsed() < PATIENCE,
                "{} is not answered",
                what.action
            );
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// One try; none if there was no complete answer.
    pub(crate) async fn attempt(&self, request: RequestBuilder) -> Option<(StatusCode, Value)> {
        let answer = request.send().await.ok()?;
        let status = answer.status();
        Some((status, answer.json().await.ok()?))
    }

    fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(token)
    }
}

/// How a change was answered in the end.
struct Answer {
    status: StatusCode,
    body: Value,
    /// Whether an earlier attempt may have done it.
    again: bool,
}

impl Answer {
    /// Asserts that it was done: now, or by an earlier try, which is then the problem.
    fn was_done(&self, problem: &str) {
        let before = self.again && self.body["code"] == problem;
        assert!(
            self.status == StatusCode::ACCEPTED || before,
            "{} {}",
            self.status,
            self.body
        );
    }
}

enum Body {
    Json(Value),
    Picture(Vec<u8>),
}

/// What the request for an enrollment sends, the same each time.
fn body(number: usize) -> Body {
    match Submission::of(number) {
        Submission::Uri | Submission::Approved | Submission::Rejected | Submission::Terminated => {
            Body::Json(json!({ "uri": uri(number) }))
        }
        Submission::Picture => Body::Picture(qr_png(&uri(number))),
        Submission::NoCode => {
            let side = 40 + u32::try_from(number % 100).unwrap();
            let plain = image::GrayImage::from_pixel(side, side, image::Luma([200]));
            Body::Picture(png(&plain.into()))
        }
        Submission::OtherCode => Body::Picture(qr_png(&format!("https://example.com/{number}"))),
        Submission::NotEvenTaken => {
            Body::Json(json!({ "uri": format!("mailto:{number}@example.com") }))
        }
    }
}
