//! Invitations: by mail when the platform can send some, which shows that the address is the
//! person's; otherwise a link to hand over. Many at once from a CSV file, all or none.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind};
use veritwin_domain::{OpContext, Role, Rule, ScopeOf, Screening, Secret, UserId};
use veritwin_metastore::{LinkKind, MailRank, NewMail, TenantTx, normalise_email};

use crate::alert_mail::waiting_max;
use crate::change::Change;
use crate::invitation_scopes::{ScopeNames, printed};
use crate::inviters::Inviter;
use crate::links::{Payload, text};
use crate::mail::{MailPayload, mail_key};
use crate::mail_bounds::Sender;
use crate::mail_kinds::MessageKind;
use crate::mail_names::quoted;
use crate::model::{Invited, Invitee};
use crate::tree::over;
use crate::{App, Error, Result, RowError};

/// Most people that one file invites.
pub const INVITATIONS_MAX: usize = 500;
/// Largest file of invitations, in bytes.
pub const INVITATION_FILE_BYTES_MAX: usize = 256 * 1024;
/// Most invitations that a tenant sends by mail in 24 hours.
const INVITATIONS_PER_DAY_MAX: u64 = 1_000;
const DAY: Duration = Duration::from_secs(86_400);
/// Most mistakes that are told at once.
const MISTAKES_MAX: usize = 50;

/// The one-time link for a token. The token follows `#`, so it never reaches a server log.
pub(crate) fn welcome_link(pages: &str, token: &Secret<String>) -> Secret<String> {
    Secret::new(format!("{pages}/welcome#{}", token.expose()))
}

/// The mail of an invitation: of whoever is invited it holds nothing.
pub(crate) fn invitation_mail(
    payload: &Payload,
    (organisation, product): (&str, &str),
    link: &Secret<String>,
) -> MailPayload {
    MailPayload {
        to: payload.email.clone().unwrap_or_default(),
        subject: format!("You are invited to {organisation} on {product}"),
        text: format!(
            "You are invited by {organisation} to its building on {product}.\n\nChoose a password \
             and sign in here; the link works once, for three days:\n{}\n\nIf you do not know \
             {organisation}, ignore this mail: no account is made.",
            link.expose()
        ),
        ..MailPayload::of(MessageKind::Onboarding)
    }
}

fn checked(invitee: Invitee) -> Result<Invitee> {
    if !veritwin_outbound::mail::is_address(invitee.email.expose()) {
        return Err(Error::invalid_at("email", "expected the form name@host"));
    }
    let name = invitee.name.map(Secret::into_exposed).filter(|name| !name.trim().is_empty());
    let name = name.map(|name| text("name", &name)).transpose()?;
    Ok(Invitee { name: name.map(Secret::new), ..invitee })
}

impl App {
    /// Invites a person. `pages` is the address of the platform's pages.
    #[boxed]
    pub async fn invite_user(
        &self,
        context: &OpContext,
        invitee: Invitee,
        pages: &str,
    ) -> Result<Invited> {
        let resource = self.authorize_all(context, Action::UserInvite, Kind::User)?;
        let invitee = checked(invitee)?;
        self.check_users_quota(context.tenant, 1).await?;
        let sender = Sender::Tenant(context.tenant);
        let place = self.mail_place(sender, invitee.email.expose(), context.at)?;
        let pages = self.pages_of(&self.above(context), context.tenant, pages).await?;
        let tx = self.0.store.begin(context).await?;
        self.check_invitations(context, &tx, 1).await?;
        self.check_invited(context, &tx, invitee.role, &invitee.scope).await?;
        let (role, scope) = (invitee.role.as_str(), printed(&invitee.scope));
        let change = Change::to(serde_json::json!({"role": role, "scope": scope}));
        let invited = self.invite(&tx, context, (invitee, MailRank::Invitation), &pages).await?;
        self.record_change(&tx, context, Action::UserInvite, &resource, change).await?;
        tx.commit().await?;
        place.keep();
        Ok(invited)
    }

    /// Invites everybody of a CSV file with the columns `email`, `role` and, optionally, `name` and
    /// `scope`. One mistake refuses the whole file; every mistake is told with its line.
    #[boxed]
    pub async fn invite_users(
        &self,
        context: &OpContext,
        file: &str,
        pages: &str,
    ) -> Result<Vec<Invited>> {
        let resource = self.authorize_all(context, Action::UserInvite, Kind::User)?;
        let rows = read(file, self.screening())?;
        self.check_users_quota(context.tenant, rows.len() as u64).await?;
        let lines = rows.iter().map(|row| (row.line, row.invitee.email.expose().as_str()));
        let sender = Sender::Tenant(context.tenant);
        let places = self.mail_places(sender, lines, (context.at, MISTAKES_MAX))?;
        let pages = self.pages_of(&self.above(context), context.tenant, pages).await?;
        let tx = self.0.store.begin(context).await?;
        self.check_invitations(context, &tx, rows.len() as u64).await?;
        let rank = if rows.len() == 1 { MailRank::Invitation } else { MailRank::Bulk };
        let invitees = self.scoped(context, &tx, rows).await?;
        let rights: HashSet<(Role, &ScopeOf)> =
            invitees.iter().map(|invitee| (invitee.role, &invitee.scope)).collect();
        for (role, scope) in rights {
            self.check_invited(context, &tx, role, scope).await?;
        }
        let mut invited = Vec::with_capacity(invitees.len());
        for invitee in invitees {
            invited.push(self.invite(&tx, context, (invitee, rank), &pages).await?);
        }
        let change = Change::to(serde_json::json!({"invited": invited.len()}));
        self.record_change(&tx, context, Action::UserInvite, &resource, change).await?;
        tx.commit().await?;
        places.keep();
        Ok(invited)
    }

    /// Whether so many more may be invited by mail now. Links to hand over are not mail.
    async fn check_invitations(&self, context: &OpContext, tx: &TenantTx, more: u64) -> Result<()> {
        if self.0.mailer.is_none() {
            return Ok(());
        }
        let day = tx.outbox_invitations(context.at.saturating_sub(DAY)).await?;
        if day + more > INVITATIONS_PER_DAY_MAX {
            return Err(over("invitations_per_day_max", INVITATIONS_PER_DAY_MAX, day + more));
        }
        let (waiting, max) = (tx.outbox_waiting().await?, waiting_max(MailRank::Bulk));
        if waiting + more > max {
            return Err(over("mails_waiting_max", max, waiting + more));
        }
        Ok(())
    }

    /// The invitees with the part of the tenant that each line names.
    async fn scoped(
        &self,
        context: &OpContext,
        tx: &TenantTx,
        rows: Vec<Row>,
    ) -> Result<Vec<Invitee>> {
        let names = ScopeNames::read(tx).await?;
        let mut known: HashMap<String, ScopeOf> = HashMap::new();
        let (mut invitees, mut mistakes) = (Vec::with_capacity(rows.len()), Vec::new());
        for Row { line, invitee, scope: text } in rows {
            let scope = match known.get(&text) {
                Some(scope) => scope.clone(),
                None => match names.resolve(self, context.tenant, &text).await? {
                    Ok(scope) => scope,
                    Err(detail) => {
                        let at = format!("line {line}, column scope");
                        mistakes.push(RowError { at, detail });
                        if mistakes.len() >= MISTAKES_MAX {
                            break;
                        }
                        continue;
                    }
                },
            };
            known.insert(text, scope.clone());
            invitees.push(Invitee { scope, ..invitee });
        }
        if mistakes.is_empty() { Ok(invitees) } else { Err(Error::InvalidRows(mistakes)) }
    }

    async fn invite(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (invitee, rank): (Invitee, MailRank),
        pages: &str,
    ) -> Result<Invited> {
        let mails = self.0.mailer.is_some();
        let payload = Payload {
            email: Some(invitee.email.expose().clone()),
            name: invitee.name.map(Secret::into_exposed),
            role: Some(invitee.role.to_string()),
            scope: printed(&invitee.scope),
            mailed: mails,
            inviter: Inviter::of(context),
            ..Payload::default()
        };
        let platform = self.above(context);
        let tenant = Some(context.tenant);
        let (mut link, token, digest) =
            self.new_link(&platform, LinkKind::Invitation, tenant, &payload)?;
        link.user = Some(UserId::generate(context.at, self.rng()));
        tx.link_create(&link, digest).await?;
        if !mails {
            let link = Some(welcome_link(pages, &token));
            return Ok(Invited { email: invitee.email, link });
        }
        let organisation = quoted(&tx.tenant().await?.name);
        let product = self.product_of(context.tenant);
        let link = welcome_link(pages, &token);
        let mail = invitation_mail(&payload, (&organisation, &product), &link);
        let body = serde_json::to_vec(&mail).map_err(|error| Error::Internal(error.to_string()))?;
        let key = mail_key(&hex::encode(digest), &mail.to);
        tx.outbox_add(NewMail::new(rank, &key, &body)).await?;
        Ok(Invited { email: invitee.email, link: None })
    }
}

/// One line of a file.
struct Row {
    line: u64,
    invitee: Invitee,
    /// As it stands there.
    scope: String,
}

/// Reads a file of people. Each field is held to the rules on what must not be kept.
fn read(file: &str, screening: Screening) -> Result<Vec<Row>> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .flexible(true)
        .from_reader(file.trim_start_matches('\u{feff}').as_bytes());
    let header = reader.headers().map_err(|_| Error::invalid_at("line 1", "not CSV"))?.clone();
    let column = |name: &str| header.iter().position(|known| known.eq_ignore_ascii_case(name));
    let unknown = |name: &&str| {
        !["email", "name", "role", "scope"].iter().any(|known| known.eq_ignore_ascii_case(name))
    };
    if let Some(name) = header.iter().find(unknown) {
        let detail = format!("unknown column {name:?}: expected email, role, name, scope");
        return Err(Error::invalid_at("line 1", detail));
    }
    let (Some(email), Some(role)) = (column("email"), column("role")) else {
        return Err(Error::invalid_at("line 1", "expected the columns email and role"));
    };
    let (name, scope) = (column("name"), column("scope"));
    let (mut invitees, mut mistakes) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for (index, record) in reader.records().enumerate() {
        if index >= INVITATIONS_MAX {
            let detail = format!("at most {INVITATIONS_MAX} people in one file");
            return Err(Error::invalid_at(format!("line {}", index + 2), detail));
        }
        let mut mistake = |line: u64, column: &str, detail: String| {
            mistakes.push(RowError { at: format!("line {line}, column {column}"), detail });
        };
        let record = match record {
            Ok(record) => record,
            Err(_) => {
                mistake(index as u64 + 2, "1", "not UTF-8 text or not CSV".to_owned());
                continue;
            }
        };
        let line = record.position().map_or(index as u64 + 2, csv::Position::line);
        let field = |column: usize| record.get(column).unwrap_or_default();
        if record.len() != header.len() {
            let detail = format!("expected {} fields, found {}", header.len(), record.len());
            mistake(line, "1", detail);
            continue;
        }
        if let Some((column, rule)) = refused(&header, &record, screening) {
            mistake(line, column, rule.refusal("this field"));
            continue;
        }
        let parsed: Option<Role> = field(role).parse().ok();
        if parsed.is_none() {
            let known = Role::ALL.map(Role::as_str).join(", ");
            mistake(line, "role", format!("expected one of {known}"));
        }
        let invitee = Invitee {
            email: Secret::new(field(email).to_owned()),
            name: name.map(|column| Secret::new(field(column).to_owned())),
            role: parsed.unwrap_or(Role::Viewer),
            scope: ScopeOf::Tenant,
        };
        match checked(invitee) {
            Ok(invitee) => {
                let key = normalise_email(invitee.email.expose()).unwrap_or_default();
                if !seen.insert(key) {
                    mistake(line, "email", "stands in the file twice".to_owned());
                }
                let scope = scope.map(field).unwrap_or_default().to_owned();
                invitees.push(Row { line, invitee, scope });
            }
            Err(Error::Invalid { detail, at }) => {
                mistake(line, at.as_deref().unwrap_or("email"), detail);
            }
            Err(error) => return Err(error),
        }
        if mistakes.len() >= MISTAKES_MAX {
            break;
        }
    }
    if !mistakes.is_empty() {
        return Err(Error::InvalidRows(mistakes));
    }
    if invitees.is_empty() {
        return Err(Error::invalid_at("line 2", "expected at least one person"));
    }
    Ok(invitees)
}

/// The first field that must not be kept, by its column's name.
fn refused<'h>(
    header: &'h csv::StringRecord,
    record: &csv::StringRecord,
    screening: Screening,
) -> Option<(&'h str, Rule)> {
    let mut fields = header.iter().zip(record);
    fields.find_map(|(column, field)| screening.text(None, field).map(|rule| (column, rule)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, expect: std::result::Result<usize, &[&str]>) {
        let found = match read(file, Screening::ALL) {
            Ok(invitees) => Ok(invitees.len()),
            Err(Error::InvalidRows(rows)) => {
                Err(rows.into_iter().map(|row| row.at).collect::<Vec<_>>())
            }
            Err(Error::Invalid { at, .. }) => Err(vec![at.unwrap_or_default()]),
            Err(error) => panic!("{error}"),
        };
        let expect =
            expect.map_err(|places| places.iter().map(|at| (*at).to_owned()).collect::<Vec<_>>());
        assert_eq!(found, expect, "{file}");
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        check("email,role\na@example.org,operator\nb@example.org,viewer\n", Ok(2));
        check("\u{feff}Role, E-mail\n", Err(&["line 1"]));
        check(
            "scope,email,role\ngroup:North,a@example.org,operator\n,b@example.org,viewer\n",
            Ok(2),
        );
        check("role,name,email\nauditor,\"Ada, A.\",a@example.org\n", Ok(1));
        check(
            "role,name,email\nauditor,4111 1111 1111 1111,a@b.org\nauditor,身分證 A123456789,b@c.org\n",
            Err(&["line 2, column name", "line 3, column name"]),
        );
        check("email,role\n", Err(&["line 2"]));
        check("email\na@example.org\n", Err(&["line 1"]));
        check(
            "email,role\na@example.org,king\nnobody,viewer\nc@example.org\nd@example.org,owner\n",
            Err(&["line 2, column role", "line 3, column email", "line 4, column 1"]),
        );
        check(
            "email,role\na@example.org,viewer\nA@Example.org,viewer\n",
            Err(&["line 3, column email"]),
        );
        let many = format!("email,role\n{}", "a@example.org,viewer\n".repeat(INVITATIONS_MAX + 1));
        assert!(read(&many, Screening::ALL).is_err());
    }
}
