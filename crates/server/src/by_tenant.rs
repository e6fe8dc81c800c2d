//! Work on many things of many tenants: each tenant's one after the other, tenants beside each
//! other, so that one that is slow holds up no others.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use veritwin_domain::TenantId;

/// So many tenants are worked for at once.
pub(crate) const TENANTS_AT_ONCE: usize = 64;

/// Does `each` of what a tenant has, for all tenants.
pub(crate) async fn for_each_tenant<T, F>(
    all: impl IntoIterator<Item = (TenantId, T)>,
    each: impl Fn(Vec<T>) -> F,
) where
    F: Future<Output = ()>,
{
    let mut tenants: BTreeMap<TenantId, Vec<T>> = BTreeMap::new();
    for (tenant, one) in all {
        tenants.entry(tenant).or_default().push(one);
    }
    let all = stream::iter(tenants.into_values());
    all.for_each_concurrent(TENANTS_AT_ONCE, each).await;
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[tokio::test]
    async fn a_tenant_that_is_slow_holds_up_no_others() {
        let done = Mutex::new(Vec::new());
        let tenant = |number: u8| TenantId::from_bytes([number; 16]);
        let all = [(1, "slow"), (1, "behind it"), (2, "b"), (2, "c"), (3, "d")];
        let all = all.map(|(number, name)| (tenant(number), name));
        let working = for_each_tenant(all, |own: Vec<&str>| {
            let done = &done;
            async move {
                for name in own {
                    if name == "slow" {
                        std::future::pending::<()>().await;
                    }
                    done.lock().push(name);
                }
            }
        });
        let mut working = std::pin::pin!(working);
        assert!(futures::poll!(working.as_mut()).is_pending());
        assert_eq!(*done.lock(), ["b", "c", "d"]);
    }
}
