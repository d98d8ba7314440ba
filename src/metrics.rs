//! Metrics for Prometheus.
//!
//! Labels are names that the program knows: routes, activities, actions. Ids, callers and
//! anything else that a request brings are never among them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use countersign_activities::vault::CachedVault;
use countersign_azure::KeyVault;
use durabletask::Registry as Handlers;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelValue, EncodeMetric as _, LabelValueEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::audit::{Action, Outcome};
use crate::telemetry::spans;

const CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

type Labels<const N: usize> = [(&'static str, Word); N];
type Times = Family<Labels<2>, Histogram, fn() -> Histogram>;

/// A label's value. Created without copying, since every request creates some.
#[derive(Clone, Debug)]
enum Word {
    Name(&'static str),
    /// The name of an activity.
    Activity(Arc<str>),
    Route(MatchedPath),
    Status(StatusCode),
}

impl Word {
    fn as_str(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Activity(name) => name,
            Self::Route(route) => route.as_str(),
            Self::Status(status) => status.as_str(),
        }
    }
}

impl PartialEq for Word {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Word {}

impl Hash for Word {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.as_str().encode(encoder)
    }
}

/// The counters of one process.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Labels<3>, Counter>,
    request_times: Times,
    actions: Family<Labels<2>, Counter>,
    activity_times: Times,
}

/// Counters of the vault: the cache in front of it and, if it is remote, the
/// calls.
#[derive(Clone)]
pub(crate) struct VaultCounts {
    pub(crate) cache: Arc<CachedVault>,
    pub(crate) remote: Option<Arc<KeyVault>>,
}

impl Metrics {
    /// Counters that begin at zero, and those of `vault`.
    pub(crate) fn new(vault: VaultCounts) -> Self {
        // 0.5 ms to 33 s: a code from memory, a poll that waits.
        let times = || Histogram::new(exponential_buckets(0.0005, 4.0, 9));
        let mut metrics = Self {
            registry: Registry::with_prefix("countersign"),
            requests: Family::default(),
            request_times: Family::new_with_constructor(times),
            actions: Family::default(),
            activity_times: Family::new_with_constructor(times),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "http_requests",
            "Requests answered, by route and status",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "Time until the response started, long polls included",
            Unit::Seconds,
            metrics.request_times.clone(),
        );
        registry.register(
            "actions",
            "What callers did or were refused, as in the audit log",
            metrics.actions.clone(),
        );
        registry.register_with_unit(
            "activity_duration",
            "Activities run by this process's worker",
            Unit::Seconds,
            metrics.activity_times.clone(),
        );
        registry.register_collector(Box::new(vault));
        metrics
    }

    /// A request was answered.
    pub(crate) fn answered(
        &self,
        method: &Method,
        route: Option<&MatchedPath>,
        status: StatusCode,
        took: Duration,
    ) {
        let method = match spans::known(method) {
            "OPTIONS" | "_OTHER" => "other",
            known => known,
        };
        let method = ("method", Word::Name(method));
        let route = route.map_or(Word::Name("unmatched"), |path| Word::Route(path.clone()));
        let labels = [method, ("route", route)];
        self.request_times
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
        let [method, route] = labels;
        let labels = [method, route, ("status", Word::Status(status))];
        self.requests.get_or_create(&labels).inc();
    }

    /// A caller did something, or was refused.
    pub(crate) fn acted(&self, action: Action, outcome: Outcome) {
        let labels = [
            ("action", Word::Name(action.as_str())),
            ("outcome", Word::Name(outcome.as_str())),
        ];
        self.actions.get_or_create(&labels).inc();
    }

    /// Counts the runs of all activities of `handlers`.
    pub(crate) fn watch(self: &Arc<Self>, handlers: Handlers) -> Handlers {
        let metrics = Arc::clone(self);
        handlers.activity_middleware(move |ctx, next| {
            let metrics = Arc::clone(&metrics);
            async move {
                let started = Instant::now();
                let result = next.run().await;
                let outcome = if result.is_ok() { "done" } else { "failed" };
                let labels = [
                    ("activity", Word::Activity(ctx.name().into())),
                    ("outcome", Word::Name(outcome)),
                ];
                metrics
                    .activity_times
                    .get_or_create(&labels)
                    .observe(started.elapsed().as_secs_f64());
                result
            }
        })
    }

    fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// `GET /metrics`, and nothing else.
pub(crate) fn router(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/metrics", get(tell))
        .layer(axum::middleware::map_response(crate::http::dressed))
        .with_state(metrics)
}

async fn tell(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl Collector for VaultCounts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let cache = self.cache.counts();
        let mut counters = vec![
            (
                "vault_cache_hits",
                "Account reads answered from the cache",
                cache.hits,
            ),
            (
                "vault_cache_misses",
                "Account reads that went to the vault",
                cache.misses,
            ),
            (
                "vault_cache_joined",
                "Account reads that joined a concurrent read of the same account",
                cache.joined,
            ),
            (
                "vault_cache_stale",
                "Account reads answered from the cache because the vault was unreachable",
                cache.stale,
            ),
        ];
        if let Some(vault) = &self.remote {
            let calls = vault.counts();
            counters.extend([
                (
                    "key_vault_calls",
                    "Calls to Key Vault, each attempt counted",
                    calls.calls,
                ),
                (
                    "key_vault_retries",
                    "Calls to Key Vault that were retries",
                    calls.retries,
                ),
                (
                    "key_vault_throttled",
                    "Calls to Key Vault that were answered with 429",
                    calls.throttled,
                ),
            ]);
        }
        for (name, help, value) in counters {
            let counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(counter)?;
        }
        let kept = ConstGauge::new(i64::try_from(cache.entries).unwrap_or(i64::MAX));
        let gauge = encoder.encode_descriptor(
            "vault_cache_entries",
            "Accounts in the cache",
            None,
            MetricType::Gauge,
        )?;
        kept.encode(gauge)
    }
}

impl fmt::Debug for VaultCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultCounts").finish_non_exhaustive()
    }
}
