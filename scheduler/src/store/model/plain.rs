//! The plain model: what the store must do, without tables.

use std::collections::BTreeMap;

use durabletask_proto::HistoryEvent;
use durabletask_proto::OrchestrationStatus as Status;
use durabletask_proto::history_event::EventType as Event;

use super::operations::{Actions, End};

/// An event, as far as the two are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Started,
    Raised(String),
    Terminated,
    Scheduled(i32),
    Done(i32, String),
    TimerSet(i32),
    Fired(i32),
    Ended(i32),
    Other,
}

impl Told {
    pub(super) fn of(event: &HistoryEvent) -> Self {
        match &event.event_type {
            Some(Event::ExecutionStarted(_)) => Self::Started,
            Some(Event::EventRaised(e)) => Self::Raised(e.input.clone().unwrap_or_default()),
            Some(Event::ExecutionTerminated(_)) => Self::Terminated,
            Some(Event::TaskScheduled(_)) => Self::Scheduled(event.event_id),
            Some(Event::TaskCompleted(e)) => {
                Self::Done(e.task_scheduled_id, e.result.clone().unwrap_or_default())
            }
            Some(Event::TimerCreated(_)) => Self::TimerSet(event.event_id),
            Some(Event::TimerFired(e)) => Self::Fired(e.timer_id),
            Some(Event::ExecutionCompleted(e)) => Self::Ended(e.orchestration_status),
            _ => Self::Other,
        }
    }
}

/// One instance of the model.
#[derive(Clone, Debug)]
pub(super) struct One {
    pub(super) order: u64,
    pub(super) execution: u64,
    pub(super) status: Status,
    /// When a scheduled start happens.
    pub(super) held: Option<i64>,
    pub(super) tagged: bool,
    pub(super) inbox: Vec<Told>,
    pub(super) history: Vec<Told>,
    pub(super) timers: Vec<(i64, u64, i32)>,
    pub(super) next_id: i32,
    turns: usize,
}

/// The plain model.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) now: i64,
    number: u64,
    pub(super) instances: BTreeMap<&'static str, One>,
    /// Instance, execution and task of each activity that waits, in order.
    pub(super) activities: Vec<(&'static str, u64, i32)>,
}

impl Model {
    pub(super) fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub(super) fn start(&mut self, id: &'static str, delay: u8, tagged: bool) -> bool {
        if self.instances.get(id).is_some_and(|one| !ended(one.status)) {
            return false;
        }
        let (order, execution) = (self.number(), self.number());
        let one = One {
            order,
            execution,
            status: Status::Pending,
            held: (delay > 0).then(|| self.now + i64::from(delay)),
            tagged,
            inbox: vec![Told::Started],
            history: vec![],
            timers: vec![],
            next_id: 0,
            turns: 0,
        };
        self.instances.insert(id, one);
        true
    }

    pub(super) fn tell(&mut self, id: &str, told: Told) -> bool {
        let Some(one) = self.instances.get_mut(id) else {
            return false;
        };
        if ended(one.status) {
            return true;
        }
        if one.history.is_empty() && told == Told::Terminated {
            // Its execution has not begun, so it ends without a worker.
            one.history.append(&mut one.inbox);
            one.history
                .extend([told, Told::Ended(Status::Terminated as i32)]);
            one.held = None;
            one.status = Status::Terminated;
        } else {
            one.inbox.push(told);
        }
        true
    }

    pub(super) fn turn(&mut self, id: &'static str, take: usize, actions: &Actions) {
        let now = self.now;
        let execution = self.number();
        let mut scheduled = Vec::new();
        let mut numbers = self.number;
        let Some(one) = self.instances.get_mut(id) else {
            return;
        };
        one.status = Status::Running;
        let mut taken: Vec<Told> = one.inbox.drain(..take).collect();
        let heeded = taken.contains(&Told::Terminated);
        let missed = one.inbox.contains(&Told::Terminated);
        one.history.append(&mut taken);
        if heeded && actions.end != End::Completes || missed && actions.end == End::ContinuesAsNew {
            if !heeded {
                one.history.push(Told::Terminated);
            }
            one.history.push(Told::Ended(Status::Terminated as i32));
            one.status = Status::Terminated;
            one.inbox.clear();
            one.timers.clear();
            return;
        }
        for task in &actions.tasks {
            one.history.push(Told::Scheduled(*task));
            scheduled.push((id, one.execution, *task));
        }
        if let Some((timer, delay)) = actions.timer {
            one.history.push(Told::TimerSet(timer));
            numbers += 1;
            one.timers.push((now + i64::from(delay), numbers, timer));
        }
        one.next_id = actions.next_id;
        one.turns += 1;
        match actions.end {
            End::GoesOn => {}
            End::Completes => {
                one.history.push(Told::Ended(Status::Completed as i32));
                one.status = Status::Completed;
                one.inbox.clear();
                one.timers.clear();
            }
            End::ContinuesAsNew => {
                // Of unconsumed events, only those from outside continue.
                one.inbox
                    .retain(|told| matches!(told, Told::Raised(_) | Told::Terminated));
                one.inbox.insert(0, Told::Started);
                one.history.clear();
                one.timers.clear();
                one.execution = execution;
                one.next_id = 0;
                one.turns = 0;
            }
        }
        self.number = numbers;
        self.activities.extend(scheduled);
    }

    pub(super) fn finish(&mut self, nth: usize, result: &str) {
        let (id, execution, task) = self.activities.remove(nth);
        if let Some(one) = self.instances.get_mut(id)
            && one.execution == execution
            && !ended(one.status)
        {
            one.inbox.push(Told::Done(task, result.to_owned()));
        }
    }

    pub(super) fn advance(&mut self, seconds: u8) {
        self.now += i64::from(seconds);
        let now = self.now;
        for one in self.instances.values_mut() {
            one.held = one.held.filter(|at| *at > now);
            let (mut due, later) = std::mem::take(&mut one.timers)
                .into_iter()
                .partition::<Vec<_>, _>(|(at, ..)| *at <= now);
            one.timers = later;
            due.sort_unstable();
            one.inbox
                .extend(due.into_iter().map(|(.., timer)| Told::Fired(timer)));
        }
    }

    pub(super) fn purge(&mut self, id: &str) -> bool {
        let gone = self.instances.get(id).is_some_and(|one| ended(one.status));
        if gone {
            self.instances.remove(id);
        }
        gone
    }
}

pub(super) const fn ended(status: Status) -> bool {
    matches!(status, Status::Completed | Status::Terminated)
}
