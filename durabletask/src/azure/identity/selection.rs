//! Which credentials are tried, by name.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A way to prove who this process is.
///
/// ```
/// use durabletask::azure::Source;
///
/// assert_eq!(Source::ManagedIdentity.to_string(), "managed-identity");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A service principal whose secret is in the environment.
    Environment,
    /// A Kubernetes service account that Entra trusts.
    WorkloadIdentity,
    /// The identity of the machine or container, system- or user-assigned.
    ManagedIdentity,
    /// The user who is logged in with `az`.
    AzureCli,
    /// The user who is logged in with `azd`.
    AzureDeveloperCli,
}

impl Source {
    /// The name that settings and messages use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::WorkloadIdentity => "workload-identity",
            Self::ManagedIdentity => "managed-identity",
            Self::AzureCli => "azure-cli",
            Self::AzureDeveloperCli => "azure-developer-cli",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which sources are tried, in order; the first that works is kept.
///
/// ```
/// use durabletask::azure::{Selection, Source};
///
/// assert_eq!("ManagedIdentity".parse(), Ok(Selection::Only(Source::ManagedIdentity)));
/// assert_eq!(Selection::Production.sources().len(), 3);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// All of them, in the order of `DefaultAzureCredential`.
    #[default]
    Default,
    /// Those for deployed services.
    Production,
    /// Those for a developer's machine.
    Development,
    /// One of them.
    Only(Source),
    /// A token without a signature, which emulators take and Azure refuses.
    Unsigned,
}

impl Selection {
    /// What is tried, in order.
    #[must_use]
    pub const fn sources(self) -> &'static [Source] {
        const ALL: &[Source] = &[
            Source::Environment,
            Source::WorkloadIdentity,
            Source::ManagedIdentity,
            Source::AzureCli,
            Source::AzureDeveloperCli,
        ];
        match self {
            Self::Default => ALL,
            Self::Production => ALL.split_at(3).0,
            Self::Development => ALL.split_at(3).1,
            Self::Only(Source::Environment) => &[Source::Environment],
            Self::Only(Source::WorkloadIdentity) => &[Source::WorkloadIdentity],
            Self::Only(Source::ManagedIdentity) => &[Source::ManagedIdentity],
            Self::Only(Source::AzureCli) => &[Source::AzureCli],
            Self::Only(Source::AzureDeveloperCli) => &[Source::AzureDeveloperCli],
            Self::Unsigned => &[],
        }
    }

    /// The name that [`Selection::from_str`] reads.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Production => "production",
            Self::Development => "development",
            Self::Only(source) => source.as_str(),
            Self::Unsigned => "unsigned",
        }
    }
}

/// A text names no selection.
///
/// ```
/// use durabletask::azure::Selection;
///
/// let error = "passport".parse::<Selection>().unwrap_err();
/// assert!(error.to_string().contains("managed-identity"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no identity; write default, production, development, environment, \
     workload-identity, managed-identity, azure-cli, azure-developer-cli, or unsigned for an \
     emulator"
)]
pub struct UnknownIdentity(String);

impl FromStr for Selection {
    type Err = UnknownIdentity;

    /// Reads a name of ours, or one that the other Azure Identity libraries read from
    /// `AZURE_TOKEN_CREDENTIALS` or that a connection string has as `Authentication`.
    /// Case, hyphens and underscores do not matter.
    fn from_str(text: &str) -> Result<Self, UnknownIdentity> {
        let folded: String = text
            .chars()
            .filter(|c| !matches!(c, '-' | '_' | ' '))
            .map(|c| c.to_ascii_lowercase())
            .collect();
        Ok(match folded.trim_end_matches("credential") {
            "default" | "defaultazure" => Self::Default,
            "production" | "prod" => Self::Production,
            "development" | "dev" | "developertools" => Self::Development,
            "environment" | "serviceprincipal" | "clientsecret" => Self::Only(Source::Environment),
            "workloadidentity" => Self::Only(Source::WorkloadIdentity),
            "managedidentity" => Self::Only(Source::ManagedIdentity),
            "azurecli" => Self::Only(Source::AzureCli),
            "azuredevelopercli" => Self::Only(Source::AzureDeveloperCli),
            "unsigned" => Self::Unsigned,
            _ => return Err(UnknownIdentity(text.to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_as_itself() {
        for selection in [
            Selection::Default,
            Selection::Production,
            Selection::Development,
            Selection::Unsigned,
        ]
        .into_iter()
        .chain(
            Selection::Default
                .sources()
                .iter()
                .map(|s| Selection::Only(*s)),
        ) {
            assert_eq!(selection.as_str().parse(), Ok(selection));
        }
    }

    #[test]
    fn names_of_other_libraries_are_understood() {
        for (name, selection) in [
            (
                "ManagedIdentityCredential",
                Selection::Only(Source::ManagedIdentity),
            ),
            (
                "WorkloadIdentity",
                Selection::Only(Source::WorkloadIdentity),
            ),
            ("DefaultAzure", Selection::Default),
            ("prod", Selection::Production),
            ("dev", Selection::Development),
            ("AZURE_CLI", Selection::Only(Source::AzureCli)),
        ] {
            assert_eq!(name.parse(), Ok(selection), "{name}");
        }
        let error = "VisualStudio".parse::<Selection>().unwrap_err().to_string();
        assert!(
            error.contains("VisualStudio") && error.contains("azure-cli"),
            "{error}"
        );
    }

    #[test]
    fn the_order_is_that_of_default_azure_credential() {
        let names: Vec<&str> = Selection::Default
            .sources()
            .iter()
            .map(|s| s.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "environment",
                "workload-identity",
                "managed-identity",
                "azure-cli",
                "azure-developer-cli"
            ]
        );
        assert_eq!(Selection::Production.sources().len(), 3);
        assert_eq!(
            Selection::Development.sources(),
            [Source::AzureCli, Source::AzureDeveloperCli]
        );
    }
}
