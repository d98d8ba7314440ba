//! Names for files that are not read, so that a person knows what they have sent and what to do.

/// A kind of file: how it begins, what it is, and what to do instead if that is known.
type Kind = (&'static [u8], &'static str, Option<&'static str>);

const KEEPASS: &str =
    "Export it from KeePass or KeePassXC as XML or CSV, and delete that file afterwards.";
const DATABASE: &str = "Export the accounts in the app that the database belongs to, or show them there as QR codes and send images of those.";
const CERTIFICATE: &str =
    "It holds no codes; send the export of an authenticator app or password manager.";
const PDF: &str =
    "Send images of the pages with QR codes, or copy the otpauth:// URIs in it into a text file.";
const OFFICE: &str = "Save the table in it as CSV, or the text as plain text.";
const ANDROID_BACKUP: &str = "Export the accounts in the authenticator app itself.";

const DECRYPT: &str =
    "Decrypt it and send what is in it; of a password store, send what pass otp uri prints.";
const PGP: &str = "a message encrypted with PGP";

/// What files are, as the end of a sentence that begins with "The file is".
const KINDS: [Kind; 29] = [
    (
        b"\x03\xd9\xa2\x9a\x67\xfb\x4b",
        "a KeePass database",
        Some(KEEPASS),
    ),
    (
        b"\x03\xd9\xa2\x9a\x65\xfb\x4b",
        "a KeePass 1 database",
        Some(KEEPASS),
    ),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", None),
    (b"Rar!\x1a\x07", "a RAR archive", None),
    (b"\xfd7zXZ\0", "an XZ archive", None),
    (b"BZh", "a bzip2 archive", None),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", None),
    (b"SQLite format 3\0", "an SQLite database", Some(DATABASE)),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an older Microsoft Office document",
        Some(OFFICE),
    ),
    (b"-----BEGIN PGP MESSAGE", PGP, Some(DECRYPT)),
    (
        b"-----BEGIN AGE ENCRYPTED FILE",
        "a file encrypted with age",
        None,
    ),
    (b"age-encryption.org/", "a file encrypted with age", None),
    (b"Salted__", "a file encrypted with OpenSSL", None),
    (b"bplist00", "an Apple property list", None),
    (b"\x7fELF", "a program", None),
    (b"MZ", "a program", None),
    (b"{\\rtf", "a document in Rich Text Format", Some(OFFICE)),
    (
        b"ANDROID BACKUP\n",
        "a backup of an Android phone",
        Some(ANDROID_BACKUP),
    ),
    (
        b"-----BEGIN OPENSSH PRIVATE KEY",
        "an SSH key",
        Some(CERTIFICATE),
    ),
    (b"-----BEGIN SSH2", "an SSH key", Some(CERTIFICATE)),
    (b"PuTTY-User-Key-File-", "an SSH key", Some(CERTIFICATE)),
    (b"ssh-rsa ", "an SSH key", Some(CERTIFICATE)),
    (b"ssh-ed25519 ", "an SSH key", Some(CERTIFICATE)),
    (b"ecdsa-sha2-", "an SSH key", Some(CERTIFICATE)),
    (
        b"-----BEGIN PGP ",
        "a PGP key or signature",
        Some(CERTIFICATE),
    ),
    (
        b"-----BEGIN ",
        "a certificate or key (PEM)",
        Some(CERTIFICATE),
    ),
    (b"\xfe\xed\xfe\xed", "a Java key store", Some(CERTIFICATE)),
    (FREE_OTP_2, FREE_OTP_2_NAME, Some(FREE_OTP_2_ADVICE)),
    (b"\xac\xed\0\x05", "a file of a Java program", None),
];

/// A table of Java's, in which FreeOTP 2 keeps its keys.
const FREE_OTP_2: &[u8] = b"\xac\xed\0\x05sr\0\x11java.util.HashMap";
const FREE_OTP_2_NAME: &str = "an encrypted backup of FreeOTP 2";
const FREE_OTP_2_ADVICE: &str = "Restore it in FreeOTP+, Aegis or another app that reads such backups, and export the accounts there.";

/// Kinds that are not known by how they begin.
const TAR: (&str, Option<&str>) = ("a TAR archive", None);
const DER: (&str, Option<&str>) = ("a certificate or key (DER or PKCS #12)", Some(CERTIFICATE));
pub(crate) const OFFICE_DOCUMENT: &str = "an office document";
pub(crate) const ENCRYPTED_EXPORT: &str = "an encrypted export of a password manager";
const IN_ARCHIVE: &str =
    "Import an archive: countersign import FILE, or POST /api/imports; of a document, send images.";
const UNENCRYPTED: &str =
    "Export the accounts again without encryption, and delete that file afterwards.";
pub(crate) const ENCRYPTED_SECRETS: &str =
    "a backup whose secrets are encrypted, such as one of the browser extension Authenticator";
pub(crate) const PROGRAM_OBJECT: &str =
    "an object in the notation of Python or JavaScript, not JSON";
pub(crate) const KEYCLOAK: &str = "an export of Keycloak, whose credentials are the server's";
const SET_UP_AGAIN: &str =
    "Export the accounts in the authenticator app, or set up the codes again with the service.";
pub(crate) const AUTHY_TOKEN: &str = "a token of Authy whose secret is encrypted";
/// Formats of images that are called so in a sentence; other files have an article.
const IMAGES: [&str; 7] = ["HEIC", "HEIF", "AVIF", "SVG", "ICO", "QOI", "JPEG XL"];
/// What other files are in a sentence, where they have a short name.
const SHORT: [(&str, &str); 5] = [
    ("PDF", "a PDF document"),
    ("RTF", "a document in Rich Text Format"),
    ("HTML", "a web page"),
    ("XML", "an XML document"),
    // As earlier releases called it.
    ("this kind of file", UNKNOWN),
];
const UNKNOWN: &str = "a file of an unknown kind";
const AS_TEXT: &str =
    "Send a URI as text/plain or in the JSON member `uri`, and a QR code as a PNG or JPEG image.";
const AS_UTF8: &str =
    "Save the text as UTF-8 and send it as text/plain, or send a PNG or JPEG image of the QR code.";
const AS_PNG: &str = "Save the image as PNG and send that.";

/// That a file is not an image that is read, as a sentence.
pub(crate) fn not_an_image(format: &str) -> String {
    if IMAGES.contains(&format) {
        return format!("The image format {format} is not supported.");
    }
    let short = SHORT.iter().find(|(short, _)| *short == format);
    let what = short.map_or(format, |(_, what)| *what);
    format!("The file is {what}, which cannot be read as an image.")
}

const OTHERS: [(&str, Option<&str>); 16] = [
    ("text", Some(AS_TEXT)),
    ("text in an older encoding", Some(AS_UTF8)),
    ("SVG", Some(AS_PNG)),
    ("ICO", Some(AS_PNG)),
    ("a ZIP archive or office document", Some(IN_ARCHIVE)),
    (ENCRYPTED_EXPORT, Some(UNENCRYPTED)),
    (ENCRYPTED_SECRETS, Some(UNENCRYPTED)),
    (
        PROGRAM_OBJECT,
        Some(
            "Write it as JSON, in Python with json.dumps, in JavaScript with JSON.stringify, and send it again.",
        ),
    ),
    (KEYCLOAK, Some(SET_UP_AGAIN)),
    (WIN_AUTH, Some(WIN_AUTH_ADVICE)),
    (BATTLE_NET, Some(ANDROID_BACKUP)),
    ("PDF", Some(PDF)),
    TAR,
    DER,
    (OFFICE_DOCUMENT, Some(OFFICE)),
    (
        AUTHY_TOKEN,
        Some(
            "Decrypt it with the program that has exported it, or set up the codes again with the service.",
        ),
    ),
];

const WIN_AUTH: &str = "a file of WinAuth itself";
const WIN_AUTH_ADVICE: &str = "Export the accounts in WinAuth, as a text file or a ZIP archive.";
const BATTLE_NET: &str = "a settings file of Battle.net's app";

/// What a document in XML is that is not read; nothing if it is of no known kind.
pub(crate) fn document(text: &str) -> Option<&'static str> {
    let head = text.get(..text.len().min(1_024)).unwrap_or(text);
    if !head.starts_with('<') {
        return None;
    }
    if head.contains("<WinAuth") {
        return Some(WIN_AUTH);
    }
    let is_battle_net = head.contains("<map>") && head.contains("com.blizzard.messenger");
    is_battle_net.then_some(BATTLE_NET)
}

/// What bytes are; nothing if they are of no known kind.
pub(crate) fn name(bytes: &[u8]) -> Option<&'static str> {
    let known = KINDS.iter().find(|(start, ..)| bytes.starts_with(start));
    if let Some((_, name, _)) = known {
        // Text can begin like a program of old.
        return (*name != "a program" || bytes.contains(&0)).then_some(*name);
    }
    if is_pgp(bytes) {
        return Some(PGP);
    }
    if bytes.get(257..262) == Some(b"ustar".as_slice()) {
        return Some(TAR.0);
    }
    is_der(bytes).then_some(DER.0)
}

/// What to do with a file of this kind, if more is known than that it is not read.
pub(crate) fn advice(what: &str) -> Option<&'static str> {
    let known = KINDS.iter().map(|(_, name, advice)| (*name, *advice));
    let mut known = known.chain(OTHERS);
    known.find(|(name, _)| *name == what)?.1
}

/// The format of what can show codes and is not read: a document, or an image or video in ISO's
/// container (ISO/IEC 14496-12).
pub(crate) fn picture(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"%PDF-") {
        return Some("PDF");
    }
    if bytes.get(4..8) != Some(b"ftyp") {
        return None;
    }
    let brands = bytes.get(8..bytes.len().min(64)).unwrap_or_default();
    let has = |wanted: &[&[u8]]| brands.chunks_exact(4).any(|brand| wanted.contains(&brand));
    Some(if has(&[b"avif", b"avis"]) {
        "AVIF"
    } else if has(&[
        b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1",
    ]) {
        "HEIC"
    } else {
        "a video"
    })
}

/// Whether a text is a drawing in SVG.
pub(crate) fn is_svg(text: &str) -> bool {
    let head = text.get(..text.len().min(1_024)).unwrap_or(text);
    let head = head.to_ascii_lowercase();
    head.starts_with('<') && head.contains("<svg") && !head.contains("<html")
}

/// Whether bytes begin with an encrypted session key (RFC 9580, sections 4.2 and 5.1), as the files
/// of a password store do.
fn is_pgp(bytes: &[u8]) -> bool {
    match bytes {
        [0x84 | 0xc1, length, 3, ..] => *length < 192,
        [0x85, 0..=4, _, 3, ..] | [0xc1, 192..=223, _, 3, ..] => true,
        _ => false,
    }
}

/// Whether bytes are one sequence in ASN.1's DER that is as long as the file.
fn is_der(bytes: &[u8]) -> bool {
    let [0x30, 0x82, high, low, ..] = bytes else {
        return false;
    };
    usize::from(u16::from_be_bytes([*high, *low])) + 4 == bytes.len()
}
