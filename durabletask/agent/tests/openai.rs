//! The model behind HTTP: what is sent, and what comes of every answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use durabletask_agent::{
    ChatModel as _, ChatRequest, EndpointError, Finish, Message, OpenAiCompatible, ToolCall,
    ToolSpec, Usage,
};
use serde_json::{Value, json};

type Seen = Arc<Mutex<Vec<(HeaderMap, Value)>>>;

/// A server that answers everything alike.
async fn server(
    status: u16,
    headers: &[(&'static str, &'static str)],
    body: String,
) -> (String, Seen) {
    let seen = Seen::default();
    let status = StatusCode::from_u16(status).unwrap();
    let headers: Vec<(&str, &str)> = headers.to_vec();
    let answer = move |State(seen): State<Seen>, given: HeaderMap, Json(body_in): Json<Value>| {
        seen.lock().unwrap().push((given, body_in));
        let mut response = (status, body.clone()).into_response();
        for (name, value) in &headers {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        std::future::ready(response)
    };
    let router = Router::new()
        .route("/v1/chat/completions", post(answer))
        .with_state(Arc::clone(&seen));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (base, seen)
}

fn question() -> ChatRequest {
    ChatRequest::new(vec![Message::user("?")])
}

#[tokio::test]
async fn a_conversation_goes_out_and_an_answer_comes_back() {
    let answer = json!({
        "id": "x", "object": "chat.completion", "system_fingerprint": null,
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": null, "refusal": null,
            "tool_calls": [{"id": "c2", "type": "function",
                "function": {"name": "look", "arguments": "{\"n\":2}"}}],
        }}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
    });
    let (base, seen) = server(200, &[], answer.to_string()).await;
    let model = OpenAiCompatible::new(&base, "m")
        .unwrap()
        .api_key("sk-secret")
        .unwrap();
    let look = |id: &str, n: u32| ToolCall {
        id: id.to_owned(),
        name: "look".to_owned(),
        arguments: format!("{{\"n\":{n}}}"),
    };
    let mut request = question();
    request.messages = vec![
        Message::system("s"),
        Message::user("u"),
        Message::Assistant {
            content: None,
            tool_calls: vec![look("c1", 1)],
        },
        Message::Tool {
            tool_call_id: "c1".to_owned(),
            content: "one".to_owned(),
        },
    ];
    request.tools = vec![ToolSpec {
        name: "look".to_owned(),
        description: "Looks".to_owned(),
        parameters: json!({"type": "object"}),
    }];
    request.max_output_tokens = Some(99);
    let reply = model.chat(&request).await.unwrap();
    assert_eq!(reply.tool_calls, [look("c2", 2)]);
    assert_eq!((reply.content, reply.finish), (None, Finish::Complete));
    let used = Usage {
        input_tokens: 12,
        output_tokens: 5,
    };
    assert_eq!(reply.usage, used);
    let (headers, body) = seen.lock().unwrap().pop().unwrap();
    assert_eq!(headers["authorization"], "Bearer sk-secret");
    let function = json!({"name": "look", "arguments": "{\"n\":1}"});
    assert_eq!(
        body,
        json!({
            "model": "m",
            "max_completion_tokens": 99,
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "u"},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c1", "type": "function", "function": function}]},
                {"role": "tool", "tool_call_id": "c1", "content": "one"},
            ],
            "tools": [{"type": "function", "function": {
                "name": "look", "description": "Looks", "parameters": {"type": "object"}}}],
        })
    );
    assert!(!format!("{model:?}").contains("sk-secret"));
}

#[tokio::test]
async fn each_refusal_says_whether_and_when_to_try_again() {
    let error = |text: &str| json!({"error": {"message": text, "type": "x"}}).to_string();
    for (status, headers, body, kind, permanent, wait) in [
        (
            429,
            &[("retry-after", "7")][..],
            error("slow down"),
            "ModelRateLimited",
            false,
            Some(7),
        ),
        (
            503,
            &[("retry-after", "2")],
            error("busy"),
            "ModelServer",
            false,
            Some(2),
        ),
        (500, &[], "oops".to_owned(), "ModelServer", false, None),
        (
            400,
            &[("retry-after", "7")],
            error("too long"),
            "ModelRefused",
            true,
            None,
        ),
        (401, &[], error("wrong key"), "ModelForbidden", true, None),
        (404, &[], String::new(), "ModelRefused", true, None),
        (
            307,
            &[("location", "http://127.0.0.1:1/")],
            String::new(),
            "ModelServer",
            true,
            None,
        ),
        (200, &[], "{}".to_owned(), "ModelAnswer", false, None),
        (
            200,
            &[],
            json!({"choices": []}).to_string(),
            "ModelAnswer",
            false,
            None,
        ),
        (
            200,
            &[],
            json!({"choices": [{"message": {"content": ""}}]}).to_string(),
            "ModelAnswer",
            false,
            None,
        ),
        (200, &[], "x".repeat(5 << 20), "ModelAnswer", false, None),
    ] {
        let (base, _) = server(status, headers, body).await;
        let model = OpenAiCompatible::new(&base, "m").unwrap();
        let failure = model.chat(&question()).await.unwrap_err().into_details();
        assert_eq!(failure.error_type, kind, "{status}: {failure:?}");
        assert_eq!(failure.non_retriable, permanent, "{status}: {failure:?}");
        assert_eq!(
            failure.retry_after,
            wait.map(Duration::from_secs),
            "{status}"
        );
        assert!(failure.message.len() < 700, "{failure:?}");
    }
    let nobody = OpenAiCompatible::new("http://127.0.0.1:1", "m").unwrap();
    let failure = nobody.chat(&question()).await.unwrap_err().into_details();
    assert_eq!(failure.error_type, "ModelUnreachable");
    assert!(!failure.non_retriable);
}

#[test]
fn a_key_is_not_sent_in_clear() {
    for (base, safe) in [
        ("https://models.example/v1", true),
        ("http://localhost:1", true),
        ("http://127.8.9.1:1", true),
        ("http://[::1]:1", true),
        ("http://models.example", false),
        ("http://127.0.0.1.example", false),
        ("http://10.0.0.1", false),
    ] {
        let model = OpenAiCompatible::new(base, "m")
            .unwrap()
            .api_key("sk-secret");
        assert_eq!(model.is_ok(), safe, "{base}");
        if let Err(error) = model {
            assert!(matches!(error, EndpointError::InClear(_)));
            assert!(!error.to_string().contains("sk-secret"));
        }
    }
    for base in ["", "models.example", "ftp://models.example", "file:///etc"] {
        assert!(OpenAiCompatible::new(base, "m").is_err(), "{base}");
    }
}
