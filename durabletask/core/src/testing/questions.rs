//! Queries and updates of an orchestration in memory.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::codec;
use crate::contract::{Query, Update};
use crate::error::FailureDetails;
use crate::input::InputFor;
use crate::replay::{Execution, QueryError, UpdateAnswer, UpdateMessage};

use super::hub::{TestHub, TestRun};

impl TestHub {
    /// Sends an update `after` the start, on the test clock; `update_id` names it in
    /// [`TestRun::update_answer`].
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use durabletask::testing::TestHub;
    /// use durabletask::{Failure, Orchestration, OrchestrationContext, Registry, Update};
    ///
    /// const RENAME: Update<String, usize> = Update::new("rename");
    /// const FILE: Orchestration<(), String> = Orchestration::new("file");
    ///
    /// async fn file(ctx: OrchestrationContext, (): ()) -> Result<String, Failure> {
    ///     loop {
    ///         let (name, reply) = ctx.wait_for_update(&RENAME).await;
    ///         if name.is_empty() {
    ///             reply.refuse("a name needs a letter");
    ///             continue;
    ///         }
    ///         reply.accept(&name.len())?;
    ///         return Ok(name);
    ///     }
    /// }
    ///
    /// let run = TestHub::new(Registry::new().orchestration(&FILE, file))
    ///     .update(Duration::ZERO, "first", &RENAME, "")
    ///     .update(Duration::from_secs(1), "second", &RENAME, "tea")
    ///     .run(&FILE, &(), |_, _| Err("there are no activities".into()));
    /// assert!(run.update_answer("first", &RENAME).is_some_and(|answer| answer.is_err()));
    /// assert_eq!(run.update_answer("second", &RENAME), Some(Ok(3)));
    /// assert_eq!(run.output().unwrap(), "tea");
    /// ```
    #[must_use]
    pub fn update<I, O>(
        self,
        after: Duration,
        update_id: &str,
        update: &Update<I, O>,
        input: &(impl InputFor<I> + ?Sized),
    ) -> Self {
        let message = codec::encode(input).and_then(|input| {
            codec::encode(&UpdateMessage {
                reply_to: update_id.to_owned(),
                input,
            })
        });
        let event = UpdateMessage::event_name(update.name());
        self.raise_event_json(after, &event, message.ok())
    }
}

impl<R> TestRun<R> {
    /// What became of an update; `None` if it has no answer. One that the end of the
    /// orchestration overtook has failed with `Ended`.
    #[must_use]
    pub fn update_answer<I, O: DeserializeOwned>(
        &self,
        update_id: &str,
        _update: &Update<I, O>,
    ) -> Option<Result<O, FailureDetails>> {
        Some(match self.answers.get(update_id)? {
            UpdateAnswer::Accepted(output) => codec::decode(Some(output))
                .map_err(|reason| FailureDetails::new("PayloadMismatch", reason)),
            UpdateAnswer::Refused(failure) => Err(failure.clone()),
            UpdateAnswer::Ended => Err(FailureDetails::new(
                "Ended",
                "the orchestration ended before it answered the update",
            )),
        })
    }

    /// Asks a query of the orchestration as it is at the end of the run.
    ///
    /// ```
    /// use durabletask::testing::TestHub;
    /// use durabletask::{Failure, Orchestration, OrchestrationContext, Query, Registry};
    ///
    /// const DOUBLED: Query<u32, u32> = Query::new("doubled");
    /// const IDLE: Orchestration<(), ()> = Orchestration::new("idle");
    ///
    /// let registry = Registry::new().orchestration(&IDLE, async |ctx: OrchestrationContext, ()| {
    ///     ctx.answer_query(&DOUBLED, |n| Ok(n * 2));
    ///     Ok(())
    /// });
    /// let run = TestHub::new(registry).run(&IDLE, &(), |_, _| Err(Failure::from("none")));
    /// assert_eq!(run.query(&DOUBLED, &4), Ok(8));
    /// ```
    ///
    /// # Errors
    ///
    /// [`QueryError`] if it does not answer the query, or its handler fails.
    pub fn query<I, O: DeserializeOwned>(
        &self,
        query: &Query<I, O>,
        input: &(impl InputFor<I> + ?Sized),
    ) -> Result<O, QueryError> {
        let mismatch =
            |reason| QueryError::Failed(FailureDetails::new("PayloadMismatch", reason).permanent());
        let input = codec::encode(input).map_err(mismatch)?;
        let registry = Arc::clone(&self.registry);
        let mut execution = Execution::new(self.instance_id.as_str(), None, registry);
        execution.replay(self.history.iter().cloned());
        let answer = execution.query(query.name(), Some(&input))?;
        codec::decode(Some(&answer)).map_err(mismatch)
    }
}
