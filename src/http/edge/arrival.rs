//! Who a request is from: determined once, before the request holds anything that others
//! need too, and again after every wait, since a key can be revoked in the meantime.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::Extensions;
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::auth::{self, Claim};
use super::error::ApiError;
use super::facts::Facts;
use super::limits::{self, Slot};
use crate::access::Identity;
use crate::http::FrontDoor;

/// How often a stream checks whether its caller may still have it.
const STILL_THERE: Duration = Duration::from_secs(1);
/// How long a caller's recognition holds: changes of keys and grants become known within
/// a millisecond.
const JUST_NOW: Duration = Duration::from_millis(1);
/// After this time, an answer is given only if its caller may still have it.
const SHORT: Duration = Duration::from_millis(50);
/// A complete answer of at most this many bytes goes to the socket in one write: nothing
/// is held while its client reads.
const AT_ONCE: u64 = 16 * 1024;

/// An accepted request, and who it is from.
pub(crate) struct Arrival {
    door: Arc<FrontDoor>,
    /// The caller's credential, to be checked again after a wait.
    claim: Claim,
    /// None for a stranger.
    identity: Option<Arc<Identity>>,
    /// Why the caller was not recognized, until that is answered.
    refused: Mutex<Option<ApiError>>,
    since: Instant,
}

impl Arrival {
    /// Determines who a request with this claim is from. `slot` is the place that a stranger from
    /// `client` holds already.
    async fn find(
        door: &Arc<FrontDoor>,
        claim: Claim,
        client: Option<IpAddr>,
        slot: &mut Option<Slot>,
        facts: &mut Facts,
    ) -> Result<Arc<Self>, ApiError> {
        if claim.waits_for_issuer(door) {
            // That can take a while, and the caller is a stranger until it has ended.
            *slot = Some(door.server.guard.stranger(client)?);
        }
        let (identity, refused) = match auth::identify(&claim, door, facts).await {
            Ok(identity) => {
                if let Some(identity) = &identity {
                    tracing::Span::current().record("caller", identity.id.as_str());
                    facts.caller = Some(Arc::clone(identity));
                }
                (identity, None)
            }
            Err(error) => (None, Some(error)),
        };
        Ok(Arc::new(Self {
            door: Arc::clone(door),
            claim,
            identity,
            refused: Mutex::new(refused),
            since: Instant::now(),
        }))
    }

    /// The arrival that a request belongs to.
    pub(crate) fn of(extensions: &Extensions) -> Option<Arc<Self>> {
        extensions.get::<Arc<Self>>().cloned()
    }

    /// Who it is from, for operations that need a caller.
    pub(crate) fn identity(&self) -> Result<Arc<Identity>, ApiError> {
        if let Some(identity) = &self.identity {
            return Ok(Arc::clone(identity));
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        Err(refused.take().unwrap_or(ApiError::Unauthenticated))
    }

    /// Refuses to continue for a caller who is no longer who it was: whose key was revoked or
    /// has expired, whose session has ended, or whose roles have changed. To be called
    /// after every wait, before anything is given or done.
    pub(crate) async fn reauthenticate(&self) -> Result<(), ApiError> {
        let Some(then) = &self.identity else {
            return Ok(());
        };
        if self.since.elapsed() < JUST_NOW {
            return Ok(());
        }
        let facts = &mut Facts::default();
        match auth::identify(&self.claim, &self.door, facts).await? {
            Some(now) if now == *then => Ok(()),
            _ => Err(ApiError::CredentialUnknown),
        }
    }
}

/// Refuses to continue after a wait if the caller of a request may no longer do so; see
/// [`Arrival::reauthenticate`].
pub(crate) async fn reauthenticate(arrival: Option<&Arc<Arrival>>) -> Result<(), ApiError> {
    match arrival {
        Some(arrival) => arrival.reauthenticate().await,
        None => Ok(()),
    }
}

/// The places that a request occupies until its answer is sent.
pub(crate) struct OccupiedPlaces {
    /// One of its caller's, or of its address's if it has no caller.
    _slot: Slot,
    /// One of all callers'.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

impl OccupiedPlaces {
    /// Releases the shared place, and keeps the caller's own.
    fn give_back(&self) {
        let mut permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner);
        *permit = None;
    }
}

/// The places of an admitted request.
pub(crate) struct Admitted {
    arrival: Arc<Arrival>,
    place: Option<Arc<OccupiedPlaces>>,
    /// Whether the request only reads.
    reads: bool,
}

impl Admitted {
    /// Admits a request from the network, for its caller or as a stranger's.
    pub(crate) async fn from_outside(
        door: &Arc<FrontDoor>,
        request: &mut Request,
        facts: &mut Facts,
    ) -> Result<Self, ApiError> {
        let client = limits::client_of(request);
        let mut slot = None;
        let arrival = Arrival::find(door, Claim::of(request), client, &mut slot, facts).await?;
        let guard = &door.server.guard;
        let place = match &arrival.identity {
            Some(identity) => {
                drop(slot.take());
                let slot = guard.caller(&identity.id)?;
                let permit = Arc::clone(&door.requests).try_acquire_owned();
                OccupiedPlaces {
                    _slot: slot,
                    permit: Mutex::new(Some(permit.map_err(|_| ApiError::Busy)?)),
                }
            }
            None => OccupiedPlaces {
                _slot: match slot {
                    Some(slot) => slot,
                    None => guard.stranger(client)?,
                },
                permit: Mutex::default(),
            },
        };
        let place = Arc::new(place);
        request.extensions_mut().insert(Arc::clone(&arrival));
        request.extensions_mut().insert(Arc::clone(&place));
        Ok(Self {
            arrival,
            place: Some(place),
            reads: request.method().is_safe(),
        })
    }

    /// Admits a request that this server makes on behalf of an admitted one.
    pub(crate) async fn from_inside(
        door: &Arc<FrontDoor>,
        request: &mut Request,
        facts: &mut Facts,
    ) -> Result<Self, ApiError> {
        let arrival = Arrival::find(door, Claim::of(request), None, &mut None, facts).await?;
        request.extensions_mut().insert(Arc::clone(&arrival));
        Ok(Self {
            arrival,
            place: None,
            reads: request.method().is_safe(),
        })
    }

    /// Whether it has a caller.
    pub(crate) fn is_known(&self) -> bool {
        self.arrival.identity.is_some()
    }

    /// Must be called before the rest of a body is awaited.
    pub(crate) fn answered(&self, response: &Response) {
        if response.body().size_hint().exact().is_some()
            && let Some(place) = &self.place
        {
            place.give_back();
        }
    }

    /// Whether the answer may still be given, for requests that only read.
    pub(crate) async fn if_still_permitted(&self, response: Response) -> Response {
        if !self.reads || self.arrival.since.elapsed() < SHORT || response.status().as_u16() >= 400
        {
            return response;
        }
        match self.arrival.reauthenticate().await {
            Ok(()) => response,
            Err(error) => error.into_response(),
        }
    }

    /// The answer, which keeps the request's place until it is sent, and ends early if it
    /// is a stream and its caller may no longer have it.
    pub(crate) fn holding(self, response: Response) -> Response {
        let Self { arrival, place, .. } = self;
        let size = response.body().size_hint().exact();
        if size.is_some_and(|size| size <= AT_ONCE) {
            return response;
        }
        let streams = size.is_none();
        response.map(|body| {
            let body = match streams && arrival.identity.is_some() {
                true => Body::from_stream(while_known(arrival, body)),
                false => body,
            };
            Body::new(Held { body, place })
        })
    }
}

/// A body that ends early if its caller may no longer have it.
fn while_known(
    arrival: Arc<Arrival>,
    body: Body,
) -> impl stream::Stream<Item = Result<Bytes, axum::Error>> {
    let parts = body.into_data_stream();
    stream::unfold((parts, arrival), async |(mut parts, arrival)| {
        loop {
            let part = tokio::time::timeout(STILL_THERE, parts.next()).await;
            arrival.reauthenticate().await.ok()?;
            if let Ok(part) = part {
                return Some((part?, (parts, arrival)));
            }
        }
    })
}

/// A body that keeps a request's place until it is sent.
struct Held {
    body: Body,
    place: Option<Arc<OccupiedPlaces>>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let over = matches!(frame, Poll::Ready(None | Some(Err(_))));
        if over || self.body.is_end_stream() {
            self.place = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Shows work that outlives its request whether anyone waits for it.
#[derive(Clone)]
pub(crate) struct Gone(CancellationToken);

impl Gone {
    /// Of the request with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get::<Self>().cloned()
    }

    /// Runs work that is useless once nobody waits for it: it is canceled
    /// when the client hangs up or the request's time has passed.
    pub(crate) async fn unless<T>(&self, work: impl Future<Output = T>) -> Result<T, ApiError> {
        tokio::select! {
            done = work => Ok(done),
            () = self.0.cancelled() => Err(ApiError::Timeout),
        }
    }
}

/// Must be kept while a request's answer is awaited. None for a request that only
/// reads: its work ends with it.
pub(crate) fn waits(request: &mut Request) -> Option<DropGuard> {
    if request.method().is_safe() {
        return None;
    }
    let gone = CancellationToken::new();
    request.extensions_mut().insert(Gone(gone.clone()));
    Some(gone.drop_guard())
}

/// Keeps a request's place while work continues for it, even when nobody waits
/// for the answer any more.
pub(crate) fn place(extensions: &Extensions) -> Option<Arc<OccupiedPlaces>> {
    extensions.get::<Arc<OccupiedPlaces>>().cloned()
}
