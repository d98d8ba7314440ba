//! Browser sessions: a signed cookie that names the caller and ends by itself.

use chrono::{DateTime, Duration, Utc};
use data_encoding::BASE64URL_NOPAD;

use super::identity::Subject;
use super::secret;

/// The cookie's name.
pub(crate) const COOKIE: &str = "countersign_session";
/// How long a session lasts.
pub(crate) const LIFETIME: Duration = Duration::hours(12);

const LABEL: &[u8] = b"countersign session v1";

/// Signs and checks session cookies.
pub(super) struct Sessions {
    key: zeroize::Zeroizing<[u8; 32]>,
    /// Ties the administrator's sessions to the present token: another token ends them.
    admin: [u8; 8],
}

impl Sessions {
    /// Cookies are signed with a key derived from the server's; `admin_hash` is the
    /// hash of the administrator's token.
    pub(super) fn new(server_key: &[u8; 32], admin_hash: &[u8; 32]) -> Self {
        let key = zeroize::Zeroizing::new(secret::mac(server_key, &[LABEL]));
        let mark = secret::mac(&key, &[b"admin", admin_hash]);
        let mut admin = [0; 8];
        admin.copy_from_slice(&mark[..8]);
        Self { key, admin }
    }

    /// The cookie's value for a caller who logged in at `now`.
    pub(super) fn issue(&self, subject: &Subject, now: DateTime<Utc>) -> Option<String> {
        let who = match subject {
            Subject::Admin => format!("a.{}", BASE64URL_NOPAD.encode(&self.admin)),
            Subject::Key(id) => format!("k.{id}"),
            Subject::Token | Subject::Open => return None,
        };
        let body = format!("{who}.{}", (now + LIFETIME).timestamp());
        let mac = secret::mac(&self.key, &[body.as_bytes()]);
        Some(format!("{body}.{}", BASE64URL_NOPAD.encode(&mac)))
    }

    /// Who the cookie is for, unless it is forged, stale or made for another token.
    pub(super) fn check(&self, value: &str, now: DateTime<Utc>) -> Option<Subject> {
        let (body, mac) = value.rsplit_once('.')?;
        let mac = BASE64URL_NOPAD.decode(mac.as_bytes()).ok()?;
        if !secret::same(&mac, &secret::mac(&self.key, &[body.as_bytes()])) {
            return None;
        }
        let mut parts = body.split('.');
        let (kind, who, expiry) = (parts.next()?, parts.next()?, parts.next()?);
        if expiry.parse::<i64>().ok()? <= now.timestamp() {
            return None;
        }
        match kind {
            "a" => {
                let mark = BASE64URL_NOPAD.decode(who.as_bytes()).ok()?;
                secret::same(&mark, &self.admin).then_some(Subject::Admin)
            }
            "k" => Some(Subject::Key(who.to_owned())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_and_cannot_be_changed() {
        let sessions = Sessions::new(&[1; 32], &[2; 32]);
        let now = Utc::now();
        let key = Subject::Key("0123456789ab".to_owned());
        let cookie = sessions.issue(&key, now).unwrap();
        assert_eq!(sessions.check(&cookie, now), Some(key.clone()));
        assert_eq!(sessions.check(&cookie, now + LIFETIME), None);

        let forged = cookie.replacen("0123456789ab", "aaaaaaaaaaaa", 1);
        assert_eq!(sessions.check(&forged, now), None);
        let elsewhere = Sessions::new(&[3; 32], &[2; 32]);
        assert_eq!(elsewhere.check(&cookie, now), None);
        for text in ["", ".", "a.b.c", "k.0123456789ab.99999999999."] {
            assert_eq!(sessions.check(text, now), None, "{text}");
        }
    }

    #[test]
    fn another_admin_token_ends_the_admins_sessions() {
        let now = Utc::now();
        let cookie = Sessions::new(&[1; 32], &[2; 32])
            .issue(&Subject::Admin, now)
            .unwrap();
        assert!(
            Sessions::new(&[1; 32], &[2; 32])
                .check(&cookie, now)
                .is_some()
        );
        assert!(
            Sessions::new(&[1; 32], &[9; 32])
                .check(&cookie, now)
                .is_none()
        );
    }
}
