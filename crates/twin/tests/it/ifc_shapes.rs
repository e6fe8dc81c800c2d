//! Outlines of spaces out of the kinds of shapes that authoring tools write.

use veritwin_twin::Space;

use crate::building::{model, with_space};

fn space(representation: &str, items: &str, records: &str) -> Space {
    let model = model(&with_space("Room", representation, items, records));
    model.spaces[0].clone()
}

fn check(space: &Space, area_m2: f64, height_m: f64, corners: usize, approximate: bool) {
    assert!((space.area_m2 - area_m2).abs() < 0.02 * area_m2, "area {}", space.area_m2);
    assert!((space.height_m - height_m).abs() < 1e-6, "height {}", space.height_m);
    assert!((space.elevation_m - 3.0).abs() < 1e-6, "elevation {}", space.elevation_m);
    assert_eq!(space.polygon.len(), corners, "{:?}", space.polygon);
    assert_eq!(space.approximate, approximate);
}

#[test]
fn rectangle_extruded() {
    let space = space(
        "Body",
        "#30",
        "#30=IFCEXTRUDEDAREASOLID(#31,$,#11,2500.);
         #31=IFCRECTANGLEPROFILEDEF(.AREA.,$,$,4000.,5000.);",
    );
    check(&space, 20.0, 2.5, 4, false);
    assert_eq!(space.long_name, "Office");
}

#[test]
fn arbitrary_profile_with_a_void_and_an_arc() {
    let space = space(
        "Body",
        "#30",
        "#30=IFCEXTRUDEDAREASOLID(#31,$,#11,2500.);
         #31=IFCARBITRARYPROFILEDEFWITHVOIDS(.AREA.,$,#32,(#34));
         #32=IFCINDEXEDPOLYCURVE(#33,(IFCLINEINDEX((1,2,3)),IFCARCINDEX((3,4,1))),$);
         #33=IFCCARTESIANPOINTLIST2D(((-2000.,0.),(-2000.,-1000.),(2000.,0.),(0.,2000.)));
         #34=IFCPOLYLINE((#35,#36,#37,#35));
         #35=IFCCARTESIANPOINT((0.,0.));#36=IFCCARTESIANPOINT((1000.,0.));
         #37=IFCCARTESIANPOINT((0.,1000.));",
    );
    // Half a disc of radius 2 m and a triangle below, less a triangular hole.
    let expected = std::f64::consts::PI * 2.0 + 2.0 - 0.5;
    assert!((space.area_m2 - expected).abs() < 0.05, "{}", space.area_m2);
    assert!(!space.approximate);
}

#[test]
fn faceted_brep_and_faceset_give_their_base_face() {
    let brep = space(
        "Body",
        "#30",
        "#30=IFCFACETEDBREP(#31);#31=IFCCLOSEDSHELL((#32,#33,#34));
         #32=IFCFACE((#42));#33=IFCFACE((#43));#34=IFCFACE((#44));
         #42=IFCFACEOUTERBOUND(#52,.T.);#43=IFCFACEOUTERBOUND(#53,.T.);
         #44=IFCFACEOUTERBOUND(#54,.T.);
         #52=IFCPOLYLOOP((#61,#62,#63));#53=IFCPOLYLOOP((#61,#63,#64));
         #54=IFCPOLYLOOP((#61,#62,#65));
         #61=IFCCARTESIANPOINT((0.,0.,0.));#62=IFCCARTESIANPOINT((2000.,0.,0.));
         #63=IFCCARTESIANPOINT((2000.,3000.,0.));#64=IFCCARTESIANPOINT((0.,3000.,0.));
         #65=IFCCARTESIANPOINT((0.,0.,2400.));",
    );
    check(&brep, 6.0, 2.4, 4, false);
    let faceset = space(
        "Body",
        "#30",
        "#30=IFCPOLYGONALFACESET(#31,$,(#32,#33),$);
         #31=IFCCARTESIANPOINTLIST3D(((0.,0.,0.),(2000.,0.,0.),(2000.,3000.,0.),(0.,3000.,0.),
         (0.,0.,2400.)));
         #32=IFCINDEXEDPOLYGONALFACE((4,3,2,1));#33=IFCINDEXEDPOLYGONALFACE((1,2,5));",
    );
    check(&faceset, 6.0, 2.4, 4, false);
}

#[test]
fn mapped_and_turned_items() {
    let mapped = space(
        "Body",
        "#30",
        "#30=IFCMAPPEDITEM(#31,#34);#31=IFCREPRESENTATIONMAP(#32,#33);
         #32=IFCAXIS2PLACEMENT3D(#36,$,$);
         #33=IFCSHAPEREPRESENTATION($,'Body','SweptSolid',(#37));
         #34=IFCCARTESIANTRANSFORMATIONOPERATOR3D($,$,#36,2.,$);
         #36=IFCCARTESIANPOINT((0.,0.,0.));
         #37=IFCEXTRUDEDAREASOLID(#38,$,#11,1000.);
         #38=IFCCIRCLEPROFILEDEF(.AREA.,$,$,500.);",
    );
    assert!((mapped.area_m2 - std::f64::consts::PI).abs() < 0.02);
    assert!((mapped.height_m - 2.0).abs() < 1e-9);
    // A room swept sideways: the profile stands upright, the floor is one of its sides.
    let sideways = space(
        "Body",
        "#30",
        "#30=IFCEXTRUDEDAREASOLID(#31,#32,#11,4000.);
         #31=IFCRECTANGLEPROFILEDEF(.AREA.,$,$,2000.,3000.);
         #32=IFCAXIS2PLACEMENT3D(#33,#34,#35);#33=IFCCARTESIANPOINT((0.,0.,1500.));
         #34=IFCDIRECTION((0.,1.,0.));#35=IFCDIRECTION((1.,0.,0.));",
    );
    check(&sideways, 8.0, 3.0, 4, false);
}

#[test]
fn foot_print_bounding_box_and_nothing() {
    let foot_print = space(
        "FootPrint",
        "#30",
        "#30=IFCGEOMETRICCURVESET((#31));#31=IFCPOLYLINE((#32,#33,#34,#35,#32));
         #32=IFCCARTESIANPOINT((0.,0.));#33=IFCCARTESIANPOINT((3000.,0.));
         #34=IFCCARTESIANPOINT((3000.,1000.));#35=IFCCARTESIANPOINT((0.,1000.));",
    );
    check(&foot_print, 3.0, 0.0, 4, false);
    let boxed = space(
        "Box",
        "#30",
        "#30=IFCBOUNDINGBOX(#31,2000.,3000.,2500.);#31=IFCCARTESIANPOINT((0.,0.,0.));",
    );
    check(&boxed, 6.0, 2.5, 4, true);
    let clipped = space(
        "Body",
        "#30",
        "#30=IFCBOOLEANCLIPPINGRESULT(.DIFFERENCE.,#31,$);
         #31=IFCEXTRUDEDAREASOLID(#32,$,#11,2500.);
         #32=IFCRECTANGLEPROFILEDEF(.AREA.,$,$,1000.,1000.);",
    );
    check(&clipped, 1.0, 2.5, 4, true);
    let unreadable = space("Body", "#30", "#30=IFCSPHERE($,1.);");
    assert!(unreadable.polygon.is_empty());
    assert_eq!(unreadable.area_m2, 0.0);
}
