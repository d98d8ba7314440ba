//! How much a run may use.

use serde::{Deserialize, Serialize};

use crate::message::Usage;

/// The most that one run may use. A run that reaches it ends with what it has, and says so
/// ([`Stop`]); it is checked before every call of the model, so the last call may exceed it by
/// its own input.
///
/// ```
/// use durabletask_agent::{Budget, Price};
///
/// // Two dollars, at 2.50 and 10 dollars per million tokens.
/// let budget = Budget::new()
///     .tokens(500_000)
///     .cost(2_000_000, Price { input: 2_500_000, output: 10_000_000 });
/// # let _ = budget;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    pub(crate) calls: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cost: Option<(u64, Price)>,
}

/// What a million tokens cost, in millionths of a unit of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// A million tokens of input.
    pub input: u64,
    /// A million tokens of output.
    pub output: u64,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Stop {
    /// The model answered.
    Answered,
    /// The answer reached the model's limit on tokens and is cut off.
    Length,
    /// The provider withheld the answer.
    Filtered,
    /// The budget's tokens are used up.
    Tokens,
    /// The budget's money is used up.
    Cost,
    /// The model was called as often as it may be.
    Calls,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

impl Budget {
    /// Fifty calls of the model, and no other bound.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            calls: 50,
            tokens: None,
            cost: None,
        }
    }

    /// The most calls of the model, at least one.
    #[must_use]
    pub const fn calls(mut self, most: u32) -> Self {
        self.calls = if most == 0 { 1 } else { most };
        self
    }

    /// The most tokens, input and output together.
    #[must_use]
    pub const fn tokens(mut self, most: u64) -> Self {
        self.tokens = Some(most);
        self
    }

    /// The most money, in millionths of the unit in which `price` is given.
    #[must_use]
    pub const fn cost(mut self, most: u64, price: Price) -> Self {
        self.cost = Some((most, price));
        self
    }

    /// The cost of `usage` in millionths; none without a price.
    pub(crate) fn cost_of(&self, usage: Usage) -> Option<u64> {
        let (_, price) = self.cost?;
        let part = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
        let whole = part(usage.input_tokens, price.input) + part(usage.output_tokens, price.output);
        Some(u64::try_from(whole.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }

    /// Why no further call may be made.
    pub(crate) fn reached(&self, calls: u32, usage: Usage) -> Option<Stop> {
        if self.tokens.is_some_and(|most| usage.total() >= most) {
            return Some(Stop::Tokens);
        }
        let cost = self.cost.map(|(most, _)| most).zip(self.cost_of(usage));
        if cost.is_some_and(|(most, cost)| cost >= most) {
            return Some(Stop::Cost);
        }
        (calls >= self.calls).then_some(Stop::Calls)
    }

    /// The most tokens that the next answer may have.
    pub(crate) fn output_left(&self, usage: Usage) -> Option<u64> {
        let by_tokens = self.tokens.map(|most| most.saturating_sub(usage.total()));
        let by_cost = self.cost.and_then(|(most, price)| {
            let left = most.saturating_sub(self.cost_of(usage).unwrap_or(0));
            let tokens = u128::from(left) * 1_000_000 / u128::from(price.output.max(1));
            (price.output > 0).then(|| u64::try_from(tokens).unwrap_or(u64::MAX))
        });
        match (by_tokens, by_cost) {
            (Some(one), Some(other)) => Some(one.min(other).max(1)),
            (one, other) => one.or(other).map(|left| left.max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USED: Usage = Usage {
        input_tokens: 1_000,
        output_tokens: 100,
    };

    #[test]
    fn what_is_reached_first_ends_a_run() {
        let price = Price {
            input: 2_000_000,
            output: 10_000_000,
        };
        assert_eq!(Budget::new().cost(1, price).cost_of(USED), Some(3_000));
        assert_eq!(Budget::new().reached(49, USED), None);
        assert_eq!(Budget::new().reached(50, USED), Some(Stop::Calls));
        assert_eq!(
            Budget::new().tokens(1_100).reached(1, USED),
            Some(Stop::Tokens)
        );
        assert_eq!(Budget::new().tokens(1_101).reached(1, USED), None);
        assert_eq!(
            Budget::new().cost(3_000, price).reached(1, USED),
            Some(Stop::Cost)
        );
        assert_eq!(Budget::new().cost(3_001, price).reached(1, USED), None);
        assert_eq!(Budget::new().calls(0).reached(0, Usage::default()), None);
    }

    #[test]
    fn an_answer_is_bounded_by_what_is_left() {
        let price = Price {
            input: 0,
            output: 1_000_000,
        };
        assert_eq!(Budget::new().output_left(USED), None);
        assert_eq!(Budget::new().tokens(1_500).output_left(USED), Some(400));
        // 100 of 250 millionths are used, and a token costs one.
        assert_eq!(Budget::new().cost(250, price).output_left(USED), Some(150));
        assert_eq!(
            Budget::new()
                .tokens(1_200)
                .cost(250, price)
                .output_left(USED),
            Some(100)
        );
    }
}
