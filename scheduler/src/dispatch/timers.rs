//! The loop that fires timers: sleeps until the earliest is due, woken when a sooner
//! one is set.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::Dispatch;
use crate::clock::Clock;
use crate::store::{Slice, Store, StoreError};

/// How many timers one transaction fires.
const LIMIT: u32 = 500;
/// How long to wait after a failed write.
const RETRY: Duration = Duration::from_secs(1);

pub(crate) async fn run(
    store: Store,
    dispatch: Arc<Dispatch>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let mut first = dispatch.first_timer();
    loop {
        // A time before 1970 is simply due.
        let due = DateTime::<Utc>::from_timestamp_micros((*first.borrow_and_update()).max(0))
            .unwrap_or(DateTime::<Utc>::MAX_UTC);
        if clock.now() < due {
            tokio::select! {
                () = clock.sleep_until(due) => {}
                changed = first.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
            continue;
        }
        // A timer that is set in the meantime lowers the time again.
        dispatch.reset_timer();
        match store
            .writer
            .write(|tx| tx.fire_due(LIMIT, Slice::begin()))
            .await
        {
            Ok(next) => dispatch.next_timer(next),
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "firing due timers failed; retrying");
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => {}
                    () = stop.cancelled() => return,
                }
                dispatch.next_timer(Some(0));
            }
        }
    }
}
