//! Keeps a link to every address that a gateway's name resolves to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;
use turno_runtime::task;

use crate::client::link;
use crate::client::links::Links;
use crate::error::Error;
use crate::node::dialer::{Complaint, GOOD_LINK, LONGEST_WAIT, RESOLVE_EVERY, still_there, waits};

/// Dials until it is aborted.
pub(crate) async fn run(links: Arc<Links>, gateway: String) {
    let mut kept: HashMap<SocketAddr, AbortOnDropHandle<()>> = HashMap::new();
    let mut complaint = Complaint::default();
    loop {
        match tokio::net::lookup_host(&gateway).await {
            Ok(addresses) => {
                let addresses: Vec<_> = addresses.collect();
                // An address that the name has left is used for as long as its link stands.
                kept.retain(|address, link| !link.is_finished() || addresses.contains(address));
                for address in addresses {
                    let keeping =
                        || task::spawn("client.link", keep(links.clone(), gateway.clone(), address));
                    kept.entry(address)
                        .and_modify(|link| {
                            if link.is_finished() {
                                *link = AbortOnDropHandle::new(keeping())
                            }
                        })
                        .or_insert_with(|| AbortOnDropHandle::new(keeping()));
                }
            }
            Err(error) => {
                let error = Error::Unreachable { gateway: gateway.clone(), reason: error.to_string() };
                links.note(&error);
                complaint.about(&error);
            }
        }
        tokio::time::sleep(RESOLVE_EVERY).await;
    }
}

/// Keeps the link to one address for as long as the name resolves to it.
async fn keep(links: Arc<Links>, gateway: String, address: SocketAddr) {
    let (mut complaint, mut waits) = (Complaint::default(), waits());
    loop {
        let started = tokio::time::Instant::now();
        let ended = link::serve(&links, &address.to_string()).await;
        let error = ended.err().unwrap_or_else(|| Error::Ended { gateway: address.to_string() });
        links.note(&error);
        complaint.about(&error);
        if started.elapsed() > GOOD_LINK {
            (complaint, waits) = (Complaint::default(), self::waits());
        }
        tokio::time::sleep(waits.next().unwrap_or(LONGEST_WAIT)).await;
        if !still_there(&gateway, address).await {
            return;
        }
    }
}

/// "host:port", also written as an `http://` address.
pub(crate) fn address(gateway: String) -> Result<String, Error> {
    let wrong = |reason| Error::Address { address: gateway.clone(), reason };
    if gateway.starts_with("https://") {
        return Err(wrong("TLS is not spoken: name the port that speaks plain HTTP/2"));
    }
    let plain = gateway.strip_prefix("http://").unwrap_or(&gateway).trim_end_matches('/');
    match plain.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Ok(plain.to_owned())
        }
        _ => Err(wrong("expected host:port")),
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["127.0.0.1:7070", "http://127.0.0.1:7070", "http://127.0.0.1:7070/"] {
            assert_eq!(address(good.to_owned()).unwrap(), "127.0.0.1:7070");
        }
        assert_eq!(address("[::1]:7070".to_owned()).unwrap(), "[::1]:7070");
        for bad in ["", "gateway", "gateway:", ":7070", "gateway:0", "gateway:70707", "https://gateway:7070"]
        {
            assert!(address(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
