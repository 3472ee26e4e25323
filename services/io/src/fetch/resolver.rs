//! Names to addresses, the refused ones left out. Owned by the HTTP client, which asks it for every
//! connection it opens: a name that changes its address between a check and the connection gains nothing.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::target::{Refused, allowed};

/// The operating system's own names.
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // Port 0: the client puts in the URL's own.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

/// What `inner` answers, as far as the node may reach it.
pub(super) struct GuardedResolver<R> {
    pub(super) inner: R,
    pub(super) allow_private: bool,
}

impl<R: Resolve> Resolve for GuardedResolver<R> {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        let resolving = self.inner.resolve(name);
        Box::pin(async move {
            let reachable = reachable(resolving.await?, allow_private)?;
            Ok(Box::new(reachable.into_iter()) as Addrs)
        })
    }
}

/// The addresses that may be connected to; refused when there were some and none of them may.
fn reachable(
    found: impl Iterator<Item = SocketAddr>,
    allow_private: bool,
) -> Result<Vec<SocketAddr>, Refused> {
    let mut refused = None;
    let mut reachable = Vec::new();
    for address in found {
        match allowed(address.ip(), allow_private) {
            Ok(()) => reachable.push(address),
            Err(why) => refused = Some(why),
        }
    }
    match refused {
        Some(why) if reachable.is_empty() => Err(why),
        _ => Ok(reachable),
    }
}

#[cfg(test)]
mod tests {
    use super::{Refused, SocketAddr, reachable};

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect()
    }

    #[test]
    fn refused_addresses_are_left_out() {
        let found = addresses(&["127.0.0.1", "8.8.8.8", "169.254.169.254", "::1"]);
        assert_eq!(reachable(found.clone().into_iter(), false), Ok(addresses(&["8.8.8.8"])));
        assert_eq!(
            reachable(found.into_iter(), true),
            Ok(addresses(&["127.0.0.1", "8.8.8.8", "::1"])),
            "in order"
        );
    }

    #[test]
    fn a_name_with_refused_addresses_alone_is_refused() {
        assert_eq!(reachable(addresses(&["10.0.0.1"]).into_iter(), false), Err(Refused::Private));
        assert_eq!(reachable(addresses(&["0.0.0.0"]).into_iter(), true), Err(Refused::Unspecified));
    }

    #[test]
    fn a_name_without_addresses_is_not_refused_but_empty() {
        assert_eq!(reachable(addresses(&[]).into_iter(), false), Ok(Vec::new()));
    }
}
