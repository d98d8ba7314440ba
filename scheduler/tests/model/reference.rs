//! What must be seen of an instance, by acknowledged commands and answered turns: a small
//! reference that shares nothing with the scheduler.

use std::collections::VecDeque;

use durabletask_proto::history_event::EventType as Event;
use durabletask_proto::{HistoryEvent, OrchestrationStatus as Status};

/// An event of an inbox or a history, as far as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Started(String),
    Raised(u32),
    Suspended,
    Resumed,
    Terminated(String),
    Rewound,
    Called(i32),
    Done(i32),
    Ended(i32),
    /// A turn without news.
    Wake,
}

impl Item {
    /// `None` for what marks the beginning of each turn.
    pub(crate) fn of(event: &HistoryEvent) -> Option<Self> {
        Some(match event.event_type.as_ref()? {
            Event::OrchestratorStarted(_) => return None,
            Event::ExecutionStarted(e) => Self::Started(e.input.clone().unwrap_or_default()),
            Event::EventRaised(e) => Self::Raised(e.input.as_deref()?.parse().ok()?),
            Event::ExecutionSuspended(_) => Self::Suspended,
            Event::ExecutionResumed(_) => Self::Resumed,
            Event::ExecutionTerminated(e) => Self::Terminated(e.input.clone().unwrap_or_default()),
            Event::ExecutionRewound(_) => Self::Rewound,
            Event::TaskScheduled(_) => Self::Called(event.event_id),
            Event::TaskCompleted(e) => Self::Done(e.task_scheduled_id),
            Event::ExecutionCompleted(e) => Self::Ended(e.orchestration_status),
            _ => return None,
        })
    }
}

/// How a worker answers a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Waits for more.
    Wait,
    /// Calls an activity and waits.
    Call,
    /// Continues as new and carries the last events of its batch along, at most so many.
    Again {
        carry: usize,
    },
    /// Calls an activity and continues as new.
    CallAgain,
    Complete,
    Fail,
    /// Ends as the termination in its batch says; waits where there is none.
    Heed,
    /// Answers a request to rewind; waits where there is none.
    Rewind,
}

/// An activity that someone may still complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Activity {
    pub(crate) execution: u32,
    pub(crate) id: i32,
}

/// One instance.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) input: String,
    pub(crate) output: Option<String>,
    end: Option<Status>,
    suspended: bool,
    /// Whether a turn of the present execution has been committed.
    begun: bool,
    /// Whether a turn of any execution has.
    taken: bool,
    scheduled: bool,
    queue: VecDeque<Item>,
    /// The batch that a worker has.
    pub(crate) out: Option<Vec<Item>>,
    pub(crate) history: Vec<Item>,
    execution: u32,
    next_call: i32,
    /// Activities that are to be handed out.
    pub(crate) called: Vec<Activity>,
}

impl Instance {
    pub(crate) fn new(input: String, scheduled: bool) -> Self {
        Self {
            queue: VecDeque::from([Item::Started(input.clone())]),
            input,
            output: None,
            end: None,
            suspended: false,
            begun: false,
            taken: false,
            scheduled,
            out: None,
            history: Vec::new(),
            execution: 0,
            next_call: 0,
            called: Vec::new(),
        }
    }

    pub(crate) const fn ended(&self) -> bool {
        self.end.is_some()
    }

    /// The status that everyone sees.
    pub(crate) fn status(&self) -> Status {
        match self.end {
            Some(end) => end,
            None if self.suspended => Status::Suspended,
            None if !self.taken => Status::Pending,
            None => Status::Running,
        }
    }

    /// Whether a worker that is there gets a turn now.
    pub(crate) fn is_due(&self) -> bool {
        let paused = self.suspended && !self.begun;
        self.end.is_none()
            && self.out.is_none()
            && !self.scheduled
            && !paused
            && !self.queue.is_empty()
    }

    pub(crate) fn raise(&mut self, number: u32) {
        if self.end.is_none() {
            self.queue.push_back(Item::Raised(number));
        }
    }

    pub(crate) fn suspend(&mut self) {
        if self.end.is_none() && !self.suspended {
            self.suspended = true;
            self.queue.push_back(Item::Suspended);
        }
    }

    pub(crate) fn resume(&mut self) {
        if self.end.is_none() && self.suspended {
            self.suspended = false;
            self.queue.push_back(Item::Resumed);
        }
    }

    /// True where it ends at once; the turn that is out, if one is, then has no effect.
    pub(crate) fn terminate(&mut self, reason: &str) -> bool {
        let terminated = Item::Terminated(reason.to_owned());
        if self.end.is_some() {
            return false;
        }
        let next = self.out.iter().flatten().chain(&self.queue).next();
        if self.begun && next != Some(&Item::Rewound) {
            self.queue.push_back(terminated);
            return false;
        }
        self.end_now(reason);
        true
    }

    /// Ends without a worker.
    pub(crate) fn end_now(&mut self, reason: &str) {
        self.give_back();
        let waiting = std::mem::take(&mut self.queue);
        self.history
            .extend(waiting.into_iter().filter(|item| *item != Item::Wake));
        self.history.push(Item::Terminated(reason.to_owned()));
        self.end(Status::Terminated, Some(reason.to_owned()));
    }

    /// True where it is rewound.
    pub(crate) fn rewind(&mut self) -> bool {
        if self.end != Some(Status::Failed) {
            return false;
        }
        self.end = None;
        self.output = None;
        self.suspended = false;
        self.called.clear();
        if suspends(&self.history) == Some(true) {
            self.history.push(Item::Resumed);
        }
        self.queue.push_back(Item::Rewound);
        true
    }

    /// The worker gives its turn back.
    pub(crate) fn give_back(&mut self) {
        for item in self.out.take().unwrap_or_default().into_iter().rev() {
            self.queue.push_front(item);
        }
    }

    /// A worker is given a turn, whose batch must be the beginning of what waits.
    pub(crate) fn deliver(&mut self, batch: &[Item], past: &[Item]) -> Result<(), String> {
        if !self.is_due() {
            return Err(format!("a turn came that is not due: {batch:?}"));
        }
        if past != self.history {
            return Err(format!("the past of the turn is {past:?}"));
        }
        let mut taken = Vec::new();
        for item in batch {
            while self.queue.front() == Some(&Item::Wake) {
                self.queue.pop_front();
            }
            let next = self.queue.pop_front();
            if next.as_ref() != Some(item) {
                return Err(format!("{item:?} came where {next:?} is next: {batch:?}"));
            }
            taken.push(item.clone());
        }
        if batch.is_empty() {
            if self.queue.pop_front() != Some(Item::Wake) {
                return Err("a turn without news came".to_owned());
            }
            taken.push(Item::Wake);
        }
        let last = taken
            .iter()
            .position(|item| matches!(item, Item::Suspended | Item::Rewound));
        if last.is_some_and(|at| at + 1 < taken.len()) {
            return Err(format!("the batch goes on behind its end: {taken:?}"));
        }
        if taken.len() > 1 && taken.last() == Some(&Item::Rewound) {
            return Err(format!("a rewind travels alone: {taken:?}"));
        }
        self.out = Some(taken);
        Ok(())
    }

    /// The worker answers, having consumed the first `take` events of its batch. Returns
    /// what it carries along.
    pub(crate) fn answer(&mut self, answer: Answer, take: usize, value: &str) -> Vec<u32> {
        let mut batch = self.out.take().unwrap_or_default();
        for item in batch.split_off(take.min(batch.len())).into_iter().rev() {
            self.queue.push_front(item);
        }
        let carried = carried(answer, &batch);
        let termination = batch.iter().find_map(reason);
        let missed = self.queue.iter().find_map(reason);
        let again = matches!(answer, Answer::Again { .. } | Answer::CallAgain);
        let rewinds = answer == Answer::Rewind && batch.contains(&Item::Rewound);
        let news = batch.iter().filter(|item| **item != Item::Wake);
        self.history.extend(news.cloned());
        self.begun = true;
        self.taken = true;
        match answer {
            Answer::Complete => self.end(Status::Completed, Some(value.to_owned())),
            Answer::Fail => self.end(Status::Failed, None),
            Answer::Heed if termination.is_some() => {
                self.end(Status::Terminated, termination);
            }
            // One that is not heeded counts nevertheless, and so does one that came
            // before the instance continued as new.
            _ if termination.is_some() => self.end(Status::Terminated, termination),
            _ if again && missed.is_some() => {
                self.history
                    .push(Item::Terminated(missed.clone().unwrap_or_default()));
                self.end(Status::Terminated, missed);
            }
            Answer::Again { .. } => self.continue_as_new(&batch, &carried, value),
            Answer::CallAgain => {
                self.call();
                self.continue_as_new(&batch, &carried, value);
            }
            Answer::Call => self.call(),
            Answer::Rewind if rewinds => self.go_on_rewound(),
            Answer::Wait | Answer::Heed | Answer::Rewind => {}
        }
        carried
    }

    /// An activity's result: true if someone waits for it.
    pub(crate) fn done(&mut self, activity: &Activity) {
        if self.end.is_none() && activity.execution == self.execution {
            self.queue.push_back(Item::Done(activity.id));
        }
    }

    pub(crate) const fn next_call(&self) -> i32 {
        self.next_call
    }

    fn call(&mut self) {
        self.history.push(Item::Called(self.next_call));
        self.called.push(Activity {
            execution: self.execution,
            id: self.next_call,
        });
        self.next_call += 1;
    }

    fn continue_as_new(&mut self, batch: &[Item], carried: &[u32], input: &str) {
        let mut next = VecDeque::from([Item::Started(input.to_owned())]);
        next.extend(carried.iter().map(|number| Item::Raised(*number)));
        if suspends(batch) == Some(true) {
            next.push_back(Item::Suspended);
        }
        let waiting = std::mem::take(&mut self.queue);
        next.extend(
            waiting
                .into_iter()
                .filter(|item| !matches!(item, Item::Done(_) | Item::Wake)),
        );
        self.queue = next;
        self.input = input.to_owned();
        self.history.clear();
        self.begun = false;
        self.next_call = 0;
        self.execution += 1;
    }

    /// What the history started and has no answer of is started again.
    fn go_on_rewound(&mut self) {
        self.execution += 1;
        self.history.retain(|item| !matches!(item, Item::Ended(_)));
        for item in &self.history {
            if let Item::Called(id) = item
                && !self.history.contains(&Item::Done(*id))
            {
                self.called.push(Activity {
                    execution: self.execution,
                    id: *id,
                });
            }
        }
        if self.queue.is_empty() {
            self.queue.push_back(Item::Wake);
        }
    }

    fn end(&mut self, status: Status, output: Option<String>) {
        self.end = Some(status);
        self.output = output;
        self.history.push(Item::Ended(status as i32));
        self.queue.clear();
        self.out = None;
        self.scheduled = false;
    }
}

/// The events that an answer carries along.
pub(crate) fn carried(answer: Answer, batch: &[Item]) -> Vec<u32> {
    let carry = match answer {
        Answer::Again { carry } => carry,
        _ => 0,
    };
    let raised: Vec<u32> = batch
        .iter()
        .filter_map(|item| match item {
            Item::Raised(number) => Some(*number),
            _ => None,
        })
        .collect();
    let from = raised.len().saturating_sub(carry);
    raised.into_iter().skip(from).collect()
}

fn reason(item: &Item) -> Option<String> {
    match item {
        Item::Terminated(reason) => Some(reason.clone()),
        _ => None,
    }
}

fn suspends(items: &[Item]) -> Option<bool> {
    items.iter().rev().find_map(|item| match item {
        Item::Suspended => Some(true),
        Item::Resumed => Some(false),
        _ => None,
    })
}
