//! Imports: started, followed and ended through the task hub like enrollments.

use std::time::Duration;

use chrono::{DateTime, Utc};
use countersign_authority::MandatedAct;
use countersign_enrollment::contract::IMPORT;
use countersign_enrollment::ids::ImportId;
use countersign_enrollment::import::job::{
    ImportOutcome, ImportProgress, ImportRequest, ImportSource,
};
use countersign_enrollment::request::Approval;
use countersign_enrollment::sealed::{ImageBytes, ImportKey};
use durabletask::ClientError;
use durabletask::client::{IdReuse, InstanceState, Payloads, Status};
use tokio::time::Instant;

use super::{FromState, Hub, HubError, Requester, StartId, Starting, hub, internal};
use crate::access::secret;
use crate::intake::ImportMaterial;

/// What to import and how.
pub(crate) struct NewImport<'a> {
    /// The id from [`Hub::import_id_for`].
    pub(crate) id: StartId<ImportId>,
    pub(crate) material: Vec<ImportMaterial>,
    pub(crate) pick: Option<Vec<u32>>,
    pub(crate) dry_run: bool,
    /// Whether to skip accounts whose content exists under another name.
    pub(crate) skip_same: bool,
    pub(crate) caller: Requester<'a>,
    pub(crate) approval_asked: bool,
}

/// An import at one moment.
#[derive(Clone, Debug)]
pub(crate) struct ImportSnapshot {
    pub(crate) id: ImportId,
    pub(crate) status: Status,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) last_updated_at: DateTime<Utc>,
    pub(crate) requested_by: String,
    pub(crate) approval_required: bool,
    pub(crate) dry_run: bool,
    pub(crate) progress: Option<ImportProgress>,
    pub(crate) outcome: Option<ImportOutcome>,
    fingerprint: String,
}

impl ImportSnapshot {
    fn just_started(id: &ImportId, request: &ImportRequest, now: DateTime<Utc>) -> Self {
        Self {
            id: id.clone(),
            status: Status::Pending,
            created_at: now,
            last_updated_at: now,
            requested_by: request.requested_by.to_string(),
            approval_required: matches!(request.approval, Approval::Required { .. }),
            dry_run: request.dry_run,
            progress: None,
            outcome: None,
            fingerprint: request.fingerprint.clone(),
        }
    }

    /// Whether it has finished.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(
            self.status,
            Status::Completed | Status::Failed | Status::Terminated | Status::Canceled
        )
    }
}

impl FromState for ImportSnapshot {
    fn read(state: &InstanceState) -> Option<Self> {
        let id: ImportId = state.instance_id.parse().ok()?;
        let request: ImportRequest = state.input().ok()?;
        let created_at = state.created_at.unwrap_or_default();
        let mut snapshot = Self {
            status: state.status,
            last_updated_at: state.last_updated_at.unwrap_or(created_at),
            progress: state.custom_status().ok(),
            ..Self::just_started(&id, &request, created_at)
        };
        if state.status == Status::Completed {
            match state.output() {
                Ok(outcome) => snapshot.outcome = Some(outcome),
                // An output that this release does not understand is not a success.
                Err(_) => snapshot.status = Status::Failed,
            }
        }
        Some(snapshot)
    }

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn requested_by(&self) -> &str {
        &self.requested_by
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn has_ended(&self) -> bool {
        Self::has_ended(self)
    }
}

impl Hub {
    /// The id of the import that a caller starts: with an idempotency key the same each
    /// time.
    pub(crate) fn import_id_for(
        &self,
        caller: &str,
        idempotency_key: Option<&str>,
    ) -> StartId<ImportId> {
        match idempotency_key {
            None => StartId::drawn(ImportId::random()),
            Some(key) => StartId::given(ImportId::from_uuid(self.uuid_for(b"import", caller, key))),
        }
    }

    /// Starts an import, or finds the one that the same caller started with the same id
    /// and files.
    pub(crate) async fn start_import(
        &self,
        new: NewImport<'_>,
    ) -> Result<ImportSnapshot, HubError> {
        let id = new.id;
        let picked = format!("{:?}", new.pick);
        let mut parts: Vec<&[u8]> = vec![
            b"import",
            picked.as_bytes(),
            if new.dry_run { b"dry run" } else { b"" },
            if new.approval_asked { b"approval" } else { b"" },
            if new.skip_same { b"skip same" } else { b"" },
        ];
        parts.extend(new.material.iter().map(|material| material.original()));
        let fingerprint = self.fingerprint(&parts);
        let sources = new
            .material
            .iter()
            .map(|material| match material {
                ImportMaterial::Image { bytes, .. } => self
                    .seal
                    .seal(&*id, &ImageBytes::new(bytes.clone()))
                    .map(ImportSource::Image),
                ImportMaterial::List { list, .. } => {
                    self.seal.seal(&*id, list).map(ImportSource::List)
                }
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(internal)?;
        let key = ImportKey::new(secret::mac(&self.idempotency, &[b"imported accounts"]));
        let key = self.seal.seal(&*id, &key).map_err(internal)?;
        let approval = self.approval(new.approval_asked);
        if let Some(before) = self.started_before(&id, &fingerprint).await? {
            return Ok(before);
        }
        let act = MandatedAct::Import {
            sources: sources
                .iter()
                .map(|source| match source {
                    ImportSource::Image(image) => image.digest(),
                    ImportSource::List(list) => list.digest(),
                })
                .collect(),
            key: key.digest(),
            pick: new.pick.clone(),
            dry_run: new.dry_run,
            skip_same: new.skip_same,
        };
        let mandate = self
            .accept(id.as_str(), act, &approval, new.caller, None)
            .await?;
        let request = ImportRequest {
            mandate: mandate.clone(),
            sources,
            origins: new.material.iter().map(|it| it.origin().clone()).collect(),
            key,
            pick: new.pick,
            dry_run: new.dry_run,
            approval,
            requested_by: new.caller.id.parse().map_err(internal)?,
            fingerprint,
        };
        let starting = Starting {
            start: || self.client.start(&IMPORT, &request).reuse(IdReuse::Never),
            id: id.as_str(),
            caller: new.caller.id,
            fingerprint: &request.fingerprint,
            mandate: &mandate,
        };
        self.start_once(starting, || {
            tracing::info!(instance_id = %id, "import started");
            ImportSnapshot::just_started(&id, &request, self.clock.now())
        })
        .await
    }

    /// The import's state, if there is one and `only`, if given, started it.
    pub(crate) async fn get_import(
        &self,
        id: &ImportId,
        only: Option<&str>,
    ) -> Result<ImportSnapshot, HubError> {
        let snapshot = self.look(id.as_str(), only).await?;
        self.belongs(id.as_str(), only).await?;
        Ok(snapshot)
    }

    /// Waits until the import has finished, or `time` has elapsed.
    pub(crate) async fn follow_import(
        &self,
        snapshot: ImportSnapshot,
        time: Duration,
    ) -> Result<ImportSnapshot, HubError> {
        if snapshot.has_ended() || time.is_zero() {
            return Ok(snapshot);
        }
        let until = Instant::now() + time;
        let id = snapshot.id.as_str();
        let waited = self.client.wait_for_completion(id, Payloads::Omit, time);
        if let Err(error) = waited.await
            && !matches!(
                error,
                ClientError::Timeout { .. } | ClientError::DeadlineExceeded(_)
            )
            && Instant::now() < until
        {
            return Err(hub(error));
        }
        self.get_import(&snapshot.id, None).await
    }
}
