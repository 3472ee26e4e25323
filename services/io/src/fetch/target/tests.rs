//! The guard as a table: every network it knows, at its edges, in each form.

use std::net::{IpAddr, Ipv4Addr};

use reqwest::Url;

use super::{Refused, allowed, check};

const PUBLIC: &[&str] = &[
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2001:4860:4860::8888",
    "2a00::1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
];

/// Refused without `allow_private`, let through with it.
const LIFTABLE: &[(&str, Refused)] = &[
    ("127.0.0.1", Refused::Loopback),
    ("127.255.255.255", Refused::Loopback),
    ("::1", Refused::Loopback),
    ("10.0.0.0", Refused::Private),
    ("10.255.255.255", Refused::Private),
    ("172.16.0.1", Refused::Private),
    ("172.31.255.255", Refused::Private),
    ("192.168.0.1", Refused::Private),
    ("192.168.255.255", Refused::Private),
    ("100.64.0.0", Refused::Private),
    ("100.127.255.255", Refused::Private),
    ("fc00::", Refused::Private),
    ("fdff:ffff::1", Refused::Private),
    ("::ffff:127.0.0.1", Refused::Loopback),
    ("64:ff9b::7f00:1", Refused::Loopback),
    ("2002:7f00:1::", Refused::Loopback),
    ("::ffff:10.1.2.3", Refused::Private),
    ("64:ff9b::c0a8:1", Refused::Private),
    ("2002:ac10:1::5", Refused::Private),
];

/// Refused whatever the configuration.
const NEVER: &[(&str, Refused)] = &[
    ("169.254.169.254", Refused::Metadata),
    ("100.100.100.200", Refused::Metadata),
    ("168.63.129.16", Refused::Metadata),
    ("192.0.0.192", Refused::Metadata),
    ("fd00:ec2::254", Refused::Metadata),
    ("fd20:ce::254", Refused::Metadata),
    ("::ffff:169.254.169.254", Refused::Metadata),
    ("64:ff9b::a9fe:a9fe", Refused::Metadata),
    ("2002:a9fe:a9fe::", Refused::Metadata),
    ("169.254.0.0", Refused::LinkLocal),
    ("169.254.255.255", Refused::LinkLocal),
    ("fe80::1", Refused::LinkLocal),
    ("febf:ffff::1", Refused::LinkLocal),
    ("0.0.0.0", Refused::Unspecified),
    ("0.255.255.255", Refused::Unspecified),
    ("::", Refused::Unspecified),
    ("::ffff:0.0.0.0", Refused::Unspecified),
    ("255.255.255.255", Refused::Broadcast),
    ("224.0.0.1", Refused::Multicast),
    ("239.255.255.255", Refused::Multicast),
    ("ff02::1", Refused::Multicast),
    ("192.0.0.1", Refused::Reserved),
    ("192.0.2.1", Refused::Reserved),
    ("192.88.99.1", Refused::Reserved),
    ("198.18.0.1", Refused::Reserved),
    ("198.19.255.255", Refused::Reserved),
    ("198.51.100.7", Refused::Reserved),
    ("203.0.113.9", Refused::Reserved),
    ("240.0.0.1", Refused::Reserved),
    ("255.255.255.254", Refused::Reserved),
    ("2001:db8::1", Refused::Reserved),
    ("3fff::1", Refused::Reserved),
    // Teredo, IPv4-compatible, IPv4-translated, local NAT64, discard, site-local, segment routing.
    ("2001:0:a9fe:a9fe::", Refused::Reserved),
    ("::7f00:1", Refused::Reserved),
    ("::ffff:0:127.0.0.1", Refused::Reserved),
    ("64:ff9b:1::7f00:1", Refused::Reserved),
    ("100::1", Refused::Reserved),
    ("fec0::1", Refused::Reserved),
    ("5f00::1", Refused::Reserved),
];

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is no address"))
}

#[test]
fn public_hosts_are_reached() {
    for text in PUBLIC {
        assert_eq!(allowed(address(text), false), Ok(()), "{text}");
        assert_eq!(allowed(address(text), true), Ok(()), "{text}");
    }
}

#[test]
fn own_networks_need_permission() {
    for (text, refused) in LIFTABLE {
        assert_eq!(allowed(address(text), false), Err(*refused), "{text}");
        assert_eq!(allowed(address(text), true), Ok(()), "{text}");
    }
}

#[test]
fn what_is_no_ordinary_host_is_never_reached() {
    for (text, refused) in NEVER {
        assert_eq!(allowed(address(text), false), Err(*refused), "{text}");
        assert_eq!(allowed(address(text), true), Err(*refused), "{text}");
    }
}

#[test]
fn every_ipv6_form_of_an_ipv4_address_is_judged_like_it() {
    let carriers = |v4: Ipv4Addr| {
        let [a, b, c, d] = v4.octets();
        [format!("::ffff:{v4}"), format!("64:ff9b::{v4}"), format!("2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1")]
    };
    // A step coprime to 2^32 walks through all of IPv4's networks.
    for step in 0..20_000_u32 {
        let v4 = Ipv4Addr::from_bits(step.wrapping_mul(0x9e37_79b1));
        for text in carriers(v4) {
            assert_eq!(allowed(address(&text), false), allowed(IpAddr::V4(v4), false), "{text}");
            assert_eq!(allowed(address(&text), true), allowed(IpAddr::V4(v4), true), "{text}");
        }
    }
}

#[test]
fn a_url_is_judged_by_its_scheme_and_literal_address() {
    for (text, expected) in [
        ("http://example.com/", Ok(())),
        ("https://8.8.8.8/", Ok(())),
        ("http://[2606:4700:4700::1111]:8080/", Ok(())),
        // Judged once it is resolved.
        ("http://localhost/", Ok(())),
        ("file:///etc/passwd", Err(Refused::Scheme)),
        ("ftp://example.com/", Err(Refused::Scheme)),
        ("http://127.0.0.1/", Err(Refused::Loopback)),
        ("http://127.1/", Err(Refused::Loopback)),
        ("http://2130706433/", Err(Refused::Loopback)),
        ("http://0x7f000001/", Err(Refused::Loopback)),
        ("http://0177.0.0.1/", Err(Refused::Loopback)),
        ("http://127.0.0.1./", Err(Refused::Loopback)),
        ("http://%31%32%37.0.0.1/", Err(Refused::Loopback)),
        ("http://①②⑦.0.0.1/", Err(Refused::Loopback)),
        ("http://user:word@127.0.0.1:80/", Err(Refused::Loopback)),
        ("http://[::1]/", Err(Refused::Loopback)),
        ("http://[::ffff:127.0.0.1]/", Err(Refused::Loopback)),
        ("http://[::ffff:7f00:1]/", Err(Refused::Loopback)),
        ("http://0/", Err(Refused::Unspecified)),
        ("http://169.254.169.254/latest/meta-data/", Err(Refused::Metadata)),
    ] {
        assert_eq!(check(&Url::parse(text).unwrap(), false), expected, "{text}");
    }
}
