//! A look at the whole database: pages, indexes and references of SQLite by its own checks, every
//! row of PostgreSQL by reading it. It changes nothing.

use async_recursion::async_recursion as boxed;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use veritwin_domain::PlatformContext;

use crate::{Error, Metastore, Result};

/// Problems that are named.
const NAMED_MAX: usize = 20;
const WHAT: &str = "records database";

impl Metastore {
    /// What is wrong with the database, in the database's own words; empty when all is well. Of
    /// PostgreSQL every row is read: what its own checksums find is an error then.
    #[boxed]
    pub async fn verify(&self, context: &PlatformContext) -> Result<Vec<String>> {
        if self.0.connection.get_database_backend() == DbBackend::Postgres {
            return match self.export(context, &mut tokio::io::sink()).await {
                Ok(_) => Ok(Vec::new()),
                Err(error @ Error::Corrupt { .. }) => Ok(vec![error.to_string()]),
                Err(error) => Err(error),
            };
        }
        let mut problems = Vec::new();
        // Each page's authentication code first: what fails there cannot be read for the others.
        for question in ["cipher_integrity_check", "integrity_check", "foreign_key_check"] {
            let sql = format!("PRAGMA {question}");
            let statement = Statement::from_string(DbBackend::Sqlite, sql);
            let failed = |error| Error::from_db(error, WHAT);
            for row in self.0.connection.query_all_raw(statement).await.map_err(failed)? {
                let text = row.try_get_by_index::<String>(0).map_err(failed)?;
                if text != "ok" && problems.len() < NAMED_MAX {
                    problems.push(format!("{question}: {text}"));
                }
            }
        }
        Ok(problems)
    }
}
