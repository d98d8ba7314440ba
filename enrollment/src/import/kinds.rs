//! Names for files that are not read, so that a person knows what they have sent.

/// What bytes are, as the end of a sentence that begins with "The file is".
pub(super) fn name(bytes: &[u8]) -> Option<&'static str> {
    const BEGINNINGS: [(&[u8], &str); 14] = [
        (b"\x03\xd9\xa2\x9a\x67\xfb\x4b", "a KeePass database"),
        (b"\x03\xd9\xa2\x9a\x65\xfb\x4b", "a KeePass 1 database"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!\x1a\x07", "a RAR archive"),
        (b"\xfd7zXZ\0", "an XZ archive"),
        (b"BZh", "a bzip2 archive"),
        (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
        (b"SQLite format 3\0", "an SQLite database"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "an older Microsoft Office document",
        ),
        (b"-----BEGIN PGP MESSAGE", "a message encrypted with PGP"),
        (b"age-encryption.org/", "a file encrypted with age"),
        (b"Salted__", "a file encrypted with OpenSSL"),
        (b"bplist00", "an Apple property list"),
        (b"\x7fELF", "a program"),
    ];
    let known = BEGINNINGS
        .iter()
        .find(|(start, _)| bytes.starts_with(start));
    if let Some((_, name)) = known {
        return Some(name);
    }
    let tar = bytes.get(257..262) == Some(b"ustar".as_slice());
    tar.then_some("a TAR archive")
}
