//! The codes of every account in every file that the readers are tested with, against those
//! that pyotp and oathtool give: `enrollment/tests/data/import/codes.csv`, which `codes.py`
//! beside it writes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use countersign_activities::totp::code_at;
use countersign_enrollment::import::{Found, ImportFile, expand};

/// Files without accounts that are read there: an image's, one without values, and the table.
const OTHERS: [&str; 4] = [
    "codes.csv",
    "codes.py",
    "key-vault-list.json",
    "page-pictures.html",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../enrollment/tests/data/import")
}

/// Of each file and account: times and codes.
type Codes = BTreeMap<(String, String), BTreeMap<u64, String>>;

fn expected() -> Codes {
    let mut codes = Codes::new();
    for line in std::fs::read_to_string(folder().join("codes.csv"))
        .unwrap()
        .lines()
        .skip(1)
    {
        // An account's name can have a comma, and is in quotes then.
        let (file, rest) = line.split_once(',').unwrap();
        let (rest, code) = rest.rsplit_once(',').unwrap();
        let (name, time) = rest.rsplit_once(',').unwrap();
        let account = (file.to_owned(), name.trim_matches('"').to_owned());
        let earlier = codes
            .entry(account)
            .or_default()
            .insert(time.parse().unwrap(), code.to_owned());
        assert_eq!(earlier, None, "{line}");
    }
    codes
}

fn accounts(file: &str) -> Vec<Found> {
    let bytes = std::fs::read(folder().join(file)).unwrap();
    let read = ImportFile::read(&bytes, Some("correct horse"))
        .unwrap_or_else(|problem| panic!("{file}: {problem:?}"));
    let (found, problems) = expand(&read.list.entries);
    assert_eq!(problems, [], "{file}");
    found
}

#[test]
fn every_file_gives_the_codes_that_other_programs_give() {
    let expected = expected();
    let times: BTreeSet<u64> = expected
        .values()
        .flat_map(BTreeMap::keys)
        .copied()
        .collect();
    let mut read = Codes::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        if OTHERS.contains(&file.as_str()) {
            continue;
        }
        for found in accounts(&file) {
            let Ok(parsed) = found.parsed else { continue };
            let account = parsed.account;
            let name = format!(
                "{}:{}",
                account.issuer().unwrap_or_default(),
                account.account_name()
            );
            let codes = times
                .iter()
                .map(|time| (*time, code_at(&account, *time).unwrap().text))
                .collect();
            let earlier = read.insert((file.clone(), name.clone()), codes);
            assert_eq!(earlier, None, "{file}: {name}");
        }
    }
    for (account, codes) in &expected {
        assert_eq!(read.get(account), Some(codes), "{account:?}");
    }
    let unknown: Vec<_> = read
        .keys()
        .filter(|it| !expected.contains_key(it))
        .collect();
    assert_eq!(unknown, Vec::<&(String, String)>::new());
}
