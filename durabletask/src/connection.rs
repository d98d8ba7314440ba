//! Where a task hub is and how to speak to it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use durabletask_proto::completion_stream_service_client::CompletionStreamServiceClient;
use durabletask_proto::fork_service_client::ForkServiceClient;
use durabletask_proto::task_hub_sidecar_service_client::TaskHubSidecarServiceClient;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Uri};
use uuid::Uuid;

use crate::caller::{Caller, Proof};
use crate::credential::Credential;
use crate::dialer::Dialer;

pub use crate::credential::{AccessToken, SCOPE, TokenFailure, TokenProvider};
pub use crate::token_file::TokenFileFault;

use crate::token_file::TokenFile;

/// The largest message that is sent or taken. The default of most gRPC stacks,
/// 4 MiB, is too small for a work item with a long history.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// HTTP/2 windows, so that one large message does not wait for window updates.
const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The generated client with our headers on every call.
pub(crate) type Service = TaskHubSidecarServiceClient<Caller>;
/// The same of our extension.
pub(crate) type CompletionStream = CompletionStreamServiceClient<Caller>;
/// The client of our extension for forks.
pub(crate) type Forks = ForkServiceClient<Caller>;

/// A parsed connection string.
///
/// The form is that of the Durable Task Scheduler:
/// `Endpoint=<uri>;TaskHub=<name>;Authentication=<kind>` with the optional keys
/// `ClientID`, `TenantId`, `TokenFilePath` and `AdditionallyAllowedTenants`.
///
/// `Authentication=Token;TokenFile=<path>` presents a static token, as
/// `durabletask-scheduler --token-file` asks for: the first one in the file, which only its
/// owner may read and which is read again when it changes. It goes to an `https://`
/// endpoint, or by `http://` to this machine only (`127.0.0.0/8`, `[::1]`, and `localhost`,
/// which stands for `127.0.0.1`).
///
/// ```
/// use durabletask::connection::AuthenticationKind;
/// use durabletask::Connection;
///
/// let connection = Connection::parse("Endpoint=http://127.0.0.1:8080;TaskHub=default;Authentication=None")?;
/// assert_eq!(connection.endpoint(), "http://127.0.0.1:8080");
/// assert_eq!(connection.task_hub(), "default");
/// assert_eq!(connection.authentication().kind, AuthenticationKind::None);
/// # Ok::<(), durabletask::connection::ConnectionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    endpoint: String,
    task_hub: String,
    authentication: Authentication,
    credential: Option<Credential>,
    trusted: Option<String>,
    dialer: Option<Dialer>,
}

/// How to prove who is calling.
///
/// ```
/// use durabletask::Connection;
///
/// let connection = Connection::parse(
///     "Endpoint=https://x.durabletask.io;TaskHub=hub;Authentication=ManagedIdentity;ClientID=7",
/// )?;
/// assert_eq!(connection.authentication().client_id.as_deref(), Some("7"));
/// # Ok::<(), durabletask::connection::ConnectionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// Which credential to use.
    pub kind: AuthenticationKind,
    /// The client id of a user-assigned or workload identity.
    pub client_id: Option<String>,
    /// The Entra tenant.
    pub tenant_id: Option<String>,
    /// The file with the workload identity's federated token.
    pub token_file_path: Option<String>,
    /// The file with the static token of [`AuthenticationKind::Token`].
    pub token_file: Option<PathBuf>,
    /// Further tenants for which tokens may be acquired.
    pub additionally_allowed_tenants: Vec<String>,
}

/// The kinds of credentials that connection strings name, compared without regard to case.
///
/// ```
/// use durabletask::connection::AuthenticationKind;
/// use durabletask::Connection;
///
/// let connection =
///     Connection::parse("Endpoint=https://x.durabletask.io;TaskHub=hub;Authentication=azurecli")?;
/// assert_eq!(connection.authentication().kind, AuthenticationKind::AzureCli);
/// # Ok::<(), durabletask::connection::ConnectionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the names are those of the Azure Identity libraries"
)]
pub enum AuthenticationKind {
    /// No token; plain HTTP is allowed. The emulator and local schedulers.
    None,
    /// A static token in a file.
    Token,
    DefaultAzure,
    ManagedIdentity,
    WorkloadIdentity,
    Environment,
    AzureCli,
    AzurePowerShell,
    VisualStudio,
    VisualStudioCode,
    IntelliJ,
    InteractiveBrowser,
}

/// What is wrong with a connection string, or with connecting.
///
/// ```
/// use durabletask::connection::ConnectionError;
/// use durabletask::Connection;
///
/// let error = Connection::parse("Endpoint=http://127.0.0.1:8080;Authentication=None").unwrap_err();
/// assert_eq!(error, ConnectionError::Missing { key: "TaskHub" });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// A segment is not `key=value`.
    #[error("segment {position} of the connection string is not of the form key=value")]
    Segment {
        /// Counted from 1.
        position: usize,
    },
    /// A key is not known.
    #[error(
        "the connection string has the unknown key '{key}'; known are Endpoint, TaskHub, Authentication, TokenFile, ClientID, TenantId, TokenFilePath and AdditionallyAllowedTenants"
    )]
    UnknownKey {
        /// The key as given.
        key: String,
    },
    /// A required key is absent or empty.
    #[error("the connection string lacks '{key}'")]
    Missing {
        /// The key that is missing.
        key: &'static str,
    },
    /// The authentication kind is not known.
    #[error(
        "'{kind}' is not a known kind of authentication; use None for the emulator or a scheduler that asks for nothing, Token for one that asks for a token"
    )]
    UnknownAuthentication {
        /// The kind as given.
        kind: String,
    },
    /// The endpoint is not an http or https address.
    #[error("the endpoint is not a valid http:// or https:// address")]
    Endpoint,
    /// The task hub's name cannot be sent as a header.
    #[error("the task hub's name may hold visible ASCII characters only")]
    TaskHub,
    /// The connection string requires a token, but none was given.
    #[error(
        "the connection string asks for {0:?}; give a credential with Connection::with_credential (or with_azure_identity, of the feature azure), or use Authentication=None with the emulator or a local scheduler"
    )]
    NoCredential(AuthenticationKind),
    /// A token would be sent in clear over the network.
    #[error(
        "a token may not be sent to an http:// endpoint; use https:// (Authentication=Token may also use http:// on this machine: 127.0.0.1, [::1] or localhost), or Authentication=None with the emulator or a local scheduler"
    )]
    TokenInClear,
    /// The connection string names a token file, and another kind of authentication.
    #[error(
        "TokenFile belongs to Authentication=Token, not to {0:?} (a workload identity's file is TokenFilePath)"
    )]
    NeedlessTokenFile(AuthenticationKind),
    /// There is no token in the token file.
    #[error("the token file {} {fault}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: TokenFileFault,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// There is no Tokio runtime to connect on.
    #[error("connecting needs a Tokio runtime; call this from within one")]
    NoRuntime,
}

impl Connection {
    /// Reads a connection string.
    ///
    /// Keys are compared without regard to case, only the first `=` of a segment
    /// splits, empty segments are skipped, the last of a repeated key wins, and
    /// an endpoint without a scheme means `https://`.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`] with the key that is at fault.
    pub fn parse(text: &str) -> Result<Self, ConnectionError> {
        let mut endpoint = None;
        let mut task_hub = None;
        let mut kind = None;
        let mut client_id = None;
        let mut tenant_id = None;
        let mut token_file_path = None;
        let mut token_file = None;
        let mut tenants = Vec::new();
        for (index, segment) in text.split(';').enumerate() {
            let segment = segment.trim();
            if segment.is_empty() {
                continue;
            }
            let (key, value) = segment.split_once('=').ok_or(ConnectionError::Segment {
                position: index + 1,
            })?;
            let value = Some(value.trim())
                .filter(|value| !value.is_empty())
                .map(str::to_owned);
            match key.trim().to_ascii_lowercase().as_str() {
                "endpoint" => endpoint = value,
                "taskhub" => task_hub = value,
                "authentication" => kind = value,
                "clientid" => client_id = value,
                "tenantid" => tenant_id = value,
                "tokenfilepath" => token_file_path = value,
                "tokenfile" => token_file = value.map(PathBuf::from),
                "additionallyallowedtenants" => {
                    tenants = value
                        .unwrap_or_default()
                        .split(',')
                        .map(|tenant| tenant.trim().to_owned())
                        .filter(|tenant| !tenant.is_empty())
                        .collect();
                }
                _ => {
                    return Err(ConnectionError::UnknownKey {
                        key: key.trim().to_owned(),
                    });
                }
            }
        }
        let endpoint = endpoint.ok_or(ConnectionError::Missing { key: "Endpoint" })?;
        let kind = kind.ok_or(ConnectionError::Missing {
            key: "Authentication",
        })?;
        Self::new(
            &endpoint,
            &task_hub.ok_or(ConnectionError::Missing { key: "TaskHub" })?,
            Authentication {
                kind: kind.parse()?,
                client_id,
                tenant_id,
                token_file_path,
                token_file,
                additionally_allowed_tenants: tenants,
            },
        )
    }

    /// A connection without authentication, as to a local scheduler.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::Endpoint`] or [`ConnectionError::TaskHub`].
    pub fn insecure(endpoint: &str, task_hub: &str) -> Result<Self, ConnectionError> {
        Self::new(
            endpoint,
            task_hub,
            Authentication {
                kind: AuthenticationKind::None,
                client_id: None,
                tenant_id: None,
                token_file_path: None,
                token_file: None,
                additionally_allowed_tenants: Vec::new(),
            },
        )
    }

    fn new(
        endpoint: &str,
        task_hub: &str,
        authentication: Authentication,
    ) -> Result<Self, ConnectionError> {
        let endpoint = if endpoint.contains("://") {
            endpoint.to_owned()
        } else {
            format!("https://{endpoint}")
        };
        let uri = Uri::from_str(&endpoint).map_err(|_| ConnectionError::Endpoint)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(ConnectionError::Endpoint);
        }
        header(task_hub).ok_or(ConnectionError::TaskHub)?;
        match (authentication.kind, &authentication.token_file) {
            (AuthenticationKind::Token, None) => {
                return Err(ConnectionError::Missing { key: "TokenFile" });
            }
            (AuthenticationKind::Token, Some(_)) if in_clear(&uri) && !is_this_machine(&uri) => {
                return Err(ConnectionError::TokenInClear);
            }
            (AuthenticationKind::Token, _) | (_, None) => {}
            (kind, Some(_)) => return Err(ConnectionError::NeedlessTokenFile(kind)),
        }
        Ok(Self {
            endpoint,
            task_hub: task_hub.to_owned(),
            authentication,
            credential: None,
            trusted: None,
            dialer: None,
        })
    }

    /// Presents the first token in the file at `path`, as `Authentication=Token` does: for a
    /// path that a connection string cannot hold, and for programs that find the file by
    /// themselves.
    ///
    /// ```
    /// use durabletask::connection::ConnectionError;
    /// use durabletask::Connection;
    ///
    /// let near = Connection::insecure("http://127.0.0.1:8080", "hub")?;
    /// near.with_token_file("hub-token")?;
    /// let far = Connection::insecure("http://hub.example:8080", "hub")?;
    /// assert_eq!(far.with_token_file("hub-token"), Err(ConnectionError::TokenInClear));
    /// # Ok::<(), ConnectionError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConnectionError::TokenInClear`] where the endpoint is an `http://` address of
    /// another machine.
    pub fn with_token_file(self, path: impl Into<PathBuf>) -> Result<Self, ConnectionError> {
        let connected = Self::new(
            &self.endpoint,
            &self.task_hub,
            Authentication {
                kind: AuthenticationKind::Token,
                token_file: Some(path.into()),
                ..self.authentication
            },
        )?;
        Ok(Self {
            credential: self.credential,
            trusted: self.trusted,
            dialer: self.dialer,
            ..connected
        })
    }

    /// Whether the endpoint is on this machine by its name: a loopback address or
    /// `localhost`.
    ///
    /// ```
    /// use durabletask::Connection;
    ///
    /// for near in ["http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost:8080"] {
    ///     assert!(Connection::insecure(near, "hub")?.is_local());
    /// }
    /// for far in ["http://hub:8080", "http://127.0.0.1.example", "http://127.0.0.1@hub"] {
    ///     assert!(!Connection::insecure(far, "hub")?.is_local());
    /// }
    /// # Ok::<(), durabletask::connection::ConnectionError>(())
    /// ```
    #[must_use]
    pub fn is_local(&self) -> bool {
        Uri::from_str(&self.endpoint).is_ok_and(|uri| is_this_machine(&uri))
    }

    /// Asks `provider` for the tokens that the task hub wants to see.
    #[must_use]
    pub fn with_credential(mut self, provider: impl TokenProvider + 'static) -> Self {
        self.credential = Some(Credential::new(provider));
        self
    }

    /// Trusts the certificates in `pem`, besides those that the system trusts, on an
    /// `https://` endpoint: for a scheduler behind a proxy of one's own.
    #[must_use]
    pub fn trusting(mut self, pem: impl Into<String>) -> Self {
        self.trusted = Some(pem.into());
        self
    }

    /// Opens connections with `dial` instead of over TCP: for a scheduler in the same process, or
    /// behind a socket of another kind.
    ///
    /// `dial` is called whenever a connection is needed. What it fails with is an outage like any
    /// other, and is tried again. Everything else stays as the endpoint says: the protocol, the
    /// headers, TLS with an `https://` endpoint, and whether a token may be presented.
    ///
    /// ```
    /// # #[cfg(unix)]
    /// # fn main() -> Result<(), durabletask::connection::ConnectionError> {
    /// use durabletask::Connection;
    /// use tokio::net::UnixStream;
    ///
    /// let near = Connection::insecure("http://localhost", "default")?
    ///     .with_dialer(|| UnixStream::connect("/run/scheduler.sock"));
    /// assert_eq!(near.task_hub(), "default");
    /// # Ok(())
    /// # }
    /// # #[cfg(not(unix))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn with_dialer<D, F, S>(mut self, dial: D) -> Self
    where
        D: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = std::io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.dialer = Some(Dialer::new(dial));
        self
    }

    /// The address, with its scheme.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The task hub's name.
    #[must_use]
    pub fn task_hub(&self) -> &str {
        &self.task_hub
    }

    /// How to prove who is calling.
    #[must_use]
    pub fn authentication(&self) -> &Authentication {
        &self.authentication
    }

    /// Refuses what cannot work.
    pub(crate) fn check_supported(&self) -> Result<(), ConnectionError> {
        self.proof().map(drop)
    }

    /// What calls present.
    fn proof(&self) -> Result<Proof, ConnectionError> {
        match self.authentication.kind {
            // A credential is not asked: emulators want no token.
            AuthenticationKind::None => Ok(Proof::None),
            AuthenticationKind::Token => {
                let path = self.authentication.token_file.as_deref();
                let path = path.ok_or(ConnectionError::Missing { key: "TokenFile" })?;
                let file = TokenFile::open(path).map_err(|fault| ConnectionError::TokenFile {
                    path: path.to_owned(),
                    fault,
                })?;
                Ok(Proof::File(file))
            }
            kind => {
                let credential = self.credential.clone();
                let credential = credential.ok_or(ConnectionError::NoCredential(kind))?;
                let uri = Uri::from_str(&self.endpoint);
                if in_clear(&uri.map_err(|_| ConnectionError::Endpoint)?) {
                    return Err(ConnectionError::TokenInClear);
                }
                Ok(Proof::Asked(credential))
            }
        }
    }

    /// The address that is connected to. A token that goes unencrypted to `localhost` goes
    /// to 127.0.0.1, however that name is resolved.
    fn dialed(&self) -> String {
        let local = Uri::from_str(&self.endpoint).ok().filter(|uri| {
            self.authentication.kind == AuthenticationKind::Token
                && in_clear(uri)
                && uri.host().is_some_and(is_localhost)
        });
        match local {
            Some(uri) => format!("http://127.0.0.1:{}", uri.port_u16().unwrap_or(80)),
            None => self.endpoint.clone(),
        }
    }

    /// A channel of its own, which connects when it is first used.
    pub(crate) fn caller(&self, headers: Headers) -> Result<Caller, ConnectionError> {
        let proof = self.proof()?;
        // The channel spawns its connection task at once.
        tokio::runtime::Handle::try_current().map_err(|_| ConnectionError::NoRuntime)?;
        let mut endpoint = Endpoint::from_shared(self.dialed())
            .map_err(|_| ConnectionError::Endpoint)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        if !in_clear(endpoint.uri()) {
            let mut tls = ClientTlsConfig::new().with_native_roots();
            if let Some(pem) = &self.trusted {
                tls = tls.ca_certificate(Certificate::from_pem(pem));
            }
            endpoint = endpoint
                .tls_config(tls)
                .map_err(|error| ConnectionError::Tls(error.to_string()))?;
        }
        let channel = match &self.dialer {
            Some(dialer) => endpoint.connect_with_connector_lazy(dialer.clone()),
            None => endpoint.connect_lazy(),
        };
        Ok(Caller::new(channel, headers, proof))
    }
}

/// A client on a channel.
pub(crate) fn service(caller: Caller) -> Service {
    TaskHubSidecarServiceClient::new(caller)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// A client of our extension on a channel.
pub(crate) fn completion_stream(caller: Caller) -> CompletionStream {
    CompletionStreamServiceClient::new(caller).max_encoding_message_size(MAX_MESSAGE_BYTES)
}

impl FromStr for AuthenticationKind {
    type Err = ConnectionError;

    fn from_str(text: &str) -> Result<Self, ConnectionError> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "none" => Self::None,
            "token" => Self::Token,
            "defaultazure" => Self::DefaultAzure,
            "managedidentity" => Self::ManagedIdentity,
            "workloadidentity" => Self::WorkloadIdentity,
            "environment" => Self::Environment,
            "azurecli" => Self::AzureCli,
            "azurepowershell" => Self::AzurePowerShell,
            "visualstudio" => Self::VisualStudio,
            "visualstudiocode" => Self::VisualStudioCode,
            "intellij" => Self::IntelliJ,
            "interactivebrowser" => Self::InteractiveBrowser,
            _ => {
                return Err(ConnectionError::UnknownAuthentication {
                    kind: text.to_owned(),
                });
            }
        })
    }
}

/// The headers that the Durable Task Scheduler expects on every call.
#[derive(Clone)]
pub(crate) struct Headers {
    task_hub: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    worker_id: Option<HeaderValue>,
}

impl Headers {
    pub(crate) fn for_client(connection: &Connection) -> Self {
        Self::new(connection, "DurableTaskClient", None)
    }

    pub(crate) fn for_worker(connection: &Connection) -> Self {
        let id = format!(
            "{},{},{}",
            host_name(),
            std::process::id(),
            Uuid::new_v4().simple()
        );
        Self::new(connection, "DurableTaskWorker", header(&id))
    }

    fn new(connection: &Connection, role: &str, worker_id: Option<HeaderValue>) -> Self {
        Self {
            task_hub: header(&connection.task_hub),
            user_agent: header(&format!(
                "durabletask-rust/{} ({role})",
                env!("CARGO_PKG_VERSION")
            )),
            worker_id,
        }
    }
}

impl Headers {
    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        for (name, value) in [
            (HeaderName::from_static("taskhub"), &self.task_hub),
            (HeaderName::from_static("x-user-agent"), &self.user_agent),
            (HeaderName::from_static("workerid"), &self.worker_id),
            (
                HeaderName::from_static("max-receive-bytes"),
                &Some(HeaderValue::from(MAX_MESSAGE_BYTES)),
            ),
        ] {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Headers").finish_non_exhaustive()
    }
}

/// Whether nothing on the way is encrypted. Schemes are compared as they are parsed, in
/// lower case.
fn in_clear(uri: &Uri) -> bool {
    uri.scheme_str() != Some("https")
}

/// Whether an address is this machine's by its name. What is not written as an IP address
/// is none, so that no resolver is asked and no shorthand is understood.
fn is_this_machine(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    is_localhost(host) || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_localhost(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
}

fn header(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

fn host_name() -> String {
    let name = std::env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .unwrap_or_default();
    let name: String = name
        .trim()
        .chars()
        .filter(|c| c.is_ascii_graphic() && *c != ',')
        .collect();
    if name.is_empty() {
        "unknown-host".to_owned()
    } else {
        name
    }
}
