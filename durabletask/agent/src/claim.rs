//! Claims: an activity that must not run twice claims its call first.

use std::collections::BTreeSet;
use std::time::Duration;

use durabletask::entity::EntityRef;
use durabletask::uuid::Uuid;
use durabletask::{ActivityContext, Client, Entity, EntityHandlers, Failure, Operation};

/// How long a claim is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The calls of one run that were begun.
pub(crate) type Claims = BTreeSet<String>;

/// Says whether it is the first claim of a call.
const CLAIM: Operation<Claims, String, bool> = Operation::new("claim");
/// Forgets all of them.
pub(crate) const FORGET: Operation<Claims, (), ()> = Operation::new("forget");

pub(crate) fn handlers() -> EntityHandlers<Claims> {
    EntityHandlers::new()
        .operation(&CLAIM, |claims: &mut Claims, _, call: String| {
            Ok(claims.insert(call))
        })
        .operation(&FORGET, |_, ctx, ()| {
            ctx.delete_state();
            Ok(())
        })
}

/// The entity for a run. An instance's id may be as long as an entity's whole id, so the key is
/// derived from it.
pub(crate) fn of_run(entity: &Entity<Claims>, instance_id: &str) -> EntityRef<Claims> {
    let key = Uuid::new_v5(&Uuid::NAMESPACE_OID, instance_id.as_bytes());
    entity.id(&key.simple().to_string())
}

/// Claims the call that an activity is run for; fails if that was done before.
pub(crate) async fn claim(
    client: &Client,
    entity: &Entity<Claims>,
    context: &ActivityContext,
) -> Result<(), Failure> {
    let id = of_run(entity, context.instance_id());
    let call = context.idempotency_key();
    let first = client.call_entity(&id, &CLAIM, &call, PATIENCE).await;
    let first = first.map_err(|error| {
        let text = format!("the call was not begun, because it could not be claimed: {error}");
        Failure::new("NotClaimed", text)
    })?;
    match first {
        true => Ok(()),
        false => Err(Failure::new(
            "Interrupted",
            "the call was interrupted, and nobody knows whether it was done; it is not repeated",
        )
        .permanent()),
    }
}
