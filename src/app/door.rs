//! What a front door is started with.

use std::sync::Arc;

use countersign_activities::vault::SecretVault;
use tokio::net::TcpListener;

use super::backends::Backends;
use super::certificate::Certificate;
use crate::clock::Clock;
use crate::keys::DoorKeys;
use crate::metrics::Metrics;

/// What a front door of this process runs on.
pub(super) struct DoorServices {
    pub(super) keys: DoorKeys,
    pub(super) vault: Arc<dyn SecretVault>,
    pub(super) backends: Backends,
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Certificate>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
}
