//! What doctor says about the database: whether it answers, and the wall between it and the other
//! databases of its server. It is read as the runtime role.

use veritwin_app::WallGap;
use veritwin_domain::Secret;

use super::Finding;
use crate::config::Config;

const CHECK: &str = "database";

/// Looks at the database of the records.
pub(super) async fn database(config: &Config) -> Vec<Finding> {
    let url = Secret::new(config.database.url.clone());
    match veritwin_app::database_gaps(&url).await {
        Err(error) => {
            let advice = "correct database.url, or let the runtime role in: GRANT CONNECT ON \
                          DATABASE ... TO ...";
            vec![Finding::error(CHECK, format!("it does not answer: {error}"), advice)]
        }
        Ok(None) => {
            vec![Finding::ok(CHECK, "one encrypted file in the data directory")]
        }
        Ok(Some(gaps)) if gaps.is_empty() => {
            let finding = "the runtime role may act in this database alone, and only roles that \
                           were let in connect";
            vec![Finding::ok(CHECK, finding)]
        }
        Ok(Some(gaps)) => gaps.iter().map(gap).collect(),
    }
}

fn gap(gap: &WallGap) -> Finding {
    match gap {
        WallGap::AnybodyConnects => Finding::warning(
            CHECK,
            "every role of the server may connect to it",
            "run `veritwin migrate` with database.owner_url of the role that owns the database, \
             or as that role: REVOKE CONNECT ON DATABASE ... FROM PUBLIC",
        ),
        WallGap::SharedRoles => Finding::warning(
            CHECK,
            "its rows are open to roles that other databases of the server use too",
            "stop nodes of older builds, then run `veritwin migrate` with database.owner_url",
        ),
        WallGap::OtherDatabases(count) => Finding::warning(
            CHECK,
            format!("its runtime role may act in {count} other databases of the server as well"),
            "give each platform a runtime role of its own",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn each_gap_says_what_to_do() {
        let check = |found: WallGap, finding: &str, advice: &str| {
            let said = gap(&found);
            assert_eq!(said.level, Level::Warning);
            assert!(said.finding.contains(finding), "{}", said.finding);
            assert!(said.advice.as_deref().is_some_and(|text| text.contains(advice)), "{found:?}");
        };
        check(WallGap::AnybodyConnects, "may connect", "REVOKE CONNECT");
        check(WallGap::SharedRoles, "roles that other databases", "veritwin migrate");
        check(WallGap::OtherDatabases(2), "2 other databases", "a runtime role of its own");
    }

    #[tokio::test]
    async fn a_file_needs_no_wall() {
        let found = database(&Config::default()).await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].level, Level::Ok);
    }
}
