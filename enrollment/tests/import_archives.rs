//! Archives of files of any kind: all that is in them is read or named, within bounds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write as _;

#[allow(dead_code, reason = "each test program uses a part of it")]
mod exports;

use countersign_enrollment::import::{ImportFile, MAX_ACCOUNTS, MAX_IMAGES};
use countersign_enrollment::problem::{ImportFormat, InputProblem};
use exports::{data, told, zip};

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const PASSWORD: &str = "correct horse";

fn github(label: &str) -> String {
    format!("otpauth://totp/{label}?secret={SECRET}&issuer=GitHub")
}

#[test]
fn an_archive_is_all_that_is_in_it() {
    let archive = zip(&[
        ("export/2fauth.json", &data("2fauth.json")),
        ("export/codes.csv", &data("bitwarden.csv")),
        ("readme.txt", b"just a text"),
        ("broken.json", b"{\"items\": 3}"),
        ("database.kdbx", b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5"),
        ("photo.png", b"\x89PNG\r\n\x1a\n"),
        ("__MACOSX/export/._2fauth.json", b"\0\0"),
        (".DS_Store", b"\0\0\0\x01"),
        (
            "inner.zip",
            &zip(&[("ente.json", &data("ente-encrypted.json"))]),
        ),
    ]);
    let file = ImportFile::read(&archive, Some(PASSWORD)).unwrap();
    assert_eq!(file.format, ImportFormat::Archive);
    let names: Vec<&str> = file.images.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["photo.png"]);
    let entries = told(&file.list.entries);
    assert_eq!(entries.len(), 4 + 3 + 3 + 3, "{entries:?}");
    for (name, problem) in [
        ("readme.txt", "import-unknown"),
        ("broken.json", "import-malformed"),
        ("database.kdbx", "import-unsupported"),
    ] {
        let entry = (name.to_owned(), problem.to_owned());
        assert!(entries.contains(&entry), "{entry:?} {entries:?}");
    }
    // A password is requested by the name of what is inside.
    assert_eq!(
        ImportFile::read(&archive, None),
        Err(InputProblem::ImportPasswordMissing {
            format: Some(ImportFormat::Ente)
        })
    );
    // One file says what is wrong with it itself.
    assert_eq!(
        ImportFile::read(&zip(&[("a.txt", b"just a text")]), None),
        Err(InputProblem::ImportUnknown)
    );
    assert_eq!(
        ImportFile::read(&zip(&[]), None),
        Err(InputProblem::ImportEmpty)
    );
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&data("raivo.json")).unwrap();
    let file = ImportFile::read(&gzip.finish().unwrap(), None).unwrap();
    assert_eq!(file.format, ImportFormat::Raivo);
}

#[test]
fn archives_that_burst_are_refused() {
    let too_large = |bytes: &[u8]| {
        let problem = ImportFile::read(bytes, None).unwrap_err();
        assert!(
            matches!(problem, InputProblem::ArchiveTooLarge { .. }),
            "{problem:?}"
        );
    };
    let zeros = vec![b' '; 80 * 1024 * 1024];
    too_large(&zip(&[("bomb.txt", &zeros)]));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&zeros).unwrap();
    too_large(&gzip.finish().unwrap());
    let mut nested = zip(&[("a.txt", github("GitHub:alice").as_bytes())]);
    for depth in 1..8 {
        if depth < 3 {
            assert!(ImportFile::read(&nested, None).is_ok(), "{depth}");
        }
        nested = zip(&[("a.zip", &nested)]);
    }
    too_large(&nested);
    let names: Vec<String> = (0..5_000).map(|number| format!("{number}.txt")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    too_large(&zip(&many));
    let list = format!("{}\n", github("GitHub:alice")).repeat(MAX_ACCOUNTS);
    assert!(matches!(
        ImportFile::read(
            &zip(&[("a", list.as_bytes()), ("b", list.as_bytes())]),
            None
        ),
        Err(InputProblem::ImportTooMany { .. })
    ));
}

/// A page with as many images as rows, each with the URI in its row if the page has them.
fn page(rows: usize, head: &str, with_uris: bool) -> String {
    let mut page = format!("<html><body><table><tr>{head}</tr>");
    for row in 0..rows {
        let uri = format!("otpauth://totp/Many:{row}?secret={SECRET}&amp;issuer=Many");
        let uri = if with_uris { uri.as_str() } else { "" };
        page.push_str(&format!(
            "<tr><td>Many</td><td>{row}</td><td><code>{uri}</code></td>\
             <td><img src=\"data:image/png;base64,iVBORw0KGgo=\"></td></tr>"
        ));
    }
    page + "</table></body></html>"
}

#[test]
fn what_an_app_says_twice_counts_once() {
    // Raivo's archive has the same accounts as JSON and as a page with images.
    let list: Vec<_> = (0..100)
        .map(|n| {
            serde_json::json!({"issuer": "Many", "account": n.to_string(), "secret": SECRET,
                "kind": "TOTP", "algorithm": "SHA1", "digits": "6", "timer": "30"})
        })
        .collect();
    let list = serde_json::to_vec(&list).unwrap();
    let html = page(100, "<th>Seed</th>", false);
    for (name, images) in [("raivo-otp-export.html", 0), ("another.html", 1)] {
        let files: [(&str, &[u8]); 2] = [(name, html.as_bytes()), ("raivo-otp-export.json", &list)];
        let read = ImportFile::read(&zip(&files), None);
        if images == 0 {
            let file = read.unwrap();
            assert_eq!((file.list.entries.len(), file.images.len()), (100, 0));
            assert_eq!(file.format, ImportFormat::Raivo);
        } else {
            let limit = u32::try_from(MAX_IMAGES).unwrap();
            assert_eq!(read, Err(InputProblem::ImportTooManyPictures { limit }));
        }
    }
    let alone = zip(&[("raivo-otp-export.html", page(3, "", false).as_bytes())]);
    assert_eq!(ImportFile::read(&alone, None).unwrap().images.len(), 3);

    // Stratum's page has each URI beside an image of it.
    let head = "<th>Issuer</th><th>Username</th><th>OTP Auth URI</th><th>QR Code</th>";
    let file = ImportFile::read(page(100, head, true).as_bytes(), None).unwrap();
    assert_eq!((file.list.entries.len(), file.images.len()), (100, 0));
    // A row without a URI, and any other page, is not like that.
    let mixed = page(3, head, true).replacen("otpauth:", "other:", 1);
    let file = ImportFile::read(mixed.as_bytes(), None).unwrap();
    assert_eq!((file.list.entries.len(), file.images.len()), (2, 1));
    let file = ImportFile::read(page(3, "<th>Code</th>", true).as_bytes(), None).unwrap();
    assert_eq!((file.list.entries.len(), file.images.len()), (3, 3));
}
