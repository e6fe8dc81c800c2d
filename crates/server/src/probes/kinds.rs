//! Which kind of thing the parameters of paths name, for checks that ask for others' things.

/// The kind of thing that a parameter of a path names.
pub(super) fn kind(path: &str, parameter: &str) -> Option<&'static str> {
    let named = ["call", "credential", "device", "edge_key", "host"];
    let named = named.into_iter().find(|name| *name == parameter);
    if named.is_some() || parameter != "id" {
        return named;
    }
    let collection = path.strip_prefix("/v1/")?.split('/').next()?;
    let kinds = [
        ("alerts", "alert"),
        ("api-keys", "api_key"),
        ("destructions", "destruction"),
        ("device-authorities", "device_authority"),
        ("device-profiles", "device_profile"),
        ("breaches", "breach"),
        ("certificate-register", "registered_certificate"),
        ("controls", "control"),
        ("devices", "device"),
        ("frameworks", "framework"),
        ("governance", "governance"),
        ("holds", "hold"),
        ("imports", "import"),
        ("incidents", "incident"),
        ("invitations", "invitation"),
        ("ledger", "mailing"),
        ("opt-ins", "opt_in"),
        ("packages", "package"),
        ("policies", "policy"),
        ("provision-profiles", "provision_profile"),
        ("requests", "request"),
        ("route-destinations", "route_destination"),
        ("route-messages", "route_message"),
        ("route-rules", "route_rule"),
        ("risks", "risk"),
        ("rules", "rule"),
        ("tasks", "task"),
        ("tenants", "tenant"),
        ("security-alerts", "security_alert"),
        ("stream-declarations", "stream_act"),
        ("stream-rules", "stream_rule"),
        ("support-grants", "support_grant"),
        ("support-tickets", "ticket"),
        ("twins", "twin"),
        ("users", "user"),
        ("collection-zones", "zone"),
        ("register-entries", "register_entry"),
        ("roles", "role"),
        ("groups", "group"),
        ("workspaces", "workspace"),
        ("grants", "grant"),
    ];
    kinds.into_iter().find(|(name, _)| *name == collection).map(|(_, kind)| kind)
}
