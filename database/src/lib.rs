//! The shared database: PostgreSQL, where several front doors and workers keep one truth.
//!
//! This crate knows how to reach it and nothing about what is kept there: [`DatabaseUrl`]
//! says where it is, [`Database`] holds the connections and runs transactions, the files in
//! `migrations/` say which tables there are, and [`Changes`] tells within a second what
//! another process has changed, or that it cannot tell. The adapters, each in the crate whose
//! promises it keeps, hold the SQL.
//!
//! Every call has a bound, and an error that says what is wrong and what to do.

mod changes;
mod connection;
mod database;
mod error;
mod password;
mod reach;
mod schema;
mod stamp;
mod statements;
pub mod tables;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;
mod transfer;
mod trouble;
mod turn;
mod url;
mod users;

pub use changes::{Change, Changes, Subscription, announce};
pub use database::{Database, Failure, Step};
pub use deadpool_postgres::Transaction;
pub use error::DatabaseError;
pub use password::{PasswordFailure, PasswordSource};
pub use reach::{Login, ReachError, refuse_reach};
pub use schema::{Look, Migration, Schema};
pub use stamp::Stamp;
pub use statements::{Parameters, all, execute, one, one_at_a_time};
pub use tokio_postgres::types::{FromSql, ToSql};
pub use tokio_postgres::{Error as StatementError, Row};
pub use transfer::{Transfer, others};
pub use trouble::Trouble;
pub use turn::Turn;
pub use url::{DatabaseUrl, InvalidDatabaseUrl};
