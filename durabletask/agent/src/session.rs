//! Sessions: conversations that later runs continue, kept as entities.

use std::time::Duration;

use durabletask::chrono::Utc;
use durabletask::{Entity, EntityContext, EntityHandlers, Failure, Operation};
use serde::{Deserialize, Serialize};

use crate::message::Message;

/// A conversation. It is deleted once nothing was added for its time to live.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Session {
    messages: Vec<Message>,
    /// How often it was added to.
    revision: u64,
}

/// What a run adds.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Addition {
    pub(crate) messages: Vec<Message>,
    pub(crate) seconds_to_live: u64,
    pub(crate) most_messages: usize,
}

pub(crate) const READ: Operation<Session, (), Vec<Message>> = Operation::new("read");
pub(crate) const ADD: Operation<Session, Addition, ()> = Operation::new("add");
const EXPIRE: Operation<Session, u64, ()> = Operation::new("expire");

pub(crate) fn handlers() -> EntityHandlers<Session> {
    EntityHandlers::new()
        .operation(&READ, |session: &mut Session, _, ()| {
            Ok(session.messages.clone())
        })
        .operation(&ADD, add)
        .operation(&EXPIRE, |session, ctx, revision| {
            if session.revision == revision {
                ctx.delete_state();
            }
            Ok(())
        })
}

fn add(session: &mut Session, ctx: &EntityContext, new: Addition) -> Result<(), Failure> {
    session.messages.extend(new.messages);
    session.revision += 1;
    forget(&mut session.messages, new.most_messages);
    let end = Utc::now() + Duration::from_secs(new.seconds_to_live);
    let this: Entity<Session> = Entity::named(ctx.id().name())?;
    ctx.signal_entity_at(&this.id(ctx.id().key()), &EXPIRE, &session.revision, end)?;
    Ok(())
}

/// Removes the oldest messages until at most `most` are left and the first is a user's: a
/// result without its call is refused by models.
fn forget(messages: &mut Vec<Message>, most: usize) {
    if messages.len() <= most {
        return;
    }
    let from = messages.len() - most;
    let from = messages
        .iter()
        .skip(from)
        .position(|message| matches!(message, Message::User { .. }))
        .map_or(messages.len(), |at| from + at);
    messages.drain(..from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_begins_with_a_users_message() {
        let call = Message::Assistant {
            content: None,
            tool_calls: Vec::new(),
        };
        let turn = |n: u32| {
            [
                Message::user(format!("question {n}")),
                call.clone(),
                Message::assistant(format!("answer {n}")),
            ]
        };
        let all: Vec<Message> = (1..=3).flat_map(turn).collect();
        for (most, left) in [(9, 9), (8, 6), (6, 6), (5, 3), (3, 3), (2, 0), (0, 0)] {
            let mut messages = all.clone();
            forget(&mut messages, most);
            assert_eq!(messages, all[all.len() - left..], "at most {most}");
        }
    }
}
