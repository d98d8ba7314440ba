//! Whose turns the history of a fork begins with.
//!
//! A scheduler that forks an instance copies turns which another one lived through. What code
//! derives from its own id has to come out in them as it did there.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

/// The tag with which a scheduler says whose turns they are. It is not for the code.
pub(crate) const LINEAGE_TAG: &str = "durabletask.fork";

/// The namespace of deterministic uuids, the same as in the official SDKs.
const UUID_NAMESPACE: Uuid = Uuid::from_u128(0x9e95_2958_5e33_4daf_827f_2fa1_2937_b875);

/// A deterministic uuid: version 5 over instance id, replay clock and a counter.
pub(crate) fn uuid(instance_id: &str, clock: DateTime<Utc>, counter: u64) -> Uuid {
    let ticks = clock.timestamp_subsec_nanos() / 100;
    let clock = clock.format("%Y-%m-%dT%H:%M:%S");
    let name = format!("{instance_id}_{clock}.{ticks:07}Z_{counter}");
    Uuid::new_v5(&UUID_NAMESPACE, name.as_bytes())
}

/// Whose turns are replayed.
#[derive(Debug, Default)]
pub(crate) struct Lineage {
    origins: Vec<Origin>,
    /// The id of the instance itself, if it is a fork.
    own: String,
    /// How many turns have begun.
    turns: usize,
}

#[derive(Debug, Deserialize)]
struct Told {
    /// The execution that this is said of: tags go along when an instance continues as new,
    /// and the caller that starts one can write any.
    execution: String,
    origins: Vec<Origin>,
}

/// An instance to which the turns up to a number belong, from where those of the one before end.
#[derive(Debug, Deserialize)]
struct Origin {
    instance: String,
    turns: usize,
}

impl Lineage {
    /// Learns what the scheduler says of the instance `own`, if it is of this execution.
    pub(crate) fn begin(&mut self, text: &str, own: &str, execution_id: Option<&str>) {
        if let Ok(told) = serde_json::from_str::<Told>(text)
            && Some(told.execution.as_str()) == execution_id
        {
            self.origins = told.origins;
            self.own = own.to_owned();
        }
    }

    /// Another turn begins; true if it is the first that the instance lives through itself.
    pub(crate) fn turn_begins(&mut self) -> bool {
        self.turns = self.turns.saturating_add(1);
        self.origins
            .last()
            .is_some_and(|last| last.turns.saturating_add(1) == self.turns)
    }

    /// Whether the history began with another instance.
    pub(crate) fn is_fork(&self) -> bool {
        !self.origins.is_empty()
    }

    /// The id of the instance whose turn this is; `own` if it is no other's.
    pub(crate) fn id<'a>(&'a self, own: &'a str) -> &'a str {
        self.origins
            .iter()
            .find(|origin| self.turns <= origin.turns)
            .map_or(own, |origin| &origin.instance)
    }

    /// Whether what is recorded as sent to `recorded` is what the code sends to `target`: where
    /// another instance sent to itself, the code sends to its own.
    pub(crate) fn is_same_target(&self, target: &str, recorded: &str) -> bool {
        target == recorded || (self.own == target && self.id(target) == recorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_turn_belongs_to_the_instance_that_lived_through_it() {
        let text = r#"{"execution":"e3","origins":[{"instance":"a","turns":2},{"instance":"b","turns":3}]}"#;
        let mut lineage = Lineage::default();
        lineage.begin(text, "c", Some("e2"));
        assert!(!lineage.is_fork());
        lineage.begin(text, "c", Some("e3"));
        assert!(lineage.is_fork());
        let turns: Vec<(bool, String)> = (0..5)
            .map(|_| (lineage.turn_begins(), lineage.id("c").to_owned()))
            .collect();
        let whose: Vec<&str> = turns.iter().map(|(_, id)| id.as_str()).collect();
        assert_eq!(whose, ["a", "a", "b", "c", "c"]);
        let first: Vec<bool> = turns.iter().map(|(first, _)| *first).collect();
        assert_eq!(first, [false, false, false, true, false]);
    }

    #[test]
    fn what_is_not_the_schedulers_counts_for_nothing() {
        for text in ["", "{}", "null", r#"{"execution":"e","origins":7}"#] {
            let mut lineage = Lineage::default();
            lineage.begin(text, "c", Some("e"));
            lineage.turn_begins();
            assert_eq!(lineage.id("own"), "own");
        }
    }
}
