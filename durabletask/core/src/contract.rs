//! Typed names: an activity, an orchestration and an event are constants that
//! tie a name on the wire to the types of its payloads.
//!
//! ```
//! use durabletask::{Activity, Event, Orchestration};
//!
//! const GREET: Activity<String, String> = Activity::new("greet");
//! const WELCOME: Orchestration<Vec<String>, Vec<String>> = Orchestration::new("welcome");
//! const APPROVAL: Event<bool> = Event::new("approval");
//!
//! assert_eq!(GREET.name(), "greet");
//! assert_eq!(WELCOME.name(), "welcome");
//! assert_eq!(APPROVAL.name(), "approval");
//! ```

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// An activity's name with the types of its input and output.
///
/// Names are compared exactly. Both types travel as JSON.
///
/// ```
/// use durabletask::Activity;
///
/// const RESIZE: Activity<(String, u32), String> = Activity::new("resize");
/// assert_eq!(RESIZE.name(), "resize");
///
/// // A tool that a model has chosen by its name.
/// let tool: Activity<String, String> = Activity::named(format!("tool-{}", "search"));
/// assert_eq!(tool.name(), "tool-search");
/// ```
pub struct Activity<I, O> {
    name: Cow<'static, str>,
    types: PhantomData<fn(I) -> O>,
}

/// An orchestration's name with the types of its input and output.
///
/// Names are compared exactly. Both types travel as JSON.
///
/// ```
/// use durabletask::Orchestration;
///
/// const SHOP: Orchestration<u32, String> = Orchestration::new("shop");
/// assert_eq!(SHOP.name(), "shop");
/// ```
pub struct Orchestration<I, O> {
    name: Cow<'static, str>,
    types: PhantomData<fn(I) -> O>,
}

/// An external event's name with the type of its payload.
///
/// Event names are compared without regard to case, as in every official SDK.
///
/// ```
/// use durabletask::Event;
///
/// const APPROVAL: Event<bool> = Event::new("approval");
/// assert_eq!(APPROVAL.name(), "approval");
/// ```
pub struct Event<T> {
    name: Cow<'static, str>,
    types: PhantomData<fn() -> T>,
}

/// A query's name with the types of its input and answer; see
/// [`OrchestrationContext::answer_query`](crate::OrchestrationContext::answer_query).
///
/// Names are compared exactly. Both types travel as JSON.
///
/// ```
/// use durabletask::Query;
///
/// const COUNT: Query<String, u32> = Query::new("count");
/// assert_eq!(COUNT.name(), "count");
/// ```
pub struct Query<I, O> {
    name: Cow<'static, str>,
    types: PhantomData<fn(I) -> O>,
}

/// An update's name with the types of its input and answer; see
/// [`OrchestrationContext::wait_for_update`](crate::OrchestrationContext::wait_for_update).
///
/// Names are compared without regard to case, like those of events. Both types travel as
/// JSON.
///
/// ```
/// use durabletask::Update;
///
/// const ADD: Update<u32, u32> = Update::new("add");
/// assert_eq!(ADD.name(), "add");
/// ```
pub struct Update<I, O> {
    name: Cow<'static, str>,
    types: PhantomData<fn(I) -> O>,
}

/// A feed's name with the type of its values, which an instance publishes and clients follow;
/// see [`OrchestrationContext::publish`](crate::OrchestrationContext::publish) and
/// [`ActivityContext::publish`](crate::ActivityContext::publish).
///
/// Each instance has a feed of its own under this name. Names are compared exactly. Values
/// travel as JSON.
///
/// ```
/// use durabletask::Feed;
///
/// const WORDS: Feed<String> = Feed::new("words");
/// assert_eq!(WORDS.name(), "words");
/// ```
pub struct Feed<T> {
    name: Cow<'static, str>,
    types: PhantomData<fn() -> T>,
}

macro_rules! contract {
    ($contract:ident < $($parameter:ident),+ >) => {
        impl<$($parameter),+> $contract<$($parameter),+> {
            /// Ties `name` to the payload types.
            #[must_use]
            pub const fn new(name: &'static str) -> Self {
                Self { name: Cow::Borrowed(name), types: PhantomData }
            }

            /// Ties a name that is known at run time only to the payload types.
            #[must_use]
            pub fn named(name: impl Into<String>) -> Self {
                Self { name: Cow::Owned(name.into()), types: PhantomData }
            }

            /// The name on the wire.
            #[must_use]
            pub fn name(&self) -> &str {
                &self.name
            }
        }

        // Written by hand because derives would demand the bounds of the payload types.
        impl<$($parameter),+> Clone for $contract<$($parameter),+> {
            fn clone(&self) -> Self {
                Self { name: self.name.clone(), types: PhantomData }
            }
        }

        impl<$($parameter),+> fmt::Debug for $contract<$($parameter),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($contract)).field(&self.name).finish()
            }
        }
    };
}

/// For names that outlive the contract in what is awaited.
macro_rules! shares_its_name {
    ($contract:ident < $($parameter:ident),+ >) => {
        impl<$($parameter),+> $contract<$($parameter),+> {
            pub(crate) fn shared_name(&self) -> Cow<'static, str> {
                self.name.clone()
            }
        }
    };
}

contract!(Activity<I, O>);
contract!(Orchestration<I, O>);
contract!(Event<T>);
contract!(Feed<T>);
contract!(Query<I, O>);
contract!(Update<I, O>);

shares_its_name!(Activity<I, O>);
shares_its_name!(Orchestration<I, O>);
shares_its_name!(Event<T>);
shares_its_name!(Query<I, O>);
shares_its_name!(Update<I, O>);
