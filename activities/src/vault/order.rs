//! The order of a vault's list, its cursors and its search: the same in every vault.

use data_encoding::BASE64URL_NOPAD;

use super::{AccountPage, AccountRecord, Filter, MAX_PAGE, VaultError};

/// A place in the list's order: by issuer, then account name, then id, labels without
/// regard to case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListPosition {
    pub(super) issuer_key: String,
    pub(super) name_key: String,
    pub(super) id: String,
}

impl ListPosition {
    /// Where an account is.
    #[must_use]
    pub fn of(record: &AccountRecord) -> Self {
        let (issuer_key, name_key) = keys(
            record.preview.issuer.as_deref(),
            &record.preview.account_name,
        );
        Self {
            issuer_key,
            name_key,
            id: record.id.to_string(),
        }
    }

    /// The cursor of the page that begins after this place.
    #[must_use]
    pub fn to_cursor(&self) -> String {
        // Labels hold no control characters, so the separator is none of theirs.
        let text = format!("{}\n{}\n{}", self.issuer_key, self.name_key, self.id);
        BASE64URL_NOPAD.encode(text.as_bytes())
    }

    /// The place that a cursor names.
    ///
    /// # Errors
    ///
    /// [`VaultError::InvalidCursor`] when [`ListPosition::to_cursor`] did not write it.
    pub fn from_cursor(cursor: &str) -> Result<Self, VaultError> {
        let bytes = BASE64URL_NOPAD
            .decode(cursor.as_bytes())
            .map_err(|_| VaultError::InvalidCursor)?;
        let text = String::from_utf8(bytes).map_err(|_| VaultError::InvalidCursor)?;
        let mut parts = text.split('\n').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(issuer_key), Some(name_key), Some(id), None) => Ok(Self {
                issuer_key,
                name_key,
                id,
            }),
            _ => Err(VaultError::InvalidCursor),
        }
    }
}

/// What labels are ordered and searched by.
#[must_use]
pub fn keys(issuer: Option<&str>, account_name: &str) -> (String, String) {
    (
        issuer.unwrap_or_default().to_lowercase(),
        account_name.to_lowercase(),
    )
}

/// A page of `records`, which are all accounts in use, or all that were deleted, in the order
/// of their places.
///
/// # Errors
///
/// [`VaultError::InvalidCursor`] when `cursor` was not the `next` of a page.
pub fn page(
    records: &[AccountRecord],
    filter: &Filter,
    cursor: Option<&str>,
    limit: usize,
) -> Result<AccountPage, VaultError> {
    let after = cursor.map(ListPosition::from_cursor).transpose()?;
    let limit = limit.clamp(1, MAX_PAGE);
    let mut found = records
        .iter()
        .filter(|record| filter.lets_through(record))
        .filter(|record| {
            after
                .as_ref()
                .is_none_or(|after| ListPosition::of(record) > *after)
        });
    let accounts: Vec<AccountRecord> = found.by_ref().take(limit).cloned().collect();
    let more = found.next().is_some();
    Ok(AccountPage {
        next: accounts
            .last()
            .filter(|_| more)
            .map(|last| ListPosition::of(last).to_cursor()),
        accounts,
    })
}

impl Filter {
    /// Whether an account is among those to list.
    #[must_use]
    pub fn lets_through(&self, record: &AccountRecord) -> bool {
        let AccountRecord {
            preview, filing, ..
        } = record;
        self.finds(preview.issuer.as_deref(), &preview.account_name)
            && self
                .group
                .as_deref()
                .is_none_or(|group| filing.is_in(group))
            && self.tag.as_deref().is_none_or(|tag| filing.has(tag))
    }

    fn finds(&self, issuer: Option<&str>, account_name: &str) -> bool {
        let search = self.search.as_deref().unwrap_or_default().to_lowercase();
        if search.is_empty() {
            return true;
        }
        let (issuer_key, name_key) = keys(issuer, account_name);
        issuer_key.contains(&search) || name_key.contains(&search)
    }
}
