//! Connections that only read: some for workers and the clients that wait for them, and others, which
//! stay behind these, for lists, pages and exports.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::StoreError;
use super::engine::Connection;
use super::ownership::Standing;
use crate::OpenError;

/// How many readings for lists may wait before their callers do.
const QUEUE: usize = 64;
/// How many of them are in progress at once.
const BROWSERS: usize = 2;
/// How far behind others their threads are for the operating system.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// A few connections that are lent, first come, first served.
#[derive(Clone)]
pub(super) struct Pool {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    standing: Option<Arc<Standing>>,
}

impl Pool {
    pub(super) fn open(
        count: usize,
        open: impl Fn() -> Result<Connection, OpenError>,
        standing: Option<Arc<Standing>>,
    ) -> Result<Self, OpenError> {
        let count = count.max(1);
        let idle = (0..count).map(|_| open()).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            idle: Arc::new(Mutex::new(idle)),
            permits: Arc::new(Semaphore::new(count)),
            standing,
        })
    }

    pub(super) async fn read<T, F>(&self, mut work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Closed)?;
        let idle = Arc::clone(&self.idle);
        let standing = self.standing.clone();
        let reading = tokio::task::spawn_blocking(move || {
            // Returned before its permit, so that the permit's next holder finds it.
            let lent = Lent::take(idle)?;
            let result = match &lent.conn {
                Some(conn) => {
                    fence(standing.as_deref()).and_then(|fence| conn.reading(fence, &mut work))
                }
                None => Err(StoreError::Closed),
            };
            drop(lent);
            drop(permit);
            result
        });
        reading.await.map_err(|_| StoreError::Closed)?
    }
}

/// A reader from the pool, which is returned however the reading ends.
struct Lent {
    idle: Arc<Mutex<Vec<Connection>>>,
    conn: Option<Connection>,
}

impl Lent {
    fn take(idle: Arc<Mutex<Vec<Connection>>>) -> Result<Self, StoreError> {
        let conn = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match conn {
            Some(conn) => Ok(Self {
                idle,
                conn: Some(conn),
            }),
            None => Err(StoreError::Closed),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.extend(self.conn.take());
    }
}

/// In which term a reading is one of this node's, where several share the storage.
fn fence(standing: Option<&Standing>) -> Result<Option<i64>, StoreError> {
    Ok(standing.map(Standing::fence).transpose()?)
}

type Reading = Box<dyn FnOnce(&Connection, Option<&Standing>) + Send>;

/// Threads that read for lists, in the order in which they are asked. They end when the last handle
/// is dropped.
#[derive(Clone)]
pub(super) struct Browsers(mpsc::Sender<Reading>);

impl Browsers {
    pub(super) fn start(
        open: impl Fn() -> Result<Connection, OpenError>,
        standing: Option<&Arc<Standing>>,
    ) -> Result<Self, OpenError> {
        let (readings, waiting) = mpsc::channel::<Reading>(QUEUE);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..BROWSERS {
            let conn = open()?;
            let standing = standing.cloned();
            let waiting = Arc::clone(&waiting);
            std::thread::Builder::new()
                .name("scheduler-browser".to_owned())
                .spawn(move || {
                    stay_behind();
                    loop {
                        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                        let Some(reading) = waiting.blocking_recv() else {
                            return;
                        };
                        drop(waiting);
                        reading(&conn, standing.as_deref());
                    }
                })
                .map_err(OpenError::Thread)?;
        }
        Ok(Self(readings))
    }

    pub(super) async fn read<T, F>(&self, mut work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let reading: Reading = Box::new(move |conn, standing| {
            // The caller may have gone in the meantime.
            if answer.is_closed() {
                return;
            }
            // A panic must not end the thread; its caller gets no answer.
            if let Ok(result) = catch_unwind(AssertUnwindSafe(|| {
                fence(standing).and_then(|fence| conn.reading(fence, &mut work))
            })) {
                let _ = answer.send(result);
            }
        });
        self.0.send(reading).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

/// Lets other threads of this process go first where processors are scarce.
fn stay_behind() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        // On Linux that is this thread's priority. Without it, lists only take more from others.
        tracing::debug!(%error, "the priority of a thread stays as it is");
    }
}
