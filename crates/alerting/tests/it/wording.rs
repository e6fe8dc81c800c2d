//! What alerts say.

use veritwin_alerting::{Message, Names, Rule};
use veritwin_domain::Key;

use crate::fixture::{above, at, evaluator, feed, rule, silence};

fn names() -> Names {
    Names {
        device: "Chiller 1".into(),
        unit: "°C".into(),
        space: "Plant room".into(),
        storey: "B1".into(),
        building: String::new(),
    }
}

fn check(message: &Message, paragraph: &str, codes: &[&str]) {
    assert_eq!(message.paragraph(), paragraph);
    let mut found = vec![message.what.code, message.place.code, message.since.code];
    found.push(message.how_sure.code);
    assert_eq!(found, codes);
}

#[test]
fn a_threshold_in_plain_words() {
    let rule: Rule = rule(above(60));
    let mut evaluator = evaluator(above(60));
    feed(&mut evaluator, 0, 0, 11.0);
    let raised = feed(&mut evaluator, 1, 61, 12.345_678);
    check(
        &Message::of(&raised[0], &rule, &names()),
        "Chiller 1: t is 12.346 °C, above 10 °C for at least 1 minute, in Plant room, B1. \
         Since 2023-11-14T22:13:20Z. Measured, the device reports good quality. Check the pump.",
        &["alert.what.above", "alert.where.placed", "alert.since.since", "alert.sure.measured"],
    );
    let cleared = feed(&mut evaluator, 2, 70, 7.0);
    let message = Message::of(&cleared[0], &rule, &Names::default());
    assert_eq!(
        message.headline(),
        "01010101-0101-0101-0101-010101010101: t is back to normal at 7 (limit 10), not placed in \
         a building"
    );
}

#[test]
fn a_silence_in_plain_words() {
    let key: Option<Key> = None;
    let mut rule = rule(silence(key.clone()));
    rule.what_helps.clear();
    let mut evaluator = evaluator(silence(key));
    let raised = evaluator.tick(at(60));
    check(
        &Message::of(&raised[0], &rule, &names()),
        "Chiller 1: no data for 1 minute, in Plant room, B1. Last heard at 2023-11-14T22:13:20Z. \
         Certain that nothing arrived; the cause may be the device, its power or the network.",
        &[
            "alert.what.no_data",
            "alert.where.placed",
            "alert.since.last_heard",
            "alert.sure.silence",
        ],
    );
}

#[test]
fn transitions_have_names_for_ever() {
    let mut evaluator = evaluator(above(0));
    let raised = feed(&mut evaluator, 0, 1, 11.0);
    assert_eq!(
        raised[0].id.to_string(),
        "02020202-0202-0202-0202-020202020202:01010101-0101-0101-0101-010101010101:1:=t"
    );
}
