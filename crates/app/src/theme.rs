//! Brand colours as checked values: how well they can be read on every surface in both schemes
//! (WCAG 2.2, 1.4.3 and its definition of contrast), and the style sheet made from them. Nothing a
//! person typed is copied into the sheet.

use std::fmt::Write;

/// Least contrast of text (WCAG 2.2, success criterion 1.4.3, level AA).
const CONTRAST_MIN: f64 = 4.5;
/// How much of the brand colour the soft surface holds.
const SOFT: f64 = 0.12;

/// A colour in sRGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Colour([u8; 3]);

/// One scheme's fixed surfaces and the two texts that can stand on the brand colour.
struct Scheme {
    name: &'static str,
    surfaces: [Colour; 3],
    raised: Colour,
    on_brand: [Colour; 2],
}

const LIGHT: Scheme = Scheme {
    name: "light",
    surfaces: [Colour([0xe9, 0xeb, 0xe6]), Colour([0xdf, 0xe2, 0xdb]), Colour([0xfd, 0xfd, 0xfb])],
    raised: Colour([0xfd, 0xfd, 0xfb]),
    on_brand: [Colour([0xff, 0xff, 0xff]), Colour([0x1a, 0x21, 0x1f])],
};
const DARK: Scheme = Scheme {
    name: "dark",
    surfaces: [Colour([0x0c, 0x0f, 0x0f]), Colour([0x1b, 0x21, 0x21]), Colour([0x20, 0x28, 0x28])],
    raised: Colour([0x1b, 0x21, 0x21]),
    on_brand: [Colour([0x08, 0x20, 0x1e]), Colour([0xff, 0xff, 0xff])],
};

impl Colour {
    /// `#rrggbb` and nothing else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6)?;
        let mut bytes = [0; 3];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    fn text(self) -> String {
        format!("#{}", hex::encode(self.0))
    }

    /// Relative luminance (WCAG 2.2, "relative luminance").
    fn luminance(self) -> f64 {
        let linear = |channel: u8| {
            let value = f64::from(channel) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        let [red, green, blue] = self.0.map(linear);
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    /// Contrast ratio, 1 to 21 (WCAG 2.2, "contrast ratio").
    fn contrast(self, other: Self) -> f64 {
        let (one, two) = (self.luminance(), other.luminance());
        (one.max(two) + 0.05) / (one.min(two) + 0.05)
    }

    /// A share of this colour over another one.
    fn over(self, ground: Self, share: f64) -> Self {
        let mut mixed = [0; 3];
        for (index, channel) in mixed.iter_mut().enumerate() {
            let value =
                f64::from(self.0[index]) * share + f64::from(ground.0[index]) * (1.0 - share);
            // Between 0 and 255, since both ends are.
            *channel = value.round() as u8;
        }
        Self(mixed)
    }
}

impl Scheme {
    fn soft(&self, brand: Colour) -> Colour {
        brand.over(self.raised, SOFT)
    }

    fn on_brand(&self, brand: Colour) -> Option<Colour> {
        self.on_brand.into_iter().find(|text| text.contrast(brand) >= CONTRAST_MIN)
    }

    fn check(&self, brand: Colour) -> Result<(), String> {
        let grounds = self.surfaces.into_iter().chain([self.soft(brand)]);
        let least = grounds.map(|ground| ground.contrast(brand)).fold(f64::MAX, f64::min);
        if least < CONTRAST_MIN || self.on_brand(brand).is_none() {
            let way = if self.name == "light" { "darker" } else { "lighter" };
            return Err(format!(
                "cannot be read in the {} scheme: its contrast is {least:.2}, and {CONTRAST_MIN} \
                 is the least; choose a {way} one",
                self.name
            ));
        }
        Ok(())
    }

    fn rules(&self, brand: Colour) -> String {
        let on_brand = self.on_brand(brand).unwrap_or(self.on_brand[0]).text();
        let (soft, text) = (self.soft(brand).text(), brand.text());
        let name = self.name;
        // Twice `:root`, to stand above the built-in sheet wherever it is loaded.
        format!(
            ":root:root[data-mantine-color-scheme='{name}']{{--brand:{text};--brand-soft:{soft};\
             --on-brand:{on_brand};--mantine-color-petrol-filled:{text};\
             --mantine-color-petrol-filled-hover:{text};--mantine-primary-color-filled:{text};\
             --mantine-primary-color-filled-hover:{text};\
             --mantine-primary-color-contrast:{on_brand}}}\n"
        )
    }
}

/// Both schemes' brand colours, each readable where it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Palette {
    light: Option<Colour>,
    dark: Option<Colour>,
}

impl Palette {
    /// Checks both colours; empty means the built-in one. The error names the field.
    pub(crate) fn new(light: &str, dark: &str) -> Result<Self, (&'static str, String)> {
        let check = |field: &'static str,
                     scheme: &Scheme,
                     text: &str|
         -> Result<Option<Colour>, (&'static str, String)> {
            if text.is_empty() {
                return Ok(None);
            }
            let colour = Colour::parse(text)
                .ok_or_else(|| (field, "expected a colour of the form #1c5a55".to_owned()))?;
            scheme.check(colour).map_err(|detail| (field, detail))?;
            Ok(Some(colour))
        };
        Ok(Self { light: check("light", &LIGHT, light)?, dark: check("dark", &DARK, dark)? })
    }

    /// The style sheet; empty where nothing is set.
    pub(crate) fn css(&self) -> String {
        let mut css = String::new();
        for (scheme, colour) in [(&LIGHT, self.light), (&DARK, self.dark)] {
            if let Some(colour) = colour {
                // Writing to a string cannot fail.
                let _ = write!(css, "{}", scheme.rules(colour));
            }
        }
        css
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_follows_wcag() {
        let of = |text| Colour::parse(text).expect("a colour");
        assert!((of("#000000").contrast(of("#ffffff")) - 21.0).abs() < 1e-9);
        assert!((of("#767676").contrast(of("#ffffff")) - 4.54).abs() < 0.01);
        assert!((of("#1c5a55").contrast(of("#1c5a55")) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn colours_are_read_or_refused() {
        let check = |light: &str, dark: &str, expect: Result<(), &str>| {
            let found = Palette::new(light, dark).map(|_| ()).map_err(|(field, _)| field);
            assert_eq!(found, expect, "{light} {dark}");
        };
        check("", "", Ok(()));
        check("#1c5a55", "#82c3ba", Ok(()));
        check("#1d3f8f", "#9db8f5", Ok(()));
        check("#ffff00", "", Err("light"));
        check("", "#222222", Err("dark"));
        for bad in ["red", "#fff", "#1c5a5", "#1c5a55;}*{display:none", "1c5a55", "#1c5a5g"] {
            check(bad, "", Err("light"));
        }
    }

    #[test]
    fn the_sheet_holds_checked_values_only() {
        let css = Palette::new("#1D3F8F", "").expect("readable").css();
        assert!(css.contains("--brand:#1d3f8f;") && css.contains("--on-brand:#ffffff"), "{css}");
        assert!(!css.contains("dark") && !css.contains("critical"), "{css}");
        assert_eq!(Palette::default().css(), "");
    }
}
