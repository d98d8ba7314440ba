//! Exports of the tests, and what is read of them. Each test program uses a part.

use std::io::Write as _;

use countersign_enrollment::import::ImportEntry;
use countersign_enrollment::otpauth;
use zip::write::SimpleFileOptions;

/// An export under `data/import`.
pub(crate) fn data(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/import");
    std::fs::read(format!("{folder}/{name}")).unwrap()
}

/// Names, with the account in our own spelling or the problem's code.
pub(crate) fn told(entries: &[ImportEntry]) -> Vec<(String, String)> {
    let told = |entry: &ImportEntry| {
        let read = entry.content.clone().and_then(|text| otpauth::parse(&text));
        let content = match read {
            Ok(parsed) => parsed.account.to_uri().to_string(),
            Err(problem) => problem.code().to_owned(),
        };
        (entry.name.clone(), content)
    };
    entries.iter().map(told).collect()
}

/// A ZIP of these files.
pub(crate) fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        archive
            .start_file(*name, SimpleFileOptions::default())
            .unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}
