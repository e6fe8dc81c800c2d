//! Properties that hold for any sequence of readings and ticks.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use veritwin_alerting::{Evaluator, EvaluatorLimits, Transition, TransitionKind};

use crate::fixture::{
    DEVICE, above, at, batch, device, evaluator, feed, key, reading, rule, short, silence,
};

#[derive(Debug, Clone)]
enum Step {
    Reading { measured: i64, received: i64, value: f64 },
    Tick { now: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0i64..400, 0i64..400, 0u32..160).prop_map(|(measured, received, tenths)| {
            Step::Reading { measured, received, value: f64::from(tenths) / 10.0 }
        }),
        1 => (0i64..400).prop_map(|now| Step::Tick { now }),
    ];
    prop::collection::vec(step, 1..80)
}

/// A threshold with a duration and a silence, both watching one device.
fn two_rules() -> Evaluator {
    let mut evaluator = evaluator(above(30));
    let mut second = rule(silence(Some(key("t"))));
    second.id = veritwin_domain::RuleId::from_bytes([8; 16]);
    evaluator.put_rule(second, at(0)).unwrap();
    evaluator
}

fn run(evaluator: &mut Evaluator, steps: &[Step], first: usize) -> Vec<Transition> {
    let mut transitions = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        transitions.extend(match step {
            Step::Reading { measured, received, value } => {
                let readings = vec![reading("t", *measured, *value)];
                evaluator.apply((first + index) as u64, &batch(*received, readings))
            }
            Step::Tick { now } => evaluator.tick(at(*now)),
        });
    }
    transitions
}

/// The same cases in every run; another seed by `PROPTEST_RNG_SEED`.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::with_cases(cases);
    let rng_seed = match default.rng_seed {
        RngSeed::Random => RngSeed::Fixed(18),
        fixed @ RngSeed::Fixed(_) => fixed,
    };
    ProptestConfig { rng_seed, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn inside_the_band_nothing_flaps(values in prop::collection::vec(801u32..=1000, 1..60)) {
        let mut evaluator = evaluator(above(0));
        let raised = feed(&mut evaluator, 0, 1, 11.0);
        prop_assert_eq!(short(&raised), [('R', 1, 1)]);
        for (index, hundredths) in values.iter().enumerate() {
            let value = f64::from(*hundredths) / 100.0;
            let step = feed(&mut evaluator, index as u64 + 1, index as i64 + 2, value);
            prop_assert_eq!(short(&step), []);
        }
    }

    #[test]
    fn a_restored_run_equals_an_uninterrupted_one(steps in steps(), cut in 0usize..80) {
        let cut = cut.min(steps.len());
        let mut whole = two_rules();
        let expect = run(&mut whole, &steps, 0);

        let mut before = two_rules();
        let mut found = run(&mut before, &steps[..cut], 0);
        let snapshot = before.snapshot().unwrap();
        let mut after = Evaluator::new(EvaluatorLimits::default());
        after.restore(&snapshot).unwrap();
        after.put_device(device(DEVICE), at(0)).unwrap();
        after.put_rule(rule(above(30)), at(0)).unwrap();
        let mut second = rule(silence(Some(key("t"))));
        second.id = veritwin_domain::RuleId::from_bytes([8; 16]);
        after.put_rule(second, at(0)).unwrap();
        found.extend(run(&mut after, &steps[cut..], cut));
        prop_assert_eq!(found, expect);
        prop_assert_eq!(after.snapshot().unwrap(), whole.snapshot().unwrap());
    }

    #[test]
    fn what_comes_twice_counts_once(steps in steps()) {
        let mut once = two_rules();
        let expect = run(&mut once, &steps, 0);
        let mut twice = two_rules();
        let mut found = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            found.extend(run(&mut twice, std::slice::from_ref(step), index));
            prop_assert_eq!(run(&mut twice, std::slice::from_ref(step), index), Vec::new());
        }
        prop_assert_eq!(found, expect);
    }

    #[test]
    fn transitions_alternate_and_are_numbered_without_gap(steps in steps()) {
        let transitions = run(&mut two_rules(), &steps, 0);
        let mut last = std::collections::BTreeMap::new();
        for transition in transitions {
            let number = transition.id.number;
            let previous = last.insert(transition.id.series.clone(), number).unwrap_or(0);
            prop_assert_eq!(number, previous + 1);
            let expect =
                if number % 2 == 1 { TransitionKind::Raised } else { TransitionKind::Cleared };
            prop_assert_eq!(transition.kind, expect);
            prop_assert!(transition.since <= transition.at);
        }
    }
}
