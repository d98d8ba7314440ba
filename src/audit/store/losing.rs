//! Continues after entries of a data folder's audit log were lost.

use std::path::Path;

use chrono::Utc;
use rusqlite::TransactionBehavior;

use super::{
    AuditStore, SCHEMA_VERSION, SYSTEM, TABLES, append, end, insert, missing, upgrade, version,
};
use crate::access::ServerKeys;
use crate::audit::chain::{ChainKeys, KEY_FIELD, Position, SERVER_KEY_SUBJECT};
use crate::audit::change::FieldChange;
use crate::audit::entry::{Action, Event};
use crate::audit::error::{AuditError, Loss};
use crate::audit::head::{Found, Head};

impl AuditStore {
    /// Lets the audit log continue from where it ends now, although entries are
    /// missing, and records that with `reason`. Returns what was missing.
    ///
    /// # Errors
    ///
    /// [`AuditError::NothingLost`] when nothing is missing, [`AuditError::Nothing`] when
    /// there never was an audit log.
    pub fn accept_loss(
        path: &Path,
        keys: impl Into<ServerKeys>,
        event: Event,
    ) -> Result<Loss, AuditError> {
        let keys = keys.into();
        if let Err(error @ AuditError::Nothing(_)) = Self::open_existing(path, &keys) {
            return Err(error);
        }
        let mut store = Self::make(path, &keys)?;
        let keys = ChainKeys::of(&keys);
        let transaction = store
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found = store.head.read().map_err(AuditError::File)?;
        let before = version(&transaction)?;
        if before == 0 {
            transaction.execute_batch(TABLES)?;
        }
        let mut end = end(&transaction, &keys)?;
        let loss = match &found {
            _ if keys.lost_rotation(&end).is_some() => keys.lost_rotation(&end),
            Found::Nothing if before == SCHEMA_VERSION => Some(Loss::HeadMissing),
            Found::Nothing => None,
            Found::Garbage => Some(Loss::HeadUnreadable),
            Found::Note(note) => missing(&transaction, &keys, &end.head, &note.head)?,
        };
        let loss = loss.ok_or(AuditError::NothingLost)?;
        let (noted, losses) = match found {
            Found::Note(note) => (Some(note.head), note.losses + 1),
            Found::Nothing | Found::Garbage => (None, 1),
        };
        upgrade(&transaction, before)?;
        let event = event.changing(head_change(noted.as_ref(), &end.head));
        if keys.lost_rotation(&end).is_some() {
            let bridge = rotated_again(&end, &keys);
            let (text, next) = keys.bridge(&end, &bridge)?;
            insert(&transaction, &text, &next.head)?;
            end = next;
        }
        let end = append(&transaction, &keys, end, [&event])?.head;
        transaction.commit()?;
        store
            .head
            .write(&end, losses)
            .and_then(|_| store.syncing(end.sequence).run())
            .map_err(AuditError::File)?;
        Ok(loss)
    }
}

/// How an accepted loss changed the head.
pub(in crate::audit) fn head_change(noted: Option<&Head>, end: &Head) -> Vec<FieldChange> {
    let noted = noted.map(Head::to_string);
    vec![FieldChange::new(
        "head",
        noted.as_deref(),
        Some(&end.to_string()),
    )]
}

/// What lets a chain that ends under an earlier key continue with the one in use.
pub(in crate::audit) fn rotated_again(end: &Position, keys: &ChainKeys) -> Event {
    let id = &keys.current().id;
    let change = FieldChange::new(KEY_FIELD, end.key.as_deref(), Some(id));
    let event = Event::new(Action::RotateSecret, SYSTEM, Utc::now());
    event.to(SERVER_KEY_SUBJECT).changing(vec![change])
}
