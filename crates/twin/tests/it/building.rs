//! A small IFC file, assembled from records, for tests that need one.

use veritwin_twin::TwinModel;
use veritwin_twin::ifc::{IfcError, IfcLimits, Import, import};

/// Frames `records` as an IFC4 file.
pub(crate) fn file(records: &str) -> String {
    format!(
        "ISO-10303-21;\nHEADER;\nFILE_DESCRIPTION((''),'2;1');\nFILE_NAME('','',(''),(''),'','','');\n\
         FILE_SCHEMA(('IFC4'));\nENDSEC;\nDATA;\n{records}\nENDSEC;\nEND-ISO-10303-21;\n"
    )
}

/// A GlobalId that ends in `tail`.
pub(crate) fn gid(tail: &str) -> String {
    format!("{tail:0>22}")
}

/// A project in millimetres with one building and two storeys, the upper written first.
pub(crate) fn base() -> String {
    let mut records = String::new();
    let mut add = |record: String| {
        records.push_str(&record);
        records.push('\n');
    };
    add(format!("#1=IFCPROJECT('{}',$,'Test',$,$,$,$,$,#2);", gid("P")));
    add("#2=IFCUNITASSIGNMENT((#3));".into());
    add("#3=IFCSIUNIT(*,.LENGTHUNIT.,.MILLI.,.METRE.);".into());
    add(format!("#4=IFCBUILDING('{}',$,'House',$,$,$,$,$,$,$,$,$);", gid("B")));
    add("#5=IFCCARTESIANPOINT((0.,0.,3000.));".into());
    add("#6=IFCAXIS2PLACEMENT3D(#5,$,$);".into());
    add("#7=IFCLOCALPLACEMENT($,#6);".into());
    add(format!("#8=IFCBUILDINGSTOREY('{}',$,'Upper',$,$,#7,$,$,$,3000.);", gid("S2")));
    add(format!("#9=IFCBUILDINGSTOREY('{}',$,'Ground',$,$,$,$,$,$,0.);", gid("S1")));
    add(format!("#10=IFCRELAGGREGATES('{}',$,$,$,#4,(#8,#9));", gid("R1")));
    add("#11=IFCDIRECTION((0.,0.,1.));".into());
    records
}

/// A space on the upper storey whose body items are `items`, made of `records`.
pub(crate) fn with_space(name: &str, representation: &str, items: &str, records: &str) -> String {
    file(&format!(
        "{}#20=IFCSPACE('{}',$,'{name}',$,$,#23,#22,'Office',$,$,$);\n\
         #21=IFCRELAGGREGATES('{}',$,$,$,#8,(#20));\n\
         #22=IFCPRODUCTDEFINITIONSHAPE($,$,(#24));\n#23=IFCLOCALPLACEMENT(#7,$);\n\
         #24=IFCSHAPEREPRESENTATION($,'{representation}','x',({items}));\n{records}",
        base(),
        gid("SP"),
        gid("R2"),
    ))
}

/// Imports text with the default limits.
pub(crate) fn import_text(text: &str) -> Result<Import, IfcError> {
    import(text.as_bytes(), [7; 32], &IfcLimits::default())
}

/// The model of a file that is right.
pub(crate) fn model(text: &str) -> TwinModel {
    import_text(text).unwrap().model
}
