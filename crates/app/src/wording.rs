//! What mails say of moments and of who answers, in words.

use veritwin_domain::{TenantId, Timestamp};
use veritwin_governance::Language;

use crate::App;
use crate::mail_names::{UNNAMED, quoted};
use crate::model::AnsweredBy;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A moment for people, to the minute: `6 December 2026, 01:44 UTC`.
pub(crate) fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    let read = || {
        let (date, time) = text.split_once('T')?;
        let mut parts = date.rsplitn(3, '-');
        let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
        let month = MONTHS.get(month.parse::<usize>().ok()?.checked_sub(1)?)?;
        let minute = time.get(..5)?;
        Some(format!("{} {month} {year}, {minute} UTC", day.trim_start_matches('0')))
    };
    read().unwrap_or_else(|| text.clone())
}

impl App {
    /// Whom people of a tenant ask, with an address where one is given.
    pub(crate) fn who_answers(&self, tenant: TenantId, language: Language) -> String {
        let responsible = self.responsible(tenant);
        whom(&self.0.tree.read().answering(responsible), language)
    }

    /// The name of a tenant's plan; empty without one.
    pub(crate) fn plan_name(&self, tenant: TenantId) -> String {
        let tree = self.0.tree.read();
        tree.plan(tenant).map(|plan| plan.name.clone()).unwrap_or_default()
    }
}

/// Its name is its own to choose: it stands in quotes, or is not said.
fn whom(one: &AnsweredBy, language: Language) -> String {
    let (operator, unnamed) = match language {
        Language::English => ("the operator of this platform", UNNAMED),
        Language::ChineseTraditional => ("本平台的營運者", "一個組織"),
        Language::Japanese => ("本プラットフォームの運営者", "ある組織"),
        Language::Korean => ("이 플랫폼의 운영자", "한 조직"),
    };
    let name = match quoted(&one.name) {
        name if name == UNNAMED => unnamed.to_owned(),
        name => name,
    };
    match &one.email {
        None if one.is_platform => operator.to_owned(),
        None => name,
        Some(email) => format!("{name} ({email})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_to_the_minute() {
        let check = |at: &str, expect: &str| {
            assert_eq!(moment(Timestamp::parse_rfc3339(at).expect("a time")), expect);
        };
        check("2026-12-06T01:44:21.344284Z", "6 December 2026, 01:44 UTC");
        check("2030-01-31T23:59:59Z", "31 January 2030, 23:59 UTC");
    }

    #[test]
    fn who_answers_stands_in_quotes() {
        let check = |name: &str, email: Option<&str>, is_platform: bool, expect: &str| {
            let email = email.map(str::to_owned);
            let one = AnsweredBy { is_platform, name: name.to_owned(), email, address: None };
            assert_eq!(whom(&one, Language::English), expect);
            let translated = whom(&one, Language::Korean);
            assert_eq!(translated.contains('"'), expect.contains('"'), "{translated}");
            assert!(!translated.contains("an organisation"), "{translated}");
        };
        check("Nord", None, false, "\"Nord\"");
        check("Pay \"now\" at", Some("a@x.example"), false, "\"Pay 'now' at\" (a@x.example)");
        check("evil.example/login", Some("a@x.example"), false, "an organisation (a@x.example)");
        check("Platform", None, true, "the operator of this platform");
        check("Ops", Some("ops@x.example"), true, "\"Ops\" (ops@x.example)");
    }
}
