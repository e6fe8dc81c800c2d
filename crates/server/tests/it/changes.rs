//! What the records say of changes of rights, names and certificates: before and after, given and
//! taken away told apart, nothing secret.

use serde_json::{Value, json};

use crate::certificates::{self, Person, administration, ask, partner};
use crate::harness::{Mode, Options, Platform};
use crate::tenant::Tenant;

/// The newest record of an action, as before and after.
fn newest(items: &Value) -> (Value, Value) {
    let record = &items["items"][0];
    (record["before"].clone(), record["after"].clone())
}

fn last(tenant: &Tenant, action: &str) -> (Value, Value) {
    newest(&tenant.get(&format!("/v1/activity?action={action}&limit=1")).expect(200))
}

#[test]
fn changes_of_rights_say_what_was_and_what_is() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let (user, _) = tenant.member("held", "viewer");
    let role = json!({"name": "Reader", "allows": ["activity.read"], "denies": []});
    let role = tenant.post("/v1/roles", &role).expect(201)["id"].as_str().unwrap().to_owned();
    let made = last(&tenant, "role.write");
    assert_eq!((&made.0, &made.1["allows"]), (&Value::Null, &json!(["activity.read"])));
    let wider = json!({"name": "Reader", "allows": ["activity.read", "user.list"], "denies": []});
    tenant.person("PUT", &format!("/v1/roles/{role}")).json(&wider).send().expect(200);
    let (before, after) = last(&tenant, "role.write");
    assert_eq!(before["allows"], json!(["activity.read"]));
    assert_eq!(after["allows"], json!(["activity.read", "user.list"]));

    let device = tenant.device("one");
    let group = json!({"name": "North", "device_ids": [device.id]});
    let group = tenant.post("/v1/groups", &group).expect(201)["id"].as_str().unwrap().to_owned();
    let (before, after) = last(&tenant, "group.write");
    assert_eq!((before, &after["devices_put_in"]), (Value::Null, &json!([device.id])));
    let emptied = json!({"name": "North", "device_ids": []});
    tenant.request("PUT", &format!("/v1/groups/{group}")).json(&emptied).send().expect(200);
    let (before, after) = last(&tenant, "group.write");
    assert_eq!(before["devices_taken_out"], json!([device.id]));
    assert_eq!((&before["devices"], &after["devices"]), (&json!(1), &json!(0)));

    let scope = json!({"group_id": group});
    let grant = json!({"user_id": user, "custom_role_id": role, "scope": scope});
    let grant = tenant.post("/v1/grants", &grant).expect(201)["id"].as_str().unwrap().to_owned();
    let (before, given) = last(&tenant, "grant.write");
    assert!(before.is_null(), "given: {before}");
    assert_eq!((&given["role"]["id"], &given["role"]["name"]), (&json!(role), &json!("Reader")));
    assert_eq!(given["holder"], format!("user:{user}"));
    assert_eq!(given["scope"], format!("group:{group}"));
    tenant.delete(&format!("/v1/grants/{grant}")).expect(204);
    let (taken, after) = last(&tenant, "grant.write");
    assert_eq!((taken, after), (given, Value::Null), "taken away");

    tenant.delete(&format!("/v1/roles/{role}")).expect(204);
    let (before, after) = last(&tenant, "role.write");
    assert_eq!((&before["name"], after), (&json!("Reader"), Value::Null));
    tenant.delete(&format!("/v1/groups/{group}")).expect(204);
    let (before, after) = last(&tenant, "group.write");
    assert_eq!((&before["name"], after), (&json!("North"), Value::Null));

    let off = json!({"second_factor_required": false});
    tenant.person("PUT", "/v1/tenants/sign-in").json(&off).send().expect(204);
    assert_eq!(last(&tenant, "tenant.update"), (off.clone(), off));
    // Whoever comes in by an invitation stands there with what it gave.
    let (_, after) = last(&tenant, "link.redeem");
    assert_eq!(
        (&after["role"], &after["holder"]),
        (&json!("viewer"), &json!(format!("user:{user}")))
    );
}

#[test]
fn changes_of_tenants_names_and_certificates_say_what_was_and_what_is() {
    let platform = Platform::start(Mode::Serve, Options::default());
    let root = administration(&platform);
    let north = partner(&platform, &root, "north");
    let send = |person: &Person, method: &str, path: &str, body: &Value| {
        ask(&platform, person, method, path, body)
    };
    let last = |person: &Person, action: &str| {
        let path = format!("/v1/activity?action={action}&limit=1");
        newest(&send(person, "GET", &path, &json!({})).expect(200))
    };
    let path = format!("/v1/tenants/{}", north.tenant);
    let (before, after) = last(&north, "tenant.update_below");
    assert_eq!(before, json!({"hosts": []}));
    assert_eq!(after, json!({"hosts": ["north.hosts.example"]}));
    let plan = json!({"name": "Small", "limits": {"devices": 10}});
    let plan = send(&root, "POST", "/v1/plans", &plan).expect(201)["id"].clone();
    let (before, after) = last(&root, "plan.write");
    assert_eq!((before, &after["devices"]), (Value::Null, &json!(10)));
    let wider = json!({"name": "Small", "limits": {"devices": 20}});
    let one = format!("/v1/plans/{}", plan.as_str().unwrap());
    send(&root, "PUT", &one, &wider).expect(200);
    let (before, after) = last(&root, "plan.write");
    assert_eq!((&before["devices"], &after["devices"]), (&json!(10), &json!(20)));
    send(&root, "PATCH", &path, &json!({"plan_id": plan})).expect(200);
    let (before, after) = last(&north, "tenant.update_below");
    assert_eq!((&before["plan"], &after["plan"]["name"]), (&Value::Null, &json!("Small")));

    for (product, was) in [("First", json!(null)), ("Second", json!("First"))] {
        send(&north, "PUT", "/v1/brand", &json!({"product": product})).expect(200);
        let (before, after) = last(&north, "brand.write");
        assert_eq!((&before["product"], &after["product"]), (&was, &json!(product)));
    }

    let made = certificates::made("north.hosts.example");
    let input = json!({"chain": made.chain, "private_key": made.key});
    let certificate = "/v1/certificates/north.hosts.example";
    send(&north, "PUT", certificate, &input).expect(200);
    let (before, put) = last(&north, "certificate.write");
    assert!(before.is_null() && put["not_after"].is_string(), "{before} {put}");
    assert_eq!(put["chain_sha256"].as_str().map(str::len), Some(64));
    let text = put.to_string();
    assert!(!text.contains("PRIVATE") && !text.contains("BEGIN"), "{text}");
    send(&north, "DELETE", certificate, &json!({})).expect(204);
    assert_eq!(last(&north, "certificate.write"), (put, Value::Null));

    let below = send(&north, "POST", "/v1/tenants", &json!({"name": "Below"})).expect(201);
    let below = format!("/v1/tenants/{}", below["id"].as_str().unwrap());
    send(&north, "PATCH", &below, &json!({"state": "suspended"})).expect(200);
    send(&root, "PATCH", &path, &json!({"state": "suspended"})).expect(200);
    send(&root, "PATCH", &path, &json!({"state": "active"})).expect(200);
    let (before, after) = last(&north, "tenant.update_below");
    assert_eq!((&before["state"], &after["state"]), (&json!("suspended"), &json!("active")));
}

/// The link of an invitation, and of what leads into a tenant from above.
#[test]
fn links_lead_to_the_tenants_own_host_name_once_it_has_a_certificate() {
    let platform = Platform::start(Mode::Serve, Options::default());
    let root = administration(&platform);
    let north = partner(&platform, &root, "north");
    let host = "north.hosts.example";
    let send = |method: &str, path: &str, body: &Value| ask(&platform, &north, method, path, body);
    let invited = |name: &str| {
        let body = json!({"email": format!("{name}@hosts.example"), "role": "viewer"});
        let made = send("POST", "/v1/users", &body).expect(201);
        made["link"].as_str().unwrap().to_owned()
    };
    let port = platform.ports().https;
    let port = port.rsplit_once(':').unwrap().1;
    let own = format!("https://{host}:{port}/welcome#vtl_");
    // Without a certificate a browser would be warned there.
    let before = invited("before");
    assert!(!before.contains(host), "{before}");
    let made = certificates::made(host);
    let input = json!({"chain": made.chain, "private_key": made.key});
    send("PUT", &format!("/v1/certificates/{host}"), &input).expect(200);
    let after = invited("after");
    assert!(after.starts_with(&own), "{after}");
    let token = crate::harness::link_token(&after);
    platform.http().post("/v1/welcome/inspect").json(&json!({"token": token})).send().expect(200);
    // A customer without a host name of its own stands under the partner's.
    let below = send("POST", "/v1/tenants", &json!({"name": "Below"})).expect(201);
    let path = format!("/v1/tenants/{}/invitations", below["id"].as_str().unwrap());
    let first = send("POST", &path, &json!({"email": "first@hosts.example"})).expect(201);
    assert!(first["link"].as_str().unwrap().starts_with(&own), "{first}");
    // Passkeys stay the platform's, and every host name says so.
    let face = platform.http().get("/v1/face").header("host", host).send().expect(200);
    let platforms = platform.http().post("/v1/session/passkey").send().expect(200)["rp_id"].clone();
    assert_eq!(face["passkey_host"], platforms);
    assert_ne!(face["passkey_host"], host);
}
