//! What was taken over from gateways that were lost, until the log has a line of it: a claim brings a few tickets, and a gateway
//! may have had thousands. A table.

use std::collections::BTreeMap;

use turno_store::GatewayId;

/// How many, by the gateway that had them.
#[derive(Default)]
pub(super) struct Taken(BTreeMap<GatewayId, u64>);

impl Taken {
    /// A claim has brought tickets of these. Answers whether it has brought none, so that there is nothing to wait for.
    pub(super) fn add(&mut self, lost: impl Iterator<Item = GatewayId>) -> bool {
        let mut is_over = true;
        for gateway in lost {
            *self.0.entry(gateway).or_default() += 1;
            is_over = false;
        }
        is_over
    }

    /// A line for each gateway.
    pub(super) fn tell(&mut self) {
        for (gateway, tickets) in std::mem::take(&mut self.0) {
            tracing::info!(tickets, from = %gateway.0, "tickets taken over");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use turno_store::{GatewayId, TicketId};

    use super::Taken;

    #[test]
    fn what_many_claims_bring_of_a_gateway_is_told_at_once() {
        let [one, other] = [TicketId::new(), TicketId::new()].map(|id| GatewayId(id.0));
        let mut taken = Taken::default();
        assert!(!taken.add([one, other, one].into_iter()));
        assert!(!taken.add([one].into_iter()));
        assert!(taken.add(std::iter::empty()));
        assert_eq!(taken.0, BTreeMap::from([(one, 3), (other, 1)]));
        taken.tell();
        assert!(taken.0.is_empty());
    }
}
