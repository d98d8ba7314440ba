//! Sub-orchestrations, and what reaches them through their parents.

use durabletask::client::{Recursive, Status};
use durabletask::orchestration::SubOrchestrationOptions;
use durabletask::{Event, Failure, Orchestration, OrchestrationContext, Registry, when_all};

use super::{Feature, row};
use crate::backend::{Hub, fresh};

pub fn features() -> Vec<Feature> {
    vec![
        row!("sub-orchestrations", parent_registry, sub_orchestrations),
        row!("parent-instance", parent_registry, parent_instance),
        row!("terminate-recursive", family_registry, terminate_recursive),
        row!("purge-recursive", family_registry, purge_recursive),
    ]
}

const PARENT: Orchestration<Vec<String>, Vec<String>> = Orchestration::new("parent");
const CHILD: Orchestration<String, String> = Orchestration::new("child");

async fn parent(ctx: OrchestrationContext, names: Vec<String>) -> Result<Vec<String>, Failure> {
    let children = names
        .iter()
        .map(|name| ctx.call_sub_orchestration(&CHILD, name));
    let mut got = when_all(children).await?;
    let options =
        SubOrchestrationOptions::new().instance_id(format!("{}-child", ctx.instance_id()));
    let named = ctx.call_sub_orchestration_with(&CHILD, &"named".to_owned(), options);
    got.push(named.await?);
    let broken = ctx.call_sub_orchestration(&CHILD, &"broken".to_owned());
    match broken.await {
        Ok(_) => Err(Failure::new("NoFailure", "the broken child did not fail")),
        Err(error) => {
            got.push(error.to_string());
            Ok(got)
        }
    }
}

async fn child(ctx: OrchestrationContext, name: String) -> Result<String, Failure> {
    if name == "broken" {
        return Err(Failure::new("Broken", "this child fails"));
    }
    if name == "whose" {
        let parent = ctx.parent().map(|parent| parent.instance_id.clone());
        return Ok(parent.unwrap_or_default());
    }
    Ok(format!("Hello, {name}!"))
}

fn parent_registry() -> Registry {
    Registry::new()
        .orchestration(&PARENT, parent)
        .orchestration(&CHILD, child)
}

async fn sub_orchestrations(hub: Hub) {
    let id = fresh("parent");
    let names = vec!["a".to_owned(), "b".to_owned()];
    let start = hub.client.start(&PARENT, &names).instance_id(&id);
    start.send().await.unwrap();
    let got = hub.output::<Vec<String>>(&id).await;
    assert_eq!(got[..3], ["Hello, a!", "Hello, b!", "Hello, named!"]);
    assert!(got[3].contains("this child fails"), "{}", got[3]);
    let named = hub.get(&format!("{id}-child")).await.unwrap();
    assert_eq!(named.status, Status::Completed);
}

/// A child knows whose child it is.
async fn parent_instance(hub: Hub) {
    let id = hub.start(&PARENT, &vec!["whose".to_owned()]).await;
    assert_eq!(hub.output::<Vec<String>>(&id).await[0], id);
}

const GO: Event<()> = Event::new("go");
const FAMILY: Orchestration<u32, ()> = Orchestration::new("family");

/// A chain of sub-orchestrations whose last one waits for an event.
async fn family(ctx: OrchestrationContext, depth: u32) -> Result<(), Failure> {
    if depth == 0 {
        return Ok(ctx.wait_for_event(&GO).await?);
    }
    let options = SubOrchestrationOptions::new().instance_id(format!("{}+", ctx.instance_id()));
    let below = ctx.call_sub_orchestration_with(&FAMILY, &(depth - 1), options);
    Ok(below.await?)
}

fn family_registry() -> Registry {
    Registry::new().orchestration(&FAMILY, family)
}

/// Starts a family; its last member runs. Gives the ids from the first to the last.
async fn start_family(hub: &Hub, depth: u32) -> Vec<String> {
    let root = fresh("family");
    let start = hub.client.start(&FAMILY, &depth).instance_id(&root);
    start.send().await.unwrap();
    let ids: Vec<String> = (0..=depth)
        .map(|level| format!("{root}{}", "+".repeat(level as usize)))
        .collect();
    hub.until(ids.last().unwrap(), |state| state.status == Status::Running)
        .await;
    ids
}

async fn terminate_recursive(hub: Hub) {
    let ids = start_family(&hub, 2).await;
    let terminated = hub
        .client
        .terminate(&ids[0], "enough", Recursive::Yes)
        .await;
    terminated.unwrap();
    for id in &ids {
        assert_eq!(hub.end(id).await.status, Status::Terminated);
    }
    let ids = start_family(&hub, 1).await;
    let terminated = hub.client.terminate(&ids[0], "enough", Recursive::No).await;
    terminated.unwrap();
    assert_eq!(hub.end(&ids[0]).await.status, Status::Terminated);
    hub.stays_open(&ids[1]).await;
    hub.client.raise_event(&ids[1], &GO, &()).await.unwrap();
    assert_eq!(hub.end(&ids[1]).await.status, Status::Completed);
}

async fn purge_recursive(hub: Hub) {
    for (recursive, deleted) in [(Recursive::Yes, 2), (Recursive::No, 1)] {
        let ids = start_family(&hub, 1).await;
        hub.client.raise_event(&ids[1], &GO, &()).await.unwrap();
        hub.end(&ids[0]).await;
        let purged = hub.client.purge(&ids[0], recursive).await.unwrap();
        assert_eq!(purged.deleted, deleted);
        assert!(hub.get(&ids[0]).await.is_none());
        assert_eq!(
            hub.get(&ids[1]).await.is_none(),
            recursive == Recursive::Yes
        );
    }
}
