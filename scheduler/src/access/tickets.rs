//! How a browser logs in to the dashboard without a token: someone who has the
//! token creates a ticket, which the dashboard soon exchanges, once, for a session of its own.
//!
//! A ticket is signed under a key that is derived from the token, so its issuer may
//! be another process. Only the dashboard's process knows that it was used; one from
//! before that process started is invalid, so a restart revives none.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::TryRng as _;
use rand::rngs::SysRng;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::tokens::{Known, digest};

/// How long a ticket is valid.
pub const TICKET_LIFE: Duration = Duration::from_secs(60);
/// How far the clock of a ticket's issuer may be ahead.
const AHEAD: Duration = Duration::from_secs(5);
/// How long a session lasts.
pub(crate) const SESSION_LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// The most concurrent sessions; a further one ends the oldest.
const SESSIONS: usize = 64;
/// The most tickets that may be used within the lifetime of one.
const USED: usize = 1_024;
/// The form of a ticket.
const VERSION: &str = "t1";
/// The purpose for which the key of tickets is derived.
const PURPOSE: &[u8] = b"durabletask dashboard ticket v1";

/// The system has no random numbers to give.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system's random number source failed")]
pub struct TicketError;

/// Where a browser logs in, once and within [`TICKET_LIFE`], to a dashboard that accepts
/// tickets under `token`: a path with a query. `to` is what it then shows, such as
/// `/hubs/default`.
///
/// # Errors
/// [`TicketError`] where the system has no random numbers.
pub fn login_path(token: &str, now: SystemTime, to: &str) -> Result<String, TicketError> {
    let nonce = BASE64URL_NOPAD.encode(&random::<16>()?);
    let claims = format!("{VERSION}.{}.{nonce}", millis(now));
    let mac = BASE64URL_NOPAD.encode(&mac(&key_of(token), claims.as_bytes()));
    let to: String = to
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect();
    Ok(format!("/login?ticket={claims}.{mac}&to={to}"))
}

/// The key of a token's tickets.
pub(super) fn key_of(token: &str) -> [u8; 32] {
    // Its length is fixed, so it is never refused as a key.
    mac(&digest(token), PURPOSE)
}

/// Why a ticket is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TicketRefused {
    #[error("This link is not for this dashboard.")]
    Wrong,
    #[error("This link has expired: it is valid for a minute.")]
    Late,
    #[error("This link was used already: it is valid once.")]
    Used,
    #[error("Too many logins within a minute. Try again in a minute.")]
    TooMany,
    #[error("The system's random number source failed. Try again.")]
    NoRandom,
}

/// The sessions and used tickets of a dashboard.
pub(crate) struct Logins {
    /// How people get a ticket, in a sentence or two.
    pub(super) how: String,
    state: Mutex<State>,
}

struct State {
    /// The earliest creation time of a valid ticket, in milliseconds since 1970.
    since: u64,
    /// Used tickets, until they would expire.
    used: HashMap<[u8; 16], u64>,
    /// Open sessions, under the digests of their secrets.
    sessions: HashMap<[u8; 32], Session>,
}

struct Session {
    opened: Instant,
    /// The digest of the ticket's token.
    token: [u8; 32],
}

struct Ticket {
    made: u64,
    nonce: [u8; 16],
    /// The digest of the token that it was created with.
    token: [u8; 32],
}

impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logins").finish_non_exhaustive()
    }
}

impl Logins {
    pub(super) fn new(how: &str, now: SystemTime) -> Self {
        Self {
            how: how.to_owned(),
            state: Mutex::new(State {
                since: millis(now),
                used: HashMap::new(),
                sessions: HashMap::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Two maps, which a panic cannot leave half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts a ticket, once; returns the secret of a new session.
    pub(super) fn redeem(
        &self,
        ticket: &str,
        known: &[Known],
        now: SystemTime,
    ) -> Result<String, TicketRefused> {
        let ticket = Ticket::read(ticket, known).ok_or(TicketRefused::Wrong)?;
        let secret = random::<32>().map_err(|_| TicketRefused::NoRandom)?;
        let secret = BASE64URL_NOPAD.encode(&secret);
        let now = millis(now);
        let mut state = self.state();
        if now < state.since {
            // The clock was set back, and new tickets are created by it.
            state.since = now.saturating_sub(length(TICKET_LIFE));
        }
        let ends = ticket.made.saturating_add(length(TICKET_LIFE));
        if ticket.made < state.since || ends <= now {
            return Err(TicketRefused::Late);
        }
        if ticket.made > now.saturating_add(length(AHEAD)) {
            return Err(TicketRefused::Wrong);
        }
        state.used.retain(|_, ends| *ends > now);
        if state.used.contains_key(&ticket.nonce) {
            return Err(TicketRefused::Used);
        }
        if state.used.len() >= USED {
            return Err(TicketRefused::TooMany);
        }
        state.used.insert(ticket.nonce, ends);
        state.open(digest(&secret), ticket.token);
        Ok(secret)
    }

    /// Whether a session is open, and its token is still valid.
    pub(super) fn know(&self, secret: &str, known: &[Known]) -> bool {
        let state = self.state();
        state.sessions.get(&digest(secret)).is_some_and(|session| {
            session.opened.elapsed() < SESSION_LIFE
                && known.iter().any(|each| each.digest == session.token)
        })
    }

    /// Ends a session.
    pub(super) fn end(&self, secret: &str) {
        self.state().sessions.remove(&digest(secret));
    }
}

impl State {
    fn open(&mut self, secret: [u8; 32], token: [u8; 32]) {
        self.sessions
            .retain(|_, session| session.opened.elapsed() < SESSION_LIFE);
        if self.sessions.len() >= SESSIONS {
            let oldest = self.sessions.iter().min_by_key(|(_, s)| s.opened);
            if let Some(oldest) = oldest.map(|(secret, _)| *secret) {
                tracing::info!("too many dashboard sessions; ending the oldest");
                self.sessions.remove(&oldest);
            }
        }
        let opened = Instant::now();
        self.sessions.insert(secret, Session { opened, token });
    }
}

impl Ticket {
    /// A ticket's content, if it was created with one of these tokens.
    fn read(text: &str, known: &[Known]) -> Option<Self> {
        let (claims, signature) = text.rsplit_once('.')?;
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?;
        // All are tried, so that the time does not reveal which one it was.
        let token = known.iter().fold(None, |found, each| {
            let expected = mac(&each.tickets, claims.as_bytes());
            match bool::from(expected.as_slice().ct_eq(&signature)) {
                true => Some(each.digest),
                false => found,
            }
        })?;
        let mut parts = claims.split('.');
        let (version, made, nonce) = (parts.next()?, parts.next()?, parts.next()?);
        if version != VERSION || parts.next().is_some() {
            return None;
        }
        let nonce = BASE64URL_NOPAD.decode(nonce.as_bytes()).ok()?;
        Some(Self {
            made: made.parse().ok()?,
            nonce: nonce.try_into().ok()?,
            token,
        })
    }
}

fn mac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of every length; a fixed array can therefore not be refused.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn random<const N: usize>() -> Result<[u8; N], TicketError> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| TicketError)?;
    Ok(bytes)
}

fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, length)
}

fn length(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn known(tokens: &[&str]) -> Vec<Known> {
        tokens.iter().map(|token| Known::of(token)).collect()
    }

    fn ticket(token: &str, now: SystemTime) -> String {
        let path = login_path(token, now, "/hubs/a b").unwrap();
        let (_, query) = path.split_once("?ticket=").unwrap();
        let (ticket, to) = query.split_once("&to=").unwrap();
        assert_eq!(to, "%2Fhubs%2Fa%20b");
        ticket.to_owned()
    }

    #[test]
    fn a_ticket_opens_one_session_and_only_soon() {
        let start = SystemTime::now();
        let known = known(&[TOKEN]);
        let logins = Logins::new("", start);
        let later = |seconds| start + Duration::from_secs(seconds);
        let first = ticket(TOKEN, later(1));
        let session = logins.redeem(&first, &known, later(2)).unwrap();
        assert!(logins.know(&session, &known));
        assert_eq!(
            logins.redeem(&first, &known, later(3)),
            Err(TicketRefused::Used)
        );
        let second = ticket(TOKEN, later(1));
        assert_eq!(
            logins.redeem(&second, &known, later(61)),
            Err(TicketRefused::Late)
        );
        let early = ticket(TOKEN, later(30));
        assert_eq!(
            logins.redeem(&early, &known, later(1)),
            Err(TicketRefused::Wrong)
        );
        // Of a process before this one, where it may have been used.
        let old = ticket(TOKEN, start - Duration::from_secs(1));
        assert_eq!(
            logins.redeem(&old, &known, later(2)),
            Err(TicketRefused::Late)
        );
        logins.end(&session);
        assert!(!logins.know(&session, &known));
    }

    #[test]
    fn a_ticket_without_a_tokens_signature_is_refused() {
        let now = SystemTime::now();
        let logins = Logins::new("", now);
        let known_one = known(&[TOKEN]);
        let other = TOKEN.replace('0', "1");
        let good = ticket(TOKEN, now);
        let (claims, mac) = good.rsplit_once('.').unwrap();
        for wrong in [
            String::new(),
            ticket(&other, now),
            claims.to_owned(),
            format!("{claims}."),
            format!("{claims}1.{mac}"),
            format!("{good}A"),
            good.replace(VERSION, "t2"),
        ] {
            assert_eq!(
                logins.redeem(&wrong, &known_one, now),
                Err(TicketRefused::Wrong),
                "{wrong}"
            );
        }
        // A session ends with its token.
        let both = known(&[&other, TOKEN]);
        let session = logins.redeem(&good, &both, now).unwrap();
        assert!(logins.know(&session, &known_one));
        assert!(!logins.know(&session, &known(&[&other])));
        assert!(!logins.know("", &both));
    }

    #[test]
    fn sessions_and_used_tickets_are_bounded() {
        let now = SystemTime::now();
        let logins = Logins::new("", now);
        let known = known(&[TOKEN]);
        let open = || logins.redeem(&ticket(TOKEN, now), &known, now);
        let first = open().unwrap();
        let rest: Vec<String> = (0..SESSIONS).map(|_| open().unwrap()).collect();
        assert!(!logins.know(&first, &known));
        assert!(rest.iter().all(|session| logins.know(session, &known)));
        for _ in 0..USED - SESSIONS - 1 {
            open().unwrap();
        }
        assert_eq!(open(), Err(TicketRefused::TooMany));
    }

    #[test]
    fn a_clock_that_is_set_back_locks_no_one_out() {
        let start = SystemTime::now();
        let logins = Logins::new("", start);
        let before = start - Duration::from_secs(3600);
        let ticket = ticket(TOKEN, before);
        let soon = before + Duration::from_secs(2);
        assert!(logins.redeem(&ticket, &known(&[TOKEN]), soon).is_ok());
        assert_eq!(
            logins.redeem(&ticket, &known(&[TOKEN]), soon),
            Err(TicketRefused::Used)
        );
    }
}
