//! P03: a person of nobody's tenant has something in every store. Every member, table, column and
//! field of their copy has to be in the closed list here, under an entry of the list of data of
//! the policy in force; and every column of the schema has a published category and a purpose.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use serde_json::Value as Json;
use veritwin_governance::{Block, BlockKind, Document};
use veritwin_metastore::schema::{Category, Column, columns};

use super::rights::{Found, wrong};
use super::run::InApp;
use super::sign_up::{answer, fact};
use super::{PlatformProbe, ProbeAnswer};
use crate::processing::{PUBLISHED, unpublished};
use crate::{App, Error, Result};

const PROMISE: u8 = 3;
/// With a copy that is made, and the policy in force.
const VERSION: u32 = 2;
/// What the part of the policy is called that lists data.
const HEADING: &str = "3. Data";

/// How the entries of that list begin.
const ACCOUNT: &str = "Account data";
const SIGN_IN: &str = "Sign-in data";
const THINGS: &str = "Building and device data";
const MEASUREMENTS: &str = "Measurements";
const WORKSPACE: &str = "Workspace content";
const RECORDS: &str = "Records of access";

/// Members of the copy itself, about nobody.
const MEMBERS: [&str; 5] = ["tenant", "made_at", "ends", "stores", "nothing_in"];
/// The columns of its readings, which stand under measurements.
const READINGS: &str = "device_id,device,key,time,value,type,quality";
/// Each store of the copy, the entry under which it stands, and the fields that it may have beside
/// the columns of tables.
const STORES: [(&str, &str, &str); 13] = [
    (
        "account",
        ACCOUNT,
        "id email name email_verified_at attested_at has_password disabled created_at language",
    ),
    ("memberships", ACCOUNT, ""),
    // The sessions, and invitations to their address.
    ("sign_in", SIGN_IN, "at browser system email name role expires_at used_at"),
    ("records", RECORDS, "at action outcome address browser system country city resource"),
    ("acts", WORKSPACE, "at subject text"),
    // Alert rules that mail their address.
    ("rules", MEASUREMENTS, "rule_id rule mails"),
    ("mails", RECORDS, "at to subject record"),
    ("messages", RECORDS, "at from text"),
    ("requests", RECORDS, "id right state received_at answer_by email text answer refusal"),
    ("consents", ACCOUNT, "field value purpose version decision channel at record"),
    (
        "registers",
        ACCOUNT,
        "register state at identity agreed_at how text records name email phone address",
    ),
    // What devices hold that are said to be theirs.
    ("devices", THINGS, "device_id scope key value at state method params answer topic text bytes"),
    ("declarations", THINGS, "device_id device person"),
];

/// Under which entry of the list the columns of a category stand.
const fn entry_of(category: Category) -> &'static str {
    match category {
        Category::Account | Category::Organisation => ACCOUNT,
        Category::Authentication => SIGN_IN,
        Category::DeviceRegistry | Category::Twin => THINGS,
        Category::Alerting => MEASUREMENTS,
        Category::Evidence => WORKSPACE,
        Category::Activity | Category::Correspondence | Category::Operation => RECORDS,
    }
}

pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PROMISE, VERSION, |app: App| async move { app.check_inventory().await })
}

/// The entries of the list of data in a policy.
fn entries(policy: &[Block]) -> Vec<&str> {
    let words = |block: &Block| block.sentences.first().map(|one| one.text.clone());
    let part = policy.iter().skip_while(|block| words(block).as_deref() != Some(HEADING)).skip(1);
    let part = part.take_while(|block| block.kind != BlockKind::Heading);
    let items = part.filter(|block| block.kind == BlockKind::Item);
    items.flat_map(|block| &block.sentences).map(|one| one.text.as_str()).collect()
}

/// What a copy is compared with.
struct List<'a> {
    entries: Vec<&'a str>,
    columns: &'a [Column],
}

impl List<'_> {
    fn holds(&self, entry: &str) -> bool {
        self.entries.iter().any(|known| known.starts_with(entry))
    }

    /// Whether a column of a table stands under an entry.
    fn holds_column(&self, table: &str, name: &str) -> bool {
        let is_it = |column: &&Column| column.table == table && column.column == name;
        let column = self.columns.iter().find(is_it);
        column.is_some_and(|column| self.holds(entry_of(column.category)))
    }

    /// The fields of a copy's `data.json`, or the first thing in it that is under no entry.
    fn judge(&self, data: &Json) -> std::result::Result<BTreeSet<String>, String> {
        let mut seen = BTreeSet::new();
        for member in data.as_object().into_iter().flatten().map(|(name, _)| name) {
            if !MEMBERS.contains(&member.as_str()) {
                return Err(format!("data.json, member {member}"));
            }
        }
        for (store, rows) in data["stores"].as_object().into_iter().flatten() {
            let listed = STORES.iter().find(|(known, ..)| known == store);
            let listed = listed.filter(|(_, entry, _)| self.holds(entry));
            let Some((.., fields)) = listed else { return Err(format!("store {store}")) };
            for row in rows.as_array().into_iter().flatten() {
                let table = row["table"].as_str();
                let is_listed = |field: &str| {
                    let of_table = table.is_some_and(|table| self.holds_column(table, field));
                    of_table || fields.split(' ').any(|known| known == field)
                };
                for field in row.as_object().into_iter().flatten().map(|(name, _)| name) {
                    let is_name = field == "table"
                        && table.is_some_and(|table| {
                            self.columns.iter().any(|column| column.table == table)
                        });
                    if !is_name && !is_listed(field) {
                        return Err(format!("store {store}, field {field}"));
                    }
                    seen.insert(format!("{store} {} {field}", table.unwrap_or_default()));
                }
            }
        }
        Ok(seen)
    }
}

impl App {
    #[boxed]
    async fn check_inventory(&self) -> Result<ProbeAnswer> {
        let columns = columns();
        if let Some(column) = unpublished(&columns, &PUBLISHED).first() {
            let place = format!("{}.{}", column.table, column.column);
            let found = wrong("A column holds a category that is not published.", &place);
            return Ok(answer(found, ""));
        }
        let purposes = &self.0.purposes;
        let is_bare = |table: &str, column: &str| purposes.of_column(table, column).is_none();
        if let Some(column) = columns.iter().find(|one| is_bare(one.table, one.column)) {
            let place = format!("{}.{}", column.table, column.column);
            return Ok(answer(wrong("A column stands under no purpose.", &place), ""));
        }
        let canary = self.open_canary().await?;
        let copied = self.copy_of(&canary).await;
        self.close_canary(&canary, None).await?;
        let found = self.compare_copy(&copied?, &columns)?;
        Ok(answer(found, "A copy of a person holds nothing but what the policy in force lists."))
    }

    fn compare_copy(&self, files: &[(String, Vec<u8>)], columns: &[Column]) -> Result<Found> {
        let internal = |error: serde_json::Error| Error::Internal(error.to_string());
        let file = |name: &str| {
            let found = files.iter().find(|(path, _)| path == name);
            found.map(|(_, bytes)| bytes.as_slice()).unwrap_or_default()
        };
        let policy = self.text_in_force(Document::Privacy)?;
        let list = List { entries: entries(&policy), columns };
        let data: Json = serde_json::from_slice(file("data.json")).map_err(internal)?;
        let seen = match list.judge(&data) {
            Ok(seen) => seen,
            Err(place) => {
                return Ok(wrong("A copy holds what the policy in force does not list.", &place));
            }
        };
        let readings = String::from_utf8_lossy(file("readings.csv"));
        if readings.lines().next() != Some(READINGS) || !list.holds(MEASUREMENTS) {
            return Ok(wrong("A copy has readings with columns of no list.", "readings.csv"));
        }
        Ok(Ok(vec![
            fact("columns of the schema", &columns.len().to_string()),
            fact("entries of the policy's list", &list.entries.len().to_string()),
            fact("fields of the copy", &seen.len().to_string()),
            fact("purposes", &self.0.purposes.purposes().len().to_string()),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use veritwin_governance::{Language, TEXT_VERSION};

    use super::*;
    use crate::legal::text_of;

    #[test]
    fn a_copy_is_held_against_the_policy() {
        let policy = text_of(TEXT_VERSION, Document::Privacy, Language::English);
        let policy = policy.expect("a text");
        let columns = columns();
        let whole = List { entries: entries(&policy), columns: &columns };
        for column in &columns {
            assert!(whole.holds(entry_of(column.category)), "{}", column.category.as_str());
        }
        let check = |list: &List<'_>, stores: Json, expect: Option<&str>| {
            let judged = list.judge(&json!({"tenant": "t", "stores": stores}));
            assert_eq!(judged.err().as_deref(), expect);
        };
        let account = json!({"account": [{"email": "a@b.example", "name": null}]});
        check(&whole, account.clone(), None);
        let born = json!({"account": [{"email": "a@b.example", "born": "1990"}]});
        check(&whole, born, Some("store account, field born"));
        check(&whole, json!({"purchases": []}), Some("store purchases"));
        let row = |field: &str| json!({"sign_in": [{"table": "sessions", field: 1}]});
        check(&whole, row("created_at"), None);
        check(&whole, row("mood"), Some("store sign_in, field mood"));
        let unknown = json!({"sign_in": [{"table": "moods"}]});
        check(&whole, unknown, Some("store sign_in, field table"));
        assert_eq!(whole.judge(&json!({"mood": 1})), Err("data.json, member mood".to_owned()));
        // A policy that lists less.
        let entries = whole.entries.iter().copied().filter(|one| !one.starts_with(ACCOUNT));
        let less = List { entries: entries.collect(), columns: &columns };
        check(&less, account, Some("store account"));
    }
}
