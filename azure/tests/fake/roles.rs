//! Who may do what: data actions that a token's identity has on the vault or on single secrets.

use std::collections::HashMap;

use super::Op;

/// What an identity may do. Identities are distinguished by their tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roles {
    granted: HashMap<String, Vec<Grant>>,
}

#[derive(Clone, Debug)]
struct Grant {
    /// One secret, or all of the vault.
    secret: Option<String>,
    actions: Vec<String>,
}

impl Roles {
    /// Assigns these data actions to the identity with this token, on one secret or on the vault.
    pub(crate) fn assign(&mut self, token: &str, secret: Option<&str>, actions: &[String]) {
        let grants = self.granted.entry(format!("Bearer {token}")).or_default();
        grants.push(Grant {
            secret: secret.map(str::to_owned),
            actions: actions.to_vec(),
        });
    }

    /// Whether it may do this with the secret of this name; listing all needs the vault.
    pub(crate) fn allow(&self, token: &str, op: Op, name: &str) -> bool {
        let grants = self.granted.get(token).into_iter().flatten();
        grants
            .filter(|grant| grant.secret.as_deref().is_none_or(|secret| secret == name))
            .flat_map(|grant| &grant.actions)
            .any(|action| action == op.data_action())
    }
}

impl Op {
    /// The data action that a role has to allow.
    pub(crate) const fn data_action(self) -> &'static str {
        match self {
            Self::Get => "Microsoft.KeyVault/vaults/secrets/getSecret/action",
            Self::Set => "Microsoft.KeyVault/vaults/secrets/setSecret/action",
            Self::Update => "Microsoft.KeyVault/vaults/secrets/update/action",
            Self::Delete => "Microsoft.KeyVault/vaults/secrets/delete",
            Self::Versions | Self::List | Self::GetDeleted | Self::ListDeleted => {
                "Microsoft.KeyVault/vaults/secrets/readMetadata/action"
            }
            Self::Recover => "Microsoft.KeyVault/vaults/secrets/recover/action",
            Self::Purge => "Microsoft.KeyVault/vaults/secrets/purge/action",
            Self::Wrap => "Microsoft.KeyVault/vaults/keys/wrap/action",
            Self::Unwrap => "Microsoft.KeyVault/vaults/keys/unwrap/action",
        }
    }
}
