//! The names in one directory of a volume.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::NodeId;

/// Entries by name and, so that reading a directory while it changes skips nothing, in the order in
/// which they came.
pub(super) struct Directory {
    pub(super) parent: NodeId,
    pub(super) by_name: BTreeMap<Rc<[u8]>, (NodeId, u64)>,
    pub(super) in_order: BTreeMap<u64, Rc<[u8]>>,
    next: u64,
}

impl Directory {
    pub(super) fn new(parent: NodeId) -> Self {
        Self { parent, by_name: BTreeMap::new(), in_order: BTreeMap::new(), next: 0 }
    }

    pub(super) fn insert(&mut self, name: &[u8], node: NodeId) {
        let name: Rc<[u8]> = name.into();
        self.in_order.insert(self.next, Rc::clone(&name));
        self.by_name.insert(name, (node, self.next));
        self.next += 1;
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        if let Some((_, number)) = self.by_name.remove(name) {
            self.in_order.remove(&number);
        }
    }
}
