//! Which changes of the code an execution has taken in.

use std::collections::{BTreeMap, BTreeSet};

use crate::action::ActionKind;
use crate::history::{HistoryEvent, HistoryPayload};

use super::state::State;

/// Records of patches are events to the instance itself whose names begin so.
const PREFIX: &str = "durabletask.patch/";

/// What is known of patches.
#[derive(Debug, Default)]
pub(crate) struct Patches {
    /// Those that the history records in what is replayed.
    recorded: BTreeSet<String>,
    /// The answers that the code has got.
    answers: BTreeMap<String, bool>,
}

/// Whether an event with this name is the record of a patch, and not for the code.
pub(crate) fn is_record(event_name: &str) -> bool {
    event_name.starts_with(PREFIX)
}

impl Patches {
    /// Learns from an event that is about to be replayed.
    pub(crate) fn learn(&mut self, event: &HistoryEvent) {
        if let HistoryPayload::EventSent { name, .. } = &event.payload
            && let Some(id) = name.strip_prefix(PREFIX)
        {
            self.recorded.insert(id.to_owned());
        }
    }
}

impl State {
    /// Whether the execution takes the path of this patch; records it the first time.
    pub(crate) fn patched(&mut self, id: &str, instance_id: &str) -> bool {
        if let Some(answer) = self.patches.answers.get(id) {
            return *answer;
        }
        let answer = !self.replaying || self.patches.recorded.contains(id);
        self.patches.answers.insert(id.to_owned(), answer);
        if answer {
            self.record_patch(id, instance_id);
        }
        answer
    }

    /// Takes the step of a patch that the history records, and none otherwise.
    pub(crate) fn deprecate_patch(&mut self, id: &str, instance_id: &str) {
        if self.patches.answers.contains_key(id) {
            return;
        }
        let recorded = self.replaying && self.patches.recorded.contains(id);
        self.patches.answers.insert(id.to_owned(), recorded);
        if recorded {
            self.record_patch(id, instance_id);
        }
    }

    fn record_patch(&mut self, id: &str, instance_id: &str) {
        let step = self.take_id();
        let instance_id = self.lineage.id(instance_id).to_owned();
        self.push_action(
            step,
            ActionKind::SendEvent {
                instance_id,
                name: format!("{PREFIX}{id}"),
                data: None,
            },
        );
    }

    /// The target of a recorded event, as the code has it: what another instance sent to itself,
    /// its fork's code sends to itself.
    pub(super) fn as_sent(&self, id: i32, target: &str) -> String {
        match self.pending.get(&id).map(|action| &action.kind) {
            Some(ActionKind::SendEvent { instance_id, .. })
                if self.lineage.is_same_target(instance_id, target) =>
            {
                instance_id.clone()
            }
            _ => target.to_owned(),
        }
    }
}
