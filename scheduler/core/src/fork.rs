//! Forks: a new instance continues from another one's history up to an event.
//!
//! Whole turns before the event become the new instance's past. Of the turn that the event is in the
//! middle of, what was delivered up to the event is delivered again, and the worker decides again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use durabletask_proto::history_event::EventType;
use durabletask_proto::{
    EventRaisedEvent, ExecutionStartedEvent, HistoryEvent, OrchestrationInstance,
    OrchestrationStatus, OrchestratorStartedEvent, SendEventAction,
};
use prost_types::Timestamp;
use serde_json::{Value, json};

use crate::effects::{ChildStart, TimerSet};
use crate::rewind::Questions;
use crate::started::{activity, child_start, identity, timer_set};
use crate::turn::FIRE_AND_FORGET;
use crate::{
    EntityMessage, Instance, Message, canonical_entity_id, entity, event, event_form, is_entity_id,
    suspension_after,
};

/// The tag of a fork that names the instance whose history it began with.
const FORKED_FROM: &str = "durabletask.forkedFrom";
/// The tag by which workers know which turns of a fork's history another instance lived through.
const LINEAGE: &str = "durabletask.fork";
/// How a rewound history remembers the id of its first execution, in the form of the Rust SDK.
const REWOUND: &str = "durabletask.originExecutionId";
/// How many forks of forks there can be.
const MAX_ORIGINS: usize = 16;

/// A fork to work out.
#[derive(Clone, Debug)]
pub struct Fork {
    /// The instance whose history is taken.
    pub source: Instance,
    /// Its committed history.
    pub history: Vec<HistoryEvent>,
    /// The place of the last event that is taken, from 0.
    pub event: usize,
    /// The new instance's id.
    pub instance_id: String,
    /// The id of its execution.
    pub execution_id: String,
    /// When it is made.
    pub now: Timestamp,
}

/// A new instance, and what its history has under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Forked {
    /// The new instance: PENDING if it has no past.
    pub instance: Instance,
    /// How it begins.
    pub started: ExecutionStartedEvent,
    /// Its history, whole turns.
    pub past: Vec<HistoryEvent>,
    /// What its next turn gets.
    pub news: Vec<HistoryEvent>,
    /// Activities that had no answer yet.
    pub activities: Vec<durabletask_proto::ActivityRequest>,
    /// Timers that had not fired yet.
    pub timers: Vec<TimerSet>,
    /// Children that had not ended yet; they begin under ids of their own.
    pub children: Vec<ChildStart>,
    /// Calls and lock requests to entities that had no answer yet, in order.
    pub entity_messages: Vec<EntityMessage>,
    /// Answers to those of them that need no entity.
    pub answers: Vec<Message>,
}

/// Why there is no fork from an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForkRefusal {
    /// The history has no such event.
    #[error(
        "the history of {instance:?} has {events} events, so there is none at {event}; events are counted from 0"
    )]
    NoEvent {
        /// The instance.
        instance: String,
        /// What was asked for.
        event: usize,
        /// How many there are.
        events: usize,
    },
    /// Nothing is committed yet.
    #[error("the instance {0:?} has no history yet: no turn of it has been completed")]
    NoHistory(String),
    /// The event is from before a rewind, which took its neighbours out of the history.
    #[error(
        "the history was rewound at the event {rewound}, and what led to the events before is not in it any more; fork from \
         the event {rewound} or a later one"
    )]
    Rewound {
        /// Where the rewind is.
        rewound: usize,
    },
    /// The event is in a critical section, whose locks the new instance would not have.
    #[error(
        "at the event {event} the orchestration holds locks of entities, which another instance cannot share; fork from an \
         event before the locks were granted or after they were released"
    )]
    InSection {
        /// What was asked for.
        event: usize,
    },
    /// The history has calls of entities whose answers are for one instance only.
    #[error(
        "the orchestration called entities by events, in the form of older workers, and their answers cannot be told apart in \
         a fork; fork from an event before the first such call, which is the event {call}"
    )]
    EntityByEvent {
        /// Where the first of them is.
        call: usize,
    },
    /// It is a fork of a fork of a fork, and so on.
    #[error(
        "the instance is a fork of a fork, {} times over; fork one of those before it",
        MAX_ORIGINS
    )]
    TooDeep,
}

/// Works out a fork.
///
/// # Errors
/// Why there is none from this event.
pub fn fork(fork: Fork) -> Result<Forked, Box<ForkRefusal>> {
    let Fork {
        source,
        mut history,
        event: at,
        instance_id,
        execution_id,
        now,
    } = fork;
    let id = source.instance_id.clone();
    if history.is_empty() {
        return Err(Box::new(ForkRefusal::NoHistory(id)));
    }
    if at >= history.len() {
        return Err(Box::new(ForkRefusal::NoEvent {
            instance: id,
            event: at,
            events: history.len(),
        }));
    }
    let rewound =
        |event: &HistoryEvent| matches!(event.event_type, Some(EventType::ExecutionRewound(_)));
    if let Some(rewound) = history.iter().rposition(rewound)
        && at < rewound
    {
        return Err(Box::new(ForkRefusal::Rewound { rewound }));
    }
    let Some(start) = history.iter().find_map(|event| match &event.event_type {
        Some(EventType::ExecutionStarted(started)) => Some(started.clone()),
        _ => None,
    }) else {
        return Err(Box::new(ForkRefusal::NoHistory(id)));
    };

    let (mut past, partial) = split(&mut history, at);
    let mut news: Vec<HistoryEvent> = partial.into_iter().filter(is_news).collect();
    let is_start =
        |event: &HistoryEvent| matches!(event.event_type, Some(EventType::ExecutionStarted(_)));
    let begins = !past.iter().any(is_start);
    if begins {
        // The start is part of every fork, and is delivered with the instance.
        past.clear();
        news.retain(|event| !is_start(event));
    }

    let lineage = match begins {
        true => None,
        false => Some(lineage(&start, &source, &past)?),
    };
    let mut tags = source.tags.clone();
    tags.remove(LINEAGE);
    tags.insert(FORKED_FROM.to_owned(), id.clone());
    tags.extend(lineage.as_ref().map(|known| {
        let text = known.text(&execution_id);
        (LINEAGE.to_owned(), text)
    }));
    let instance = Instance {
        instance_id,
        execution_id,
        status: status(&past, begins),
        custom_status: None,
        status_carried: false,
        tags: tags.clone(),
        parent: None,
        span: None,
        terminate_children: false,
        output: None,
        failure: None,
        ..source
    };
    let mut started = ExecutionStartedEvent {
        orchestration_instance: Some(OrchestrationInstance {
            instance_id: instance.instance_id.clone(),
            execution_id: Some(instance.execution_id.clone()),
        }),
        parent_instance: None,
        scheduled_start_timestamp: None,
        tags,
        ..start
    };
    started.tags.remove(REWOUND);
    for event in &mut past {
        if let Some(EventType::ExecutionStarted(before)) = &mut event.event_type {
            *before = started.clone();
        }
    }
    if !begins {
        let selves = lineage.map(|known| known.ids()).unwrap_or_default();
        let on_their_way = events_to_itself(&past, &news, &selves, now);
        news.extend(on_their_way);
        if news.is_empty() {
            // The worker replays; after a rewind it has steps to take.
            let wake = EventType::OrchestratorStarted(OrchestratorStartedEvent {});
            news.push(event(-1, now, wake));
        }
    }
    under_way(instance, started, past, news, at, now)
}

/// The whole turns up to the event, and the beginning of the turn that it is in the middle of.
fn split(history: &mut Vec<HistoryEvent>, at: usize) -> (Vec<HistoryEvent>, Vec<HistoryEvent>) {
    let begins_turn =
        |event: &HistoryEvent| matches!(event.event_type, Some(EventType::OrchestratorStarted(_)));
    let ends =
        |event: &HistoryEvent| matches!(event.event_type, Some(EventType::ExecutionCompleted(_)));
    let is_whole = history.get(at + 1).is_none_or(begins_turn);
    history.truncate(at + 1);
    let from = history.iter().rposition(begins_turn).unwrap_or(0);
    // The turn that ended the execution is decided again.
    if is_whole && !history.iter().skip(from).any(ends) {
        return (std::mem::take(history), Vec::new());
    }
    let partial = history.split_off(from);
    (std::mem::take(history), partial)
}

/// Whether an event was delivered to a worker, as opposed to what a worker decided.
fn is_news(event: &HistoryEvent) -> bool {
    use EventType as E;
    match &event.event_type {
        Some(
            E::OrchestratorStarted(_)
            | E::OrchestratorCompleted(_)
            | E::ExecutionCompleted(_)
            | E::ContinueAsNew(_)
            | E::TaskScheduled(_)
            | E::TimerCreated(_)
            | E::SubOrchestrationInstanceCreated(_)
            | E::EventSent(_)
            | E::EntityOperationCalled(_)
            | E::EntityOperationSignaled(_)
            | E::EntityLockRequested(_)
            | E::EntityUnlockSent(_),
        )
        | None => false,
        Some(_) => true,
    }
}

fn status(past: &[HistoryEvent], begins: bool) -> OrchestrationStatus {
    match (begins, suspension_after(past)) {
        (true, _) => OrchestrationStatus::Pending,
        (false, Some(true)) => OrchestrationStatus::Suspended,
        (false, _) => OrchestrationStatus::Running,
    }
}

/// Whose turns a history consists of: an instance, and how many turns are its or an earlier one's.
struct Lineage(Vec<(String, usize)>);

impl Lineage {
    fn text(&self, execution_id: &str) -> String {
        let origins: Vec<Value> = self
            .0
            .iter()
            .map(|(instance, turns)| json!({"instance": instance, "turns": turns}))
            .collect();
        json!({"execution": execution_id, "origins": origins}).to_string()
    }

    fn ids(self) -> BTreeSet<String> {
        self.0.into_iter().map(|(id, _)| id).collect()
    }
}

/// The lineage of a fork with this past.
fn lineage(
    start: &ExecutionStartedEvent,
    source: &Instance,
    past: &[HistoryEvent],
) -> Result<Lineage, Box<ForkRefusal>> {
    let turns = past
        .iter()
        .filter(|event| matches!(event.event_type, Some(EventType::OrchestratorStarted(_))))
        .count();
    let mut known = origins(&start.tags, &source.execution_id);
    known.retain(|(_, before)| *before < turns);
    let inherited = origins(&start.tags, &source.execution_id)
        .into_iter()
        .find(|(_, before)| *before >= turns);
    let last = inherited.map_or_else(|| source.instance_id.clone(), |(instance, _)| instance);
    known.push((last, turns));
    if known.len() > MAX_ORIGINS {
        return Err(Box::new(ForkRefusal::TooDeep));
    }
    Ok(Lineage(known))
}

/// What the tag says whose turns these are, if it is of this execution: tags go along when an
/// instance continues as new, and callers can write any.
fn origins(tags: &HashMap<String, String>, execution_id: &str) -> Vec<(String, usize)> {
    let Some(told) = tags
        .get(LINEAGE)
        .and_then(|text| serde_json::from_str::<Value>(text).ok())
    else {
        return Vec::new();
    };
    let of = told.get("execution").and_then(Value::as_str).unwrap_or("");
    let is_ours = of == execution_id
        || tags
            .get(REWOUND)
            .is_some_and(|first| *first == format!("{of}={execution_id}"));
    let listed = told.get("origins").and_then(Value::as_array);
    let origin = |told: &Value| {
        let instance = told.get("instance")?.as_str()?.to_owned();
        let turns = usize::try_from(told.get("turns")?.as_u64()?).ok()?;
        Some((instance, turns))
    };
    match listed {
        Some(listed) if is_ours => listed.iter().map_while(origin).collect(),
        _ => Vec::new(),
    }
}

/// Events that the orchestration sent to itself and had not received yet.
fn events_to_itself(
    past: &[HistoryEvent],
    news: &[HistoryEvent],
    selves: &BTreeSet<String>,
    now: Timestamp,
) -> Vec<HistoryEvent> {
    let mut on_their_way: Vec<EventRaisedEvent> = Vec::new();
    for event in past.iter().chain(news) {
        match &event.event_type {
            Some(EventType::EventSent(sent)) if selves.contains(&sent.instance_id) => {
                on_their_way.push(EventRaisedEvent {
                    name: sent.name.clone(),
                    input: sent.input.clone(),
                });
            }
            Some(EventType::EventRaised(raised)) => {
                if let Some(arrived) = on_their_way.iter().position(|sent| sent == raised) {
                    on_their_way.remove(arrived);
                }
            }
            _ => {}
        }
    }
    on_their_way
        .into_iter()
        .map(|raised| event(-1, now, EventType::EventRaised(raised)))
        .collect()
}

/// Adds what the past started and neither it nor the news answer.
fn under_way(
    instance: Instance,
    started: ExecutionStartedEvent,
    mut past: Vec<HistoryEvent>,
    news: Vec<HistoryEvent>,
    at: usize,
    now: Timestamp,
) -> Result<Forked, Box<ForkRefusal>> {
    let mut activities = BTreeMap::new();
    let mut timers = BTreeMap::new();
    let mut children = BTreeMap::new();
    let mut questions = Questions::default();
    let mut sections = Sections::default();
    for (place, event) in past.iter().chain(&news).enumerate() {
        let id = event.event_id;
        match &event.event_type {
            Some(EventType::TaskScheduled(task)) => {
                activities.insert(id, activity(&instance, id, task));
            }
            Some(EventType::TaskCompleted(done)) => {
                activities.remove(&done.task_scheduled_id);
            }
            Some(EventType::TaskFailed(failed)) => {
                activities.remove(&failed.task_scheduled_id);
            }
            Some(EventType::TimerCreated(timer)) => {
                timers.insert(id, timer_set(id, timer, now));
            }
            Some(EventType::TimerFired(fired)) => {
                timers.remove(&fired.timer_id);
            }
            // Nobody waits for one that was started and forgotten, so it is not started again.
            Some(EventType::SubOrchestrationInstanceCreated(child))
                if !child.tags.contains_key(FIRE_AND_FORGET) =>
            {
                children.insert(id, child.clone());
            }
            Some(EventType::SubOrchestrationInstanceCompleted(done)) => {
                children.remove(&done.task_scheduled_id);
            }
            Some(EventType::SubOrchestrationInstanceFailed(failed)) => {
                children.remove(&failed.task_scheduled_id);
            }
            Some(EventType::EventSent(sent)) if is_entity_id(&sent.instance_id) => {
                let send = SendEventAction {
                    instance: Some(OrchestrationInstance {
                        instance_id: sent.instance_id.clone(),
                        execution_id: None,
                    }),
                    name: sent.name.clone(),
                    data: sent.input.clone(),
                };
                if waits(&instance, &send, now) {
                    return Err(Box::new(ForkRefusal::EntityByEvent { call: place }));
                }
            }
            Some(other) => {
                sections.note(other);
                questions.note(other);
            }
            None => {}
        }
    }
    if sections.is_in_one() {
        return Err(Box::new(ForkRefusal::InSection { event: at }));
    }
    // The other instance's children answer to it alone.
    for event in &mut past {
        if let Some(EventType::SubOrchestrationInstanceCreated(record)) = &mut event.event_type
            && let Some(child) = children.get_mut(&event.event_id)
        {
            child.instance_id = format!("{}:{:04x}", instance.execution_id, event.event_id);
            record.instance_id.clone_from(&child.instance_id);
        }
    }
    let (mut entity_messages, mut answers) = (Vec::new(), Vec::new());
    for question in questions.open {
        // A history that a worker wrote has only what was sent once already.
        if let Ok(sent) = entity::send(&instance, Some(question), now) {
            entity_messages.extend(sent.messages);
            answers.extend(sent.answers);
        }
    }
    Ok(Forked {
        activities: activities.into_values().collect(),
        timers: timers.into_values().collect(),
        children: children
            .iter()
            .map(|(id, child)| child_start(&instance, *id, child))
            .collect(),
        entity_messages,
        answers,
        started: ExecutionStartedEvent {
            orchestration_instance: Some(identity(&instance)),
            ..started
        },
        instance,
        past,
        news,
    })
}

/// Whether the sender of an event to an entity waits for its answer.
fn waits(instance: &Instance, send: &SendEventAction, now: Timestamp) -> bool {
    let read = event_form::read(instance, send, now).and_then(Result::ok);
    read.unwrap_or_default()
        .messages
        .iter()
        .any(|message| match message {
            EntityMessage::Operation(operation) => operation.caller.is_some(),
            EntityMessage::Lock(_) => true,
            EntityMessage::Unlock { .. } => false,
        })
}

fn canonical(entity_id: &str) -> String {
    canonical_entity_id(entity_id).unwrap_or_else(|| entity_id.to_owned())
}

/// The critical sections whose locks were granted, with the entities that are still locked.
#[derive(Default)]
struct Sections {
    requested: HashMap<String, BTreeSet<String>>,
    held: HashMap<String, BTreeSet<String>>,
}

impl Sections {
    fn note(&mut self, event: &EventType) {
        match event {
            EventType::EntityLockRequested(request) => {
                let entities = request.lock_set.iter().map(|id| canonical(id));
                let id = request.critical_section_id.clone();
                self.requested.insert(id, entities.collect());
            }
            EventType::EntityLockGranted(granted) => {
                let id = &granted.critical_section_id;
                if let Some(entities) = self.requested.remove(id) {
                    self.held.insert(id.clone(), entities);
                }
            }
            EventType::EntityUnlockSent(unlock) => {
                let target = unlock.target_instance_id.as_deref().unwrap_or_default();
                if let Some(entities) = self.held.get_mut(&unlock.critical_section_id) {
                    entities.remove(&canonical(target));
                }
            }
            _ => {}
        }
    }

    fn is_in_one(&self) -> bool {
        self.held.values().any(|entities| !entities.is_empty())
    }
}
