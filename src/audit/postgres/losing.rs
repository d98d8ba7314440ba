//! Continues after entries of the shared audit log were lost with the database that held them.

use std::path::Path;

use countersign_database::Database;
use futures_util::FutureExt as _;

use super::{PostgresAudit, check, end, insert, note_end};
use crate::access::ServerKeys;
use crate::audit::chain::ChainKeys;
use crate::audit::entry::Event;
use crate::audit::error::{AuditError, Loss};
use crate::audit::head::{AUDIT_HEAD, Found, HeadFile};
use crate::audit::store::{head_change, rotated_again};

impl PostgresAudit {
    /// Accepts that entries which this machine has noted in `folder` are missing: the database
    /// was replaced by an older copy. Records `event` with both ends. Each machine that has
    /// noted a later end accepts it for itself, and its front door is started again.
    ///
    /// # Errors
    ///
    /// [`AuditError::NothingLost`] when nothing is missing; as [`PostgresAudit::open`].
    pub async fn accept_loss(
        database: &Database,
        folder: &Path,
        server_keys: impl Into<ServerKeys>,
        event: Event,
    ) -> Result<Loss, AuditError> {
        let server_keys = server_keys.into();
        let file = HeadFile::beside(&folder.join(AUDIT_HEAD), &server_keys);
        let (noted, losses) = match file.read().map_err(AuditError::File)? {
            Found::Nothing => return Err(AuditError::NothingLost),
            Found::Garbage => (None, 1),
            Found::Note(note) => (Some(note.head), note.losses + 1),
        };
        let (loss, head) = database
            .write(move |transaction| {
                let keys = ChainKeys::of(&server_keys);
                let (noted, event) = (noted.clone(), event.clone());
                async move {
                    let mut end = end(transaction, &keys).await?;
                    let rotated = keys.lost_rotation(&end);
                    let loss = match (&rotated, &noted) {
                        (Some(loss), _) => loss.clone(),
                        (None, None) => Loss::HeadUnreadable,
                        (None, Some(noted)) => {
                            match check(transaction, &keys, &end.head, noted).await {
                                Ok(()) => return Err(AuditError::NothingLost),
                                Err(AuditError::Incomplete(loss)) => loss,
                                Err(error) => return Err(error),
                            }
                        }
                    };
                    let event = event.changing(head_change(noted.as_ref(), &end.head));
                    if rotated.is_some() {
                        let bridge = rotated_again(&end, &keys);
                        let (text, next) = keys.bridge(&end, &bridge)?;
                        insert(transaction, &bridge, &text, &next.head).await?;
                        end = next;
                    }
                    let (text, next) = keys.append(&end, &event)?;
                    insert(transaction, &event, &text, &next.head).await?;
                    note_end(transaction, &next).await?;
                    Ok((loss, next.head))
                }
                .boxed()
            })
            .await?;
        file.write(&head, losses).map_err(AuditError::File)?;
        Ok(loss)
    }
}
