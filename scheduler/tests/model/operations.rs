//! What is done, at random.

use super::reference::Answer;

/// Numbers that look random and are the same for the same seed (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn small(&mut self, most: u64) -> usize {
        usize::try_from(self.below(most)).unwrap_or(0)
    }

    fn one_of<T: Copy>(&mut self, choices: &[(u64, T)]) -> T {
        let sum = choices.iter().map(|(weight, _)| weight).sum();
        let mut at = self.below(sum);
        for (weight, choice) in choices {
            if at < *weight {
                return *choice;
            }
            at -= weight;
        }
        choices[0].1
    }
}

/// What someone does. Workers have the numbers 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Start {
        scheduled: bool,
    },
    Raise,
    Suspend,
    Resume,
    Terminate,
    /// Ends it without a worker.
    EndNow,
    Purge,
    Restart,
    Rewind,
    /// A worker comes.
    Connect(usize),
    /// A worker goes, with what it holds.
    Leave(usize),
    /// A worker gives back the turn that it holds.
    Abandon,
    /// A worker answers the turn that it holds, having consumed so many events of it.
    Answer(Answer, usize),
    /// A worker answers a turn that was taken from it.
    AnswerLate,
    FinishActivity,
    /// Someone reads the history.
    Look,
}

pub(crate) fn ops(random: &mut Random) -> Vec<Op> {
    let mut ops = vec![Op::Start {
        scheduled: random.below(12) == 0,
    }];
    if random.below(3) > 0 {
        ops.push(Op::Connect(0));
    }
    let length = 4 + random.small(24);
    for _ in 0..length {
        let op = op(random);
        ops.push(op);
        // A backlog, which a turn is given as one batch.
        if op == Op::Raise {
            for _ in 0..random.small(3) {
                ops.push(Op::Raise);
            }
        }
    }
    ops
}

fn op(random: &mut Random) -> Op {
    let worker = random.small(2);
    let carry = random.small(4);
    let few = 1 + random.small(3);
    let scheduled = random.below(6) == 0;
    let answer = random.one_of(&[
        (6, Answer::Wait),
        (2, Answer::Call),
        (6, Answer::Again { carry }),
        (1, Answer::CallAgain),
        (1, Answer::Complete),
        (2, Answer::Fail),
        (2, Answer::Heed),
        (3, Answer::Rewind),
    ]);
    let take = random.one_of(&[(5, usize::MAX), (1, few)]);
    random.one_of(&[
        (1, Op::Start { scheduled }),
        (10, Op::Raise),
        (6, Op::Suspend),
        (6, Op::Resume),
        (3, Op::Terminate),
        (1, Op::EndNow),
        (1, Op::Purge),
        (1, Op::Restart),
        (3, Op::Rewind),
        (3, Op::Connect(worker)),
        (2, Op::Leave(worker)),
        (1, Op::Abandon),
        (16, Op::Answer(answer, take)),
        (1, Op::AnswerLate),
        (3, Op::FinishActivity),
        (1, Op::Look),
    ])
}
