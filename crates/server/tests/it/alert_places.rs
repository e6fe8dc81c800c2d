//! Alerts of a building are those of the devices that stand in it now: they go with a device that
//! is bound, moved, released or removed.

use serde_json::{Value, json};
use veritwin_simulator::building::demo_ifc;

use crate::alerts::{alerts, kinds, only_alert, rule, send};
use crate::harness::{Platform, wait_for};
use crate::tenant::Tenant;

/// A building that was imported, with two of its rooms.
struct Twin {
    id: String,
    rooms: [Value; 2],
}

fn import(tenant: &Tenant) -> Twin {
    let upload = tenant.request("POST", "/v1/twins");
    let made = upload.body("application/x-step", demo_ifc().as_bytes()).send().expect(201);
    let id = made["twin"]["id"].as_str().unwrap().to_owned();
    let model = tenant.get(&format!("/v1/twins/{id}/model")).expect(200);
    let rooms = [0, 1].map(|number| model["spaces"][number].clone());
    Twin { id, rooms }
}

/// The open alerts of a building, as the command centre asks.
fn open(tenant: &Tenant, twin: &Twin) -> Vec<Value> {
    let query = format!("/v1/alerts?filter=open&order=urgency&limit=500&twin_id={}", twin.id);
    let page = tenant.get(&query).expect(200);
    page["items"].as_array().unwrap().clone()
}

/// The same while nothing is raised or ends, where the counts agree.
fn of_building(tenant: &Tenant, twin: &Twin) -> Vec<Value> {
    let items = open(tenant, twin);
    let page = tenant.get(&format!("/v1/alerts?filter=open&twin_id={}", twin.id)).expect(200);
    assert_eq!(page["total"], items.len(), "{page}");
    let shown = tenant.get(&format!("/v1/twins/{}", twin.id)).expect(200);
    let active = items.iter().filter(|one| one["state"].as_str().unwrap().starts_with("active"));
    assert_eq!(shown["active_alerts"], active.count(), "{shown}");
    items
}

fn above(threshold: f64) -> Value {
    json!({"kind": "threshold", "key": "t", "op": "gt", "threshold": threshold})
}

#[test]
fn an_open_alert_goes_with_its_device() {
    let tenant = Platform::shared().tenant();
    let (first, second) = (import(&tenant), import(&tenant));
    let device = tenant.device("moved");
    tenant.post("/v1/rules", &rule("Warm", above(10.0))).expect(201);
    send(&tenant, &device, 50.0);
    let raised = only_alert(&tenant, "active_unacknowledged");
    assert_eq!((&raised["twin_id"], &raised["space_id"]), (&Value::Null, &Value::Null));

    let id = raised["id"].clone();
    let stands = |what: &str, at: Option<(&Twin, &Value)>| {
        let nothing = Value::Null;
        let (twin, room) = at.map_or((None, &nothing), |(twin, room)| (Some(&twin.id), room));
        let alert = tenant.get(&format!("/v1/alerts/{}", id.as_str().unwrap())).expect(200);
        assert_eq!(alert["twin_id"], json!(twin), "{what}");
        assert_eq!(alert["space_id"], room["id"], "{what}");
        assert_eq!(alert["storey_id"], room["storey_id"], "{what}");
        for one in [&first, &second] {
            if tenant.get(&format!("/v1/twins/{}", one.id)).status == 404 {
                continue;
            }
            let here: Vec<Value> = of_building(&tenant, one);
            let expected: &[&Value] = if twin == Some(&one.id) { &[&id] } else { &[] };
            let found: Vec<&Value> = here.iter().map(|alert| &alert["id"]).collect();
            assert_eq!(found, expected, "{what}");
        }
    };
    let binding = |twin: &Twin| format!("/v1/twins/{}/bindings/{}", twin.id, device.id);
    let room = |number: usize| json!({"space_id": first.rooms[number]["id"]});
    let inventory = |twin: &Twin, number: usize| {
        let room = twin.rooms[number]["id"].as_str().unwrap();
        let file = format!("name,space\nmoved,{room}\n");
        let path = format!("/v1/devices/import?twin_id={}", twin.id);
        tenant.request("POST", &path).body("text/csv", file.as_bytes()).send().expect(200);
    };
    tenant.put(&binding(&first), &room(0)).expect(204);
    stands("bound", Some((&first, &first.rooms[0])));
    tenant.put(&binding(&first), &room(1)).expect(204);
    stands("another room", Some((&first, &first.rooms[1])));
    tenant.put(&binding(&second), &room(0)).expect(204);
    stands("another building", Some((&second, &second.rooms[0])));
    tenant.delete(&binding(&second)).expect(204);
    stands("released", None);
    inventory(&first, 0);
    stands("inventory", Some((&first, &first.rooms[0])));

    // Raised again, it is where the device is.
    send(&tenant, &device, 1.0);
    only_alert(&tenant, "cleared_unacknowledged");
    stands("back to normal", Some((&first, &first.rooms[0])));
    send(&tenant, &device, 60.0);
    only_alert(&tenant, "active_unacknowledged");
    stands("again", Some((&first, &first.rooms[0])));

    let source = tenant.request("PUT", &format!("/v1/twins/{}/source", first.id));
    source.body("application/x-step", demo_ifc().as_bytes()).send().expect(200);
    stands("the next version of the file", Some((&first, &first.rooms[0])));
    tenant.delete(&format!("/v1/twins/{}", first.id)).expect(204);
    stands("deleted", None);
    inventory(&second, 1);
    stands("imported again", Some((&second, &second.rooms[1])));

    // What is over stays where it was.
    send(&tenant, &device, 1.0);
    only_alert(&tenant, "cleared_unacknowledged");
    tenant.post("/v1/alerts/acknowledge", &json!({"ids": [id]})).expect(200);
    tenant.delete(&binding(&second)).expect(204);
    assert_eq!(only_alert(&tenant, "cleared")["twin_id"], second.id);
}

#[test]
fn alerts_of_a_removed_device_are_over() {
    let tenant = Platform::shared().tenant();
    let twin = import(&tenant);
    let names = ["unseen", "seen", "normal", "stays"];
    let devices = names.map(|name| tenant.device(name));
    tenant.post("/v1/rules", &rule("Warm", above(10.0))).expect(201);
    for device in &devices {
        let path = format!("/v1/twins/{}/bindings/{}", twin.id, device.id);
        tenant.put(&path, &json!({"space_id": twin.rooms[0]["id"]})).expect(204);
        send(&tenant, device, 50.0);
    }
    let all = || Some(open(&tenant, &twin)).filter(|found| found.len() == devices.len());
    let raised = wait_for("four alerts", all);
    let of = |id: &str| raised.iter().find(|alert| alert["device_id"] == id).unwrap()["id"].clone();
    tenant.post("/v1/alerts/acknowledge", &json!({"ids": [of(&devices[1].id)]})).expect(200);
    send(&tenant, &devices[2], 1.0);
    let path = format!("/v1/alerts/{}", of(&devices[2].id).as_str().unwrap());
    wait_for("one back to normal", || {
        let alert = tenant.get(&path).expect(200);
        (alert["state"] == "cleared_unacknowledged").then_some(())
    });
    for device in &devices[..3] {
        tenant.delete(&format!("/v1/devices/{}", device.id)).expect(204);
    }
    let left = of_building(&tenant, &twin);
    assert_eq!(left.iter().map(|alert| &alert["device_name"]).collect::<Vec<_>>(), ["stays"]);
    assert_eq!(alerts(&tenant, "open").len(), 1);
    for (device, told) in devices.iter().zip([true, true, false]) {
        let path = format!("/v1/alerts/{}", of(&device.id).as_str().unwrap());
        let over = wait_for("the end of an alert", || {
            let alert = tenant.get(&path).expect(200);
            let last = alert["events"].as_array().unwrap().last().cloned();
            let reason = if told { json!("device_removed") } else { Value::Null };
            last.is_some_and(|event| event["reason"] == reason).then_some(alert)
        });
        assert_eq!((&over["state"], over["cleared_at"].is_string()), (&json!("cleared"), true));
        assert_eq!(kinds(&over).iter().filter(|kind| **kind == "cleared").count(), 1, "{over}");
    }
}
