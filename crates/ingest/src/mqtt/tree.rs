//! The subscriptions of one tenant as a tree of topic levels: a message is matched by walking its
//! levels, whatever the number of subscriptions (MQTT 5.0, section 4.7).

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

use veritwin_domain::DeviceId;

use super::packet::Options;
use super::session::Session;

/// Whose subscription it is: of a session, or of a session as a member of a share, which is named
/// by its whole filter (MQTT 5.0, 4.8.2).
pub(super) type Subscriber = (Option<Arc<str>>, u64);

/// A subscription in the tree.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) session: Weak<Session>,
    /// The session's device.
    pub(super) device: DeviceId,
    pub(super) options: Options,
    /// Subscription Identifier.
    pub(super) id: Option<u32>,
    /// Whose turn it is in the share: one counter for its members. The tree gives it.
    pub(super) turn: Option<Arc<AtomicUsize>>,
}

/// A level of the tree. Wildcards are children like any other: no topic name holds them.
#[derive(Debug, Default)]
pub(super) struct Tree {
    children: HashMap<Box<str>, Tree>,
    here: BTreeMap<Subscriber, Leaf>,
}

impl Tree {
    /// Adds a subscription, or replaces the subscriber's older one to the same filter.
    pub(super) fn insert(&mut self, filter: &str, subscriber: Subscriber, mut leaf: Leaf) {
        let mut node = self;
        for level in filter.split('/') {
            node = node.children.entry(level.into()).or_default();
        }
        if let (Some(share), _) = &subscriber {
            let of_share = node.here.range((Some(Arc::clone(share)), 0)..).next();
            let known = of_share.filter(|((of, _), _)| of.as_ref() == Some(share));
            let turn = known.and_then(|(_, member)| member.turn.clone());
            leaf.turn = Some(turn.unwrap_or_default());
        }
        node.here.insert(subscriber, leaf);
    }

    /// Takes a subscription out, and the levels that nobody needs any more.
    pub(super) fn remove(&mut self, filter: &str, subscriber: &Subscriber) {
        let (level, rest) = match filter.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (filter, None),
        };
        let Some(child) = self.children.get_mut(level) else { return };
        match rest {
            Some(rest) => child.remove(rest, subscriber),
            None => {
                child.here.remove(subscriber);
            }
        }
        if child.here.is_empty() && child.children.is_empty() {
            self.children.remove(level);
        }
    }

    /// Shows every subscription to exactly this filter.
    pub(super) fn at<'a>(&'a self, filter: &str, found: &mut impl FnMut(&'a Subscriber, &'a Leaf)) {
        let mut node = self;
        for level in filter.split('/') {
            let Some(child) = node.children.get(level) else { return };
            node = child;
        }
        node.here.iter().for_each(|(subscriber, leaf)| found(subscriber, leaf));
    }

    /// Shows every subscription whose filter matches the topic. Wildcards at the start do not match
    /// topics that begin with `$` (MQTT-4.7.2-1).
    pub(super) fn matching<'a>(
        &'a self,
        topic: &str,
        found: &mut impl FnMut(&'a Subscriber, &'a Leaf),
    ) {
        self.walk(Some(topic), !topic.starts_with('$'), found);
    }

    fn walk<'a>(
        &'a self,
        rest: Option<&str>,
        takes_wildcards: bool,
        found: &mut impl FnMut(&'a Subscriber, &'a Leaf),
    ) {
        if takes_wildcards && let Some(all) = self.children.get("#") {
            all.here.iter().for_each(|(subscriber, leaf)| found(subscriber, leaf));
        }
        let Some(rest) = rest else {
            self.here.iter().for_each(|(subscriber, leaf)| found(subscriber, leaf));
            return;
        };
        let (level, rest) = match rest.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (rest, None),
        };
        if let Some(child) = self.children.get(level) {
            child.walk(rest, true, found);
        }
        if takes_wildcards && let Some(child) = self.children.get("+") {
            child.walk(rest, true, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::topic;

    fn leaf() -> Leaf {
        let (device, options) = (DeviceId::from_bytes([1; 16]), Options::default());
        Leaf { session: Weak::new(), device, options, id: None, turn: None }
    }

    #[test]
    fn the_tree_matches_as_one_filter_does() {
        let filters =
            ["#", "+", "a", "a/#", "a/+", "+/+", "a/b", "/", "+/", "a//b", "$x/#", "$x/+"];
        let topics = ["a", "a/b", "a/b/c", "/", "a/", "a//b", "$x", "$x/y", "b"];
        let mut tree = Tree::default();
        for (filter, session) in filters.iter().zip(1..) {
            tree.insert(filter, (None, session), leaf());
        }
        for name in topics {
            let mut found = Vec::new();
            tree.matching(name, &mut |(_, session), _| found.push(*session));
            found.sort_unstable();
            let matches = |(filter, _): &(&&str, u64)| topic::matches(filter, name);
            let expect: Vec<u64> =
                filters.iter().zip(1..).filter(matches).map(|(_, session)| session).collect();
            assert_eq!(found, expect, "{name}");
        }
    }

    #[test]
    fn a_share_has_one_counter() {
        let mut tree = Tree::default();
        let insert = |tree: &mut Tree, share: &str, session: u64| {
            tree.insert("a", (Some(share.into()), session), leaf());
        };
        tree.insert("a", (None, 1), leaf());
        for session in [3, 1, 2, 3] {
            insert(&mut tree, "$share/g/a", session);
        }
        insert(&mut tree, "$share/h/a", 1);
        let mut turns = Vec::new();
        tree.matching("a", &mut |_, leaf| turns.push(leaf.turn.clone()));
        let is_same = |left: usize, right: usize| match (&turns[left], &turns[right]) {
            (Some(left), Some(right)) => Arc::ptr_eq(left, right),
            _ => false,
        };
        assert!(turns[0].is_none() && turns.len() == 5, "{turns:?}");
        assert!(is_same(1, 2) && is_same(2, 3) && !is_same(3, 4), "{turns:?}");
    }

    #[test]
    fn what_is_taken_out_leaves_nothing_behind() {
        let mut tree = Tree::default();
        tree.insert("a/b/#", (None, 1), leaf());
        tree.insert("a/b/#", (None, 1), leaf());
        tree.insert("a/b/#", (Some("$share/g/a/b/#".into()), 1), leaf());
        tree.remove("a/c", &(None, 1));
        tree.remove("a/b/#", &(None, 2));
        let mut count = 0;
        tree.matching("a/b", &mut |_, _| count += 1);
        assert_eq!(count, 2);
        tree.remove("a/b/#", &(None, 1));
        tree.remove("a/b/#", &(Some("$share/g/a/b/#".into()), 1));
        assert!(tree.children.is_empty());
    }
}
