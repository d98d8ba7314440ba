//! A wrong command line. What people type in place of a file's name can be a secret,
//! so no message repeats it.

use std::process::ExitCode;

use clap::error::ErrorKind;
use countersign_enrollment::otpauth;
use countersign_enrollment::text;

use crate::commands::print;

/// Replaces a word that is not repeated.
const HIDDEN: &str = "\u{2026}";
/// The shortest secret that services show, in base32 characters.
const SHORTEST_SECRET: usize = 16;
/// The shortest secret in another encoding.
const SHORTEST_ENCODED: usize = 20;

/// Prints what is wrong, or the requested help.
pub(super) fn tell(error: &clap::Error) -> ExitCode {
    let told = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    if told {
        // Without colors where standard output is not a terminal.
        return match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let arguments = std::env::args_os().skip(1);
    let words = arguments.map(|word| word.to_string_lossy().into_owned());
    print::error(&without_secrets(&error.render().to_string(), words));
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// A message in which words that look like secrets are replaced.
fn without_secrets(message: &str, words: impl Iterator<Item = String>) -> String {
    let mut message = message.to_owned();
    for word in words {
        let value = word
            .split_once('=')
            .map_or(word.as_str(), |(_, value)| value);
        for secret in [word.as_str(), value] {
            if looks_secret(secret) {
                message = message.replace(secret, HIDDEN);
            }
        }
    }
    message
}

/// Whether a word is a secret, a part of one that was written in groups, or a URI with one.
pub(crate) fn looks_secret(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    if otpauth::is_meant(word) || lower.contains("secret=") || lower.starts_with("steam://") {
        return true;
    }
    let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
    let is_capital = !word.bytes().any(|byte| byte.is_ascii_lowercase());
    text::may_be_secret(word, SHORTEST_SECRET)
        || text::may_be_secret(word, 4) && is_capital
        || text::may_be_secret(word, 8) && has_digit
        || is_hexadecimal(lower.strip_prefix("0x").unwrap_or(&lower))
        || is_base64(word)
}

/// Whether a word is a secret in hexadecimal digits.
fn is_hexadecimal(word: &str) -> bool {
    word.len() >= SHORTEST_ENCODED && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a word is a secret in base64, which no word and few names are like: letters of both
/// kinds and something else, and no slash unless there are other marks.
fn is_base64(word: &str) -> bool {
    let has = |wanted: fn(char) -> bool| word.contains(wanted);
    word.len() >= SHORTEST_ENCODED
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+/-_=".contains(c))
        && has(|c| c.is_ascii_lowercase())
        && has(|c| c.is_ascii_uppercase())
        && has(|c| !c.is_ascii_alphabetic())
        && (!has(|c| "/-_".contains(c)) || has(|c| "+=".contains(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_distinguished_from_words() {
        for secret in [
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
            "gezdgnbvgy3tqojq",
            "GEZD",
            "gezd gnbv gy3t qojq",
            "otpauth://totp/a?secret=MFRGG",
            "steam://GEZDGNBV",
            "secret=MFRGG",
            "3132333435363738393031323334353637383930",
            "0x3132333435363738393031323334353637383930",
            "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=",
            "WQCmAiokZEFEk1kApgIqJGRBRJM",
        ] {
            assert!(looks_secret(secret), "{secret}");
        }
        for word in [
            "transfer",
            "enroll",
            "photo.png",
            "./GEZDGNBV.png",
            "-",
            "token",
            "--json",
            "totp-1",
            "receive",
            "deadbeef",
            "My-Photo-of-19-Codes",
            "photos/Alice/Code2024",
        ] {
            assert!(!looks_secret(word), "{word}");
        }
        let message = "unexpected argument 'GNBV' found; usage: countersign enroll";
        let words = ["enroll", "GNBV"].map(ToOwned::to_owned).into_iter();
        assert_eq!(
            without_secrets(message, words),
            "unexpected argument '\u{2026}' found; usage: countersign enroll"
        );
    }
}
