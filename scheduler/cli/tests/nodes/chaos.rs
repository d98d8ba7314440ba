//! Three nodes under load, of which one after the other is killed, frozen, or cut off from the database,
//! which is restarted, too. What was acknowledged has its effect exactly once, and everything ends.
//!
//! `CHAOS_ROUNDS` sets how often something happens, `CHAOS_SEED` repeats a run's choices:
//!
//! ```console
//! $ CHAOS_ROUNDS=100 cargo test -p durabletask-scheduler-cli --test nodes chaos -- --ignored --nocapture
//! ```

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use countersign_database::testing::{Postgres, Setup};
use durabletask_proto::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tonic::Code;

use crate::TAKEN_OVER;
use crate::peers::owner;
use crate::running::Running;
use crate::support::*;

/// How a node reaches the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Works,
    /// Nothing arrives until it works again, and then all of it does, late.
    Silent,
    /// Connections break, and no new one is accepted.
    Broken,
}

/// The way of one node to the database.
struct Relay {
    address: SocketAddr,
    line: watch::Sender<Line>,
    passing: JoinHandle<()>,
}

impl Relay {
    async fn open(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let line = watch::Sender::new(Line::Works);
        let state = line.clone();
        let passing = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(pass(stream, port, state.subscribe()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            line,
            passing,
        }
    }

    fn is(&self, line: Line) {
        self.line.send_replace(line);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

async fn pass(node: TcpStream, port: u16, mut line: watch::Receiver<Line>) {
    if *line.borrow() == Line::Broken {
        return;
    }
    let Ok(database) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let _ = (node.set_nodelay(true), database.set_nodelay(true));
    let (from_node, to_node) = node.into_split();
    let (from_database, to_database) = database.into_split();
    let (up, down) = (line.clone(), line.clone());
    tokio::select! {
        () = copy(from_node, to_database, up) => {}
        () = copy(from_database, to_node, down) => {}
        _ = line.wait_for(|line| *line == Line::Broken) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut line: watch::Receiver<Line>) {
    let mut part = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut part).await {
        if line.wait_for(|line| *line == Line::Works).await.is_err()
            || to.write_all(&part[..count]).await.is_err()
        {
            return;
        }
    }
}

struct Node {
    name: String,
    process: Process,
    relay: Relay,
}

impl Node {
    async fn start(database: (u16, &str), name: String) -> Self {
        let relay = Relay::open(database.0).await;
        let url = format!("postgresql://countersign@{}/{}", relay.address, database.1);
        let process = tokio::task::spawn_blocking({
            let name = name.clone();
            move || Process::peer(&url, &name, &["--log", "error"])
        });
        Self {
            process: process.await.unwrap(),
            name,
            relay,
        }
    }
}

fn addresses(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(|node| node.process.grpc.clone()).collect()
}

/// What happens to a node, or to the database.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Kill,
    Freeze,
    Silence,
    Cut,
    Restart,
}

const BLOWS: [Blow; 5] = [
    Blow::Kill,
    Blow::Freeze,
    Blow::Silence,
    Blow::Cut,
    Blow::Restart,
];

/// The number of the owner, as those that are not `but` see it, once there is one among them.
async fn owner_but(nodes: &[Node], but: Option<usize>) -> usize {
    let begun = Instant::now();
    loop {
        for (number, node) in nodes.iter().enumerate() {
            if Some(number) == but {
                continue;
            }
            let name = owner(&node.process).await;
            let found = nodes
                .iter()
                .position(|each| Some(&each.name) == name.as_ref());
            if let Some(found) = found.filter(|found| Some(*found) != but) {
                return found;
            }
        }
        assert!(begun.elapsed() < PATIENCE, "a node owns the task hubs");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn survive(rounds: usize) {
    let mut random = Random::seeded("CHAOS_SEED");
    println!("CHAOS_ROUNDS={rounds}");
    let Some(mut server) = Postgres::start(Setup::default()) else {
        return;
    };
    let (port, name) = (server.port(), server.make());
    let mut nodes = Vec::new();
    for number in 0..3 {
        nodes.push(Node::start((port, &name), format!("node-{number}")).await);
        nodes[number].process.until_ready().await;
    }
    let running = Running::against(addresses(&nodes));
    let mut started = nodes.len();
    let mut blows = Vec::new();
    let mut told = [0; BLOWS.len()];
    for _ in 0..rounds {
        // Each of them once before any comes again.
        if blows.is_empty() {
            blows = (0..BLOWS.len()).collect();
        }
        let blow = blows.swap_remove(random.below(blows.len()));
        told[blow] += 1;
        running.until_more().await;
        tokio::time::sleep(random.millis_up_to(600)).await;
        // Twice of three times the owner, since otherwise little happens.
        let owner = owner_but(&nodes, None).await;
        let victim = match random.below(3) {
            0 => random.below(nodes.len()),
            _ => owner,
        };
        let late = random.millis_up_to(400);
        match BLOWS[blow] {
            Blow::Kill => {
                nodes[victim].process.signal("KILL");
                tokio::time::sleep(late).await;
                let next = Node::start((port, &name), format!("node-{started}")).await;
                started += 1;
                nodes[victim] = next;
                running.moves_to(addresses(&nodes));
            }
            Blow::Freeze => {
                nodes[victim].process.signal("STOP");
                owner_but(&nodes, Some(victim)).await;
                tokio::time::sleep(late).await;
                nodes[victim].process.signal("CONT");
            }
            cut @ (Blow::Silence | Blow::Cut) => {
                nodes[victim].relay.is(match cut {
                    Blow::Silence => Line::Silent,
                    _ => Line::Broken,
                });
                owner_but(&nodes, Some(victim)).await;
                tokio::time::sleep(late).await;
                nodes[victim].relay.is(Line::Works);
            }
            Blow::Restart => {
                server.stop().unwrap();
                tokio::time::sleep(late * 4).await;
                server.start_again().unwrap();
            }
        }
        for node in &nodes {
            node.process.until_ready().await;
        }
    }
    let what = format!(
        "{} kills, {} freezes, {} silences, {} cuts, {} restarts of the database",
        told[0], told[1], told[2], told[3], told[4]
    );
    running.check(&what).await;
}

/// Kills the owner again and again, and measures from there.
async fn measure(kills: usize) {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let (port, name) = (server.port(), server.make());
    let mut nodes = Vec::new();
    for number in 0..3 {
        nodes.push(Node::start((port, &name), format!("node-{number}")).await);
    }
    for node in &nodes {
        node.process.until_ready().await;
    }
    let running = Running::against(addresses(&nodes));
    let (mut answered, mut finished) = (Vec::new(), Vec::new());
    for kill in 0..kills {
        let victim = owner_but(&nodes, None).await;
        let killed = nodes.swap_remove(victim);
        running.moves_to(addresses(&nodes));
        killed.process.kill();
        let begun = Instant::now();
        let mut calls = JoinSet::new();
        for (number, node) in nodes.iter().enumerate() {
            let client = node.process.client();
            let id = format!("c-{kill}-{number}");
            calls.spawn(async move {
                start_child(&client, &id).await;
                let answered = begun.elapsed();
                until_finished(&client, &id).await;
                (answered, begun.elapsed())
            });
        }
        while let Some(times) = calls.join_next().await {
            let (answer, end) = times.unwrap();
            assert!(
                answer < TAKEN_OVER,
                "the next call was answered after {answer:?}"
            );
            answered.push(answer);
            finished.push(end);
        }
        let next = Node::start((port, &name), format!("node-{}", kill + 3)).await;
        next.process.until_ready().await;
        nodes.push(next);
        running.moves_to(addresses(&nodes));
    }
    println!("{kills} kills of the owner, at each of two other nodes:");
    for (what, mut times) in [
        ("answered call", answered),
        ("finished orchestration", finished),
    ] {
        times.sort_unstable();
        let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
        println!("  next {what}: median {median:.2?}, at most {most:.2?}");
        assert!(most < TAKEN_OVER, "{what}: {most:?}");
    }
    running.check("after them").await;
}

async fn start_child(client: &Client, id: &str) {
    let message = CreateInstanceRequest {
        instance_id: id.to_owned(),
        name: "Child".to_owned(),
        ..Default::default()
    };
    let message = || to_hub("default", message.clone());
    while let Err(status) = client.clone().start_instance(message()).await {
        // The owner may have been killed under the call. If it is there by then, it was answered.
        match status.code() {
            Code::AlreadyExists => return,
            Code::Unavailable => tokio::time::sleep(Duration::from_millis(20)).await,
            _ => panic!("{status:?}"),
        }
    }
}

async fn until_finished(client: &Client, id: &str) {
    let get = GetInstanceRequest {
        instance_id: id.to_owned(),
        get_inputs_and_outputs: false,
    };
    let waiting = client
        .clone()
        .wait_for_instance_completion(to_hub("default", get))
        .await;
    let state = waiting.unwrap().into_inner().orchestration_state.unwrap();
    assert_eq!(state.orchestration_status(), OrchestrationStatus::Completed);
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().expect("it is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_survives_five_blows() {
    survive(number("CHAOS_ROUNDS", BLOWS.len())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; CHAOS_ROUNDS says how often something happens"]
async fn what_is_acknowledged_survives_many_blows() {
    survive(number("CHAOS_ROUNDS", 60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; CHAOS_KILLS says how often the owner is killed"]
async fn the_next_call_is_answered_soon_after_each_of_many_kills() {
    measure(number("CHAOS_KILLS", 50)).await;
}
