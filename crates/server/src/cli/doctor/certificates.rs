//! Checks of the server certificate and its authority: time, names, rights of the key file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use veritwin_domain::{Clock, SystemClock, Timestamp};

use super::Finding;
use crate::cli::commands::show_age;
use crate::config::Config;
use crate::datadir::Paths;
use crate::pki;

const CHECK: &str = "certificate";
const CERTIFICATE_WARNING: Duration = Duration::from_secs(14 * 86_400);

/// Whether a certificate's name covers `wanted`; `*.` stands for one label.
fn covers(name: &str, wanted: &str) -> bool {
    let (name, wanted) = (name.to_ascii_lowercase(), wanted.to_ascii_lowercase());
    if name == wanted {
        return true;
    }
    let rest = wanted.split_once('.').map(|(_, rest)| rest);
    name.strip_prefix("*.").is_some_and(|domain| rest == Some(domain))
}

pub(super) fn certificates(paths: &Paths, config: &Config) -> Vec<Finding> {
    // Browsers and devices judge it by real time, whatever clock the directory runs on.
    let now = SystemClock::new().now();
    let names = pki::server_names(&config.http.public_name, &config.http.extra_names);
    match (&config.tls.certificate, &config.tls.private_key) {
        (Some(certificate), Some(key)) => {
            // Loading it is what the platform will do with it.
            if let Err(error) = pki::operator_identity(certificate, key) {
                let advice = "correct tls.certificate and tls.private_key";
                return vec![Finding::error(CHECK, format!("{error:#}"), advice)];
            }
            let advice = "put a new chain and key in its place: it is reloaded while running";
            let own_name = std::slice::from_ref(&config.http.public_name);
            let mut found = vec![one_certificate(certificate, own_name, now, advice)];
            found.extend(private_key_mode(key));
            found
        }
        (None, None) => {
            let server = paths.pki().join("server.pem");
            if !server.exists() {
                let finding = "the platform makes its own at the first start";
                return vec![Finding::ok(CHECK, finding)];
            }
            let authority = std::fs::read(paths.ca_pem()).unwrap_or_default();
            let parsed = pki::certificates(&authority).and_then(|all| pki::validity(&all[0]));
            if let Err(problem) = parsed {
                let finding = format!("{}: {problem:#}", paths.ca_pem().display());
                let advice = "put pki/ca.pem back from a backup: everybody trusts that one. Without \
                              one move pki/ away: the next start makes a new CA, which everybody \
                              has to trust anew";
                return vec![Finding::error(CHECK, finding, advice)];
            }
            if let Err(error) = pki::check_names(&authority, &names) {
                let advice = "correct http.public_name and http.extra_names";
                return vec![Finding::error(CHECK, format!("{error:#}"), advice)];
            }
            let advice = "restart the platform: it makes a new one";
            let authority_advice = "the authority is past its time: make a new directory";
            vec![
                one_certificate(&server, &names, now, advice),
                one_certificate(&paths.ca_pem(), &[], now, authority_advice),
            ]
        }
        _ => {
            let finding = "only one of tls.certificate and tls.private_key is set";
            vec![Finding::error(CHECK, finding, "set both or neither")]
        }
    }
}

fn one_certificate(path: &Path, names: &[String], now: Timestamp, advice: &str) -> Finding {
    let shown = path.display();
    let said = || -> anyhow::Result<_> {
        let chain = pki::certificates(&std::fs::read(path)?)?;
        Ok((pki::validity(&chain[0])?, pki::leaf_names(&chain[0])?))
    };
    let ((not_before, not_after), covered) = match said() {
        Ok(said) => said,
        Err(error) => return Finding::error(CHECK, format!("{shown}: {error}"), advice),
    };
    if now < not_before {
        let advice = "set the machine's clock";
        return Finding::error(CHECK, format!("{shown} is valid from {not_before} only"), advice);
    }
    if now >= not_after {
        return Finding::error(CHECK, format!("{shown} ended on {not_after}"), advice);
    }
    let missing = names.iter().find(|name| !covered.iter().any(|own| covers(own, name)));
    if let Some(name) = missing {
        let finding = format!("{shown} does not cover the name {name}");
        return Finding::error(CHECK, finding, advice);
    }
    let left = not_after.since(now);
    if left < CERTIFICATE_WARNING {
        let finding = format!("{shown} ends in {}", show_age(left));
        return Finding::warning(CHECK, finding, advice);
    }
    Finding::ok(CHECK, format!("{shown} is valid until {not_after}"))
}

fn private_key_mode(key: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(key).ok()?.permissions().mode() & 0o777;
    let shown = key.display();
    (mode & 0o007 != 0).then(|| {
        let finding = format!("{shown} can be read by everybody (mode {mode:o})");
        Finding::error(CHECK, finding, format!("chmod 600 {shown}"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn an_authority_that_cannot_be_read_is_not_about_names() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let paths = Paths::new(dir.path());
        std::fs::create_dir(paths.pki()).expect("create");
        std::fs::write(paths.pki().join("server.pem"), "").expect("write");
        std::fs::write(paths.ca_pem(), "").expect("write");
        let found = certificates(&paths, &Config::default());
        assert!(found[0].finding.contains("ca.pem: no PEM certificate in it"), "{found:?}");
        assert!(found[0].advice.as_ref().is_some_and(|advice| advice.contains("backup")));
    }

    #[test]
    fn certificates_and_their_names() {
        let check = |own: &str, wanted: &str, expected: bool| {
            assert_eq!(covers(own, wanted), expected, "{own} {wanted}");
        };
        check("iot.example", "IOT.example", true);
        check("*.example", "iot.example", true);
        check("*.example", "a.iot.example", false);
        check("example", "iot.example", false);
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("server.pem");
        std::fs::write(&path, "nonsense").expect("write");
        let names = vec!["localhost".to_owned()];
        let now = Timestamp::parse_rfc3339("2030-01-01T00:00:00Z").expect("time");
        assert_eq!(one_certificate(&path, &names, now, "x").level, Level::Error);
        let key = rcgen::KeyPair::generate().expect("key");
        let mut params = rcgen::CertificateParams::new(names.clone()).expect("names");
        let certificate = |params: &rcgen::CertificateParams| {
            let pem = params.self_signed(&key).expect("certificate").pem();
            std::fs::write(&path, pem).expect("write");
        };
        params.not_before = rcgen::date_time_ymd(2029, 1, 1);
        params.not_after = rcgen::date_time_ymd(2031, 1, 1);
        certificate(&params);
        assert_eq!(one_certificate(&path, &names, now, "x").level, Level::Ok);
        let other = ["iot.example".to_owned()];
        assert!(one_certificate(&path, &other, now, "x").finding.contains("does not cover"));
        params.not_after = rcgen::date_time_ymd(2030, 1, 3);
        certificate(&params);
        assert_eq!(one_certificate(&path, &names, now, "x").level, Level::Warning);
        params.not_after = rcgen::date_time_ymd(2029, 2, 1);
        certificate(&params);
        assert!(one_certificate(&path, &names, now, "x").finding.contains("ended on"));
    }
}
