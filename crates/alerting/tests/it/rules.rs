//! Rules that are refused, and the stored form.

use veritwin_alerting::{Condition, Rule, RuleLimits, Scope, WireError};
use veritwin_domain::{DeviceId, SiteId};

use crate::fixture::{above, key, rule, silence};

#[test]
fn mistakes_name_the_field() {
    let check = |change: &dyn Fn(&mut Rule), field: &str, expect: &str| {
        let mut rule = rule(above(0));
        change(&mut rule);
        let error = rule.validate(&RuleLimits::default()).unwrap_err();
        assert_eq!(error.field, field);
        assert!(error.problem.contains(expect), "{error}");
    };
    assert_eq!(rule(above(0)).validate(&RuleLimits::default()), Ok(()));
    check(&|r| r.name = " ".into(), "name", "1 to 120 characters");
    check(&|r| r.name = "n".repeat(121), "name", "1 to 120 characters");
    check(&|r| r.name = "a\u{7}".into(), "name", "control or invisible characters");
    check(&|r| r.what_helps = "x".repeat(2_001), "what_helps", "0 to 2000");
    check(&|r| r.scope = Scope::DeviceType(String::new()), "scope.device_type", "1 to 200");
    check(&|r| r.condition = above(604_801), "condition.for_seconds", "0 to 604800 seconds");
    let threshold = |threshold: f64, hysteresis: f64| Condition::Threshold {
        key: key("t"),
        operator: veritwin_alerting::Operator::Less,
        threshold,
        hysteresis,
        for_seconds: 0,
    };
    check(&|r| r.condition = threshold(f64::NAN, 0.0), "condition.threshold", "finite");
    check(&|r| r.condition = threshold(0.0, -1.0), "condition.hysteresis", "0 or larger");
    let short = Condition::NoData { key: None, after_seconds: 4 };
    check(&|r| r.condition = short.clone(), "condition.after_seconds", "5 to 2592000");
    let emails = |emails: &[&str]| emails.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>();
    let bad = ["a", "a@", "@b.c", "a@b", "a b@c.d", "a@b..c", "<a@b.c>", "a@b.c\nBcc: d@e.f"];
    for address in bad {
        check(&|r| r.notify_emails = emails(&["ok@b.c", address]), "notify_emails", "address 2");
    }
    check(&|r| r.notify_emails = emails(&["a@b.c", "A@b.c"]), "notify_emails", "there twice");
    check(&|r| r.notify_emails = vec!["a@b.c".into(); 21], "notify_emails", "at most 20");
}

#[test]
fn stored_rules_come_back() {
    let mut rules = vec![rule(above(5)), rule(silence(None)), rule(silence(Some(key("溫度"))))];
    rules[0].scope = Scope::Device(DeviceId::from_bytes([5; 16]));
    (rules[0].sees_closed, rules[0].sees_closed_anywhere) = (Some(true), true);
    rules[1].sees_closed_twin = Some(SiteId::from_bytes([6; 16]));
    rules[2].sees_closed = Some(false);
    rules[1].scope = Scope::Twin(SiteId::from_bytes([6; 16]));
    rules[2].scope = Scope::DeviceType("chiller".into());
    for rule in rules {
        assert_eq!(Rule::from_bytes(&rule.to_bytes().unwrap()).unwrap(), rule);
    }
    assert!(matches!(Rule::from_bytes(b"{\"v\":9}"), Err(WireError::Version(9))));
}
