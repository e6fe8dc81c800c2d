//! Writes ISO 10303-21 text: numbered lines, shared resource entities, stable GlobalIds. It knows
//! STEP syntax and a few IFC4 resource entities, nothing of buildings.

use std::collections::HashMap;
use std::fmt::Write as _;

/// The number of a line, `#12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Line(u32);

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Collects lines in order.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    text: String,
    last: u32,
    shared: HashMap<String, Line>,
}

impl Writer {
    /// Writes one line.
    pub(crate) fn line(&mut self, body: &str) -> Line {
        self.last += 1;
        let _ = writeln!(self.text, "#{}={body};", self.last);
        Line(self.last)
    }

    /// Writes a resource entity once, however often it is asked for.
    pub(crate) fn shared(&mut self, body: &str) -> Line {
        if let Some(line) = self.shared.get(body) {
            return *line;
        }
        let line = self.line(body);
        self.shared.insert(body.to_owned(), line);
        line
    }

    /// The whole file.
    pub(crate) fn finish(self, header: &str) -> String {
        format!("ISO-10303-21;\n{header}DATA;\n{}ENDSEC;\nEND-ISO-10303-21;\n", self.text)
    }

    pub(crate) fn point3(&mut self, p: [f64; 3]) -> Line {
        self.shared(&format!("IFCCARTESIANPOINT(({},{},{}))", real(p[0]), real(p[1]), real(p[2])))
    }

    pub(crate) fn point2(&mut self, p: [f64; 2]) -> Line {
        self.shared(&format!("IFCCARTESIANPOINT(({},{}))", real(p[0]), real(p[1])))
    }

    fn direction(&mut self, d: [f64; 3]) -> Line {
        self.shared(&format!("IFCDIRECTION(({},{},{}))", real(d[0]), real(d[1]), real(d[2])))
    }

    /// An axis system: origin, Z axis, X axis.
    pub(crate) fn axes(&mut self, origin: [f64; 3], z: [f64; 3], x: [f64; 3]) -> Line {
        let (origin, z, x) = (self.point3(origin), self.direction(z), self.direction(x));
        self.shared(&format!("IFCAXIS2PLACEMENT3D({origin},{z},{x})"))
    }

    /// A placement under `parent`, turned so that X runs along `along`.
    pub(crate) fn placement(
        &mut self,
        parent: Option<Line>,
        origin: [f64; 3],
        along: [f64; 2],
    ) -> Line {
        let axes = self.axes(origin, [0.0, 0.0, 1.0], [along[0], along[1], 0.0]);
        let parent = parent.map_or_else(|| "$".to_owned(), |line| line.to_string());
        self.line(&format!("IFCLOCALPLACEMENT({parent},{axes})"))
    }

    /// A closed polyline.
    fn polyline(&mut self, corners: &[[f64; 2]]) -> Line {
        let first = corners.first().copied();
        let points: Vec<Line> =
            corners.iter().copied().chain(first).map(|corner| self.point2(corner)).collect();
        self.shared(&format!("IFCPOLYLINE({})", list(&points)))
    }

    /// A profile of one outline and any holes.
    pub(crate) fn profile(&mut self, corners: &[[f64; 2]], holes: &[Vec<[f64; 2]>]) -> Line {
        let outline = self.polyline(corners);
        if holes.is_empty() {
            return self.shared(&format!("IFCARBITRARYCLOSEDPROFILEDEF(.AREA.,$,{outline})"));
        }
        let holes: Vec<Line> = holes.iter().map(|hole| self.polyline(hole)).collect();
        let holes = list(&holes);
        self.shared(&format!("IFCARBITRARYPROFILEDEFWITHVOIDS(.AREA.,$,{outline},{holes})"))
    }

    /// A round profile about the origin.
    pub(crate) fn round_profile(&mut self, radius: f64) -> Line {
        let origin = self.point2([0.0, 0.0]);
        let axes = self.shared(&format!("IFCAXIS2PLACEMENT2D({origin},$)"));
        self.shared(&format!("IFCCIRCLEPROFILEDEF(.AREA.,$,{axes},{})", real(radius)))
    }

    /// A solid: the profile swept along the Z axis of `axes`.
    pub(crate) fn solid(&mut self, profile: Line, axes: Line, depth: f64) -> Line {
        let up = self.direction([0.0, 0.0, 1.0]);
        self.shared(&format!("IFCEXTRUDEDAREASOLID({profile},{axes},{up},{})", real(depth)))
    }
}

/// A bracketed list of lines.
pub(crate) fn list(lines: &[Line]) -> String {
    let items: Vec<String> = lines.iter().map(Line::to_string).collect();
    format!("({})", items.join(","))
}

/// A STEP real, rounded to a tenth of a millimetre so that the file does not depend on the
/// machine's last bits.
pub(crate) fn real(number: f64) -> String {
    let rounded = (number * 10_000.0).round() / 10_000.0;
    let rounded = if rounded == 0.0 { 0.0 } else { rounded };
    if rounded.fract() == 0.0 { format!("{rounded:.0}.") } else { format!("{rounded}") }
}

/// A STEP string: quotes doubled, everything beyond ASCII as `\X2\....\X0\` (ISO 10303-21, 6.4.3).
pub(crate) fn string(text: &str) -> String {
    let mut out = String::from("'");
    for character in text.chars() {
        match character {
            '\'' => out.push_str("''"),
            '\\' => out.push_str("\\\\"),
            ' '..='~' => out.push(character),
            _ => {
                out.push_str("\\X2\\");
                let mut units = [0u16; 2];
                for unit in character.encode_utf16(&mut units) {
                    let _ = write!(out, "{unit:04X}");
                }
                out.push_str("\\X0\\");
            }
        }
    }
    out.push('\'');
    out
}

/// The GlobalId of whatever `label` names: always the same 22 characters (the IFC compression of
/// 128 bits to base 64, buildingSMART "IFC GUID").
pub(crate) fn global_id(label: &str) -> String {
    const ALPHABET: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_$";
    const MULTIPLIER: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    // FNV-1a with 128 bits (draft-eastlake-fnv), folded once more so that short labels differ in
    // their first characters too. Unique by test, not by cryptography.
    let fnv = |seed: u128| {
        label.bytes().fold(seed, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(MULTIPLIER))
    };
    let mut bits = fnv(fnv(BASIS)).rotate_left(59) ^ fnv(BASIS);
    bits = (bits & !(0xf << 76)) | (0x8 << 76);
    bits = (bits & !(0x3 << 62)) | (0x2 << 62);
    (0..22u32)
        .map(|index| {
            let digit = (bits >> (6 * (21 - index))) & 0x3f;
            char::from(ALPHABET[usize::try_from(digit).unwrap_or(0)])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_literals() {
        assert_eq!(real(3.0), "3.");
        assert_eq!(real(-0.000_001), "0.");
        assert_eq!(real(2.25), "2.25");
        assert_eq!(
            string("Café d'été"),
            "'Caf\\X2\\00E9\\X0\\ d''\\X2\\00E9\\X0\\t\\X2\\00E9\\X0\\'"
        );
    }

    #[test]
    fn global_ids_are_stable_and_well_formed() {
        let id = global_id("room 0.01");
        assert_eq!(id, global_id("room 0.01"));
        assert_ne!(id, global_id("room 0.02"));
        assert_eq!(id.len(), 22);
        assert!("0123".contains(&id[..1]), "the first character holds two bits: {id}");
    }
}
