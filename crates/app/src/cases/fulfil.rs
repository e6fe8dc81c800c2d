//! What is done with data for a request: a copy is handed over, a restriction or an objection
//! counts from now on, an erasure begins. Nothing of it happens before it is known who asks.

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::Action;
use veritwin_domain::{CaseId, OpContext};
use veritwin_metastore::{CaseKind, CaseState};

use super::body::Case;
use super::letter_words::Words;
use super::{DOWNLOAD_LASTS, resource};
use crate::change::Change;
use crate::transfers::FlowWay;
use crate::{App, Error, Result};

impl App {
    /// Does what a request asks for, and answers it.
    #[boxed]
    pub async fn fulfil_case(&self, context: &OpContext, id: CaseId) -> Result<()> {
        let resource = resource(context, id);
        self.authorize(context, Action::RequestFulfil, &resource)?;
        let tx = self.0.store.read(context).await?;
        let mut case = Case::read(tx.case(id).await?)?;
        drop(tx);
        self.refuse_own_case(context, &case)?;
        case.check_open()?;
        case.check_verified()?;
        if case.row.kind == CaseKind::Erasure {
            return self.begin_erasure(context, &case).await;
        }
        let words = Words::of(case.language());
        let text = match case.row.kind {
            CaseKind::Access | CaseKind::Portability => words.copy_is_here,
            CaseKind::Restriction => words.restricted,
            CaseKind::Objection => words.objected,
            CaseKind::Rectification | CaseKind::Erasure | CaseKind::Complaint => {
                let detail = "this is done by hand: do it, then answer";
                return Err(Error::Conflict(detail.to_owned()));
            }
        };
        if case.gives_copy() && case.body.email.is_none() {
            let detail = "nobody can fetch it: take the copy, hand it over, and answer";
            return Err(Error::Conflict(detail.to_owned()));
        }
        let streams = match case.body.person.clone().filter(|_| !case.gives_copy()) {
            Some(person) => self.shared_streams_naming(context, &person).await?,
            None => Vec::new(),
        };
        let tx = self.0.store.begin(context).await?;
        if !case.gives_copy() {
            self.add_limit(&tx, &case, streams).await?;
        }
        self.answer_case(&tx, context, (&mut case, text)).await?;
        self.save_case(&tx, &mut case, context.at).await?;
        let change = Change::to(json!({"right": case.row.kind.as_str(), "state": "answered"}));
        self.record_change(&tx, context, Action::RequestFulfil, &resource, change).await?;
        tx.commit().await?;
        if case.is_limit() {
            self.limits_changed(context.tenant);
        }
        Ok(())
    }

    /// The copy that a request of access or portability is about, for the officer who answers it.
    #[boxed]
    pub async fn export_case(&self, context: &OpContext, id: CaseId) -> Result<Vec<u8>> {
        let resource = resource(context, id);
        self.authorize(context, Action::RequestFulfil, &resource)?;
        let tx = self.0.store.read(context).await?;
        let case = Case::read(tx.case(id).await?)?;
        drop(tx);
        self.refuse_own_case(context, &case)?;
        case.check_verified()?;
        if !case.gives_copy() {
            return Err(Error::Conflict("this request is not for a copy".to_owned()));
        }
        let closed = case.row.closed_at.filter(|_| case.row.state == CaseState::Answered);
        if closed.is_none_or(|at| context.at.since(at) > DOWNLOAD_LASTS) {
            case.check_open()?;
        }
        self.check_flow_to(context, FlowWay::Export)?;
        let bundle = self.subject_bundle(context, &case.subject()).await?;
        let tx = self.0.store.begin(context).await?;
        let change = Change::to(json!({"copy_sha256": bundle.digest, "rows": bundle.rows}));
        self.record_change(&tx, context, Action::RequestFulfil, &resource, change).await?;
        tx.commit().await?;
        Ok(bundle.bytes)
    }
}
