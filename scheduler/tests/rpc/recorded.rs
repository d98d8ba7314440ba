//! What official clients send for unset optional fields: the table in
//! docs/WIRE.md is made of what was recorded from them.
use std::collections::{BTreeMap, BTreeSet};

use super::states::compare;

/// The columns of the page, by the names of the record.
const CLIENTS: [&str; 7] = [
    "dotnet",
    "python",
    "python-azuremanaged",
    "js",
    "java",
    "java-1.9",
    "go",
];

/// What whoever calls has to name.
const GIVEN: [&str; 5] = [
    "name",
    "operation",
    "instanceId",
    "targetInstanceId",
    "lockSet",
];

type Record = BTreeMap<(String, String), BTreeMap<String, String>>;

/// RPC and field, and what each client sent in it.
fn record() -> Record {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/conformance/official/recorded.tsv"
    );
    let mut record = Record::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        let [client, rpc, field, value] = parts[..] else {
            panic!("four parts: {line}")
        };
        assert!(CLIENTS.contains(&client), "no column for {client}");
        let key = (rpc.to_owned(), field.to_owned());
        let values = record.entry(key).or_default();
        values.insert(client.to_owned(), value.to_owned());
    }
    record
}

/// What stands in a cell: the value, a dash where the client leaves the field out, nothing
/// where it does not send the message.
fn cell(record: &Record, client: &str, rpc: &str, field: &str) -> String {
    if let Some(value) = record
        .get(&(rpc.to_owned(), field.to_owned()))
        .and_then(|values| values.get(client))
    {
        let last = field.rsplit('.').next().unwrap_or_default();
        return match GIVEN.contains(&last) {
            true => "`given`".to_owned(),
            false => format!("`{value}`"),
        };
    }
    let message = field.rsplit_once('.').map_or("", |(message, _)| message);
    let sends = record.iter().any(|((other, path), values)| {
        other == rpc && path.starts_with(message) && values.contains_key(client)
    });
    if sends { "–" } else { "" }.to_owned()
}

#[test]
fn wire_md_lists_the_recorded_defaults_of_clients() {
    let record = record();
    let mut rows = Vec::new();
    for (rpc, field) in record.keys() {
        let cells: Vec<String> = CLIENTS
            .iter()
            .map(|client| cell(&record, client, rpc, field))
            .collect();
        // What all of them have to send says nothing of their defaults.
        let said: BTreeSet<&str> = cells
            .iter()
            .map(String::as_str)
            .filter(|cell| !cell.is_empty())
            .collect();
        let only_given = said.iter().all(|cell| ["–", "`given`"].contains(cell));
        if said.len() > 1 && (!only_given || field.ends_with("Id")) {
            let mut row = vec![format!("`{rpc}`"), format!("`{field}`")];
            row.extend(cells);
            rows.push(row);
        }
    }
    compare(
        "## What official clients send for unset optional fields",
        &rows,
    );
}
