//! `plan-import`: what files and codes say becomes a list of accounts, each with what is
//! to be done about it.

use std::collections::BTreeMap;

use countersign_enrollment::contract::{ImportPlan, PlanImport};
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::import::job::{PlannedAccount, PlannedStep};
use countersign_enrollment::import::{self, Found, ImportList};
use countersign_enrollment::otpauth::Parsed;
use countersign_enrollment::problem::InputProblem;
use countersign_enrollment::sealed::{ImportKey, OtpauthText};
use durabletask_core::Failure;

use crate::Activities;
use crate::vault::VaultError;

/// The largest plan, in bytes of JSON; it is one message of at most 1 MiB.
const MAX_PLAN_BYTES: usize = 900_000;

impl Activities {
    /// Reads the accounts of an import, gathers exports of several parts, and compares
    /// with the vault. It changes nothing.
    ///
    /// # Errors
    ///
    /// Permanent when an envelope does not open; retriable while the vault does not
    /// answer.
    pub(crate) async fn plan_import(&self, input: &PlanImport) -> Result<ImportPlan, Failure> {
        let closed = |error| Failure::from(error).permanent();
        let key = self.keys.open(&input.import, &input.key).map_err(closed)?;
        let lists = input.lists.iter();
        let lists: Vec<ImportList> = lists
            .map(|list| self.keys.open(&input.import, list).map_err(closed))
            .collect::<Result<_, _>>()?;
        let (found, mut problems) = import::expand(lists.iter().flat_map(|list| &list.entries));
        drop(lists);
        if found.len() > import::MAX_ACCOUNTS {
            return Ok(too_many());
        }
        if found.is_empty() && problems.is_empty() && !input.lists.is_empty() {
            problems.push(InputProblem::ImportEmpty);
        }
        let mut seen = BTreeMap::new();
        let mut accounts = Vec::new();
        for (position, found) in (1..).zip(found) {
            accounts.push(self.plan_account(position, found, &key, &mut seen).await?);
        }
        let plan = ImportPlan { accounts, problems };
        if serde_json::to_vec(&plan)?.len() > MAX_PLAN_BYTES {
            return Ok(too_many());
        }
        Ok(plan)
    }

    async fn plan_account(
        &self,
        position: u32,
        found: Found,
        key: &ImportKey,
        seen: &mut BTreeMap<EnrollmentId, u32>,
    ) -> Result<PlannedAccount, Failure> {
        let Parsed { account, warnings } = match found.parsed {
            Ok(parsed) => parsed,
            Err(problem) => {
                return Ok(PlannedAccount {
                    name: found.name,
                    preview: None,
                    warnings: Vec::new(),
                    step: PlannedStep::Invalid { problem },
                });
            }
        };
        let id = EnrollmentId::derived(key, &account);
        let step = match seen.get(&id) {
            Some(of) => PlannedStep::Repeated { of: *of },
            None => match self.vault.describe(&id).await {
                Ok(record) if record.deleted_at.is_some() => {
                    PlannedStep::Deleted { id: id.clone() }
                }
                Ok(_) => PlannedStep::AlreadyThere { id: id.clone() },
                Err(VaultError::NotFound) => PlannedStep::Enroll {
                    uri: self
                        .keys
                        .seal_key()
                        .seal(&id, &OtpauthText::new(account.to_uri()))?,
                    id: id.clone(),
                },
                Err(error) if error.is_retriable() => return Err(error.into()),
                Err(error) => return Err(Failure::from(error).permanent()),
            },
        };
        seen.entry(id).or_insert(position);
        Ok(PlannedAccount {
            name: found.name,
            preview: Some(account.preview()),
            warnings,
            step,
        })
    }
}

fn too_many() -> ImportPlan {
    ImportPlan {
        accounts: Vec::new(),
        problems: vec![import::too_many()],
    }
}
