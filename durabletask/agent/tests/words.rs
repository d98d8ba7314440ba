//! Words that are published while a model speaks: from the server's stream to a client that
//! follows the run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse as _;
use axum::routing::post;
use durabletask::Failure;
use durabletask_agent::{
    Agent, AgentRequest, ChatModel, ChatReply, ChatRequest, Finish, Message, OpenAiCompatible,
    WordSink, Words,
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use support::{Hub, PATIENCE, Script, USED, call, says};
use tokio::sync::Notify;

/// How often the feed is read.
const EVERY: Duration = Duration::from_millis(20);

/// A model that says a word, waits until it is heard, and says another; its first try fails
/// after the first word.
struct Slow {
    heard: Arc<Notify>,
    tries: AtomicU32,
}

#[async_trait]
impl ChatModel for Slow {
    fn provider(&self) -> &str {
        "slow"
    }

    fn model(&self) -> &str {
        "slow"
    }

    async fn chat(&self, _: &ChatRequest) -> Result<ChatReply, Failure> {
        panic!("it is to speak aloud");
    }

    async fn chat_aloud(&self, _: &ChatRequest, words: &WordSink) -> Result<ChatReply, Failure> {
        if self.tries.fetch_add(1, Ordering::Relaxed) == 0 {
            words.push("Well, ");
            self.heard.notified().await;
            return Err(Failure::new("Broken", "it broke off"));
        }
        words.push("Order 7 ");
        self.heard.notified().await;
        words.push("was sent.");
        Ok(says("Order 7 was sent."))
    }
}

#[tokio::test]
async fn a_client_reads_the_words_while_the_model_speaks() {
    let hub = Hub::open().await;
    let heard = Arc::new(Notify::new());
    let model = Slow {
        heard: Arc::clone(&heard),
        tries: AtomicU32::new(0),
    };
    let agent = Agent::builder("support", model).stream_words();
    let agent = agent.build().unwrap();
    let worker = hub.worker(&agent);
    let run = hub
        .ask(&agent, &AgentRequest::new("Where is order 7?"))
        .await;

    let mut feed = run.follow(&Agent::words(), 0, EVERY);
    let mut all: Vec<Words> = Vec::new();
    let mut next = async |wanted: &str| {
        let said = tokio::time::timeout(PATIENCE, feed.next()).await.unwrap();
        let words = said.expect("there are more").unwrap().value;
        assert_eq!(words.text, wanted);
        words
    };
    // Each is heard before the model says the next.
    all.push(next("Well, ").await);
    heard.notify_one();
    // The hub's time is set by hand; the next try is due after a while.
    let patience = tokio::time::timeout(PATIENCE, async {
        loop {
            hub.clock.advance(Duration::from_secs(60));
            tokio::select! {
                words = next("Order 7 ") => break words,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    });
    all.push(patience.await.unwrap());
    heard.notify_one();
    all.push(next("was sent.").await);
    let answer = run.result_within(PATIENCE).await.unwrap();
    assert_eq!(answer.text.as_deref(), Some("Order 7 was sent."));
    assert!(all[0].attempt < all[1].attempt, "{all:?}");
    assert_eq!(all[1].attempt, all[2].attempt);
    assert_eq!(all[1].step, all[2].step);
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_model_that_does_not_stream_is_heard_at_the_end() {
    let hub = Hub::open().await;
    let script = Script::of([says("Order 7 was sent.")]);
    let agent = Agent::builder("support", script).stream_words();
    let agent = agent.build().unwrap();
    let worker = hub.worker(&agent);
    let run = hub
        .ask(&agent, &AgentRequest::new("Where is order 7?"))
        .await;
    run.result_within(PATIENCE).await.unwrap();
    let mut feed = run.follow(&Agent::words(), 0, EVERY);
    let said = tokio::time::timeout(PATIENCE, feed.next()).await.unwrap();
    assert_eq!(said.unwrap().unwrap().value.text, "Order 7 was sent.");

    // Some time later none of it is left.
    hub.clock.advance(Duration::from_secs(2 * 3600));
    let gone = async {
        while run.follow(&Agent::words(), 0, EVERY).next().await.is_some() {
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    worker.stop().await.unwrap();
}

/// A server that streams these parts, cut into pieces of a few bytes.
async fn server(body: String, kind: &'static str) -> OpenAiCompatible {
    let answer = move |_: HeaderMap, axum::Json(asked): axum::Json<Value>| {
        assert_eq!(asked["stream"], true);
        assert_eq!(asked["stream_options"]["include_usage"], true);
        let pieces: Vec<Bytes> = body
            .as_bytes()
            .chunks(7)
            .map(Bytes::copy_from_slice)
            .collect();
        let body = Body::from_stream(stream::iter(pieces).map(Ok::<_, std::io::Error>));
        std::future::ready(([(header::CONTENT_TYPE, kind)], body).into_response())
    };
    let router = Router::new().route("/v1/chat/completions", post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    OpenAiCompatible::new(&base, "m").unwrap()
}

fn events(parts: &[Value], end: &str) -> String {
    let parts = parts.iter().map(|part| format!("data: {part}\n\n"));
    parts.collect::<String>() + end
}

fn delta(delta: Value, finish: Option<&str>) -> Value {
    json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

const DONE: &str = "data: [DONE]\n\n";

#[tokio::test]
async fn the_parts_of_a_stream_make_one_answer() {
    let part = |index: u32, id: Option<&str>, name: Option<&str>, arguments: &str| {
        let function = json!({"name": name, "arguments": arguments});
        delta(
            json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}),
            None,
        )
    };
    let body = events(
        &[
            delta(json!({"role": "assistant", "content": ""}), None),
            delta(json!({"content": "Grüße – "}), None),
            delta(json!({"content": "einen Moment."}), None),
            part(0, Some("c1"), Some("look"), ""),
            part(0, None, None, "{\"n\""),
            part(1, Some("c2"), Some("look"), "{\"n\":2}"),
            part(0, None, None, ":1}"),
            delta(json!({}), Some("tool_calls")),
            json!({"choices": [], "usage": {"prompt_tokens": 90, "completion_tokens": 10}}),
        ],
        DONE,
    );
    // Comments keep connections open.
    let body = format!(": ping\n\n{body}");
    let words = WordSink::default();
    let question = ChatRequest::new(vec![Message::user("?")]);
    let model = server(body, "text/event-stream; charset=utf-8").await;
    let reply = model.chat_aloud(&question, &words).await.unwrap();
    assert_eq!(reply.content.as_deref(), Some("Grüße – einen Moment."));
    let look = |id: &str, n: u32| call(id, "look", &format!("{{\"n\":{n}}}"));
    assert_eq!(reply.tool_calls, [look("c1", 1), look("c2", 2)]);
    assert_eq!((reply.usage, reply.finish), (USED, Finish::Complete));
    let said = format!("{words:?}");
    assert!(said.contains("Grüße – einen Moment."), "{said}");

    // A server that answers in one piece.
    let whole = json!({"choices": [{"message": {"content": "All at once."}}]});
    let model = server(whole.to_string(), "application/json").await;
    let reply = model.chat_aloud(&question, &words).await.unwrap();
    assert_eq!(reply.content.as_deref(), Some("All at once."));
}

#[tokio::test]
async fn a_stream_that_is_not_whole_is_tried_again() {
    let hello = || delta(json!({"content": "Hello"}), None);
    let nameless =
        json!({"tool_calls": [{"index": 0, "id": "c", "function": {"arguments": "{}"}}]});
    for (body, kind, says) in [
        (events(&[hello()], ""), "ModelAnswer", "broke off"),
        (events(&[hello()], DONE), "ModelAnswer", "broke off"),
        (events(&[], ""), "ModelAnswer", "broke off"),
        (
            events(&[hello(), json!({"error": {"message": "overloaded"}})], ""),
            "ModelServer",
            "overloaded",
        ),
        (
            events(&[hello()], "data: {\"choices\"\n\n"),
            "ModelAnswer",
            "cannot be read",
        ),
        (
            events(&[delta(nameless, Some("tool_calls"))], DONE),
            "ModelAnswer",
            "without a name",
        ),
        (
            events(&[delta(json!({}), Some("stop"))], DONE),
            "ModelAnswer",
            "says nothing",
        ),
        (
            events(
                &vec![delta(json!({"content": "x".repeat(1 << 20)}), None); 5],
                "",
            ),
            "ModelAnswer",
            "exceeds",
        ),
    ] {
        let model = server(body, "text/event-stream").await;
        let question = ChatRequest::new(vec![Message::user("?")]);
        let failure = model.chat_aloud(&question, &WordSink::default()).await;
        let failure = failure.unwrap_err().into_details();
        assert_eq!(failure.error_type, kind, "{failure:?}");
        assert!(failure.message.contains(says), "{failure:?}");
        assert!(!failure.non_retriable, "{failure:?}");
    }
}
