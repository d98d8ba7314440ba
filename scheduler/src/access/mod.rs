//! Authentication: callers present a token from a file, or a JSON Web Token that was signed
//! with a key from a file. gRPC and dashboard authenticate the same way.

mod jwt;
mod layers;
mod login;
mod refusals;
mod tickets;
mod tokens;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;

use jwt::JwtCheck;
pub use jwt::JwtRules;
pub(crate) use layers::{AuthInterceptor, ask};
pub(crate) use login::{Asking, not_stored, routes as login_routes};
use refusals::Refusals;
use tickets::Logins;
pub use tickets::{TICKET_LIFE, TicketError, login_path};
use tokens::{Known, Tokens, digest};

use crate::reload::{FileError, FromFiles};

/// What a caller must present. [`Access::default`] admits anyone.
///
/// With tokens and JSON Web Tokens both set, either is enough. Files that change are read
/// again within a second of the next call; if they cannot be used then, what was read
/// before stays in force, and the log says why.
#[derive(Clone, Debug, Default)]
pub struct Access {
    tokens: Vec<Arc<FromFiles<Tokens, AccessError>>>,
    jwt: Option<Arc<FromFiles<JwtCheck, AccessError>>>,
    /// Where a caller can find a token.
    place: Option<Arc<str>>,
    logins: Option<Arc<Logins>>,
    refusals: Arc<Refusals>,
}

/// Why a file with tokens or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The file has no token in it.
    #[error(
        "{path} contains no token; write one on a line of its own, such as the output of `openssl rand -hex 32`"
    )]
    NoTokens {
        /// The file.
        path: PathBuf,
    },
    /// A token that could be guessed, or that no header can carry.
    #[error(
        "line {line} of {path} is not a token: a token has {} or more visible ASCII characters, such as the output of `openssl rand -hex 32`",
        tokens::SHORTEST
    )]
    Token {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The file holds no public key that can check a signature.
    #[error(
        "{path} contains no key to verify a token's signature with: {reason}; expected a JSON Web Key Set or a public key as PEM (RSA, EC or Ed25519)"
    )]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// What admitted a caller: a file's token, by its digest, or something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pass(Option<[u8; 32]>);

/// How often a stream checks whether the token that opened it is still valid.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why a caller is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error(
        "this scheduler requires authentication: send the header `authorization: Bearer TOKEN`"
    )]
    Missing,
    #[error("the token is unknown or has expired")]
    Wrong,
}

impl Access {
    /// Also admits callers that present a token of this file: one per line, empty lines
    /// and those that begin with `#` aside.
    ///
    /// # Errors
    /// [`AccessError`] where the file cannot be read or holds something else.
    pub fn with_token_file(mut self, path: &Path) -> Result<Self, AccessError> {
        let files = vec![path.to_owned()];
        let path = path.to_owned();
        let tokens = FromFiles::read(files, move |contents| Tokens::parse(&path, only(contents)))?;
        self.tokens.push(Arc::new(tokens));
        Ok(self)
    }

    /// Sets the sentence that tells callers without a valid credential where to find a token.
    #[must_use]
    pub fn found_at(mut self, place: &str) -> Self {
        self.place = Some(place.into());
        self
    }

    /// Admits browsers to the dashboard with one-time tickets, which every holder of a token from a
    /// token file can create with [`login_path`], instead of asking people for the token itself.
    /// `how` explains to a browser without a ticket how to get one, in a sentence or two.
    #[must_use]
    pub fn with_tickets(mut self, how: &str) -> Self {
        self.logins = Some(Arc::new(Logins::new(how, SystemTime::now())));
        self
    }

    /// Also admits callers that present a JSON Web Token that follows these rules.
    ///
    /// # Errors
    /// [`AccessError`] where the file of keys cannot be read or holds none.
    pub fn with_jwt(mut self, rules: &JwtRules) -> Result<Self, AccessError> {
        let files = vec![rules.keys.clone()];
        let rules = rules.clone();
        let keys = FromFiles::read(files, move |contents| {
            JwtCheck::parse(&rules, only(contents))
        })?;
        self.jwt = Some(Arc::new(keys));
        Ok(self)
    }

    /// Whether callers must present anything.
    #[must_use]
    pub fn asks(&self) -> bool {
        !self.tokens.is_empty() || self.jwt.is_some()
    }

    /// Admits or refuses a caller with this `authorization` header.
    pub(crate) fn admits(&self, authorization: Option<&str>) -> Result<Pass, Refused> {
        if !self.asks() {
            return Ok(Pass(None));
        }
        let token = authorization.and_then(presented).ok_or(Refused::Missing)?;
        let known = |tokens: &Arc<FromFiles<Tokens, _>>| tokens.current().know(&token);
        let accepted = |jwt: &Arc<FromFiles<JwtCheck, _>>| jwt.current().accepts(&token);
        // An unknown token may have been written just now.
        let just_now = |tokens: &Arc<FromFiles<Tokens, _>>| tokens.newest().know(&token);
        if self.tokens.iter().any(known) {
            Ok(Pass(Some(digest(&token))))
        } else if self.jwt.as_ref().is_some_and(accepted) {
            Ok(Pass(None))
        } else if self.tokens.iter().any(just_now) {
            Ok(Pass(Some(digest(&token))))
        } else {
            Err(Refused::Wrong)
        }
    }

    /// Returns once the token that admitted a caller is in no file any more.
    pub(crate) async fn revoked(&self, pass: Pass) {
        let Pass(Some(token)) = pass else {
            return std::future::pending().await;
        };
        while self.known().iter().any(|known| known.digest == token) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The answer to a caller that is not admitted.
    pub(crate) fn explain(&self, refused: Refused) -> String {
        match &self.place {
            Some(place) => format!("{refused}; {place}"),
            None => refused.to_string(),
        }
    }

    /// Every token of every file, in its stored form.
    fn known(&self) -> Vec<Known> {
        let of = |tokens: &Arc<FromFiles<Tokens, _>>| tokens.current().0.clone();
        self.tokens.iter().flat_map(of).collect()
    }
}

/// The token in a header: a bearer's, or the password that a browser's prompt sends.
fn presented(header: &str) -> Option<String> {
    let (scheme, value) = header.split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let decoded = BASE64.decode(value.as_bytes()).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        return text
            .split_once(':')
            .map(|(_, password)| password.to_owned());
    }
    None
}

impl FileError for AccessError {
    fn unreadable(_: usize, path: &Path, source: std::io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            source,
        }
    }
}

/// The content of a token file.
fn only(contents: &[Vec<u8>]) -> &[u8] {
    contents.first().map_or(&[], Vec::as_slice)
}

/// The content of a file that must be text.
fn text<'a>(path: &Path, content: &'a [u8]) -> Result<&'a str, AccessError> {
    std::str::from_utf8(content).map_err(|error| {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
        AccessError::unreadable(0, path, source)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_as_a_bearers_or_as_a_password() {
        let basic = format!("Basic {}", BASE64.encode(b"somebody:a:b"));
        for (header, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            (basic.as_str(), Some("a:b")),
            ("Basic ???", None),
            ("Digest abc", None),
            ("abc", None),
        ] {
            assert_eq!(presented(header).as_deref(), token, "{header}");
        }
    }

    #[test]
    fn a_token_file_admits_callers_with_one_of_its_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        let (old, new) = ("o".repeat(40), "n".repeat(32));
        std::fs::write(&file, format!("# two\n{old}\n\n  {new}\n")).unwrap();
        let access = Access::default().with_token_file(&file).unwrap();
        assert!(access.asks());
        for token in [&old, &new] {
            let pass = access.admits(Some(&format!("Bearer {token}")));
            assert_eq!(pass, Ok(Pass(Some(digest(token)))));
        }
        assert_eq!(access.admits(None), Err(Refused::Missing));
        for wrong in ["# two", "", &old[1..]] {
            let header = format!("Bearer {wrong}");
            assert_eq!(access.admits(Some(&header)), Err(Refused::Wrong));
        }
        assert_eq!(Access::default().admits(None), Ok(Pass(None)));
    }

    #[test]
    fn a_file_without_a_valid_token_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        let open = || Access::default().with_token_file(&file).unwrap_err();
        assert!(matches!(open(), AccessError::Read { .. }));
        std::fs::write(&file, "# none\n\n").unwrap();
        assert!(matches!(open(), AccessError::NoTokens { .. }));
        std::fs::write(&file, format!("{}\nshort\n", "x".repeat(32))).unwrap();
        assert!(matches!(open(), AccessError::Token { line: 2, .. }));
    }
}
