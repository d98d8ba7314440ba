//! Where a task hub is and how to speak to it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use durabletask_proto::task_hub_sidecar_service_client::TaskHubSidecarServiceClient;
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use uuid::Uuid;

use crate::caller::Caller;
use crate::credential::{Credential, TokenProvider};

/// The largest message that is sent or taken. The default of most gRPC stacks,
/// 4 MiB, is too small for a work item with a long history.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// HTTP/2 windows, so that one large message does not wait for window updates.
const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The generated client with our headers on every call.
pub(crate) type Service = TaskHubSidecarServiceClient<Caller>;

/// A parsed connection string.
///
/// The form is that of the Durable Task Scheduler:
/// `Endpoint=<uri>;TaskHub=<name>;Authentication=<kind>` with the optional keys
/// `ClientID`, `TenantId`, `TokenFilePath` and `AdditionallyAllowedTenants`.
///
/// ```
/// use durabletask::{AuthenticationKind, Connection};
///
/// let connection = Connection::parse("Endpoint=http://127.0.0.1:8080;TaskHub=default;Authentication=None")?;
/// assert_eq!(connection.endpoint(), "http://127.0.0.1:8080");
/// assert_eq!(connection.task_hub(), "default");
/// assert_eq!(connection.authentication().kind, AuthenticationKind::None);
/// # Ok::<(), durabletask::ConnectionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    endpoint: String,
    task_hub: String,
    authentication: Authentication,
    credential: Option<Credential>,
    trusted: Option<String>,
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
/// # Ok::<(), durabletask::ConnectionError>(())
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
    /// Further tenants for which tokens may be acquired.
    pub additionally_allowed_tenants: Vec<String>,
}

/// The kinds of credentials that connection strings name, compared without regard to case.
///
/// ```
/// use durabletask::{AuthenticationKind, Connection};
///
/// let connection =
///     Connection::parse("Endpoint=https://x.durabletask.io;TaskHub=hub;Authentication=azurecli")?;
/// assert_eq!(connection.authentication().kind, AuthenticationKind::AzureCli);
/// # Ok::<(), durabletask::ConnectionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the names are those of the Azure Identity libraries"
)]
pub enum AuthenticationKind {
    /// No token; plain HTTP is allowed. The emulator and local schedulers.
    None,
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
/// use durabletask::{Connection, ConnectionError};
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
        "the connection string has the unknown key '{key}'; known are Endpoint, TaskHub, Authentication, ClientID, TenantId, TokenFilePath and AdditionallyAllowedTenants"
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
        "'{kind}' is not a known kind of authentication; use None for the emulator or a local scheduler"
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
    /// The connection string asks for a token, and nobody gives one.
    #[error(
        "the connection string asks for {0:?}; give a credential with Connection::with_credential (or with_azure_identity, of the feature azure), or use Authentication=None with the emulator or a local scheduler"
    )]
    NoCredential(AuthenticationKind),
    /// A token would be sent in clear over the network.
    #[error(
        "a token may not be sent to an http:// endpoint; use https://, or Authentication=None with the emulator or a local scheduler"
    )]
    TokenInClear,
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
        let uri =
            tonic::transport::Uri::from_str(&endpoint).map_err(|_| ConnectionError::Endpoint)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(ConnectionError::Endpoint);
        }
        header(task_hub).ok_or(ConnectionError::TaskHub)?;
        Ok(Self {
            endpoint,
            task_hub: task_hub.to_owned(),
            authentication,
            credential: None,
            trusted: None,
        })
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
        let kind = self.authentication.kind;
        if kind == AuthenticationKind::None {
            return Ok(());
        }
        if self.credential.is_none() {
            return Err(ConnectionError::NoCredential(kind));
        }
        if self.endpoint.starts_with("http://") {
            return Err(ConnectionError::TokenInClear);
        }
        Ok(())
    }

    /// A client on a channel of its own, which connects when it is first used.
    pub(crate) fn service(&self, headers: Headers) -> Result<Service, ConnectionError> {
        self.check_supported()?;
        // The channel spawns its connection task at once.
        tokio::runtime::Handle::try_current().map_err(|_| ConnectionError::NoRuntime)?;
        let mut endpoint = Endpoint::from_shared(self.endpoint.clone())
            .map_err(|_| ConnectionError::Endpoint)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        if self.endpoint.starts_with("https://") {
            let mut tls = ClientTlsConfig::new().with_native_roots();
            if let Some(pem) = &self.trusted {
                tls = tls.ca_certificate(Certificate::from_pem(pem));
            }
            endpoint = endpoint
                .tls_config(tls)
                .map_err(|error| ConnectionError::Tls(error.to_string()))?;
        }
        // With `None` a credential is not asked: emulators want no token.
        let credential = match self.authentication.kind {
            AuthenticationKind::None => None,
            _ => self.credential.clone(),
        };
        let caller = Caller::new(endpoint.connect_lazy(), headers, credential);
        Ok(TaskHubSidecarServiceClient::new(caller)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES))
    }
}

impl FromStr for AuthenticationKind {
    type Err = ConnectionError;

    fn from_str(text: &str) -> Result<Self, ConnectionError> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "none" => Self::None,
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
