//! What a restore says about access: what it ended, and who and what is let in again.

use serde_json::{Value, json};
use veritwin_app::{AccessReview, RestoredKey, RestoredTenant};
use veritwin_domain::Timestamp;

/// Lines of the review on a terminal; JSON holds all.
const LINES_MAX: usize = 200;
const UNREADABLE: &str = "cannot be read: the key is revoked or out of reach";

/// What was ended, in numbers.
pub(super) fn ended(access: &AccessReview) -> Value {
    json!({
        "sessions": access.ended.sessions,
        "links": access.ended.links,
        "support_grants": access.ended.support_grants,
        "api_keys": access.keys_revoked,
    })
}

/// Members and API keys of every tenant, as of the backup; null where they cannot be read.
pub(super) fn tenants(access: &AccessReview) -> Value {
    let key = |key: &RestoredKey| {
        json!({
            "name": key.name, "role": key.role.as_str(),
            "expires_at": key.expires_at.map(|at| at.to_string()),
            "last_used_at": key.last_used_at.map(|at| at.to_string()),
        })
    };
    let tenant = |tenant: &RestoredTenant| {
        let members = tenant.members.as_ref().map(|members| {
            let one = |(email, roles): &(String, Vec<veritwin_domain::Role>)| {
                let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
                json!({"email": email, "roles": roles})
            };
            members.iter().map(one).collect::<Vec<_>>()
        });
        let keys = tenant.api_keys.as_ref();
        json!({
            "tenant": tenant.id.to_string(),
            "name": tenant.name,
            "members": members,
            "api_keys": keys.map(|keys| keys.iter().map(key).collect::<Vec<_>>()),
            "grants": tenant.grants,
        })
    };
    access.tenants.iter().map(tenant).collect()
}

/// The same for a person.
pub(super) fn show(access: &AccessReview) -> String {
    let ended = access.ended;
    let mut lines = vec![format!(
        "ended: {} sessions, {} one-time links, {} support grants; everybody signs in again",
        ended.sessions, ended.links, ended.support_grants
    )];
    let keys = match access.keys_revoked {
        0 => "API keys",
        count => {
            lines.push(format!("revoked: {count} API keys"));
            "grants"
        }
    };
    lines.push(format!(
        "review: members, roles and {keys} are as of the backup; what was removed, demoted or \
         revoked since is in force again"
    ));
    let body: Vec<String> = access.tenants.iter().flat_map(|one| of_tenant(one, access)).collect();
    let more = body.len().saturating_sub(LINES_MAX);
    lines.extend(body.into_iter().take(LINES_MAX));
    if more > 0 {
        lines.push(format!("  and {more} more lines: --json shows all"));
    }
    lines.join("\n")
}

fn of_tenant(tenant: &RestoredTenant, access: &AccessReview) -> Vec<String> {
    let name = tenant.name.as_deref().unwrap_or("?");
    let mut lines = vec![format!("  {name} ({}), {} grants", tenant.id, tenant.grants)];
    match &tenant.members {
        None => lines.push(format!("    members: {UNREADABLE}")),
        Some(members) => lines.extend(members.iter().map(|(email, roles)| {
            let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
            format!("    member {email}: {}", roles.join(", "))
        })),
    }
    match &tenant.api_keys {
        _ if access.keys_revoked > 0 => {}
        None => lines.push(format!("    API keys: {UNREADABLE}")),
        Some(keys) => lines.extend(keys.iter().map(|key| {
            let time = |at: Option<Timestamp>| at.map_or("never".to_owned(), |at| at.to_string());
            let (end, used) = (time(key.expires_at), time(key.last_used_at));
            format!(
                "    API key {:?}: {}, ends {end}, last used {used}",
                key.name,
                key.role.as_str()
            )
        })),
    }
    lines
}
