//! Ids in bodies and queries: every field of the interface that sounds like an id is asked about
//! with another tenant's and with one that never was, and nobody can tell the answers apart. A new
//! field without a case fails.

use std::collections::BTreeSet;

use super::*;
use crate::openapi::body_fields;

/// Fields with an id that is none of another tenant's, with why. A field without a path is so
/// wherever it stands; one of a query begins with `?`.
const NO_TENANT_ID: [(&str, &str); 21] = [
    ("node_id", "a part of the building that is named beside it"),
    ("element_id", "the same"),
    ("space_id", "the same"),
    ("client_id", "a name that somebody chose"),
    ("plan_id", "plans are the platform's"),
    ("?plan_id", "the same"),
    ("POST /v1/account/password id", "a passkey of one's own browser"),
    ("POST /v1/session id", "the same"),
    ("POST /v1/session/confirm id", "the same"),
    ("POST /v1/contact/done id", "what one's own browser has just been told"),
    ("PUT /v1/keys/imports id", "an import of one's own tenant, which has one at a time"),
    ("POST /v1/requests/form/confirm id", "asked with a code that was mailed"),
    ("POST /v1/requests/form/copy id", "the same"),
    ("POST /v1/support-desk/break-glass tenant_id", "asked by the platform's own staff alone"),
    ("POST /v1/support-desk/session tenant_id", "the same"),
    ("POST /v1/breaches/{id}/notices tenant_ids", "of customers below: the tree says who they are"),
    ("POST /v1/device-authorities group_id", "settings as those of a change, behind a proof"),
    ("POST /v1/devices/import ?twin_id", "asked with the ids in queries"),
    ("GET /v1/ledger/lookup ?device_id", "asked with the ledger"),
    ("GET /v1/ledger/papers ?device_id", "the same"),
    ("GET /v1/ledger/evidence ?device_id", "the same"),
];

fn is_id(name: &str) -> bool {
    name == "id" || name == "ids" || name.ends_with("_id") || name.ends_with("_ids")
}

/// Every operation with such a field: method, path, field.
fn asked_with_ids(platform: &Platform) -> BTreeSet<(String, String, String)> {
    let document = platform.http().get("/v1/openapi.json").send().expect(200);
    let mut found = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let mut names = body_fields(&document, operation);
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if parameter["in"] == "query" {
                    names.push(format!("?{}", parameter["name"].as_str().unwrap()));
                }
            }
            for name in names.into_iter().filter(|name| is_id(name.trim_start_matches('?'))) {
                found.insert((method.to_ascii_uppercase(), path.clone(), name));
            }
        }
    }
    found
}

/// A part of a tenant by the field that names it.
fn scope(field: &str, ids: &Ids) -> Option<Value> {
    Some(match field {
        "group_id" => json!({"group_id": ids.access.group}),
        "twin_id" => json!({"twin_id": ids.twin}),
        "workspace_id" => json!({"workspace_id": ids.access.workspace}),
        _ => return None,
    })
}

fn of_access(path: &str, field: &str, (ids, own): (&Ids, &Ids)) -> Option<Value> {
    let mut body = match path {
        "/v1/api-keys" => json!({"name": "x", "role": "viewer"}),
        "/v1/users" => json!({"email": "nobody@ids.example", "role": "viewer"}),
        "/v1/grants" => json!({"user_id": own.user, "role": "viewer"}),
        _ => return None,
    };
    match field {
        "user_id" => body["user_id"] = json!(ids.user),
        "api_key_id" => body = json!({"api_key_id": ids.api_key, "role": "viewer"}),
        "custom_role_id" => {
            body["custom_role_id"] = json!(ids.access.role);
            body.as_object_mut()?.remove("role");
        }
        field => body["scope"] = scope(field, ids)?,
    }
    Some(body)
}

fn of_routing(path: &str, field: &str, (ids, own): (&Ids, &Ids)) -> Option<Value> {
    Some(match (path, field) {
        ("/v1/route-destinations" | "/v1/route-destinations/{id}", "user_ids") => json!({
            "name": "m", "kind": "mail", "recipient": "r", "purpose": "p", "instructed": true,
            "user_ids": [ids.user],
        }),
        ("/v1/route-messages/replay", "destination_id") => {
            json!({"destination_id": ids.access.route_destination})
        }
        ("/v1/route-messages/replay", "rule_id") => json!({"rule_id": ids.access.route_rule}),
        ("/v1/route-rules" | "/v1/route-rules/{id}", field) => {
            let mut matches = json!({"kind": "readings"});
            let mut places = json!([own.access.route_destination]);
            match field {
                "destination_ids" => places = json!([ids.access.route_destination]),
                "device_ids" => matches["device_ids"] = json!([ids.device]),
                "group_ids" => matches["group_ids"] = json!([ids.access.group]),
                "twin_id" => matches["twin_id"] = json!(ids.twin),
                _ => return None,
            }
            json!({"name": "r", "matches": matches, "destination_ids": places})
        }
        _ => return None,
    })
}

fn of_devices(path: &str, field: &str, (ids, own): (&Ids, &Ids)) -> Option<Value> {
    let series = json!([{"device_id": ids.device, "key": "t"}]);
    Some(match (path, field) {
        ("/v1/devices", "twin_id") => json!({"name": "x", "twin_id": ids.twin}),
        ("/v1/devices/{id}", "gateway_id") => json!({"gateway_id": ids.device}),
        ("/v1/devices/{id}/credentials", "authority_id") => {
            json!({"kind": "x509", "authority_id": ids.access.authority, "common_name": "c"})
        }
        ("/v1/devices/{id}/credentials", "id") => {
            json!({"replaces": {"id": ids.credential, "until": "2199-01-01T00:00:00Z"}})
        }
        ("/v1/device-authorities/{id}", "group_id") => {
            json!({"name": "a", "group_id": ids.access.group})
        }
        ("/v1/provision-profiles", "group_id") => json!({
            "name": "x", "strategy": "create_new", "devices_max": 1, "group_id": ids.access.group,
        }),
        ("/v1/collection-zones" | "/v1/collection-zones/{id}", "output_device_id") => {
            zone(&ids.device)
        }
        ("/v1/collection-zones" | "/v1/collection-zones/{id}", "device_ids") => {
            let mut zone = zone(&own.device);
            zone["device_ids"] = json!([ids.device]);
            zone
        }
        ("/v1/groups" | "/v1/groups/{id}", "workspace_id") => {
            json!({"name": "x", "workspace_id": ids.access.workspace})
        }
        ("/v1/packages/{id}/devices" | "/v1/packages/{id}/release", "group_id") => {
            json!({"group_id": ids.access.group})
        }
        ("/v1/groups" | "/v1/groups/{id}", "device_ids") => {
            json!({"name": "x", "device_ids": [ids.device]})
        }
        ("/v1/workspaces" | "/v1/workspaces/{id}", "twin_ids") => {
            json!({"name": "x", "twin_ids": [ids.twin]})
        }
        ("/v1/telemetry/latest", "twin_id") => json!({"twin_id": ids.twin}),
        ("/v1/telemetry/query", "device_id") => json!({
            "series": series, "from": "2026-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z",
        }),
        ("/v1/telemetry/stats", "device_id") => json!({"series": series}),
        ("/v1/stream-declarations", "device_id") => {
            json!({"targets": [{"device_id": ids.device}], "declaration": "non_personal"})
        }
        ("/v1/rules" | "/v1/rules/{id}", field) => {
            let scope = match field {
                "device_id" => json!({"device_id": ids.device}),
                _ => json!({"twin_id": ids.twin}),
            };
            let condition = json!({"kind": "no_data", "after_seconds": 600});
            json!({"name": "r", "severity": "low", "condition": condition, "scope": scope})
        }
        (_, "device_ids") => json!({"device_ids": [ids.device]}),
        _ => return None,
    })
}

fn of_others(path: &str, field: &str, ids: &Ids) -> Option<Value> {
    Some(match (path, field) {
        ("/v1/alerts/acknowledge", "ids") => json!({"ids": [ids.alert]}),
        ("/v1/destructions" | "/v1/destructions/preview", "device_id") => json!({
            "scope": {"kind": "device", "device_id": ids.device}, "reason": "r", "confirm": "c",
        }),
        ("/v1/ledger/evidence", "device_id") => json!({"device_id": ids.device}),
        ("/v1/ledger/mailings", "user_id") => json!({"user_id": ids.user, "every": "day"}),
        ("/v1/ledger/mailings", "destination_id") => mailed_to(ids),
        ("/v1/requests", "user_id") => json!({"kind": "access", "user_id": ids.user}),
        ("/v1/retention", "profile_id") => {
            let rule = json!({"profile_id": ids.access.device_profile, "key": "a", "days": 3});
            json!({"readings_days": null, "figures_days": null, "rules": [rule]})
        }
        ("/v1/session/leave" | "/v1/session/tenants", "tenant_id") => {
            json!({"tenant_id": ids.own})
        }
        _ => return None,
    })
}

/// A question with an id of these in a field of a query.
fn queried(path: &str, field: &str, (ids, own): (&Ids, &Ids)) -> Option<String> {
    let id = match field {
        "api_key_id" => &ids.api_key,
        "device_id" | "ids" => &ids.device,
        "twin_id" => &ids.twin,
        "user_id" => &ids.user,
        "destination_id" => &ids.access.route_destination,
        "rule_id" => &ids.access.route_rule,
        _ => return None,
    };
    let more = match (path, field) {
        ("/v1/access/explain", "user_id" | "api_key_id") => "&action=device.read".to_owned(),
        ("/v1/access/explain", _) => format!("&action=device.read&user_id={}", own.user),
        ("/v1/alerts", _) => "&filter=all".to_owned(),
        _ => String::new(),
    };
    Some(format!("{path}?{field}={id}{more}"))
}

/// What is said without the ids that were asked with.
fn blank(text: &str, ids: &Ids) -> String {
    let access = &ids.access;
    let all = [
        &ids.device,
        &ids.credential,
        &ids.twin,
        &ids.alert,
        &ids.user,
        &ids.api_key,
        &ids.own,
        &access.role,
        &access.group,
        &access.workspace,
        &access.authority,
        &access.device_profile,
        &access.route_destination,
        &access.route_rule,
    ];
    all.into_iter().fold(text.to_owned(), |text, id| text.replace(id.as_str(), "ID"))
}

#[test]
fn ids_in_bodies_and_queries_are_ids_that_never_were() {
    let platform = Platform::shared();
    let (owned, caller) = (Owned::new(platform), Owned::new(platform));
    let before = owned.state();
    let (theirs, never, own) = (owned.ids(), owned.absent(), caller.ids());
    let mut walked = 0;
    for (method, path, field) in asked_with_ids(platform) {
        let whole = format!("{method} {path} {field}");
        if NO_TENANT_ID.iter().any(|(known, _)| *known == field || *known == whole) {
            continue;
        }
        let ask = |ids: &Ids| {
            let missing = || format!("no case for {whole}: add one");
            let both = (ids, &own);
            if let Some(field) = field.strip_prefix('?') {
                let path = queried(&path, field, both).unwrap_or_else(|| panic!("{}", missing()));
                return caller.tenant.person(&method, &path).send();
            }
            let body = of_access(&path, &field, both)
                .or_else(|| of_routing(&path, &field, both))
                .or_else(|| of_others(&path, &field, ids))
                .or_else(|| of_devices(&path, &field, both))
                .unwrap_or_else(|| panic!("{}", missing()));
            // Everything else in it is the caller's own.
            let filled = match path.contains('{') {
                true => own.fill(&path).unwrap_or_else(|| panic!("{}", missing())),
                false => path.clone(),
            };
            let request = caller.tenant.person(&method, &filled);
            let request = match path.as_str() {
                "/v1/retention" => request.header("if-match", "\"0\""),
                _ => request,
            };
            request.json(&body).send()
        };
        let (foreign, absent) = (ask(&theirs), ask(&never));
        assert_eq!(foreign.status, absent.status, "{whole}: {}", foreign.text());
        let said = (blank(&foreign.text(), &theirs), blank(&absent.text(), &never));
        assert_eq!(said.0, said.1, "{whole}");
        // Nothing was made of it, and nobody was kept out before it was looked at.
        assert!(foreign.status != 201 && foreign.status != 204, "{whole}: {}", foreign.text());
        assert!(foreign.status != 401 && foreign.status < 500, "{whole}: {}", foreign.text());
        walked += 1;
    }
    assert!(walked >= 60, "{walked} fields with ids");
    assert_eq!(owned.state(), before, "nothing of the other tenant changed");
}
