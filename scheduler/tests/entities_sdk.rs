//! Entities with both sides of the wire being ours: the Rust SDK's client and worker
//! against this scheduler.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use durabletask::client::{
    EntityCleaning, EntityQuery, InstanceQuery, Payloads, Recursive, Status,
};
use durabletask::{
    Client, ClientError, Connection, Entity, EntityContext, EntityHandlers, Event, Failure,
    Operation, Orchestration, OrchestrationContext, Registry, TaskError, Worker, when_all,
};
use durabletask_scheduler::{OpenError, Scheduler, SchedulerConfig, Storage};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

const ACCOUNT: Entity<Account> = Entity::new("Account");
const DEPOSIT: Operation<Account, i64, i64> = Operation::new("deposit");
const REFUSE: Operation<Account, (), ()> = Operation::new("refuse");
const GREET: Operation<Account, String, ()> = Operation::new("greet");
const DELETE: Operation<Account, (), ()> = Operation::new("delete");

const TRANSFER: Orchestration<(String, String, i64), i64> = Orchestration::new("transfer");
const REFUSED: Orchestration<(), String> = Orchestration::new("refused");
const GREETING: Orchestration<String, String> = Orchestration::new("greeting");
const HOLD: Orchestration<(), ()> = Orchestration::new("hold");
const ITEM: Event<String> = Event::new("item");
const COLLECT: Orchestration<usize, Vec<String>> = Orchestration::new("collect");
const PATCHED: Orchestration<(), String> = Orchestration::new("patched");

async fn collect(ctx: OrchestrationContext, count: usize) -> Result<Vec<String>, Failure> {
    if count == 0 {
        return Err("there is nothing to collect".into());
    }
    let mut items = Vec::new();
    while items.len() < count {
        items.push(ctx.wait_for_event(&ITEM).await?);
    }
    Ok(items)
}

fn deposit(account: &mut Account, _: &EntityContext, amount: i64) -> Result<i64, Failure> {
    account.balance += amount;
    Ok(account.balance)
}

/// Moves money one unit at a time, reading in between what others must not change.
async fn transfer(
    ctx: OrchestrationContext,
    (from, to, amount): (String, String, i64),
) -> Result<i64, Failure> {
    let (from, to) = (ACCOUNT.id(&from), ACCOUNT.id(&to));
    let _section = ctx.lock_entities([&from, &to]).await?;
    let before = ctx.call_entity(&from, &DEPOSIT, &0).await?;
    let mut now = before;
    for _ in 0..amount {
        let taken = ctx.call_entity(&from, &DEPOSIT, &-1);
        let given = ctx.call_entity(&to, &DEPOSIT, &1);
        now = when_all([taken, given]).await?[0];
    }
    if now != before - amount {
        return Err(Failure::new("Disturbed", "someone else was let in"));
    }
    Ok(now)
}

fn registry() -> Registry {
    Registry::new()
        .entity(
            &ACCOUNT,
            EntityHandlers::new()
                .operation(&DEPOSIT, deposit)
                .operation(&REFUSE, |account: &mut Account, _, ()| {
                    account.balance = -1;
                    Err(Failure::new("Refused", "not today"))
                })
                .operation(&GREET, |_, ctx, name: String| {
                    ctx.start_orchestration_with(
                        &GREETING,
                        &name,
                        durabletask::entity::EntityStartOptions::new()
                            .instance_id(format!("greeting-{name}")),
                    )?;
                    ctx.signal_entity(&ACCOUNT.id(&name), &DEPOSIT, &1)
                }),
        )
        .orchestration(&COLLECT, collect)
        .orchestration(&PATCHED, async |ctx: OrchestrationContext, ()| {
            assert!(ctx.patched("greeting"));
            Ok(ctx.wait_for_event(&ITEM).await?)
        })
        .orchestration(&TRANSFER, transfer)
        .orchestration(&REFUSED, async |ctx: OrchestrationContext, ()| {
            match ctx.call_entity(&ACCOUNT.id("r"), &REFUSE, &()).await {
                Err(TaskError::Failed { details, .. }) => Ok(details.error_type.clone()),
                other => Err(Failure::new("Unexpected", format!("{other:?}"))),
            }
        })
        .orchestration(&GREETING, async |_: OrchestrationContext, name: String| {
            Ok(format!("Hello, {name}!"))
        })
        .orchestration(&HOLD, async |ctx: OrchestrationContext, ()| {
            let section = ctx.lock_entities([&ACCOUNT.id("held")]).await?;
            ctx.create_timer(Duration::from_secs(3600)).await;
            section.release();
            Ok(())
        })
}

/// A scheduler with a worker and a client.
struct Running {
    client: Client,
    stop: CancellationToken,
    worker: tokio::task::JoinHandle<Result<(), durabletask::worker::WorkerError>>,
    server: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(storage: Storage) -> Self {
        let mut config = SchedulerConfig::new(storage);
        config.drain_timeout = Duration::from_millis(200);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        // The lock of a scheduler that was dropped a moment ago goes with its thread.
        let scheduler = loop {
            match Scheduler::open(config.clone()) {
                Err(OpenError::InUse { .. }) if tokio::time::Instant::now() < deadline => {
                    tokio::task::yield_now().await;
                }
                other => break other.unwrap(),
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let serving = stop.clone();
        let server = tokio::spawn(async move { scheduler.serve(listener, serving).await.unwrap() });
        let connection = Connection::insecure(&endpoint, "default").unwrap();
        let worker = Worker::builder(&connection)
            .registry(registry())
            .max_concurrent_entities(4)
            .build()
            .unwrap();
        let worker = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
        Self {
            client: Client::new(&connection).unwrap(),
            stop,
            worker,
            server,
        }
    }

    async fn memory() -> Self {
        Self::start(Storage::Memory).await
    }

    async fn folder(path: &Path) -> Self {
        Self::start(Storage::Directory(path.to_owned())).await
    }

    async fn stop(self) {
        self.stop.cancel();
        self.worker.await.unwrap().unwrap();
        self.server.await.unwrap();
    }

    /// Waits until the account has this balance.
    async fn balance(&self, key: &str, expected: Option<i64>) {
        let reached = async {
            loop {
                let state = self
                    .client
                    .get_entity_state(&ACCOUNT.id(key))
                    .await
                    .unwrap();
                if state.map(|account| account.balance) == expected {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("{key} never has {expected:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_under_locks_lose_nothing() {
    let running = Running::memory().await;
    let client = &running.client;
    let keys = ["a", "b", "c"];
    for key in keys {
        client
            .signal_entity(&ACCOUNT.id(key), &DEPOSIT, &100)
            .await
            .unwrap();
    }
    let mut ids = Vec::new();
    for at in 0..12_usize {
        let order = (
            keys[at % 3].to_owned(),
            keys[(at * 2 + 1) % 3].to_owned(),
            3_i64,
        );
        if order.0 != order.1 {
            ids.push(
                client
                    .start(&TRANSFER, &order)
                    .send()
                    .await
                    .unwrap()
                    .into_id(),
            );
        }
    }
    for id in &ids {
        let state = client
            .wait_for_completion(id, Payloads::Include, PATIENCE)
            .await
            .unwrap();
        state.output::<i64>().unwrap();
    }
    let accounts: Vec<_> = client
        .list_entities(
            EntityQuery::new()
                .id_prefix("@account@")
                .include_state()
                .page_size(2),
        )
        .try_collect()
        .await
        .unwrap();
    let total: i64 = accounts
        .iter()
        .map(|entity| entity.state::<Account>().unwrap().balance)
        .sum();
    assert_eq!((accounts.len(), total), (3, 300));
    assert!(accounts.iter().all(|entity| entity.locked_by.is_none()));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_starts_signals_and_deletion_work_across_the_wire() {
    let running = Running::memory().await;
    let client = &running.client;
    let id = client.start(&REFUSED, &()).send().await.unwrap().into_id();
    let state = client
        .wait_for_completion(&id, Payloads::Include, PATIENCE)
        .await
        .unwrap();
    assert_eq!(state.output::<String>().unwrap(), "Refused");
    assert_eq!(client.get_entity(&ACCOUNT.id("r")).await.unwrap(), None);

    client
        .signal_entity(&ACCOUNT.id("a"), &GREET, &"Ada".to_owned())
        .await
        .unwrap();
    running.balance("Ada", Some(1)).await;
    let state = client
        .wait_for_completion("greeting-Ada", Payloads::Include, PATIENCE)
        .await
        .unwrap();
    assert_eq!(state.output::<String>().unwrap(), "Hello, Ada!");

    let soon = Utc::now() + TimeDelta::milliseconds(300);
    client
        .signal_entity_at(&ACCOUNT.id("Ada"), &DELETE, &(), soon)
        .await
        .unwrap();
    client
        .signal_entity(&ACCOUNT.id("Ada"), &DEPOSIT, &4)
        .await
        .unwrap();
    running.balance("Ada", Some(5)).await;
    running.balance("Ada", None).await;

    let long = ACCOUNT.id(&"x".repeat(100));
    assert!(matches!(
        client.signal_entity(&long, &DEPOSIT, &1).await,
        Err(ClientError::InvalidArgument(_))
    ));
    let cleaned = client
        .clean_entity_storage(EntityCleaning::default())
        .await
        .unwrap();
    assert_eq!((cleaned.removed, cleaned.released), (0, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_and_what_waits_for_it_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::folder(folder.path()).await;
    let client = &running.client;
    client
        .signal_entity(&ACCOUNT.id("held"), &DEPOSIT, &1)
        .await
        .unwrap();
    running.balance("held", Some(1)).await;
    client
        .start(&HOLD, &())
        .instance_id("holder")
        .send()
        .await
        .unwrap();
    let locked = async {
        loop {
            let held = client.get_entity(&ACCOUNT.id("held")).await.unwrap();
            if held.unwrap().locked_by.as_deref() == Some("holder") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, locked).await.unwrap();
    client
        .signal_entity(&ACCOUNT.id("held"), &DEPOSIT, &10)
        .await
        .unwrap();
    running.stop().await;

    let running = Running::folder(folder.path()).await;
    let client = &running.client;
    let held = client
        .get_entity(&ACCOUNT.id("held"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(held.locked_by.as_deref(), Some("holder"));
    assert_eq!(
        (held.backlog, held.state::<Account>().unwrap().balance),
        (1, 1)
    );
    // The end of the holder, by whatever means, lets the others in.
    client
        .terminate("holder", &(), durabletask::client::Recursive::No)
        .await
        .unwrap();
    running.balance("held", Some(11)).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_calls_an_entity_and_has_its_answer() {
    let running = Running::memory().await;
    let client = &running.client;
    let ada = ACCOUNT.id("ada");
    for expected in [5, 10] {
        let balance = client.call_entity(&ada, &DEPOSIT, &5, PATIENCE).await;
        assert_eq!(balance, Ok(expected));
    }
    let refused = client.call_entity(&ada, &REFUSE, &(), PATIENCE).await;
    let Err(ClientError::Failed { failure, .. }) = refused else {
        panic!("it was not refused: {refused:?}");
    };
    assert_eq!(failure.root_cause().error_type, "Refused");
    let left = client.list_instances(InstanceQuery::new()).collect().await;
    assert_eq!(left.unwrap().len(), 0, "no record of a call stays");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_yields_the_output_the_failure_or_the_end_and_follows_the_instance() {
    let running = Running::memory().await;
    let client = &running.client;
    let first = client
        .start(&COLLECT, &2)
        .instance_id("cart")
        .tag("tenant", "t1");
    let cart = first.send_with_event(&ITEM, "tea").await.unwrap();
    let mut states = cart.watch(Duration::from_millis(10));
    let again = client.start(&COLLECT, &2).instance_id("cart");
    again.send_with_event(&ITEM, "milk").await.unwrap();
    assert_eq!(cart.result().await.unwrap(), ["tea", "milk"]);
    let mut last = None;
    while let Some(state) = states.next().await {
        last = Some(state.unwrap().status);
    }
    assert_eq!(last, Some(Status::Completed));

    let other = client.start(&COLLECT, &2).tag("tenant", "t2").send().await;
    let other = other.unwrap();
    let waited = other.result_within(Duration::from_millis(50)).await;
    assert!(
        matches!(waited, Err(ClientError::Timeout { .. })),
        "{waited:?}"
    );
    let state = other.state().await.unwrap().unwrap();
    let unfinished = state.output::<Vec<String>>();
    assert!(matches!(unfinished, Err(ClientError::NotFinished { .. })));
    other
        .terminate(&json!(["nothing"]), Recursive::No)
        .await
        .unwrap();
    let ended = other.result().await;
    assert!(
        matches!(ended, Err(ClientError::Terminated { .. })),
        "{ended:?}"
    );

    let failing = client.start(&COLLECT, &0).send().await.unwrap();
    let failed = failing.result().await.unwrap_err();
    assert!(
        failed.to_string().contains("nothing to collect"),
        "{failed}"
    );

    let found = |query: InstanceQuery| async move {
        let found = client.list_instances(query).collect().await.unwrap();
        found
            .into_iter()
            .map(|it| it.instance_id)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        found(InstanceQuery::new().tag("tenant", "t1")).await,
        ["cart"]
    );
    assert_eq!(found(InstanceQuery::new().name("collect")).await.len(), 3);
    assert_eq!(found(InstanceQuery::new().name("nobody")).await.len(), 0);
    let same = client.instance(&COLLECT, "cart");
    assert_eq!(same.result().await.unwrap().len(), 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_is_recorded_and_costs_no_event() {
    let running = Running::memory().await;
    let patched = running.client.start(&PATCHED, &()).send().await.unwrap();
    running
        .client
        .wait_for_start(patched.id(), Payloads::Omit, PATIENCE)
        .await
        .unwrap();
    patched.raise_event(&ITEM, "tea").await.unwrap();
    assert_eq!(patched.result().await.unwrap(), "tea");
    let exported = running.client.export_instance(patched.id()).await.unwrap();
    let stored = exported.to_json();
    assert!(stored.contains("durabletask.patch/greeting"), "{stored}");
    durabletask::testing::replay_json(registry(), patched.id(), &stored).unwrap();
    running.stop().await;
}
