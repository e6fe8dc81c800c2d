//! Rough middles of countries (ISO 3166-1 alpha-2, whole degrees), for one question only: whether
//! two sign-ins are further apart than anybody travels. Nothing here is stored with a record.

/// Mean radius of the Earth, in kilometres (IUGG).
const EARTH_KM: f64 = 6371.0;

/// Kilometres between the middles of two countries on the great circle; none when a code is not
/// known.
pub(crate) fn distance_km(from: &str, to: &str) -> Option<f64> {
    let (from, to) = (middle(from)?, middle(to)?);
    let half_latitude = (to.0 - from.0) / 2.0;
    let half_longitude = (to.1 - from.1) / 2.0;
    let chord =
        half_latitude.sin().powi(2) + from.0.cos() * to.0.cos() * half_longitude.sin().powi(2);
    Some(2.0 * EARTH_KM * chord.sqrt().min(1.0).asin())
}

/// Latitude and longitude in radians.
fn middle(code: &str) -> Option<(f64, f64)> {
    let position = MIDDLES.binary_search_by(|(known, ..)| (*known).cmp(code)).ok()?;
    let (_, latitude, longitude) = MIDDLES[position];
    Some((f64::from(latitude).to_radians(), f64::from(longitude).to_radians()))
}

#[rustfmt::skip]
const MIDDLES: [(&str, i16, i16); 201] = [
    ("AD", 42, 2), ("AE", 24, 54), ("AF", 33, 66), ("AG", 17, -62), ("AL", 41, 20),
    ("AM", 40, 45), ("AO", -12, 18), ("AR", -34, -64), ("AT", 47, 14), ("AU", -25, 134),
    ("AZ", 40, 48), ("BA", 44, 18), ("BB", 13, -60), ("BD", 24, 90), ("BE", 51, 5),
    ("BF", 12, -2), ("BG", 43, 25), ("BH", 26, 51), ("BI", -3, 30), ("BJ", 10, 2),
    ("BN", 5, 115), ("BO", -17, -65), ("BR", -10, -53), ("BS", 24, -78), ("BT", 27, 90),
    ("BW", -22, 24), ("BY", 53, 28), ("BZ", 17, -89), ("CA", 56, -96), ("CD", -3, 24),
    ("CF", 7, 20), ("CG", -1, 15), ("CH", 47, 8), ("CI", 8, -6), ("CL", -33, -71),
    ("CM", 6, 13), ("CN", 35, 104), ("CO", 4, -73), ("CR", 10, -84), ("CU", 22, -79),
    ("CV", 16, -24), ("CY", 35, 33), ("CZ", 50, 15), ("DE", 51, 10), ("DJ", 12, 43),
    ("DK", 56, 10), ("DM", 15, -61), ("DO", 19, -71), ("DZ", 28, 3), ("EC", -1, -78),
    ("EE", 59, 26), ("EG", 27, 30), ("ER", 15, 39), ("ES", 40, -4), ("ET", 9, 40),
    ("FI", 64, 26), ("FJ", -18, 178), ("FM", 7, 158), ("FR", 46, 2), ("GA", -1, 12),
    ("GB", 54, -2), ("GD", 12, -62), ("GE", 42, 44), ("GH", 8, -1), ("GL", 72, -42),
    ("GM", 13, -16), ("GN", 10, -11), ("GQ", 2, 10), ("GR", 39, 22), ("GT", 16, -90),
    ("GW", 12, -15), ("GY", 5, -59), ("HK", 22, 114), ("HN", 15, -87), ("HR", 45, 16),
    ("HT", 19, -72), ("HU", 47, 19), ("ID", -2, 118), ("IE", 53, -8), ("IL", 31, 35),
    ("IN", 22, 79), ("IQ", 33, 44), ("IR", 32, 54), ("IS", 65, -19), ("IT", 43, 12),
    ("JM", 18, -77), ("JO", 31, 36), ("JP", 37, 138), ("KE", 1, 38), ("KG", 41, 75),
    ("KH", 13, 105), ("KI", 2, -157), ("KM", -12, 44), ("KN", 17, -63), ("KP", 40, 127),
    ("KR", 36, 128), ("KW", 29, 48), ("KZ", 48, 67), ("LA", 18, 104), ("LB", 34, 36),
    ("LC", 14, -61), ("LI", 47, 10), ("LK", 8, 81), ("LR", 6, -9), ("LS", -30, 28),
    ("LT", 55, 24), ("LU", 50, 6), ("LV", 57, 25), ("LY", 27, 18), ("MA", 32, -6),
    ("MC", 44, 7), ("MD", 47, 29), ("ME", 43, 19), ("MG", -19, 47), ("MH", 7, 171),
    ("MK", 42, 22), ("ML", 17, -4), ("MM", 21, 96), ("MN", 47, 103), ("MO", 22, 114),
    ("MR", 20, -10), ("MT", 36, 14), ("MU", -20, 58), ("MV", 3, 73), ("MW", -13, 34),
    ("MX", 24, -102), ("MY", 4, 109), ("MZ", -17, 35), ("NA", -22, 17), ("NC", -21, 166),
    ("NE", 17, 9), ("NG", 10, 8), ("NI", 13, -85), ("NL", 52, 5), ("NO", 65, 13),
    ("NP", 28, 84), ("NR", -1, 167), ("NZ", -42, 172), ("OM", 21, 56), ("PA", 8, -80),
    ("PE", -9, -75), ("PF", -15, -145), ("PG", -6, 145), ("PH", 12, 123), ("PK", 30, 69),
    ("PL", 52, 19), ("PR", 18, -66), ("PS", 32, 35), ("PT", 40, -8), ("PW", 7, 134),
    ("PY", -23, -58), ("QA", 25, 51), ("RE", -21, 56), ("RO", 46, 25), ("RS", 44, 21),
    ("RU", 60, 90), ("RW", -2, 30), ("SA", 24, 45), ("SB", -9, 160), ("SC", -5, 56),
    ("SD", 16, 30), ("SE", 62, 15), ("SG", 1, 104), ("SI", 46, 15), ("SK", 49, 19),
    ("SL", 9, -12), ("SM", 44, 12), ("SN", 14, -14), ("SO", 6, 46), ("SR", 4, -56),
    ("SS", 7, 30), ("ST", 1, 7), ("SV", 14, -89), ("SY", 35, 38), ("SZ", -27, 32),
    ("TD", 15, 19), ("TG", 9, 1), ("TH", 15, 101), ("TJ", 39, 71), ("TL", -9, 126),
    ("TM", 39, 59), ("TN", 34, 10), ("TO", -20, -175), ("TR", 39, 35), ("TT", 10, -61),
    ("TV", -8, 178), ("TW", 24, 121), ("TZ", -6, 35), ("UA", 49, 31), ("UG", 1, 32),
    ("US", 40, -98), ("UY", -33, -56), ("UZ", 42, 63), ("VA", 42, 12), ("VC", 13, -61),
    ("VE", 7, -66), ("VN", 16, 106), ("VU", -16, 167), ("WS", -14, -172), ("YE", 16, 48),
    ("ZA", -29, 25),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_distances_are_plausible() {
        assert!(MIDDLES.is_sorted_by(|a, b| a.0 < b.0));
        let check = |from: &str, to: &str, least: f64, most: f64| {
            let km = distance_km(from, to).expect("known");
            assert!((least..most).contains(&km), "{from} {to}: {km}");
        };
        check("TW", "TW", 0.0, 0.1);
        check("TW", "GB", 9000.0, 10_500.0);
        check("DE", "AT", 200.0, 700.0);
        check("NZ", "ES", 18_000.0, 20_100.0);
        assert_eq!(distance_km("TW", "??"), None);
    }
}
