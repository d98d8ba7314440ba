//! Recurring schedules: an orchestration is started again and again, by interval or
//! by cron expression, for as long as the task hub is there.
//!
//! A schedule is a durable entity that signals itself, so nothing outside has to run
//! for it: any worker of the hub that has called [`register`] keeps all of them going,
//! and clients change them with [`Schedules`].
//!
//! A schedule by interval without a version has the form that the SDKs for .NET and Python share: each
//! sees, changes and runs the schedules of the others, and so does the dashboard of the Durable Task
//! Scheduler. One with a cron expression or a version, for which they have no form, is theirs to see as
//! an entity only. [`Schedules::put`] moves a schedule to the form that its plan needs.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use durabletask::schedules::{self, Recurrence, Schedules, ScheduleOptions};
//! use durabletask::{Client, Connection, Failure, Orchestration, OrchestrationContext, Registry, Worker};
//!
//! const REPORT: Orchestration<String, ()> = Orchestration::new("report");
//!
//! async fn report(_: OrchestrationContext, _: String) -> Result<(), Failure> {
//!     Ok(())
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let connection = Connection::insecure("http://127.0.0.1:8080", "default")?;
//! let registry = Registry::new().orchestration(&REPORT, report);
//! let worker = Worker::builder(&connection).registry(schedules::register(registry)).build()?.spawn();
//!
//! let schedules = Schedules::new(&Client::new(&connection)?);
//! let hourly = ScheduleOptions::new(Recurrence::Every(Duration::from_secs(3_600)));
//! schedules.put("sales", &REPORT, "sales", hourly).await?;
//! println!("{:?}", schedules.get("sales").await?);
//! worker.stop().await?;
//! # Ok(())
//! # }
//! ```

mod client;
mod entity;
mod shared;
mod state;

pub use client::{ScheduleError, Schedules};
pub use entity::register;
pub use state::{Recurrence, Schedule, ScheduleOptions, ScheduleStatus};
