//! The examples run to their ends; each asserts what it shows.

#![allow(
    unreachable_pub,
    reason = "in an example `main` is public for this test alone"
)]

#[path = "../examples/chaining.rs"]
mod chaining;
#[path = "../examples/eternal.rs"]
mod eternal;
#[path = "../examples/fan_out_fan_in.rs"]
mod fan_out_fan_in;
#[path = "../examples/human_interaction.rs"]
mod human_interaction;
#[path = "../examples/monitor.rs"]
mod monitor;
#[path = "../examples/patching.rs"]
mod patching;
#[path = "../examples/saga.rs"]
mod saga;
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
        chaining
        eternal
        fan_out_fan_in
        human_interaction
        monitor
        patching
        saga
        sliding_window
        sub_orchestrations
        tools
        updatable_timer
        versioning
    }
}
