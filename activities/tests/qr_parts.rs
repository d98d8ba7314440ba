//! Texts that are split over several QR codes (structured append, ISO/IEC 18004): joined where
//! everything is there and fits, and never enrolled in part.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod drawn;

use std::path::Path;
use std::time::Duration;

use countersign_activities::images::ReadLimits;
use countersign_activities::qr::{self, ScanResult};
use countersign_enrollment::code_parts::{CodePart, gather};
use countersign_enrollment::import::{ImportEntry, ImportList, expand_lists};
use countersign_enrollment::problem::InputProblem;
use countersign_enrollment::sealed::Sealable as _;
use drawn::{BitText, MODULE, code, parity, png, sheet, split};
use image::GrayImage;

const URI: &str =
    "otpauth://totp/GitHub:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=GitHub";
const OTHER: &str = "otpauth://totp/Acme:bob?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Acme";

fn examine(bytes: &[u8]) -> ScanResult {
    let limits = ReadLimits {
        deadline: Duration::from_secs(30),
        ..ReadLimits::default()
    };
    qr::examine(bytes, &limits).unwrap()
}

fn pictures(codes: Vec<BitText>) -> Vec<GrayImage> {
    codes.into_iter().map(|code| code.draw(MODULE)).collect()
}

/// What an image with these codes says, and what is wrong with it.
fn read(codes: Vec<BitText>) -> (Vec<String>, Vec<InputProblem>) {
    let reading = examine(&png(&sheet(&pictures(codes), 4)));
    let texts = reading.payloads.iter().map(|it| it.expose().to_owned());
    (texts.collect(), reading.split)
}

fn missing(of: u32, there: &[u32], missing: &[u32]) -> String {
    format!("code-parts-missing {of} {there:?} {missing:?}")
}

fn told(problem: &InputProblem) -> String {
    match problem {
        InputProblem::CodePartsMissing {
            of,
            there,
            missing: lack,
            ..
        } => missing(*of, there, lack),
        problem => problem.code().to_owned(),
    }
}

#[test]
fn parts_in_one_image_are_joined_if_they_are_all_there_and_fit() {
    let mixed = || "code-parts-mixed".to_owned();
    let wrong = |index: usize, of: usize, parity: u8, text: &str| {
        BitText::default()
            .part(index, of, parity)
            .bytes(text.as_bytes())
    };
    let (two, sum) = (split(URI.as_bytes(), 2), parity(URI.as_bytes()));
    let same_sum = {
        // A text of another account whose parity is the same.
        let mut text = OTHER.replace("bob", "bo").into_bytes();
        let last = text.len();
        text.extend([b'&', b'x', b'=']);
        let rest = parity(&text) ^ sum;
        text.extend([rest | 0x40, 0x40 & !rest]);
        assert_eq!(parity(&text), sum, "{last}");
        text
    };
    let pick = |codes: &[BitText], places: &[usize]| -> Vec<BitText> {
        places.iter().map(|place| codes[*place].clone()).collect()
    };
    let both = |a: Vec<BitText>, b: Vec<BitText>| [a, b].concat();
    let four = split(URI.as_bytes(), 4);
    for (name, codes, texts, problems) in [
        ("both of two", two.clone(), vec![URI], vec![]),
        ("in any order", pick(&two, &[1, 0]), vec![URI], vec![]),
        ("three", split(URI.as_bytes(), 3), vec![URI], vec![]),
        (
            "five, shuffled",
            pick(&split(URI.as_bytes(), 5), &[3, 0, 4, 2, 1]),
            vec![URI],
            vec![],
        ),
        (
            "sixteen",
            split(URI.as_bytes(), 16).into_iter().take(16).collect(),
            vec![URI],
            vec![],
        ),
        ("one twice", pick(&two, &[0, 1, 0, 1, 1]), vec![URI], vec![]),
        ("a set of one", split(URI.as_bytes(), 1), vec![URI], vec![]),
        (
            "two sets",
            both(two.clone(), split(OTHER.as_bytes(), 3)),
            vec![URI, OTHER],
            vec![],
        ),
        (
            "the first alone",
            pick(&two, &[0]),
            vec![],
            vec![missing(2, &[1], &[2])],
        ),
        (
            "the second alone",
            pick(&two, &[1]),
            vec![],
            vec![missing(2, &[2], &[1])],
        ),
        (
            "two of four",
            pick(&four, &[0, 2]),
            vec![],
            vec![missing(4, &[1, 3], &[2, 4])],
        ),
        (
            "the first twice",
            pick(&two, &[0, 0]),
            vec![],
            vec![missing(2, &[1], &[2])],
        ),
        (
            "one set whole and one not",
            both(two.clone(), pick(&split(OTHER.as_bytes(), 3), &[0, 1])),
            vec![URI],
            vec![missing(3, &[1, 2], &[3])],
        ),
        (
            "halves of two sets",
            both(pick(&two, &[0]), pick(&split(OTHER.as_bytes(), 2), &[1])),
            vec![],
            vec![missing(2, &[1], &[2]), missing(2, &[2], &[1])],
        ),
        (
            "different totals",
            both(pick(&two, &[0]), vec![wrong(1, 3, sum, &URI[41..])]),
            vec![],
            vec![missing(2, &[1], &[2]), missing(3, &[2], &[1, 3])],
        ),
        (
            "a wrong parity",
            vec![
                wrong(0, 2, sum ^ 1, &URI[..41]),
                wrong(1, 2, sum ^ 1, &URI[41..]),
            ],
            vec![],
            vec![mixed()],
        ),
        (
            "a part of another text",
            both(pick(&two, &[0]), vec![wrong(1, 2, sum, &OTHER[41..])]),
            vec![],
            vec![mixed()],
        ),
        (
            "two sets of one parity",
            both(two.clone(), split(&same_sum, 2)),
            vec![],
            vec![mixed()],
        ),
        (
            "beyond its total",
            vec![wrong(2, 2, sum, URI)],
            vec![],
            vec![mixed()],
        ),
        (
            "a set of one, wrong",
            vec![wrong(0, 1, sum ^ 1, URI)],
            vec![],
            vec![mixed()],
        ),
        (
            "said again as a whole",
            vec![
                BitText::default()
                    .part(0, 2, sum)
                    .part(0, 1, sum)
                    .bytes(URI.as_bytes()),
            ],
            vec![],
            vec![mixed()],
        ),
        (
            "said in the middle",
            vec![
                BitText::default()
                    .bytes(&URI.as_bytes()[..20])
                    .part(0, 2, sum)
                    .bytes(&URI.as_bytes()[20..41]),
            ],
            vec![],
            vec![missing(2, &[1], &[2])],
        ),
    ] {
        let (found, split) = read(codes);
        let split: Vec<String> = split.iter().map(told).collect();
        assert_eq!(
            found.iter().map(String::as_str).collect::<Vec<_>>(),
            texts,
            "{name}"
        );
        assert_eq!(split, problems, "{name}");
    }
}

#[test]
fn a_part_beside_whole_codes_is_still_a_part() {
    let mut codes = vec![code(OTHER)];
    codes.extend(pictures(
        split(URI.as_bytes(), 2).into_iter().take(1).collect(),
    ));
    let reading = examine(&png(&sheet(&codes, 2)));
    let texts: Vec<&str> = reading.payloads.iter().map(qr::Payload::expose).collect();
    assert_eq!(texts, [OTHER]);
    assert_eq!(
        reading.split.iter().map(told).collect::<Vec<_>>(),
        [missing(2, &[1], &[2])]
    );
    assert_eq!(reading.split[0].regions().len(), 1);
    assert!(!format!("{reading:?}").contains("GEZDGNBV"));
}

#[test]
fn characters_may_be_split_between_codes_and_encoded_as_they_like() {
    let text = "otpauth://totp/Zürich:Zoë?secret=GEZDGNBVGY3TQOJQ";
    let latin: Vec<u8> = text
        .chars()
        .map(|it| u8::try_from(u32::from(it)).unwrap())
        .collect();
    let middle = text.find('ü').unwrap() + 1;
    let (head, tail) = text.as_bytes().split_at(middle);
    let part = |index, sum| BitText::default().part(index, 2, sum);
    for (name, codes) in [
        ("a character in two codes", {
            let sum = parity(text.as_bytes());
            vec![part(0, sum).bytes(head), part(1, sum).bytes(tail)]
        }),
        // As segno does: UTF-8 is written, and the parity is that of Latin-1.
        ("the parity of another encoding", {
            let sum = parity(&latin);
            vec![
                part(0, sum).eci(26).bytes(head),
                part(1, sum).eci(26).bytes(tail),
            ]
        }),
        ("Latin-1", {
            let (sum, (head, tail)) = (parity(&latin), latin.split_at(30));
            vec![
                part(0, sum).eci(3).bytes(head),
                part(1, sum).eci(3).bytes(tail),
            ]
        }),
        ("the encoding said first", {
            let (sum, (head, tail)) = (parity(&latin), latin.split_at(30));
            let first = BitText::default().eci(3).part(0, 2, sum).bytes(head);
            vec![first, BitText::default().eci(3).part(1, 2, sum).bytes(tail)]
        }),
    ] {
        let (found, problems) = read(codes);
        assert_eq!(found, [text], "{name}");
        assert_eq!(problems, [], "{name}");
    }
}

/// The codes of one image, as they go into the plan of an import.
fn list(codes: Vec<BitText>) -> ImportList {
    let reading = examine(&png(&sheet(&pictures(codes), 4)));
    let entries = reading.payloads.iter().filter(|it| !it.is_joined());
    let list = ImportList {
        entries: entries.map(|it| ImportEntry::text(it.expose())).collect(),
        parts: reading.parts,
    };
    ImportList::from_plaintext(list.to_plaintext()).unwrap()
}

#[test]
fn parts_in_several_images_are_joined_when_an_import_is_planned() {
    let (two, three) = (split(URI.as_bytes(), 2), split(OTHER.as_bytes(), 3));
    let one = |codes: &[BitText], place: usize| list(vec![codes[place].clone()]);
    for (name, lists, accounts, problems) in [
        ("one each", vec![one(&two, 0), one(&two, 1)], 1, vec![]),
        (
            "the second first",
            vec![one(&two, 1), one(&two, 0)],
            1,
            vec![],
        ),
        (
            "whole, and a part again",
            vec![list(two.clone()), one(&two, 0)],
            1,
            vec![],
        ),
        (
            "two sets over three pictures",
            vec![
                list(vec![two[0].clone(), three[2].clone()]),
                one(&three, 0),
                list(vec![three[1].clone(), two[1].clone()]),
            ],
            2,
            vec![],
        ),
        (
            "one of two",
            vec![one(&two, 0)],
            0,
            vec![missing(2, &[1], &[2])],
        ),
        (
            "two of three",
            vec![one(&three, 2), one(&three, 0)],
            0,
            vec![missing(3, &[1, 3], &[2])],
        ),
        (
            "beside a whole code",
            vec![
                list(vec![BitText::default().bytes(OTHER.as_bytes())]),
                one(&two, 1),
            ],
            1,
            vec![missing(2, &[2], &[1])],
        ),
        (
            "from different sets",
            vec![
                one(&two, 0),
                list(vec![
                    BitText::default()
                        .part(1, 2, parity(URI.as_bytes()))
                        .bytes(&OTHER.as_bytes()[41..]),
                ]),
            ],
            0,
            vec!["code-parts-mixed".to_owned()],
        ),
        (
            "a web address",
            vec![list(split(b"https://example.com/get-the-app", 2))],
            0,
            vec![],
        ),
    ] {
        let (found, split) = expand_lists(&lists);
        assert_eq!(
            found.iter().filter(|it| it.parsed.is_ok()).count(),
            accounts,
            "{name}"
        );
        assert_eq!(found.len(), accounts, "{name}");
        assert_eq!(
            split.iter().map(told).collect::<Vec<_>>(),
            problems,
            "{name}"
        );
    }
}

/// Drawn by segno 1.6.6: `segno.make_sequence(text, symbol_count=n)`.
#[test]
fn sets_of_another_writer_are_joined() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parts");
    let picture = |name: String| examine(&std::fs::read(folder.join(name)).unwrap());
    for (name, of, text) in [
        ("ascii", 2, URI),
        (
            "latin",
            3,
            "otpauth://totp/Zürich:Zoë?secret=GEZDGNBVGY3TQOJQ&issuer=Zürich",
        ),
        (
            "greek",
            4,
            "otpauth://totp/Λύκος:άλφα?secret=GEZDGNBVGY3TQOJQ&issuer=Λύκος",
        ),
    ] {
        let parts: Vec<CodePart> = (1..=of)
            .flat_map(|number| {
                let reading = picture(format!("{name}-{number}.png"));
                assert!(reading.payloads.is_empty(), "{name}");
                assert_eq!(reading.split.len(), 1, "{name}");
                reading.parts
            })
            .collect();
        let gathered = gather(&parts);
        assert!(
            gathered.problems.is_empty(),
            "{name}: {:?}",
            gathered.problems
        );
        assert_eq!(*gathered.joined[0].text, text, "{name}");
    }
}
