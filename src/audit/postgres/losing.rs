//! Continues after entries of the shared audit log were lost with the database that held them.

use std::path::Path;

use countersign_database::{Database, execute};
use futures_util::FutureExt as _;

use super::{PostgresAudit, append, check, end};
use crate::audit::chain::{key_of, place};
use crate::audit::entry::Event;
use crate::audit::error::{AuditError, Loss};
use crate::audit::head::{AUDIT_HEAD, Found, HeadFile};
use crate::audit::store::head_change;

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
        server_key: &[u8; 32],
        event: Event,
    ) -> Result<Loss, AuditError> {
        let key = key_of(server_key);
        let file = HeadFile::beside(&folder.join(AUDIT_HEAD), server_key);
        let (noted, losses) = match file.read().map_err(AuditError::File)? {
            Found::Nothing => return Err(AuditError::NothingLost),
            Found::Garbage => (None, 1),
            Found::Note(note) => (Some(note.head), note.losses + 1),
        };
        let (loss, head) = database
            .write(move |transaction| {
                let (key, noted, event) = (key.clone(), noted.clone(), event.clone());
                async move {
                    let end = end(transaction).await?;
                    let loss = match &noted {
                        None => Loss::HeadUnreadable,
                        Some(noted) => match check(transaction, &key, &end, noted).await {
                            Ok(()) => return Err(AuditError::NothingLost),
                            Err(AuditError::Incomplete(loss)) => loss,
                            Err(error) => return Err(error),
                        },
                    };
                    let event = event.changing(head_change(noted.as_ref(), &end));
                    let head = append(transaction, &key, &end, &event).await?;
                    let sql = "UPDATE audit_end SET sequence = $1, hash = $2";
                    let sequence = place(head.sequence);
                    execute(transaction, sql, &[&sequence, &head.hash.as_slice()]).await?;
                    Ok((loss, head))
                }
                .boxed()
            })
            .await?;
        file.write(&head, losses).map_err(AuditError::File)?;
        Ok(loss)
    }
}
