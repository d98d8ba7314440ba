//! The error texts for refused mandates.

use countersign_authority::Refusal;

/// What is wrong, and what to do.
pub(crate) fn detail(refusal: &Refusal) -> String {
    match refusal {
        Refusal::NoMandate | Refusal::Unregistered => {
            "This server's ledger does not contain it: an earlier release started it, or the \
             ledger was replaced or restored from an older copy since. Submit it again."
                .to_owned()
        }
        Refusal::Forged => "The ledger's entry was not signed by a front door of this \
                            installation. Inform the operator that the ledger was changed, and \
                            submit it again."
            .to_owned(),
        Refusal::RetiredKey { key } => {
            format!(
                "It was signed with the key {key}, which has been retired since. Submit it again."
            )
        }
        Refusal::UnknownKey { key } => format!(
            "It was signed with the key {key}, which this server does not have: the key is another \
             installation's, or was lost when an older copy of the keys was restored. Submit it \
             again."
        ),
        Refusal::OtherVersion { version } => format!(
            "It was signed by another release, in version {version}, which this one does not \
             know. Update this server, or submit it again."
        ),
        Refusal::NotUnderstood => "It was signed by a later release, with parts that this one \
                                   does not know. Update this server, or submit it again."
            .to_owned(),
        Refusal::OtherLedger => "It is in a different ledger than this server's. Submit it \
                                 again, or use the server on whose data folder it was submitted."
            .to_owned(),
        Refusal::OtherMatter | Refusal::OtherSource => {
            "What was signed under this id is for something else. Submit it again.".to_owned()
        }
        Refusal::TooEarly => "It was signed in the future, according to this server's clock. \
                              Check the clocks of this server and of the one that accepted it."
            .to_owned(),
        other => format!("It is not permitted: {other}. See its status."),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_cause_has_its_own_sentences() {
        let key = "m-1".to_owned();
        let causes = [
            Refusal::Unregistered,
            Refusal::Forged,
            Refusal::RetiredKey { key: key.clone() },
            Refusal::UnknownKey { key },
            Refusal::OtherVersion { version: 9 },
            Refusal::NotUnderstood,
            Refusal::OtherLedger,
            Refusal::OtherMatter,
            Refusal::TooEarly,
            Refusal::NotRejected,
        ];
        let details: BTreeSet<String> = causes.iter().map(detail).collect();
        assert_eq!(details.len(), causes.len(), "{details:#?}");
        for detail in details {
            assert!(detail.matches(['.', ':', ',']).count() >= 2, "{detail}");
            assert!(detail.ends_with('.') && !detail.contains("  "), "{detail}");
        }
    }
}
