//! Entities: a counter that clients signal, and accounts between which an
//! orchestration transfers money under locks.
//!
//! Reads `DTS_CONNECTION_STRING`, or speaks to the emulator's address.

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use durabletask::client::EntityQuery;
use durabletask::{
    Client, Connection, Entity, EntityContext, EntityHandlers, Failure, Operation, Orchestration,
    OrchestrationContext, Registry, Worker,
};
use serde::{Deserialize, Serialize};

const EMULATOR: &str = "Endpoint=http://127.0.0.1:8080;TaskHub=default;Authentication=None";

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    value: i64,
}

const COUNTER: Entity<Counter> = Entity::new("counter");
const ADD: Operation<Counter, i64, i64> = Operation::new("add");

fn counter() -> EntityHandlers<Counter> {
    EntityHandlers::new().operation(&ADD, |counter: &mut Counter, _, amount| {
        counter.value += amount;
        Ok(counter.value)
    })
}

#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

const ACCOUNT: Entity<Account> = Entity::new("account");
const DEPOSIT: Operation<Account, i64, i64> = Operation::new("deposit");
const BALANCE: Operation<Account, (), i64> = Operation::new("balance");

/// Each movement is counted by another entity.
fn deposit(account: &mut Account, ctx: &EntityContext, amount: i64) -> Result<i64, Failure> {
    account.balance += amount;
    ctx.signal_entity(&COUNTER.id("movements"), &ADD, &1)?;
    Ok(account.balance)
}

fn account() -> EntityHandlers<Account> {
    EntityHandlers::new()
        .operation(&DEPOSIT, deposit)
        .operation(&BALANCE, |account, _, ()| Ok(account.balance))
}

#[derive(Serialize, Deserialize)]
struct Transfer {
    from: String,
    to: String,
    amount: i64,
}

/// Whether the money was moved.
const TRANSFER: Orchestration<Transfer, bool> = Orchestration::new("transfer");

async fn transfer(ctx: OrchestrationContext, order: Transfer) -> Result<bool, Failure> {
    let (from, to) = (ACCOUNT.id(&order.from), ACCOUNT.id(&order.to));
    // Nobody else touches the two accounts until the section is left.
    let _section = ctx.lock_entities([&from, &to]).await?;
    if ctx.call_entity(&from, &BALANCE, &()).await? < order.amount {
        return Ok(false);
    }
    ctx.call_entity(&from, &DEPOSIT, &-order.amount).await?;
    ctx.call_entity(&to, &DEPOSIT, &order.amount).await?;
    Ok(true)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::var("DTS_CONNECTION_STRING").unwrap_or_else(|_| EMULATOR.to_owned());
    let connection = Connection::parse(&text)?;

    let registry = Registry::new()
        .entity(&COUNTER, counter())
        .entity(&ACCOUNT, account())
        .orchestration(&TRANSFER, transfer);
    let worker = Worker::builder(&connection)
        .registry(registry)
        .build()?
        .spawn();

    let client = Client::new(&connection)?;
    client
        .signal_entity(&ACCOUNT.id("ada"), &DEPOSIT, &100)
        .await?;
    for amount in [70, 70] {
        let order = Transfer {
            from: "ada".to_owned(),
            to: "bob".to_owned(),
            amount,
        };
        let moved = client.start(&TRANSFER, &order).send().await?;
        println!("{amount} moved: {}", moved.result().await?);
    }

    let accounts = EntityQuery::new().id_prefix("@account@").include_state();
    for entity in client.list_entities(accounts).collect().await? {
        println!("{}: {}", entity.id, entity.state::<Account>()?.balance);
    }

    worker.stop().await?;
    Ok(())
}
