//! How an erasure begins: an officer carries out what was asked for, once it is known who asks and
//! nothing stands in its way. From then on nobody stops it.

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{CaseId, OpContext, UserId};
use veritwin_metastore::{CaseKind, CaseState, HoldScope, StoredCase, TenantTx};

use crate::activity::actor_text;
use crate::cases::body::Case;
use crate::cases::resource;
use crate::change::Change;
use crate::error::found;
use crate::{App, Error, Result};

/// Ways by which a person has shown themselves that they ask.
const SHOWN: [&str; 2] = ["session", "code"];

fn is_shown(case: &Case) -> bool {
    case.body.verified.as_ref().is_some_and(|shown| SHOWN.contains(&shown.how.as_str()))
}

fn conflict<T>(detail: &str) -> Result<T> {
    Err(Error::Conflict(detail.to_owned()))
}

impl App {
    /// Begins what a request of erasure asks for.
    #[boxed]
    pub(crate) async fn begin_erasure(&self, context: &OpContext, case: &Case) -> Result<()> {
        // What was destroyed is written where no backup reaches: there has to be room.
        self.0.destructions.shreds.check_room(context.tenant)?;
        let holds = self.own_holds(context).await?;
        let keeps = |hold: &HoldScope| hold.from.is_some() && hold.to.is_some();
        if case.body.person.is_some() && holds.iter().any(keeps) {
            return conflict("a hold keeps readings: they can be erased when it has ended");
        }
        if case.body.person.is_some() && !is_shown(case) {
            // On an officer's word alone readings go as if the officer destroyed them.
            self.authorize_all(context, Action::DestructionCreate, Kind::Keys)?;
        }
        let tx = self.0.store.begin(context).await?;
        let read = case.row.version;
        let mut case = Case::read(tx.case(case.row.id).await?)?;
        if case.row.version != read {
            return conflict("somebody else took a step meanwhile: look again");
        }
        case.check_open()?;
        case.check_verified()?;
        check_others(&tx, &case).await?;
        if let Some(user) = case.row.user {
            self.check_account(&tx, context, (&case, user)).await?;
        }
        let before = case.row.state.as_str();
        case.row.state = CaseState::CarryingOut;
        let by = Some(actor_text(&context.actor.kind));
        case.note(context.at, "carrying_out", (by, None))?;
        self.save_case(&tx, &mut case, context.at).await?;
        let change = Change::from_to(
            json!({"state": before}),
            json!({"right": case.row.kind.as_str(), "state": case.row.state.as_str()}),
        );
        let about = resource(context, case.row.id);
        self.record_change(&tx, context, Action::RequestFulfil, &about, change).await?;
        tx.commit().await?;
        self.0.erasures.begun.notify_one();
        Ok(())
    }

    /// An account goes because its owner has shown that they ask. On an officer's word alone it
    /// goes as if the officer took it out.
    async fn check_account(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (case, user): (&Case, UserId),
    ) -> Result<()> {
        if found(tx.member(user).await)?.is_none() {
            return Ok(());
        }
        self.check_erasable(tx, user).await?;
        if !is_shown(case) {
            let resource = Resource::user(context.tenant, user);
            self.authorize(context, Action::UserDelete, &resource)?;
            self.check_taking_out(context, tx, user).await?;
        }
        Ok(())
    }

    /// The certificate of an erasure, as a file.
    #[boxed]
    pub async fn erasure_certificate(&self, context: &OpContext, id: CaseId) -> Result<String> {
        let about = resource(context, id);
        self.authorize(context, Action::RequestRead, &about)?;
        let case = Case::read(self.0.store.read(context).await?.case(id).await?)?;
        self.note(context, Action::RequestRead, &about, "done");
        match &case.body.certificate {
            Some(certificate) => Ok(certificate.to_text(case.body.ledger_index)),
            None => conflict("there is a certificate once everything is erased"),
        }
    }
}

/// Refuses while something else that the person asked for is open: it could not be answered any
/// more. A complaint can.
async fn check_others(tx: &TenantTx, case: &Case) -> Result<()> {
    let mut theirs: Vec<StoredCase> = Vec::new();
    if let Some(user) = case.row.user {
        theirs.extend(tx.cases_of(user).await?);
    }
    if let Some(address) = case.row.address {
        theirs.extend(tx.cases_of_address(address).await?);
    }
    let is_open = |one: &StoredCase| {
        one.id != case.row.id && !one.state.is_closed() && one.kind != CaseKind::Complaint
    };
    if theirs.iter().any(is_open) {
        return conflict("answer what the person asked for beside this first: see their requests");
    }
    Ok(())
}
