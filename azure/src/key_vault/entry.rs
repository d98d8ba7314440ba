//! How an account is written as a secret of Key Vault, and read back.
//!
//! The value is JSON that holds everything; tags repeat what lists need, since lists
//! come without values, and carry what accounts are called, since tags can be changed
//! without making another version. A value that is not JSON is the bare base32 of an
//! earlier program, whose tags are `accountName`, `issuer` and `type`.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use countersign_activities::vault::{AccountRecord, Change, VaultError};
use countersign_enrollment::account::{
    AccountPreview, Algorithm, CodeParameters, Labels, TotpAccount, TotpSecret,
};
use countersign_enrollment::filing::Filing;
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::otpauth;
use countersign_enrollment::recovery::RecoveryCodes;
use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The type of every value that is written.
pub(super) const CONTENT_TYPE: &str = "application/json";

const TYPE: &str = "type";
const TYPE_ACCOUNT: &str = "totp-secret";
/// Marks the name of a purged account: it is not used again.
const TYPE_PURGED: &str = "totp-purged";
const SCHEMA: &str = "schema";
const ENROLLMENT: &str = "enrollment";
const ACCOUNT_NAME: &str = "accountName";
const ISSUER: &str = "issuer";
const LABEL_ISSUER: &str = "labelIssuer";
const ALGORITHM: &str = "algorithm";
const DIGITS: &str = "digits";
const PERIOD: &str = "period";
const GROUP: &str = "group";
const TAGS: &str = "tags";
/// Who has to prove the account; there is no such tag once it is proved.
const PENDING_FOR: &str = "pendingFor";
/// What tells the secret from any other, to those who have the key.
const FINGERPRINT: &str = "fingerprint";
/// How many tags a secret has at most (Key Vault, "About Azure Key Vault secrets"). An
/// account has at most thirteen of its own.
const MOST_TAGS: usize = 15;

/// The version of the value's JSON.
const VERSION: u32 = 1;
/// More than any value has: 1,024 characters of secret, three labels of 256 characters and
/// 64 recovery codes of 128, escaped. Reserved at once, so that no copy stays behind when it grows.
const VALUE_CAPACITY: usize = 24 * 1024;

pub(super) type Tags = HashMap<String, String>;

/// What a name in the vault identifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An account that was enrolled under this very name.
    Enrolled,
    /// An account that another program has put here.
    Adopted,
    /// The name of a purged account.
    Purged,
    /// Something of someone else.
    Foreign,
}

/// What is known of a secret without its value.
#[derive(Clone, Debug, Default)]
pub(super) struct Metadata {
    pub(super) version: Option<String>,
    pub(super) tags: Tags,
    pub(super) created: Option<DateTime<Utc>>,
    pub(super) updated: Option<DateTime<Utc>>,
    pub(super) deleted: Option<DateTime<Utc>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenValue<'a> {
    version: u32,
    secret: &'a str,
    algorithm: Algorithm,
    digits: u8,
    period: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'a str>,
    account_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label_issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recovery_codes: Vec<&'a str>,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadValue {
    secret: Zeroizing<String>,
    algorithm: Algorithm,
    digits: u8,
    period: u32,
    #[serde(default)]
    issuer: Option<String>,
    account_name: String,
    #[serde(default)]
    label_issuer: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecoveryOnly {
    #[serde(default)]
    recovery_codes: Vec<Zeroizing<String>>,
}

/// The recovery codes in an account's value; none if it has none.
pub(super) fn recovery(value: &str) -> Result<RecoveryCodes, VaultError> {
    if !value.trim_start().starts_with('{') {
        return Ok(RecoveryCodes::default());
    }
    let read: RecoveryOnly = serde_json::from_str(value).map_err(|_| spoilt_value())?;
    let codes = read.recovery_codes.iter().map(|code| code.as_str());
    RecoveryCodes::new(codes).map_err(|_| spoilt_value())
}

/// The value that is kept for `account`.
pub(super) fn value(account: &TotpAccount) -> Option<Zeroizing<String>> {
    value_with(account, &RecoveryCodes::default())
}

/// The value that is kept for `account` with its recovery codes.
pub(super) fn value_with(
    account: &TotpAccount,
    recovery: &RecoveryCodes,
) -> Option<Zeroizing<String>> {
    let bytes = account.secret().expose();
    let mut secret = Zeroizing::new(String::with_capacity(BASE32_NOPAD.encode_len(bytes.len())));
    BASE32_NOPAD.encode_append(bytes, &mut secret);
    let parameters = account.parameters();
    let mut json = Zeroizing::new(Vec::with_capacity(VALUE_CAPACITY));
    serde_json::to_writer(
        &mut *json,
        &WrittenValue {
            version: VERSION,
            secret: &secret,
            algorithm: parameters.algorithm(),
            digits: parameters.digits(),
            period: parameters.period(),
            issuer: account.issuer(),
            account_name: account.account_name(),
            label_issuer: account.labels().label_issuer(),
            recovery_codes: recovery.expose().collect(),
        },
    )
    .ok()?;
    String::from_utf8(std::mem::take(&mut *json))
        .ok()
        .map(Zeroizing::new)
}

/// The tags that are kept for `account`. Everyone who may list secrets can read them.
pub(super) fn tags(
    id: &EnrollmentId,
    account: &TotpAccount,
    pending_for: Option<&CallerId>,
    fingerprint: Option<&str>,
) -> Tags {
    let parameters = account.parameters();
    let mut tags = Tags::from([
        (TYPE.to_owned(), TYPE_ACCOUNT.to_owned()),
        (SCHEMA.to_owned(), VERSION.to_string()),
        (ENROLLMENT.to_owned(), id.to_string()),
        (
            ALGORITHM.to_owned(),
            parameters.algorithm().as_str().to_owned(),
        ),
        (DIGITS.to_owned(), parameters.digits().to_string()),
        (PERIOD.to_owned(), parameters.period().to_string()),
    ]);
    label(&mut tags, account.labels());
    set(&mut tags, PENDING_FOR, pending_for.map(CallerId::as_str));
    set(&mut tags, FINGERPRINT, fingerprint);
    tags
}

/// Changes what is known of an account, and leaves other tags alone.
pub(super) fn change(tags: &mut Tags, change: &Change) -> Result<(), VaultError> {
    if let Some(labels) = &change.labels {
        label(tags, labels);
    }
    if let Some(filing) = &change.filing {
        let joined = filing.joined_tags();
        set(tags, GROUP, filing.group());
        set(
            tags,
            TAGS,
            Some(joined.as_str()).filter(|text| !text.is_empty()),
        );
    }
    if change.proved {
        set(tags, PENDING_FOR, None);
    }
    if tags.len() > MOST_TAGS {
        return Err(VaultError::Full {
            reason: "a Key Vault secret has at most 15 tags, and other programs have added some \
                     to this one",
        });
    }
    Ok(())
}

/// Sets what an account is called.
fn label(tags: &mut Tags, labels: &Labels) {
    set(tags, ACCOUNT_NAME, Some(labels.account_name()));
    set(tags, ISSUER, labels.issuer());
    set(tags, LABEL_ISSUER, labels.label_issuer());
}

fn set(tags: &mut Tags, name: &str, text: Option<&str>) {
    match text {
        Some(text) => tags.insert(name.to_owned(), text.to_owned()),
        None => tags.remove(name),
    };
}

/// The tags of a purged account's name.
pub(super) fn purged_tags(id: &EnrollmentId) -> Tags {
    Tags::from([
        (TYPE.to_owned(), TYPE_PURGED.to_owned()),
        (ENROLLMENT.to_owned(), id.to_string()),
    ])
}

impl Metadata {
    pub(super) fn kind(&self, id: &EnrollmentId) -> Kind {
        let of_this = self
            .tags
            .get(ENROLLMENT)
            .is_some_and(|tag| tag == id.as_str());
        match self.tags.get(TYPE).map(String::as_str) {
            Some(TYPE_ACCOUNT) if of_this => Kind::Enrolled,
            // Tagged for another name: a copy, which is not what was enrolled here.
            Some(TYPE_ACCOUNT) if self.tags.contains_key(ENROLLMENT) => Kind::Foreign,
            Some(TYPE_ACCOUNT) => Kind::Adopted,
            Some(TYPE_PURGED) if of_this => Kind::Purged,
            _ => Kind::Foreign,
        }
    }

    /// How the account's codes are made, as far as tags tell.
    pub(super) fn parameters(&self) -> Result<CodeParameters, VaultError> {
        let usual = CodeParameters::default();
        let algorithm = match self.tags.get(ALGORITHM) {
            Some(name) => [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512]
                .into_iter()
                .find(|known| known.as_str() == name)
                .ok_or_else(spoilt_tags)?,
            None => usual.algorithm(),
        };
        let digits = match self.tags.get(DIGITS) {
            Some(text) => text.parse().map_err(|_| spoilt_tags())?,
            None => usual.digits(),
        };
        let period = match self.tags.get(PERIOD) {
            Some(text) => text.parse().map_err(|_| spoilt_tags())?,
            None => usual.period(),
        };
        CodeParameters::new(algorithm, digits, period).map_err(|_| spoilt_tags())
    }

    /// What the account is called, if tags tell.
    fn labels(&self) -> Result<Option<Labels>, VaultError> {
        let issuer = self.tags.get(ISSUER).map(String::as_str);
        let Some(name) = self.tags.get(ACCOUNT_NAME) else {
            return Ok(None);
        };
        // An earlier program kept the whole label as the account name.
        let name = issuer
            .filter(|_| !self.tags.contains_key(SCHEMA))
            .and_then(|issuer| name.strip_prefix(issuer)?.strip_prefix(':'))
            .unwrap_or(name);
        let label_issuer = self.tags.get(LABEL_ISSUER).map(String::as_str);
        Labels::new(issuer, name)
            .map(|labels| Some(labels.with_label_issuer(label_issuer)))
            .map_err(|_| spoilt_tags())
    }

    /// Where the account belongs.
    fn filing(&self) -> Filing {
        let text = |name| self.tags.get(name).map(String::as_str);
        Filing::read(text(GROUP), text(TAGS).unwrap_or_default())
    }

    /// Who has to prove the account, if it is not proved yet.
    pub(super) fn pending_for(&self) -> Result<Option<CallerId>, VaultError> {
        let name = self.tags.get(PENDING_FOR);
        name.map(|name| name.parse().map_err(|_| spoilt_tags()))
            .transpose()
    }

    /// What tells the account's secret from any other, if tags tell.
    pub(super) fn fingerprint(&self) -> Option<&str> {
        self.tags.get(FINGERPRINT).map(String::as_str)
    }

    /// What lists show of the account.
    pub(super) fn record(&self, id: &EnrollmentId) -> Result<AccountRecord, VaultError> {
        let parameters = self.parameters()?;
        let labels = match self.labels()? {
            Some(labels) => labels,
            None => Labels::new(self.tags.get(ISSUER).map(String::as_str), "")
                .map_err(|_| spoilt_tags())?,
        };
        let created = self.created.unwrap_or_default();
        Ok(AccountRecord {
            id: id.clone(),
            preview: AccountPreview {
                issuer: labels.issuer().map(str::to_owned),
                account_name: labels.account_name().to_owned(),
                label_issuer: labels.label_issuer().map(str::to_owned),
                algorithm: parameters.algorithm(),
                digits: parameters.digits(),
                period: parameters.period(),
            },
            filing: self.filing(),
            pending_for: self.pending_for()?,
            created_at: created,
            updated_at: self.deleted.or(self.updated).unwrap_or(created),
            deleted_at: self.deleted,
        })
    }

    /// The account, from its value and what tags call it.
    pub(super) fn account(&self, value: &Zeroizing<String>) -> Result<TotpAccount, VaultError> {
        if !value.trim_start().starts_with('{') {
            return self.bare_account(value);
        }
        match serde_json::from_str::<VersionOnly>(value) {
            Ok(VersionOnly { version: VERSION }) => {}
            Ok(VersionOnly { version }) if version > VERSION => {
                return Err(VaultError::Corrupt {
                    reason: "a later release wrote it; use that release",
                });
            }
            _ => return Err(spoilt_value()),
        }
        let read: ReadValue = serde_json::from_str(value).map_err(|_| spoilt_value())?;
        let labels = match self.labels()? {
            Some(labels) => labels,
            None => Labels::new(read.issuer.as_deref(), &read.account_name)
                .map_err(|_| spoilt_value())?
                .with_label_issuer(read.label_issuer.as_deref()),
        };
        let parameters = CodeParameters::new(read.algorithm, read.digits, read.period)
            .map_err(|_| spoilt_value())?;
        Ok(TotpAccount::new(labels, parameters, secret(&read.secret)?))
    }

    /// A value that is a bare secret: everything else is in tags or as usual.
    fn bare_account(&self, value: &Zeroizing<String>) -> Result<TotpAccount, VaultError> {
        let issuer = self.tags.get(ISSUER).map(String::as_str);
        let labels = match self.labels()? {
            Some(labels) => labels,
            None => Labels::new(issuer, "").map_err(|_| spoilt_tags())?,
        };
        Ok(TotpAccount::new(labels, self.parameters()?, secret(value)?))
    }
}

/// Reads base32 as leniently as an enrollment does: such values were kept unchecked.
fn secret(text: &Zeroizing<String>) -> Result<TotpSecret, VaultError> {
    let text = text.trim();
    // Nothing that would change the meaning of the URI below.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-' | b'=');
    if !text.bytes().all(plain) {
        return Err(spoilt_value());
    }
    const BEFORE: &str = "otpauth://totp/a?secret=";
    let mut uri = Zeroizing::new(String::with_capacity(BEFORE.len() + text.len()));
    uri.push_str(BEFORE);
    uri.extend(text.chars().filter(|c| !matches!(c, ' ' | '-' | '=')));
    otpauth::parse(&uri)
        .map(|parsed| parsed.account.secret().clone())
        .map_err(|_| spoilt_value())
}

const fn spoilt_value() -> VaultError {
    VaultError::Corrupt {
        reason: "its value is not an account",
    }
}

const fn spoilt_tags() -> VaultError {
    VaultError::Corrupt {
        reason: "its tags have invalid values",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(uri: &str) -> TotpAccount {
        otpauth::parse(uri).unwrap().account
    }

    fn metadata(tags: &[(&str, &str)]) -> Metadata {
        Metadata {
            tags: tags
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Metadata::default()
        }
    }

    fn kept(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[test]
    fn an_account_comes_back_whole() {
        let id = EnrollmentId::random();
        for uri in [
            "otpauth://totp/ACME:ann@example.com?secret=JBSWY3DPEHPK3PXP&issuer=ACME",
            "otpauth://totp/Other:ann?secret=JBSWY3DPEHPK3PXP&issuer=ACME",
            "otpauth://totp/x?secret=MFRGGZDFMZTWQ2LK&algorithm=SHA512&digits=8&period=60",
        ] {
            let account = account(uri);
            let metadata = Metadata {
                tags: tags(&id, &account, None, None),
                ..Metadata::default()
            };
            assert_eq!(metadata.kind(&id), Kind::Enrolled);
            assert_eq!(
                metadata.account(&value(&account).unwrap()).unwrap(),
                account
            );
            assert_eq!(metadata.record(&id).unwrap().preview, account.preview());
            // The value is enough on its own.
            let bare = Metadata::default();
            assert_eq!(bare.account(&value(&account).unwrap()).unwrap(), account);
        }
    }

    #[test]
    fn the_value_is_versioned_json() {
        let account = account("otpauth://totp/ACME:ann?secret=JBSWY3DPEHPK3PXP&issuer=ACME");
        assert_eq!(
            value(&account).unwrap().as_str(),
            r#"{"version":1,"secret":"JBSWY3DPEHPK3PXP","algorithm":"SHA1","digits":6,"period":30,"issuer":"ACME","accountName":"ann"}"#
        );
        let later = kept(r#"{"version":2,"secret":{"new":"form"}}"#);
        let Err(VaultError::Corrupt { reason }) = Metadata::default().account(&later) else {
            panic!("read what a later release wrote");
        };
        assert!(reason.contains("later release"), "{reason}");
    }

    #[test]
    fn a_bare_secret_of_an_earlier_program_is_read() {
        let tags = [
            ("accountName", "GitHub:octo@example.com"),
            ("issuer", "GitHub"),
            ("type", "totp-secret"),
        ];
        let expected =
            account("otpauth://totp/GitHub:octo%40example.com?secret=2FASTEST&issuer=GitHub");
        for value in ["2FASTEST", "2fastest", "2FAS TEST", " 2FASTEST=\n"] {
            let read = metadata(&tags).account(&kept(value)).unwrap();
            assert_eq!(read, expected, "{value}");
        }
        assert_eq!(metadata(&tags).kind(&EnrollmentId::random()), Kind::Adopted);
        // Without a label, that program kept no account name.
        let nameless = metadata(&[("issuer", "GitHub"), ("type", "totp-secret")]);
        let read = nameless.account(&kept("2FASTEST")).unwrap();
        assert_eq!(read.account_name(), "GitHub");
    }

    #[test]
    fn what_is_no_account_is_not_made_one() {
        for value in [
            "",
            "{}",
            "{",
            "hunter2!",
            "A&secret=2FASTEST",
            r#"{"version":1}"#,
            r#"{"version":0,"secret":"2FASTEST"}"#,
            r#"{"version":1,"secret":"2FASTEST","algorithm":"SHA1","digits":9,"period":30,"accountName":"a"}"#,
            r#"{"version":1,"secret":"01","algorithm":"SHA1","digits":6,"period":30,"accountName":"a"}"#,
        ] {
            let read = Metadata::default().account(&kept(value));
            assert!(matches!(read, Err(VaultError::Corrupt { .. })), "{value}");
        }
        let spoilt = metadata(&[("type", "totp-secret"), ("digits", "many")]);
        assert!(spoilt.record(&EnrollmentId::random()).is_err());
    }

    #[test]
    fn a_secret_of_someone_else_is_distinguished() {
        let id = EnrollmentId::random();
        let other = EnrollmentId::random();
        assert_eq!(metadata(&[]).kind(&id), Kind::Foreign);
        assert_eq!(metadata(&[("type", "password")]).kind(&id), Kind::Foreign);
        let copied = [("type", "totp-secret"), ("enrollment", other.as_str())];
        assert_eq!(metadata(&copied).kind(&id), Kind::Foreign);
        let purged = Metadata {
            tags: purged_tags(&id),
            ..Metadata::default()
        };
        assert_eq!(purged.kind(&id), Kind::Purged);
    }

    #[test]
    fn changing_leaves_other_tags_alone() {
        let account = account("otpauth://totp/ACME:ann?secret=JBSWY3DPEHPK3PXP&issuer=ACME");
        let mut tags = tags(&EnrollmentId::random(), &account, None, None);
        tags.insert("team".to_owned(), "red".to_owned());
        let renaming = Change {
            labels: Some(Labels::new(None, "bob").unwrap()),
            ..Change::default()
        };
        change(&mut tags, &renaming).unwrap();
        let renamed = Metadata {
            tags,
            ..Metadata::default()
        };
        let read = renamed.account(&value(&account).unwrap()).unwrap();
        assert_eq!((read.issuer(), read.account_name()), (None, "bob"));
        assert_eq!(renamed.tags["team"], "red");
    }

    #[test]
    fn everything_about_an_account_fits_into_the_tags_of_a_secret() {
        let uri = "otpauth://totp/Other:ann?secret=JBSWY3DPEHPK3PXP&issuer=ACME";
        let asked: CallerId = "ann".parse().unwrap();
        let mut tags = tags(&EnrollmentId::random(), &account(uri), Some(&asked), None);
        let filing = Filing::new(Some("Payments"), ["a", "b"]).unwrap();
        let filed = Change {
            filing: Some(filing.clone()),
            ..Change::default()
        };
        for number in 0..3 {
            tags.insert(format!("theirs{number}"), String::new());
        }
        change(&mut tags, &filed).unwrap();
        assert_eq!(tags.len(), MOST_TAGS);
        tags.insert("one more".to_owned(), String::new());
        let refused = change(&mut tags.clone(), &filed);
        assert!(
            matches!(refused, Err(VaultError::Full { .. })),
            "{refused:?}"
        );

        let metadata = Metadata {
            tags,
            ..Metadata::default()
        };
        let record = metadata.record(&EnrollmentId::random()).unwrap();
        assert_eq!((record.filing, record.pending_for), (filing, Some(asked)));
    }
}
