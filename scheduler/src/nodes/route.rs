//! From a call to the node that owns its task hub: here, or one hop away.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::request::Parts;
use axum::http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;

use super::answer::{Ending, Forwarded, guarded};
use super::connect::{causes, nothing, uri};
use super::meters::{Held, Meters, OpenCall, Outcome};
use super::owners::{Fingerprint, Node, Owner, Owners};
use super::pins::is_published;
use super::pool::Pool;
use super::port::PeerPort;
use super::protocol::{
    Kind, TASK_HUB, mark_forwarded, shorten_deadline, strip_peer_headers, unavailable, was_refused,
};
use super::replay::Replay;
use crate::access::{Access, Pass};

/// How long a call may go on after its task hub has moved, or its node begins to stop: what was about to
/// be answered, or has begun to be, still is. Streams of work and of results end at once.
const GRACE: Duration = Duration::from_secs(1);
/// The pauses before a node is tried again that refused a call or could not be reached.
const AFTER_REFUSAL: Duration = Duration::from_millis(50);
const AFTER_FAILURE: Duration = Duration::from_millis(250);
/// The least and the longest pause until the owner of a task hub is looked up again without a notice.
const LOOK_AGAIN: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(1);
/// The most calls that wait for an owner at once; a further one is refused.
const HELD: usize = 4096;

/// A node among others. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Nodes(Arc<Inner>);

struct Inner {
    port: PeerPort,
    owners: Arc<dyn Owners>,
    pool: Pool,
    access: Access,
    held: Semaphore,
    meters: Arc<Meters>,
}

/// A call on its way.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) kind: Kind,
    pub(super) hub: String,
    /// The certificate of the node that sent it, if one did and it must be a published one.
    pub(super) from: Option<Fingerprint>,
    /// Ends what is open when the node stops.
    pub(super) stop: CancellationToken,
}

/// Who serves a call.
enum At<'a> {
    Here,
    Node(&'a Node),
}

/// What became of an attempt.
enum Tried {
    Answered(Response<Body>),
    /// Nothing has happened, or nothing that may not happen twice: look for the owner again.
    Again(Again),
}

/// Why a call is not answered yet.
struct Again {
    /// When to look again.
    pause: Duration,
    /// For the caller, if there is no time left.
    reason: String,
    /// Whether the call was open until now, perhaps for long; its patience begins now then.
    was_open: bool,
}

impl Again {
    const fn after(pause: Duration, reason: String) -> Tried {
        Tried::Again(Self {
            pause,
            reason,
            was_open: false,
        })
    }

    const fn reopened(pause: Duration, reason: String) -> Tried {
        Tried::Again(Self {
            pause,
            reason,
            was_open: true,
        })
    }
}

impl Nodes {
    pub(crate) fn new(
        port: PeerPort,
        owners: Arc<dyn Owners>,
        access: Access,
        keepalive: Duration,
    ) -> Self {
        let meters: Arc<Meters> = Arc::default();
        let pool = Pool::new(
            port.clone(),
            Arc::clone(&owners),
            keepalive,
            Arc::clone(&meters),
        );
        Self(Arc::new(Inner {
            port,
            owners,
            pool,
            access,
            held: Semaphore::new(HELD),
            meters,
        }))
    }

    pub(crate) fn meters(&self) -> &Arc<Meters> {
        &self.0.meters
    }

    pub(crate) fn port(&self) -> &PeerPort {
        &self.0.port
    }

    pub(crate) fn owners(&self) -> &Arc<dyn Owners> {
        &self.0.owners
    }

    /// The nodes besides this one.
    pub(crate) fn others(&self) -> Vec<Node> {
        let nodes = self.0.owners.nodes();
        let id = self.0.port.id();
        nodes
            .iter()
            .filter(|node| *node.id != *id)
            .cloned()
            .collect()
    }

    /// Whether this node answers for a task hub; for one that is not known, it finds out.
    pub(crate) fn serves(&self, hub: &str) -> bool {
        matches!(self.0.owners.owner(hub), Owner::Here | Owner::NoSuchHub)
    }

    /// Returns once there is a connection to the node that owns all task hubs, or says why not.
    pub(crate) async fn reach_owner(&self) -> Result<(), String> {
        let Owner::Node(node) = self.0.owners.owner("") else {
            return Ok(());
        };
        match self.0.pool.stream(&node).await {
            Ok(_) => Ok(()),
            Err(error) => Err(format!(
                "the node {node} owns the task hubs and cannot be reached from here: {error}"
            )),
        }
    }

    /// Serves a caller's call where its task hub is. While that has no owner, or not one that can be
    /// reached, the call waits.
    pub(super) async fn route<S, F>(
        &self,
        call: Call,
        request: Request<Body>,
        mut here: S,
    ) -> Response<Body>
    where
        S: FnMut(Request<Body>) -> F,
        F: Future<Output = Response<Body>>,
    {
        let arrived = Instant::now();
        let (mut parts, body) = request.into_parts();
        strip_peer_headers(&mut parts.headers);
        let body = Replay::new(body);
        let mut changed = self.0.owners.changed();
        let mut trouble: Option<Instant> = None;
        loop {
            changed.mark_unchanged();
            let begun = Instant::now();
            let tried = match self.0.owners.owner(&call.hub) {
                Owner::Here | Owner::NoSuchHub => {
                    let never = CancellationToken::new();
                    let body = Body::new(body.attempt(never.clone(), never));
                    let request = Request::from_parts(parts.clone(), body);
                    let response = self.here(&call, here(request)).await;
                    if was_refused(response.headers()) {
                        let reason =
                            format!("the task hub {:?} is moving to another node", call.hub);
                        Again::reopened(AFTER_REFUSAL, reason)
                    } else {
                        Tried::Answered(response)
                    }
                }
                Owner::Node(node) => self.forward(&call, &node, &parts, &body, arrived).await,
                Owner::Nobody { retry_after } => {
                    let reason = format!("no node owns the task hub {:?} at the moment", call.hub);
                    Again::after(retry_after, reason)
                }
            };
            let Again {
                pause,
                reason,
                was_open,
            } = match tried {
                Tried::Answered(response) => {
                    body.answered();
                    return response;
                }
                Tried::Again(again) => again,
            };
            let patience = self.0.port.patience();
            // A call that was open for longer than that has all of it again.
            let since = match trouble {
                Some(since) if !was_open || begun.elapsed() < patience => since,
                None if !was_open => begun,
                _ => Instant::now(),
            };
            trouble = Some(since);
            let gives_up = since + patience;
            let retry = format!("{reason}; retry");
            if !body.is_whole() || Instant::now() >= gives_up || call.stop.is_cancelled() {
                return call.kind.unavailable(&retry);
            }
            let Ok(_held) = self.0.held.try_acquire() else {
                let busy = format!("{reason}, and {HELD} calls wait already; retry");
                return call.kind.unavailable(&busy);
            };
            let _counted = Held::begin(&self.0.meters);
            let pause = pause.clamp(*LOOK_AGAIN.start(), *LOOK_AGAIN.end());
            tokio::select! {
                () = next_change(&mut changed) => {}
                () = tokio::time::sleep(pause) => {}
                () = call.stop.cancelled() => {}
            }
        }
    }

    /// Serves a call that arrived from another node: here, or not at all.
    pub(super) async fn receive<F>(&self, call: Call, serve: impl FnOnce() -> F) -> Response<Body>
    where
        F: Future<Output = Response<Body>>,
    {
        match self.0.owners.owner(&call.hub) {
            Owner::Here => self.here(&call, serve()).await,
            _ => call.kind.not_owned(&call.hub),
        }
    }

    /// Serves a call until its task hub moves.
    async fn here(
        &self,
        call: &Call,
        serving: impl Future<Output = Response<Body>>,
    ) -> Response<Body> {
        let mut serving = pin!(serving);
        let late = async {
            self.moved(call, At::Here).await;
            tokio::time::sleep(GRACE).await;
        };
        let response = tokio::select! {
            biased;
            response = &mut serving => response,
            () = late => return match call.kind.repeatable() {
                true => call.kind.not_owned(&call.hub),
                false => call.kind.unavailable(&moved_text(&call.hub)),
            },
        };
        let (nodes, moving) = (self.clone(), call.clone());
        let ending: Ending = Box::pin(async move {
            nodes.moved(&moving, At::Here).await;
            Self::let_finish(moving.kind).await;
            (Outcome::Moved, unavailable(&moved_text(&moving.hub)))
        });
        guarded(response, call.kind, ending, None)
    }

    /// Waits until an answer that has begun has had the time to end.
    async fn let_finish(kind: Kind) {
        if !kind.lasts() {
            tokio::time::sleep(GRACE).await;
        }
    }

    /// Returns once the call's task hub is elsewhere, or the node that sent the call is none any more.
    async fn moved(&self, call: &Call, at: At<'_>) {
        let owners = &self.0.owners;
        let mut changed: watch::Receiver<()> = owners.changed();
        loop {
            changed.mark_unchanged();
            let stayed = match (owners.owner(&call.hub), &at) {
                // The node that served it tells its callers that it is deleted.
                (Owner::NoSuchHub, _) | (Owner::Here, At::Here) => true,
                (Owner::Node(now), At::Node(node)) => now.id == node.id,
                _ => false,
            };
            let sent_by_node = call
                .from
                .is_none_or(|certificate| is_published(owners.as_ref(), certificate));
            if !stayed || !sent_by_node {
                return;
            }
            next_change(&mut changed).await;
        }
    }

    async fn forward(
        &self,
        call: &Call,
        node: &Node,
        parts: &Parts,
        body: &Replay,
        arrived: Instant,
    ) -> Tried {
        let meters = &self.0.meters;
        let mut open = OpenCall::begin(meters);
        let mut stream = match self.0.pool.stream(node).await {
            Ok(stream) => stream,
            Err(error) => {
                open.end(Outcome::Unreachable);
                let reason = format!(
                    "the task hub {:?} is at node {node}, which cannot be reached from here: {error}",
                    call.hub
                );
                return Again::after(AFTER_FAILURE, reason);
            }
        };
        let over = CancellationToken::new();
        let Some(request) = self.request(call, node, parts, arrived) else {
            open.end(Outcome::Unreachable);
            let reason = format!("the address of node {node} cannot be called");
            return Again::after(AFTER_FAILURE, reason);
        };
        let last = match call.kind.streams() {
            true => call.stop.clone(),
            false => CancellationToken::new(),
        };
        let request = request.map(|()| body.attempt(over.clone(), last));
        let pass = parts.extensions.get::<Pass>().copied();
        let sent = Instant::now();
        let over = over.drop_guard();
        let late = async {
            let ended = self.ended(call, node, pass).await;
            tokio::time::sleep(GRACE).await;
            ended
        };
        let answer = tokio::select! {
            biased;
            answer = stream.sender.try_send_request(request) => answer,
            (outcome, status) = late => {
                open.end(outcome);
                if outcome == Outcome::Moved && call.kind.repeatable() {
                    return Again::reopened(Duration::ZERO, moved_text(&call.hub));
                }
                return Tried::Answered(call.kind.answer(status));
            }
        };
        let mut response = match answer {
            Ok(response) => response,
            Err(mut error) => {
                let sent = error.take_message().is_none();
                let error = causes(error.error());
                if !sent || call.kind.repeatable() {
                    open.end(Outcome::Broken);
                    let reason = format!("the connection to node {node} broke: {error}");
                    return match sent {
                        true => Again::reopened(AFTER_FAILURE, reason),
                        false => Again::after(AFTER_FAILURE, reason),
                    };
                }
                open.end(Outcome::Broken);
                let reason = format!(
                    "the connection to node {node} broke before it answered ({error}); what was asked for may have been done"
                );
                return Tried::Answered(call.kind.unavailable(&reason));
            }
        };
        meters.head(sent);
        if was_refused(response.headers()) {
            open.note(Outcome::Refused);
            let reason = format!(
                "node {node} does not own the task hub {:?} any more",
                call.hub
            );
            return Again::reopened(AFTER_REFUSAL, reason);
        }
        *response.version_mut() = Version::default();
        strip_peer_headers(response.headers_mut());
        let ending: Ending = {
            let (nodes, node, call) = (self.clone(), node.clone(), call.clone());
            Box::pin(async move {
                let ended = nodes.ended(&call, &node, pass).await;
                if ended.0 != Outcome::Revoked {
                    Self::let_finish(call.kind).await;
                }
                ended
            })
        };
        let forwarded = Forwarded {
            open,
            _place: stream.place,
            _over: over,
            node: node.to_string(),
        };
        Tried::Answered(guarded(response, call.kind, ending, Some(forwarded)))
    }

    /// Sends a question of this node's own to another one.
    pub(super) async fn question(
        &self,
        node: &Node,
        path: &str,
    ) -> Result<(Response<Incoming>, OwnedSemaphorePermit), String> {
        let mut stream = match self.0.pool.stream(node).await {
            Ok(stream) => stream,
            Err(error) => return Err(error.to_string()),
        };
        let mut request = Request::new(nothing());
        *request.uri_mut() = uri(node, path).ok_or("its address cannot be called")?;
        *request.version_mut() = Version::HTTP_2;
        let kind = Kind::Page { repeatable: true };
        mark_forwarded(request.headers_mut(), self.0.port.id(), kind);
        let answer = stream.sender.send_request(request).await;
        match answer {
            Ok(answer) => Ok((answer, stream.place)),
            Err(error) => Err(causes(&error)),
        }
    }

    fn request(
        &self,
        call: &Call,
        node: &Node,
        parts: &Parts,
        arrived: Instant,
    ) -> Option<Request<()>> {
        let path = parts.uri.path_and_query()?.as_str();
        let mut request = Request::new(());
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = uri(node, path)?;
        *request.version_mut() = Version::HTTP_2;
        let mut headers = parts.headers.clone();
        mark_forwarded(&mut headers, self.0.port.id(), call.kind);
        if call.kind.is_grpc() {
            shorten_deadline(&mut headers, arrived.elapsed());
            // The other node's default may be another one.
            headers.insert(TASK_HUB, HeaderValue::from_str(&call.hub).ok()?);
        }
        *request.headers_mut() = headers;
        Some(request)
    }

    /// Returns once a forwarded call must end, and why.
    async fn ended(&self, call: &Call, node: &Node, pass: Option<Pass>) -> (Outcome, Status) {
        let revoked = async {
            match pass {
                Some(pass) => self.0.access.revoked(pass).await,
                None => std::future::pending().await,
            }
        };
        let stopped = async {
            call.stop.cancelled().await;
            if call.kind.streams() {
                // Its request ends now, and the owner still acknowledges what it got.
                tokio::time::sleep(GRACE).await;
            }
        };
        tokio::select! {
            () = self.moved(call, At::Node(node)) => {
                (Outcome::Moved, unavailable(&moved_text(&call.hub)))
            }
            () = stopped => (Outcome::Stopped, unavailable(
                "the node that passed this call on is stopping; retry at another one",
            )),
            () = revoked => (Outcome::Revoked, Status::unauthenticated(
                "the token that opened this call is no longer accepted; repeat it with a current one",
            )),
        }
    }
}

/// Returns with the next notice; never if there will be none.
async fn next_change(changed: &mut watch::Receiver<()>) {
    if changed.changed().await.is_err() {
        std::future::pending().await
    }
}

fn moved_text(hub: &str) -> String {
    format!(
        "the task hub {hub:?} has moved to another node; what was asked for may have been done. Retry"
    )
}
