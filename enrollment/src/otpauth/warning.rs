//! What was odd about a URI, for the person who sent it.

use serde::{Deserialize, Serialize};

use crate::ids::EnrollmentId;
use crate::problem::there;

/// Something odd about a URI that yields right codes all the same. Public metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "warning",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Warning {
    /// The secret has fewer than 128 bits, less than RFC 4226 demands.
    WeakSecret {
        /// How many bits the secret has.
        bits: u32,
    },
    /// The label names another issuer than the parameter, which counts.
    IssuerMismatch {
        /// The issuer in the label.
        #[cfg_attr(feature = "schema", schema(rename = "labelIssuer"))]
        label_issuer: String,
    },
    /// The issuer is given more than once; the first is used.
    RepeatedIssuer,
    /// The secret's last character holds bits that don't count.
    TrailingBits,
    /// Codes have a number of digits that few apps show: 7.
    UnusualDigits,
    /// Codes change after a time that few apps know: neither 30 nor 60 seconds.
    UnusualPeriod,
    /// Parameter names are written in upper case, which many apps don't read.
    FoldedNames,
    /// What follows a `#` was left out.
    FragmentIgnored,
    /// Control characters were taken out of the labels.
    CleanedLabel,
    /// Another program had escaped the whole URI; the escapes were undone.
    EscapesUndone,
    /// It names Steam, which accepts no codes of digits only.
    MaybeSteam,
    /// Parameters that are not known were left out.
    ParametersIgnored {
        /// The names of the first ones, as far as they can be repeated.
        names: Vec<String>,
        /// How many there are.
        count: u32,
    },
    /// Other accounts have the same secret, and their codes are made in the same way.
    Duplicate {
        /// The ids of those accounts that the reader may see.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[cfg_attr(feature = "schema", schema(value_type = Vec<String>, required = false))]
        accounts: Vec<EnrollmentId>,
    },
    /// Texts beside the account in an export look like recovery codes and were not read.
    RecoveryCodesUnread {
        /// How many.
        count: u32,
    },
    /// Recovery codes came with an account that was there before, which does not have all of
    /// them.
    RecoveryCodesNotAdded {
        /// How many came.
        count: u32,
    },
}

impl Warning {
    /// What is odd, as a sentence for the person who sent it.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::WeakSecret { bits } => {
                format!("The secret has {bits} bits; a strong one has 128 or more.")
            }
            Self::IssuerMismatch { label_issuer } => format!(
                "The label names another issuer, \u{201c}{label_issuer}\u{201d}; the issuer parameter is used."
            ),
            Self::RepeatedIssuer => "The issuer is given more than once; the first is used.".to_owned(),
            Self::TrailingBits => {
                "The secret's last character contains unused bits; check that it was copied completely."
                    .to_owned()
            }
            Self::UnusualDigits => "Codes have 7 digits, which few apps show.".to_owned(),
            Self::UnusualPeriod => {
                "Codes change after an unusual period: neither 30 nor 60 seconds.".to_owned()
            }
            Self::FoldedNames => {
                "Parameter names are in upper case, which many apps do not accept.".to_owned()
            }
            Self::FragmentIgnored => "Everything after the # was ignored.".to_owned(),
            Self::CleanedLabel => "Control characters were removed from the names.".to_owned(),
            Self::EscapesUndone => {
                "The URI was escaped as a whole, as in HTML, JSON or a web address; the escapes were undone."
                    .to_owned()
            }
            Self::MaybeSteam => {
                "The account gives 6 digits, and Steam itself accepts only its own codes of 5 letters and digits: if it is for logging in to Steam, enroll it again as a Steam account (kind=steam, or --kind steam)."
                    .to_owned()
            }
            Self::ParametersIgnored { names, count } => ignored(names, *count),
            Self::RecoveryCodesUnread { count: 1 } => {
                "A text beside the account looks like recovery codes and was not read; if it has any, set all of the account's recovery codes with countersign recovery-codes set."
                    .to_owned()
            }
            Self::RecoveryCodesUnread { count } => format!(
                "{count} texts beside the account look like recovery codes and were not read; if they have any, set all of the account's recovery codes with countersign recovery-codes set."
            ),
            Self::RecoveryCodesNotAdded { .. } => {
                "The account existed already, without some of the recovery codes that came with it; they were not added. Set them with countersign recovery-codes set."
                    .to_owned()
            }
            Self::Duplicate { accounts } => format!(
                "{} This one gives the same codes: keep both only if you need two.",
                there(accounts)
            ),
        }
    }
}

/// That parameters were left out, some of them by name.
fn ignored(names: &[String], count: u32) -> String {
    let named = u32::try_from(names.len()).unwrap_or(u32::MAX);
    let others = match count.saturating_sub(named) {
        0 => None,
        1 if names.is_empty() => Some("with an unusual name".to_owned()),
        1 => Some("another one".to_owned()),
        more if names.is_empty() => Some(format!("{more} with unusual names")),
        more => Some(format!("{more} others")),
    };
    let listed: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .chain(others.as_deref())
        .collect();
    match count {
        1 => format!(
            "The URI has a parameter that is not known and was ignored: {}.",
            listed.join(", ")
        ),
        _ => format!(
            "The URI has parameters that are not known and were ignored: {}.",
            listed.join(", ")
        ),
    }
}
