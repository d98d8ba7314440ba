//! `plan-import`: what files and codes say becomes a list of accounts, each with what is
//! to be done about it.

use std::collections::BTreeMap;

use countersign_authority::{Mandate, MandatedAct, Open, Permit, Plan};
use countersign_enrollment::account::{AccountPreview, TotpAccount};
use countersign_enrollment::contract::{ImportPlan, ListSource, PlanImport};
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::import::job::{PlannedAccount, PlannedStep};
use countersign_enrollment::import::{self, CodesBeside, Found, ImportList};
use countersign_enrollment::mandate::Digest;
use countersign_enrollment::otpauth::{Parsed, Warning};
use countersign_enrollment::problem::InputProblem;
use countersign_enrollment::recovery::{RecoveryCodes, WithRecovery};
use countersign_enrollment::sealed::{EnvelopeError, ImportKey, OtpauthText};
use durabletask_core::Failure;

use crate::Activities;
use crate::decode_qr::place_of;
use crate::permitted::PermittedKeys;
use crate::validate_otpauth::MAX_TOLD;
use crate::vault::{AccountRecord, VaultError, order};

const ACTION: &str = "plan-import";
/// The largest plan, in bytes of JSON; it is one message of at most 1 MiB.
const MAX_PLAN_BYTES: usize = 900_000;

impl Activities {
    /// Reads the accounts of an import, gathers exports of several parts, and compares
    /// with the vault. It changes nothing.
    ///
    /// # Errors
    ///
    /// Permanent when it is not permitted or an envelope does not open; retriable while the
    /// vault or the ledger does not answer.
    pub(crate) async fn plan_import(&self, input: &PlanImport) -> Result<ImportPlan, Failure> {
        let closed = |error| Failure::from(error).permanent();
        let about = input.import.as_str();
        let checked = self.authority.look(ACTION, &input.mandate, about).await?;
        let permit = checked.permit(ACTION, &[], Plan).await?;
        let open = async |source| checked.permit(ACTION, &[], Open { source }).await;
        let sent = open(Some(input.key.digest())).await?;
        let key = self
            .keys
            .open(&sent, &input.import, &input.key)
            .map_err(closed)?;
        let mut lists: Vec<ImportList> = Vec::new();
        // Positions are counted over all of what was sent, in its order: what is left out or
        // put elsewhere would let another account be taken for the one that was picked.
        let sources = sources_of(permit.mandate());
        if sources.len() != input.lists.len() {
            return Err(closed(EnvelopeError::DoesNotOpen));
        }
        for (list, source) in input.lists.iter().zip(sources) {
            lists.push(match list {
                ListSource::Sent(list) if list.digest() != *source => {
                    return Err(closed(EnvelopeError::DoesNotOpen));
                }
                ListSource::Sent(list) => {
                    let sent = open(Some(list.digest())).await?;
                    self.keys.open(&sent, &input.import, list).map_err(closed)?
                }
                ListSource::Read(list) => {
                    let kept = open(None).await?;
                    self.keys
                        .open_kept(
                            &kept,
                            &place_of(&checked.digest(), source),
                            &input.import,
                            list,
                        )
                        .map_err(closed)?
                }
            });
        }
        let (found, mut problems) = import::expand_lists(&lists);
        let mut read = input.lists.iter().zip(&lists);
        let any = read.any(|(source, list)| {
            matches!(source, ListSource::Sent(_))
                || !list.entries.is_empty()
                || !list.parts.is_empty()
        });
        drop(lists);
        if found.len() > import::MAX_ACCOUNTS {
            return Ok(too_many());
        }
        if found.is_empty() && problems.is_empty() && any {
            problems.push(InputProblem::ImportEmpty);
        }
        let planning = Planning {
            wanted: Wanted::of(permit.mandate()),
            mandate: checked.digest(),
            skip_same: matches!(
                permit.mandate().act,
                MandatedAct::Import {
                    skip_same: true,
                    ..
                }
            ),
            permit: &permit,
            key,
        };
        let mut seen = Seen::default();
        // The same account can come several times, with its recovery codes in one place only.
        for found in &found {
            if let Ok(parsed) = &found.parsed {
                let id = EnrollmentId::derived(&planning.key, &parsed.account);
                seen.beside.entry(id).or_default().merge(&found.beside);
            }
        }
        let mut accounts = Vec::new();
        for (position, found) in (1..).zip(found) {
            accounts.push(
                self.plan_account(&planning, position, found, &mut seen)
                    .await?,
            );
        }
        let plan = ImportPlan { accounts, problems };
        if serde_json::to_vec(&plan)?.len() > MAX_PLAN_BYTES {
            return Ok(too_many());
        }
        // Only what is written down here may be stored under the import's mandate.
        let enrolled: Vec<EnrollmentId> = plan
            .accounts
            .iter()
            .filter_map(|planned| match &planned.step {
                PlannedStep::Enroll { id, .. } => Some(id.clone()),
                _ => None,
            })
            .collect();
        self.authority.plan(&permit, &enrolled).await?;
        Ok(plan)
    }

    /// The accounts in use with this content, however they came in.
    async fn same_there(
        &self,
        planning: &Planning<'_>,
        account: &TotpAccount,
    ) -> Result<Vec<AccountRecord>, Failure> {
        match self.vault.same_as(planning.permit, account).await {
            Ok(same) => Ok(same),
            Err(error) if error.is_retriable() => Err(error.into()),
            Err(error) => Err(Failure::from(error).permanent()),
        }
    }

    async fn plan_account(
        &self,
        planning: &Planning<'_>,
        position: u32,
        found: Found,
        seen: &mut Seen,
    ) -> Result<PlannedAccount, Failure> {
        let Parsed {
            account,
            mut warnings,
        } = match found.parsed {
            Ok(parsed) => parsed,
            Err(problem) => {
                return Ok(PlannedAccount {
                    name: found.name,
                    preview: None,
                    warnings: found.beside.warning().into_iter().collect(),
                    recovery_codes: found.beside.count(),
                    step: PlannedStep::Invalid { problem },
                });
            }
        };
        let id = EnrollmentId::derived(&planning.key, &account);
        // All of an account's codes stand where it comes first.
        let beside = match seen.positions.get(&id) {
            Some(_) => found.beside,
            None => seen.beside.remove(&id).unwrap_or_default(),
        };
        warnings.extend(beside.warning());
        let step = match seen.positions.get(&id) {
            Some(of) => PlannedStep::Repeated { of: *of },
            None => match self.vault.describe(planning.permit, &id).await {
                Ok(record) if record.deleted_at.is_some() => {
                    PlannedStep::Deleted { id: id.clone() }
                }
                Ok(_) => {
                    let lacking = self.not_added(planning, &id, &beside).await?;
                    warnings.extend(lacking);
                    PlannedStep::AlreadyThere { id: id.clone() }
                }
                Err(VaultError::NotFound) => {
                    let same = self.same_there(planning, &account).await?;
                    let there = same.first().filter(|first| {
                        planning.skip_same || is_called_the_same(&first.preview, &account)
                    });
                    if let Some(there) = there {
                        let lacking = self.not_added(planning, &there.id, &beside).await?;
                        warnings.extend(lacking);
                        PlannedStep::AlreadyThere {
                            id: there.id.clone(),
                        }
                    } else {
                        let same = same.into_iter().map(|record| record.id);
                        let same = same.chain(seen.same(&account).cloned());
                        let accounts: Vec<EnrollmentId> = same.take(MAX_TOLD).collect();
                        if !accounts.is_empty() {
                            warnings.push(Warning::Duplicate { accounts });
                        }
                        let recovery = &beside.codes;
                        planning.new_account(&self.keys, position, &id, (&account, recovery))?
                    }
                }
                Err(error) if error.is_retriable() => return Err(error.into()),
                Err(error) => return Err(Failure::from(error).permanent()),
            },
        };
        seen.add(id, position, &account);
        Ok(PlannedAccount {
            name: found.name,
            preview: Some(account.preview()),
            warnings,
            recovery_codes: beside.count(),
            step,
        })
    }

    /// That recovery codes came with an account that is in use without some of them.
    async fn not_added(
        &self,
        planning: &Planning<'_>,
        id: &EnrollmentId,
        beside: &CodesBeside,
    ) -> Result<Option<Warning>, Failure> {
        if beside.codes.is_empty() {
            return Ok(None);
        }
        let count = beside.count();
        let asked = self.vault.has_recovery(planning.permit, id, &beside.codes);
        match asked.await {
            Ok(true) => Ok(None),
            // Someone has removed the account at this moment.
            Ok(false) | Err(VaultError::NotFound | VaultError::Deleted) => {
                Ok(Some(Warning::RecoveryCodesNotAdded { count }))
            }
            Err(error) if error.is_retriable() => Err(error.into()),
            Err(error) => Err(Failure::from(error).permanent()),
        }
    }
}

/// The accounts of an import that were looked at, at most [`import::MAX_ACCOUNTS`].
#[derive(Default)]
struct Seen {
    positions: BTreeMap<EnrollmentId, u32>,
    /// Those with other names, too: what came first with the content.
    contents: Vec<(TotpAccount, EnrollmentId)>,
    /// The recovery codes of those that were not looked at yet, from wherever they came.
    beside: BTreeMap<EnrollmentId, CodesBeside>,
}

impl Seen {
    fn same(&self, account: &TotpAccount) -> Option<&EnrollmentId> {
        let mut contents = self.contents.iter();
        let found = contents.find(|(earlier, _)| earlier.same_content(account));
        found.map(|(_, id)| id)
    }

    fn add(&mut self, id: EnrollmentId, position: u32, account: &TotpAccount) {
        if self.same(account).is_none() {
            self.contents.push((account.clone(), id.clone()));
        }
        self.positions.entry(id).or_insert(position);
    }
}

/// What the accounts of an import are planned with.
struct Planning<'a> {
    permit: &'a Permit<Plan>,
    wanted: Wanted,
    /// Whether to skip accounts whose content is there under another name.
    skip_same: bool,
    /// The digest of the import's mandate.
    mandate: Digest,
    key: ImportKey,
}

impl Planning<'_> {
    /// What is done about an account that is not there.
    fn new_account(
        &self,
        keys: &PermittedKeys,
        position: u32,
        id: &EnrollmentId,
        (account, recovery): (&TotpAccount, &RecoveryCodes),
    ) -> Result<PlannedStep, Failure> {
        let id = id.clone();
        if !self.wanted.has(position) {
            return Ok(PlannedStep::Left { id });
        }
        let text = WithRecovery {
            value: OtpauthText::new(account.to_uri()),
            recovery: recovery.clone(),
        };
        let uri = keys.keep(&self.mandate, &id, &text)?;
        Ok(PlannedStep::Enroll { id, uri })
    }
}

/// Whether an account of the vault has the names of one that is to be added, but for case.
fn is_called_the_same(kept: &AccountPreview, account: &TotpAccount) -> bool {
    order::keys(kept.issuer.as_deref(), &kept.account_name)
        == order::keys(account.issuer(), account.account_name())
}

/// Which accounts the mandate lets an import enroll, by position from 1.
enum Wanted {
    None,
    All,
    Some(Vec<u32>),
}

impl Wanted {
    fn of(mandate: &Mandate) -> Self {
        match &mandate.act {
            MandatedAct::Import {
                dry_run: false,
                pick,
                ..
            } => match pick {
                Some(pick) => Self::Some(pick.clone()),
                None => Self::All,
            },
            _ => Self::None,
        }
    }

    fn has(&self, position: u32) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Some(positions) => positions.contains(&position),
        }
    }
}

/// The digests of what was sent, in its order.
fn sources_of(mandate: &Mandate) -> &[Digest] {
    match &mandate.act {
        MandatedAct::Import { sources, .. } => sources,
        MandatedAct::Enroll { .. } | MandatedAct::Request { .. } => &[],
    }
}

fn too_many() -> ImportPlan {
    ImportPlan {
        accounts: Vec::new(),
        problems: vec![import::too_many()],
    }
}
