//! Storages for tests, as the writer's thread has them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use countersign_database::testing::Postgres;
use countersign_database::{Database, DatabaseUrl};

use super::database;
use super::engine::{Connection, Session};
use super::ownership::{Node, Taken};
use crate::config::DatabaseStorage;

/// A database that no other test uses, and how to connect to it; none where there is no PostgreSQL.
pub(super) fn database() -> Option<(DatabaseUrl, Database)> {
    let url = Postgres::shared()?.database();
    let storage = DatabaseStorage {
        url: url.clone(),
        passwords: None,
        node: "test".to_owned(),
    };
    Some((url, database::open(&storage).unwrap()))
}

pub(super) fn session(database: &Database) -> Connection {
    Connection::Postgres(Box::new(Session::new(database.clone()).unwrap()))
}

pub(super) fn node(name: &str) -> Node {
    Node::new(uuid::Uuid::new_v4().to_string(), name.to_owned())
}

pub(super) fn take(node: &Node, conn: &Connection) {
    match node.take(conn).unwrap() {
        Taken::Mine(term) => conn.session().unwrap().set_term(Some(term)),
        Taken::Other(name) => panic!("{name} owns the task hubs"),
    }
}

/// An emptied storage that nobody owns.
pub(super) fn vacant(database: &Database) -> Connection {
    let conn = session(database);
    conn.execute_batch(
        "TRUNCATE hubs, instances, payloads, history, inbox, activities, timers, entities, entity_inbox, tags RESTART IDENTITY;
         UPDATE ownership SET node = NULL, lease_until = 'epoch'",
    )
    .unwrap();
    conn
}

/// The same, which a node owns.
pub(super) fn emptied(database: &Database) -> Connection {
    let conn = vacant(database);
    take(&node("test"), &conn);
    conn
}

/// Another node that takes the place of the owner, whose lease has ended.
pub(super) fn successor(database: &Database) -> Connection {
    let conn = session(database);
    conn.execute_batch("UPDATE ownership SET lease_until = 'epoch'")
        .unwrap();
    take(&node("successor"), &conn);
    conn
}

/// A storage in a file, whose flushes have tests of their own.
pub(super) fn file(folder: &Path) -> Connection {
    let conn = super::schema::open_file(&folder.join("test.sqlite3")).unwrap();
    let sqlite = conn.sqlite().unwrap();
    sqlite.pragma_update(None, "synchronous", "OFF").unwrap();
    conn
}
