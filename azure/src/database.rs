//! Logging in to Azure Database for PostgreSQL: a token of Microsoft Entra is the password.

use async_trait::async_trait;
use countersign_database::{PasswordFailure, PasswordSource};
use durabletask::azure::Identity;
use zeroize::Zeroizing;

use crate::causes::in_one_line;

/// What the tokens are for.
const SCOPE: &str = "https://ossrdbms-aad.database.windows.net/.default";

/// Tokens of an identity, as passwords of a database. The identity keeps one for as long as
/// it is good, so a new connection rarely asks for another.
#[derive(Clone, Debug)]
pub struct DatabaseTokens {
    identity: Identity,
}

impl DatabaseTokens {
    /// Logs in as `identity`, which is that of vault and task hub.
    #[must_use]
    pub const fn new(identity: Identity) -> Self {
        Self { identity }
    }
}

#[async_trait]
impl PasswordSource for DatabaseTokens {
    async fn password(&self) -> Result<Zeroizing<String>, PasswordFailure> {
        let token = self.identity.token(SCOPE).await;
        let token = token.map_err(|error| PasswordFailure(in_one_line(&error).into()))?;
        Ok(Zeroizing::new(token.token.secret().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, SystemTime};

    use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
    use azure_core::error::{Error, ErrorKind};

    use super::*;

    /// In place of Microsoft Entra.
    #[derive(Debug, Default)]
    struct Entra {
        asked_for: Mutex<Vec<String>>,
        is_away: bool,
    }

    #[async_trait]
    impl TokenCredential for Entra {
        async fn get_token(
            &self,
            scopes: &[&str],
            _: Option<TokenRequestOptions<'_>>,
        ) -> azure_core::Result<AccessToken> {
            let mut asked_for = self.asked_for.lock().unwrap();
            asked_for.extend(scopes.iter().map(ToString::to_string));
            if self.is_away {
                return Err(Error::with_message(ErrorKind::Credential, "it is away"));
            }
            let end = SystemTime::now() + Duration::from_secs(3_600);
            Ok(AccessToken::new("a token", end.into()))
        }
    }

    #[tokio::test]
    async fn the_password_is_a_token_for_databases() {
        let entra = Arc::new(Entra::default());
        let credential: Arc<dyn TokenCredential> = Arc::<Entra>::clone(&entra);
        let tokens = DatabaseTokens::new(Identity::from_credentials([("entra", credential)]));
        for _ in 0..2 {
            assert_eq!(tokens.password().await.unwrap().as_str(), "a token");
        }
        // Once: it is good for an hour.
        let asked_for = entra.asked_for.lock().unwrap();
        assert_eq!(*asked_for, [SCOPE]);
    }

    #[tokio::test]
    async fn a_missing_token_is_reported_with_its_cause() {
        let credential: Arc<dyn TokenCredential> = Arc::new(Entra {
            is_away: true,
            ..Entra::default()
        });
        let tokens = DatabaseTokens::new(Identity::from_credentials([("entra", credential)]));
        let error = tokens.password().await.unwrap_err();
        assert!(error.to_string().contains("it is away"), "{error}");
    }
}
