//! The one provider of cryptography: ring.

/// To be called first in every main: without a provider HTTPS fails at run time. A second call does nothing.
pub fn install_provider() {
    // It fails only when a provider is there already, which is all that is wanted.
    let _already_there = rustls::crypto::ring::default_provider().install_default();
}
