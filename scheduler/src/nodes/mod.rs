//! Several schedulers as one: a task hub belongs to one node at a time, and every node answers every call.
//!
//! ```text
//!  caller ──▶ address for callers ──▶ RouteLayer ─┬─ this node's own ──▶ service
//!                 (authenticated)                 └─ another's ─▶ Pool ══ mutual TLS ══▶ its peer port
//!                                                                                          │ ReceiveLayer
//!                                                                                          ▼ service
//! ```
//!
//! [`Owners`] says who owns what. A call for another node's task hub is sent there as bytes, with back
//! pressure, deadline and cancellation, and never further: a node that gets one for a task hub
//! that it does not own refuses it. While a task hub has no owner that can be reached, its calls
//! wait, for a while.
//!
//! The node that a caller has connected to authenticates it. To the others, a call is admitted because of
//! the node that sends it, which proves itself by its certificate; credentials stay where they were checked.

mod answer;
mod connect;
mod error;
mod grpc;
mod identity;
mod meters;
mod owners;
mod pages;
mod pins;
mod pool;
mod port;
mod protocol;
mod receive;
mod replay;
mod route;

pub use error::PeerError;
pub(crate) use grpc::RouteLayer;
pub use identity::PeerCertificates;
pub(crate) use meters::Meters;
pub use owners::{Fingerprint, Node, Owner, Owners};
pub use port::{PeerPort, PeerSettings};
pub(crate) use protocol::{partly_done, refused};
pub(crate) use receive::{ReceiveLayer, listen};
pub(crate) use route::Nodes;
