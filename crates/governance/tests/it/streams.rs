//! What counts for a stream: the most specific declaration, the presumption, nothing.

use std::collections::BTreeMap;

use veritwin_domain::{Declaration, StreamRuleId};
use veritwin_governance::streams::{
    DeviceStatements, Ground, GroupRule, JudgedDevice, Statement, StreamRules, Subject, Verdict,
};

fn said(is_personal: bool) -> Statement {
    let subject = is_personal.then_some(Subject::Device);
    Statement { is_personal, subject, by: "user:1".to_owned(), at_us: 1 }
}

fn rule(number: u8, device_type: &str, key: &str, is_personal: bool) -> (StreamRuleId, GroupRule) {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let id = StreamRuleId::from_bytes([number; 16]);
    let statement = said(is_personal);
    (id, GroupRule { device_type: given(device_type), key: given(key), statement })
}

fn verdict<'a>(rules: &'a StreamRules, kind: &'a str, key: &str) -> Verdict<'a> {
    let device = JudgedDevice { kind, declaration: Declaration::Undeclared, said: None };
    rules.judge(device, (!key.is_empty()).then_some(key))
}

#[test]
fn the_most_specific_rule_counts_and_of_two_alike_the_careful_one() {
    let rules = StreamRules::new([
        rule(1, "", "*", false),
        rule(2, "", "temp*", true),
        rule(3, "", "temp_in*", false),
        rule(4, "", "temp_out", true),
        rule(5, "Meter", "", false),
        rule(6, "meter", "p*", true),
        rule(7, "chiller", "", false),
        rule(8, "CHILLER", "", true),
    ]);
    let check = |kind: &str, key: &str, expect: u8| {
        let found = verdict(&rules, kind, key);
        let expect = Ground::Rule(StreamRuleId::from_bytes([expect; 16]));
        assert_eq!(found.ground, expect, "{kind} {key}");
    };
    check("pump", "flow", 1);
    check("pump", "Temperature", 2);
    check("pump", "temp_inside", 3);
    check("pump", "temp_out", 4);
    check("METER", "temp_out", 5);
    check("meter", "", 5);
    check("meter", "power", 6);
    check("chiller", "flow", 8);
    assert!(verdict(&rules, "pump", "").waits(), "a pattern says nothing of a device as a whole");
}

#[test]
fn a_presumption_gives_way_to_what_names_it() {
    let check = |rules: Vec<(StreamRuleId, GroupRule)>, kind: &str, key: &str, expect: &str| {
        let rules = StreamRules::new(rules);
        let found = verdict(&rules, kind, key);
        let told = (found.ground.as_str(), found.declaration.as_str());
        assert_eq!(format!("{} {}", told.0, told.1), expect, "{kind} {key}");
    };
    let none = Vec::new;
    check(none(), "pump", "flow", "nothing undeclared");
    check(none(), "door reader", "state", "presumed personal");
    check(none(), "gateway", "badge", "presumed personal");
    check(vec![rule(1, "", "*", false)], "door reader", "state", "presumed personal");
    check(vec![rule(1, "", "*", false)], "gateway", "badge", "presumed personal");
    check(vec![rule(1, "door reader", "", false)], "door reader", "state", "rule non_personal");
    check(vec![rule(1, "gateway", "", false)], "gateway", "badge", "presumed personal");
    check(vec![rule(1, "gateway", "badge", false)], "gateway", "badge", "rule non_personal");
    check(vec![rule(1, "", "badge", false)], "gateway", "badge", "rule non_personal");
    check(vec![rule(1, "", "b*", true)], "gateway", "badge", "rule personal");
}

#[test]
fn a_stream_comes_before_its_device_and_the_device_before_rules() {
    let rules = StreamRules::new([rule(1, "pump", "", true)]);
    let streams = BTreeMap::from([("flow".to_owned(), said(true))]);
    let known = DeviceStatements { person: None, whole: Some(said(false)), streams };
    let check = |declaration: Declaration, key: Option<&str>, expect: (&str, bool, bool)| {
        let device = JudgedDevice { kind: "pump", declaration, said: Some(&known) };
        let found = rules.judge(device, key);
        let told = (found.ground.as_str(), found.is_open(), found.statement.is_some());
        assert_eq!(told, expect, "{declaration:?} {key:?}");
    };
    check(Declaration::NonPersonal, Some("flow"), ("stream", false, true));
    check(Declaration::NonPersonal, Some("power"), ("device", true, true));
    check(Declaration::Personal, Some("power"), ("device", false, false));
    check(Declaration::Undeclared, Some("power"), ("rule", false, true));
    check(Declaration::Undeclared, None, ("rule", false, true));
}

#[test]
fn types_that_count_alike_are_judged_alike() {
    let rules = StreamRules::new([
        rule(1, "Pump", "", false),
        rule(2, "", "flow*", false),
        rule(3, "Door Reader", "state", false),
    ]);
    let kinds = ["pump", "PUMP", "fan", "valve", "", "badge reader", "turnstile", "door reader"];
    for (&one, &other) in kinds.iter().flat_map(|one| kinds.iter().map(move |other| (one, other))) {
        if rules.kind_counts(one) != rules.kind_counts(other) {
            continue;
        }
        for key in [None, Some("flow_1"), Some("state"), Some("badge"), Some("heat")] {
            let judge = |kind| {
                let declaration = Declaration::Undeclared;
                rules.judge(JudgedDevice { kind, declaration, said: None }, key)
            };
            assert_eq!(judge(one), judge(other), "{one} {other} {key:?}");
        }
    }
    assert_eq!(rules.kind_counts("pump"), rules.kind_counts("PUMP"));
    assert_eq!(rules.kind_counts("fan"), rules.kind_counts("valve"));
    assert_ne!(rules.kind_counts("fan"), rules.kind_counts("turnstile"));
}

#[test]
fn statements_are_stored_and_read_back() {
    let streams = BTreeMap::from([(
        "badge".to_owned(),
        Statement { subject: Some(Subject::Field { key: "holder".to_owned() }), ..said(true) },
    )]);
    let stored = DeviceStatements { person: Some("A. Person".to_owned()), whole: None, streams };
    let text = serde_json::to_string(&stored).expect("written");
    assert_eq!(
        text,
        r#"{"person":"A. Person","streams":{"badge":{"is_personal":true,"subject":{"kind":"field","key":"holder"},"by":"user:1","at_us":1}}}"#
    );
    assert_eq!(serde_json::from_str::<DeviceStatements>(&text).expect("read"), stored);
    let empty: DeviceStatements = serde_json::from_str("{}").expect("read");
    assert!(empty.is_empty());
}

#[test]
fn rules_that_say_the_same_of_the_same_streams_are_known() {
    let ((_, one), mut other) = (rule(1, "Meter", "p*", true), rule(2, "meter", "P*", true).1);
    (other.statement.by, other.statement.at_us) = ("user:2".to_owned(), 2);
    assert!(one.says_what(&other), "whoever made it");
    other.statement.subject = Some(Subject::Field { key: "holder".to_owned() });
    assert!(!one.says_what(&other), "of somebody else");
    for (device_type, key, is_personal) in
        [("meter", "p*", false), ("meter", "p", true), ("", "p*", true), ("meter", "", true)]
    {
        let (_, other) = rule(3, device_type, key, is_personal);
        assert!(!one.says_what(&other), "{device_type} {key} {is_personal}");
    }
}
