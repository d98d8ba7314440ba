//! Talking to a server's front door.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use super::output::{Progress, clean};
use super::{Exit, Fault};
use crate::cli::ServerArgs;
use crate::config::{ClientEnvironment, DEFAULT_DATA_DIR, DEFAULT_LISTEN};
use crate::data_dir::DataDir;
use crate::problem;

/// Longer than the longest poll.
const TIMEOUT: Duration = Duration::from_secs(90);
/// How long a server may be away from those who follow something.
const AWAY: Duration = Duration::from_secs(600);
/// How long they wait before they ask it again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// A server's front door, and as whom to knock.
pub(super) struct Api {
    http: reqwest::Client,
    base: Url,
    token: Option<Zeroizing<String>>,
}

/// What the server said to a request that it did not do.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The problem document (RFC 9457), or null if the server sent none.
    pub(super) problem: Value,
}

impl Api {
    /// The server that the flags, the environment or the data folder name.
    pub(super) fn find(args: &ServerArgs) -> Result<Self, Fault> {
        let environment = ClientEnvironment::read();
        let folder = data_dir(args.data_dir.as_deref(), &environment);
        let data = DataDir::at(&folder);
        let base = args
            .server
            .clone()
            .or(environment.server)
            .or_else(|| data.addresses().map(|addresses| addresses.server))
            .unwrap_or_else(|| format!("http://{DEFAULT_LISTEN}"));
        let base = Url::parse(&base).map_err(|_| {
            Fault::new(
                Exit::Usage,
                "--server: write a base URL like http://127.0.0.1:7071",
            )
        })?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(Fault::new(
                Exit::Usage,
                "--server: write a base URL that begins with http:// or https://",
            ));
        }
        let token = args
            .token
            .clone()
            .map(Zeroizing::new)
            .or(environment.token)
            // The folder's token belongs to the server on this machine and goes to no other.
            .or_else(|| is_local(&base).then(|| data.existing_admin_token())?);
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Fault::failed)?;
        Ok(Self { http, base, token })
    }

    /// The address of `path` at the server.
    pub(super) fn address(&self, path: &str) -> Result<Url, Fault> {
        self.base.join(path).map_err(Fault::failed)
    }

    /// A request to `path`, which may have a query.
    pub(super) fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Fault> {
        let url = self.address(path)?;
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.as_str());
        }
        Ok(request)
    }

    /// Sends a request; the answer's JSON, or why there is none.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Value, Fault> {
        self.try_send(request).await?.map_err(Refusal::into_fault)
    }

    /// As [`Api::send`], for an answer of a known form.
    pub(super) async fn send_as<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, Fault> {
        read(self.answer(request).await?)
            .await?
            .map_err(Refusal::into_fault)
    }

    /// As [`Api::send`], with a refusal to look at.
    pub(super) async fn try_send(
        &self,
        request: RequestBuilder,
    ) -> Result<Result<Value, Refusal>, Fault> {
        let response = self.answer(request).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(Ok(Value::Null));
        }
        read(response).await
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Response, Fault> {
        request.send().await.map_err(|error| {
            let reason = if error.is_timeout() {
                "it did not answer in time"
            } else {
                "is it running? Start it with `countersign serve`, or name another with --server"
            };
            Fault::new(
                Exit::Failed,
                format!("cannot reach the server at {}: {reason}", self.base),
            )
            .passing()
        })
    }

    /// Fetches `path`.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Fault> {
        self.send(self.request(Method::GET, path)?).await
    }

    /// Fetches `path` of something that is followed, with a query that waits for a change. It
    /// goes on while the server is away or busy, so that is waited for, and what it is then is
    /// told at once.
    pub(super) async fn follow(
        &self,
        path: &str,
        query: &str,
        progress: &mut Progress,
    ) -> Result<Value, Fault> {
        let mut asked = format!("{path}?{query}");
        let begun = Instant::now();
        let mut pause = PAUSES.0;
        loop {
            let fault = match self.get(&asked).await {
                Err(fault) if fault.passing && begun.elapsed() < AWAY => fault,
                outcome => return outcome.inspect_err(|_| progress.end()),
            };
            let said = fault.message.unwrap_or_default();
            progress.show(&format!("{said}; trying again"));
            path.clone_into(&mut asked);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Posts to `path` without a body.
    pub(super) async fn post(&self, path: &str) -> Result<Value, Fault> {
        self.send(self.request(Method::POST, path)?).await
    }
}

impl Refusal {
    pub(super) fn into_fault(self) -> Fault {
        let exit = match self.status {
            StatusCode::NOT_FOUND => Exit::NotFound,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::NotAllowed,
            _ => Exit::Failed,
        };
        let fault = Fault::new(exit, self.sentence());
        match self.status.as_u16() {
            429 | 502..=504 => fault.passing(),
            _ => fault,
        }
    }

    /// What the server said, for a person.
    pub(super) fn sentence(&self) -> String {
        problem::sentence(&self.problem)
            .map(|said| clean(&said))
            .unwrap_or_else(|| format!("the server answered {}", self.status))
    }
}

async fn read<T: DeserializeOwned>(response: Response) -> Result<Result<T, Refusal>, Fault> {
    let status = response.status();
    let body = response.bytes().await;
    let body = body.map_err(|error| Fault::failed(error).passing())?;
    if status.is_success() {
        let value = serde_json::from_slice(&body).map_err(|_| {
            Fault::new(
                Exit::Failed,
                "the server's answer is not as expected: is it countersign, of this version?",
            )
        })?;
        return Ok(Ok(value));
    }
    Ok(Err(Refusal {
        status,
        problem: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }))
}

/// `text` as one segment of a path or one value of a query.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Whether an id is a request's, and not an enrollment's or account's.
pub(super) fn is_request(id: &str) -> bool {
    id.starts_with("request-")
}

/// The query of a poll that the server answers once the stage is another than `stage`, or
/// after half a minute.
pub(super) fn another_than(stage: &str) -> String {
    format!("wait=30&since={stage}")
}

/// Where what has this id is followed, decided and ended.
pub(super) fn path_of(id: &str) -> String {
    let family = if is_request(id) {
        "requests"
    } else if id.starts_with("import-") {
        "imports"
    } else {
        "enrollments"
    };
    format!("/api/{family}/{}", encode(id))
}

/// The data folder that the flag, the environment or the default names.
pub(super) fn data_dir(flag: Option<&str>, environment: &ClientEnvironment) -> PathBuf {
    flag.map(PathBuf::from)
        .or_else(|| environment.data_dir.clone())
        .unwrap_or_else(|| Path::new(DEFAULT_DATA_DIR).to_owned())
}

fn is_local(url: &Url) -> bool {
    match url.host_str() {
        Some(host) => {
            host == "localhost"
                || host
                    .trim_matches(['[', ']'])
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|ip| ip.is_loopback())
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_token_stays_on_this_machine() {
        for local in ["http://127.0.0.1:1", "http://localhost", "http://[::1]:2"] {
            assert!(is_local(&Url::parse(local).unwrap()), "{local}");
        }
        for remote in ["http://10.0.0.1", "http://localhost.example"] {
            assert!(!is_local(&Url::parse(remote).unwrap()), "{remote}");
        }
        assert_eq!(encode("a b/ä?"), "a%20b%2F%C3%A4%3F");
    }
}
