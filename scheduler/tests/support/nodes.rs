//! Several schedulers in one process that call each other, and a fake of the table that says who owns what.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use durabletask_scheduler::{
    Node, Owner, Owners, PeerPort, PeerSettings, Scheduler, SchedulerConfig, Storage,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::Client;

/// A fake of the nodes' shared table: in memory, and changed by the test.
pub struct FakeTable {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    nodes: Arc<[Node]>,
    /// By lowercase name; nothing means that nobody owns it.
    hubs: HashMap<String, Option<Arc<str>>>,
    /// Of every other task hub.
    rest: Option<Arc<str>>,
    unready: Option<String>,
}

impl FakeTable {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: watch::channel(()).0,
        })
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.send_replace(());
    }

    /// A node is live.
    pub fn join(&self, node: Node) {
        self.change(|state| {
            let others = state.nodes.iter().filter(|other| other.id != node.id);
            state.nodes = others.cloned().chain([node.clone()]).collect();
        });
    }

    /// A node is not live any more.
    pub fn evict(&self, id: &str) {
        self.change(|state| {
            let others = state.nodes.iter().filter(|node| *node.id != *id);
            state.nodes = others.cloned().collect();
        });
    }

    pub fn give(&self, hub: &str, id: &str) {
        self.change(|state| {
            state.hubs.insert(hub.to_lowercase(), Some(id.into()));
        });
    }

    /// Nobody owns the task hub.
    pub fn take(&self, hub: &str) {
        self.change(|state| {
            state.hubs.insert(hub.to_lowercase(), None);
        });
    }

    /// Every task hub that was not given to another node.
    pub fn give_rest(&self, id: &str) {
        self.change(|state| state.rest = Some(id.into()));
    }

    /// Nodes cannot say who owns what, and why.
    pub fn set_unready(&self, reason: Option<&str>) {
        self.change(|state| state.unready = reason.map(str::to_owned));
    }

    /// What a node sees of the table.
    pub fn seen_by(self: &Arc<Self>, id: &str) -> Arc<dyn Owners> {
        Arc::new(Seen {
            table: Arc::clone(self),
            id: id.into(),
        })
    }
}

struct Seen {
    table: Arc<FakeTable>,
    id: Arc<str>,
}

impl Owners for Seen {
    fn owner(&self, hub: &str) -> Owner {
        let state = self.table.state.lock().unwrap();
        let owner = match state.hubs.get(&hub.to_lowercase()) {
            Some(owner) => owner.clone(),
            None if state.rest.is_none() => return Owner::NoSuchHub,
            None => state.rest.clone(),
        };
        let nobody = Owner::Nobody {
            retry_after: Duration::from_millis(100),
        };
        match owner {
            None => nobody,
            Some(owner) if owner == self.id => Owner::Here,
            Some(owner) => {
                let node = state.nodes.iter().find(|node| node.id == owner);
                node.map_or(nobody, |node| Owner::Node(node.clone()))
            }
        }
    }

    fn nodes(&self) -> Arc<[Node]> {
        Arc::clone(&self.table.state.lock().unwrap().nodes)
    }

    fn changed(&self) -> watch::Receiver<()> {
        self.table.changed.subscribe()
    }

    fn unready(&self) -> Option<String> {
        self.table.state.lock().unwrap().unready.clone()
    }
}

/// A scheduler among others, with its dashboard, until it is dropped.
pub struct NodeAt {
    pub id: Arc<str>,
    pub node: Node,
    pub scheduler: Scheduler,
    pub address: SocketAddr,
    pub dashboard: SocketAddr,
    pub stop: CancellationToken,
    pub served: JoinHandle<()>,
    pages: JoinHandle<()>,
}

impl Drop for NodeAt {
    fn drop(&mut self) {
        self.served.abort();
        self.pages.abort();
    }
}

pub fn peer_settings() -> PeerSettings {
    PeerSettings::new(([127, 0, 0, 1], 0).into())
}

impl NodeAt {
    /// In memory.
    pub async fn open(table: &Arc<FakeTable>) -> Self {
        let mut config = SchedulerConfig::new(Storage::Memory);
        config.drain_timeout = Duration::from_millis(200);
        Self::with(table, &peer_settings(), config).await
    }

    pub async fn with(
        table: &Arc<FakeTable>,
        settings: &PeerSettings,
        mut config: SchedulerConfig,
    ) -> Self {
        let port = PeerPort::bind(settings).await.unwrap();
        let node = port.node();
        table.join(node.clone());
        config.peers = Some(port);
        config.owners = Some(table.seen_by(&node.id));
        let scheduler = Scheduler::open(config).unwrap();
        let (listener, address) = bind().await;
        let stop = CancellationToken::new();
        let (serving, stopping) = (scheduler.clone(), stop.clone());
        let served = tokio::spawn(async move { serving.serve(listener, stopping).await.unwrap() });
        let (listener, dashboard) = bind().await;
        let router = scheduler.dashboard();
        let pages = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            id: Arc::clone(&node.id),
            node,
            scheduler,
            address,
            dashboard,
            stop,
            served,
            pages,
        }
    }

    pub fn client(&self) -> Client {
        client_of(self.address)
    }

    /// What the dashboard answers at a path.
    pub async fn text(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{}{path}", self.dashboard));
        let answer = answer.await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The value of a metric, with its labels if it has some.
    pub async fn metric(&self, name: &str) -> f64 {
        self.metric_as(name, "").await
    }

    /// The same for a caller with this `authorization`.
    pub async fn metric_as(&self, name: &str, authorization: &str) -> f64 {
        let answer = reqwest::Client::new()
            .get(format!("http://{}/metrics", self.dashboard))
            .header("authorization", authorization)
            .send();
        let text = answer.await.unwrap().text().await.unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("durabletask_scheduler_{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .parse()
            .unwrap()
    }

    /// Waits until a metric has this value.
    pub async fn metric_becomes(&self, name: &str, value: f64) {
        let reached = async {
            while self.metric(name).await != value {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let reached = tokio::time::timeout(super::PATIENCE, reached).await;
        assert!(reached.is_ok(), "{name} does not become {value}");
    }
}

pub async fn bind() -> (tokio::net::TcpListener, SocketAddr) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub fn client_of(address: SocketAddr) -> Client {
    let channel = Channel::from_shared(format!("http://{address}"));
    Client::new(channel.unwrap().connect_lazy()).max_decoding_message_size(64 << 20)
}

/// Two nodes: the first owns every task hub, the second none.
pub async fn owner_and_front() -> (Arc<FakeTable>, NodeAt, NodeAt) {
    let table = FakeTable::new();
    let owner = NodeAt::open(&table).await;
    let front = NodeAt::open(&table).await;
    table.give_rest(&owner.id);
    (table, owner, front)
}
