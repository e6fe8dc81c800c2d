//! Devices bound to a twin, and what becomes of the bindings when the building is imported again:
//! they follow the GlobalIds; what disappeared is named, never dropped in silence.

use veritwin_domain::DeviceId;

use crate::model::{GlobalId, TwinModel};

/// Where a device is.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// The device.
    pub device: DeviceId,
    /// The space it is in.
    pub space: Option<GlobalId>,
    /// The element it is, or belongs to.
    pub element: Option<GlobalId>,
    /// Its own position in metres, when it was placed by hand.
    pub position: Option<[f64; 3]>,
}

/// An end of a binding that the new model lacks, with its old name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LostEnd {
    /// The space is gone.
    Space {
        /// Its GlobalId.
        id: GlobalId,
        /// Its name in the old model; empty when that lacked it too.
        name: String,
    },
    /// The element is gone.
    Element {
        /// Its GlobalId.
        id: GlobalId,
        /// Its name in the old model; empty when that lacked it too.
        name: String,
    },
}

/// A binding that lost an end.
#[derive(Debug, Clone, PartialEq)]
pub struct LostBinding {
    /// The binding as it was.
    pub binding: Binding,
    /// What is gone.
    pub lost: LostEnd,
}

/// The outcome of a re-import.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rebind {
    /// Bindings for the new model. One that lost one of two ends is here without it.
    pub kept: Vec<Binding>,
    /// Every end that was lost.
    pub lost: Vec<LostBinding>,
}

/// Carries `bindings` from the `old` model to the `new` one by GlobalId.
pub fn rebind(old: &TwinModel, new: &TwinModel, bindings: &[Binding]) -> Rebind {
    let (old_names, new_names) = (old.names(), new.names());
    let old_name = |id: &GlobalId| old_names.get(id).copied().unwrap_or_default().to_owned();
    let mut outcome = Rebind::default();
    for binding in bindings {
        let mut kept = binding.clone();
        let lose = |lost| LostBinding { binding: binding.clone(), lost };
        if let Some(id) = kept.space.take_if(|id| !new_names.contains_key(id)) {
            let name = old_name(&id);
            outcome.lost.push(lose(LostEnd::Space { id, name }));
        }
        if let Some(id) = kept.element.take_if(|id| !new_names.contains_key(id)) {
            let name = old_name(&id);
            outcome.lost.push(lose(LostEnd::Element { id, name }));
        }
        let was_placed_freely = binding.space.is_none() && binding.element.is_none();
        if kept.space.is_some() || kept.element.is_some() || was_placed_freely {
            outcome.kept.push(kept);
        }
    }
    outcome
}
