//! What counts for one tenant at a moment: its plan's time, or the one of before while that waits.

use veritwin_domain::{OpContext, Timestamp};

use super::{Kept, in_force, kept_days, limits_of};
use crate::App;

/// For how many days the plan of a tenant keeps something now, and until when it is kept as before
/// because that time became shorter.
pub(crate) fn kept_of(
    app: &App,
    context: &OpContext,
    kept: Kept,
) -> (Option<u64>, Option<Timestamp>) {
    let tree = app.0.tree.read();
    let Some(tenant) = tree.get(context.tenant) else { return (None, None) };
    let days = kept.days(&limits_of(&tree, tenant.place.plan));
    let wait = kept.wait(in_force(tenant.place.waits, context.at));
    (kept_days(days, wait, context.at), wait.map(|wait| wait.until))
}
