//! Witness policies.

use veritwin_verify::{KeyAlgorithm, Policy, SignedCheckpoint, VerifierKey};

const NOTE: &str = "example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
";

fn witness(number: u8) -> VerifierKey {
    let name = format!("witness{number}.example");
    VerifierKey::new(&name, KeyAlgorithm::CosignatureV1, [number; 32]).unwrap()
}

#[test]
fn quorums_are_counted() {
    let checkpoint = SignedCheckpoint::parse(NOTE.as_bytes()).unwrap();
    assert_eq!(checkpoint.checkpoint.size, 20_852_163);
    let check = |lines: &str, met: bool| {
        let keys = format!(
            "# three\nwitness a {}\nwitness b {}\n  witness\tc {} https://c.example\n{lines}\n",
            witness(1),
            witness(2),
            witness(3)
        );
        let state = Policy::parse(&keys).unwrap().evaluate(&checkpoint);
        assert_eq!((state.known, state.met), (3, met), "{lines}");
        assert!(state.cosigned.is_empty());
    };
    check("quorum none", true);
    check("quorum a", false);
    check("group g 2 a b c\nquorum g", false);
    check("group g any a b\ngroup h all g c\nquorum h", false);
}

#[test]
fn bad_policies_name_their_line() {
    let check = |text: String, wanted: usize| {
        assert_eq!(Policy::parse(&text).unwrap_err().line, wanted, "{text}");
    };
    let (a, b) = (witness(1), witness(2));
    check(String::new(), 0);
    check("quorum a\n".to_owned(), 1);
    check(format!("witness a {a}\nwitness b {a}\nquorum none"), 2);
    check(format!("witness a {a}\nwitness a {b}\nquorum none"), 2);
    check(format!("log {a}\nquorum none"), 1);
    check(format!("witness a {a}\ngroup g 2 a\nquorum g"), 2);
    check(format!("witness a {a}\ngroup g all a\ngroup h all a\nquorum h"), 3);
    check(format!("witness a {a}\nquorum a\nquorum a"), 3);
    check("wittness a\nquorum none".to_owned(), 1);
}
