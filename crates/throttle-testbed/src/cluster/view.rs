//! A node's view of the cluster.

/// The number of slots of a cluster.
pub(crate) const SLOTS: usize = 16_384;

/// A line of `CLUSTER NODES`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeView {
    pub(crate) id: String,
    pub(crate) is_master: bool,
    /// The node is marked as failed, or suspected to have failed.
    pub(crate) has_failed: bool,
    /// The ID of a replica's master.
    pub(crate) master: Option<String>,
    slots: Vec<(u16, u16)>,
}

impl NodeView {
    /// Parses all lines.
    pub(crate) fn all(text: &str) -> Vec<Self> {
        text.lines().filter_map(Self::parse).collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (id, _address) = (words.next()?, words.next()?);
        let (flags, master) = (words.next()?, words.next()?);
        // Two times, an epoch and the state of the link precede the slots.
        let slots = words.skip(4).filter_map(range).collect();
        let has = |flag| flags.split(',').any(|word| word == flag);
        Some(Self {
            id: id.to_owned(),
            is_master: has("master"),
            has_failed: has("fail") || has("fail?"),
            master: (master != "-").then(|| master.to_owned()),
            slots,
        })
    }

    pub(crate) fn serves(&self, slot: u16) -> bool {
        self.slots.iter().any(|&(first, last)| (first..=last).contains(&slot))
    }

    pub(crate) fn serves_any(&self) -> bool {
        !self.slots.is_empty()
    }
}

/// Returns the number of slots with a master.
pub(crate) fn served(views: &[NodeView]) -> usize {
    let slots = views.iter().flat_map(|node| &node.slots);
    slots.map(|(first, last)| usize::from(last - first) + 1).sum::<usize>().min(SLOTS)
}

/// Parses `5` or `0-5460`. Returns `None` for `[5->-id]`, a slot that moves.
fn range(word: &str) -> Option<(u16, u16)> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some((first.parse().ok()?, last.parse().ok()?))
}
