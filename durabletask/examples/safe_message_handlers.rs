//! The manager of a cluster: updates assign nodes to jobs and free them, health checks come in
//! between, and the state goes along when it continues as new. One loop takes one message at a
//! time, so there is nothing to lock. After Temporal's sample `message_passing/safe_message_handlers`.
//!
//! `cargo run -p durabletask-sdk --example safe_message_handlers` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::collections::BTreeMap;
use std::time::Duration;

use durabletask::testing::TestHub;
use durabletask::{
    Activity, Either, Event, Failure, Orchestration, OrchestrationContext, Outcome, Registry,
    Update, select,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

const START_CLUSTER: Activity<(), Vec<String>> = Activity::new("start-cluster");
const ASSIGN: Activity<Job, ()> = Activity::new("assign-nodes");
const UNASSIGN: Activity<Job, ()> = Activity::new("unassign-nodes");
/// The bad ones of some nodes.
const FIND_BAD: Activity<Vec<String>, Vec<String>> = Activity::new("find-bad-nodes");

/// A job's name and how many nodes it needs; the answer is which ones it has.
const ASSIGN_NODES: Update<(String, usize), Vec<String>> = Update::new("assign-nodes-to-job");
const DELETE_JOB: Update<String, ()> = Update::new("delete-job");
const SHUT_DOWN: Event<()> = Event::new("shut-down-cluster");
const MANAGE: Orchestration<Cluster, Report> = Orchestration::new("cluster-manager");

const CHECK_EVERY: Duration = Duration::from_secs(600);
/// After so many messages and checks a new history begins.
const STEPS: usize = 4;

#[derive(Clone, Serialize, Deserialize)]
struct Job {
    name: String,
    nodes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Node {
    Free,
    Of(String),
    Bad,
}

#[derive(Default, Serialize, Deserialize)]
struct Cluster {
    started: bool,
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Report {
    assigned: usize,
    bad: usize,
}

impl Cluster {
    fn are(&self, wanted: impl Fn(&Node) -> bool) -> Vec<String> {
        let fitting = self.nodes.iter().filter(|(_, node)| wanted(node));
        fitting.map(|(name, _)| name.clone()).collect()
    }

    fn of(&self, job: &str) -> Vec<String> {
        self.are(|node| *node == Node::Of(job.to_owned()))
    }

    fn set(&mut self, nodes: &[String], to: &Node) {
        self.nodes
            .extend(nodes.iter().map(|name| (name.clone(), to.clone())));
    }

    /// Gives a job its nodes. An assignment that is repeated has the same answer.
    async fn assign(
        &mut self,
        ctx: &OrchestrationContext,
        (name, count): (String, usize),
    ) -> Result<Vec<String>, Failure> {
        let has = self.of(&name);
        if !has.is_empty() {
            return Ok(has);
        }
        let mut nodes = self.are(|node| *node == Node::Free);
        if nodes.len() < count {
            return Err(format!("there are only {} nodes", nodes.len()).into());
        }
        nodes.truncate(count);
        let job = Job { name, nodes };
        ctx.call_activity(&ASSIGN, &job).await?;
        self.set(&job.nodes, &Node::Of(job.name));
        Ok(job.nodes)
    }

    async fn delete(&mut self, ctx: &OrchestrationContext, name: String) -> Result<(), Failure> {
        let nodes = self.of(&name);
        let job = Job { name, nodes };
        ctx.call_activity(&UNASSIGN, &job).await?;
        self.set(&job.nodes, &Node::Free);
        Ok(())
    }

    async fn check(&mut self, ctx: &OrchestrationContext) {
        let assigned = self.are(|node| matches!(node, Node::Of(_)));
        // A check that fails is made again at the next one.
        if let Ok(bad) = ctx.call_activity(&FIND_BAD, &assigned).await {
            self.set(&bad, &Node::Bad);
        }
    }
}

async fn manage(
    ctx: OrchestrationContext,
    mut cluster: Cluster,
) -> Result<Outcome<Cluster, Report>, Failure> {
    if !cluster.started {
        let nodes = ctx.call_activity(&START_CLUSTER, &()).await?;
        cluster.set(&nodes, &Node::Free);
        cluster.started = true;
    }
    for _ in 0..STEPS {
        let updates = select(
            ctx.wait_for_update(&ASSIGN_NODES),
            ctx.wait_for_update(&DELETE_JOB),
        );
        let others = select(
            ctx.wait_for_event(&SHUT_DOWN),
            ctx.create_timer(CHECK_EVERY),
        );
        match select(updates, others).await {
            Either::Left(Either::Left((wanted, reply))) => match cluster.assign(&ctx, wanted).await
            {
                Ok(nodes) => reply.accept(&nodes)?,
                Err(refusal) => reply.refuse(refusal),
            },
            Either::Left(Either::Right((job, reply))) => match cluster.delete(&ctx, job).await {
                Ok(()) => reply.accept(&())?,
                Err(refusal) => reply.refuse(refusal),
            },
            Either::Right(Either::Left(_)) => {
                return Ok(Outcome::Done(Report {
                    assigned: cluster.are(|node| matches!(node, Node::Of(_))).len(),
                    bad: cluster.are(|node| *node == Node::Bad).len(),
                }));
            }
            Either::Right(Either::Right(())) => cluster.check(&ctx).await,
        }
    }
    Ok(Outcome::continue_as_new(cluster))
}

/// A morning with a cluster of four nodes, one of which breaks.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let minute = |n: u64| Duration::from_secs(60 * n);
    let wanted = |job: &str, count: usize| (job.to_owned(), count);
    let run = TestHub::new(Registry::new().continuing(&MANAGE, manage))
        .update(minute(1), "build", &ASSIGN_NODES, &wanted("build", 2))
        .update(minute(2), "test", &ASSIGN_NODES, &wanted("test", 3))
        .update(minute(3), "build again", &ASSIGN_NODES, &wanted("build", 2))
        .update(minute(25), "delete", &DELETE_JOB, "build")
        .update(minute(26), "test again", &ASSIGN_NODES, &wanted("test", 3))
        .raise_event(minute(60), &SHUT_DOWN, &())
        .run(&MANAGE, &Cluster::default(), |activity, nodes| {
            Ok(match activity {
                "start-cluster" => json!(["node 1", "node 2", "node 3", "node 4"]),
                "find-bad-nodes" if nodes.to_string().contains("node 2") => json!(["node 2"]),
                "find-bad-nodes" => json!([]),
                _ => json!(null),
            })
        });
    let report = run.output()?;
    println!("{report:?} in {} executions", run.executions);
    let answer = |update: &str| run.update_answer(update, &ASSIGN_NODES);
    let nodes = |names: &[&str]| Some(Ok(names.iter().map(|&name| name.to_owned()).collect()));
    assert_eq!(answer("build"), nodes(&["node 1", "node 2"]));
    assert!(matches!(answer("test"), Some(Err(why)) if why.to_string().contains("only 2 nodes")));
    assert_eq!(answer("build again"), nodes(&["node 1", "node 2"]));
    assert_eq!(run.update_answer("delete", &DELETE_JOB), Some(Ok(())));
    assert_eq!(answer("test again"), nodes(&["node 1", "node 3", "node 4"]));
    assert_eq!(
        report,
        Report {
            assigned: 3,
            bad: 1
        }
    );
    assert!(run.executions > 1);
    Ok(())
}
