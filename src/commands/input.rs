//! Input of commands: files, standard input, secrets.

use std::io::Read as _;
use std::path::Path;

use countersign_enrollment::text;
use zeroize::Zeroizing;

use super::{Exit, Fault};
use crate::cli::looks_secret;

/// The shortest secret within other text.
const SHORTEST: usize = 16;

/// Refuses an argument that should name a file but looks like a secret, without
/// repeating it. If a file has this name, it is accepted.
pub(super) fn refuse_secret(words: &[String]) -> Result<(), Fault> {
    let whole = words.concat();
    // It can follow a name, as on a set-up page, or stand among other characters.
    let is_letter = |c: char| c.is_ascii_alphabetic() || ('2'..='7').contains(&c);
    let mut rows = whole.split(|c| !is_letter(c));
    let mut pieces = whole.split(|c: char| c.is_whitespace() || ":=,;\"'".contains(c));
    let is_secret = looks_secret(&whole)
        || whole
            .split_once([':', '='])
            .is_some_and(|(_, rest)| looks_secret(rest.trim()))
        || pieces.any(|piece| piece.len() >= SHORTEST && looks_secret(piece))
        || rows.any(|row| row.len() >= SHORTEST && is_in_one_case(row));
    if words.iter().any(|word| Path::new(word).exists()) || !is_secret {
        return Ok(());
    }
    Err(Fault::new(
        Exit::Usage,
        "this looks like a secret, not like a file or a URI: write it as \
         otpauth://totp/NAME?secret=THE-SECRET&issuer=SERVICE, preferably on standard input (-), \
         which keeps it out of the shell's history and the process list",
    ))
}

/// Whether letters are capitals, or small ones with digits: no word is like that.
fn is_in_one_case(row: &str) -> bool {
    let has = |wanted: fn(&u8) -> bool| row.as_bytes().iter().any(wanted);
    let (capitals, small) = (has(u8::is_ascii_uppercase), has(u8::is_ascii_lowercase));
    capitals != small && (capitals || has(u8::is_ascii_digit))
}

/// A password from a file, or from standard input if the name is `-`. Neither is repeated: people
/// sometimes type the password itself instead of the file's name.
pub(super) fn password(file: &str) -> Result<Zeroizing<String>, Fault> {
    if file != "-" && !Path::new(file).exists() {
        return Err(Fault::new(
            Exit::Usage,
            "there is no such password file: --password-file takes the name of a file that \
             contains the password, not the password",
        ));
    }
    let bytes = read(file, 4_096)?;
    text::password(&bytes).map_err(|unknown| {
        Fault::new(
            Exit::Usage,
            format!(
                "the password file is not in UTF-8 or UTF-16 but in {}",
                unknown.looks_like
            ),
        )
    })
}

/// The content of a file, or of standard input if the name is `-`: at most `limit` bytes of
/// it, and at least one.
pub(super) fn read(file: &str, limit: u64) -> Result<Zeroizing<Vec<u8>>, Fault> {
    if file != "-" {
        refuse_secret(&[file.to_owned()])?;
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let (name, result) = if file == "-" {
        let input = std::io::stdin().lock().take(limit).read_to_end(&mut bytes);
        ("standard input", input)
    } else {
        let content =
            std::fs::File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes));
        (file, content)
    };
    result.map_err(|error| Fault::new(Exit::Failed, format!("cannot read {name}: {error}")))?;
    if bytes.is_empty() {
        return Err(Fault::new(Exit::Usage, format!("{name} is empty")));
    }
    Ok(bytes)
}
