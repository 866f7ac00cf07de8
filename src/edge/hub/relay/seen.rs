//! The newest ids of something, so that nothing is taken twice. Bounded: the oldest are forgotten.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashSet;

/// Ids that were seen.
#[derive(Debug)]
pub(in crate::edge::hub) struct Seen {
    ids: FxHashSet<Arc<str>>,
    order: VecDeque<Arc<str>>,
    most: usize,
}

impl Seen {
    pub(in crate::edge::hub) fn new(most: usize) -> Self {
        Self { ids: FxHashSet::default(), order: VecDeque::new(), most }
    }

    pub(in crate::edge::hub) fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// Whether it is new.
    pub(in crate::edge::hub) fn insert(&mut self, id: &str) -> bool {
        if self.ids.contains(id) {
            return false;
        }
        let id: Arc<str> = id.into();
        self.ids.insert(Arc::clone(&id));
        self.order.push_back(id);
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_known_and_the_oldest_forgotten() {
        let mut seen = Seen::new(3);
        assert!(["a", "b", "c"].iter().all(|id| seen.insert(id)));
        assert!(!seen.insert("a") && seen.insert("d"));
        assert!(!seen.contains("a") && seen.contains("b") && seen.contains("d"));
        assert_eq!((seen.ids.len(), seen.order.len()), (3, 3));
    }
}
