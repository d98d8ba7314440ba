//! The examples run to their ends; each asserts what it shows.

#![allow(
    unreachable_pub,
    reason = "in an example `main` is public for this test alone"
)]

#[path = "../examples/activity_heartbeating.rs"]
mod activity_heartbeating;
#[path = "../examples/await_signals.rs"]
mod await_signals;
#[path = "../examples/cancellation.rs"]
mod cancellation;
#[path = "../examples/chaining.rs"]
mod chaining;
#[path = "../examples/dsl.rs"]
mod dsl;
#[path = "../examples/eternal.rs"]
mod eternal;
#[path = "../examples/fan_out_fan_in.rs"]
mod fan_out_fan_in;
#[path = "../examples/human_interaction.rs"]
mod human_interaction;
#[path = "../examples/message_passing.rs"]
mod message_passing;
#[path = "../examples/monitor.rs"]
mod monitor;
#[path = "../examples/mutex.rs"]
mod mutex;
#[path = "../examples/patching.rs"]
mod patching;
#[path = "../examples/pick_first.rs"]
mod pick_first;
#[path = "../examples/polling.rs"]
mod polling;
#[path = "../examples/resource_pool.rs"]
mod resource_pool;
#[path = "../examples/safe_message_handlers.rs"]
mod safe_message_handlers;
#[path = "../examples/saga.rs"]
mod saga;
#[path = "../examples/sleep_for_days.rs"]
mod sleep_for_days;
#[path = "../examples/sliding_window.rs"]
mod sliding_window;
#[path = "../examples/sub_orchestrations.rs"]
mod sub_orchestrations;
#[path = "../examples/tools.rs"]
mod tools;
#[path = "../examples/updatable_timer.rs"]
mod updatable_timer;
#[path = "../examples/versioning.rs"]
mod versioning;

macro_rules! they_run {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                if let Err(error) = super::$name::main() {
                    panic!("{error}");
                }
            }
        )*
    };
}

mod each {
    they_run! {
        activity_heartbeating
        await_signals
        cancellation
        chaining
        dsl
        eternal
        fan_out_fan_in
        human_interaction
        message_passing
        monitor
        mutex
        patching
        pick_first
        polling
        resource_pool
        safe_message_handlers
        saga
        sleep_for_days
        sliding_window
        sub_orchestrations
        tools
        updatable_timer
        versioning
    }
}
