//! What waits for a decision, as a stream of events.

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{App, Caller, PATIENCE};

/// A stream of events that is open.
struct Watching {
    response: Response,
    rest: String,
}

/// An event: its id and its data.
type Event = (String, Value);

impl Watching {
    async fn open(caller: &Caller, last_event_id: Option<&str>) -> Self {
        let mut request = caller
            .request(Method::GET, "/api/approvals")
            .header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            rest: String::new(),
        }
    }

    /// The next event; nothing once the server has ended the stream.
    async fn next(&mut self) -> Option<Event> {
        let read = async {
            loop {
                if let Some((block, rest)) = self.rest.split_once("\n\n") {
                    let (block, rest) = (block.to_owned(), rest.to_owned());
                    self.rest = rest;
                    let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
                    // A comment is a heartbeat.
                    if let (Some(id), Some(data)) = (line("id: "), line("data: ")) {
                        assert_eq!(line("event: "), Some("approvals"));
                        return Some((id.to_owned(), serde_json::from_str(data).unwrap()));
                    }
                    continue;
                }
                let bytes = self.response.chunk().await.unwrap()?;
                self.rest.push_str(std::str::from_utf8(&bytes).unwrap());
            }
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap()
    }

    /// The event that tells of so many requests.
    async fn until_requested(&mut self, count: usize) -> Value {
        loop {
            let (_, told) = self.next().await.expect("the stream goes on");
            if told["requests"].as_array().unwrap().len() == count {
                return told;
            }
        }
    }

    /// The event that tells of these accounts and no others.
    async fn until(&mut self, names: &[&str]) -> Event {
        loop {
            let (id, told) = self.next().await.expect("the stream goes on");
            let waiting = told["enrollments"].as_array().unwrap().iter();
            let waiting = waiting.map(|each| each["preview"]["accountName"].as_str().unwrap());
            if waiting.eq(names.iter().copied()) {
                return (id, told);
            }
        }
    }
}

#[tokio::test]
async fn approvers_see_immediately_what_is_pending() {
    let mut app = App::start().await;
    let asking = app.new_caller("asking", "enroller");
    let deciding = app.new_caller("deciding", "approver");
    asking
        .get("/api/approvals")
        .await
        .assert_problem(403, "role-missing");
    let none = deciding.get("/api/approvals").await;
    assert_eq!(
        none.body,
        json!({"enrollments": [], "requests": [], "decisions": [], "more": false})
    );

    let mut watching = Watching::open(&deciding, None).await;
    watching.until(&[]).await;
    let first = asking
        .enroll("otpauth://totp/first?secret=2FASTEST", true)
        .await;
    let (_, told) = watching.until(&["first"]).await;
    assert_eq!(told["enrollments"][0]["requestedBy"], "asking");
    assert!(told["enrollments"][0]["approval"]["deadline"].is_string());
    asking
        .enroll("otpauth://totp/second?secret=2FASTEST", true)
        .await;
    watching.until(&["first", "second"]).await;
    let decided = deciding.decide(&first, false, "not ours").await;
    assert_eq!(decided.status, StatusCode::ACCEPTED);
    let (id, _) = watching.until(&["second"]).await;

    // A client that reconnects gets what is new, not what it knows.
    let mut again = Watching::open(&deciding, Some(&id)).await;
    asking
        .enroll("otpauth://totp/third?secret=2FASTEST", true)
        .await;
    let (first, told) = again.next().await.expect("what is new");
    assert_ne!(first, id, "{told}");
    if told["enrollments"].as_array().unwrap().len() < 2 {
        again.until(&["second", "third"]).await;
    }

    // A server that stops ends the streams, and does not wait for those who watch.
    let stopped = app.stop();
    let ended = async {
        while watching.next().await.is_some() {}
        while again.next().await.is_some() {}
    };
    let (code, ()) = tokio::join!(stopped, ended);
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn requests_on_accounts_are_among_what_waits() {
    let app = App::start().await;
    let (admin, deciding) = (app.admin(), app.new_caller("deciding", "approver"));
    let id = admin
        .enroll("otpauth://totp/kept?secret=2FASTEST", false)
        .await;
    assert_eq!(admin.ended(&id).await.body["stage"], "Enrolled");
    let mut watching = Watching::open(&deciding, None).await;
    let (_, told) = watching.until(&[]).await;
    assert_eq!(told["requests"], json!([]));
    let body = json!({"kind": "export", "reason": "moving house"});
    let path = format!("/api/accounts/{id}/requests");
    let asked = admin.post(&path, &body).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{asked:?}");
    let told = watching.until_requested(1).await;
    let request = &told["requests"][0];
    assert_eq!(request["kind"], "export", "{told}");
    assert_eq!(request["reason"], "moving house");
    assert_eq!(request["account"]["accountName"], "kept");
    let path = request["approvalPostUri"].as_str().unwrap();
    let decided = deciding.post(path, &json!({"approved": false})).await;
    assert_eq!(decided.status, StatusCode::ACCEPTED, "{decided:?}");
    watching.until_requested(0).await;
}

/// What someone may not decide is neither offered to them nor counted as theirs.
#[tokio::test]
async fn each_caller_sees_what_they_may_decide() {
    let mut app = App::start_with(&["--approvals", "2"]).await;
    let admin = app.admin();
    let asking = app.new_caller("asking", "admin");
    let deciding = app.new_caller("deciding", "approver");
    let another = app.new_caller("another", "approver");
    let key = asking
        .post(
            "/api/keys",
            &json!({ "name": "of-asking", "role": "approver" }),
        )
        .await;
    assert_eq!(key.status, StatusCode::CREATED, "{key:?}");
    let of_asking = app.caller(key.body["key"].as_str());
    let id = asking
        .enroll("otpauth://totp/one?secret=2FASTEST", true)
        .await;
    asking.until_stage(&id, "AwaitingApproval").await;

    let told = async |caller: &Caller| {
        let waiting = caller.get("/api/approvals").await;
        assert_eq!(waiting.body["decisions"].as_array().unwrap().len(), 1);
        let decision = waiting.body["decisions"][0].clone();
        assert_eq!(decision["id"], json!(id), "{waiting:?}");
        decision
    };
    let may = |approve: bool, refuse: bool, obstacle: Option<&str>| {
        let mut expected = json!({ "id": id, "mayApprove": approve, "mayRefuse": refuse });
        if let Some(code) = obstacle {
            expected["obstacle"] = json!(code);
        }
        expected
    };
    let own = "self-approval-forbidden";
    assert_eq!(told(&asking).await, may(false, false, Some(own)));
    assert_eq!(told(&of_asking).await, may(false, true, Some(own)));
    assert_eq!(told(&deciding).await, may(true, true, None));
    // The list agrees with the answer.
    of_asking
        .decide(&id, true, "")
        .await
        .assert_problem(403, own);
    let agreed = deciding.decide(&id, true, "").await;
    assert_eq!(agreed.status, StatusCode::ACCEPTED, "{agreed:?}");
    assert_eq!(
        told(&deciding).await,
        may(false, true, Some("already-decided"))
    );
    assert_eq!(told(&another).await, may(true, true, None));

    // The stream agrees too.
    let mut watching = Watching::open(&of_asking, None).await;
    let (_, waiting) = watching.next().await.expect("what waits");
    assert_eq!(waiting["decisions"][0], may(false, true, Some(own)));
    drop(admin);
    app.stop().await;
}
