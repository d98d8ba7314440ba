//! Limits per caller and per address of strangers, and the real address of a
//! request.
//!
//! A request without a caller holds no shared resource: strangers have limits of
//! their own, per address, and those at that limit take nothing from callers,
//! from strangers elsewhere, or from health.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, header};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tower_http::timeout::TimeoutBody;

use super::error::ApiError;
use crate::config::{Limits, Networks};
use crate::http::FrontDoor;
use crate::local_proof;

/// After how many requests idle callers and addresses are removed.
const FORGET_AFTER: usize = 10_000;
/// The most concurrent requests of strangers from one address.
const STRANGERS_AT_ONCE: usize = 128;
/// The header in which proxies name their clients.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The limits on requests.
pub(crate) struct Guard {
    proxies: Networks,
    addresses: Option<Rate>,
    callers: Option<Rate>,
    at_once: usize,
    busy: Arc<Mutex<HashMap<u64, usize>>>,
    strangers: Arc<Mutex<HashMap<u64, usize>>>,
    keys: RandomState,
}

/// A rate limit for each of many callers or addresses, distinguished by a hash.
struct Rate {
    limiter: DefaultKeyedRateLimiter<u64>,
    checked: AtomicUsize,
}

impl Rate {
    fn new(a_second: NonZeroU32) -> Self {
        let burst = a_second.saturating_add(a_second.get());
        Self {
            limiter: RateLimiter::keyed(Quota::per_second(a_second).allow_burst(burst)),
            checked: AtomicUsize::new(0),
        }
    }

    fn check(&self, key: u64) -> Result<(), Duration> {
        if self.checked.fetch_add(1, Ordering::Relaxed) % FORGET_AFTER == FORGET_AFTER - 1 {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(&key)
            .map_err(|later| later.wait_time_from(DefaultClock::default().now()))
    }
}

/// The place of a caller's or address's request, until it is dropped.
pub(crate) struct Slot {
    busy: Arc<Mutex<HashMap<u64, usize>>>,
    whose: u64,
}

impl Slot {
    /// Takes one more place, unless `most` are taken.
    fn take(busy: &Arc<Mutex<HashMap<u64, usize>>>, whose: u64, most: usize) -> Option<Self> {
        let mut counts = lock(busy);
        let count = counts.entry(whose).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Self {
            busy: Arc::clone(busy),
            whose,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut busy = lock(&self.busy);
        if let Some(count) = busy.get_mut(&self.whose) {
            *count -= 1;
            if *count == 0 {
                busy.remove(&self.whose);
            }
        }
    }
}

fn lock(busy: &Mutex<HashMap<u64, usize>>) -> MutexGuard<'_, HashMap<u64, usize>> {
    // Only numbers, which a panic cannot leave half changed.
    busy.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guard {
    pub(crate) fn new(limits: &Limits, proxies: Networks) -> Self {
        Self {
            proxies,
            addresses: limits.rate_per_address.map(Rate::new),
            callers: limits.rate_per_caller.map(Rate::new),
            at_once: limits.concurrency_per_caller,
            busy: Arc::default(),
            strangers: Arc::default(),
            keys: RandomState::new(),
        }
    }

    /// Whether an address is a trusted proxy's.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.proxies.contain(address)
    }

    /// Admits one more request of a caller.
    pub(crate) fn caller(&self, caller: &str) -> Result<Slot, ApiError> {
        let caller = self.keys.hash_one(caller);
        if let Some(rate) = &self.callers {
            rate.check(caller).map_err(limited)?;
        }
        let slot = Slot::take(&self.busy, caller, self.at_once);
        slot.ok_or_else(|| limited(Duration::from_secs(1)))
    }

    /// Admits a request without a caller, unless its address has too many.
    pub(crate) fn stranger(&self, client: Option<IpAddr>) -> Result<Slot, ApiError> {
        let address = self.keys.hash_one(client.map(network_of));
        if let Some(rate) = &self.addresses {
            rate.check(address).map_err(limited)?;
        }
        let slot = Slot::take(&self.strangers, address, STRANGERS_AT_ONCE);
        slot.ok_or_else(|| limited(Duration::from_secs(1)))
    }

    /// Who a request comes from: the other end of the connection, or, if that is a
    /// trusted proxy, its client.
    fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        if !self.proxies.contain(peer.ip()) {
            return peer;
        }
        let named = forwarded(headers);
        // The last proxy wrote the last name. Names before one that none of our proxies
        // wrote could be forged.
        let mut client = peer.ip();
        for name in named.iter().rev() {
            let Some(address) = address(name) else { break };
            client = address;
            if !self.proxies.contain(address) {
                break;
            }
        }
        if client == peer.ip() {
            peer
        } else {
            SocketAddr::new(client, 0)
        }
    }
}

fn limited(wait: Duration) -> ApiError {
    let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    ApiError::RateLimited {
        retry_after: whole.max(1),
    }
}

/// Whether a request is answered to everyone at any time, outside all limits: health checks, and
/// the proof that commands on this machine request. Its body is not awaited.
pub(crate) fn is_unbounded(request: &Request) -> bool {
    matches!(
        request.uri().path(),
        "/healthz" | "/readyz" | local_proof::PATH
    )
}

/// Determines the address of a request from the network, and limits how slow
/// its body may be.
pub(crate) fn receive(door: &FrontDoor, mut request: Request) -> Request {
    let guard = &door.server.guard;
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    if let Some(ConnectInfo(peer)) = peer.copied() {
        let client = guard.client(peer, request.headers());
        if client != peer {
            request.extensions_mut().insert(ConnectInfo(client));
        }
    }
    if request.body().is_end_stream() {
        return request;
    }
    let patience = door.server.body_timeout;
    request.map(|body| Body::new(TimeoutBody::new(patience, body)))
}

/// The address that was determined for a request.
pub(crate) fn client_of(request: &Request) -> Option<IpAddr> {
    let client = request.extensions().get::<ConnectInfo<SocketAddr>>();
    client.map(|ConnectInfo(client)| client.ip())
}

/// What counts as one address: with IPv6 the /64 network that a customer gets.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// The addresses that proxies have added, the client's first: those of `X-Forwarded-For`,
/// or, without it, of `Forwarded` (RFC 7239).
fn forwarded(headers: &HeaderMap) -> Vec<&str> {
    let texts = |name: &str| {
        let values = headers.get_all(name).into_iter();
        let texts = values.map(|value| value.to_str().unwrap_or_default());
        texts.flat_map(|text| text.split(',')).collect::<Vec<_>>()
    };
    if headers.contains_key(FORWARDED_FOR) {
        return texts(FORWARDED_FOR);
    }
    let name = |element: &'_ str| -> Option<usize> {
        let lower = element.to_ascii_lowercase();
        lower.find("for=").map(|at| at + "for=".len())
    };
    texts(header::FORWARDED.as_str())
        .into_iter()
        .map(|element| {
            let rest = name(element).map_or("", |at| &element[at..]);
            rest.split(';').next().unwrap_or_default()
        })
        .collect()
}

/// An address as proxies write it: with or without a port, quotes and brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let parsed = text
        .parse()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    parsed
        .or_else(|_| text.trim_matches(['[', ']']).parse())
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_have_a_bound_for_each_address_that_counts_what_is_under_way() {
        let guard = Guard::new(&Limits::default(), Networks::default());
        let stranger = |address: String| guard.stranger(address.parse().ok());
        // A customer has a network of 64 bits, and so many addresses in it.
        let mut slots: Vec<Slot> = (0..STRANGERS_AT_ONCE)
            .map(|n| stranger(format!("2001:db8::{n:x}")).unwrap())
            .collect();
        let refused = stranger("2001:db8::ffff:1".to_owned()).err();
        assert!(matches!(refused, Some(ApiError::RateLimited { .. })));
        for other in ["2001:db8:0:1::1", "192.0.2.1"] {
            assert!(stranger(other.to_owned()).is_ok(), "{other}");
        }
        assert!(guard.caller("reader").is_ok());
        slots.pop();
        assert!(stranger("2001:db8::1".to_owned()).is_ok());
        drop(slots);
        assert!(lock(&guard.strangers).is_empty(), "nothing is kept of them");
    }
}
