//! What the configuration says about the stores: of a data directory, or of a place that is about
//! to become one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use veritwin_app::model::SubProcessor;
use veritwin_app::{
    AcmeConfig, BucketConfig, MailConfig, Operator, Outbound, Passphrase, PublishConfig, S3Access,
    ScrubConfig, ShipConfig, SmsConfig, SmsForm, StampConfig,
};
use veritwin_domain::{AddressList, Clock, Secret};

use crate::config::Config;
use crate::datadir::{DataDir, write_private};

/// The stores' part of the configuration.
pub(crate) fn app_config(
    config: &Config,
    dir: &DataDir,
    clock: Arc<dyn Clock>,
    demo: bool,
) -> anyhow::Result<veritwin_app::Config> {
    let root_key_dir = dir.root_key_dir(config.keys.root_dir.as_deref())?;
    let simulated = dir.simulated_clock().is_some();
    app_config_at(config, dir.root(), root_key_dir, clock, Kind { demo, simulated })
}

/// What a directory is beside a place.
pub(crate) struct Kind {
    pub(crate) demo: bool,
    pub(crate) simulated: bool,
}

/// The stores' part of the configuration for any place.
pub(crate) fn app_config_at(
    config: &Config,
    data: &Path,
    root_key_dir: PathBuf,
    clock: Arc<dyn Clock>,
    kind: Kind,
) -> anyhow::Result<veritwin_app::Config> {
    let mail = (!config.smtp.url.is_empty()).then(|| MailConfig {
        url: config.smtp.url.clone(),
        from: config.smtp.from.clone(),
        login: (!config.smtp.user.is_empty())
            .then(|| (config.smtp.user.clone(), Secret::new(config.smtp.password.clone()))),
        authority_pem: None,
    });
    Ok(veritwin_app::Config {
        data: data.to_owned(),
        root_key_dir,
        database_url: Secret::new(config.database.url.clone()),
        database_owner_url: (!config.database.owner_url.is_empty())
            .then(|| Secret::new(config.database.owner_url.clone())),
        clock,
        group_commit_delay: Duration::from_micros(config.log.group_commit_delay_micros),
        log_file_bytes_max: config.log.file_bytes_max,
        memory_bytes_max: config.telemetry.memory_bytes_max,
        latest_max: veritwin_app::LatestSize {
            series: config.telemetry.series_max,
            bytes: config.telemetry.latest_bytes_max,
        },
        mail,
        operator: operator(config)?,
        sms: sms(config)?,
        outbound: outbound(config)?,
        acme: acme(config)?,
        publish: publish(config)?,
        root_passphrase: root_passphrase(config)?,
        key_modules: config.keys.pkcs11_modules.clone(),
        spool_bytes_max: config.log.spool_bytes_max,
        geo_database: geo_database(config, data, kind.demo)?,
        shipping: shipping(config)?,
        segments: segments(config)?,
        disk_bytes_per_second: config.backup.bytes_per_second,
        scrub: ScrubConfig {
            every: (config.scrub.days > 0)
                .then(|| Duration::from_secs(config.scrub.days.min(3650) * 86_400)),
            bytes_per_second: config.scrub.bytes_per_second,
        },
        rates: crate::guard::rates(&config.limits),
        ledger_host: config.http.public_name.clone(),
        own_names: crate::pki::server_names(&config.http.public_name, &config.http.extra_names),
        demo: kind.demo,
        simulated: kind.simulated,
    })
}

/// What the root key is made of, where the operator wants it made of a passphrase.
pub(crate) fn root_passphrase(config: &Config) -> anyhow::Result<Option<Passphrase>> {
    let keys = &config.keys;
    let passphrase = match (keys.passphrase_file.as_deref(), keys.passphrase_keyring.as_deref()) {
        (None, None) => return Ok(None),
        (Some(path), None) => Passphrase::from_file(path)
            .with_context(|| format!("keys.passphrase_file: {}", path.display()))?,
        (None, Some(description)) => {
            Passphrase::from_keyring(description).context("keys.passphrase_keyring")?
        }
        (Some(_), Some(_)) => anyhow::bail!(
            "keys.passphrase_keyring: only one of it and keys.passphrase_file is possible"
        ),
    };
    Ok(Some(passphrase))
}

/// Who runs the installation.
fn operator(config: &Config) -> anyhow::Result<Operator> {
    let said = &config.operator;
    let sub_processor = |line: &String| {
        let parts: Vec<&str> = line.split('|').map(str::trim).collect();
        match parts.as_slice() {
            [name, purpose, country, agreement] if parts.iter().all(|part| !part.is_empty()) => {
                Ok(SubProcessor {
                    name: (*name).to_owned(),
                    purpose: (*purpose).to_owned(),
                    country: (*country).to_owned(),
                    agreement: (*agreement).to_owned(),
                })
            }
            _ => Err(anyhow::anyhow!(
                "operator.sub_processors: expected `name | purpose | country | agreement`"
            )),
        }
    };
    let sub_processors = said.sub_processors.iter().map(sub_processor);
    Ok(Operator {
        name: said.name.clone(),
        address: said.address.clone(),
        contact: said.contact.clone(),
        law: said.law.clone(),
        court: said.court.clone(),
        sub_processors: sub_processors.collect::<anyhow::Result<_>>()?,
    })
}

/// Which gateway text messages go through.
fn sms(config: &Config) -> anyhow::Result<Option<SmsConfig>> {
    let sms = &config.sms;
    if sms.url.is_empty() {
        return Ok(None);
    }
    let form = match sms.form.as_str() {
        "json" => SmsForm::Json,
        "form" => SmsForm::Form,
        _ => anyhow::bail!("sms.form: expected `json` or `form`"),
    };
    let authorization = Some(&sms.authorization).filter(|text| !text.is_empty());
    Ok(Some(SmsConfig {
        provider: sms.provider.clone(),
        url: sms.url.clone(),
        authorization: authorization.map(|text| Secret::new(text.clone())),
        form,
        sender: sms.sender.clone(),
        fields: [&sms.number_field, &sms.text_field, &sms.sender_field].map(Clone::clone),
        authorities_pem: outbound(config)?.authorities_pem,
    }))
}

/// What the operator allows of calls to addresses that tenants choose.
fn outbound(config: &Config) -> anyhow::Result<Outbound> {
    let allowed_networks = AddressList::parse(&config.outbound.allowed_networks)
        .map_err(|error| anyhow::anyhow!("outbound.allowed_networks: {error}"))?;
    let authorities = config.outbound.authorities.as_deref();
    let authorities_pem = authorities.map(|path| {
        std::fs::read_to_string(path)
            .with_context(|| format!("outbound.authorities: cannot read {}", path.display()))
    });
    Ok(Outbound {
        allowed_networks,
        ports: config.outbound.ports.clone(),
        authorities_pem: authorities_pem.transpose()?,
    })
}

/// How checkpoints of ledgers are published.
fn publish(config: &Config) -> anyhow::Result<PublishConfig> {
    let (witness, timestamp) = (&config.witness, &config.timestamp);
    let read = |key: &str, path: &Path| {
        std::fs::read_to_string(path)
            .with_context(|| format!("{key}: cannot read {}", path.display()))
    };
    let maybe = |key: &str, path: Option<&Path>| path.map(|path| read(key, path)).transpose();
    let stamps = if timestamp.url.is_empty() {
        None
    } else {
        let authorities = timestamp.authorities.as_deref();
        let authorities = authorities.context(
            "timestamp.authorities: name a PEM file with the certificates that the time stamps \
             have to come from",
        )?;
        Some(StampConfig {
            url: timestamp.url.clone(),
            authorities_pem: read("timestamp.authorities", authorities)?,
            tls_authorities_pem: maybe(
                "timestamp.tls_authorities",
                timestamp.tls_authorities.as_deref(),
            )?,
            interval: Duration::from_secs(timestamp.interval_hours.clamp(1, 8760) * 3600),
        })
    };
    Ok(PublishConfig {
        policy: maybe("witness.policy", witness.policy.as_deref())?,
        witness_authorities_pem: maybe("witness.authorities", witness.authorities.as_deref())?,
        interval: Duration::from_secs(witness.interval_seconds.clamp(1, 86_400)),
        every_log: witness.every_log,
        stamps,
    })
}

/// Which authority certificates of host names are fetched from.
fn acme(config: &Config) -> anyhow::Result<Option<AcmeConfig>> {
    let acme = &config.acme;
    if acme.directory.is_empty() {
        return Ok(None);
    }
    anyhow::ensure!(
        acme.terms_agreed,
        "acme.terms_agreed: read the terms of service of the authority at acme.directory, and set \
         it to true if you agree; without it leave acme.directory empty"
    );
    anyhow::ensure!(
        acme.contact.is_empty() || acme.contact.split('@').count() == 2,
        "acme.contact: expected a mail address such as operator@example.com, or nothing"
    );
    let authorities_pem = acme.ca_file.as_deref().map(|path| {
        std::fs::read_to_string(path)
            .with_context(|| format!("acme.ca_file: cannot read {}", path.display()))
    });
    Ok(Some(AcmeConfig {
        directory: acme.directory.clone(),
        contact: (!acme.contact.is_empty()).then(|| acme.contact.clone()),
        authorities_pem: authorities_pem.transpose()?,
    }))
}

/// The bucket that segments of readings are kept in; none: the data directory.
pub(crate) fn segments(config: &Config) -> anyhow::Result<Option<BucketConfig>> {
    let objects = &config.objects;
    if objects.url == "file:" {
        return Ok(None);
    }
    let rest = objects.url.strip_prefix("s3://");
    let (name, front) = rest.map_or(("", ""), |rest| rest.split_once('/').unwrap_or((rest, "")));
    anyhow::ensure!(
        !name.is_empty() && !front.trim_matches('/').is_empty(),
        "objects.url: must be `file:` or s3://BUCKET/FRONT"
    );
    anyhow::ensure!(
        !objects.s3_access_key_id.is_empty() && !objects.s3_secret_access_key.is_empty(),
        "objects.s3_access_key_id: a bucket needs it, and objects.s3_secret_access_key"
    );
    Ok(Some(BucketConfig {
        name: name.to_owned(),
        front: front.to_owned(),
        endpoint: objects.s3_endpoint.clone(),
        region: objects.s3_region.clone(),
        access_key_id: objects.s3_access_key_id.clone(),
        secret_access_key: Secret::new(objects.s3_secret_access_key.clone()),
    }))
}

/// Where the log is shipped to.
pub(crate) fn shipping(config: &Config) -> anyhow::Result<Option<ShipConfig>> {
    let backup = &config.backup;
    if backup.ship_url.is_empty() {
        return Ok(None);
    }
    let is_known = ["file:///", "s3://"].iter().any(|front| backup.ship_url.starts_with(front));
    anyhow::ensure!(is_known, "backup.ship_url: must be file:///FOLDER or s3://BUCKET/FRONT");
    let seconds = |name: &str, value: u64, most: u64| {
        anyhow::ensure!((1..=most).contains(&value), "backup.{name}: must be 1 to {most}");
        Ok(Duration::from_secs(value))
    };
    let days = backup.kept_days;
    anyhow::ensure!((1..=3650).contains(&days), "backup.kept_days: must be 1 to 3650");
    Ok(Some(ShipConfig {
        url: backup.ship_url.clone(),
        s3: S3Access {
            endpoint: backup.s3_endpoint.clone(),
            region: backup.s3_region.clone(),
            access_key_id: backup.s3_access_key_id.clone(),
            secret_access_key: Secret::new(backup.s3_secret_access_key.clone()),
        },
        interval: seconds("ship_seconds", backup.ship_seconds, 3600)?,
        records_interval: seconds("records_seconds", backup.records_seconds, 86_400)?,
        kept: Duration::from_secs(days * 86_400),
        log_hold_bytes_max: backup.log_hold_bytes_max,
    }))
}

/// The operator's location file; the demo's is made up, for networks of documents.
fn geo_database(config: &Config, data: &Path, demo: bool) -> anyhow::Result<Option<PathBuf>> {
    if let Some(path) = &config.geo.database {
        anyhow::ensure!(path.is_file(), "geo.database: there is no file {}", path.display());
        return Ok(Some(path.clone()));
    }
    if !demo {
        return Ok(None);
    }
    let path = data.join("demo-locations.mmdb");
    let sample = veritwin_simulator::geo::sample();
    write_private(&path, &veritwin_simulator::geo::database(&sample))?;
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn segments_are_in_the_directory_or_in_a_named_place_of_a_bucket() {
        let check = |url: &str, key: &str, expect: Result<Option<(&str, &str)>, &str>| {
            let mut config = Config::default();
            config.objects.url = url.to_owned();
            config.objects.s3_access_key_id = key.to_owned();
            config.objects.s3_secret_access_key = "secret".to_owned();
            match (segments(&config), expect) {
                (Ok(found), Ok(expect)) => {
                    let found = found.as_ref().map(|one| (one.name.as_str(), one.front.as_str()));
                    assert_eq!(found, expect, "{url}");
                }
                (Err(error), Err(expect)) => {
                    let error = error.to_string();
                    assert!(error.contains(expect), "{error}");
                }
                (found, expect) => panic!("{url}: {found:?}, expected {expect:?}"),
            }
        };
        check("file:", "", Ok(None));
        check("s3://bucket/a/b", "key", Ok(Some(("bucket", "a/b"))));
        check("s3://bucket/a", "", Err("objects.s3_access_key_id"));
        for url in ["", "s3://", "s3://bucket", "s3://bucket/", "s3:///front", "https://host/a"] {
            check(url, "key", Err("s3://BUCKET/FRONT"));
        }
    }

    #[test]
    fn a_passphrase_has_one_source() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("passphrase");
        std::fs::write(&path, "correct horse battery\n").expect("written");
        let read = |file: Option<&Path>, keyring: Option<&str>| {
            let mut config = Config::default();
            config.keys.passphrase_file = file.map(Path::to_owned);
            config.keys.passphrase_keyring = keyring.map(str::to_owned);
            root_passphrase(&config).map_err(|error| format!("{error:#}"))
        };
        let mode = |mode: u32| {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("mode");
        };
        mode(0o600);
        assert!(read(None, None).expect("nothing is configured").is_none());
        assert!(read(Some(&path), None).expect("read").is_some());
        let check = |file: Option<&Path>, keyring: Option<&str>, expect: &str| {
            let error = read(file, keyring).expect_err("refused");
            assert!(error.contains(expect) && !error.contains("horse"), "{error}");
        };
        check(Some(&path), Some("veritwin"), "only one of it and keys.passphrase_file");
        check(Some(&folder.path().join("missing")), None, "missing: it cannot be read: No such");
        check(None, Some(""), "keys.passphrase_keyring: expected the description of a key");
        check(None, Some("correct horse\n"), "expected the description of a key");
        mode(0o640);
        check(Some(&path), None, "mode is 0640");
    }
}
