//! Keeper's CSV, which has no names of columns: folder, title, login, password, address, notes,
//! shared folder, and then names and values of fields in turn. Its JSON is read as any.

use csv::StringRecord;
use zeroize::Zeroizing;

use super::item::Item;
use super::recovery_codes::attach;
use super::{CodesBeside, ImportEntry, joined_name, loose};

/// The name of the field that holds a code.
const CODE: &str = "TFC:Keeper";
/// Where a row's fields begin.
const FIELDS: usize = 7;

/// Whether rows are Keeper's.
pub(super) fn is_table<'a>(rows: impl IntoIterator<Item = &'a StringRecord>) -> bool {
    rows.into_iter()
        .any(|row| fields(row).any(|(name, _)| name == CODE))
}

/// The accounts of a row.
pub(super) fn row(row: &StringRecord) -> Vec<ImportEntry> {
    let cell = |at: usize| row.get(at).unwrap_or_default();
    let mut beside = CodesBeside::default();
    beside.note(cell(5));
    for (name, value) in fields(row) {
        beside.field(name, value);
    }
    let item = Item {
        title: cell(1),
        account_name: cell(2),
        code: "",
    };
    let codes = fields(row).filter(|(name, _)| *name == CODE);
    let mut found = item.entries(codes.map(|(_, value)| value), CodesBeside::default());
    // A note, and what a person has put into fields of an own name.
    let texts = fields(row).filter(|(name, _)| *name != CODE);
    let named: Vec<Zeroizing<String>> = texts
        .map(|(name, value)| Zeroizing::new(format!("{name}: {value}")))
        .collect();
    let texts = named.iter().map(|text| text.as_str());
    loose::add_entries(&mut found, item, [cell(5)].into_iter().chain(texts));
    attach(found, beside, &joined_name(item.title, item.account_name))
}

fn fields(row: &StringRecord) -> impl Iterator<Item = (&str, &str)> {
    let names = row.iter().skip(FIELDS).step_by(2);
    names.zip(row.iter().skip(FIELDS + 1).step_by(2))
}
