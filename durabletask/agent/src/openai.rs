//! Models behind OpenAI's chat completions, which many servers speak.

mod stream;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use durabletask::Failure;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::message::{Message, ToolCall, Usage};
use crate::model::{ChatModel, ChatReply, ChatRequest, Finish};
use crate::sink::WordSink;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(300);
/// The largest answer.
const LARGEST_ANSWER: usize = 4 * 1024 * 1024;
/// How much of a server's error message is kept.
const LONGEST_MESSAGE: usize = 500;
/// No server is waited for longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// A model at an endpoint with OpenAI's API for chat completions: OpenAI itself, Azure's `v1`
/// endpoints, vLLM, Ollama, llama.cpp and many others.
///
/// A key is sent as a bearer token, over TLS or to this machine only.
///
/// ```
/// use durabletask_agent::OpenAiCompatible;
///
/// let model = OpenAiCompatible::new("http://127.0.0.1:11434/v1", "qwen3")?;
/// let hosted = OpenAiCompatible::new("https://api.openai.com/v1", "gpt-5")?.api_key("sk-…")?;
/// assert!(OpenAiCompatible::new("http://models.example/v1", "m")?.api_key("sk-…").is_err());
/// # let _ = (model, hosted);
/// # Ok::<(), durabletask_agent::EndpointError>(())
/// ```
pub struct OpenAiCompatible {
    http: reqwest::Client,
    endpoint: reqwest::Url,
    provider: String,
    model: String,
    key: Option<Zeroizing<String>>,
}

/// Why an endpoint cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It is not an address.
    #[error("'{0}' is not an http or https address")]
    Address(String),
    /// The key would be sent in clear.
    #[error("a key is sent over https, or to this machine, and '{0}' is neither")]
    InClear(String),
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be set up")]
    Client(#[source] reqwest::Error),
}

impl OpenAiCompatible {
    /// The model `model` at `base`, the address to which `/chat/completions` is added.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] if `base` is not an address.
    pub fn new(base: &str, model: impl Into<String>) -> Result<Self, EndpointError> {
        let address = format!("{}/chat/completions", base.trim_end_matches('/'));
        let wrong = || EndpointError::Address(base.to_owned());
        let endpoint = reqwest::Url::parse(&address).map_err(|_| wrong())?;
        if !matches!(endpoint.scheme(), "http" | "https") || !endpoint.has_host() {
            return Err(wrong());
        }
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            // A redirection could lead a key elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(EndpointError::Client)?;
        Ok(Self {
            http,
            endpoint,
            provider: "openai".to_owned(),
            model: model.into(),
            key: None,
        })
    }

    /// Presents a key.
    ///
    /// # Errors
    ///
    /// [`EndpointError::InClear`] if others could read it on the way.
    pub fn api_key(mut self, key: impl Into<String>) -> Result<Self, EndpointError> {
        let is_local = match self.endpoint.host_str() {
            Some("localhost" | "[::1]") => true,
            Some(host) => host
                .parse::<std::net::Ipv4Addr>()
                .is_ok_and(|address| address.is_loopback()),
            None => false,
        };
        if self.endpoint.scheme() != "https" && !is_local {
            return Err(EndpointError::InClear(self.endpoint.to_string()));
        }
        self.key = Some(Zeroizing::new(key.into()));
        Ok(self)
    }

    /// The provider's name in spans, if it is not `openai`.
    #[must_use]
    pub fn provider(mut self, name: impl Into<String>) -> Self {
        self.provider = name.into();
        self
    }
}

impl std::fmt::Debug for OpenAiCompatible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenAiCompatible")
            .field("endpoint", &self.endpoint.as_str())
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ChatModel for OpenAiCompatible {
    fn provider(&self) -> &str {
        &self.provider
    }

    fn model(&self) -> &str {
        &self.model
    }

    async fn chat(&self, request: &ChatRequest) -> Result<ChatReply, Failure> {
        let response = self.send(&body(&self.model, request)).await?;
        whole(response).await?.reply()
    }

    async fn chat_aloud(
        &self,
        request: &ChatRequest,
        words: &WordSink,
    ) -> Result<ChatReply, Failure> {
        let mut body = body(&self.model, request);
        body["stream"] = true.into();
        // Without it a stream does not say what it used.
        body["stream_options"] = json!({ "include_usage": true });
        let response = self.send(&body).await?;
        // A server that does not stream answers in one piece.
        let kind = response.headers().get(CONTENT_TYPE);
        let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let answer = match is_stream {
            true => stream::read(response, words).await?,
            false => whole(response).await?,
        };
        answer.reply()
    }
}

impl OpenAiCompatible {
    /// The response to a request, if it is not a refusal.
    async fn send(&self, body: &Value) -> Result<Response, Failure> {
        let mut sending = self.http.post(self.endpoint.clone()).json(body);
        if let Some(key) = &self.key {
            sending = sending.bearer_auth(key.as_str());
        }
        let response = sending.send().await.map_err(unreachable)?;
        let status = response.status();
        match status.is_success() {
            true => Ok(response),
            false => Err(refused(status, response).await),
        }
    }
}

/// An answer that comes in one piece.
async fn whole(response: Response) -> Result<Completion, Failure> {
    let answer = read(response).await?;
    serde_json::from_slice(&answer)
        .map_err(|error| malformed(&format!("it is not a chat completion: {error}")))
}

/// A request as OpenAI's API reads it.
fn body(model: &str, request: &ChatRequest) -> Value {
    let messages: Vec<Value> = request.messages.iter().map(message).collect();
    let mut body = json!({ "model": model, "messages": messages });
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| {
            json!({ "type": "function", "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
            }})
        });
        body["tools"] = tools.collect();
    }
    if let Some(most) = request.max_output_tokens {
        body["max_completion_tokens"] = most.into();
    }
    body
}

fn message(message: &Message) -> Value {
    match message {
        Message::System { content } => json!({ "role": "system", "content": content }),
        Message::User { content } => json!({ "role": "user", "content": content }),
        Message::Tool {
            tool_call_id,
            content,
        } => json!({ "role": "tool", "tool_call_id": tool_call_id, "content": content }),
        Message::Assistant {
            content,
            tool_calls,
        } => {
            let mut said = json!({ "role": "assistant", "content": content });
            if !tool_calls.is_empty() {
                let calls = tool_calls.iter().map(|call| {
                    json!({ "id": call.id, "type": "function", "function": {
                        "name": call.name,
                        "arguments": call.arguments,
                    }})
                });
                said["tool_calls"] = calls.collect();
            }
            said
        }
    }
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Said,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<String>,
    tool_calls: Option<Vec<Called>>,
}

#[derive(Default, Deserialize)]
struct Called {
    id: String,
    function: Function,
}

#[derive(Default, Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    arguments: String,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

impl Completion {
    fn reply(self) -> Result<ChatReply, Failure> {
        let usage = self.usage.map_or(Usage::default(), |usage| Usage {
            input_tokens: usage.prompt_tokens,
            output_tokens: usage.completion_tokens,
        });
        let mut choices = self.choices.into_iter();
        let choice = choices
            .next()
            .ok_or_else(|| malformed("it has no choices"))?;
        let calls = choice.message.tool_calls.unwrap_or_default();
        let tool_calls: Vec<ToolCall> = calls
            .into_iter()
            .map(|call| ToolCall {
                id: call.id,
                name: call.function.name,
                arguments: call.function.arguments,
            })
            .collect();
        let finish = match choice.finish_reason.as_deref() {
            Some("length") => Finish::Length,
            Some("content_filter") => Finish::Filtered,
            // What else servers say means that it is complete: `stop`, `tool_calls`, `eos`.
            _ => Finish::Complete,
        };
        let content = choice.message.content.filter(|text| !text.is_empty());
        if content.is_none() && tool_calls.is_empty() && finish == Finish::Complete {
            return Err(malformed("it says nothing and calls nothing"));
        }
        Ok(ChatReply {
            content,
            tool_calls,
            finish,
            usage,
        })
    }
}

/// What is worth another attempt: models answer differently each time.
fn malformed(reason: &str) -> Failure {
    Failure::new(
        "ModelAnswer",
        format!("the model's answer cannot be used: {reason}"),
    )
}

/// A stream that says that it failed.
fn failed_midway(message: &str) -> Failure {
    let message: String = message.chars().take(LONGEST_MESSAGE).collect();
    Failure::new(
        "ModelServer",
        format!("the model's server failed while it answered: {message}"),
    )
}

/// The error's own text has the address, which may have a key in it.
fn unreachable(error: reqwest::Error) -> Failure {
    let kind = match () {
        () if error.is_timeout() => "did not answer in time",
        () if error.is_connect() => "cannot be reached",
        () => "broke off",
    };
    Failure::new("ModelUnreachable", format!("the model's server {kind}"))
}

/// The whole body, if it is not too large.
async fn read(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(unreachable)? {
        if body.len() + part.len() > LARGEST_ANSWER {
            return Err(malformed(&format!("it exceeds {LARGEST_ANSWER} bytes")));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// A refusal as a failure: whether and when another attempt is worth it.
async fn refused(status: StatusCode, response: Response) -> Failure {
    let wait = wait(response.headers(), SystemTime::now());
    let said = read(response).await.unwrap_or_default();
    let said: Option<Value> = serde_json::from_slice(&said).ok();
    let said = said.as_ref().and_then(|said| {
        let error = said.get("error")?;
        error.get("message").unwrap_or(error).as_str()
    });
    let said: String = said
        .unwrap_or_default()
        .chars()
        .take(LONGEST_MESSAGE)
        .collect();
    let text = match said.is_empty() {
        true => format!("the model's server answered {status}"),
        false => format!("the model's server answered {status}: {said}"),
    };
    let busy = matches!(status.as_u16(), 429 | 503 | 529);
    let kind = match status.as_u16() {
        429 => "ModelRateLimited",
        401 | 403 => "ModelForbidden",
        400..500 => "ModelRefused",
        _ => "ModelServer",
    };
    let failure = Failure::new(kind, text);
    // 408, 409 and 425 ask for another attempt.
    let again = busy || status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 425);
    match (again, wait) {
        (false, _) => failure.permanent(),
        (true, Some(wait)) if busy => failure.retry_after(wait),
        (true, _) => failure,
    }
}

/// How long a server asks to wait: `retry-after-ms`, `Retry-After` (RFC 9110, section 10.2.3,
/// in both forms), or the later of OpenAI's two resets, such as `1s` and `6m0s`.
fn wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let milliseconds = text("retry-after-ms").and_then(|text| text.parse().ok());
    let after = || {
        let text = text(RETRY_AFTER.as_str())?;
        let seconds = text.parse::<f64>().ok();
        let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        seconds.or_else(|| {
            let at = durabletask::chrono::DateTime::parse_from_rfc2822(text).ok()?;
            SystemTime::from(at).duration_since(now).ok()
        })
    };
    let resets = || {
        let reset = |name| text(name).and_then(span);
        let (requests, tokens) = (
            reset("x-ratelimit-reset-requests"),
            reset("x-ratelimit-reset-tokens"),
        );
        requests.max(tokens)
    };
    let wait = milliseconds.map(Duration::from_millis).or_else(after);
    wait.or_else(resets).map(|wait| wait.min(LONGEST_WAIT))
}

/// A time like `250ms`, `1.5s` or `6m0s`.
fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut whole = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let (seconds, unit) = match rest {
            _ if rest.starts_with("ms") => (number / 1_000.0, 2),
            _ if rest.starts_with('s') => (number, 1),
            _ if rest.starts_with('m') => (number * 60.0, 1),
            _ if rest.starts_with('h') => (number * 3_600.0, 1),
            _ => return None,
        };
        whole = whole.checked_add(Duration::try_from_secs_f64(seconds).ok()?)?;
        rest = rest.get(unit..)?;
    }
    (!text.is_empty()).then_some(whole)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn servers_say_in_many_ways_how_long_to_wait() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (headers, seconds) in [
            (&[][..], None),
            (&[("retry-after", "20")], Some(20.0)),
            (&[("retry-after", "0.5")], Some(0.5)),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "soon")], None),
            (
                &[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")],
                Some(30.0),
            ),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT")], None),
            (&[("retry-after", "999999")], Some(3_600.0)),
            (
                &[("retry-after-ms", "1500"), ("retry-after", "9")],
                Some(1.5),
            ),
            (
                &[
                    ("x-ratelimit-reset-requests", "120ms"),
                    ("x-ratelimit-reset-tokens", "6m0s"),
                ],
                Some(360.0),
            ),
            (&[("x-ratelimit-reset-tokens", "1h2m3.5s")], Some(3_600.0)),
            (&[("x-ratelimit-reset-tokens", "never")], None),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, HeaderValue::from_static(value));
            }
            let seconds = seconds.map(Duration::from_secs_f64);
            assert_eq!(wait(&map, now), seconds, "{headers:?}");
        }
    }
}
