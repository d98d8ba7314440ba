//! Undoing what was done when a later step fails.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde::de::DeserializeOwned;

use crate::contract::Activity;
use crate::error::{Failure, TaskError};
use crate::input::InputFor;

use super::context::OrchestrationContext;
use super::options::TaskOptions;

type Undoing = Pin<Box<dyn Future<Output = Result<(), TaskError>> + Send>>;
type Undo = Box<dyn FnOnce(OrchestrationContext) -> Undoing + Send>;

/// The steps that have to be undone if a later one fails, last first.
///
/// Note how to undo a step before or after it is taken; [`settle`](Self::settle) undoes all
/// of them if the story ended with an error. What is noted may be of any types.
///
/// ```
/// use durabletask::{Activity, Failure, OrchestrationContext, Saga, TaskError};
///
/// const BOOK: Activity<String, u64> = Activity::new("book");
/// const CANCEL: Activity<u64, ()> = Activity::new("cancel");
/// const CHARGE: Activity<String, String> = Activity::new("charge");
///
/// async fn book(ctx: &OrchestrationContext, saga: &mut Saga, city: &str) -> Result<u64, TaskError> {
///     let booking = ctx.call_activity(&BOOK, city).await?;
///     saga.undo_by(&CANCEL, &booking)?;
///     ctx.call_activity(&CHARGE, city).await?;
///     Ok(booking)
/// }
///
/// async fn trip(ctx: OrchestrationContext, city: String) -> Result<u64, Failure> {
///     let mut saga = Saga::new(&ctx);
///     let booked = book(&ctx, &mut saga, &city).await;
///     Ok(saga.settle(booked).await?)
/// }
/// # let _ = trip;
/// ```
#[must_use = "dropping it undoes nothing"]
pub struct Saga {
    context: OrchestrationContext,
    undos: Vec<Undo>,
}

impl Saga {
    /// Nothing to undo yet.
    pub fn new(context: &OrchestrationContext) -> Self {
        Self {
            context: context.clone(),
            undos: Vec::new(),
        }
    }

    /// Notes an activity that undoes a step. Its output is not looked at.
    ///
    /// # Errors
    ///
    /// [`TaskError::Payload`] if `input` cannot be written as JSON.
    pub fn undo_by<I, O>(
        &mut self,
        activity: &Activity<I, O>,
        input: &(impl InputFor<I> + ?Sized),
    ) -> Result<(), TaskError>
    where
        O: DeserializeOwned + Send + 'static,
    {
        self.undo_by_with(activity, input, TaskOptions::default())
    }

    /// Like [`undo_by`](Self::undo_by), with a retry policy, a version or tags.
    ///
    /// # Errors
    ///
    /// As for [`undo_by`](Self::undo_by).
    pub fn undo_by_with<I, O>(
        &mut self,
        activity: &Activity<I, O>,
        input: &(impl InputFor<I> + ?Sized),
        options: TaskOptions,
    ) -> Result<(), TaskError>
    where
        O: DeserializeOwned + Send + 'static,
    {
        let input = serde_json::to_value(input).map_err(|_| TaskError::Payload {
            name: activity.name().to_owned(),
            reason: "its input cannot be written as JSON".to_owned(),
        })?;
        let activity = Activity::<serde_json::Value, serde_json::Value>::named(activity.name());
        self.undo(async move |context| {
            let undone = context.call_activity_with(&activity, &input, options);
            undone.await.map(drop)
        });
        Ok(())
    }

    /// Notes any code that undoes a step.
    pub fn undo<F, Fut>(&mut self, undo: F)
    where
        F: FnOnce(OrchestrationContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        self.undos
            .push(Box::new(move |context| Box::pin(undo(context))));
    }

    /// The value, if the story ended well; otherwise undoes what was noted, last first, and
    /// yields the error.
    ///
    /// # Errors
    ///
    /// [`SagaError`] with the error of the story, and with those of the undoing.
    pub async fn settle<T, E>(self, result: Result<T, E>) -> Result<T, SagaError<E>> {
        match result {
            Ok(value) => Ok(value),
            Err(cause) => Err(SagaError {
                cause,
                not_undone: self.undo_all().await,
            }),
        }
    }

    /// Undoes what was noted, last first. A step that cannot be undone keeps no other from
    /// being undone; yields what went wrong.
    pub async fn undo_all(self) -> Vec<TaskError> {
        let mut errors = Vec::new();
        for undo in self.undos.into_iter().rev() {
            errors.extend(undo(self.context.clone()).await.err());
        }
        errors
    }
}

impl fmt::Debug for Saga {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Saga")
            .field("steps", &self.undos.len())
            .finish_non_exhaustive()
    }
}

/// Why a story failed, and what of it could not be undone.
///
/// ```
/// use durabletask::{Failure, OrchestrationContext, Saga};
///
/// async fn example(ctx: OrchestrationContext, _: ()) -> Result<String, Failure> {
///     let failed: Result<(), std::fmt::Error> = Err(std::fmt::Error);
///     let error = Saga::new(&ctx).settle(failed).await.unwrap_err();
///     assert!(error.not_undone.is_empty());
///     Ok(error.cause.to_string())
/// }
/// # let _ = example;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SagaError<E> {
    /// Why the story failed.
    pub cause: E,
    /// Why steps could not be undone; empty if all of them were.
    pub not_undone: Vec<TaskError>,
}

impl<E: fmt::Display> fmt::Display for SagaError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        if let Some(first) = self.not_undone.first() {
            let count = self.not_undone.len();
            write!(
                f,
                "; {count} steps could not be undone, the first because: {first}"
            )?;
        }
        Ok(())
    }
}

/// A story that ended with a failure fails with it, so that `?` passes it on.
impl From<SagaError<Failure>> for Box<dyn Error + Send + Sync> {
    fn from(error: SagaError<Failure>) -> Self {
        let mut details = error.cause.into_details();
        if let Some(first) = error.not_undone.first() {
            let count = error.not_undone.len();
            let undoing =
                format!("; {count} steps could not be undone, the first because: {first}");
            details.message.push_str(&undoing);
        }
        Box::new(details)
    }
}

impl<E: Error + 'static> Error for SagaError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}
