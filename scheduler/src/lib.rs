//! A durable task hub over SQLite that speaks the Durable Task Scheduler's protocol.
