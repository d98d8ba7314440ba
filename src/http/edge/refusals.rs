//! Logs what strangers try: who was refused, from where and with which key, at the
//! default level. Many attempts cannot flood the log.
//!
//! Wrong credentials are counted separately: someone who guesses cannot hide that behind
//! other refused requests.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio_util::sync::CancellationToken;

use super::limits::network_of;

/// For how long refusals are counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// How many of one address have lines of their own in that time.
const LINES: u32 = 5;
/// The same for wrong credentials.
const WRONG_LINES: u32 = 20;
/// How many of those are about the same key: trying one again and again leaves lines for
/// others.
const LINES_OF_KEY: u32 = 5;
/// For how many addresses that is kept; those of others are counted together.
const ADDRESSES: usize = 100;

/// One request that was refused.
pub(crate) struct Refusal<'a> {
    pub(crate) status: StatusCode,
    pub(crate) from: Option<IpAddr>,
    /// The pattern that its path matches, never the path: anything can be in it.
    pub(crate) route: &'a str,
    /// The caller, or the public part of the presented key.
    pub(crate) who: Option<&'a str>,
    /// The kind of unknown credential that it presented, if any.
    pub(crate) wrong: Option<WrongCredential>,
}

/// A wrong credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrongCredential {
    /// A token or key.
    Key,
    /// A session's cookie.
    Session,
    /// The code of a link that logs in.
    LoginCode,
}

impl WrongCredential {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "token or key",
            Self::Session => "session",
            Self::LoginCode => "login code",
        }
    }
}

/// The refusals of the present window.
#[derive(Default)]
pub(crate) struct Refusals {
    window: Mutex<Window>,
}

#[derive(Default)]
struct Window {
    /// Those with a wrong credential.
    wrong: Counts,
    /// All others.
    plain: Counts,
}

/// What was refused, by address.
#[derive(Default)]
struct Counts {
    seen: HashMap<Option<IpAddr>, Seen>,
    /// Those of addresses beyond [`ADDRESSES`].
    others: u64,
}

#[derive(Default)]
struct Seen {
    lines: u32,
    /// How many lines were about each key, where that is counted.
    by_key: HashMap<String, u32>,
    more: u64,
    last: &'static str,
}

impl Counts {
    /// Whether a refusal has a line of its own; otherwise it is counted.
    fn lists(&mut self, refusal: &Refusal<'_>, problem: &'static str) -> bool {
        let from = refusal.from.map(network_of);
        if self.seen.len() >= ADDRESSES && !self.seen.contains_key(&from) {
            self.others += 1;
            return false;
        }
        let seen = self.seen.entry(from).or_default();
        let listed = match refusal.wrong {
            None => seen.lines < LINES,
            Some(_) if seen.lines < WRONG_LINES => {
                let key = refusal.who.unwrap_or_default();
                let of_key = seen.by_key.entry(key.to_owned()).or_default();
                *of_key += 1;
                *of_key <= LINES_OF_KEY
            }
            Some(_) => false,
        };
        if listed {
            seen.lines += 1;
        } else {
            seen.more += 1;
            seen.last = problem;
        }
        listed
    }

    /// Logs what has no lines of its own: `more` for each address, and `others` for addresses
    /// that are not tracked.
    fn tell(self, more: &str, others: &str) {
        for (from, seen) in self.seen {
            if seen.more > 0 {
                let (requests, from, problem) = (seen.more, shown(from), seen.last);
                tracing::warn!(requests, from, problem, "{more}");
            }
        }
        if self.others > 0 {
            tracing::warn!(requests = self.others, "{others}");
        }
    }
}

impl Refusals {
    /// Logs a refusal and the code of its problem, or counts it if there were many.
    pub(crate) fn note(&self, refusal: &Refusal<'_>, problem: &'static str) {
        let mut window = self.window();
        let counts = match refusal.wrong {
            Some(_) => &mut window.wrong,
            None => &mut window.plain,
        };
        let listed = counts.lists(refusal, problem);
        drop(window);
        if !listed {
            return;
        }
        let (status, from) = (refusal.status.as_u16(), shown(refusal.from));
        let (route, caller) = (refusal.route, refusal.who.unwrap_or("nobody"));
        match refusal.wrong.map(WrongCredential::as_str) {
            None => {
                tracing::info!(status, from, route, caller, problem, "refused a request");
            }
            Some(credential) if status >= 400 => tracing::info!(
                status,
                from,
                route,
                caller,
                problem,
                credential,
                "refused a request with a wrong credential"
            ),
            Some(credential) => tracing::info!(
                status,
                from,
                route,
                caller,
                credential,
                "a request that needs no credential had a wrong credential"
            ),
        }
    }

    /// Logs once a minute how many were refused without a line of their own, until `stop`.
    pub(crate) async fn tell_until(&self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(WINDOW) => self.tell(),
                () = stop.cancelled() => return self.tell(),
            }
        }
    }

    fn tell(&self) {
        let Window { wrong, plain } = std::mem::take(&mut *self.window());
        wrong.tell(
            "refused more requests with wrong credentials within a minute",
            "refused requests with wrong credentials from many other addresses within a minute",
        );
        plain.tell(
            "refused more requests within a minute",
            "refused requests from many other addresses within a minute",
        );
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        // Only counts, which a panic cannot leave half changed.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "unknown".to_owned(), |address| address.to_string())
}

/// The public part of a key, if a credential is one: `cs_<id>_` and the secret part.
pub(crate) fn public_part(credential: &str) -> Option<&str> {
    let (id, _) = credential.strip_prefix("cs_")?.split_once('_')?;
    let fits = id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_part_of_a_key_is_logged() {
        assert_eq!(public_part("cs_0123456789ab_0011"), Some("0123456789ab"));
        for other in [
            "cs_admin_secret",
            "JBSWY3DPEHPK3PXP",
            "cs_JBSWY3DPEHPK_x",
            "ey.a.b",
        ] {
            assert_eq!(public_part(other), None, "{other}");
        }
    }

    /// The counts of the present window, of wrong credentials or of all others.
    fn counts(refusals: &Refusals, wrong: bool) -> (usize, u64, u32, u64) {
        let window = refusals.window();
        let counts = if wrong { &window.wrong } else { &window.plain };
        let first = &counts.seen[&Some(IpAddr::from([10, 0, 0, 1]))];
        (counts.seen.len(), counts.others, first.lines, first.more)
    }

    fn note(refusals: &Refusals, last: u16, who: Option<&str>, wrong: Option<WrongCredential>) {
        let from = Some(IpAddr::from([10, 0, (last >> 8) as u8, last as u8]));
        let refusal = Refusal {
            status: StatusCode::UNAUTHORIZED,
            from,
            route: "/api/accounts",
            who,
            wrong,
        };
        refusals.note(&refusal, "unauthenticated");
    }

    #[test]
    fn many_refusals_are_counted_and_others_are_still_logged() {
        let refusals = Refusals::default();
        (0..1_000).for_each(|_| note(&refusals, 1, None, None));
        (0..1_000).for_each(|last| note(&refusals, last, None, None));
        let (addresses, others, lines, more) = counts(&refusals, false);
        assert_eq!(addresses, ADDRESSES);
        assert_eq!(others, 1_000 - ADDRESSES as u64);
        assert_eq!((lines, more), (LINES, 1_001 - u64::from(LINES)));
    }

    #[test]
    fn neither_other_refusals_nor_one_repeated_key_hide_wrong_credentials() {
        let refusals = Refusals::default();
        let wrong = Some(WrongCredential::Key);
        (0..1_000).for_each(|last| note(&refusals, last, None, None));
        (0..1_000).for_each(|_| note(&refusals, 1, None, None));
        // Of one key a few lines, and of others theirs.
        (0..100).for_each(|_| note(&refusals, 1, Some("0123456789ab"), wrong));
        let (_, others, lines, more) = counts(&refusals, true);
        assert_eq!((others, lines), (0, LINES_OF_KEY));
        assert_eq!(more, 100 - u64::from(LINES_OF_KEY));
        note(&refusals, 1, Some("ba9876543210"), wrong);
        assert_eq!(counts(&refusals, true).2, LINES_OF_KEY + 1);
        // All of them are bounded, and so is what is kept of them.
        for key in 0..1_000 {
            note(&refusals, 1, Some(&key.to_string()), wrong);
        }
        let (_, _, lines, more) = counts(&refusals, true);
        assert_eq!(lines, WRONG_LINES);
        assert_eq!(u64::from(lines) + more, 1_101);
        let window = refusals.window();
        for seen in window.wrong.seen.values() {
            assert!(seen.by_key.len() <= WRONG_LINES as usize);
        }
    }
}
