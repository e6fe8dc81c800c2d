//! Catalogues that come with the product: the identifiers of their controls with short labels of
//! our own. The texts of standards that are sold are not in it; who has a licence imports them.

/// A control: its identifier, its group, our label.
type Row = (&'static str, &'static str, &'static str);

/// A catalogue.
pub(super) struct Shipped {
    /// How it is asked for.
    pub(super) reference: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    /// Which edition.
    pub(super) edition: &'static str,
    /// Its controls.
    pub(super) rows: &'static [Row],
}

/// Every catalogue there is.
pub(super) const SHIPPED: [Shipped; 3] = [
    Shipped {
        reference: "iso-27001-2022",
        name: "ISO/IEC 27001 Annex A",
        edition: "2022",
        rows: ISO_27001,
    },
    Shipped {
        reference: "soc-2",
        name: "SOC 2 trust services criteria",
        edition: "2017",
        rows: SOC_2,
    },
    Shipped { reference: "nist-csf-2", name: "NIST CSF", edition: "2.0", rows: NIST_CSF },
];

/// Controls that the check of a promise is evidence for, by identifier, of whatever catalogue.
const PROMISES: &[(&str, &[&str])] = &[
    ("P02", &["A.8.12", "CC6.7", "P4.1", "sc-7"]),
    ("P04", &["A.5.12", "A.5.34", "C1.1"]),
    ("P05", &["A.8.12", "C1.1"]),
    ("P06", &["A.5.34", "P3.1"]),
    ("P14", &["P2.1"]),
    ("P22", &["A.8.24", "CC6.1", "PR.DS", "sc-28", "sc-28.1"]),
    ("P23", &["A.8.20", "A.8.24", "CC6.7", "PR.DS", "sc-8", "sc-8.1"]),
    ("P24", &["A.8.24", "CC6.1", "sc-12"]),
    ("P26", &["A.5.33", "PI1.5", "au-9", "si-7"]),
    ("P30", &["A.5.15", "A.5.18", "A.8.2", "A.8.3", "CC6.3", "PR.AA", "ac-3", "ac-6"]),
    ("P31", &["A.8.3", "A.8.22", "CC6.1", "PR.AA", "ac-4", "sc-4"]),
    ("P32", &["A.5.17", "A.8.5", "CC6.1", "PR.AA", "ia-5", "ia-5.1"]),
    ("P33", &["A.8.6", "A.8.20", "CC6.6", "A1.1", "PR.IR", "sc-5"]),
    ("P34", &["A.8.15", "A.8.16", "A.5.25", "CC7.2", "DE.CM", "DE.AE", "au-2", "au-6", "si-4"]),
    ("P35", &["A.5.18", "A.8.2", "CC6.2", "ac-2"]),
    ("P38", &["A.8.9", "CC5.2"]),
    ("P51", &["A.8.10", "CC6.5", "C1.2", "P4.3", "mp-6"]),
    ("P53", &["A.8.15", "P4.2", "au-11"]),
    ("P54", &["A.5.24", "A.5.26", "CC7.4", "P6.6", "RS.MA", "RS.CO", "ir-6"]),
    ("P55", &["P3.1"]),
    ("P56", &["A.8.26", "P2.1"]),
    ("P59", &["A.5.1", "A.5.37", "CC5.3", "GV.PO", "GV.RM", "ra-3"]),
    ("P60", &["A.5.14", "CC2.3"]),
];

/// The promises whose checks are evidence for a control.
pub(super) fn promises_of(identifier: &str) -> Vec<String> {
    let is_for =
        |controls: &[&str]| controls.iter().any(|one| one.eq_ignore_ascii_case(identifier));
    let found = PROMISES.iter().filter(|(_, controls)| is_for(controls));
    found.map(|(promise, _)| (*promise).to_owned()).collect()
}

const ISO_27001: &[Row] = &[
    ("A.5.1", "Organisation", "Written rules for security, agreed and known"),
    ("A.5.2", "Organisation", "Who does what for security"),
    ("A.5.3", "Organisation", "Duties that one person must not join"),
    ("A.5.4", "Organisation", "Leaders ask for security"),
    ("A.5.5", "Organisation", "Ways to reach authorities"),
    ("A.5.6", "Organisation", "Exchange with security groups"),
    ("A.5.7", "Organisation", "Knowing about threats"),
    ("A.5.8", "Organisation", "Security in projects"),
    ("A.5.9", "Organisation", "List of what there is and whose it is"),
    ("A.5.10", "Organisation", "Rules for using it"),
    ("A.5.11", "Organisation", "Giving things back"),
    ("A.5.12", "Organisation", "Classes of information"),
    ("A.5.13", "Organisation", "Marks of the class"),
    ("A.5.14", "Organisation", "Passing information on"),
    ("A.5.15", "Organisation", "Rules for access"),
    ("A.5.16", "Organisation", "Identities from first to last day"),
    ("A.5.17", "Organisation", "Secrets for signing in"),
    ("A.5.18", "Organisation", "Giving, checking and taking rights"),
    ("A.5.19", "Organisation", "Security with suppliers"),
    ("A.5.20", "Organisation", "Security in suppliers' contracts"),
    ("A.5.21", "Organisation", "Security along the chain of suppliers"),
    ("A.5.22", "Organisation", "Watching suppliers and their changes"),
    ("A.5.23", "Organisation", "Security of cloud services in use"),
    ("A.5.24", "Organisation", "Being ready for incidents"),
    ("A.5.25", "Organisation", "Judging events"),
    ("A.5.26", "Organisation", "Acting on incidents"),
    ("A.5.27", "Organisation", "Learning from incidents"),
    ("A.5.28", "Organisation", "Gathering proof"),
    ("A.5.29", "Organisation", "Security while things are disrupted"),
    ("A.5.30", "Organisation", "Systems ready to go on"),
    ("A.5.31", "Organisation", "Duties of law and contract"),
    ("A.5.32", "Organisation", "Rights in works and software"),
    ("A.5.33", "Organisation", "Keeping records safe"),
    ("A.5.34", "Organisation", "Privacy and personal data"),
    ("A.5.35", "Organisation", "A look by somebody independent"),
    ("A.5.36", "Organisation", "Keeping to one's own rules"),
    ("A.5.37", "Organisation", "Operation written down"),
    ("A.6.1", "People", "Checks before somebody joins"),
    ("A.6.2", "People", "Security in terms of employment"),
    ("A.6.3", "People", "Training and awareness"),
    ("A.6.4", "People", "What follows a breach of rules"),
    ("A.6.5", "People", "Duties that outlast a job"),
    ("A.6.6", "People", "Secrecy agreements"),
    ("A.6.7", "People", "Working from elsewhere"),
    ("A.6.8", "People", "Reporting what one notices"),
    ("A.7.1", "Places", "Borders of secured places"),
    ("A.7.2", "Places", "Who comes in"),
    ("A.7.3", "Places", "Secured offices and rooms"),
    ("A.7.4", "Places", "Watching places"),
    ("A.7.5", "Places", "Against fire, water and other harm"),
    ("A.7.6", "Places", "Work in secured places"),
    ("A.7.7", "Places", "Empty desks, locked screens"),
    ("A.7.8", "Places", "Where equipment stands"),
    ("A.7.9", "Places", "Equipment outside"),
    ("A.7.10", "Places", "Media from purchase to end"),
    ("A.7.11", "Places", "Power, cooling and lines"),
    ("A.7.12", "Places", "Safe cables"),
    ("A.7.13", "Places", "Care of equipment"),
    ("A.7.14", "Places", "Safe end or reuse of equipment"),
    ("A.8.1", "Technology", "Devices of users"),
    ("A.8.2", "Technology", "Rights of administrators"),
    ("A.8.3", "Technology", "Access to information held to the rules"),
    ("A.8.4", "Technology", "Access to source code"),
    ("A.8.5", "Technology", "Strong sign-in"),
    ("A.8.6", "Technology", "Enough capacity"),
    ("A.8.7", "Technology", "Against malicious software"),
    ("A.8.8", "Technology", "Dealing with weaknesses"),
    ("A.8.9", "Technology", "Known configuration"),
    ("A.8.10", "Technology", "Deleting what is not needed"),
    ("A.8.11", "Technology", "Hiding parts of data"),
    ("A.8.12", "Technology", "Against data leaking"),
    ("A.8.13", "Technology", "Backups"),
    ("A.8.14", "Technology", "Spare parts of systems"),
    ("A.8.15", "Technology", "Records of events"),
    ("A.8.16", "Technology", "Watching what happens"),
    ("A.8.17", "Technology", "One time everywhere"),
    ("A.8.18", "Technology", "Tools that pass by protection"),
    ("A.8.19", "Technology", "Installing software"),
    ("A.8.20", "Technology", "Safe networks"),
    ("A.8.21", "Technology", "Safe network services"),
    ("A.8.22", "Technology", "Networks kept apart"),
    ("A.8.23", "Technology", "Filtering the web"),
    ("A.8.24", "Technology", "Use of cryptography"),
    ("A.8.25", "Technology", "Security through development"),
    ("A.8.26", "Technology", "What applications have to meet"),
    ("A.8.27", "Technology", "Principles of safe design"),
    ("A.8.28", "Technology", "Safe coding"),
    ("A.8.29", "Technology", "Security tests"),
    ("A.8.30", "Technology", "Development by others"),
    ("A.8.31", "Technology", "Separate development, test and operation"),
    ("A.8.32", "Technology", "Handling changes"),
    ("A.8.33", "Technology", "Data for tests"),
    ("A.8.34", "Technology", "Systems safe during audits"),
];

const SOC_2: &[Row] = &[
    ("CC1.1", "Control environment", "Integrity and values are lived"),
    ("CC1.2", "Control environment", "A board that oversees, independently"),
    ("CC1.3", "Control environment", "Structure, lines and authority"),
    ("CC1.4", "Control environment", "Able people"),
    ("CC1.5", "Control environment", "People answer for their part"),
    ("CC2.1", "Information and communication", "Good information for controls"),
    ("CC2.2", "Information and communication", "Telling people inside"),
    ("CC2.3", "Information and communication", "Telling people outside"),
    ("CC3.1", "Risk assessment", "Clear aims"),
    ("CC3.2", "Risk assessment", "Finding and judging risks"),
    ("CC3.3", "Risk assessment", "Thinking of fraud"),
    ("CC3.4", "Risk assessment", "Changes that matter"),
    ("CC4.1", "Monitoring", "Looking whether controls work"),
    ("CC4.2", "Monitoring", "Telling of what does not"),
    ("CC5.1", "Control activities", "Controls against risks"),
    ("CC5.2", "Control activities", "Controls over technology"),
    ("CC5.3", "Control activities", "Controls in policies and procedures"),
    ("CC6.1", "Access", "Protection of access to systems"),
    ("CC6.2", "Access", "Registering and removing users"),
    ("CC6.3", "Access", "Rights by role, as few as needed"),
    ("CC6.4", "Access", "Access to places"),
    ("CC6.5", "Access", "End of media and equipment"),
    ("CC6.6", "Access", "Against threats from outside"),
    ("CC6.7", "Access", "Moving and sending information"),
    ("CC6.8", "Access", "Against malicious software"),
    ("CC7.1", "Operation", "Finding weaknesses and changes"),
    ("CC7.2", "Operation", "Watching for what is unusual"),
    ("CC7.3", "Operation", "Judging events"),
    ("CC7.4", "Operation", "Acting on incidents"),
    ("CC7.5", "Operation", "Recovering"),
    ("CC8.1", "Change", "Handling changes"),
    ("CC9.1", "Mitigation", "Against disruption"),
    ("CC9.2", "Mitigation", "Suppliers and partners"),
    ("A1.1", "Availability", "Capacity"),
    ("A1.2", "Availability", "Environment, backups, recovery"),
    ("A1.3", "Availability", "Testing recovery"),
    ("C1.1", "Confidentiality", "Knowing and keeping what is confidential"),
    ("C1.2", "Confidentiality", "Ending what is confidential"),
    ("PI1.1", "Processing integrity", "What processing has to deliver"),
    ("PI1.2", "Processing integrity", "Complete and right input"),
    ("PI1.3", "Processing integrity", "Processing as it should be"),
    ("PI1.4", "Processing integrity", "Output to the right people"),
    ("PI1.5", "Processing integrity", "Keeping what is processed"),
    ("P1.1", "Privacy", "Notice"),
    ("P2.1", "Privacy", "Choice and consent"),
    ("P3.1", "Privacy", "Collection as announced"),
    ("P3.2", "Privacy", "Explicit consent where needed"),
    ("P4.1", "Privacy", "Use for the purpose"),
    ("P4.2", "Privacy", "Keeping as long as needed"),
    ("P4.3", "Privacy", "Safe destruction"),
    ("P5.1", "Privacy", "Access for the person"),
    ("P5.2", "Privacy", "Correction"),
    ("P6.1", "Privacy", "Disclosure to third parties"),
    ("P6.2", "Privacy", "Record of disclosures"),
    ("P6.3", "Privacy", "Record of wrong disclosures"),
    ("P6.4", "Privacy", "Third parties' privacy duties"),
    ("P6.5", "Privacy", "Third parties tell of breaches"),
    ("P6.6", "Privacy", "Telling of breaches"),
    ("P6.7", "Privacy", "Account of what is held and disclosed"),
    ("P7.1", "Privacy", "Right and complete data"),
    ("P8.1", "Privacy", "Complaints and watching"),
];

const NIST_CSF: &[Row] = &[
    ("GV.OC", "Govern", "Knowing the organisation and its duties"),
    ("GV.RM", "Govern", "Risk strategy"),
    ("GV.RR", "Govern", "Roles and authority"),
    ("GV.PO", "Govern", "Policy"),
    ("GV.OV", "Govern", "Oversight"),
    ("GV.SC", "Govern", "Risk along the supply chain"),
    ("ID.AM", "Identify", "Knowing what there is"),
    ("ID.RA", "Identify", "Judging risk"),
    ("ID.IM", "Identify", "Improving"),
    ("PR.AA", "Protect", "Identities, sign-in and access"),
    ("PR.AT", "Protect", "Awareness and training"),
    ("PR.DS", "Protect", "Safe data"),
    ("PR.PS", "Protect", "Safe platforms"),
    ("PR.IR", "Protect", "Resilient infrastructure"),
    ("DE.CM", "Detect", "Watching all the time"),
    ("DE.AE", "Detect", "Judging events"),
    ("RS.MA", "Respond", "Managing incidents"),
    ("RS.AN", "Respond", "Analysing incidents"),
    ("RS.CO", "Respond", "Reporting and telling"),
    ("RS.MI", "Respond", "Limiting harm"),
    ("RC.RP", "Recover", "Recovering by plan"),
    ("RC.CO", "Recover", "Telling about recovery"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalogues_are_whole_and_name_each_control_once() {
        let counts: Vec<usize> = SHIPPED.iter().map(|one| one.rows.len()).collect();
        assert_eq!(counts, [93, 61, 22]);
        for shipped in &SHIPPED {
            let mut seen = std::collections::BTreeSet::new();
            assert!(shipped.rows.iter().all(|(id, ..)| seen.insert(*id)), "{}", shipped.name);
        }
    }

    #[test]
    fn checks_are_evidence_for_controls_that_there_are() {
        let shipped = |id: &str| SHIPPED.iter().any(|one| one.rows.iter().any(|row| row.0 == id));
        for (promise, controls) in PROMISES {
            // Those in lower case are of NIST SP 800-53, which is imported.
            let ours = controls.iter().filter(|id| id.starts_with(char::is_uppercase));
            for id in ours {
                assert!(shipped(id), "{promise}: {id}");
            }
        }
        assert_eq!(promises_of("SC-28"), ["P22"]);
    }
}
