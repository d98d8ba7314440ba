//! Login codes in the shared database, so that each is good at every front door, once.

use chrono::{DateTime, Utc};
use countersign_database::{execute, one, one_at_a_time};
use futures_util::FutureExt as _;

use super::PostgresAccess;
use crate::access::key_error::KeyError;
use crate::access::login::{CODE_LIFETIME, MOST_CODES};
use crate::access::store::SecretHash;

impl PostgresAccess {
    pub(super) async fn keep_code(
        &self,
        code: &SecretHash,
        who: &str,
        now: DateTime<Utc>,
    ) -> Result<(), KeyError> {
        let (code, who) = (*code, who.to_owned());
        let most = i64::try_from(MOST_CODES).unwrap_or(i64::MAX) - 1;
        self.database
            .write(move |transaction| {
                let who = who.clone();
                async move {
                    // So that two at once do not both find room for the last one.
                    one_at_a_time(transaction, "login", "codes").await?;
                    execute(
                        transaction,
                        "DELETE FROM access_login_codes WHERE until <= $1",
                        &[&now.timestamp()],
                    )
                    .await?;
                    execute(
                        transaction,
                        "DELETE FROM access_login_codes WHERE hash IN (
                             SELECT hash FROM access_login_codes
                             ORDER BY until DESC, hash OFFSET $1
                         )",
                        &[&most],
                    )
                    .await?;
                    execute(
                        transaction,
                        "INSERT INTO access_login_codes (hash, subject, until)
                         VALUES ($1, $2, $3)",
                        &[&code.as_slice(), &who, &(now + CODE_LIFETIME).timestamp()],
                    )
                    .await?;
                    Ok(())
                }
                .boxed()
            })
            .await
    }

    pub(super) async fn whose_code(
        &self,
        code: &SecretHash,
        now: DateTime<Utc>,
    ) -> Result<Option<String>, KeyError> {
        let code = *code;
        self.database
            .read(move |transaction| {
                async move {
                    let sql =
                        "SELECT subject FROM access_login_codes WHERE hash = $1 AND until > $2";
                    let row = one(transaction, sql, &[&code.as_slice(), &now.timestamp()]).await?;
                    Ok(row.map(|row| row.try_get(0)).transpose()?)
                }
                .boxed()
            })
            .await
    }

    pub(super) async fn redeem_code(
        &self,
        code: &SecretHash,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError> {
        let code = *code;
        self.database
            .write(move |transaction| {
                async move {
                    let sql = "DELETE FROM access_login_codes WHERE hash = $1 AND until > $2";
                    let parameters = (code.as_slice(), now.timestamp());
                    Ok(execute(transaction, sql, &[&parameters.0, &parameters.1]).await? > 0)
                }
                .boxed()
            })
            .await
    }
}
