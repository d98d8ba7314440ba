//! Timers and scheduled starts.

use std::sync::Arc;

use durabletask_proto::HistoryEvent;
use prost::Message;

use super::instances::{micros, timestamp};
use super::writer::{Slice, Tx};
use super::{Note, StoreError};

impl Tx<'_> {
    /// Sets a timer; without an event it is the scheduled start of the instance.
    pub(crate) fn set_timer(
        &mut self,
        instance: i64,
        fire_us: i64,
        event: Option<&HistoryEvent>,
    ) -> Result<(), StoreError> {
        self.ids.timer += 1;
        self.conn
            .prepare_cached(
                "INSERT INTO timers (instance, id, fire_us, event) VALUES (?1, ?2, ?3, ?4)",
            )?
            .run((
                instance,
                self.ids.timer,
                fire_us,
                event.map(Message::encode_to_vec),
            ))?;
        self.notes.push(Note::TimerSet(fire_us));
        Ok(())
    }

    /// Fires due timers, the earliest first, at most `limit` and until the time slice has ended; returns
    /// when the next one is due (microseconds since 1970), if there is one.
    pub(crate) fn fire_due(&mut self, limit: u32, slice: Slice) -> Result<Option<i64>, StoreError> {
        let now = timestamp(self.now);
        let due: Vec<(i64, i64, Option<Vec<u8>>)> = self
            .conn
            .prepare_cached(
                "SELECT instance, id, event FROM timers WHERE fire_us <= ?1
                 ORDER BY fire_us, instance, id LIMIT ?2",
            )?
            .query_map((micros(&now), limit), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<Result<_, _>>()?;
        let mut fired = false;
        for (instance, id, bytes) in due {
            if std::mem::replace(&mut fired, true) && slice.is_over() {
                break;
            }
            self.conn
                .prepare_cached("DELETE FROM timers WHERE instance = ?1 AND id = ?2")?
                .run((instance, id))?;
            let Some(slim) = self.slim_by_key(instance)? else {
                self.fire_signal(instance, bytes)?;
                continue;
            };
            match bytes {
                Some(bytes) => {
                    let mut event = HistoryEvent::decode(&*bytes)?;
                    event.timestamp = Some(now);
                    self.send_to(slim, None, event)?;
                }
                None => {
                    self.conn
                        .prepare_cached("UPDATE instances SET held = 0 WHERE key = ?1")?
                        .run([instance])?;
                    let events = super::query::inbox(self.conn, instance, usize::MAX)?;
                    let paused = slim.is_paused();
                    self.notes.push(Note::Events {
                        header: Arc::new(slim.header),
                        events,
                        replace: true,
                        paused,
                    });
                }
            }
        }
        Ok(self
            .conn
            .prepare_cached("SELECT min(fire_us) FROM timers")?
            .query_row((), |row| row.get(0))?)
    }
}
