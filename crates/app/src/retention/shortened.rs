//! Telling tenants that something is kept for less time.

use std::collections::BTreeSet;

use veritwin_access::jobs;
use veritwin_domain::TenantId;
use veritwin_metastore::Waits;

use super::words::Shortened;
use super::{Kept, Rewait, in_force};
use crate::model::PlanLimits;
use crate::{App, Result};

impl App {
    /// Tells tenants of what is kept for less time, one after the other, beside whoever changed it.
    pub(crate) fn tell_all_shortened(&self, rewaits: Vec<Rewait>) {
        let app = self.clone();
        self.0.tasks.spawn(async move {
            for rewait in rewaits {
                if app.0.stop.is_cancelled() {
                    return;
                }
                let place = app.0.tree.read().get(rewait.tenant).map(|one| one.place);
                // Unless it has been changed again meanwhile.
                if let Some(place) = place.filter(|place| place.waits == rewait.waits) {
                    app.tell_shortened(rewait, &app.limits(place.plan)).await;
                }
            }
        });
    }

    /// Tells whoever was not told before the platform stopped.
    pub(crate) fn tell_rest_shortened(&self) {
        let all = self.0.tree.read().ids().collect();
        self.tell_waiting(all);
    }

    /// Tells whoever had no room in a mailbox for it before.
    pub(crate) fn tell_untold(&self) {
        let untold = std::mem::take(&mut *self.0.untold.lock());
        if !untold.is_empty() {
            self.tell_waiting(untold);
        }
    }

    /// Tells these tenants of what they have that is kept as before for a while.
    fn tell_waiting(&self, tenants: BTreeSet<TenantId>) {
        let now = self.clock().now();
        let tree = self.0.tree.read();
        let tenants = tenants.into_iter().filter_map(|id| tree.get(id));
        let waits = tenants.map(|one| (one.id, in_force(one.place.waits, now)));
        let rewait = |(tenant, waits)| Rewait { tenant, before: Waits::default(), waits };
        let shortened = waits.map(rewait).filter(Rewait::is_shorter).collect();
        drop(tree);
        self.tell_all_shortened(shortened);
    }

    /// Tells the administrators of a tenant what is kept for less time, and from when on, once for
    /// each day it ends on. What was changed stands, whether or not this can be written.
    async fn tell_shortened(&self, rewait: Rewait, limits: &PlanLimits) {
        let tenant = rewait.tenant;
        let context = self.job_in(jobs::RETENTION, tenant);
        for kept in Kept::ALL {
            let Some(wait) = rewait.news(kept) else { continue };
            let (plan, days) = (self.plan_name(tenant), kept.days(limits));
            let say = |language| {
                let ask = self.who_answers(tenant, language);
                let (plan, ask, days) = (plan.as_str(), ask.as_str(), (days, wait.days));
                kept.mail(language, &Shortened { plan, ask, days, until: wait.until })
            };
            let event = format!("{} {}", kept.mail_name(days), wait.until.day());
            let told = async {
                let tx = self.0.store.begin(&context).await?;
                let all = self.mail_few(&tx, &say, &event).await?;
                tx.commit().await?;
                Result::Ok(all)
            };
            match told.await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%tenant, ?kept, %error, "a tenant was not told of a shorter time");
                }
            }
            self.0.untold.lock().insert(tenant);
        }
    }
}
