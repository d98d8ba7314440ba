//! Encrypted exports: what opens them, what does not, and what a damaged or hostile one says.
//! Nothing that was changed is ever read as something else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use countersign_enrollment::import::{Exceeded, ImportFile};
use countersign_enrollment::problem::{ImportFormat as F, InputProblem as P};
use countersign_enrollment::text;
use sha2::Digest as _;

const PASSWORD: &str = "correct horse";

/// Each encrypted file.
const FILES: [(&str, F); 12] = [
    ("aegis-encrypted.json", F::Aegis),
    ("2fas-encrypted.json", F::TwoFas),
    ("bitwarden-protected.json", F::Bitwarden),
    ("bitwarden-protected-argon2.json", F::Bitwarden),
    (
        "proton-authenticator-encrypted.json",
        F::ProtonAuthenticator,
    ),
    ("ente-encrypted.json", F::Ente),
    ("stratum-encrypted.stratum", F::Stratum),
    ("stratum-earlier.authpro", F::Stratum),
    ("andotp-encrypted.json.aes", F::AndOtp),
    ("raivo-encrypted.zip", F::Raivo),
    ("otpclient-database.enc", F::OtpClient),
    ("otpclient-database-2.enc", F::OtpClient),
];

fn data(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/import");
    std::fs::read(format!("{folder}/{name}")).unwrap()
}

fn read(bytes: &[u8]) -> Result<ImportFile, P> {
    let begun = Instant::now();
    let read = ImportFile::read(bytes, Some(PASSWORD));
    // The budget of one request; busy machines take longer.
    assert!(begun.elapsed() < Duration::from_secs(60));
    if let Err(problem) = &read {
        let shown = format!("{problem:?} {} {}", problem.detail(), problem.next_step());
        assert!(
            !shown.contains(PASSWORD) && !shown.contains("GEZDGN"),
            "{shown}"
        );
    }
    read
}

#[test]
fn only_the_password_itself_opens_a_file() {
    for (name, format) in FILES {
        let bytes = data(name);
        // These keep something that the password alone opens.
        let certain = matches!(format, F::Aegis | F::TwoFas | F::Bitwarden);
        let format = Some(format);
        for other in [
            "Correct horse",
            "correct horse ",
            " correct horse",
            "correct horse\n",
            "correct\u{a0}horse",
            "correct h\u{43e}rse",
            "correcthorse",
            "x",
        ] {
            assert_eq!(
                ImportFile::read(&bytes, Some(other)),
                Err(P::ImportPasswordWrong { format, certain }),
                "{name} {other:?}"
            );
        }
        for nothing in [None, Some("")] {
            let missing = Err(P::ImportPasswordMissing { format });
            assert_eq!(ImportFile::read(&bytes, nothing), missing, "{name}");
        }
        // As files of passwords have it: a byte order mark, the line end of an editor, UTF-16.
        let utf16 = PASSWORD.encode_utf16().flat_map(u16::to_le_bytes);
        for kept in [
            format!("\u{feff}{PASSWORD}\r\n").into_bytes(),
            format!("{PASSWORD}\n").into_bytes(),
            [0xff, 0xfe].into_iter().chain(utf16).collect(),
        ] {
            let password = text::password(&kept).unwrap();
            assert!(ImportFile::read(&bytes, Some(&password)).is_ok(), "{name}");
        }
    }
}

#[test]
fn a_file_that_was_changed_anywhere_is_refused_or_says_the_same() {
    for (name, _) in FILES {
        let whole = data(name);
        let expected = ImportFile::read(&whole, Some(PASSWORD)).unwrap();
        // Behind its end, a file may hold another document, which is reported.
        let end = whole.trim_ascii_end().len();
        let places = (0..8).map(|place| place * (end - 1) / 7);
        for (number, place) in places.enumerate() {
            let mut changed = whole.clone();
            changed[place] ^= [1, 4, 32][number % 3];
            match read(&changed) {
                Ok(file) => assert_eq!(file.list, expected.list, "{name} at {place}"),
                Err(problem) => assert_ne!(
                    problem.code(),
                    "import-password-missing",
                    "{name} at {place}"
                ),
            }
        }
        for part in [1, 3, 7] {
            let cut = &whole[..whole.len() * part / 8];
            assert!(read(cut).is_err(), "{name} {part}/8");
        }
    }
}

/// A document with one member replaced.
fn with(name: &str, member: &str, value: &str) -> Vec<u8> {
    let text = String::from_utf8(data(name)).unwrap();
    let begin = text.find(&format!("\"{member}\"")).unwrap() + member.len() + 2;
    let rest = text[begin..].trim_start().strip_prefix(':').unwrap();
    let begin = text.len() - rest.len();
    let length = rest.find([',', '}', '\n']).unwrap();
    format!("{} {value}{}", &text[..begin], &rest[length..]).into_bytes()
}

#[test]
fn hostile_parameters_are_refused_before_they_cost_anything() {
    let (aegis, ente) = ("aegis-encrypted.json", "ente-encrypted.json");
    let (pbkdf2, argon2) = (
        "bitwarden-protected.json",
        "bitwarden-protected-argon2.json",
    );
    let malformed = |format| P::ImportMalformed { format };
    let costly = |exceeded| P::ImportTooCostly { exceeded };
    let (memory, work) = (costly(Exceeded::Memory), costly(Exceeded::Work));
    let begun = Instant::now();
    for (file, member, value, problem) in [
        (aegis, "n", "0", malformed(F::Aegis)),
        (aegis, "n", "1", malformed(F::Aegis)),
        (aegis, "n", "32769", malformed(F::Aegis)),
        (aegis, "n", "-32768", malformed(F::Aegis)),
        (aegis, "n", "\"32768\"", malformed(F::Aegis)),
        (aegis, "n", "null", malformed(F::Aegis)),
        (aegis, "n", "1073741824", memory.clone()),
        (aegis, "n", "9223372036854775808", memory.clone()),
        (aegis, "r", "0", malformed(F::Aegis)),
        (aegis, "r", "4294967295", memory.clone()),
        (aegis, "p", "0", malformed(F::Aegis)),
        (aegis, "p", "4294967295", memory.clone()),
        (aegis, "p", "1.5", malformed(F::Aegis)),
        (ente, "memLimit", "0", malformed(F::Ente)),
        (ente, "memLimit", "1024", malformed(F::Ente)),
        (ente, "memLimit", "4294967296", memory.clone()),
        (ente, "memLimit", "18446744073709551615", memory.clone()),
        (ente, "memLimit", "-1", malformed(F::Ente)),
        (ente, "memLimit", "\"8388608\"", malformed(F::Ente)),
        (ente, "memLimit", "null", malformed(F::Ente)),
        (ente, "opsLimit", "0", malformed(F::Ente)),
        (ente, "opsLimit", "4294967295", work.clone()),
        (ente, "opsLimit", "99999999999", malformed(F::Ente)),
        (ente, "salt", "\"\"", malformed(F::Ente)),
        (ente, "salt", "\"not base64!\"", malformed(F::Ente)),
        (pbkdf2, "kdfIterations", "0", malformed(F::Bitwarden)),
        (pbkdf2, "kdfIterations", "2147483648", work.clone()),
        (pbkdf2, "kdfIterations", "-5000", malformed(F::Bitwarden)),
        (pbkdf2, "kdfIterations", "\"5000\"", malformed(F::Bitwarden)),
        (pbkdf2, "kdfIterations", "null", malformed(F::Bitwarden)),
        (pbkdf2, "kdfType", "7", malformed(F::Bitwarden)),
        (argon2, "kdfIterations", "0", malformed(F::Bitwarden)),
        (argon2, "kdfIterations", "4294967295", work),
        (argon2, "kdfMemory", "0", malformed(F::Bitwarden)),
        (argon2, "kdfMemory", "4096", memory.clone()),
        (argon2, "kdfMemory", "4294967295", memory),
        (argon2, "kdfParallelism", "0", malformed(F::Bitwarden)),
        (
            argon2,
            "kdfParallelism",
            "4294967295",
            malformed(F::Bitwarden),
        ),
        (argon2, "kdfParallelism", "null", malformed(F::Bitwarden)),
    ] {
        assert_eq!(
            read(&with(file, member, value)),
            Err(problem),
            "{file} {member} {value}"
        );
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    // As many lanes as it likes, within its memory: another key.
    assert!(read(&with(argon2, "kdfParallelism", "255")).is_err());
}

/// A backup of TOTP Authenticator that takes the least work, under a password in one form.
fn under(password: &str) -> Vec<u8> {
    use aes::cipher::{BlockModeEncrypt as _, KeyIvInit as _, block_padding::Pkcs7};
    let list = r#"[{"issuer":"GitHub","name":"alice","key":"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ","base":32,"digits":"6","period":"30"}]"#;
    let document = serde_json::json!({ list: "1" }).to_string();
    let key = sha2::Sha256::digest(password);
    let cipher = cbc::Encryptor::<aes::Aes256>::new_from_slices(&key, &[0; 16]).unwrap();
    let mut sealed = document.clone().into_bytes();
    sealed.resize(document.len() / 16 * 16 + 16, 0);
    let sealed = cipher.encrypt_padded::<Pkcs7>(&mut sealed, document.len());
    data_encoding::BASE64.encode(sealed.unwrap()).into_bytes()
}

#[test]
fn a_password_opens_in_any_form_of_its_characters() {
    let (composed, decomposed) = ("caf\u{e9} \u{c5}", "cafe\u{301} A\u{30a}");
    let equivalent = "caf\u{e9} \u{212b}";
    for sealed in [composed, decomposed] {
        let file = under(sealed);
        for typed in [composed, decomposed, equivalent] {
            let read = ImportFile::read(&file, Some(typed));
            assert_eq!(read.map(|file| file.list.entries.len()), Ok(1), "{typed:?}");
        }
        for other in ["cafe A", "caf\u{e8} \u{c5}", "caf\u{e9}\u{a0}\u{c5}"] {
            let format = Some(F::TotpAuthenticator);
            let wrong = Err(P::ImportPasswordWrong {
                format,
                certain: false,
            });
            assert_eq!(ImportFile::read(&file, Some(other)), wrong, "{other:?}");
        }
    }
    // Another attempt that the budget does not allow leaves the answer as it is.
    let format = Some(F::Ente);
    assert_eq!(
        ImportFile::read(&data("ente-encrypted.json"), Some(composed)),
        Err(P::ImportPasswordWrong {
            format,
            certain: false,
        })
    );
}
