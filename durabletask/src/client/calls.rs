//! Calling an entity and waiting for its answer.
//!
//! The protocol lets clients signal entities only, so an orchestration calls in their name.

use std::time::Duration;

use durabletask_core::{
    EntityId, EntityRef, InputFor, Operation, Orchestration, OrchestrationContext, Registry, codec,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Client, ClientError, Recursive};

/// The entity, the operation's name, and its input.
type Call = (EntityId, String, Value);

/// The orchestration that calls an entity for a client.
const CALL_ENTITY: Orchestration<Call, Value> = Orchestration::new("durabletask.callEntity");

/// Adds what answers [`Client::call_entity`] to a worker that has entities.
pub(crate) fn register(registry: Registry) -> Registry {
    if registry.entity_names().next().is_none()
        || registry.has_orchestration(CALL_ENTITY.name(), "")
    {
        return registry;
    }
    registry.orchestration(
        &CALL_ENTITY,
        async |ctx: OrchestrationContext, (entity, operation, input): Call| {
            let operation = Operation::<Value, Value, Value>::named(operation);
            Ok(ctx.call_entity(&entity.of(), &operation, &input).await?)
        },
    )
}

impl Client {
    /// Calls an operation of an entity and waits for its answer, for at most `timeout`.
    ///
    /// An orchestration makes the call, because the protocol has no such message for
    /// clients; its record is removed once it has answered. Every worker of this crate that
    /// has entities can run it. If the answer does not come in time, the operation may run
    /// all the same.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use durabletask::{Client, ClientError, Entity, Operation};
    ///
    /// const ACCOUNT: Entity<i64> = Entity::new("account");
    /// const DEPOSIT: Operation<i64, i64, i64> = Operation::new("deposit");
    ///
    /// async fn deposit(client: &Client, cents: i64) -> Result<i64, ClientError> {
    ///     let ada = ACCOUNT.id("ada");
    ///     client.call_entity(&ada, &DEPOSIT, &cents, Duration::from_secs(10)).await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ClientError::Failed`] if the operation failed; its own failure is the innermost
    /// cause. [`ClientError::Timeout`] after `timeout`, and others.
    pub fn call_entity<'a, S, I, O: DeserializeOwned, P: InputFor<I> + ?Sized>(
        &'a self,
        entity: &EntityRef<S>,
        operation: &Operation<S, I, O>,
        input: &P,
        timeout: Duration,
    ) -> impl Future<Output = Result<O, ClientError>> + use<'a, S, I, O, P> {
        let (entity, operation) = (entity.id().clone(), operation.name().to_owned());
        let input = serde_json::to_value(input).map_err(|_| {
            ClientError::Payload(format!(
                "the input of '{operation}' cannot be written as JSON"
            ))
        });
        async move {
            let call = (entity, operation, input?);
            let calling = self.start(&CALL_ENTITY, &call).send().await?;
            let answer = calling.result_within(timeout).await;
            if !matches!(answer, Err(ClientError::Timeout { .. }))
                && let Err(error) = self.purge(calling.id(), Recursive::No).await
            {
                tracing::debug!(instance_id = calling.id(), %error, "the record of a call stays");
            }
            codec::decode(Some(&answer?.to_string())).map_err(ClientError::Payload)
        }
    }
}
