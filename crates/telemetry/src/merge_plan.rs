//! Which sections should be merged: small ones of one window, overlays, days of a month that is
//! over. Only runs of generations that nothing foreign interrupts, so that the later reading wins.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use veritwin_domain::{DeviceId, TenantId};

use crate::catalog::{Catalog, Section, Window, month_of};
use crate::engine::EngineLimits;

/// Most groups of sections that become one pack, each of another tenant.
const GROUPS_PER_MERGE_MAX: usize = 1024;
/// A finished window is merged early when the rest weighs this part of its largest section.
const LATE_DATA_DIVISOR: u64 = 8;
/// A month is merged when it has been over for so many days: late data has mostly come.
const MONTH_WAIT_DAYS: i64 = 7;

/// Sections to merge into one.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) tenant: TenantId,
    pub(crate) window: Window,
    /// Whose own key seals them, if not the tenant's.
    pub(crate) device: Option<DeviceId>,
    pub(crate) inputs: Vec<Arc<Section>>,
}

/// By what a merge is due.
#[derive(Clone, Copy)]
pub(crate) struct Due<'l> {
    pub(crate) today: i64,
    pub(crate) limits: &'l EngineLimits,
}

/// Where a section belongs once merged: days of a month that is over belong to the month.
fn group_of(section: &Section, months_before: Option<i64>) -> Window {
    match section.window {
        Window::Day(day) if months_before.is_some_and(|month| month_of(day) < month) => {
            Window::Month(month_of(day))
        }
        window => window,
    }
}

/// Finds sections that should be merged: of each tenant one group at most, and of all of them as
/// much as one merge takes. Days of tenants that are `by_days` stay days; without that list,
/// everybody's do.
pub(crate) fn plan(
    catalog: &Catalog,
    due: Due<'_>,
    by_days: Option<&HashSet<TenantId>>,
    passed_by: &HashSet<TenantId>,
) -> Vec<Plan> {
    let mut tenants: Vec<_> =
        catalog.tenants.iter().filter(|(tenant, _)| !passed_by.contains(tenant)).collect();
    tenants.sort_unstable_by_key(|(tenant, _)| **tenant);
    let over = month_of(due.today.saturating_sub(MONTH_WAIT_DAYS));
    let mut plans: Vec<Plan> = Vec::new();
    let mut bytes = 0u64;
    let mut first: Option<Option<i64>> = None;
    for (tenant, entry) in tenants {
        let months = by_days.is_some_and(|by_days| !by_days.contains(tenant)).then_some(over);
        // A pack goes when all in it does: what ends by days is not put beside what stays.
        if first.is_some_and(|first| first != months) {
            continue;
        }
        // Sections of other keys' units hold other series, but for those whose declaration changed
        // in between.
        let mut units: BTreeMap<Option<DeviceId>, Vec<Arc<Section>>> = BTreeMap::new();
        for section in &entry.sections {
            units.entry(section.device).or_default().push(Arc::clone(section));
        }
        let found = units.into_iter().find_map(|(device, all)| {
            let (window, inputs) = plan_unit(&all, months, due)?;
            Some(Plan { tenant: *tenant, window, device, inputs })
        });
        let Some(plan) = found else { continue };
        // An overlay shares its key with what stays, so that it ends with its object alone.
        if plan.window == Window::All {
            if plans.is_empty() {
                return vec![plan];
            }
            continue;
        }
        let more: u64 = plan.inputs.iter().map(|section| section.bytes()).sum();
        if !plans.is_empty() && bytes.saturating_add(more) > due.limits.compaction_bytes_max {
            continue;
        }
        bytes = bytes.saturating_add(more);
        first = Some(months);
        plans.push(plan);
        if plans.len() == GROUPS_PER_MERGE_MAX {
            break;
        }
    }
    plans
}

/// Finds sections of one unit that should be merged, and what they become.
fn plan_unit(
    all: &[Arc<Section>],
    months: Option<i64>,
    due: Due<'_>,
) -> Option<(Window, Vec<Arc<Section>>)> {
    let mut groups: BTreeMap<Window, Vec<Arc<Section>>> = BTreeMap::new();
    for section in all {
        groups.entry(group_of(section, months)).or_default().push(Arc::clone(section));
    }
    for (window, mut sections) in groups {
        if sections.len() < 2 {
            continue;
        }
        sections.sort_by_key(|section| section.generation);
        for mut run in runs(&sections, all, months) {
            while !run.is_empty() {
                let fitting = fitting(run, due.limits.compaction_bytes_max);
                if is_due(fitting, window, due) {
                    return Some((window, fitting.to_vec()));
                }
                run = &run[..run.len() - fitting.len().max(1)];
            }
        }
    }
    None
}

/// Cuts one group's sections where the generation of a foreign, overlapping section lies between.
fn runs<'s>(
    sections: &'s [Arc<Section>],
    all: &'s [Arc<Section>],
    months: Option<i64>,
) -> impl Iterator<Item = &'s [Arc<Section>]> {
    let low = sections.iter().map(|section| section.t_min).min().unwrap_or(i64::MAX);
    let high = sections.iter().map(|section| section.t_max).max().unwrap_or(i64::MIN);
    sections.chunk_by(move |left, right| {
        let own = group_of(left, months);
        !all.iter().any(|other| {
            group_of(other, months) != own
                && other.overlaps(low, high)
                && (left.generation..right.generation).contains(&other.generation)
        })
    })
}

/// The longest stretch from the newest end that fits into one compaction.
fn fitting(run: &[Arc<Section>], bytes_max: u64) -> &[Arc<Section>] {
    let mut bytes = 0u64;
    let count = run
        .iter()
        .rev()
        .take_while(|section| {
            bytes = bytes.saturating_add(section.bytes());
            bytes <= bytes_max
        })
        .count();
    &run[run.len() - count..]
}

fn is_due(sections: &[Arc<Section>], window: Window, due: Due<'_>) -> bool {
    if sections.len() < 2 {
        return false;
    }
    if sections.len() >= due.limits.compaction_sections_min {
        return true;
    }
    let is_over = match window {
        Window::Day(day) => day < due.today,
        // Merged months alone are left as they are.
        Window::Month(_) => sections.iter().any(|one| matches!(one.window, Window::Day(_))),
        Window::All | Window::Figures(_) => false,
    };
    let total: u64 = sections.iter().map(|section| section.bytes()).sum();
    let largest = sections.iter().map(|section| section.bytes()).max().unwrap_or(0);
    is_over && (total - largest).saturating_mul(LATE_DATA_DIVISOR) >= largest
}

#[cfg(test)]
mod tests {
    use veritwin_domain::FileId;
    use veritwin_keys::DekId;

    use super::*;
    use crate::catalog::Pack;

    fn section(generation: u64, window: Window, times: (i64, i64)) -> Arc<Section> {
        Arc::new(Section {
            pack: Arc::new(Pack { file: FileId::from_bytes([generation as u8; 16]) }),
            dek: DekId::from_bytes([0; 16]),
            offset: 0,
            directory_offset: 1000,
            directory_bytes: 24,
            frames: 2,
            generation,
            window,
            device: None,
            t_min: times.0,
            t_max: times.1,
            points: 10,
        })
    }

    #[test]
    fn runs_break_where_a_foreign_section_lies_between() {
        let day: Vec<_> = [1, 2, 4, 5].map(|g| section(g, Window::Day(0), (0, 100))).into();
        let lengths = |overlay: Arc<Section>| {
            let mut all = day.clone();
            all.push(overlay);
            runs(&day, &all, None).map(<[_]>::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(section(3, Window::All, (50, 900))), [2, 2]);
        assert_eq!(lengths(section(3, Window::All, (101, 900))), [4]);
        assert_eq!(lengths(section(9, Window::All, (0, 900))), [4]);
        assert_eq!(lengths(section(1, Window::All, (0, 900))), [1, 3]);
    }

    #[test]
    fn what_is_due() {
        let limits = EngineLimits::default();
        let due = |today| Due { today, limits: &limits };
        let day = Window::Day;
        let many: Vec<_> = (0..8).map(|g| section(g, day(10), (0, 1))).collect();
        assert!(is_due(&many, day(10), due(10)));
        assert!(!is_due(&many[..7], day(10), due(10)));
        assert!(is_due(&many[..2], day(9), due(10)));
        assert!(!is_due(&many[..2], Window::All, due(10)));
        assert!(is_due(&many[..2], Window::Month(0), due(10)));
        let months: Vec<_> = (0..3).map(|g| section(g, Window::Month(0), (0, 1))).collect();
        assert!(!is_due(&months, Window::Month(0), due(99)), "merged already");
        assert_eq!(fitting(&many, 3 * 1024).len(), 3);
        assert_eq!(fitting(&many, 3 * 1024)[2].generation, 7);
    }

    #[test]
    fn days_of_a_month_that_is_over_are_merged_unless_readings_end_by_days() {
        let limits = EngineLimits { compaction_bytes_max: 3 * 1024, ..EngineLimits::default() };
        let tenant = TenantId::from_bytes([1; 16]);
        let mut catalog = Catalog::default();
        let end = |day: i64| day * veritwin_domain::DAY_MICROS;
        for day in 0..5 {
            let one = section(day as u64, Window::Day(day), (end(day), end(day) + 9));
            catalog.tenant_mut(tenant).sections.push(one);
        }
        let look = |today: i64, by_days: Option<&HashSet<TenantId>>| {
            plan(&catalog, Due { today, limits: &limits }, by_days, &HashSet::new())
        };
        let (none, own) = (HashSet::new(), HashSet::from([tenant]));
        assert!(look(99, None).is_empty() && look(99, Some(&own)).is_empty());
        assert!(look(31 + 6, Some(&none)).is_empty(), "late data has its time");
        let found = look(31 + 7, Some(&none)).pop().expect("a plan");
        assert_eq!((found.window, found.inputs.len()), (Window::Month(0), 3));
        assert_eq!(found.inputs[0].window, Window::Day(2), "the newest that fit");
    }

    #[test]
    fn one_merge_takes_as_much_of_many_tenants_as_fits() {
        let limits = EngineLimits {
            compaction_bytes_max: 5 * 1024,
            compaction_sections_min: 4,
            ..EngineLimits::default()
        };
        let due = Due { today: 10, limits: &limits };
        let tenant = |number: u8| TenantId::from_bytes([number; 16]);
        let mut catalog = Catalog::default();
        let mut add = |number: u8, window: Window, generation: u64| {
            let one = section(generation, window, (0, 9));
            catalog.tenant_mut(tenant(number)).add(Arc::unwrap_or_clone(one));
        };
        for number in 1..=6 {
            add(number, Window::Day(9), 1);
            add(number, Window::Day(9), 2);
        }
        (1..9).for_each(|generation| add(7, Window::All, generation));
        let look = |by_days: &[u8], passed_by: &[u8]| -> Vec<TenantId> {
            let of = |numbers: &[u8]| -> HashSet<TenantId> {
                numbers.iter().map(|number| tenant(*number)).collect()
            };
            let plans = plan(&catalog, due, Some(&of(by_days)), &of(passed_by));
            plans.into_iter().map(|plan| plan.tenant).collect()
        };
        let all: [u8; 6] = [1, 2, 3, 4, 5, 6];
        assert_eq!(look(&all, &[]), [tenant(1), tenant(2)], "two of two kilobytes fit");
        assert_eq!(look(&all, &[1]), [tenant(2), tenant(3)]);
        assert_eq!(look(&[1, 3, 5], &[]), [tenant(1), tenant(3)], "what ends by days is apart");
        assert_eq!(look(&[3, 5], &[1]), [tenant(2), tenant(4)]);
        assert_eq!(look(&all, &all), [tenant(7)], "an overlay is alone");
    }
}
