//! What a client wants of its map: reads the header, and says what is wrong with it. Pure.

use tonic::Status;
use turno_proto::v1::{MapHeader, MapOrder, OnFailure as Wire};

use crate::quote::beginning;

/// A map's header, understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Terms {
    /// "/gallery.v1.Gallery/Thumbnail"
    pub(crate) path: String,
    /// Results in the order of the items, or as they come.
    pub(crate) ordered: bool,
    pub(crate) on_failure: OnFailure,
    /// Items that are at nodes or whose results wait to be read.
    pub(crate) in_flight: usize,
}

/// What a failure does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum OnFailure {
    Collect,
    Stop,
    /// It stops the map when more than this share of the items has failed.
    StopAbove(f64),
}

const IN_FLIGHT: usize = 16_384;
const MOST_IN_FLIGHT: usize = 1 << 20;

impl Terms {
    pub(crate) fn read(header: &MapHeader) -> Result<Self, Status> {
        let in_flight = match usize::try_from(header.in_flight).unwrap_or(usize::MAX) {
            0 => IN_FLIGHT,
            in_flight if in_flight <= MOST_IN_FLIGHT => in_flight,
            in_flight => return Err(wrong(format!("in_flight: at most {MOST_IN_FLIGHT}, not {in_flight}"))),
        };
        let ordered = match MapOrder::try_from(header.order) {
            Ok(MapOrder::Unspecified | MapOrder::AsTheyCome) => false,
            Ok(MapOrder::AsSent) => true,
            Err(_) => return Err(wrong(format!("order: {} is none", header.order))),
        };
        Ok(Self { path: path(&header.method)?, ordered, on_failure: on_failure(header)?, in_flight })
    }
}

/// A method may be written with a slash before it, as in HTTP.
fn path(method: &str) -> Result<String, Status> {
    let name = method.strip_prefix('/').unwrap_or(method);
    match name.split_once('/') {
        Some((service, rpc)) if !service.is_empty() && !rpc.is_empty() && !rpc.contains('/') => {
            Ok(format!("/{name}"))
        }
        _ => {
            let method = beginning(method);
            Err(wrong(format!("method: {method:?} names none; write it as package.Service/Method")))
        }
    }
}

fn on_failure(header: &MapHeader) -> Result<OnFailure, Status> {
    let share = header.failures;
    let on_failure = match Wire::try_from(header.on_failure) {
        Ok(Wire::StopAbove) if (0.0..=1.0).contains(&share) => return Ok(OnFailure::StopAbove(share)),
        Ok(Wire::StopAbove) => return Err(wrong(format!("failures: a share from 0 to 1, not {share}"))),
        Ok(Wire::Unspecified | Wire::Collect) => OnFailure::Collect,
        Ok(Wire::Stop) => OnFailure::Stop,
        Err(_) => return Err(wrong(format!("on_failure: {} is none", header.on_failure))),
    };
    if share != 0.0 {
        return Err(wrong("failures: a share is for ON_FAILURE_STOP_ABOVE alone".to_owned()));
    }
    Ok(on_failure)
}

fn wrong(what: String) -> Status {
    Status::invalid_argument(format!("the map's header: {what}"))
}

#[cfg(test)]
mod tests {
    use super::{IN_FLIGHT, OnFailure, Terms};
    use tonic::Code;
    use turno_proto::v1::{MapHeader, OnFailure as Wire};

    fn header(method: &str) -> MapHeader {
        MapHeader { method: method.to_owned(), ..MapHeader::default() }
    }

    #[test]
    fn what_is_not_said_has_a_meaning() {
        for method in ["kitchen.v1.Kitchen/Square", "/kitchen.v1.Kitchen/Square"] {
            let terms = Terms::read(&header(method)).unwrap();
            let expected = Terms {
                path: "/kitchen.v1.Kitchen/Square".to_owned(),
                ordered: false,
                on_failure: OnFailure::Collect,
                in_flight: IN_FLIGHT,
            };
            assert_eq!(terms, expected);
        }
    }

    #[test]
    fn a_share_is_understood() {
        let wanted = MapHeader { on_failure: Wire::StopAbove.into(), failures: 0.05, ..header("a/b") };
        assert_eq!(Terms::read(&wanted).unwrap().on_failure, OnFailure::StopAbove(0.05));
    }

    #[test]
    fn each_mistake_is_named() {
        let above = MapHeader { on_failure: Wire::StopAbove.into(), ..header("a/b") };
        for (wrong, named) in [
            (header(""), "method: \"\""),
            (header("a"), "package.Service/Method"),
            (header("a/"), "method: "),
            (header("a/b/c"), "method: "),
            (header(&"a/".repeat(10_000)), "method: "),
            (MapHeader { in_flight: u32::MAX, ..header("a/b") }, "in_flight: at most 1048576"),
            (MapHeader { order: 7, ..header("a/b") }, "order: 7"),
            (MapHeader { on_failure: 9, ..header("a/b") }, "on_failure: 9"),
            (MapHeader { failures: 0.5, ..header("a/b") }, "failures: a share is for"),
            (MapHeader { failures: 1.5, ..above.clone() }, "from 0 to 1, not 1.5"),
            (MapHeader { failures: f64::NAN, ..above }, "from 0 to 1, not NaN"),
        ] {
            let error = Terms::read(&wrong).unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument);
            assert!(error.message().contains(named), "{error}");
            assert!(error.message().len() < 1000, "{error}");
        }
    }
}
