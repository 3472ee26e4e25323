//! `option (turno.v1.method)`: what a method wants of the mesh, read beside its rpc, checked, and written as the
//! const that its marker carries.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use protox::prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};

use crate::Error;
use crate::services::is_repeatable;

const EXTENSION: &str = "turno.v1.method";
/// As the link tells times.
const SHORTEST: Duration = Duration::from_micros(1);
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// As gateways take it.
const MOST_RETRIES: u32 = 1000;

/// What the methods want that want anything, by "gallery.v1.Gallery/Thumbnail".
#[derive(Debug, Default)]
pub(crate) struct Policies(BTreeMap<String, Policy>);

#[derive(Debug)]
struct Policy {
    timeout: Option<Duration>,
    concurrency: Option<u32>,
    hedge_after: Option<Duration>,
    retries: Option<u32>,
}

impl Policies {
    /// All of `pool`, or all that is wrong with them. prost-types drops extensions; the pool keeps them.
    pub(crate) fn read(pool: &DescriptorPool) -> Result<Self, Error> {
        let Some(extension) = pool.get_extension_by_name(EXTENSION) else { return Ok(Self::default()) };
        let (mut policies, mut mistakes) = (BTreeMap::new(), Vec::new());
        for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let options = method.options();
            let said = options.get_extension(&extension);
            let Some(said) = said.as_message().filter(|_| options.has_extension(&extension)) else {
                continue;
            };
            match Policy::read(said, &method) {
                Ok(policy) => drop(policies.insert(name(&method), policy)),
                Err(wrong) => mistakes.extend(wrong.iter().map(|wrong| at(&method, wrong))),
            }
        }
        if mistakes.is_empty() { Ok(Self(policies)) } else { Err(Error::Policy { mistakes }) }
    }

    /// The const's value, in Rust, for an rpc that wants anything.
    pub(crate) fn expression(&self, rpc: &str, turno: &str) -> Option<String> {
        let policy = self.0.get(rpc)?;
        let mut text = format!("{turno}::rpc::Policy::NONE");
        let time = |time: Duration| format!("::core::time::Duration::from_micros({})", time.as_micros());
        let said = [
            ("timeout", policy.timeout.map(time)),
            ("concurrency", policy.concurrency.map(|limit| limit.to_string())),
            ("hedge_after", policy.hedge_after.map(time)),
            ("retries", policy.retries.map(|retries| retries.to_string())),
        ];
        for (field, value) in said {
            if let Some(value) = value {
                write!(text, ".with_{field}({value})").expect("a string takes all that is written to it");
            }
        }
        Some(text)
    }
}

impl Policy {
    fn read(said: &DynamicMessage, method: &MethodDescriptor) -> Result<Self, Vec<String>> {
        let mut mistakes = Vec::new();
        let mut time = |field| {
            let text = said.get_field_by_name(field)?.as_str().filter(|text| !text.is_empty())?.to_owned();
            duration(&text).map_err(|wrong| mistakes.push(format!("{field}: {text:?} {wrong}"))).ok()
        };
        let (timeout, hedge_after) = (time("timeout"), time("hedge_after"));
        if let Some(wrong) = hedge_after.and_then(|after| refuse_hedging(method, after, timeout)) {
            mistakes.push(format!("hedge_after: {wrong}"));
        }
        let concurrency = said.get_field_by_name("concurrency").and_then(|limit| limit.as_u32());
        let retries = said.has_field_by_name("retries").then(|| said.get_field_by_name("retries")).flatten();
        let retries = retries.and_then(|retries| retries.as_u32());
        if let Some(many) = retries.filter(|retries| *retries > MOST_RETRIES) {
            mistakes.push(format!("retries: {many} are more than {MOST_RETRIES}"));
        }
        let concurrency = concurrency.filter(|limit| *limit > 0);
        let policy = Self { timeout, concurrency, hedge_after, retries };
        if mistakes.is_empty() { Ok(policy) } else { Err(mistakes) }
    }
}

/// As everywhere in Turno: "500ms", "2s", "1h 30m".
fn duration(text: &str) -> Result<Duration, &'static str> {
    match humantime::parse_duration(text) {
        Err(_) => Err(r#"is no duration: write "500ms", "2s", "1m""#),
        Ok(Duration::ZERO) => Err("is no time at all: leave it out, if none is meant"),
        Ok(time) if time < SHORTEST => Err("is shorter than a microsecond"),
        Ok(time) if time > LONGEST => Err("is longer than 30 days"),
        Ok(time) => Ok(time),
    }
}

/// Why `method` cannot be begun a second time while the first still runs.
fn refuse_hedging(
    method: &MethodDescriptor,
    after: Duration,
    timeout: Option<Duration>,
) -> Option<&'static str> {
    let options = method.method_descriptor_proto().options.as_ref();
    if method.is_client_streaming() || method.is_server_streaming() {
        Some("a stream is not begun twice: only a method that takes one message and answers one is hedged")
    } else if !options.is_some_and(is_repeatable) {
        Some("it repeats the method: say `option idempotency_level = IDEMPOTENT` (or NO_SIDE_EFFECTS)")
    } else if timeout.is_some_and(|timeout| timeout <= after) {
        Some("the second attempt would never begin: the timeout comes first")
    } else {
        None
    }
}

fn name(method: &MethodDescriptor) -> String {
    let service = method.parent_service();
    format!("{}.{}/{}", service.package_name(), service.name(), method.name())
}

/// "shop.proto:12: rpc shop.v1.Shop/Sell: …"
fn at(method: &MethodDescriptor, wrong: &str) -> String {
    let file = method.parent_file();
    let places = file.file_descriptor_proto().source_code_info.as_ref();
    let place = places.and_then(|places| places.location.iter().find(|place| place.path == method.path()));
    let line =
        place.and_then(|place| place.span.first()).map_or_else(String::new, |line| format!(":{}", line + 1));
    format!("{}{line}: rpc {}: (turno.v1.method) {wrong}", file.name(), name(method))
}

#[cfg(test)]
mod tests;
