//! What doctor says about balancers in front of the listeners: who may say where a client is, and
//! how. Nothing is connected to.

use super::Finding;
use crate::config::Config;
use crate::guard::Proxies;

const CHECK: &str = "balancers";

/// What the configuration of `[proxies]` means.
pub(super) fn proxies(config: &Config) -> Finding {
    let proxies = &config.proxies;
    if let Err(error) = Proxies::new(config) {
        return Finding::error(
            CHECK,
            format!("{error:#}"),
            "the platform does not start with this",
        );
    }
    if proxies.networks.is_empty() {
        return Finding::ok(
            CHECK,
            "none: the address of a connection counts, and X-Forwarded-For and Forwarded are not \
             looked at; behind a balancer all clients would count as one (set proxies.networks)",
        );
    }
    let networks = proxies.networks.join(", ");
    let everywhere = proxies.networks.iter().any(|one| one.ends_with("/0"));
    if everywhere {
        let advice = "list the balancers' own addresses in proxies.networks";
        let finding = format!("{networks}: anybody may say to be anywhere");
        return Finding::error(CHECK, finding, advice);
    }
    let header = match proxies.header.as_str() {
        "" => "no header is believed".to_owned(),
        header => {
            format!("{header} is believed from them, the last hop that is none of them counts")
        }
    };
    let speaks = match (proxies.http_protocol, proxies.mqtt_protocol) {
        (false, false) => "no listener takes the PROXY protocol",
        (true, false) => "HTTPS begins with the PROXY protocol from them",
        (false, true) => "MQTT begins with the PROXY protocol from them",
        (true, true) => "HTTPS and MQTT begin with the PROXY protocol from them",
    };
    let finding = format!("{networks}: {header}; {speaks}");
    if !proxies.mqtt_protocol {
        let advice = "if a balancer forwards MQTT too, let it speak PROXY and set \
                      proxies.mqtt_protocol: otherwise all its devices count as one address";
        return Finding::warning(CHECK, finding, advice);
    }
    Finding::ok(CHECK, finding)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn what_is_believed_is_said() {
        let check = |networks: &[&str], mqtt: bool, level: Level, part: &str| {
            let mut config = Config::default();
            config.proxies.networks = networks.iter().map(|one| (*one).to_owned()).collect();
            config.proxies.mqtt_protocol = mqtt;
            let found = proxies(&config);
            assert_eq!(found.level, level, "{}", found.finding);
            assert!(found.finding.contains(part), "{}", found.finding);
        };
        check(&[], false, Level::Ok, "set proxies.networks");
        check(&[], true, Level::Error, "need proxies.networks");
        check(&["10.0.0.1/8"], false, Level::Error, "did you mean 10.0.0.0/8");
        check(&["0.0.0.0/0"], false, Level::Error, "anybody");
        check(&["10.0.0.0/8"], false, Level::Warning, "x-forwarded-for is believed");
        check(&["10.0.0.0/8"], true, Level::Ok, "MQTT begins with the PROXY protocol");
    }
}
