//! What the benchmarks measure is real: the logs verify.

use veritwin_ledger::measure::{self, Signatures};
use veritwin_verify::{DirectorySource, ExitClass, SignatureCheck, VerifyOptions, verify_log};

use crate::fixture::World;

#[tokio::test(flavor = "multi_thread")]
async fn measured_logs_verify() {
    let world = World::new(40);
    let archive = world.archive();
    for signatures in [Signatures::Verified, Signatures::Trusted] {
        let given = (world.clock.clone() as _, world.rng.clone() as _);
        let measured = measure::appends(&archive, signatures, (3, 300, 64), given).await.unwrap();
        assert_eq!(measured.leaves, 900);
        println!("{:.0} leaves/s, p99 {:?}", measured.leaves_per_s(), measured.publish_p99);
    }
    for log in archive.logs() {
        let every = SignatureCheck::Every;
        let options = VerifyOptions { signatures: every, ..VerifyOptions::default() };
        let report = verify_log(&archive.source(log), &options, &mut |_| {});
        assert_eq!((report.exit, report.counts.signatures), (ExitClass::Verified, 300), "{report}");
    }
    for leaves in [1, 255, 256, 257, 700] {
        let out = world.path(&format!("log-{leaves}"));
        let keys = (world.clock.as_ref() as _, world.rng.as_ref() as _);
        let vkey = measure::write_log(&out, leaves, keys).unwrap();
        let options = VerifyOptions { vkey: Some(vkey), ..VerifyOptions::default() };
        let report = verify_log(&DirectorySource::new(&out), &options, &mut |_| {});
        assert_eq!((report.exit, report.size), (ExitClass::Verified, leaves), "{report}");
    }
}
