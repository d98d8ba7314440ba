//! Talking to a server's front door.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use super::folder::{data_dir, existing_folder, folder_fault, not_readable};
use super::output::{self, Progress, clean};
use super::{Exit, Fault, input, pinned, unreachable};
use crate::access::ServerKeys;
use crate::cli::{ServerArgs, ServerPlace};
use crate::config::{ClientEnvironment, DEFAULT_LISTEN, unknown_variables};
use crate::data_dir::DataDir;
use crate::http::reason_header;
use crate::local_proof::{LocalProof, Nonce};
use crate::problem;

/// Longer than the longest poll.
const TIMEOUT: Duration = Duration::from_secs(90);
/// How long a server may take to prove who it is.
const HELLO: Duration = Duration::from_secs(10);
/// The longest such proof that is read, in bytes.
const MAX_HELLO: usize = 4096;
/// The longest token on standard input, in bytes.
const MAX_TOKEN: u64 = 16 * 1024;
/// How long a command that follows something waits for an unreachable server.
const AWAY: Duration = Duration::from_secs(600);
/// The wait before it retries: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// A header that every answer of a front door has.
const REQUEST_ID: &str = "x-request-id";

/// A server's front door, and the credential to present.
pub(super) struct Api {
    http: reqwest::Client,
    base: Url,
    token: Option<Zeroizing<String>>,
    proof: Proof,
    /// The data folder, if the address comes from there and not from the command line.
    folder: Option<PathBuf>,
}

/// What a server must prove before it gets a token.
enum Proof {
    /// Nothing: the user has named both the server and the token.
    Nothing,
    /// That it is the server of this data folder.
    OfFolder(PathBuf, LocalProof),
    /// The same, but no server has run on this folder yet.
    OfNone(PathBuf),
}

/// The server's answer to a request that failed.
#[derive(Debug)]
pub(super) struct ErrorReply {
    pub(super) status: StatusCode,
    /// The problem document (RFC 9457), or null if the server sent none.
    pub(super) problem: Value,
}

impl Api {
    /// The server that the flags, the environment or the data folder name.
    pub(super) fn find(args: &ServerArgs) -> Result<Self, Fault> {
        Self::find_at(&args.at)
    }

    /// The same for commands whose standard output is not for documents.
    pub(super) fn find_at(args: &ServerPlace) -> Result<Self, Fault> {
        let environment = ClientEnvironment::read();
        refuse_unknown_variables()?;
        let folder = data_dir(args.data_dir.as_deref(), &environment);
        let given = given_token(args)?.or(environment.token);
        let named = args.server.clone().or(environment.server);
        let is_named = named.is_some();
        let mut api = Self::at(named, &folder)?;
        if is_named && given.is_some() {
            if api.base.scheme() == "http" && !is_local(&api.base) {
                return Err(Fault::new(
                    Exit::Usage,
                    "--server: tokens go to other machines over https:// only, since others \
                     could read them on the way",
                ));
            }
            api.token = given;
            return Ok(api);
        }
        if !folder
            .try_exists()
            .map_err(|error| not_readable(&folder, &error))?
        {
            api.proof = Proof::OfNone(folder);
            api.token = given;
            return Ok(api);
        }
        api.believing(folder, given)
    }

    /// The server for a command that otherwise works on the data folder itself: if one is named,
    /// or a credential is given to present to the folder's.
    pub(super) fn instead_of_folder(args: &ServerArgs) -> Result<Option<Self>, Fault> {
        let at = &args.at;
        let given = at.server.is_some() || at.token.is_some() || at.token_file.is_some();
        let named = ClientEnvironment::read().server.is_some() && at.data_dir.is_none();
        match given || named {
            true => Self::find(args).map(Some),
            false => Ok(None),
        }
    }

    /// The server that runs on a data folder, ignoring the environment, as the folder's
    /// administrator.
    pub(super) fn of_folder(flag: Option<&str>) -> Result<Self, Fault> {
        let folder = existing_folder(flag)?.path().to_owned();
        if DataDir::at(&folder).addresses().is_none() {
            return Err(not_running(&folder));
        }
        Self::at(None, &folder)?.believing(folder, None)
    }

    /// The same with the given token, or else the folder's, for a server that proves to
    /// be that of the folder.
    fn believing(
        mut self,
        folder: PathBuf,
        given: Option<Zeroizing<String>>,
    ) -> Result<Self, Fault> {
        let data = DataDir::open(&folder).map_err(folder_fault)?;
        // The folder's token belongs to the server on this machine, which has to prove that it is
        // that one whatever address it has. Only TLS protects the proof on a network.
        self.token = match given {
            None if is_local(&self.base) || self.base.scheme() == "https" => {
                data.existing_admin_token().map_err(folder_fault)?
            }
            given => given,
        };
        self.proof = match ServerKeys::existing(&data).map_err(Fault::failed)? {
            Some(keys) => Proof::OfFolder(folder, LocalProof::new(keys)),
            None => Proof::OfNone(folder),
        };
        Ok(self)
    }

    /// The same without a token, for operations that need no caller. Only the server that the data
    /// folder itself names has to prove that it is that one.
    pub(super) fn find_open(args: &ServerArgs) -> Result<Self, Fault> {
        let args = &args.at;
        let environment = ClientEnvironment::read();
        let folder = data_dir(args.data_dir.as_deref(), &environment);
        let named = args.server.clone().or(environment.server);
        let is_named = named.is_some();
        let mut api = Self::at(named, &folder)?;
        if !is_named
            && is_local(&api.base)
            && let Ok(Some(keys)) = ServerKeys::existing(&DataDir::at(&folder))
        {
            api.proof = Proof::OfFolder(folder, LocalProof::new(keys));
        }
        Ok(api)
    }

    /// The server at this base URL, or that of the data folder.
    fn at(named: Option<String>, folder: &Path) -> Result<Self, Fault> {
        let data = DataDir::at(folder);
        let of_folder = named.is_none().then(|| folder.to_owned());
        let (found, certificates) = match data.addresses().filter(|_| named.is_none()) {
            Some(addresses) => (Some(addresses.server), addresses.certificates),
            None => (None, Vec::new()),
        };
        let base = named
            .or(found)
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
        let mut http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        if !certificates.is_empty() {
            let pinned = pinned::config(certificates).map_err(Fault::failed)?;
            http = http.tls_backend_preconfigured(pinned);
        }
        if base.host_str() == Some("localhost") {
            // One address, so that the proof is for the address that gets the token.
            let port = base.port_or_known_default().unwrap_or_default();
            http = http.resolve("localhost", (Ipv4Addr::LOCALHOST, port).into());
        }
        Ok(Self {
            http: http.build().map_err(Fault::failed)?,
            base,
            token: None,
            proof: Proof::Nothing,
            folder: of_folder,
        })
    }

    /// The URL of `path` at the server.
    pub(super) fn address(&self, path: &str) -> Result<Url, Fault> {
        self.base.join(path).map_err(Fault::failed)
    }

    /// The server's host and port.
    pub(super) fn authority(&self) -> &str {
        self.base.authority()
    }

    /// A request to `path`, which may have a query.
    pub(super) fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Fault> {
        let url = self.address(path)?;
        Ok(self.http.request(method, url))
    }

    /// Sends a request; the answer's JSON, or the error.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Value, Fault> {
        self.try_send(request)
            .await?
            .map_err(ErrorReply::into_fault)
    }

    /// As [`Api::send`], for an answer of a known form.
    pub(super) async fn send_as<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, Fault> {
        self.read(self.answer(request).await?)
            .await?
            .map_err(ErrorReply::into_fault)
    }

    /// As [`Api::send`], but returns a refusal as a value.
    pub(super) async fn try_send(
        &self,
        request: RequestBuilder,
    ) -> Result<Result<Value, ErrorReply>, Fault> {
        let response = self.answer(request).await?;
        let status = response.status();
        if status == StatusCode::NO_CONTENT && response.headers().contains_key(REQUEST_ID) {
            return Ok(Ok(Value::Null));
        }
        match self.read::<Value>(response).await? {
            Ok(value) if !value.is_object() => Err(self.is_another(status)),
            read => Ok(read),
        }
    }

    async fn read<T: DeserializeOwned>(
        &self,
        response: Response,
    ) -> Result<Result<T, ErrorReply>, Fault> {
        let status = response.status();
        let is_ours = response.headers().contains_key(REQUEST_ID);
        let body = response.bytes().await;
        let body = body.map_err(|error| Fault::failed(error).passing())?;
        if status.is_success() {
            return match serde_json::from_slice(&body) {
                Ok(value) if is_ours => Ok(Ok(value)),
                _ => Err(self.is_another(status)),
            };
        }
        let problem: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        // A proxy answers like this when the server behind it does not.
        let may_be_a_proxys = matches!(status.as_u16(), 413 | 429 | 500 | 502..=504 | 520..=530);
        if !problem.is_object() && !may_be_a_proxys {
            return Err(self.is_another(status));
        }
        Ok(Err(ErrorReply { status, problem }))
    }

    /// The text of an answer's member, which every answer of this kind has.
    pub(super) fn needed<'a>(&self, answer: &'a Value, member: &str) -> Result<&'a str, Fault> {
        let text = answer[member].as_str();
        text.ok_or_else(|| self.is_another(StatusCode::OK))
    }

    /// The error for a program that is not a Countersign server.
    pub(super) fn is_another(&self, status: StatusCode) -> Fault {
        Fault::new(
            Exit::NotOurServer,
            format!(
                "the program at {} is not countersign, or another version of it (it answered \
                 {status}): check --server",
                self.base
            ),
        )
    }

    /// Whether a request succeeded, and the JSON of a short answer; null for anything else
    /// a program may answer.
    pub(super) async fn asked(&self, request: RequestBuilder) -> Result<(bool, Value), Fault> {
        let answer = self.answer(request).await?;
        Ok((answer.status().is_success(), read_bounded(answer).await))
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Response, Fault> {
        let request = match &self.token {
            // Each time: the server may have stopped, and another program may have its port.
            Some(token) => {
                self.recognize().await?;
                request.bearer_auth(token.as_str())
            }
            None => request,
        };
        let answer = self.sent(request).await?;
        if answer.status() == StatusCode::UNAUTHORIZED
            && let Some(fault) = self.no_token().or_else(|| self.none_was_given())
        {
            return Err(fault);
        }
        Ok(answer)
    }

    /// The error if a server was named, and no token for it.
    fn none_was_given(&self) -> Option<Fault> {
        let message = format!(
            "the server at {} requires a token: give one with --token-file or in \
             COUNTERSIGN_TOKEN",
            self.base.authority()
        );
        (self.folder.is_none() && self.token.is_none())
            .then(|| Fault::new(Exit::NotAllowed, message))
    }

    /// The error if the data folder has no token for a server that requires one.
    fn no_token(&self) -> Option<Fault> {
        let (Some(folder), None) = (&self.folder, &self.token) else {
            return None;
        };
        let why = match folder.exists() {
            true => "no server has run on the data folder",
            false => "there is no data folder",
        };
        let message = format!(
            "{why} {}, and the server at {} wants a token: name its folder with --data-dir, or \
             give a token with --token-file",
            folder.display(),
            self.base.authority()
        );
        matches!(self.proof, Proof::OfNone(_)).then(|| Fault::new(Exit::NoFolder, message))
    }

    /// Makes sure that the program at the address is the data folder's server, where required.
    pub(super) async fn recognize(&self) -> Result<(), Fault> {
        let (folder, proof) = match &self.proof {
            Proof::Nothing => return Ok(()),
            Proof::OfFolder(folder, proof) => (folder, Some(proof)),
            Proof::OfNone(folder) => (folder, None),
        };
        let nonce = Nonce::draw().map_err(Fault::failed)?;
        let question = self.request(Method::GET, &nonce.address())?.timeout(HELLO);
        let answer = self.sent(question).await?;
        let address = self.base.authority();
        let folder = folder.display();
        let Some(proof) = proof else {
            return Err(Fault::new(
                Exit::NotOurServer,
                format!(
                    "no server has run on the data folder {folder}, so the program listening at \
                     {address} cannot prove that it is yours, and no token was sent: name the \
                     folder with --data-dir, or the server with --server and its token with \
                     --token-file"
                ),
            ));
        };
        if matches!(answer.status().as_u16(), 429 | 502..=504) {
            let busy = format!("the server at {address} is busy");
            return Err(Fault::new(Exit::Failed, busy).passing());
        }
        let (end, tls) = (answer.remote_addr(), self.base.scheme() == "https");
        let said: Value = match answer.status() {
            StatusCode::OK => read_bounded(answer).await,
            _ => Value::Null,
        };
        let said = said["proof"].as_str().unwrap_or_default();
        if end.is_some_and(|end| proof.holds(tls, end, &nonce, said, chrono::Utc::now())) {
            return Ok(());
        }
        if !is_local(&self.base) {
            return Err(Fault::new(
                Exit::NotOurServer,
                format!(
                    "the server at {address} did not prove to be that of the data folder {folder}, \
                     as one on another machine or behind a proxy cannot, so the folder's token was \
                     not sent: give a token of that server with --token-file"
                ),
            ));
        }
        Err(Fault::new(
            Exit::NotOurServer,
            format!(
                "another program is listening at {address}: it is not the server of the data \
                 folder {folder}, or is an earlier version, and no token was sent. Stop it, or \
                 start the server at another address with --listen"
            ),
        ))
    }

    async fn sent(&self, request: RequestBuilder) -> Result<Response, Fault> {
        match request.send().await {
            Ok(response) => Ok(response),
            Err(error) => match self.no_server(&error) {
                Some(fault) => Err(fault),
                None => Err(unreachable::fault(&self.base, &error).await),
            },
        }
    }

    /// The error if nothing answers at the data folder's address.
    fn no_server(&self, error: &reqwest::Error) -> Option<Fault> {
        let folder = self.folder.as_ref().filter(|_| error.is_connect())?;
        let shown = folder.display();
        if !folder.exists() {
            return Some(Fault::new(
                Exit::NoFolder,
                format!(
                    "there is no data folder {shown}: name it with --data-dir, or the server with \
                     --server"
                ),
            ));
        }
        if matches!(self.proof, Proof::OfNone(_)) {
            return Some(Fault::new(
                Exit::NoFolder,
                format!(
                    "no server has run on the data folder {shown}: name another with --data-dir, \
                     or the server with --server"
                ),
            ));
        }
        let addresses = DataDir::at(folder).addresses();
        addresses.is_none().then(|| not_running(folder))
    }

    /// Fetches `path`.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Fault> {
        self.send(self.request(Method::GET, path)?).await
    }

    /// Fetches `path` with a query that waits for a change. What is followed
    /// continues while the server is unreachable or busy, so this retries, and its present state
    /// is shown as soon as the server answers.
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
            let answer = match self.get(&asked).await {
                Ok(answer) => self.needed(&answer, "stage").map(drop).map(|()| answer),
                refused => refused,
            };
            let fault = match answer {
                Err(fault) if fault.passing && begun.elapsed() < AWAY => fault,
                outcome => return outcome.inspect_err(|_| progress.end()),
            };
            let said = fault.message.unwrap_or_default();
            progress.show(&format!("{said}; retrying"));
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

impl ErrorReply {
    pub(super) fn into_fault(self) -> Fault {
        let exit = match self.status {
            StatusCode::NOT_FOUND => Exit::NotFound,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::NotAllowed,
            // What was typed is wrong, in a way that the server alone can know.
            StatusCode::BAD_REQUEST if self.problem["code"] == "invalid-parameter" => Exit::Usage,
            _ => Exit::Failed,
        };
        let fault = Fault::new(exit, self.sentence());
        match self.status.as_u16() {
            429 | 502..=504 => fault.passing(),
            _ => fault,
        }
    }

    /// The server's error, for a person.
    pub(super) fn sentence(&self) -> String {
        problem::sentence(&problem::for_commands(&self.problem))
            .map(|said| clean(&said))
            .unwrap_or_else(|| format!("the server answered {}", self.status))
    }
}

/// The token from the flags, with a warning if other users can read it.
fn given_token(args: &ServerPlace) -> Result<Option<Zeroizing<String>>, Fault> {
    if let Some(token) = &args.token {
        output::exposed(
            "--token",
            "--token-file FILE or the variable COUNTERSIGN_TOKEN",
        );
        return Ok(Some(Zeroizing::new(token.clone())));
    }
    let Some(file) = &args.token_file else {
        return Ok(None);
    };
    let token = if file == "-" {
        let bytes = input::read(file, MAX_TOKEN)?;
        let text = String::from_utf8(bytes.to_vec()).unwrap_or_default();
        Some(Zeroizing::new(text.trim().to_owned())).filter(|token| !token.is_empty())
    } else {
        let path = std::path::absolute(file).map_err(Fault::failed)?;
        let read = DataDir::at(Path::new("/")).read_secret(&path);
        let there = path.try_exists().map_err(Fault::failed)?;
        if !there {
            let path = path.display();
            let message = format!("--token-file: there is no file {path}");
            return Err(Fault::new(Exit::Usage, message));
        }
        read.map_err(Fault::failed)?
    };
    token
        .map(Some)
        .ok_or_else(|| Fault::new(Exit::Usage, "--token-file: the file contains no token"))
}

/// The JSON of a short answer, which may come from any program; null if it is not JSON.
async fn read_bounded(mut answer: Response) -> Value {
    let mut body = Vec::new();
    while let Ok(Some(part)) = answer.chunk().await {
        body.extend_from_slice(&part);
        if body.len() > MAX_HELLO {
            return Value::Null;
        }
    }
    serde_json::from_slice(&body).unwrap_or(Value::Null)
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

/// Why the data folder cannot be used.
fn not_running(folder: &Path) -> Fault {
    let shown = folder.display();
    let message = format!(
        "no server runs on the data folder {shown}: start it with `countersign serve --data-dir \
         '{shown}'`, or name another with --data-dir"
    );
    Fault::new(Exit::Failed, message).passing()
}

/// A misspelt variable would be ignored.
fn refuse_unknown_variables() -> Result<(), Fault> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    match unknown_variables(names).as_slice() {
        [] => Ok(()),
        wrong => Err(Fault::new(Exit::Usage, wrong.join("\n"))),
    }
}

/// Whether an id is a request's, and not an enrollment's or account's.
pub(super) fn is_request(id: &str) -> bool {
    id.starts_with("request-")
}

/// The query of a long poll that the server answers once the stage differs from `stage`, or
/// after half a minute.
pub(super) fn another_than(stage: &str) -> String {
    format!("wait=30&since={stage}")
}

/// Adds a reason for the audit log to a request; an empty one is left out.
pub(super) fn with_reason(request: RequestBuilder, reason: Option<&str>) -> RequestBuilder {
    match reason.and_then(reason_header) {
        Some((name, value)) => request.header(name, value),
        None => request,
    }
}

/// The path where what has this id is followed, decided on and ended.
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

fn is_local(url: &Url) -> bool {
    match url.host_str() {
        Some(host) => {
            host == "localhost"
                || host
                    .trim_matches(['[', ']'])
                    .parse::<IpAddr>()
                    .is_ok_and(|ip| ip.is_loopback() || is_of_this_machine(ip))
        }
        None => false,
    }
}

/// Whether an address is one of this machine's own: then the system would send from it what goes
/// to it. Nothing is sent.
fn is_of_this_machine(ip: IpAddr) -> bool {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    from.is_ok_and(|from| from.ip() == ip)
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
