//! Passwords that are not in the URL, such as tokens that are good for an hour.

use async_trait::async_trait;
use thiserror::Error;
use zeroize::Zeroizing;

/// Gives a password for each new connection.
#[async_trait]
pub trait PasswordSource: Send + Sync {
    /// The password to log in with now. It is asked for before each connection is made.
    ///
    /// # Errors
    ///
    /// [`PasswordFailure`] when there is none to give.
    async fn password(&self) -> Result<Zeroizing<String>, PasswordFailure>;
}

/// Why there is no password to log in with.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct PasswordFailure(#[from] pub Box<dyn std::error::Error + Send + Sync>);
