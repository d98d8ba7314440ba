//! What strangers try is in the log: who was refused, from where and with which key, at the
//! level that is shown unless another is asked for. Whoever tries a lot cannot fill it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio_util::sync::CancellationToken;

use super::limits::network_of;

/// For how long refusals are counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// How many of one address have a line of their own in that time.
const LINES: u32 = 5;
/// For how many addresses that is kept; those of others are counted together.
const ADDRESSES: usize = 100;

/// One request that was refused.
pub(super) struct Refusal<'a> {
    pub(super) status: StatusCode,
    pub(super) from: Option<IpAddr>,
    /// The pattern that its path matches, never the path: anything can be in it.
    pub(super) route: &'a str,
    /// The caller, or the public part of the key that was tried.
    pub(super) who: Option<&'a str>,
}

/// The refusals of the present window.
#[derive(Default)]
pub(super) struct Refusals {
    window: Mutex<Window>,
}

#[derive(Default)]
struct Window {
    seen: HashMap<Option<IpAddr>, Seen>,
    /// Those of addresses beyond [`ADDRESSES`].
    others: u64,
}

#[derive(Default)]
struct Seen {
    lines: u32,
    more: u64,
    last: &'static str,
}

impl Refusals {
    /// Logs a refusal and the code of its problem, or counts it if there were many.
    pub(super) fn note(&self, refusal: &Refusal<'_>, reason: &'static str) {
        let mut window = self.window();
        let from = refusal.from.map(network_of);
        if window.seen.len() >= ADDRESSES && !window.seen.contains_key(&from) {
            window.others += 1;
            return;
        }
        let seen = window.seen.entry(from).or_default();
        if seen.lines >= LINES {
            seen.more += 1;
            seen.last = reason;
            return;
        }
        seen.lines += 1;
        drop(window);
        tracing::info!(
            status = refusal.status.as_u16(),
            from = shown(refusal.from),
            route = refusal.route,
            who = refusal.who.unwrap_or("nobody"),
            reason,
            "refused a request"
        );
    }

    /// Tells once a minute how many were refused without a line of their own, until `stop`.
    pub(super) async fn tell_until(&self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(WINDOW) => self.tell(),
                () = stop.cancelled() => return self.tell(),
            }
        }
    }

    fn tell(&self) {
        let window = std::mem::take(&mut *self.window());
        for (from, seen) in window.seen {
            if seen.more > 0 {
                tracing::warn!(
                    requests = seen.more,
                    from = shown(from),
                    reason = seen.last,
                    "refused more requests within a minute"
                );
            }
        }
        if window.others > 0 {
            tracing::warn!(
                requests = window.others,
                "refused requests from many other addresses within a minute"
            );
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        // Counts, none of which a panic leaves half changed.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "unknown".to_owned(), |address| address.to_string())
}

/// The public part of a key, if a credential is one: `cs_<id>_` and what nobody may see.
pub(super) fn public_part(credential: &str) -> Option<&str> {
    let (id, _) = credential.strip_prefix("cs_")?.split_once('_')?;
    let fits = id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_part_of_a_key_is_told() {
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

    #[test]
    fn many_refusals_are_counted_and_others_are_still_told() {
        let refusals = Refusals::default();
        let note = |last: u16| {
            let from = Some(IpAddr::from([10, 0, (last >> 8) as u8, last as u8]));
            let refusal = Refusal {
                status: StatusCode::UNAUTHORIZED,
                from,
                route: "/api/accounts",
                who: None,
            };
            refusals.note(&refusal, "unauthenticated");
        };
        (0..1_000).for_each(|_| note(1));
        (0..1_000).for_each(note);
        let window = refusals.window();
        assert_eq!(window.seen.len(), ADDRESSES);
        assert_eq!(window.others, 1_000 - ADDRESSES as u64);
        let first = &window.seen[&Some(IpAddr::from([10, 0, 0, 1]))];
        assert_eq!((first.lines, first.more), (LINES, 1_001 - u64::from(LINES)));
    }
}
