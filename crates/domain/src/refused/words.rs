//! The words of a key, and the terms among them. A key is cut where its case changes and at every
//! sign, so that `patient_heartRate`, `patient.heart-rate` and `PatientHeartRate` are one.

use super::Category;
use super::terms::{ALONE, ANYWHERE, OF_PERSONS, PARTS, PERSONS};

/// Most words of a text that are looked at.
const WORDS_MAX: usize = 4096;
/// Most words that make a term together.
const JOINED_MAX: usize = 5;
/// Longest term, in bytes, that counts only where it is written without a sign in it: `SpO2` is
/// the saturation of blood, `SP-O2` the set point for oxygen; `E_kg` is no `EKG`.
const SHORT_MAX: usize = 4;

/// A word in lower case.
pub(super) struct Word {
    text: String,
    /// The word before ends where this one begins, with no sign between.
    is_glued: bool,
}

/// The words of a text written together.
pub(super) fn concat(words: &[Word]) -> String {
    words.iter().map(|word| &*word.text).collect()
}

/// The words of a text.
pub(super) fn words(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut word = String::new();
    let mut is_glued = false;
    let mut before: Option<char> = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let is_end = match before {
            _ if !c.is_alphanumeric() => true,
            Some(last) if last.is_lowercase() && c.is_uppercase() => true,
            // `DNATest` is dna and test.
            Some(last) if last.is_uppercase() && c.is_uppercase() => {
                rest.peek().is_some_and(|next| next.is_lowercase())
            }
            _ => false,
        };
        if is_end && !word.is_empty() {
            words.push(Word { text: std::mem::take(&mut word), is_glued });
            is_glued = c.is_alphanumeric();
            if words.len() == WORDS_MAX {
                return words;
            }
        }
        before = c.is_alphanumeric().then_some(c);
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
    }
    if !word.is_empty() {
        words.push(Word { text: word, is_glued });
    }
    words
}

/// Without the digits around it: `heart_rate2` is a second heart rate.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| c.is_ascii_digit())
}

/// Shows each of the words, and neighbours among them written as one, with and without the digits
/// around them; and whether they were written without a sign between.
pub(super) fn each_joined(words: &[Word], mut show: impl FnMut(&str, bool)) {
    let mut joined = String::new();
    for start in 0..words.len() {
        joined.clear();
        let mut is_one = true;
        for word in words[start..].iter().take(JOINED_MAX) {
            is_one &= joined.is_empty() || word.is_glued;
            joined.push_str(&word.text);
            show(&joined, is_one);
            let bare = bare(&joined);
            if bare.len() < joined.len() {
                show(bare, is_one);
            }
        }
    }
}

/// The first term among the words.
fn find_joined(words: &[Word], terms: &[(&str, Category)]) -> Option<Category> {
    let mut found = None;
    each_joined(words, |text, is_one| found = found.or_else(|| look_up(terms, text, is_one)));
    found
}

/// Whether one of the words, without digits around it, is `name`.
pub(super) fn are_named(words: &[Word], name: &str) -> bool {
    words.iter().any(|word| bare(&word.text) == name)
}

fn look_up(terms: &[(&str, Category)], text: &str, is_one: bool) -> Option<Category> {
    if text.len() <= SHORT_MAX && !is_one {
        return None;
    }
    let place = terms.binary_search_by(|(term, _)| (*term).cmp(text)).ok()?;
    terms.get(place).map(|(_, category)| *category)
}

/// The category that a key says its values are of.
pub(super) fn category(key: &str) -> Option<Category> {
    let words = words(key);
    let whole = concat(&words);
    let is_one = words.iter().skip(1).all(|word| word.is_glued);
    let is_alone = look_up(ALONE, &whole, is_one).or_else(|| look_up(ALONE, bare(&whole), is_one));
    if is_alone.is_some() {
        return is_alone;
    }
    if let Some(category) = find_joined(&words, ANYWHERE) {
        return Some(category);
    }
    if words.iter().any(|word| PERSONS.binary_search(&bare(&word.text)).is_ok()) {
        let of_person = find_joined(&words, OF_PERSONS);
        if of_person.is_some() {
            return of_person;
        }
    }
    if key.is_ascii() {
        return None;
    }
    let part = |(part, category): &(&str, Category)| whole.contains(part).then_some(*category);
    PARTS.iter().find_map(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_cut_into_words() {
        let check = |key: &str, expect: &[&str]| {
            let words = words(key);
            let words: Vec<&str> = words.iter().map(|word| &*word.text).collect();
            assert_eq!(words, expect, "{key}");
        };
        check("patient_heartRate", &["patient", "heart", "rate"]);
        check("Patient.heart-rate", &["patient", "heart", "rate"]);
        check("DNATest", &["dna", "test"]);
        check("SpO2", &["sp", "o2"]);
        check("HERZFREQUENZ", &["herzfrequenz"]);
        check("Körpertemperatur", &["körpertemperatur"]);
        check("room 3/血圧", &["room", "3", "血圧"]);
        check("__", &[]);
        assert_eq!(words(&"a_".repeat(WORDS_MAX + 9)).len(), WORDS_MAX);
    }

    #[test]
    fn terms_are_sorted_and_written_as_words_are() {
        let written = |term: &str| concat(&words(term)) == term;
        for (name, terms) in [("anywhere", ANYWHERE), ("alone", ALONE), ("of persons", OF_PERSONS)]
        {
            for pair in terms.windows(2) {
                assert!(pair[0].0 < pair[1].0, "{name}: {} before {}", pair[0].0, pair[1].0);
            }
            for (term, _) in terms {
                assert!(written(term), "{name}: {term}");
            }
        }
        assert!(PERSONS.is_sorted(), "persons");
        for (part, _) in PARTS {
            assert!(written(part) && !part.is_ascii(), "{part}");
        }
    }

    #[test]
    fn categories_are_found() {
        use Category::*;
        let check = |expect: Category, keys: &[&str]| {
            for key in keys {
                assert_eq!(category(key), Some(expect), "{key}");
            }
        };
        check(Health, &["heartRate", "heart_rate", "heartrate", "HEART-RATE", "patient_heartRate"]);
        check(Health, &["heart_rate2", "blood.pressure", "bloodPressureSystolic", "spo2", "SpO2"]);
        check(Health, &["SPO2", "patient.SpO2", "spo2_left", "SaO2", "ekg", "user_bmi"]);
        check(Health, &["diagnosis", "patient_diagnosis", "medical_record", "body_temperature"]);
        check(Health, &["patient_name", "ecg", "pregnant", "allergies", "bloodType", "bmi"]);
        check(Health, &["Herzfrequenz", "blutdruck_links", "Körpertemperatur", "Patienten-Name"]);
        check(
            Health,
            &["心率", "血壓_左", "病歷號碼", "血圧", "心拍数", "既往歴", "심박수", "혈압"],
        );
        check(Biometric, &["fingerprint", "fingerprint_template", "faceId", "face_embedding"]);
        check(Biometric, &["user_fingerprint", "iris_scan", "voiceprint", "Fingerabdruck", "指紋"]);
        check(Biometric, &["人臉特徵", "顔認証データ", "지문"]);
        check(Genetic, &["dna", "DNATest", "genotype", "genetic_profile", "基因", "遺伝子型"]);
        check(Religion, &["religion", "user_religion", "religious_belief", "Konfession", "宗教"]);
        check(Religion, &["信仰", "종교"]);
        check(Politics, &["political_party", "politicalOpinion", "tradeUnion", "union_membership"]);
        check(Politics, &["Parteizugehörigkeit", "政黨", "支持政党", "정당"]);
        check(Ethnicity, &["ethnicity", "race", "employee_race", "ethnic_origin", "skin_colour"]);
        check(Ethnicity, &["Ethnische_Herkunft", "種族", "人種", "인종"]);
        check(
            Children,
            &["child_name", "childAge", "children.names", "kid_birthday", "Kindername"],
        );
        check(Children, &["兒童姓名", "子どもの名前", "아동이름"]);
        check(NationalId, &["ssn", "national_id", "socialSecurityNumber", "passport_number"]);
        check(
            NationalId,
            &["personnummer", "pesel", "codice_fiscale", "身分證字號", "マイナンバー"],
        );
        check(NationalId, &["주민등록번호", "Steuer-ID", "身份证号"]);
    }

    #[test]
    fn short_terms_count_as_one_written_word_only() {
        // The set point and the actual value of oxygen, energy by mass, pipes.
        for key in ["sp_o2", "SP-O2", "sp o2", "SA.O2", "E_kg", "DN A", "ss_n", "r.ace"] {
            assert_eq!(category(key), None, "{key}");
        }
    }

    #[test]
    fn words_of_buildings_and_machines_are_none() {
        for key in [
            // Devices are in good health, have heartbeats and pulses.
            "heart_beat",
            "heartbeat",
            "health",
            "battery_health",
            "health_status",
            "pulse_count",
            "pulse",
            "rate",
            "blood",
            "sample_rate",
            "diagnostics",
            "self_diagnosis",
            "fault_diagnosis",
            "diagnosis_code",
            "temperature",
            "skin_temperature",
            "vaccine_fridge_temp",
            "patient_room_temperature",
            "oxygen",
            "oxygen_saturation",
            "dissolved_oxygen",
            "weight",
            "allergen_level",
            "virus_scan",
            "disease_pressure",
            // Fingerprints of certificates, irises of cameras, faces of buildings.
            "certificate_fingerprint",
            "firmware.fingerprint",
            "fingerprint_reader_online",
            "iris",
            "surface",
            "face_velocity",
            "interface_id",
            "facade",
            "palm",
            // Algorithms, ids, races between threads.
            "genetic_algorithm",
            "general",
            "race_condition",
            "trace",
            "brace",
            "race_count",
            // Parties of a contract, the European Union, unions of sets.
            "party",
            "third_party",
            "union",
            "policy",
            "politeness",
            // Children of a node.
            "child",
            "child_id",
            "child_count",
            "children",
            "child_lock",
            "kind",
            "minor_version",
            "minor",
            "kid_id",
            // Numbers of things.
            "serial_number",
            "session",
            "pass",
            "passport",
            "mass_number",
            "my_number",
            "dns",
            "nino",
            "id",
            "device_id",
            "passed",
            "national_grid_frequency",
            // The same in other languages.
            "離心率",
            "固体温度",
            "液體溫度",
            "故障診断",
            "民族路溫度",
            "健康狀態",
            "健康度",
            "방화문",
            "Diagnose",
            "Behinderung",
            "Sichtbehinderung",
            "Parteiverkehr",
            "Kind",
            "Rate",
            "Impuls",
        ] {
            assert_eq!(category(key), None, "{key}");
        }
    }
}
