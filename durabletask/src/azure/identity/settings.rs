//! What the credentials need to know.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;
use zeroize::Zeroizing;

use super::{Selection, Source};
use crate::connection::{Authentication, AuthenticationKind};

/// Which identity to use, and what it needs. `Default` tries everything and knows
/// nothing, as on a machine where nothing is set.
///
/// ```
/// use durabletask::azure::{IdentitySettings, Selection, Source};
///
/// let settings = IdentitySettings {
///     selection: Selection::Only(Source::ManagedIdentity),
///     client_id: Some("00000000-0000-0000-0000-000000000007".to_owned()),
///     ..IdentitySettings::default()
/// };
/// assert_eq!(settings.tenant_id, None);
/// ```
#[derive(Clone, Default)]
pub struct IdentitySettings {
    /// What is tried.
    pub selection: Selection,
    /// The client id of a service principal, a workload identity or a user-assigned
    /// managed identity. Without it, managed identity means the system-assigned one.
    pub client_id: Option<String>,
    /// The Entra tenant of a service principal or workload identity.
    pub tenant_id: Option<String>,
    /// A service principal's secret.
    pub client_secret: Option<Zeroizing<String>>,
    /// The file with a workload identity's federated token.
    pub token_file: Option<PathBuf>,
    /// Whether the platform offers a managed identity through `IDENTITY_ENDPOINT`, as
    /// Container Apps and App Service do. Without, it is asked for at the address of
    /// virtual machines.
    pub has_identity_endpoint: bool,
}

impl IdentitySettings {
    /// What the variables of the Azure Identity libraries say: `AZURE_CLIENT_ID`,
    /// `AZURE_TENANT_ID`, `AZURE_CLIENT_SECRET`, `AZURE_FEDERATED_TOKEN_FILE` and
    /// `IDENTITY_ENDPOINT`.
    #[must_use]
    pub fn from_environment(environment: impl Fn(&str) -> Option<String>) -> Self {
        let var = |name: &str| environment(name).filter(|value| !value.is_empty());
        Self {
            selection: Selection::Default,
            client_id: var("AZURE_CLIENT_ID"),
            tenant_id: var("AZURE_TENANT_ID"),
            client_secret: var("AZURE_CLIENT_SECRET").map(Zeroizing::new),
            token_file: var("AZURE_FEDERATED_TOKEN_FILE").map(PathBuf::from),
            has_identity_endpoint: var("IDENTITY_ENDPOINT").is_some(),
        }
    }

    /// Applies the settings of a connection string; others are kept. `None` and
    /// `Token` say nothing of an identity.
    ///
    /// # Errors
    ///
    /// [`UnsupportedAuthentication`] if `azure_identity` has no such credential; then
    /// nothing is changed.
    pub fn adopt(&mut self, said: &Authentication) -> Result<(), UnsupportedAuthentication> {
        self.selection = match said.kind {
            AuthenticationKind::None | AuthenticationKind::Token => return Ok(()),
            AuthenticationKind::DefaultAzure => Selection::Default,
            AuthenticationKind::ManagedIdentity => Selection::Only(Source::ManagedIdentity),
            AuthenticationKind::WorkloadIdentity => Selection::Only(Source::WorkloadIdentity),
            AuthenticationKind::Environment => Selection::Only(Source::Environment),
            AuthenticationKind::AzureCli => Selection::Only(Source::AzureCli),
            kind @ (AuthenticationKind::AzurePowerShell
            | AuthenticationKind::VisualStudio
            | AuthenticationKind::VisualStudioCode
            | AuthenticationKind::IntelliJ
            | AuthenticationKind::InteractiveBrowser) => {
                return Err(UnsupportedAuthentication(kind));
            }
        };
        for (ours, theirs) in [
            (&mut self.client_id, &said.client_id),
            (&mut self.tenant_id, &said.tenant_id),
        ] {
            if theirs.is_some() {
                ours.clone_from(theirs);
            }
        }
        if let Some(path) = &said.token_file_path {
            self.token_file = Some(PathBuf::from(path));
        }
        Ok(())
    }
}

/// A connection string names a credential that `azure_identity` does not have.
///
/// ```
/// use durabletask::Connection;
/// use durabletask::azure::IdentitySettings;
///
/// let connection = Connection::parse(
///     "Endpoint=https://x.durabletask.io;TaskHub=hub;Authentication=InteractiveBrowser",
/// )?;
/// let refused = IdentitySettings::default().adopt(connection.authentication()).unwrap_err();
/// assert!(refused.to_string().contains("ManagedIdentity"));
/// # Ok::<(), durabletask::connection::ConnectionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "Authentication={0:?} is not supported; write DefaultAzure, ManagedIdentity, \
     WorkloadIdentity, Environment, AzureCli or None"
)]
pub struct UnsupportedAuthentication(pub AuthenticationKind);

// Written by hand because the secret may not be shown.
impl fmt::Debug for IdentitySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentitySettings")
            .field("selection", &self.selection)
            .field("client_id", &self.client_id)
            .field("tenant_id", &self.tenant_id)
            .field(
                "client_secret",
                &self.client_secret.as_ref().map(|_| "(set)"),
            )
            .field("token_file", &self.token_file)
            .finish_non_exhaustive()
    }
}
