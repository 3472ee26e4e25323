//! Who pays: the tenant that a call names in `turno-tenant`, as the scheduler knows it.

use std::hash::{BuildHasher as _, RandomState};

use crate::scheduler::TenantId;

/// Names become numbers by a keyed hash, so that no name has to be kept: two that met by chance, one pair in
/// 4 billion, would share one tenant's part, and nobody can make them meet on purpose.
#[derive(Default)]
pub(crate) struct Tenants(RandomState);

impl Tenants {
    /// All calls that name no tenant, together.
    pub(crate) const NAMELESS: TenantId = TenantId(0);

    pub(crate) fn id(&self, name: &[u8]) -> TenantId {
        // The upper half of 64 good bits.
        let hash = u32::try_from(self.0.hash_one(name) >> 32).unwrap_or(u32::MAX);
        if hash == Self::NAMELESS.0 { TenantId(1) } else { TenantId(hash) }
    }
}

#[cfg(test)]
mod tests {
    use super::Tenants;

    #[test]
    fn a_name_is_one_tenant() {
        let tenants = Tenants::default();
        assert_eq!(tenants.id(b"bakery"), tenants.id(b"bakery"));
        assert_ne!(tenants.id(b"bakery"), tenants.id(b"brewery"));
        assert_ne!(tenants.id(b""), Tenants::NAMELESS);
    }
}
