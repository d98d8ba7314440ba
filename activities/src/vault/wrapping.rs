//! A key outside of this machine that wraps the keys in the vault's key file, so that the file
//! alone opens nothing.

use zeroize::Zeroizing;

/// Why a key was not wrapped or unwrapped, and what to do.
pub type WrapError = Box<dyn std::error::Error + Send + Sync>;

/// A key as the key file keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// What has wrapped it, to the version; without white space.
    pub by: String,
    /// The wrapped key.
    pub bytes: Vec<u8>,
}

/// What wraps keys. Its methods block, for a bounded time, and may be called on any thread.
pub trait KeyWrapping: Send + Sync {
    /// What people call it.
    fn name(&self) -> String;

    /// Whether it is what a key was wrapped by. Nothing else is asked to unwrap it.
    fn has_wrapped(&self, by: &str) -> bool;

    /// Wraps a key.
    ///
    /// # Errors
    ///
    /// [`WrapError`].
    fn wrap(&self, key: &Zeroizing<[u8; 32]>) -> Result<WrappedKey, WrapError>;

    /// Unwraps a key.
    ///
    /// # Errors
    ///
    /// [`WrapError`].
    fn unwrap(&self, wrapped: &WrappedKey) -> Result<Zeroizing<[u8; 32]>, WrapError>;
}
