//! Expands import entries to accounts, and checks the positions that were picked.

use super::{CodesBeside, ImportEntry, ImportList};
use crate::code_parts;
use crate::google_export::{self, ExportPart};
use crate::otpauth::{self, Parsed};
use crate::problem::InputProblem;

/// An account of an import, with its name where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Public metadata, may be empty.
    pub name: String,
    /// The account, or why it cannot be enrolled.
    pub parsed: Result<Parsed, InputProblem>,
    /// The recovery codes that came with it.
    pub beside: CodesBeside,
}

/// Every account of the entries, those of exports last; what is missing of an export is
/// a problem. An account's place in it, counted from 1, is its position in the import.
#[must_use]
pub fn expand<'a>(
    entries: impl IntoIterator<Item = &'a ImportEntry>,
) -> (Vec<Found>, Vec<InputProblem>) {
    let mut parts = Vec::new();
    let mut found = Vec::new();
    for entry in entries {
        let ImportEntry {
            name,
            content,
            beside,
        } = entry;
        let parsed = match content {
            Ok(text) => otpauth::parse(text),
            Err(problem) => Err(problem.clone()),
        };
        // What surrounded the export's text is taken off as it is from a URI.
        let parsed = match (parsed, content) {
            (Err(InputProblem::GoogleExport), Ok(text)) => {
                match otpauth::unwrapped(text).and_then(|text| ExportPart::parse(&text)) {
                    Ok(part) => {
                        parts.push(part);
                        continue;
                    }
                    Err(problem) => Err(problem),
                }
            }
            (parsed, _) => parsed,
        };
        let name = name.clone();
        let beside = beside.clone();
        found.push(Found {
            name,
            parsed,
            beside,
        });
    }
    let mut problems = Vec::new();
    for export in google_export::gather(parts) {
        if !export.missing.is_empty() {
            problems.push(InputProblem::ExportPartsMissing {
                of: export.of,
                missing: export.missing,
            });
        } else if export.unsure {
            problems.push(InputProblem::ExportPartsUnsure { of: export.of });
        }
        found.extend(export.accounts.into_iter().map(|account| Found {
            name: account.name,
            parsed: account.parsed,
            beside: CodesBeside::default(),
        }));
    }
    (found, problems)
}

/// Every account of lists, as [`expand`] finds them; texts that are split over several QR codes
/// count as entries after all others, and what is missing of one is a problem. What such a text
/// says that is not an account is left out, as it is where a single code says it.
#[must_use]
pub fn expand_lists(lists: &[ImportList]) -> (Vec<Found>, Vec<InputProblem>) {
    let gathered = code_parts::gather(lists.iter().flat_map(|list| &list.parts));
    let joined: Vec<ImportEntry> = gathered
        .joined
        .iter()
        .filter(|joined| otpauth::is_meant(&joined.text))
        .map(|joined| ImportEntry::text(&joined.text))
        .collect();
    let entries = lists.iter().flat_map(|list| &list.entries);
    let (found, mut problems) = expand(entries.chain(&joined));
    problems.extend(gathered.problems);
    (found, problems)
}

/// The problem that positions were picked, in ascending order, that none of `count` accounts has;
/// none if there is no account at all, which is a problem in itself.
#[must_use]
pub fn invalid_positions(pick: &[u32], count: usize) -> Option<InputProblem> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let missing: Vec<u32> = pick.iter().copied().filter(|it| *it > count).collect();
    (count > 0 && !missing.is_empty()).then_some(InputProblem::PickNotThere { count, missing })
}
