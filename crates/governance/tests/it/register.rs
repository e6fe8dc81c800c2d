//! The register as shipped, and registers that are refused.

use veritwin_governance::{OwnerRole, Polarity, PromiseId, Register};

use crate::fixture::id;

const SHIPPED: &str = include_str!("../../promises.toml");

#[test]
fn the_shipped_register_is_whole() {
    let register = Register::built_in().unwrap();
    assert_eq!(register.promises().len(), 62);
    for (promise, id) in register.promises().iter().zip(PromiseId::all()) {
        assert_eq!(promise.id, id);
        assert_eq!(register.get(id), promise);
    }
    let ids = |wanted: &dyn Fn(&veritwin_governance::Promise) -> bool| {
        let found = register.promises().iter().filter(|promise| wanted(promise));
        found.map(|promise| promise.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&|p| p.limits.polarity == Polarity::Negative), ["P02", "P18", "P42"]);
    assert_eq!(ids(&|p| p.limits.operators_part.is_some()), ["P22", "P32", "P33"]);
    assert_eq!(ids(&|p| p.limits.needs_operator_evidence.is_some()), ["P25", "P36", "P39"]);
    assert_eq!(ids(&|p| p.limits.absent.is_some()), ["P28"]);
    assert_eq!(register.get(id("P31")).owner, OwnerRole::SecurityOfficer);
}

#[test]
fn sentences_are_distinct() {
    let register = Register::built_in().unwrap();
    let mut sources: Vec<_> = register.promises().iter().map(|promise| &promise.source).collect();
    sources.sort();
    sources.dedup();
    assert_eq!(sources.len(), 62);
}

#[test]
fn mistakes_are_named() {
    let check = |from: &str, to: &str, expect: &str| {
        let text = SHIPPED.replacen(from, to, 1);
        assert_ne!(text, SHIPPED, "{from} is not in the register");
        let error = Register::parse(&text).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    check("id = \"P07\"", "id = \"P06\"", "row 7 (P06): id is there twice");
    check("id = \"P07\"", "id = \"P63\"", "row 7 (P63): id is not a promise: expected P01 to P62");
    check("id = \"P07\"", "id = \"P7\"", "expected P01 to P62");
    check(
        "owner = \"operator\"",
        "owner = \"me\"",
        "owner should be one of data_protection_officer",
    );
    check("interval_hours = 24", "interval_hours = 0", "interval_hours should be 1 to 744");
    check("scope = \"nobody\"", "scope = \"all\"", "scope should be one of nobody, platform");
    let late = "interval_hours = 24\ntimeout_seconds = 601";
    check("interval_hours = 24", late, "timeout_seconds should be 1 to 600");
    let dear = "interval_hours = 24\ncpu_seconds = 0";
    check("interval_hours = 24", dear, "cpu_seconds should be 1 to 600");
    let greedy = "interval_hours = 24\nio_mib = 4097";
    check("interval_hours = 24", greedy, "io_mib should be 1 to 4096");
    check("kind = \"negative\"\nlimits", "kind = \"no\"\nlimits", "kind should be positive or");
    check("feature = \"Every operation", "colour = \"x\"\nfeature = \"Every", "unknown field");
    check(
        "text = \"No full card numbers are kept.\"",
        "text = \"\"",
        "row 5 (P05): text should be",
    );
    let cut = &SHIPPED[..SHIPPED.find("[[promise]]\nid = \"P62\"").unwrap()];
    let error = Register::parse(cut).unwrap_err().to_string();
    assert_eq!(error, "promise register lacks P62: expected P01 to P62, each once");
    let first = cut.find("limits = \"This is a negative: the probe samples").unwrap();
    let line = cut[first..].lines().next().unwrap();
    check(line, "", "limits should say what a probe of a negative cannot show");
}
