//! Time stamps of a real authority: `openssl ts` behind a small HTTP server on loopback.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use veritwin_outbound::register::EgressRegister;
use veritwin_outbound::stamp::StampClient;
use veritwin_verify::{
    SignedCheckpoint, StampAuthorities, StampError, StampRequest, StampedCheckpoint, StampedError,
    TimeStamp, consistency_path, sha256, verify_stamp,
};

use crate::witness::Log;

const CHECKPOINT: &[u8] = b"log.example/a\n1\nroot\n";

struct Authority {
    directory: TempDir,
}

fn openssl(directory: &Path, arguments: &str) {
    let run = Command::new("openssl").current_dir(directory).args(arguments.split(' ')).output();
    let run = run.unwrap();
    assert!(run.status.success(), "{arguments}: {}", String::from_utf8_lossy(&run.stderr));
}

impl Authority {
    /// With a certificate for `usage`.
    fn new(usage: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let config = "[req]\ndistinguished_name = dn\n[dn]\n[t]\nserial = serial\n\
                      signer_digest = sha256\ndefault_policy = 1.2.3.4.1\ndigests = sha256\n\
                      accuracy = secs:1\nordering = yes\ntsa_name = yes\n\
                      ess_cert_id_chain = no\ness_cert_id_alg = sha256\n";
        std::fs::write(at.join("ts.cnf"), config).unwrap();
        std::fs::write(at.join("ext.cnf"), format!("extendedKeyUsage={usage}\n")).unwrap();
        std::fs::write(at.join("serial"), "01\n").unwrap();
        openssl(
            at,
            "req -x509 -newkey rsa:2048 -nodes -config ts.cnf -keyout ca.key -out ca.pem -days 2 \
             -subj /CN=ca -addext basicConstraints=critical,CA:TRUE",
        );
        openssl(
            at,
            "req -newkey rsa:2048 -nodes -config ts.cnf -keyout tsa.key -out tsa.csr -subj /CN=tsa",
        );
        openssl(
            at,
            "x509 -req -in tsa.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out tsa.pem -days 2 \
             -extfile ext.cnf",
        );
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn authorities(&self) -> StampAuthorities {
        let pem = std::fs::read_to_string(self.path("ca.pem")).unwrap();
        StampAuthorities::from_pem(&pem).unwrap()
    }

    fn answer(&self, request: &[u8]) -> Vec<u8> {
        std::fs::write(self.path("query"), request).unwrap();
        openssl(
            self.directory.path(),
            "ts -reply -config ts.cnf -section t -queryfile query -signer tsa.pem -inkey tsa.key \
             -out reply",
        );
        std::fs::read(self.path("reply")).unwrap()
    }

    /// Answers one request.
    async fn serve(&self, mut stream: TcpStream) {
        let mut seen = Vec::new();
        let body = loop {
            let mut part = [0; 4096];
            let read = stream.read(&mut part).await.unwrap();
            assert!(read > 0, "the client went away");
            seen.extend_from_slice(&part[..read]);
            let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            // A query of ours has this length.
            if seen.len() >= end + 4 + 69 {
                break seen.split_off(end + 4);
            }
        };
        let head = String::from_utf8(seen).unwrap().to_lowercase();
        assert!(head.starts_with("post /tsr http/1.1"), "{head}");
        assert!(head.contains("content-type: application/timestamp-query"), "{head}");
        let answer = self.answer(&body);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/timestamp-reply\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            answer.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&answer).await.unwrap();
        stream.flush().await.unwrap();
    }
}

fn check(authority: &Authority, answer: &[u8], of: &[u8]) -> Result<TimeStamp, StampError> {
    verify_stamp(answer, sha256(of), None, Some(&authority.authorities()))
}

#[tokio::test]
async fn an_authority_is_asked_and_its_answer_verified() {
    let authority = Authority::new("critical,timeStamping");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/tsr", listener.local_addr().unwrap());
    let client = StampClient::new(&url, None, Arc::new(EgressRegister::default())).unwrap();
    let request = StampRequest::new(sha256(CHECKPOINT), [7; 8]);
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        authority.serve(stream).await;
    };
    let (answer, ()) = tokio::join!(client.stamp(request.to_der()), serving);
    let answer = answer.unwrap();
    let trusted = Some(authority.authorities());
    let stamp =
        verify_stamp(&answer, request.imprint(), Some(request.nonce()), trusted.as_ref()).unwrap();
    assert!(stamp.is_authenticated && stamp.signer.contains("tsa"), "{stamp:?}");
    // Without an authority the signature is checked all the same, and whose it is stays open.
    let open = verify_stamp(&answer, request.imprint(), None, None).unwrap();
    assert!(!open.is_authenticated);
    let other = verify_stamp(&answer, request.imprint(), Some([9; 8]), None);
    assert_eq!(other, Err(StampError::Nonce));
    assert_eq!(check(&authority, &answer, b"something else"), Err(StampError::Imprint));
    let stranger = Authority::new("critical,timeStamping");
    assert!(matches!(check(&stranger, &answer, CHECKPOINT), Err(StampError::Chain(_))));
    // No byte can be another one without being found.
    for at in (0..answer.len()).step_by(97) {
        let mut changed = answer.to_vec();
        changed[at] ^= 1;
        let same = check(&authority, &changed, CHECKPOINT).is_ok_and(|seen| seen.at != stamp.at);
        assert!(!same, "byte {at}");
    }
}

#[test]
fn certificates_for_something_else_do_not_count() {
    for usage in ["critical,timeStamping,serverAuth", "timeStamping", "serverAuth"] {
        let authority = Authority::new(usage);
        let request = StampRequest::new(sha256(CHECKPOINT), [1; 8]);
        std::fs::write(authority.path("query"), request.to_der()).unwrap();
        let reply = Command::new("openssl")
            .current_dir(authority.directory.path())
            .args("ts -reply -config ts.cnf -section t -queryfile query".split(' '))
            .args("-signer tsa.pem -inkey tsa.key -out reply".split(' '))
            .status()
            .unwrap();
        // The authority's own program may refuse to sign with such a certificate.
        let answer = std::fs::read(authority.path("reply")).unwrap_or_default();
        assert!(check(&authority, &answer, CHECKPOINT).is_err(), "{usage}: {reply}");
    }
}

#[test]
fn the_stamp_of_an_earlier_checkpoint_counts_for_a_later_one_that_extends_it() {
    let authority = Authority::new("critical,timeStamping");
    let log = Log::new("log.example/a", 200);
    let key = log.vkey();
    let answer = |of: &[u8]| authority.answer(&StampRequest::new(sha256(of), [1; 8]).to_der());
    let later = |size| SignedCheckpoint::parse(log.checkpoint(size).as_bytes()).unwrap().checkpoint;
    let path = consistency_path(&log, 50, 120).unwrap();
    let earlier = log.checkpoint(50);
    let stamped = StampedCheckpoint::new(earlier.clone(), &answer(earlier.as_bytes()), &path);
    let seen = stamped.check((&key, &later(120)), Some(&authority.authorities())).unwrap();
    assert!(seen.size == 50 && seen.stamp.is_authenticated, "{seen:?}");
    assert_eq!(
        stamped.files().unwrap().map(|(name, _)| name),
        ["stamped.checkpoint", "stamped.tsr"]
    );

    let other = stamped.check((&key, &later(130)), None);
    assert!(matches!(other, Err(StampedError::Proof(_))), "{other:?}");
    let stranger = Log::new("log.example/b", 200).vkey();
    let foreign = stamped.check((&stranger, &later(120)), None);
    assert!(matches!(foreign, Err(StampedError::Checkpoint(_))), "{foreign:?}");
    let wrong = StampedCheckpoint::new(earlier, &answer(b"something else"), &path);
    let wrong = wrong.check((&key, &later(120)), None);
    assert_eq!(wrong, Err(StampedError::Stamp(StampError::Imprint)));
    let text = StampedCheckpoint { response: "?".to_owned(), ..stamped };
    assert_eq!(text.check((&key, &later(120)), None), Err(StampedError::Base64));
    assert_eq!(text.files(), None);
}
