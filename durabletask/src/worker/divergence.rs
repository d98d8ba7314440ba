//! What becomes of an orchestration whose code has changed under its history.

/// What the worker does with an orchestration whose code diverges from what its history
/// records.
///
/// ```
/// use durabletask::worker::OnDivergence;
/// use durabletask::{Connection, Worker};
///
/// let connection = Connection::insecure("http://127.0.0.1:8080", "default")?;
/// let worker = Worker::builder(&connection).on_divergence(OnDivergence::Hold).build()?;
/// # let _ = worker;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDivergence {
    /// It fails the orchestration with `NonDeterminismError`. `Client::rewind` lets it go
    /// on once workers have code that fits.
    #[default]
    Fail,
    /// It logs an error and returns the turn, every five seconds, until a worker
    /// has code that fits: after the next deployment, or after a rollback. The instance
    /// stays as it is meanwhile; events for it are kept.
    Hold,
}
