//! The loop that purges finished instances once they are old enough.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::dispatch::Dispatch;
use crate::retention::Retention;
use crate::store::{Store, StoreError, Tx, first_end};

/// How many instances one transaction purges.
const STEP: u32 = 200;
/// How many pages one transaction frees, and how many are kept for
/// reuse.
const PAGES: u32 = 500;
const SPARE_PAGES: u32 = 256;
/// How long the loop waits after a change before it checks again.
const PACE: Duration = Duration::from_secs(1);
/// How long to wait after a failed write.
const RETRY: Duration = Duration::from_secs(60);

/// Purges finished instances as soon as they are old enough.
pub(crate) async fn run(
    store: Store,
    dispatch: Arc<Dispatch>,
    retention: Retention,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let mut changes = dispatch.changes();
    loop {
        changes.borrow_and_update();
        let due = match purge(&store, retention, clock.now()).await {
            Ok(due) => due,
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "purging old instances failed; retrying in a minute");
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => continue,
                    () = stop.cancelled() => return,
                }
            }
        };
        tokio::select! {
            () = clock.sleep_until(due) => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(PACE) => {}
                    () = stop.cancelled() => return,
                }
            }
            () = stop.cancelled() => return,
        }
    }
}

/// Purges what is old enough now, and returns when the next instance is.
async fn purge(
    store: &Store,
    retention: Retention,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, StoreError> {
    let mut next = DateTime::<Utc>::MAX_UTC;
    let mut purged = 0;
    for (status, age) in retention.ages() {
        let age = TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
        let Some(until) = now.checked_sub_signed(age) else {
            continue;
        };
        let until_us = until.timestamp_micros();
        let first = loop {
            let first = store.read(move |conn| first_end(conn, status)).await?;
            if first.is_none_or(|first| first > until_us) {
                break first;
            }
            let gone = store
                .writer
                .write(move |tx| tx.purge_old(status, until_us, STEP))
                .await?;
            tracing::debug!(status, gone, "old instances purged");
            purged += gone;
            if gone == 0 {
                break None;
            }
        };
        if let Some(end) = first.and_then(DateTime::<Utc>::from_timestamp_micros) {
            next = end
                .checked_add_signed(age)
                .map_or(next, |due| due.min(next));
        }
    }
    if purged > 0 {
        give_back(store).await?;
    }
    Ok(next)
}

/// Shrinks the file by what was purged, a little at a time so that others can write in
/// between.
async fn give_back(store: &Store) -> Result<(), StoreError> {
    let shrink = |tx: &mut Tx<'_>| Ok(durabletask_sqlite::shrink(tx.conn, PAGES, SPARE_PAGES)?);
    let mut given_back = 0;
    loop {
        let step = store.writer.write(shrink).await?;
        given_back += step;
        if step < PAGES {
            break;
        }
    }
    if given_back > 0 {
        // That gives the file its final size.
        store.write_back().await?;
    }
    Ok(())
}
