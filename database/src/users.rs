//! Other users of the database, who work with what is in the schema and do not own it.

use std::time::Duration;

use futures_util::FutureExt as _;

use crate::schema::LOCK;
use crate::{Database, DatabaseError, execute, one};

/// The database of a server of Azure in which users are made for identities of Microsoft Entra.
const AZURE_USERS: &str = "postgres";
/// How long making one may take.
const MAKING: Duration = Duration::from_secs(30);
/// Whether the connection's own user owns the schema. One who does not, but may use it, would get a
/// warning only and grant nothing.
const OWNS: &str = "
    SELECT pg_has_role(nspowner, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = 'countersign'
";
/// Grants all tables but the list of migrations, which is the owner's, to the user `$1`.
const RIGHTS: &str = "
    SELECT format(
        'GRANT USAGE ON SCHEMA countersign TO %1$I;
         GRANT SELECT ON countersign.migrations TO %1$I;
         GRANT SELECT, INSERT, UPDATE, DELETE ON %2$s TO %1$I',
        $1::text, string_agg(format('%I.%I', schemaname, tablename), ', '))
    FROM pg_catalog.pg_tables
    WHERE schemaname = 'countersign' AND tablename <> 'migrations'
";

impl Database {
    /// Lets `user` read and change what is in the tables, and not the tables themselves. To be
    /// repeated after each migration, whose tables are new. On a server of Azure, a user who is
    /// missing is created for the identity of that name.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoUser`], and [`DatabaseError::Denied`] unless the connection's own user
    /// owns the schema.
    pub async fn admit(&self, user: &str) -> Result<(), DatabaseError> {
        if !self.knows(user).await? {
            if !self.at().is_azure() {
                return Err(DatabaseError::NoUser(user.to_owned()));
            }
            self.make_azure_user(user).await?;
        }
        let user = user.to_owned();
        self.write(move |transaction| {
            let user = user.clone();
            async move {
                // Two who grant on one table at once get in each other's way.
                execute(transaction, "SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
                let owns = one(transaction, OWNS, &[]).await?;
                if !owns.map_or(Ok(false), |row| row.try_get(0))? {
                    return Err(DatabaseError::Denied(format!(
                        "only the owner of the schema may let {user} use it"
                    )));
                }
                if let Some(rights) = one(transaction, RIGHTS, &[&user]).await? {
                    transaction.batch_execute(rights.try_get(0)?).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }

    async fn knows(&self, user: &str) -> Result<bool, DatabaseError> {
        let user = user.to_owned();
        self.read(move |transaction| {
            let user = user.clone();
            async move {
                let sql = "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1";
                Ok(one(transaction, sql, &[&user]).await?.is_some())
            }
            .boxed()
        })
        .await
    }

    /// Creates a user who is neither an administrator nor logs in with a second factor.
    async fn make_azure_user(&self, user: &str) -> Result<(), DatabaseError> {
        let (client, wire) = self.connector().to(AZURE_USERS)?.connect().await?;
        let wire = tokio::spawn(wire.drive());
        let sql = "SELECT pgaadauth_create_principal($1, false, false)";
        let made = tokio::time::timeout(MAKING, client.query(sql, &[&user])).await;
        wire.abort();
        made.map_err(|_| DatabaseError::Late(MAKING))??;
        Ok(())
    }
}
