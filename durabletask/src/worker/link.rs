//! A channel to the scheduler that can be recreated.

use std::sync::{PoisonError, RwLock};

use crate::caller::Caller;
use crate::connection::{self, CompletionStream, Connection, ConnectionError, Headers, Service};

/// A channel and what it takes to make another one.
///
/// A channel reconnects by itself when its peer closes it. One whose peer has
/// vanished without a word it takes for alive, so it has to be replaced.
#[derive(Debug)]
pub(super) struct Link {
    connection: Connection,
    headers: Headers,
    caller: RwLock<Caller>,
}

impl Link {
    pub(super) fn new(connection: &Connection, headers: &Headers) -> Result<Self, ConnectionError> {
        Ok(Self {
            connection: connection.clone(),
            headers: headers.clone(),
            caller: RwLock::new(connection.caller(headers.clone())?),
        })
    }

    /// The present channel. Calls in flight on an older one continue.
    pub(super) fn service(&self) -> Service {
        connection::service(self.caller())
    }

    /// The same channel, for the stream of completions.
    pub(super) fn completion_stream(&self) -> CompletionStream {
        connection::completion_stream(self.caller())
    }

    fn caller(&self) -> Caller {
        self.caller
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Replaces the channel.
    pub(super) fn renew(&self) {
        // It worked before with the same settings; if it does not now, the old one stays.
        if let Ok(caller) = self.connection.caller(self.headers.clone()) {
            *self.caller.write().unwrap_or_else(PoisonError::into_inner) = caller;
        }
    }
}
