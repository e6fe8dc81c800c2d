//! The graph in both directions, by class; bindings across a re-import.

use veritwin_domain::{DeviceId, Key};
use veritwin_twin::{
    Binding, DeviceNode, GlobalId, Graph, GraphQuery, LostEnd, Node, Relation, TwinModel, rebind,
};

use crate::building::{gid, model, with_space};

const BODY: &str = "#30=IFCEXTRUDEDAREASOLID(#31,$,#11,2500.);
    #31=IFCRECTANGLEPROFILEDEF(.AREA.,$,$,4000.,5000.);";

fn room_with_sensor() -> TwinModel {
    let sensor = format!(
        "#40=IFCSENSOR('{}',$,'T1',$,$,#23,$,$,.TEMPERATURESENSOR.);
         #41=IFCRELCONTAINEDINSPATIALSTRUCTURE('{}',$,$,$,(#40),#20);",
        gid("SE"),
        gid("R3"),
    );
    model(&with_space("101", "Body", "#30", &format!("{BODY}{sensor}")))
}

fn id(tail: &str) -> GlobalId {
    GlobalId::new(&gid(tail)).unwrap()
}

fn binding(space: Option<&str>, element: Option<&str>) -> Binding {
    let device = DeviceId::from_bytes([9; 16]);
    Binding { device, space: space.map(id), element: element.map(id), position: None }
}

#[test]
fn relations_answer_in_both_directions() {
    let model = room_with_sensor();
    let key = Key::new("temperature").unwrap();
    let device = DeviceNode {
        device: DeviceId::from_bytes([9; 16]),
        keys: vec![key.clone()],
        binding: Some(binding(Some("SP"), Some("SE"))),
    };
    let graph = Graph::build(&model, std::slice::from_ref(&device)).unwrap();
    let point = Node::Point(device.device, key);
    let check = |subject: Option<Node>, relation, class: Option<&str>, expect: &[(Node, Node)]| {
        let query = GraphQuery { subject, relation, class: class.map(str::to_owned), limit: 100 };
        let found: Vec<_> =
            graph.query(&query).into_iter().map(|t| (t.subject, t.object)).collect();
        assert_eq!(found, expect, "{query:?}");
    };
    let node = |tail: &str| Node::Ifc(id(tail));
    let (space, sensor) = (node("SP"), node("SE"));
    let owner = Node::Device(device.device);
    check(Some(node("S2")), Some(Relation::HasPart), None, &[(node("S2"), space.clone())]);
    check(Some(space.clone()), Some(Relation::IsPartOf), None, &[(space.clone(), node("S2"))]);
    check(
        Some(space.clone()),
        Some(Relation::IsLocationOf),
        Some("Sensor"),
        &[(space.clone(), sensor.clone())],
    );
    check(
        None,
        Some(Relation::HasLocation),
        Some("Temperature_Sensor"),
        &[(sensor.clone(), space.clone())],
    );
    check(
        Some(point.clone()),
        Some(Relation::IsPointOf),
        None,
        &[(point.clone(), sensor.clone()), (point.clone(), owner.clone())],
    );
    assert_eq!(point.to_string().parse::<Node>(), Ok(point));
    assert_eq!(sensor.to_string().parse::<Node>(), Ok(sensor));
}

#[test]
fn bindings_follow_their_ids() {
    let old = room_with_sensor();
    let new = model(&with_space("101 renamed", "Body", "#30", BODY));
    let bindings =
        [binding(Some("SP"), Some("SE")), binding(None, Some("SE")), binding(None, None)];
    let outcome = rebind(&old, &new, &bindings);
    assert_eq!(outcome.kept, [binding(Some("SP"), None), binding(None, None)]);
    let lost: Vec<_> = outcome.lost.into_iter().map(|lost| lost.lost).collect();
    let sensor = LostEnd::Element { id: id("SE"), name: "T1".into() };
    assert_eq!(lost, [sensor.clone(), sensor]);
    assert_eq!(rebind(&old, &old, &bindings).kept, bindings);
}
