//! Items of password managers, and accounts that are kept as a URI beside a name of their own.

use super::{CodesBeside, ImportEntry, joined_name, recovery_codes, shown_name};
use crate::account::{Labels, TotpAccount};
use crate::foreign::{self, ForeignKind};
use crate::otpauth::{self, Fields};
use crate::problem::InputProblem;

/// Secrets of letters alone have at least this many.
const SHORTEST_WORD: usize = 16;

/// An item with a code: what the person sees of it, and what the code is made of.
#[derive(Clone, Copy, Default)]
pub(super) struct Item<'a> {
    /// What it is called; may be empty.
    pub(super) title: &'a str,
    /// Whose account it is; may be empty.
    pub(super) account_name: &'a str,
    /// A URI, a bare secret, or a secret of Steam's.
    pub(super) code: &'a str,
}

impl<'t> Item<'t> {
    /// The entry; nothing if the item has no code.
    pub(super) fn entry(&self) -> Option<ImportEntry> {
        let code = crate::text::trim(self.code);
        if code.is_empty() {
            return None;
        }
        let name = joined_name(self.title, self.account_name);
        if foreign::is_google_export(code) {
            let content = Ok(zeroize::Zeroizing::new(code.to_owned()));
            return Some(ImportEntry::new(&name, content));
        }
        if !otpauth::is_meant(code) {
            return Some(self.bare(code, &name));
        }
        let content = match otpauth::parse(code) {
            Ok(parsed) => self.renamed(parsed.account, code),
            Err(problem) => Err(problem),
        };
        Some(ImportEntry::new(&name, content))
    }

    /// The entries of an item that can have several codes, with the recovery codes beside them.
    pub(super) fn entries(
        self,
        codes: impl IntoIterator<Item = &'t str>,
        beside: CodesBeside,
    ) -> Vec<ImportEntry> {
        let of = |code| Item { code, ..self }.entry();
        let name = joined_name(self.title, self.account_name);
        recovery_codes::attach(codes.into_iter().filter_map(of).collect(), beside, &name)
    }

    /// A code that is no URI: a bare secret, or the parameters that KeeOtp writes.
    fn bare(&self, code: &str, name: &str) -> ImportEntry {
        let mut fields = Fields {
            issuer: shown_name(self.title),
            account_name: shown_name(self.account_name),
            secret: code,
            ..Fields::default()
        };
        if is_word(code) {
            let kind = ForeignKind::of(code);
            return ImportEntry::refused(name, InputProblem::NotOtpauth { kind });
        }
        if !code.contains("key=") {
            return ImportEntry::fields(name, &fields);
        }
        let mut digits = None;
        let mut period = None;
        for pair in code.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key.trim().to_ascii_lowercase().as_str() {
                "key" => fields.secret = value,
                "size" => digits = super::shapes::number_in(value),
                "step" => period = super::shapes::number_in(value),
                "otphashmode" => fields.algorithm = value,
                "type" => fields.kind = value,
                "" => {}
                _ => {
                    return ImportEntry::new(name, Err(InputProblem::OtpauthMalformed));
                }
            }
        }
        let secret = percent_encoding::percent_decode_str(fields.secret).decode_utf8_lossy();
        ImportEntry::fields(
            name,
            &Fields {
                secret: &secret,
                digits,
                period,
                ..fields
            },
        )
    }

    /// The account under the names that the person sees, as far as there are any; `written`
    /// is kept where they are the same, with what is odd about it.
    fn renamed(
        &self,
        account: TotpAccount,
        written: &str,
    ) -> Result<zeroize::Zeroizing<String>, InputProblem> {
        let seen = |text: &str| Some(shown_name(text).to_owned()).filter(|text| !text.is_empty());
        let nameless = account.is_nameless() || account.issuer() == Some(account.account_name());
        let issuer = seen(self.title).or_else(|| account.issuer().map(ToOwned::to_owned));
        let account_name = seen(self.account_name)
            .or_else(|| (!nameless).then(|| account.account_name().to_owned()))
            .unwrap_or_default();
        let labels = Labels::new(issuer.as_deref(), &account_name)?;
        let same = |one: Option<&str>, other: Option<&str>| {
            one.map(str::to_lowercase) == other.map(str::to_lowercase)
        };
        if same(labels.issuer(), account.issuer())
            && labels.account_name() == account.account_name()
        {
            return Ok(zeroize::Zeroizing::new(written.to_owned()));
        }
        // A login to Steam is recognized by its issuer, whatever the item is called.
        let steam = account
            .issuer()
            .filter(|issuer| otpauth::is_steam_name(issuer));
        let labels = labels.with_label_issuer(steam);
        let renamed = TotpAccount::new(labels, account.parameters(), account.secret().clone());
        Ok(renamed.to_uri())
    }
}

/// Whether a text is a word rather than a secret, although it has no other letters: a short one
/// in small letters.
pub(super) fn is_word(text: &str) -> bool {
    text.len() < SHORTEST_WORD
        && text.bytes().all(|byte| byte.is_ascii_alphabetic())
        && text.bytes().skip(1).any(|byte| byte.is_ascii_lowercase())
}
