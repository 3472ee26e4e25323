//! Which addresses a node may reach in the name of a caller. Asked by `resolver` for what a name resolves to,
//! and by `fetcher` for the literal address in a URL, before every hop. Pure: no DNS, no I/O.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

#[cfg(test)]
mod tests;

/// Why a target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The machine itself; lifted by `allow_private`.
    #[error("a loopback address")]
    Loopback,
    /// A network of the operator's own; lifted by `allow_private`.
    #[error("a private address")]
    Private,
    /// Where a cloud hands its machines their credentials.
    #[error("a cloud metadata address")]
    Metadata,
    /// The wire that the machine is on.
    #[error("a link-local address")]
    LinkLocal,
    /// `0.0.0.0/8` or `::`, which many systems take for the machine itself.
    #[error("an unspecified address")]
    Unspecified,
    /// Every machine of the network.
    #[error("a broadcast address")]
    Broadcast,
    /// Many machines at once.
    #[error("a multicast address")]
    Multicast,
    /// Set apart for documentation, tests, tunnels or a time to come.
    #[error("a reserved address")]
    Reserved,
    /// Something else than HTTP.
    #[error("a scheme other than http and https")]
    Scheme,
}

impl Refused {
    fn lifted_by_allow_private(self) -> bool {
        matches!(self, Self::Loopback | Self::Private)
    }
}

/// Whether a node may connect to `address`. Loopback and private networks need `allow_private`; what is no
/// ordinary host is always refused, in IPv4 or in any IPv6 form that carries an IPv4 address.
pub fn allowed(address: IpAddr, allow_private: bool) -> Result<(), Refused> {
    match refusal(address) {
        Some(refused) if !(allow_private && refused.lifted_by_allow_private()) => Err(refused),
        _ => Ok(()),
    }
}

/// Whether a node may send a request to `url`, as far as the URL itself tells: a name is judged when it is
/// resolved.
pub(super) fn check(url: &Url, allow_private: bool) -> Result<(), Refused> {
    if !is_http(url) {
        return Err(Refused::Scheme);
    }
    literal_address(url).map_or(Ok(()), |address| allowed(address, allow_private))
}

pub(super) fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

/// The address that stands in the URL in place of a name. The URL's parser has brought it to its usual form
/// (`127.1`, `2130706433` and `0x7f.1` are `127.0.0.1`).
fn literal_address(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

fn refusal(address: IpAddr) -> Option<Refused> {
    match address {
        IpAddr::V4(v4) => refusal_v4(v4),
        IpAddr::V6(v6) => carried_v4(v6).map_or_else(|| refusal_v6(v6), refusal_v4),
    }
}

/// Of the networks that do not lead to one public host; the first that matches counts.
const NETWORKS_V4: &[(Ipv4Addr, u32, Refused)] = &[
    (Ipv4Addr::new(169, 254, 169, 254), 32, Refused::Metadata),
    // Alibaba Cloud, inside 100.64/10.
    (Ipv4Addr::new(100, 100, 100, 200), 32, Refused::Metadata),
    // Azure's WireServer, an otherwise public address.
    (Ipv4Addr::new(168, 63, 129, 16), 32, Refused::Metadata),
    // Oracle Cloud, inside 192.0.0/24.
    (Ipv4Addr::new(192, 0, 0, 192), 32, Refused::Metadata),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Refused::LinkLocal),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Refused::Loopback),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Refused::Private),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Refused::Private),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Refused::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Refused::Private),
    (Ipv4Addr::new(0, 0, 0, 0), 8, Refused::Unspecified),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Refused::Reserved),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Refused::Reserved),
    (Ipv4Addr::new(192, 88, 99, 0), 24, Refused::Reserved),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Refused::Reserved),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Refused::Reserved),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Refused::Reserved),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Refused::Multicast),
    (Ipv4Addr::BROADCAST, 32, Refused::Broadcast),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Refused::Reserved),
];

fn refusal_v4(address: Ipv4Addr) -> Option<Refused> {
    let within =
        |network: Ipv4Addr, prefix: u32| (address.to_bits() ^ network.to_bits()) >> (32 - prefix) == 0;
    NETWORKS_V4.iter().find(|(network, prefix, _)| within(*network, *prefix)).map(|(_, _, refused)| *refused)
}

/// As above, for IPv6.
const NETWORKS_V6: &[(Ipv6Addr, u32, Refused)] = &[
    // AWS, then Google Cloud, both inside fc00::/7.
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, Refused::Metadata),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, Refused::Metadata),
    (Ipv6Addr::UNSPECIFIED, 128, Refused::Unspecified),
    (Ipv6Addr::LOCALHOST, 128, Refused::Loopback),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Refused::LinkLocal),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Refused::Private),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Refused::Multicast),
    // Protocol assignments, Teredo among them.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Refused::Reserved),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Refused::Reserved),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Refused::Reserved),
];

/// The only part of IPv6 that is given out to hosts of the Internet.
const GLOBAL_UNICAST: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

fn refusal_v6(address: Ipv6Addr) -> Option<Refused> {
    let listed = NETWORKS_V6.iter().find(|(network, prefix, _)| within_v6(address, *network, *prefix));
    let (network, prefix) = GLOBAL_UNICAST;
    match listed {
        Some((_, _, refused)) => Some(*refused),
        None if within_v6(address, network, prefix) => None,
        None => Some(Refused::Reserved),
    }
}

fn within_v6(address: Ipv6Addr, network: Ipv6Addr, prefix: u32) -> bool {
    (address.to_bits() ^ network.to_bits()) >> (128 - prefix) == 0
}

/// The IPv4 address that packets to `address` end at: mapped (`::ffff:0:0/96`), NAT64 (`64:ff9b::/96`), 6to4
/// (`2002::/16`).
fn carried_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))),
        _ => None,
    }
}
