//! The identity, as the SDK for the Durable Task Scheduler wants it.

use std::time::SystemTime;

use async_trait::async_trait;
use durabletask::{AccessToken, TokenFailure, TokenProvider};

use crate::Identity;

#[async_trait]
impl TokenProvider for Identity {
    async fn token(&self, scope: &str) -> Result<AccessToken, TokenFailure> {
        let token = Identity::token(self, scope).await?;
        Ok(AccessToken::new(
            token.token.secret(),
            SystemTime::from(token.expires_on),
        ))
    }
}
