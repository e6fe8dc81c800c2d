//! What tenants use is counted by tenant and day, also over a kill; what a plan gives is bounded
//! by name, with a warning before.

use serde_json::{Value, json};

use crate::harness::{Platform, wait_for};
use crate::kill::T0;
use crate::storage::World;
use crate::tenant::{Device, Tenant};

fn send(tenant: &Tenant, device: &Device, first: i64, count: i64) -> crate::http::Answer {
    let readings: Vec<Value> = (first..first + count)
        .map(|number| json!({"ts": T0 + number, "values": {"k": number}}))
        .collect();
    tenant.send(device, &Value::from(readings))
}

/// A figure of all days, since a test may run over midnight.
fn sum(report: &Value, name: &str) -> u64 {
    report["days"].as_array().unwrap().iter().map(|day| day[name].as_u64().unwrap()).sum()
}

#[test]
fn what_is_used_is_counted_once_also_over_a_kill() {
    let mut world = World::on(Platform::serve(), &json!({"devices": 100}));
    let tenant = world.tenant.clone();
    let other = world.platform.tenant();
    let device = tenant.device("meter");
    for message in 0..3 {
        send(&tenant, &device, message * 10, 10).expect(200);
    }
    assert_eq!(tenant.points(&device, "k").len(), 30);
    let report = tenant.get("/v1/usage").expect(200);
    assert_eq!(sum(&report, "points"), 30, "{report}");
    assert_eq!(sum(&report, "messages"), 3);
    assert_eq!(sum(&report, "bytes_in"), 30 * 16);
    assert!(sum(&report, "queries") >= 1 && sum(&report, "bytes_out") > 0, "{report}");
    assert_eq!(report["quotas"][0]["name"], "plan_devices_max");
    assert_eq!(report["quotas"][0]["used"], 1);
    assert_eq!(sum(&other.get("/v1/usage").expect(200), "points"), 0, "of another tenant");

    world.platform.kill();
    world.platform.start_again();
    let report = tenant.get("/v1/usage").expect(200);
    assert_eq!((sum(&report, "points"), sum(&report, "messages")), (30, 3), "counted once");
    send(&tenant, &device, 100, 5).expect(200);
    assert_eq!(sum(&tenant.get("/v1/usage").expect(200), "points"), 35);

    let csv = tenant.get("/v1/usage?format=csv");
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    assert!(csv.text().starts_with("day,points,messages,bytes_in"), "{}", csv.text());
    tenant.get("/v1/usage?format=xml").problem(400);
    tenant.get("/v1/usage?from=2026-02-01&to=2026-01-01").problem(400);
    tenant.get("/v1/usage?from=2020-01-01&to=2026-01-01").problem(400);

    // Whoever answers for it sees it, and a customer sees nobody.
    let below = world.operator.person("GET", "/v1/usage/below?limit=500").send().expect(200);
    let items = below["items"].as_array().unwrap();
    let own = items.iter().find(|one| one["tenant_id"] == tenant.id.as_str()).unwrap();
    assert_eq!(own["points"], 35, "{own}");
    let below = tenant.person("GET", "/v1/usage/below").send().expect(200);
    assert_eq!(below["items"], json!([]));
}

#[test]
fn a_plan_bounds_the_readings_of_a_day_and_warns_before() {
    let world = World::on(Platform::serve(), &json!({"points_per_day": 100}));
    let tenant = &world.tenant;
    let device = tenant.device("meter");
    send(tenant, &device, 0, 85).expect(200);
    let refused = send(tenant, &device, 100, 20).problem(507);
    assert_eq!(refused["limit"], "plan_points_per_day_max", "{refused}");
    send(tenant, &device, 200, 15).expect(200);
    let refused = send(tenant, &device, 300, 1).problem(507);
    assert!(refused["detail"].as_str().unwrap().contains("at most 100"), "{refused}");
    assert_eq!(tenant.points(&device, "k").len(), 100, "nothing of what was refused is there");
    wait_for("the warning", || {
        let alerts = tenant.get("/v1/security-alerts").expect(200);
        let is_it = |one: &Value| {
            one["kind"] == "quota_near" && one.to_string().contains("plan_points_per_day_max")
        };
        alerts["items"].as_array().unwrap().iter().any(is_it).then_some(())
    });
}

#[test]
fn a_plan_bounds_series() {
    let world = World::on(Platform::serve(), &json!({"series": 2}));
    let tenant = &world.tenant;
    let device = tenant.device("meter");
    tenant.send(&device, &json!({"a": 1, "b": 2})).expect(200);
    let refused = tenant.send(&device, &json!({"a": 1, "c": 3})).problem(507);
    assert_eq!(refused["limit"], "plan_series_max", "{refused}");
    tenant.send(&device, &json!({"a": 5})).expect(200);
    let written = tenant.write("", "text/plain", "meter c=3");
    let refused = written.problem(413);
    assert_eq!(refused["limit"], "plan_series_max", "{refused}");
    tenant.write("", "text/plain", "meter a=6").expect(200);
    assert_eq!(tenant.latest(&device, "c"), Value::Null);
}
