//! Which rules on what must not be kept hold here (all of them), and the texts that come in by
//! other ways than a request's body.

use veritwin_domain::{Rule, Screening};
use veritwin_twin::TwinModel;

use crate::{App, Error, Result};

impl App {
    /// The rules that everything written here is held to: card numbers (P05), national ids and
    /// categories that are not accepted (P06).
    pub fn screening(&self) -> Screening {
        let rules = Screening::ALL.on(self.clock().now());
        #[cfg(feature = "test-controls")]
        let rules = self.0.promises.weakened(rules);
        rules
    }

    /// Refuses a text that must not be kept; `at` is where it stands.
    pub(crate) fn check_kept(&self, at: &str, text: &str) -> Result<()> {
        let rule = self.screening().text(None, text);
        rule.map_or(Ok(()), |rule| Err(refused(at.to_owned(), rule)))
    }

    /// Refuses a building with a label that must not be kept.
    pub(crate) fn check_labels(&self, model: &TwinModel) -> Result<()> {
        self.check_kept("project", &model.name)?;
        let screening = self.screening();
        let found = labels(model).find_map(|(kind, id, label)| {
            screening.text(None, label).map(|rule| refused(format!("{kind} {id}"), rule))
        });
        found.map_or(Ok(()), Err)
    }
}

/// Every label of a building, with the kind and id of what bears it.
fn labels(model: &TwinModel) -> impl Iterator<Item = (&'static str, &str, &str)> {
    let sites = model.sites.iter().map(|one| ("site", &*one.id, &*one.name));
    let buildings = model.buildings.iter().map(|one| ("building", &*one.id, &*one.name));
    let storeys = model.storeys.iter().map(|one| ("storey", &*one.id, &*one.name));
    let spaces = model
        .spaces
        .iter()
        .flat_map(|one| [("space", &*one.id, &*one.name), ("space", &*one.id, &*one.long_name)]);
    let elements = model.elements.iter().map(|one| ("element", &*one.id, &*one.name));
    sites.chain(buildings).chain(storeys).chain(spaces).chain(elements)
}

fn refused(at: String, rule: Rule) -> Error {
    Error::invalid_at(at, rule.refusal("this text"))
}
