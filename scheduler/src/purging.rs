//! The loop that purges finished instances once they are old enough, and the one that gives their
//! space back.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::dispatch::Dispatch;
use crate::retention::Retention;
use crate::store::{Slice, Store, StoreError, first_end};

/// How many instances one transaction purges.
const STEP: u32 = 200;
/// How many pages are freed at a time, and how many are kept for reuse.
const PAGES: u32 = 32;
const SPARE_PAGES: u32 = 256;
/// How long the loops wait after a change before they check again.
const PACE: Duration = Duration::from_secs(1);
/// How many times that the file's loop waits while more is being removed.
const MOST_PACES: u32 = 30;
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
                .write_behind(move |tx| tx.purge_old(status, until_us, STEP, Slice::begin()))
                .await?;
            tracing::debug!(status, gone, "old instances purged");
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
    Ok(next)
}

/// Shrinks the file by what was removed, once that is over or has been going on
/// for a while.
pub(crate) async fn give_back(store: Store, dispatch: Arc<Dispatch>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = dispatch.freed() => {}
            () = stop.cancelled() => return,
        }
        // What is freed by a long purge is better given back in one go.
        for _ in 0..MOST_PACES {
            tokio::select! {
                () = tokio::time::sleep(PACE) => break,
                () = dispatch.freed() => tokio::time::sleep(PACE).await,
                () = stop.cancelled() => return,
            }
        }
        match shrink(&store).await {
            Ok(()) => {}
            Err(StoreError::Closed) => return,
            // It is tried again with what is removed next.
            Err(error) => tracing::warn!(%error, "the file was not made smaller"),
        }
    }
}

/// Shrinks the file a little at a time, behind all other writes.
async fn shrink(store: &Store) -> Result<(), StoreError> {
    let mut given_back = 0;
    loop {
        let step = store.writer.write_behind(|tx| {
            let slice = Slice::begin();
            let mut pages = 0;
            loop {
                let step = tx.conn.shrink(PAGES, SPARE_PAGES)?;
                pages += step;
                if step < PAGES || slice.is_over() {
                    return Ok(pages);
                }
            }
        });
        match step.await? {
            0 => break,
            pages => given_back += pages,
        }
    }
    if given_back > 0 {
        // That gives the file its final size.
        store.write_back().await?;
        tracing::debug!(pages = given_back, "the file was made smaller");
    }
    Ok(())
}
