//! The platform's own certificate authority and server certificate, private keys sealed at rest.
//! The authority is name-constrained to the names this installation answers to, so that trusting
//! it gives nobody power over any other site.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use veritwin_domain::{Rng, Timestamp};
use x509_parser::extensions::GeneralName;

use crate::datadir::{Paths, write_private, write_public};
use crate::tls::certified;

const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);
const LEAF_LIFETIME: Duration = Duration::from_secs(90 * 86_400);
/// The leaf is replaced when less than this is left.
pub(crate) const LEAF_RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);
/// Clocks of devices may be late.
const BACKDATE: Duration = Duration::from_secs(3600);

/// Seals the private keys; implemented by the platform's key service.
pub(crate) trait BlobSealer {
    fn seal(&self, label: &str, plain: &[u8]) -> anyhow::Result<Vec<u8>>;
    fn open(&self, label: &str, sealed: &[u8]) -> anyhow::Result<Vec<u8>>;
}

/// A certificate chain with its private key, ready for a TLS server.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) not_after: Timestamp,
}

/// What an opened authority can do.
pub(crate) struct Authority {
    certificate_pem: String,
    key: KeyPair,
}

fn offset(at: Timestamp) -> anyhow::Result<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(at.as_micros().div_euclid(1_000_000))
        .context("the clock is outside the range of certificates")
}

fn serial(rng: &dyn Rng) -> SerialNumber {
    let mut bytes = [0u8; 16];
    rng.fill(&mut bytes);
    bytes[0] &= 0x7f;
    SerialNumber::from_slice(&bytes)
}

/// The names and addresses the server certificate carries, in their one form: host names in small
/// letters, addresses as short as they get.
pub(crate) fn server_names(public_name: &str, extra: &[String]) -> Vec<String> {
    let mut names: Vec<String> = std::iter::once(public_name.to_owned())
        .chain(extra.iter().cloned())
        .chain(["localhost", "127.0.0.1", "::1"].map(str::to_owned))
        .collect();
    for name in &mut names {
        *name = match name.parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => name.to_ascii_lowercase(),
        };
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

fn constraints(names: &[String]) -> NameConstraints {
    let permitted_subtrees = names
        .iter()
        .map(|name| match name.parse::<IpAddr>() {
            Ok(IpAddr::V4(v4)) => {
                GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix(v4.octets(), 32))
            }
            Ok(IpAddr::V6(v6)) => {
                GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(v6.octets(), 128))
            }
            Err(_) => GeneralSubtree::DnsName(name.clone()),
        })
        .collect();
    NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() }
}

impl Authority {
    /// Opens the authority, or makes one for these names.
    pub(crate) fn open_or_create(
        paths: &Paths,
        names: &[String],
        sealer: &dyn BlobSealer,
        now: Timestamp,
        rng: &dyn Rng,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(paths.pki())?;
        let key_path = paths.pki().join("ca.key.sealed");
        if key_path.exists() {
            let der = sealer.open("pki/ca", &fs::read(&key_path)?)?;
            let key = KeyPair::try_from(der.as_slice()).context("the CA key is damaged")?;
            let certificate_pem = fs::read_to_string(paths.ca_pem())?;
            return Ok(Self { certificate_pem, key });
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Veritwin private CA");
        params.distinguished_name.push(DnType::OrganizationName, names[0].clone());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(constraints(names));
        params.serial_number = Some(serial(rng));
        params.not_before = offset(now.saturating_sub(BACKDATE))?;
        params.not_after = offset(now.saturating_add(CA_LIFETIME))?;
        let certificate_pem = params.self_signed(&key)?.pem();
        write_public(&paths.ca_pem(), certificate_pem.as_bytes())?;
        write_private(&key_path, &sealer.seal("pki/ca", key.serialized_der())?)?;
        Ok(Self { certificate_pem, key })
    }

    /// A new server certificate for these names, with a fresh key.
    pub(crate) fn issue(
        &self,
        names: &[String],
        now: Timestamp,
        rng: &dyn Rng,
    ) -> anyhow::Result<(String, KeyPair)> {
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, &self.key)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, names[0].clone());
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.clone().try_into()?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial(rng));
        params.not_before = offset(now.saturating_sub(BACKDATE))?;
        params.not_after = offset(now.saturating_add(LEAF_LIFETIME))?;
        Ok((params.signed_by(&key, &issuer)?.pem(), key))
    }

    /// The CA certificate, PEM.
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }
}

/// Whether an authority may vouch for these names: its constraints (RFC 5280, 4.2.1.10) are the
/// names of the first start, and a certificate beyond them breaks every connection.
pub(crate) fn check_names(ca_pem: &[u8], names: &[String]) -> anyhow::Result<()> {
    let chain = certificates(ca_pem)?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&chain[0])
        .map_err(|_| anyhow::anyhow!("not an X.509 certificate"))?;
    let Ok(Some(constraints)) = parsed.name_constraints() else { return Ok(()) };
    let permitted: Vec<String> = constraints
        .value
        .permitted_subtrees
        .iter()
        .flatten()
        .filter_map(|subtree| {
            match &subtree.base {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                // An address with its mask, which is whole.
                GeneralName::IPAddress(bytes) => address(&bytes[..bytes.len() / 2]),
                _ => None,
            }
        })
        .collect();
    let outside: Vec<&str> =
        names.iter().filter(|name| !permitted.contains(name)).map(String::as_str).collect();
    ensure!(
        outside.is_empty(),
        "the private CA may not vouch for {}: it is bound to the names of the first start, {}. Take \
         http.public_name and http.extra_names back, or set tls.certificate and tls.private_key, \
         or move pki/ca.pem and pki/ca.key.sealed away: the next start makes a new CA, which \
         everybody has to trust anew",
        outside.join(", "),
        permitted.join(", ")
    );
    Ok(())
}

/// The platform's own server certificate: the stored one, or a new one when it is missing, near
/// its end, or does not cover a name.
pub(crate) fn own_identity(
    paths: &Paths,
    names: &[String],
    authority: &Authority,
    sealer: &dyn BlobSealer,
    now: Timestamp,
    rng: &dyn Rng,
) -> anyhow::Result<Identity> {
    check_names(authority.certificate_pem.as_bytes(), names)?;
    let (cert_path, key_path) =
        (paths.pki().join("server.pem"), paths.pki().join("server.key.sealed"));
    if cert_path.exists() && key_path.exists() {
        let pem = fs::read(&cert_path)?;
        let der = sealer.open("pki/server", &fs::read(&key_path)?)?;
        let identity = identity_from(&pem, authority, der)?;
        let covered = leaf_names(&identity.chain[0])?;
        // A stop between the two writes leaves a key without its certificate.
        if certified(&identity).is_ok()
            && identity.not_after.since(now) > LEAF_RENEW_BEFORE
            && names.iter().all(|name| covered.contains(name))
        {
            return Ok(identity);
        }
    }
    let (pem, key) = authority.issue(names, now, rng)?;
    write_private(&key_path, &sealer.seal("pki/server", key.serialized_der())?)?;
    write_public(&cert_path, pem.as_bytes())?;
    identity_from(pem.as_bytes(), authority, key.serialize_der())
}

fn identity_from(pem: &[u8], authority: &Authority, key: Vec<u8>) -> anyhow::Result<Identity> {
    let mut chain = certificates(pem)?;
    chain.extend(certificates(authority.certificate_pem.as_bytes())?);
    let not_after = not_after(&chain[0])?;
    Ok(Identity { chain, key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)), not_after })
}

/// The operator's own certificate and key, from PEM files.
pub(crate) fn operator_identity(certificate: &Path, key: &Path) -> anyhow::Result<Identity> {
    use rustls_pki_types::pem::PemObject;
    let pem = fs::read(certificate)
        .with_context(|| format!("cannot read tls.certificate {}", certificate.display()))?;
    let chain =
        certificates(&pem).with_context(|| format!("tls.certificate {}", certificate.display()))?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|_| {
        anyhow::anyhow!("tls.private_key {}: no PEM private key in it", key.display())
    })?;
    let not_after = not_after(&chain[0])?;
    let identity = Identity { chain, key: key_der, not_after };
    certified(&identity).with_context(|| {
        format!("tls.certificate {}, tls.private_key {}", certificate.display(), key.display())
    })?;
    Ok(identity)
}

pub(crate) fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    use rustls_pki_types::pem::PemObject;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| anyhow::anyhow!("not a PEM certificate chain"))?;
    ensure!(!chain.is_empty(), "no PEM certificate in it");
    Ok(chain)
}

fn not_after(certificate: &CertificateDer<'_>) -> anyhow::Result<Timestamp> {
    Ok(validity(certificate)?.1)
}

/// From when until when a certificate is valid.
pub(crate) fn validity(certificate: &CertificateDer<'_>) -> anyhow::Result<(Timestamp, Timestamp)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| anyhow::anyhow!("not an X.509 certificate"))?;
    let at = |seconds: i64| Timestamp::from_micros(seconds.saturating_mul(1_000_000));
    let validity = parsed.validity();
    Ok((at(validity.not_before.timestamp()), at(validity.not_after.timestamp())))
}

pub(crate) fn leaf_names(certificate: &CertificateDer<'_>) -> anyhow::Result<Vec<String>> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| anyhow::anyhow!("not an X.509 certificate"))?;
    let Ok(Some(san)) = parsed.subject_alternative_name() else { return Ok(Vec::new()) };
    Ok(san
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        })
        .collect())
}

/// An address of a certificate: 4 or 16 bytes.
fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or(v6).map(|address| address.to_string())
}

/// SHA-256 of a PEM certificate's DER, as browsers show it: `AB:CD:...`.
pub(crate) fn fingerprint(pem: &str) -> anyhow::Result<String> {
    let chain = certificates(pem.as_bytes())?;
    let digest = veritwin_verify::sha256(&chain[0]);
    Ok(digest.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use veritwin_domain::{Clock, SeededRng, SystemClock};

    struct Open;

    impl BlobSealer for Open {
        fn seal(&self, _: &str, plain: &[u8]) -> anyhow::Result<Vec<u8>> {
            Ok(plain.to_vec())
        }
        fn open(&self, _: &str, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
            Ok(sealed.to_vec())
        }
    }

    #[test]
    fn a_key_without_its_certificate_is_replaced_or_refused() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let paths = Paths::new(dir.path());
        let (now, rng) = (SystemClock::new().now(), SeededRng::new(3));
        let names = server_names("localhost", &[]);
        let authority =
            Authority::open_or_create(&paths, &names, &Open, now, &rng).expect("authority");
        let own = || own_identity(&paths, &names, &authority, &Open, now, &rng).expect("identity");
        let first = own();
        assert_eq!(own().chain, first.chain, "the stored one stays");
        // What a kill between the two writes leaves: a new key beside the old certificate.
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
        fs::write(paths.pki().join("server.key.sealed"), key.serialized_der()).expect("write");
        let next = own();
        certified(&next).expect("a pair");
        assert_ne!(next.chain, first.chain, "issued anew");
        assert_eq!(own().chain, next.chain);

        let beyond = server_names("localhost", &["twin.example".to_owned()]);
        let refused = own_identity(&paths, &beyond, &authority, &Open, now, &rng);
        let refused = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains("may not vouch for twin.example"), "{refused}");
        assert!(refused.contains("localhost, 127.0.0.1, ::1"), "{refused}");

        let pem = paths.pki().join("operator.key");
        fs::write(&pem, key.serialize_pem()).expect("write");
        let refused = operator_identity(&paths.pki().join("server.pem"), &pem);
        let refused = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(refused.contains("does not belong to the certificate"), "{refused}");
        assert!(refused.contains("operator.key"), "{refused}");
    }
}
