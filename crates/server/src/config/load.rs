//! Reads the file and the environment into one table, refuses unknown keys, then types it.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::Config;

/// Longest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;
const ENV_PREFIX: &str = "VERITWIN__";

/// Why a configuration is refused. The text says where and what would be right; it never holds a
/// configured value, since that may be a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large.
    #[error("configuration {0} is larger than {FILE_BYTES_MAX} bytes")]
    Size(PathBuf),
    /// The text is not TOML.
    #[error("{path}: line {line}: not valid TOML: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// A key that does not exist.
    #[error("unknown key `{key}`{}", match nearest { Some(n) => format!("; did you mean `{n}`?"), None => String::new() })]
    UnknownKey {
        /// As written: `section.key` or the environment variable.
        key: String,
        /// The nearest known key.
        nearest: Option<String>,
    },
    /// A value of the wrong type.
    #[error("configuration: {0}")]
    Type(String),
}

/// The keys that are options or secrets and so do not show in the serialised default.
const OPTIONAL_KEYS: [(&str, &str); 17] = [
    ("backup", "s3_secret_access_key"),
    ("objects", "s3_secret_access_key"),
    ("tls", "certificate"),
    ("tls", "private_key"),
    ("keys", "root_dir"),
    ("keys", "passphrase_file"),
    ("keys", "passphrase_keyring"),
    ("smtp", "password"),
    ("sms", "authorization"),
    ("geo", "database"),
    ("outbound", "authorities"),
    ("acme", "ca_file"),
    ("archive", "certificate"),
    ("witness", "policy"),
    ("witness", "authorities"),
    ("timestamp", "authorities"),
    ("timestamp", "tls_authorities"),
];

fn known_keys() -> Vec<(String, String)> {
    let mut keys: Vec<(String, String)> =
        OPTIONAL_KEYS.iter().map(|(s, k)| ((*s).to_owned(), (*k).to_owned())).collect();
    if let Ok(Value::Table(sections)) = Value::try_from(Config::default()) {
        for (section, values) in &sections {
            for key in values.as_table().into_iter().flat_map(Table::keys) {
                keys.push((section.clone(), key.clone()));
            }
        }
    }
    keys
}

fn unknown(written: String, comparable: &str, known: &[(String, String)]) -> ConfigError {
    let nearest = known
        .iter()
        .map(|(section, key)| format!("{section}.{key}"))
        .map(|name| (strsim::damerau_levenshtein(&name, comparable), name))
        .min()
        .filter(|(distance, _)| *distance <= 8)
        .map(|(_, name)| name);
    ConfigError::UnknownKey { key: written, nearest }
}

fn read_bounded(path: &Path) -> Result<String, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(read)?.len() > FILE_BYTES_MAX {
        return Err(ConfigError::Size(path.to_owned()));
    }
    std::fs::read_to_string(path).map_err(read)
}

fn parse_file(path: &Path, known: &[(String, String)]) -> Result<Table, ConfigError> {
    let text = read_bounded(path)?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let offset = error.span().map_or(0, |span| span.start.min(text.len()));
        ConfigError::Syntax {
            path: path.to_owned(),
            line: text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1,
            message: error.message().to_owned(),
        }
    })?;
    for (section, values) in &table {
        let Some(values) = values.as_table() else {
            return Err(unknown(section.clone(), section, known));
        };
        for key in values.keys() {
            if !known.iter().any(|(s, k)| s == section && k == key) {
                let written = format!("{section}.{key}");
                return Err(unknown(written.clone(), &written, known));
            }
        }
    }
    Ok(table)
}

fn env_value(raw: &str, default: Option<&Value>) -> Value {
    match default {
        Some(Value::Integer(_)) => {
            raw.parse().map_or_else(|_| Value::String(raw.to_owned()), Value::Integer)
        }
        Some(Value::Boolean(_)) => {
            raw.parse().map_or_else(|_| Value::String(raw.to_owned()), Value::Boolean)
        }
        Some(Value::Array(defaults)) => Value::Array(
            raw.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| env_value(part, defaults.first()))
                .collect(),
        ),
        _ => Value::String(raw.to_owned()),
    }
}

fn apply_env(
    table: &mut Table,
    env: impl Iterator<Item = (String, String)>,
    known: &[(String, String)],
) -> Result<(), ConfigError> {
    let defaults =
        Value::try_from(Config::default()).map_err(|e| ConfigError::Type(e.to_string()))?;
    for (name, raw) in env {
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else { continue };
        let Some((section, key)) = rest.split_once("__") else {
            return Err(unknown(name.clone(), &rest.to_lowercase(), known));
        };
        let (section, mut key) = (section.to_lowercase(), key.to_lowercase());
        let mut value = raw;
        let is_known = |key: &str| known.iter().any(|(s, k)| *s == section && k == key);
        if !is_known(&key)
            && let Some(plain) = key.strip_suffix("_file").map(str::to_owned)
            && is_known(&plain)
        {
            value = read_bounded(Path::new(&value))?.trim_end_matches(['\r', '\n']).to_owned();
            key = plain;
        }
        if !is_known(&key) {
            return Err(unknown(name.clone(), &format!("{section}.{key}"), known));
        }
        let default = defaults.get(&section).and_then(|values| values.get(&key));
        let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if let Some(values) = entry.as_table_mut() {
            values.insert(key, env_value(&value, default));
        }
    }
    Ok(())
}

/// Values of the wrong type are named by their key: the parser's own words would show the value.
fn check_types(table: &Table) -> Result<(), ConfigError> {
    let defaults =
        Value::try_from(Config::default()).map_err(|e| ConfigError::Type(e.to_string()))?;
    for (section, values) in table {
        for (key, value) in values.as_table().into_iter().flatten() {
            let default = defaults.get(section).and_then(|values| values.get(key));
            let expected = default.map_or("string", Value::type_str);
            if value.type_str() != expected {
                let found = value.type_str();
                let detail = format!("{section}.{key} must be of type {expected}, got {found}");
                return Err(ConfigError::Type(detail));
            }
        }
    }
    Ok(())
}

/// Loads the configuration: defaults, then `file`, then the environment.
pub(crate) fn load(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let known = known_keys();
    let mut table = match file {
        Some(path) => parse_file(path, &known)?,
        None => Table::new(),
    };
    apply_env(&mut table, env, &known)?;
    check_types(&table)?;
    table.try_into().map_err(|error: toml::de::Error| ConfigError::Type(error.message().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_env(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        load(None, pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn environment_overrides_and_secret_files() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let secret = dir.path().join("password");
        std::fs::write(&secret, "correct horse\n").expect("write");
        let config = from_env(&[
            ("VERITWIN__HTTP__PORT", "0"),
            ("VERITWIN__HTTP__EXTRA_NAMES", "a.example, b.example"),
            ("VERITWIN__SMTP__PASSWORD_FILE", secret.to_str().expect("path")),
            ("UNRELATED", "x"),
        ])
        .expect("valid");
        assert_eq!(config.http.port, 0);
        assert_eq!(config.http.extra_names, ["a.example", "b.example"]);
        assert_eq!(config.smtp.password, "correct horse");
        let config =
            from_env(&[("VERITWIN__KEYS__PASSPHRASE_KEYRING", "veritwin")]).expect("valid");
        assert_eq!(config.keys.passphrase_keyring.as_deref(), Some("veritwin"));
        assert_eq!(config.keys.passphrase_file, None);
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let check = |name: &str, nearest: &str| {
            let error = from_env(&[(name, "1")]).expect_err(name).to_string();
            assert!(error.contains(nearest), "{error}");
        };
        check("VERITWIN__HTTP__PROT", "http.port");
        check("VERITWIN__MQTT__PACKETBYTESMAX", "mqtt.packet_bytes_max");
        let dir = tempfile::tempdir().expect("temporary folder");
        let file = dir.path().join("veritwin.toml");
        std::fs::write(&file, "[htttp]\nport = 1\n").expect("write");
        let error = load(Some(&file), std::iter::empty()).expect_err("unknown section");
        assert!(error.to_string().contains("http.port"), "{error}");
        std::fs::write(&file, "[http]\nport = \n").expect("write");
        let error = load(Some(&file), std::iter::empty()).expect_err("syntax");
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    #[test]
    fn wrong_types_do_not_show_the_value() {
        let error = from_env(&[("VERITWIN__HTTP__PORT", "hunter2")]).expect_err("type");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
