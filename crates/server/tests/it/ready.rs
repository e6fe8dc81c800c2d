//! Readiness follows the background jobs: one that hangs makes the running platform not ready, by
//! its name, and the rest go on.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Mode, Options, Platform, files_below, wait_for};

/// The archive's process, stopped for as long as this lives.
struct Frozen(String);

impl Frozen {
    fn archive_of(platform: &Platform) -> Self {
        let run = std::fs::read(platform.data().join("archive/run.json")).unwrap();
        let run: Value = serde_json::from_slice(&run).unwrap();
        let frozen = Self(run["pid"].to_string());
        frozen.signal("-STOP");
        frozen
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.0]).status().unwrap().success());
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

#[test]
fn an_archive_that_hangs_is_named_and_the_others_turn() {
    let arguments = vec!["--simulated-clock".to_owned(), "2027-03-01T08:00:00Z".to_owned()];
    let platform = Platform::start(Mode::Serve, Options { arguments, ..Options::default() });
    let tenant = platform.tenant();
    let ready = || {
        let answer = platform.http().get("/readyz").send();
        (answer.status, answer.text())
    };
    assert_eq!(ready(), (200, "ready\n".to_owned()));
    let frozen = Frozen::archive_of(&platform);
    platform.cli(&["clock", "advance", "5m"]).done();
    let told = wait_for("the archive alone", || {
        let (status, text) = ready();
        let is_named = text.contains("the job archive is stuck: no turn for");
        let others = ["alerts", "segments", "records"];
        let others = others.iter().any(|job| text.contains(&format!("job {job} ")));
        (status == 503 && is_named && !others).then_some(text)
    });
    assert!(!told.contains("Tenant") && !told.contains(&tenant.id), "{told}");
    let status = platform.control("status", json!({})).unwrap();
    assert!(status["problem"].as_str().is_some_and(|text| text.contains("archive")), "{status}");
    let key = platform.control("metrics_key", json!({})).unwrap();
    let secret = key["secret"].as_str().unwrap();
    let metrics = platform.http().get("/metrics").bearer(secret).send().text();
    for line in [
        "veritwin_job_turn_age_seconds{job=\"archive\"}",
        "veritwin_job_running{job=\"alerts\"} 1",
        "veritwin_tenants_held_up{job=\"ledger\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    drop(frozen);
    wait_for("all jobs", || (ready().0 == 200).then_some(()));
}

#[test]
fn a_damaged_archive_journal_is_named_and_readings_are_taken() {
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let device = tenant.device("before");
    let mut size = 0;
    for value in 0..3 {
        tenant.send(&device, &json!({"t": value})).expect(200);
        size = tenant.sealed(size + 1);
    }
    platform.kill();
    let mut journals = files_below(&platform.data().join("archive/archive/journal"));
    journals.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
    let journal = journals.last().unwrap();
    let whole = std::fs::read(journal).unwrap();
    let mut bytes = whole.clone();
    let inside = bytes.len() / 3;
    bytes[inside] ^= 1;
    std::fs::write(journal, bytes).unwrap();
    platform.start_again();
    let name = journal.file_name().unwrap().to_str().unwrap();
    let named = format!("archive/journal/{name} at byte ");
    let answer = platform.http().get("/readyz").send();
    let (status, text) = (answer.status, answer.text());
    assert_eq!(status, 503, "{text}");
    // Nobody has signed in: which file it is stands in the log.
    let told = "the ledger archive does not start, sealing waits: the log says why";
    assert_eq!(text.trim_end(), told);
    let doctor = platform.cli(&["doctor"]);
    assert!(doctor.code != 0 && doctor.stdout.contains(&named), "{doctor:?}");
    tenant.send(&device, &json!({"t": 9})).expect(200);
    // With the file put back the archive starts by itself, and what waited is sealed.
    std::fs::write(journal, whole).unwrap();
    wait_for("the archive", || (platform.http().get("/readyz").send().status == 200).then_some(()));
    tenant.sealed(size + 1);
}

#[test]
fn a_full_disk_is_said_while_it_lasts() {
    let platform = Platform::serve();
    let tenant = platform.tenant();
    let device = tenant.device("meter");
    let ready = || {
        let answer = platform.http().get("/readyz").send();
        (answer.status, answer.text())
    };
    let key = platform.control("metrics_key", json!({})).unwrap();
    let secret = key["secret"].as_str().unwrap();
    let metric = |value: u32| {
        let text = platform.http().get("/metrics").bearer(secret).send().text();
        assert!(text.contains(&format!("veritwin_log_disk_full {value}\n")), "{text}");
    };
    tenant.send(&device, &json!({"t": 1})).expect(200);
    assert_eq!(ready().0, 200);
    metric(0);
    platform.control("disk_full", json!({"on": true})).unwrap();
    assert_eq!(tenant.send(&device, &json!({"t": 2})).status, 503);
    let (status, text) = ready();
    assert!(status == 503 && text.contains("the log's disk is full"), "{status} {text}");
    metric(1);
    assert_eq!(tenant.latest(&device, "t"), json!(1), "reading goes on");
    platform.control("disk_full", json!({"on": false})).unwrap();
    // A balancer that waits for this sends nothing meanwhile.
    wait_for("space", || (ready().0 == 200).then_some(()));
    metric(0);
    tenant.send(&device, &json!({"t": 3})).expect(200);
}
