//! What a device asks that comes in by itself, and what it is answered: the JSON of ThingsBoard's
//! provisioning, over MQTT and HTTP alike. Nothing the device wrote is quoted in an error.

use serde::Deserialize;
use serde_json::json;
use veritwin_domain::{ProvisionAnswer, ProvisionCredential, ProvisionRequest, Secret};

use crate::traits::LoginError;

/// Largest request, in bytes: a certificate in PEM fits.
pub const PROVISION_BYTES_MAX: usize = 48 * 1024;

const FORM: &str = "expected a JSON object with deviceName, provisionDeviceKey, \
                    provisionDeviceSecret and, if wanted, credentialsType (ACCESS_TOKEN, \
                    MQTT_BASIC or X509_CERTIFICATE), token, clientId, username, password and hash";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    device_name: String,
    provision_device_key: String,
    provision_device_secret: String,
    credentials_type: Option<String>,
    token: Option<String>,
    client_id: Option<String>,
    username: Option<String>,
    password: Option<String>,
    hash: Option<String>,
}

/// Reads a request; the text of an error is for the device.
pub(crate) fn parse(bytes: &[u8]) -> Result<ProvisionRequest, String> {
    if bytes.len() > PROVISION_BYTES_MAX {
        let max = PROVISION_BYTES_MAX;
        return Err(format!("limit provision_bytes_max exceeded: at most {max} bytes"));
    }
    let wire: Wire = serde_json::from_slice(bytes).map_err(|_| FORM.to_owned())?;
    let credential = match wire.credentials_type.as_deref() {
        None | Some("ACCESS_TOKEN") => ProvisionCredential::Token(wire.token.map(Secret::new)),
        Some("MQTT_BASIC") => ProvisionCredential::Basic {
            client_id: wire.client_id,
            user: wire.username,
            password: wire.password.map(Secret::new),
        },
        Some("X509_CERTIFICATE") => {
            let hash = wire.hash.ok_or("X509_CERTIFICATE needs hash: the certificate in PEM")?;
            ProvisionCredential::Certificate(hash)
        }
        Some(_) => return Err(FORM.to_owned()),
    };
    Ok(ProvisionRequest {
        name: wire.device_name,
        key: Secret::new(wire.provision_device_key),
        secret: Secret::new(wire.provision_device_secret),
        credential,
    })
}

/// The answer to a device that is let in.
pub(crate) fn success(given: &ProvisionAnswer) -> String {
    let (kind, value) = match given {
        ProvisionAnswer::Token(token) => ("ACCESS_TOKEN", json!(token.expose())),
        ProvisionAnswer::Basic { client_id, user, password } => (
            "MQTT_BASIC",
            json!({"clientId": client_id, "userName": user, "password": password.expose()}),
        ),
        ProvisionAnswer::Certificate => ("X509_CERTIFICATE", json!(null)),
    };
    json!({"status": "SUCCESS", "credentialsType": kind, "credentialsValue": value}).to_string()
}

/// The answer to a device that is not.
pub(crate) fn failure(text: &str) -> String {
    json!({"status": "FAILURE", "errorMsg": text}).to_string()
}

/// The same, why.
pub(crate) fn refused(error: &LoginError) -> String {
    match error {
        LoginError::Unknown => failure("unknown provisioning key or secret"),
        other => failure(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_and_mistakes_quote_nothing() {
        let ask = |extra: &str| {
            format!(
                r#"{{"deviceName":"a","provisionDeviceKey":"k","provisionDeviceSecret":"s"{extra}}}"#
            )
        };
        let read = parse(ask("").as_bytes()).expect("a request");
        assert!(matches!(read.credential, ProvisionCredential::Token(None)));
        let basic = r#","credentialsType":"MQTT_BASIC","username":"u","password":"p""#;
        let read = parse(ask(basic).as_bytes()).expect("a request");
        assert!(matches!(read.credential, ProvisionCredential::Basic { user: Some(_), .. }));
        for bad in ["", "{}", "[]", &ask(r#","credentialsType":"x""#)] {
            assert!(parse(bad.as_bytes()).is_err_and(|text| text == FORM), "{bad}");
        }
        let no_hash = ask(r#","credentialsType":"X509_CERTIFICATE""#);
        assert!(parse(no_hash.as_bytes()).is_err_and(|text| text.contains("hash")));
        let large = parse(&vec![b' '; PROVISION_BYTES_MAX + 1]);
        assert!(large.is_err_and(|text| text.contains("provision_bytes_max")));
    }

    #[test]
    fn answers_have_their_form() {
        let token = ProvisionAnswer::Token(Secret::new("t".to_owned()));
        let expect = json!({"status": "SUCCESS", "credentialsType": "ACCESS_TOKEN", "credentialsValue": "t"});
        assert_eq!(success(&token), expect.to_string());
        assert_eq!(
            refused(&LoginError::Unknown),
            json!({"status": "FAILURE", "errorMsg": "unknown provisioning key or secret"})
                .to_string()
        );
    }
}
