//! Metadata as it travels over the link: raw lines, with the value of a `-bin` key decoded only where it is read.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::metadata::MetadataMap;

use crate::headers;
use crate::mesh::v1::Entry;

/// The user's own lines of a request's headers; what belongs to the transport stays behind.
pub fn from_request(map: &HeaderMap) -> Vec<Entry> {
    map.iter().filter(|(name, _)| !headers::is_transport(name.as_str())).map(entry).collect()
}

/// Every line of a user's metadata.
pub fn from_metadata(metadata: MetadataMap) -> Vec<Entry> {
    metadata.into_headers().iter().map(entry).collect()
}

/// Whether they say that the call stands behind others: of a ticket or a map, called by what is, or as its caller wishes.
pub fn is_batch(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.key == headers::LANE && entry.value == headers::BATCH)
}

fn entry((name, value): (&HeaderName, &HeaderValue)) -> Entry {
    Entry { key: name.as_str().to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) }
}

/// Lines that are no valid headers are left out: they cannot have come from one.
pub fn to_headers(entries: Vec<Entry>) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(entries.len());
    for Entry { key, value } in entries {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(key.as_bytes()), HeaderValue::from_maybe_shared(value))
        {
            map.append(name, value);
        }
    }
    map
}

/// The same, in tonic's clothes.
pub fn to_metadata(entries: Vec<Entry>) -> MetadataMap {
    MetadataMap::from_headers(to_headers(entries))
}

#[cfg(test)]
mod tests {
    use super::{from_metadata, from_request, to_metadata};
    use tonic::metadata::{MetadataMap, MetadataValue};

    #[test]
    fn metadata_comes_back_as_it_went() {
        let mut sent = MetadataMap::new();
        sent.append("city", MetadataValue::from_static("Roma"));
        sent.append("city", MetadataValue::from_static("Paris"));
        sent.append_bin("seal-bin", MetadataValue::from_bytes(&[0, 255, 7]));
        let got = to_metadata(from_metadata(sent));
        let cities: Vec<_> = got.get_all("city").iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!(cities, ["Roma", "Paris"]);
        assert_eq!(&got.get_bin("seal-bin").unwrap().to_bytes().unwrap()[..], [0, 255, 7]);
    }

    #[test]
    fn the_transports_own_headers_stay_behind() {
        let mut map = http::HeaderMap::new();
        map.insert("te", "trailers".parse().unwrap());
        map.insert("grpc-timeout", "1S".parse().unwrap());
        map.insert("x-shop", "bakery".parse().unwrap());
        let entries = from_request(&map);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].key, "x-shop");
    }
}
