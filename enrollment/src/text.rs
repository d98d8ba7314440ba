//! One rule for characters, wherever a text comes from: a request, a file, a form, standard
//! input, a password.
//!
//! Bytes become text by their byte order mark or their pattern; what is neither UTF-8 nor
//! UTF-16 or UTF-32 is named and not guessed, because a guess could change a password or a
//! name. Characters that nobody sees never decide anything.

use zeroize::Zeroizing;

/// An encoding that is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownEncoding {
    /// What it looks like, in a sentence after "It is not text in UTF-8 or UTF-16 but".
    pub looks_like: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16 { big: bool },
    Utf32 { big: bool },
}

/// The text that bytes say, without a byte order mark.
///
/// # Errors
///
/// [`UnknownEncoding`], with what it looks like.
pub fn decode(bytes: &[u8]) -> Result<Zeroizing<String>, UnknownEncoding> {
    let (encoding, bytes) = encoding_of(bytes);
    let decoded = match encoding {
        Encoding::Utf8 => std::str::from_utf8(bytes).ok().map(ToOwned::to_owned),
        Encoding::Utf16 { big } => utf16(bytes, big),
        Encoding::Utf32 { big } => utf32(bytes, big),
    };
    let text = decoded.map(Zeroizing::new).ok_or_else(|| UnknownEncoding {
        looks_like: match encoding {
            Encoding::Utf8 => legacy(bytes),
            Encoding::Utf16 { .. } => "damaged UTF-16",
            Encoding::Utf32 { .. } => "damaged UTF-32",
        },
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => Zeroizing::new(rest.to_owned()),
        None => text,
    })
}

/// A password as it is kept in a file: without a byte order mark and without the line end
/// that editors add. White space that may belong to it stays.
///
/// # Errors
///
/// [`UnknownEncoding`], with what it looks like.
pub fn password(bytes: &[u8]) -> Result<Zeroizing<String>, UnknownEncoding> {
    let text = decode(bytes)?;
    let kept = text.trim_end_matches(['\r', '\n']);
    Ok(Zeroizing::new(kept.to_owned()))
}

fn encoding_of(bytes: &[u8]) -> (Encoding, &[u8]) {
    // UTF-32's mark in little-endian order begins like UTF-16's.
    let marks: [(&[u8], Encoding); 5] = [
        (b"\xff\xfe\0\0", Encoding::Utf32 { big: false }),
        (b"\0\0\xfe\xff", Encoding::Utf32 { big: true }),
        (b"\xff\xfe", Encoding::Utf16 { big: false }),
        (b"\xfe\xff", Encoding::Utf16 { big: true }),
        (b"\xef\xbb\xbf", Encoding::Utf8),
    ];
    for (mark, encoding) in marks {
        if let Some(rest) = bytes.strip_prefix(mark) {
            return (encoding, rest);
        }
    }
    (unmarked(bytes), bytes)
}

/// Texts that are imported begin with ASCII, of which UTF-16 leaves every second byte zero; names
/// in it may be in any script.
fn unmarked(bytes: &[u8]) -> Encoding {
    let sample = &bytes[..bytes.len().min(64)];
    // How many of the bytes at a place in each unit are zero, in tenths.
    let zeros = |at: usize, every: usize| {
        let picked = sample.iter().skip(at).step_by(every);
        let zeros = picked.clone().filter(|byte| **byte == 0).count();
        zeros * 10 / picked.count().max(1)
    };
    let (most, few) = (6, 2);
    let is_utf32 = |first: usize, second: usize, third: usize, last: usize| {
        zeros(first, 4) == 10
            && zeros(second, 4) >= most
            && zeros(third, 4) >= most
            && zeros(last, 4) < few
    };
    if is_utf32(0, 1, 2, 3) {
        Encoding::Utf32 { big: true }
    } else if is_utf32(3, 2, 1, 0) {
        Encoding::Utf32 { big: false }
    } else if zeros(1, 2) >= most && zeros(0, 2) < few {
        Encoding::Utf16 { big: false }
    } else if zeros(0, 2) >= most && zeros(1, 2) < few {
        Encoding::Utf16 { big: true }
    } else {
        Encoding::Utf8
    }
}

fn utf16(bytes: &[u8], big: bool) -> Option<String> {
    let pairs = bytes.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    let units = pairs.map(|pair| {
        let pair = [pair[0], pair[1]];
        if big {
            u16::from_be_bytes(pair)
        } else {
            u16::from_le_bytes(pair)
        }
    });
    // The capacity that suffices, so that no copy stays behind when it grows.
    let mut text = String::with_capacity(bytes.len() / 2 * 3);
    for unit in char::decode_utf16(units) {
        text.push(unit.ok()?);
    }
    Some(text)
}

fn utf32(bytes: &[u8], big: bool) -> Option<String> {
    let quads = bytes.chunks_exact(4);
    if !quads.remainder().is_empty() {
        return None;
    }
    let mut text = String::with_capacity(bytes.len());
    for quad in quads {
        let quad = [quad[0], quad[1], quad[2], quad[3]];
        let value = if big {
            u32::from_be_bytes(quad)
        } else {
            u32::from_le_bytes(quad)
        };
        text.push(char::from_u32(value)?);
    }
    Some(text)
}

/// What bytes look like that are not Unicode.
fn legacy(bytes: &[u8]) -> &'static str {
    let count = |wanted: fn(&u8) -> bool| bytes.iter().filter(|byte| wanted(byte)).count();
    let high = count(|byte| *byte >= 0x80);
    let control = count(|byte| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r'));
    // Letters of other scripts stand beside one another, or take two bytes each.
    let is_high = |byte: &u8| *byte >= 0x80;
    let beside = bytes.windows(2).filter(|two| two.iter().all(is_high));
    let in_rows = beside.count();
    if control > 0 {
        "binary data"
    } else if high * 3 < bytes.len() && in_rows * 3 < high {
        // A few letters with accents among ASCII.
        "an older encoding such as Windows-1252 or Latin-1"
    } else {
        "an older regional encoding such as Shift-JIS, GBK or Windows-1251"
    }
}

/// Whether a character shows nothing at all: zero-width ones, byte order marks, marks of the
/// direction of writing, soft hyphens. The joiners are not among them: names need them.
#[must_use]
pub const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Whether a character only groups a secret for reading: white space and dashes of any
/// script, and what shows nothing.
#[must_use]
pub fn is_grouping(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || is_invisible(c)
        || is_dash(c)
        || matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}')
        || matches!(
            c,
            '\u{2800}' | '\u{3164}' | '\u{115f}' | '\u{1160}' | '\u{ffa0}'
        )
}

/// Dashes, hyphens and minus signs.
const fn is_dash(c: char) -> bool {
    matches!(
        c,
        '-' | '\u{58a}' | '\u{5be}' | '\u{1400}' | '\u{1806}' | '\u{2010}'
            ..='\u{2015}'
                | '\u{2043}'
                | '\u{2053}'
                | '\u{207b}'
                | '\u{208b}'
                | '\u{2212}'
                | '\u{2e17}'
                | '\u{2e1a}'
                | '\u{2e3a}'
                | '\u{2e3b}'
                | '\u{2e40}'
                | '\u{2e5d}'
                | '\u{301c}'
                | '\u{3030}'
                | '\u{30a0}'
                | '\u{fe31}'
                | '\u{fe32}'
                | '\u{fe58}'
                | '\u{fe63}'
                | '\u{ff0d}'
                | '\u{10ead}'
    )
}

/// Without white space and invisible characters at both ends.
#[must_use]
pub fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || is_invisible(c) || c == '\0')
}

/// Whether a text is a secret alone, or could be: base32 however it is grouped, at least as
/// long as `shortest` characters.
#[must_use]
pub fn may_be_secret(text: &str, shortest: usize) -> bool {
    let mut letters = 0;
    for c in text.chars() {
        match c {
            'A'..='Z' | 'a'..='z' | '2'..='7' => letters += 1,
            '=' => {}
            c if is_grouping(c) => {}
            _ => return false,
        }
    }
    letters >= shortest
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn utf16_of(text: &str, big: bool) -> Vec<u8> {
        text.encode_utf16()
            .flat_map(|unit| {
                if big {
                    unit.to_be_bytes()
                } else {
                    unit.to_le_bytes()
                }
            })
            .collect()
    }

    #[test]
    fn every_unicode_encoding_is_read_with_and_without_a_mark() {
        let text = "otpauth://totp/caf\u{e9}?secret=MFRGG";
        let marked = format!("\u{feff}{text}");
        let chinese = "otpauth://totp/\u{5317}\u{4eac}:\u{8c61}?secret=MFRGG";
        for big in [false, true] {
            let bytes = utf16_of(chinese, big);
            assert_eq!(decode(&bytes).unwrap().as_str(), chinese);
        }
        let utf32: Vec<u8> = text
            .chars()
            .flat_map(|c| u32::from(c).to_le_bytes())
            .collect();
        for bytes in [
            text.as_bytes().to_vec(),
            marked.as_bytes().to_vec(),
            utf16_of(text, false),
            utf16_of(text, true),
            utf16_of(&marked, false),
            utf16_of(&marked, true),
            utf32,
        ] {
            assert_eq!(decode(&bytes).unwrap().as_str(), text, "{bytes:?}");
        }
        assert_eq!(decode(b"").unwrap().as_str(), "");
        assert_eq!(
            password(b"\xef\xbb\xbf pass word \r\n").unwrap().as_str(),
            " pass word "
        );
        assert_eq!(
            password(&utf16_of("\u{feff}p\u{e4}ss\n", false))
                .unwrap()
                .as_str(),
            "p\u{e4}ss"
        );
    }

    #[test]
    fn what_cannot_be_decoded_is_named() {
        for (bytes, name) in [
            (&b"caf\xe9 and more"[..], "Windows-1252"),
            (b"\xff\xfea", "UTF-16"),
            (b"\xff\xfe\x00\xd8a\x00", "UTF-16"),
            (b"\x8f\xf0\x95\xf1", "Shift-JIS"),
            (b"otpauth://totp/\xb1\xb1\xbe\xa9:a?secret=MFRGG", "GBK"),
            (b"\x89PNG\r\n\x1a\n\xff", "binary"),
        ] {
            let told = decode(bytes).unwrap_err().looks_like;
            assert!(told.contains(name), "{bytes:?}: {told}");
        }
    }

    #[test]
    fn what_groups_a_secret_is_no_part_of_it() {
        for c in
            "\u{a0}\u{202f}\u{3000}\u{200b}\u{200d}\u{2013}\u{2212}\u{5be}\u{30a0}\u{feff}\r\n\t -"
                .chars()
        {
            assert!(is_grouping(c), "{c:?}");
        }
        for c in "A7=_.*".chars() {
            assert!(!is_grouping(c), "{c:?}");
        }
    }
}
