//! Reading accounts in bulk: what other programs export, lists of otpauth URIs, and the
//! texts of QR codes.
//!
//! A file becomes an [`ImportList`], which can be sealed; nothing in it is enrolled yet.
//! One entry that cannot be read takes no other with it.

mod aegis;
mod and_otp;
mod archive;
mod authy;
mod bitwarden;
mod budget;
mod dashlane;
mod derived_id;
mod duo;
mod enpass;
mod ente;
mod expand;
mod flow;
mod free_otp_plus;
mod further;
mod gather;
mod item;
pub mod job;
mod json;
mod keepass;
mod keeper;
mod key_vault;
mod lines;
mod list_format;
mod listed;
mod loose;
mod meaning;
mod member;
mod one_password;
mod one_pif;
mod opening;
mod otp_client;
mod outline;
mod page;
mod preferences;
mod proton_authenticator;
mod proton_pass;
mod recovery_codes;
mod safe_in_cloud;
mod secret_names;
mod settings;
mod shapes;
mod steam_mafile;
mod stratum;
mod table;
mod totp_authenticator;
mod two_fas;
mod two_fauth;

use std::fmt;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::account::display_name;
use crate::code_parts::CodePart;
use crate::otpauth::{self, Fields};
use crate::problem::{ImportFormat, InputProblem, kinds};
use archive::Nesting;
use opening::Opening;

pub use crate::bounds::Exceeded;
pub use budget::{Budget, Canceller, Cost};
pub use expand::{Found, expand, expand_lists, invalid_positions};
pub use recovery_codes::CodesBeside;

/// The most accounts that are imported at once.
pub const MAX_ACCOUNTS: usize = 500;

/// The most entries that are read out of one file, to be imported in several parts.
pub const MAX_ENTRIES: usize = 5_000;
/// The most images that a file may hold.
pub const MAX_IMAGES: usize = 64;

/// What is to be imported, in order. Holds secrets: wiped when dropped, silent in `Debug`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportList {
    /// Accounts, and exports that hold several.
    pub entries: Vec<ImportEntry>,
    /// Parts of texts that are split over several QR codes, of which others may be in other
    /// lists.
    pub parts: Vec<CodePart>,
}

/// One thing to import.
#[derive(Clone, PartialEq, Eq)]
pub struct ImportEntry {
    /// What it is called where it comes from; public metadata, may be empty.
    pub name: String,
    /// The text of an otpauth URI or of Google Authenticator's export, unchecked; or why
    /// the entry cannot be enrolled.
    pub content: Result<Zeroizing<String>, InputProblem>,
    /// The recovery codes that came with it.
    pub beside: CodesBeside,
}

impl ImportEntry {
    /// An entry called `name`, without recovery codes.
    #[must_use]
    pub fn new(name: &str, content: Result<Zeroizing<String>, InputProblem>) -> Self {
        Self {
            name: display_name(shown_name(name)),
            content,
            beside: CodesBeside::default(),
        }
    }

    /// An entry without a name of its own. If it cannot be read, it is called as its URI says.
    #[must_use]
    pub fn text(text: &str) -> Self {
        let name = match otpauth::parse(text) {
            Ok(_) => None,
            Err(_) => otpauth::name_in(text),
        };
        Self::new(
            &name.unwrap_or_default(),
            Ok(Zeroizing::new(text.to_owned())),
        )
    }

    /// That an account called `name` cannot be enrolled.
    fn refused(name: &str, problem: InputProblem) -> Self {
        Self::new(name, Err(problem))
    }

    /// An entry from fields, called `name` if that says more than they do.
    fn fields(name: &str, fields: &Fields<'_>) -> Self {
        let fields = &Fields {
            issuer: shown_name(fields.issuer),
            account_name: shown_name(fields.account_name),
            ..*fields
        };
        let content = otpauth::from_fields(fields).map(|parsed| parsed.account.to_uri());
        Self::new(name, content)
    }
}

impl fmt::Debug for ImportEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportEntry")
            .field("name", &self.name)
            .field("refused", &self.content.as_ref().err())
            .field("beside", &self.beside)
            .finish()
    }
}

/// An image in a file: of an archive, or of a web page.
#[derive(Clone, PartialEq, Eq)]
pub struct ImportImage {
    /// What it is called there; may be empty.
    pub name: String,
    /// The image, not looked at.
    pub bytes: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for ImportImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportImage")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportFile {
    /// What it is.
    pub format: ImportFormat,
    /// What is in it.
    pub list: ImportList,
    /// Images in it, whose codes have yet to be read. Without any, the list has at least
    /// one entry.
    pub images: Vec<ImportImage>,
}

impl ImportFile {
    /// Reads a file that comes alone, with a budget of its own. See [`Self::read_within`].
    ///
    /// # Errors
    ///
    /// As [`Self::read_within`].
    pub fn read(bytes: &[u8], password: Option<&str>) -> Result<Self, InputProblem> {
        Self::read_within(bytes, password, &Budget::new())
    }

    /// Reads a file of any known kind, told by its content. `password` opens an encrypted
    /// one. Blocks for as long as the password's derivation takes, which `budget` bounds
    /// for all files of a request together.
    ///
    /// # Errors
    ///
    /// A problem of the file as a whole: its kind, encryption or size, or what it costs.
    /// Problems of single entries are in the list.
    pub fn read_within(
        bytes: &[u8],
        password: Option<&str>,
        budget: &Budget,
    ) -> Result<Self, InputProblem> {
        let file = Self::read_all(bytes, password, budget)?;
        if file.list.entries.len() > MAX_ACCOUNTS {
            return Err(too_many());
        }
        Ok(file)
    }

    /// As [`Self::read_within`], also with more accounts than are imported at once, up to
    /// [`MAX_ENTRIES`].
    ///
    /// # Errors
    ///
    /// As [`Self::read_within`].
    pub fn read_all(
        bytes: &[u8],
        password: Option<&str>,
        budget: &Budget,
    ) -> Result<Self, InputProblem> {
        let opening = Opening { password, budget };
        Self::read_nested(bytes, &opening, &mut Nesting::new())
    }

    /// Reads a file that may be one of an archive, with a password that can be written in several
    /// forms of the same characters: which one an app takes depends on the keyboard.
    fn read_nested(
        bytes: &[u8],
        opening: &Opening<'_>,
        nesting: &mut Nesting,
    ) -> Result<Self, InputProblem> {
        let depth = nesting.depth();
        let read = Self::read_with(bytes, opening, nesting);
        if !matches!(read, Err(InputProblem::ImportPasswordWrong { .. })) {
            return read;
        }
        for form in opening::other_forms(opening.password.unwrap_or_default()) {
            nesting.return_to(depth);
            let opening = Opening {
                password: Some(&form),
                ..*opening
            };
            match Self::read_with(bytes, &opening, nesting) {
                Err(InputProblem::ImportPasswordWrong { .. }) => {}
                // There was not enough left of the budget for another attempt.
                Err(InputProblem::ImportTooCostly { .. }) => break,
                other => return other,
            }
        }
        read
    }

    /// Reads a file with the password as it is.
    fn read_with(
        bytes: &[u8],
        opening: &Opening<'_>,
        nesting: &mut Nesting,
    ) -> Result<Self, InputProblem> {
        opening.budget.check()?;
        if archive::is_zip(bytes) {
            return archive::read_zip(bytes, opening, nesting);
        }
        if archive::is_gzip(bytes) {
            return archive::read_gzip(bytes, opening, nesting);
        }
        let file = Self::read_single(bytes, opening)?;
        if file.list.entries.is_empty() && file.images.is_empty() {
            return Err(InputProblem::ImportEmpty);
        }
        if file.list.entries.len() > MAX_ENTRIES {
            return Err(too_many());
        }
        Ok(file)
    }

    fn read_single(bytes: &[u8], opening: &Opening<'_>) -> Result<Self, InputProblem> {
        let of = |(format, entries): (ImportFormat, Vec<ImportEntry>)| Self {
            format,
            list: ImportList {
                entries,
                ..ImportList::default()
            },
            images: Vec::new(),
        };
        if stratum::is_encrypted(bytes) {
            return Ok(of((ImportFormat::Stratum, stratum::open(bytes, opening)?)));
        }
        if otp_client::is_database(bytes) {
            let entries = otp_client::open(bytes, opening)?;
            return Ok(of((ImportFormat::OtpClient, entries)));
        }
        if let Some(what) = kinds::name(bytes) {
            return Err(InputProblem::ImportUnsupported {
                what: what.to_owned(),
            });
        }
        if let Some(format) = kinds::picture(bytes) {
            return Err(InputProblem::ImageUnsupported {
                format: format.to_owned(),
            });
        }
        if is_picture(bytes) {
            let picture = ImportImage {
                name: String::new(),
                bytes: Zeroizing::new(bytes.to_vec()),
            };
            return Ok(Self {
                format: ImportFormat::Pictures,
                list: ImportList::default(),
                images: vec![picture],
            });
        }
        let text = match crate::text::decode(bytes) {
            Ok(text) => text,
            Err(unknown) => return Ok(of(Self::binary(bytes, opening, unknown)?)),
        };
        let text = crate::text::trim(&text);
        if one_pif::is_document(text) {
            return Ok(of((ImportFormat::OnePassword, one_pif::read(text))));
        }
        // A damaged document has more in it than the URIs that could still be found.
        let is_json = json::is_document(text)
            || text.contains("\":")
            || !text.contains("otpauth")
            || json::is_program_object(text);
        if text.starts_with(['{', '[']) && is_json {
            return json::read(text, opening).map(of);
        }
        // Another program has kept the document as a text of its own.
        if text.starts_with('"')
            && let Ok(inner) = serde_json::from_str::<shapes::SecretText>(text)
            && crate::text::trim(inner.expose()).starts_with(['{', '['])
        {
            return json::read(crate::text::trim(inner.expose()), opening).map(of);
        }
        if let Some(document) = json::within(text) {
            return json::read(document, opening).map(of);
        }
        if let Some(what) = kinds::document(text) {
            let what = what.to_owned();
            return Err(InputProblem::ImportUnsupported { what });
        }
        if kinds::is_svg(text) && !otpauth::is_meant(text) {
            let format = "SVG".to_owned();
            return Err(InputProblem::ImageUnsupported { format });
        }
        if preferences::is_document(text) {
            return preferences::read(text, opening).map(of);
        }
        if keepass::is_document(text) {
            return Ok(of((ImportFormat::KeePass, keepass::read(text)?)));
        }
        if safe_in_cloud::is_document(text) {
            return Ok(of((ImportFormat::SafeInCloud, safe_in_cloud::read(text)?)));
        }
        if page::is_document(text) {
            if let Some(document) = page::document_in(text) {
                return json::read(&document, opening).map(of);
            }
            let (entries, images) = page::read(text)?;
            return Ok(Self {
                images,
                ..of((ImportFormat::Page, entries))
            });
        }
        if let Some(sealed) = totp_authenticator::sealed_in(text) {
            let entries = totp_authenticator::open(&sealed, opening)?;
            return Ok(of((ImportFormat::TotpAuthenticator, entries)));
        }
        let is_table = table::has_names(text)
            || !text.lines().any(lines::begins_with_uri)
            || table::says_itself(text);
        if is_table && let Some(table) = table::read(text) {
            return table.map(of);
        }
        Ok(of((ImportFormat::UriList, lines::read(text)?)))
    }

    /// Not text.
    fn binary(
        bytes: &[u8],
        opening: &Opening<'_>,
        unknown: crate::text::UnknownEncoding,
    ) -> Result<(ImportFormat, Vec<ImportEntry>), InputProblem> {
        if and_otp::may_be_encrypted(bytes) {
            return Ok((ImportFormat::AndOtp, and_otp::open(bytes, opening)?));
        }
        if let Some(read) = and_otp::try_earlier(bytes, opening) {
            return Ok((ImportFormat::AndOtp, read?));
        }
        if let Some(read) = otp_client::try_earlier(bytes, opening) {
            return Ok((ImportFormat::OtpClient, read?));
        }
        Err(unknown.into())
    }
}

/// Whether bytes begin as an image of a usual kind does.
fn is_picture(bytes: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 8] = [
        b"\x89PNG",
        b"\xff\xd8\xff",
        b"GIF8",
        b"RIFF",
        b"II*\0",
        b"MM\0*",
        b"P6\n",
        b"P5\n",
    ];
    BEGINNINGS.iter().any(|start| bytes.starts_with(start))
        || bytes.starts_with(b"BM") && bytes.get(6..10) == Some(&[0; 4])
}

/// That there are more accounts than [`MAX_ACCOUNTS`].
#[must_use]
pub fn too_many() -> InputProblem {
    InputProblem::ImportTooMany {
        limit: u32::try_from(MAX_ACCOUNTS).unwrap_or(u32::MAX),
    }
}

/// That there are more images than [`MAX_IMAGES`].
fn too_many_pictures() -> InputProblem {
    InputProblem::ImportTooManyPictures {
        limit: u32::try_from(MAX_IMAGES).unwrap_or(u32::MAX),
    }
}

/// `issuer: account`, as far as they are there.
fn joined_name(issuer: &str, account_name: &str) -> String {
    match (shown_name(issuer), shown_name(account_name)) {
        ("", name) => name.to_owned(),
        (issuer, "") => issuer.to_owned(),
        (issuer, name) => format!("{issuer}: {name}"),
    }
}

/// A name as it is shown: nothing where a URI or a secret stands in its place, as in a file whose
/// columns are shifted.
fn shown_name(text: &str) -> &str {
    /// The shortest word that is taken for a secret, and how many digits are in it.
    const SECRET: (usize, usize) = (16, 2);
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    let is_secret = |word: &str| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        word.len() >= SECRET.0
            && digits >= SECRET.1
            && word.bytes().all(|c| matches!(c, b'A'..=b'Z' | b'2'..=b'7'))
    };
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    if lower.contains("otpauth:") || lower.contains("secret=") || words.any(is_secret) {
        return "";
    }
    text
}

/// A document of a known kind.
fn parse<'a, T: Deserialize<'a>>(text: &'a str, format: ImportFormat) -> Result<T, InputProblem> {
    // The error's own text can quote the document.
    serde_json::from_str(text).map_err(|_| InputProblem::ImportMalformed { format })
}
