//! The canonical form of evidence.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use veritwin_governance::{CheckOutcome, Evidence, EvidenceError, Facts};

use crate::fixture::{at, could_not_run, evidence, failed, id, not_applicable, passed};

#[test]
fn every_outcome_comes_back() {
    for outcome in [passed(), failed(), not_applicable(), could_not_run()] {
        let record = evidence("P22", outcome.clone(), 5);
        let bytes = record.canonical_bytes();
        let back = Evidence::from_canonical_bytes(&bytes).unwrap();
        assert_eq!(back, record);
        assert_eq!(
            (back.promise(), back.finished_at(), back.probe_version()),
            (id("P22"), at(5), 3)
        );
        assert_eq!(back.outcome(), &outcome);
    }
}

#[test]
fn the_form_is_fixed() {
    let record = evidence("P01", not_applicable(), 0);
    let expect = concat!(
        "VTEVID\\x00\\x01\\x01",
        "\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07",
        "\\x00\\x06\\n$\\x18\\x1e@\\x00\\x00\\x06\\n$\\x18\\x1e@\\x00",
        "\\x00\\x00\\x00\\x03\\x03\\x00\\x00\\x00\\x10no such listener",
        "\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00",
    );
    assert_eq!(record.canonical_bytes().escape_ascii().to_string(), expect);
}

#[test]
fn damage_is_refused() {
    let bytes = evidence("P22", passed(), 5).canonical_bytes();
    let check = |bytes: &[u8], expect: EvidenceError| {
        assert_eq!(Evidence::from_canonical_bytes(bytes), Err(expect));
    };
    check(b"", EvidenceError::Length);
    check(&bytes[..bytes.len() - 1], EvidenceError::Length);
    check(&[bytes.as_slice(), b"x"].concat(), EvidenceError::Length);
    let changed = |at: usize, to: u8| {
        let mut changed = bytes.clone();
        changed[at] = to;
        changed
    };
    check(&changed(0, b'X'), EvidenceError::Magic);
    check(&changed(8, 63), EvidenceError::Field("promise"));
    check(&changed(45, 9), EvidenceError::Field("outcome"));
}

#[test]
fn what_a_probe_says_is_cut_to_the_bounds() {
    let facts: Facts = (0..300).map(|n| (format!("{n:03}"), "長".repeat(1_000))).collect();
    let outcome = CheckOutcome::Passed { summary: "x".repeat(5_000), facts };
    let record = evidence("P22", outcome, 5);
    assert_eq!(record.outcome().summary().len(), 2_000);
    assert_eq!(record.outcome().facts().unwrap().len(), 200);
    assert_eq!(Evidence::from_canonical_bytes(&record.canonical_bytes()), Ok(record));
}

/// The same cases in every run; another seed by `PROPTEST_RNG_SEED`.
fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::with_cases(cases);
    let rng_seed = match default.rng_seed {
        RngSeed::Random => RngSeed::Fixed(18),
        fixed @ RngSeed::Fixed(_) => fixed,
    };
    ProptestConfig { rng_seed, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let whole = [b"VTEVID\0\x01".as_slice(), &bytes].concat();
        if let Ok(evidence) = Evidence::from_canonical_bytes(&whole) {
            prop_assert_eq!(evidence.canonical_bytes(), whole);
        }
    }
}
