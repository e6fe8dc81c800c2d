//! The frame of the IFC file: project, units, contexts, spatial tree, styles, containment. What
//! stands in the building comes from `elements` and `fittings`.

use std::collections::{BTreeMap, HashMap};

use super::geometry::{area, offset};
use super::plan::{INNER_WALL, OUTER_WALL, Room, SLAB_THICKNESS, Storey, machines, storeys};
use super::writer::{Line, Writer, global_id, list, real, string};
use super::{elements, fittings, geometry};

/// Which colour a solid has for readers that show colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Style {
    Plaster,
    Concrete,
    Timber,
    Glass,
    Metal,
}

/// A product to write.
pub(crate) struct Product<'a> {
    /// Entity name in capitals.
    pub(crate) entity: &'a str,
    /// What its GlobalId is derived from; unique in the building.
    pub(crate) label: &'a str,
    pub(crate) name: &'a str,
    pub(crate) placement: Line,
    pub(crate) solids: Vec<(Line, Style)>,
    /// The attributes after `Tag`, as STEP text.
    pub(crate) rest: &'a str,
}

/// Collects the model.
pub(crate) struct Model {
    pub(crate) writer: Writer,
    body: Line,
    styles: BTreeMap<Style, Line>,
    styled: HashMap<Line, Style>,
    contained: BTreeMap<Line, Vec<Line>>,
}

/// A storey while it is being written.
pub(crate) struct StoreyFrame<'a> {
    pub(crate) plan: &'a Storey,
    pub(crate) line: Line,
    pub(crate) placement: Line,
    /// Clear height between slabs.
    pub(crate) clear: f64,
    /// The line of each room, by its number.
    pub(crate) rooms: BTreeMap<&'static str, Line>,
}

const HEADER: &str = "HEADER;\n\
FILE_DESCRIPTION(('ViewDefinition [ReferenceView_V1.2]'),'2;1');\n\
FILE_NAME('linden-yard.ifc','2026-01-01T00:00:00',(''),(''),'Veritwin simulator','Veritwin','');\n\
FILE_SCHEMA(('IFC4'));\n\
ENDSEC;\n";

/// The whole file.
pub(crate) fn write() -> String {
    let (mut model, building, building_placement) = Model::begin();
    let plans = storeys();
    let mut lines = Vec::new();
    for plan in &plans {
        let frame = model.storey(plan, building_placement);
        lines.push(frame.line);
        elements::write(&mut model, &frame);
        fittings::write(&mut model, &frame, &machines());
    }
    model.aggregate("building", building, &lines);
    model.finish()
}

impl Model {
    fn begin() -> (Self, Line, Line) {
        let mut w = Writer::default();
        let axes = w.axes([0.0; 3], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]);
        let context =
            w.line(&format!("IFCGEOMETRICREPRESENTATIONCONTEXT($,'Model',3,1.E-05,{axes},$)"));
        let body = w.line(&format!(
            "IFCGEOMETRICREPRESENTATIONSUBCONTEXT('Body','Model',*,*,*,*,{context},$,.MODEL_VIEW.,$)"
        ));
        let units: Vec<Line> = [
            "IFCSIUNIT(*,.LENGTHUNIT.,$,.METRE.)",
            "IFCSIUNIT(*,.AREAUNIT.,$,.SQUARE_METRE.)",
            "IFCSIUNIT(*,.VOLUMEUNIT.,$,.CUBIC_METRE.)",
            "IFCSIUNIT(*,.PLANEANGLEUNIT.,$,.RADIAN.)",
        ]
        .into_iter()
        .map(|unit| w.line(unit))
        .collect();
        let units = w.line(&format!("IFCUNITASSIGNMENT({})", list(&units)));
        let project = w.line(&format!(
            "IFCPROJECT('{}',$,'Linden Yard',$,$,$,$,({context}),{units})",
            global_id("project")
        ));
        let site_placement = w.placement(None, [0.0; 3], [1.0, 0.0]);
        let site = w.line(&format!(
            "IFCSITE('{}',$,'Site',$,$,{site_placement},$,$,.ELEMENT.,$,$,$,$,$)",
            global_id("site")
        ));
        let placement = w.placement(Some(site_placement), [0.0; 3], [1.0, 0.0]);
        let building = w.line(&format!(
            "IFCBUILDING('{}',$,'Linden Yard',$,$,{placement},$,$,.ELEMENT.,$,$,$)",
            global_id("building")
        ));
        let mut model = Self {
            writer: w,
            body,
            styles: BTreeMap::new(),
            styled: HashMap::new(),
            contained: BTreeMap::new(),
        };
        model.aggregate("project", project, &[site]);
        model.aggregate("site", site, &[building]);
        model.define_styles();
        (model, building, placement)
    }

    fn define_styles(&mut self) {
        for (style, name, colour, transparency) in [
            (Style::Plaster, "Plaster", [0.92, 0.91, 0.88], 0.0),
            (Style::Concrete, "Concrete", [0.78, 0.78, 0.76], 0.0),
            (Style::Timber, "Timber", [0.74, 0.62, 0.47], 0.0),
            (Style::Glass, "Glass", [0.72, 0.83, 0.88], 0.65),
            (Style::Metal, "Metal", [0.66, 0.69, 0.71], 0.0),
        ] {
            let [r, g, b] = colour.map(real);
            let colour = self.writer.line(&format!("IFCCOLOURRGB($,{r},{g},{b})"));
            let rendering = self.writer.line(&format!(
                "IFCSURFACESTYLERENDERING({colour},{},$,$,$,$,$,$,.NOTDEFINED.)",
                real(transparency)
            ));
            let line = self.writer.line(&format!("IFCSURFACESTYLE('{name}',.BOTH.,({rendering}))"));
            self.styles.insert(style, line);
        }
    }

    fn storey<'a>(&mut self, plan: &'a Storey, parent: Line) -> StoreyFrame<'a> {
        let placement = self.writer.placement(Some(parent), [0.0, 0.0, plan.elevation], [1.0, 0.0]);
        let line = self.writer.line(&format!(
            "IFCBUILDINGSTOREY('{}',$,{},$,$,{placement},$,$,.ELEMENT.,{})",
            global_id(&format!("storey {}", plan.code)),
            string(plan.name),
            real(plan.elevation)
        ));
        let clear = plan.height - SLAB_THICKNESS;
        let mut frame = StoreyFrame { plan, line, placement, clear, rooms: BTreeMap::new() };
        for room in &plan.rooms {
            let space = self.space(&frame, room);
            frame.rooms.insert(room.number, space);
        }
        let spaces: Vec<Line> = frame.rooms.values().copied().collect();
        self.aggregate(&format!("storey {}", plan.code), line, &spaces);
        frame
    }

    fn space(&mut self, frame: &StoreyFrame<'_>, room: &Room) -> Line {
        let corners = clear_corners(frame.plan, room);
        let profile = self.writer.profile(&corners, &[]);
        let axes = self.writer.axes([0.0; 3], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]);
        let solid = self.writer.solid(profile, axes, frame.clear);
        let shape = self.shape(&[solid]);
        let placement = self.writer.placement(Some(frame.placement), [0.0; 3], [1.0, 0.0]);
        let line = self.writer.line(&format!(
            "IFCSPACE('{}',$,{},$,$,{placement},{shape},{},.ELEMENT.,.INTERNAL.,$)",
            space_id(room.number),
            string(room.number),
            string(room.name)
        ));
        let floor = self
            .writer
            .line(&format!("IFCQUANTITYAREA('NetFloorArea',$,$,{},$)", real(area(&corners))));
        let quantities = self.writer.line(&format!(
            "IFCELEMENTQUANTITY('{}',$,'Qto_SpaceBaseQuantities',$,$,({floor}))",
            global_id(&format!("quantities {}", room.number))
        ));
        self.writer.line(&format!(
            "IFCRELDEFINESBYPROPERTIES('{}',$,$,$,({line}),{quantities})",
            global_id(&format!("has quantities {}", room.number))
        ));
        line
    }

    pub(crate) fn shape(&mut self, solids: &[Line]) -> Line {
        let body = self.body;
        let representation = self.writer.shared(&format!(
            "IFCSHAPEREPRESENTATION({body},'Body','SweptSolid',{})",
            list(solids)
        ));
        self.writer.line(&format!("IFCPRODUCTDEFINITIONSHAPE($,$,({representation}))"))
    }

    /// Writes a product; the caller decides what contains it.
    pub(crate) fn product(&mut self, product: &Product<'_>) -> Line {
        for (solid, style) in &product.solids {
            if self.styled.insert(*solid, *style).is_none() {
                let style = self.styles[style];
                self.writer.line(&format!("IFCSTYLEDITEM({solid},({style}),$)"));
            }
        }
        let solids: Vec<Line> = product.solids.iter().map(|(solid, _)| *solid).collect();
        let shape = self.shape(&solids);
        self.writer.line(&format!(
            "{}('{}',$,{},$,$,{},{shape},$,{})",
            product.entity,
            global_id(product.label),
            string(product.name),
            product.placement,
            product.rest
        ))
    }

    /// Notes that `container`, a storey or space, holds `element`.
    pub(crate) fn contain(&mut self, container: Line, element: Line) {
        self.contained.entry(container).or_default().push(element);
    }

    fn aggregate(&mut self, label: &str, whole: Line, parts: &[Line]) {
        self.writer.line(&format!(
            "IFCRELAGGREGATES('{}',$,$,$,{whole},{})",
            global_id(&format!("parts of {label}")),
            list(parts)
        ));
    }

    fn finish(mut self) -> String {
        for (index, (container, elements)) in std::mem::take(&mut self.contained).iter().enumerate()
        {
            self.writer.line(&format!(
                "IFCRELCONTAINEDINSPATIALSTRUCTURE('{}',$,$,$,{},{container})",
                global_id(&format!("containment {index}")),
                list(elements)
            ));
        }
        self.writer.finish(HEADER)
    }
}

/// The GlobalId of a room.
pub(crate) fn space_id(number: &str) -> String {
    global_id(&format!("space {number}"))
}

/// A room's corners at the faces of its walls.
pub(crate) fn clear_corners(storey: &Storey, room: &Room) -> Vec<[f64; 2]> {
    let outline = geometry::edges(&storey.outline);
    offset(&room.corners, |side| {
        let is_outer = outline.iter().any(|edge| side.overlap(edge).is_some());
        if is_outer { -OUTER_WALL / 2.0 } else { -INNER_WALL / 2.0 }
    })
}
