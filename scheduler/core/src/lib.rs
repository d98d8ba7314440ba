//! The instance core of the scheduler: what happened to an instance in, effects out.
