//! Where the pages are for the people of a tenant: at its own host name, or that of the nearest
//! partner above, as soon as a certificate makes it usable. Links lead there.

use veritwin_domain::{PlatformContext, TenantId};

use crate::provision::PLATFORM_TENANT;
use crate::{App, Result};

impl App {
    /// The address of the pages for a tenant's people; `pages` is the platform's own.
    pub(crate) async fn pages_of(
        &self,
        platform: &PlatformContext,
        tenant: TenantId,
        pages: &str,
    ) -> Result<String> {
        let above: Vec<(TenantId, Vec<String>)> = {
            let tree = self.0.tree.read();
            let own = tree.upwards(tenant).filter(|id| *id != PLATFORM_TENANT);
            own.map(|id| (id, tree.hosts_of(id))).filter(|(_, hosts)| !hosts.is_empty()).collect()
        };
        if above.is_empty() {
            return Ok(pages.to_owned());
        }
        let tx = self.0.store.read_platform(platform).await?;
        for (tenant, hosts) in above {
            let certified = tx.hosts_certified(tenant, platform.at).await?;
            if let Some(host) = hosts.into_iter().find(|host| certified.contains(host)) {
                return Ok(at_host(pages, &host));
            }
        }
        Ok(pages.to_owned())
    }
}

/// The address at another host name: the port is the same.
fn at_host(pages: &str, host: &str) -> String {
    let (scheme, rest) = pages.split_once("://").unwrap_or(("https", pages));
    // An IPv6 address has colons of its own, in brackets.
    let port = rest.rsplit_once(':').map(|(_, port)| port);
    let port = port.filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    port.map_or_else(|| format!("{scheme}://{host}"), |port| format!("{scheme}://{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_host_name_keeps_the_port() {
        let check = |pages: &str, expect: &str| {
            assert_eq!(at_host(pages, "twin.example.com"), expect, "{pages}");
        };
        check("https://localhost:8443", "https://twin.example.com:8443");
        check("https://platform.example", "https://twin.example.com");
        check("https://[::1]:8443", "https://twin.example.com:8443");
        check("https://[2001:db8::1]", "https://twin.example.com");
    }
}
