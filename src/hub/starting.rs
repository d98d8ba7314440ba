//! Starts instances: each once, under one mandate, whatever happens to the call.

use std::fmt::Display;

use countersign_enrollment::mandate::SignedMandate;
use durabletask::ClientError;
use durabletask::client::{Payloads, StartRequest};
use serde::Deserialize;

use super::error::hub;
use super::patience::PAUSES;
use super::{FromState, Hub, HubError, StartId};
use crate::access::secret;

/// The input of whatever runs under a mandate.
#[derive(Deserialize)]
struct UnderMandate {
    mandate: SignedMandate,
}

/// An instance to start under a mandate.
pub(super) struct Starting<'a, F> {
    /// Makes the request: once for each try.
    pub(super) start: F,
    pub(super) id: &'a str,
    pub(super) caller: &'a str,
    /// The keyed hash of what was requested.
    pub(super) fingerprint: &'a str,
    pub(super) mandate: &'a SignedMandate,
}

impl Hub {
    /// Starts an instance under a mandate, or returns the one that a request with the same
    /// fingerprint has started under its id.
    ///
    /// A connection that breaks under the call, or a task hub that is just being restarted, is no
    /// failure: whether the start arrived is looked up by the mandate, which is its own, and it is
    /// sent again otherwise.
    pub(super) async fn start_once<S: FromState, O, F: Fn() -> StartRequest<O>>(
        &self,
        starting: Starting<'_, F>,
        just_started: impl FnOnce() -> S,
    ) -> Result<S, HubError> {
        let Starting {
            start,
            id,
            caller,
            fingerprint,
            mandate,
        } = starting;
        let mut pauses = PAUSES.iter();
        loop {
            let start = start().instance_id(id).tag("requestedBy", caller);
            let error = match start.send().await {
                Ok(_) => return Ok(just_started()),
                Err(error) => error,
            };
            let pause = match error {
                ClientError::AlreadyExists { .. } => {
                    // By an earlier try whose answer was lost.
                    if self.runs_under(id, mandate).await? {
                        return Ok(just_started());
                    }
                    self.mandates.never_began(mandate).await?;
                    return self.repeated(id, fingerprint).await;
                }
                ClientError::Unavailable(_) => pauses.next(),
                _ => None,
            };
            let Some(pause) = pause else {
                return Err(hub(error));
            };
            tokio::time::sleep(*pause).await;
            if self.runs_under(id, mandate).await? {
                return Ok(just_started());
            }
        }
    }

    /// Whether the instance was started under this mandate.
    async fn runs_under(&self, id: &str, mandate: &SignedMandate) -> Result<bool, HubError> {
        let state = self.client.get(id, Payloads::Include).await.map_err(hub)?;
        let runs = state.map(|state| state.input::<UnderMandate>());
        Ok(matches!(runs, Some(Ok(runs)) if runs.mandate == *mandate))
    }

    /// What was started earlier under the same id by an equal request, if something was.
    ///
    /// To be asked before a mandate is registered: an answer can be lost, and of a second mandate
    /// nobody would know whether something runs under it. Decisions would be made about that one,
    /// and the instance, which runs under the first, would ignore them.
    pub(super) async fn started_before<S: FromState, Id: Display>(
        &self,
        id: &StartId<Id>,
        fingerprint: &str,
    ) -> Result<Option<S>, HubError> {
        if id.drawn {
            return Ok(None);
        }
        let id = id.to_string();
        if self.mandates.latest(&id).await?.is_none() {
            return Ok(None);
        }
        match self.repeated(&id, fingerprint).await {
            Ok(seen) => Ok(Some(seen)),
            Err(HubError::Unknown) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What was started earlier under the same id, if by an equal request.
    async fn repeated<S: FromState>(&self, id: &str, fingerprint: &str) -> Result<S, HubError> {
        let seen: S = self.look(id, None).await?;
        if secret::same(seen.fingerprint().as_bytes(), fingerprint.as_bytes()) {
            Ok(seen)
        } else {
            Err(HubError::KeyReused)
        }
    }

    /// Withdraws the mandates of `id` under which nothing was started, if something runs under
    /// another one: to be done before anyone decides about it, since what is decided is decided
    /// under one mandate, and what runs knows its own only.
    ///
    /// Requests with one id that come at once have a mandate each, and one of them starts it. The
    /// others withdraw theirs, unless their process or the task hub is gone at that moment.
    pub(super) async fn leave_one_mandate(&self, id: &str) -> Result<(), HubError> {
        let open = self.mandates.still_open(id).await?;
        if open.len() < 2 {
            return Ok(());
        }
        let state = self.client.get(id, Payloads::Include).await.map_err(hub)?;
        let Some(Ok(runs)) = state.map(|state| state.input::<UnderMandate>()) else {
            return Ok(());
        };
        if !open.iter().any(|(signed, _)| *signed == runs.mandate) {
            return Ok(());
        }
        for (signed, mandate) in &open {
            // An account of an import has the mandate of the whole import.
            if *signed != runs.mandate && mandate.id == id {
                tracing::warn!(instance_id = %id, "a mandate under which nothing was started is withdrawn");
                self.mandates.never_began(signed).await?;
            }
        }
        Ok(())
    }
}
