//! How a worker that is linked to several gateways shares its slots among them: those that report a backlog get
//! them, in equal parts, and every other keeps one, so that its first job starts without asking. Equal parts as in
//! max-min fairness, but for how deep the backlogs are: a gateway that takes less than its part has none, and says so.
//! Pure; `windows.rs` says them, and the simulation of whole meshes in `tests/` holds it to them.
//!
//! With `n` gateways, `b` of them with a backlog, and at least one slot:
//! - `b > 0`: the windows of those with a backlog sum to max(slots, b), and each other's is 1;
//! - `b = 0`: all sum to max(slots, n);
//! - so all together are at least the slots, and at most max(slots, b) + n − b < slots + n;
//! - two with a backlog, or two without, differ by 1 at most, and the one that joined first has the more.

/// A link of this node, by a number of the node's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// The slots of one worker, and who may fill them.
#[derive(Debug)]
pub struct Share {
    slots: u32,
    /// In the order in which they joined.
    gateways: Vec<Gateway>,
}

#[derive(Debug)]
struct Gateway {
    link: LinkId,
    has_backlog: bool,
    window: u32,
}

impl Share {
    /// A worker with so many slots.
    pub fn new(slots: u32) -> Self {
        Self { slots, gateways: Vec::new() }
    }

    /// A link stands. Its gateway goes by `Hello.slots` until it is told a window, so nothing is said if that is right.
    pub fn join(&mut self, link: LinkId) -> Vec<(LinkId, u32)> {
        if !self.gateways.iter().any(|gateway| gateway.link == link) {
            self.gateways.push(Gateway { link, has_backlog: false, window: self.slots });
        }
        self.settle()
    }

    /// A link is gone.
    pub fn leave(&mut self, link: LinkId) -> Vec<(LinkId, u32)> {
        self.gateways.retain(|gateway| gateway.link != link);
        self.settle()
    }

    /// So many jobs wait at a gateway that this worker could run.
    pub fn backlog(&mut self, link: LinkId, waiting: u64) -> Vec<(LinkId, u32)> {
        if let Some(gateway) = self.gateways.iter_mut().find(|gateway| gateway.link == link) {
            gateway.has_backlog = waiting > 0;
        }
        self.settle()
    }

    /// Answers the windows that are no longer what their gateways were told.
    fn settle(&mut self) -> Vec<(LinkId, u32)> {
        let nobody_waits = !self.gateways.iter().any(|gateway| gateway.has_backlog);
        let shares = |gateway: &Gateway| nobody_waits || gateway.has_backlog;
        let sharers = self.gateways.iter().filter(|gateway| shares(gateway)).count();
        let sharers = u32::try_from(sharers).unwrap_or(u32::MAX).max(1);
        let (part, mut remainder) = (self.slots / sharers, self.slots % sharers);
        // A worker without slots gives none.
        let least = self.slots.min(1);
        let mut changed = Vec::new();
        for gateway in &mut self.gateways {
            let mut window = least;
            if shares(gateway) {
                let extra = remainder.min(1);
                remainder -= extra;
                window = window.max(part + extra);
            }
            if gateway.window != window {
                gateway.window = window;
                changed.push((gateway.link, window));
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests;
