//! The key proxy's configuration file. What is missing, superfluous or contradictory is named;
//! secrets stand in files of their own, which only their owner may read.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use veritwin_domain::{AddressList, Secret};
use veritwin_outpost::archive::ClientTrust;
use veritwin_outpost::keyproxy::{
    KeyProxyConfig, Passphrase, Pkcs11Place, ProxyCertificate, ProxyRoot, is_private,
};

use crate::cli::BadArguments;

/// Longest secret in a file, in bytes.
const SECRET_BYTES_MAX: usize = 1024;
const REQUESTS_PER_SECOND_DEFAULT: u32 = 200;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyProxyFile {
    directory: PathBuf,
    root_key: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
    passphrase_keyring: Option<String>,
    #[serde(default = "listen")]
    listen: String,
    names: Option<Vec<String>>,
    certificate: Option<PathBuf>,
    certificate_key: Option<PathBuf>,
    client_certificates: Option<PathBuf>,
    client_authority: Option<PathBuf>,
    #[serde(default)]
    path_prefix: String,
    #[serde(default)]
    allowed_networks: Vec<String>,
    #[serde(default = "metrics_networks")]
    metrics_networks: Vec<String>,
    #[serde(default)]
    allowed_purposes: Vec<String>,
    requests_per_second: Option<u32>,
    pkcs11: Option<TokenFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenFile {
    module: PathBuf,
    token: String,
    pin_file: PathBuf,
}

fn listen() -> String {
    "0.0.0.0:8443".to_owned()
}

fn metrics_networks() -> Vec<String> {
    vec!["127.0.0.0/8".to_owned(), "::1".to_owned()]
}

fn bad(detail: impl Into<String>) -> anyhow::Error {
    BadArguments(detail.into()).into()
}

/// Reads a configuration file, and the files of secrets that it names.
pub(super) fn read(path: &Path) -> anyhow::Result<KeyProxyConfig> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("{}", path.display()))
}

fn parse(text: &str) -> anyhow::Result<KeyProxyConfig> {
    let file: KeyProxyFile = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
    let root = root(file.root_key, file.passphrase_file, file.passphrase_keyring.as_deref())?;
    let certificate = match (file.names, file.certificate, file.certificate_key) {
        (Some(names), None, None) if !names.is_empty() => ProxyCertificate::Own(names),
        (None, Some(chain), Some(key)) => ProxyCertificate::Files(chain, key),
        _ => return Err(bad("either names, or certificate and certificate_key are needed")),
    };
    let clients = match (file.client_certificates, file.client_authority) {
        (None, None) => None,
        (Some(path), None) => Some(ClientTrust::CertificateFile(path)),
        (None, Some(path)) => Some(ClientTrust::AuthorityFile(path)),
        _ => return Err(bad("only one of client_certificates and client_authority is possible")),
    };
    let networks = |field: &str, rows: &[String]| {
        AddressList::parse(rows).map_err(|error| bad(format!("{field}: {error}")))
    };
    let token = match file.pkcs11 {
        None => None,
        Some(TokenFile { module, token, pin_file }) => {
            Some(Pkcs11Place { module, token, pin: secret("pkcs11.pin_file", &pin_file)? })
        }
    };
    Ok(KeyProxyConfig {
        directory: file.directory,
        root,
        listen: file.listen.parse().map_err(|_| bad("listen must be ADDRESS:PORT"))?,
        certificate,
        clients,
        path_prefix: file.path_prefix,
        networks: networks("allowed_networks", &file.allowed_networks)?,
        metrics_networks: networks("metrics_networks", &file.metrics_networks)?,
        purposes: file.allowed_purposes,
        requests_per_second: file.requests_per_second.unwrap_or(REQUESTS_PER_SECOND_DEFAULT),
        token,
    })
}

fn root(
    key: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
    passphrase_keyring: Option<&str>,
) -> anyhow::Result<ProxyRoot> {
    Ok(match (key, passphrase_file, passphrase_keyring) {
        (Some(path), None, None) => ProxyRoot::KeyFile(path),
        (None, Some(path), None) => {
            ProxyRoot::Passphrase(Passphrase::from_file(&path).map_err(|error| {
                let error = anyhow::Error::new(error);
                bad(format!("passphrase_file {}: {error:#}", path.display()))
            })?)
        }
        (None, None, Some(description)) => ProxyRoot::Passphrase(
            Passphrase::from_keyring(description)
                .map_err(|error| bad(format!("passphrase_keyring: {error}")))?,
        ),
        _ => {
            let detail =
                "exactly one of root_key, passphrase_file and passphrase_keyring is needed";
            return Err(bad(detail));
        }
    })
}

/// A secret out of a file that only its owner may read, or that systemd gave.
fn secret(field: &str, path: &Path) -> anyhow::Result<Secret<String>> {
    let shown = path.display();
    let facts = std::fs::metadata(path).with_context(|| format!("{field} {shown}"))?;
    if !is_private(path, &facts) {
        let mode = facts.permissions().mode() & 0o777;
        let detail = format!("{field} {shown}: mode is {mode:04o}, run chmod 0600");
        return Err(bad(detail));
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("{field} {shown}"))?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() || text.len() > SECRET_BYTES_MAX {
        return Err(bad(format!("{field} {shown}: expected 1 to {SECRET_BYTES_MAX} bytes")));
    }
    Ok(Secret::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        directory = "/var/lib/veritwin-keyproxy"
        root_key = "/etc/veritwin/keyproxy.key"
        names = ["keys.example"]
    "#;

    #[test]
    fn a_short_file_is_enough() {
        let config = parse(FILE).expect("read");
        assert_eq!((config.listen.port(), config.requests_per_second), (8443, 200));
        assert!(config.clients.is_none() && config.networks.is_empty());
        assert!(config.metrics_networks.contains("127.0.0.1".parse().expect("an address")));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for more in [
            "listen = \"x\"",
            "colour = 1",
            "certificate = \"/c\"",
            "passphrase_file = \"/p\"",
            "passphrase_keyring = \"veritwin\"",
            "client_certificates = \"/c\"\nclient_authority = \"/a\"",
            "allowed_networks = [\"x\"]",
            "[pkcs11]\nmodule = \"/m\"",
        ] {
            assert!(parse(&format!("{FILE}{more}")).is_err(), "{more}");
        }
        let no_root = "directory = \"/d\"\nnames = [\"a\"]\n";
        for more in [
            "",
            "passphrase_file = \"/nothing/here\"",
            "passphrase_keyring = \"\"",
            "passphrase_file = \"/p\"\npassphrase_keyring = \"veritwin\"",
        ] {
            assert!(parse(&format!("{no_root}{more}")).is_err(), "{more}");
        }
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("pin");
        std::fs::write(&path, "1234\n").expect("written");
        let mode = |mode: u32| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("mode");
            secret("pin_file", &path)
        };
        assert_eq!(mode(0o600).expect("read").expose(), "1234");
        let error = mode(0o644).expect_err("refused").to_string();
        assert!(error.contains("0644") && !error.contains("1234"), "{error}");
    }
}
