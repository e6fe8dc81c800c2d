//! Devices that go elsewhere in their tenant, and buildings that change around them. Nobody takes a
//! device out of where a role denies without the right to lift that, nor into where they hold more
//! themselves.

use std::collections::HashSet;
use std::sync::Arc;

use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{Branch, Facet, OpContext, Place, Scope, ScopeOf, SiteId};
use veritwin_metastore::{Device, TenantTx};
use veritwin_twin::TwinModel;

use crate::access::{nodes_below, place_of};
use crate::rights::OWN;
use crate::rule_sight::is_elsewhere;
use crate::{App, Error, Result};

/// A device as it stood, and as it is to stand.
pub(crate) type Move<'a> = (&'a Device, &'a Device);

/// A twin, and the file that it gets.
type NewFile<'a> = (SiteId, &'a TwinModel);

impl App {
    /// Refuses to put devices elsewhere where that takes them out of a part in which a role denies,
    /// unless one may lift that, or gives oneself more than one had over them.
    pub(crate) async fn check_moved(
        &self,
        context: &OpContext,
        tx: &TenantTx,
        moves: &[Move<'_>],
    ) -> Result<()> {
        let mut moves = moves.to_vec();
        moves.retain(|(stood, device)| is_elsewhere(stood, device));
        self.check_places(context, tx, &moves, None).await
    }

    /// The same for all devices of a twin that gets another file: what is in a branch of it may be
    /// another with it.
    pub(crate) async fn check_rebound(
        &self,
        context: &OpContext,
        tx: &TenantTx,
        file: (SiteId, &TwinModel),
        moves: &[Move<'_>],
    ) -> Result<()> {
        self.check_places(context, tx, moves, Some(file)).await
    }

    /// Refuses to delete a twin in which a role denies, unless one may lift that.
    pub(crate) async fn check_twin_leaving(
        &self,
        context: &OpContext,
        tx: &TenantTx,
        twin: SiteId,
    ) -> Result<()> {
        self.check_left(context, tx, |scope| scope.covers(Place::TwinSeen(twin))).await
    }

    async fn check_places(
        &self,
        context: &OpContext,
        tx: &TenantTx,
        moves: &[Move<'_>],
        file: Option<NewFile<'_>>,
    ) -> Result<()> {
        if moves.is_empty() {
            return Ok(());
        }
        let leaves = |scope: &Scope| {
            let renewed = renewed(scope, file);
            let after = renewed.as_ref().unwrap_or(scope);
            moves.iter().any(|(stood, device)| {
                scope.covers(place_of(stood)) && !after.covers(place_of(device))
            })
        };
        self.check_left(context, tx, leaves).await?;
        self.refuse_gains(context, moves, file)
    }

    async fn check_left(
        &self,
        context: &OpContext,
        tx: &TenantTx,
        leaves: impl Fn(&Scope) -> bool,
    ) -> Result<()> {
        let book = self.access_book(context).await?;
        let left = book.parts_of_twins().filter(|scope| leaves(scope));
        let left: HashSet<ScopeOf> = left.map(|scope| scope.of.clone()).collect();
        if left.is_empty() {
            return Ok(());
        }
        self.check_leaving(context, tx, |of| left.contains(of)).await
    }

    fn refuse_gains(
        &self,
        context: &OpContext,
        moves: &[Move<'_>],
        file: Option<NewFile<'_>>,
    ) -> Result<()> {
        if !context.actor.rights.is_confined() {
            return Ok(());
        }
        let mut then = context.clone();
        let rights = &mut then.actor.rights;
        for facet in rights.facets.iter_mut().chain(rights.bounds.iter_mut().flatten()) {
            if let Some(scope) = renewed(&facet.scope, file) {
                facet.scope = Arc::new(scope);
            }
        }
        let may = |context: &OpContext, action: Action, device: &Device| {
            let resource = match action.kind() {
                Kind::Device => Resource::device(context.tenant, device.id),
                kind => Resource::all(context.tenant, kind),
            };
            let place = place_of(device);
            self.0.authorizer.check_at(context, action, &resource, place).is_ok()
        };
        let is_reached = |(stood, device): &Move<'_>| {
            facets(context).zip(facets(&then)).any(|(before, after)| {
                !before.scope.covers(place_of(stood)) && after.scope.covers(place_of(device))
            })
        };
        // A twin stays where it is.
        let goes = |action: &&Action| action.kind().has_places() && action.kind() != Kind::Twin;
        let gains = |(stood, device): &Move<'_>| {
            let gained =
                |action: &Action| may(&then, *action, device) && !may(context, *action, stood);
            Action::ALL.iter().filter(goes).any(gained)
        };
        if moves.iter().any(|one| is_reached(one) && gains(one)) {
            return Err(Error::Forbidden(OWN.to_owned()));
        }
        Ok(())
    }
}

fn facets(context: &OpContext) -> impl Iterator<Item = &Facet> {
    let rights = &context.actor.rights;
    rights.facets.iter().chain(rights.bounds.iter().flatten())
}

/// A branch of a twin that gets another file, with what is in it then; none for what stays.
fn renewed(scope: &Scope, file: Option<NewFile<'_>>) -> Option<Scope> {
    let (id, model) = file?;
    match &scope.of {
        ScopeOf::Twin { twin, node: Some(node) } if *twin == id => {
            let branch = Some(Branch { twin: id, nodes: nodes_below(model, node) });
            Some(Scope { branch, ..scope.clone() })
        }
        _ => None,
    }
}
