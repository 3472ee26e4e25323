//! The filter of a listing: a subset of AIP-160, comparisons joined by AND. Reads; knows no store.

use prost_types::Timestamp as WireTimestamp;
use tonic::Status;
use turno_store::{Query, State, Timestamp};

use crate::quote::beginning;
use crate::tickets::submission::is_label;

const LONGEST: usize = 4096;
const LABELS: &str = "labels.";

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(&'static str),
}

/// Reads `filter` into a query for all that it lets through.
pub(crate) fn query(filter: &str) -> Result<Query, Status> {
    if filter.len() > LONGEST {
        return Err(refused(&format!("{} bytes are more than {LONGEST}", filter.len())));
    }
    let mut query = Query::default();
    let tokens = tokens(filter)?;
    let mut rest = tokens.as_slice();
    while !rest.is_empty() {
        let [field, sign, value, others @ ..] = rest else {
            return Err(refused(&format!("{} is no comparison: expected FIELD = VALUE", told(rest))));
        };
        compare(&mut query, field, sign, value)?;
        rest = match others {
            [] => others,
            [Token::Word(and), next @ ..] if and == "AND" && !next.is_empty() => next,
            _ => {
                let what = told(others);
                return Err(refused(&format!(
                    "{what} is not understood: comparisons are joined by AND alone"
                )));
            }
        };
    }
    Ok(query)
}

fn compare(query: &mut Query, field: &Token, sign: &Token, value: &Token) -> Result<(), Status> {
    let (Token::Word(field), Token::Sign(sign), Token::Word(value) | Token::Text(value)) =
        (field, sign, value)
    else {
        let what = told(&[field.clone(), sign.clone(), value.clone()]);
        return Err(refused(&format!("{what} is no comparison: expected FIELD = VALUE")));
    };
    let before = query.clone();
    match (field.as_str(), *sign) {
        ("state", "=") => query.states.push(state(value)?),
        // It may be a path, as in a submit.
        ("method", "=") => query.method = Some(value.strip_prefix('/').unwrap_or(value).to_owned()),
        ("tenant", "=") => query.tenant = Some(value.clone()),
        ("submitted_at", ">=") => query.since = Some(time(value)?),
        ("submitted_at", ">") => query.since = Some(Timestamp(time(value)?.0.saturating_add(1))),
        ("submitted_at", "<") => query.before = Some(time(value)?),
        ("submitted_at", "<=") => query.before = Some(Timestamp(time(value)?.0.saturating_add(1))),
        ("submitted_at", "=") => return Err(refused("submitted_at takes >, >=, < and <=")),
        (field, "=") if field.strip_prefix(LABELS).is_some_and(is_label) => {
            query.labels.insert(field[LABELS.len()..].to_owned(), value.clone());
        }
        ("state" | "method" | "tenant", _) => return Err(refused(&format!("{field} takes = alone"))),
        (field, _) if field.starts_with(LABELS) => {
            return Err(refused(&format!("{} is no label, or not compared by =", beginning(field))));
        }
        (field, _) => {
            return Err(refused(&format!(
                "{:?} is not known: there are state, method, tenant, labels.NAME and submitted_at",
                beginning(field)
            )));
        }
    }
    if said_twice(&before, query) { Err(refused(&format!("{field} is compared twice"))) } else { Ok(()) }
}

/// Both would have to hold, and only the last would be asked for.
fn said_twice(before: &Query, now: &Query) -> bool {
    now.states.len() > 1
        || (before.method.is_some() && before.method != now.method)
        || (before.tenant.is_some() && before.tenant != now.tenant)
        || (before.since.is_some() && before.since != now.since)
        || (before.before.is_some() && before.before != now.before)
        || before.labels.iter().any(|(name, value)| now.labels.get(name) != Some(value))
}

fn state(name: &str) -> Result<State, Status> {
    let names = State::ALL.map(State::name).join(", ");
    let unknown = || refused(&format!("{:?} is no state: there are {names}", beginning(name)));
    State::named(name).ok_or_else(unknown)
}

fn time(text: &str) -> Result<Timestamp, Status> {
    let parsed: Result<WireTimestamp, _> = text.parse();
    let time = parsed.map_err(|_| {
        let text = beginning(text);
        refused(&format!("{text:?} is no time: write \"2026-11-01T08:00:00Z\" (RFC 3339)"))
    })?;
    Ok(Timestamp(time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos / 1_000_000))))
}

fn tokens(filter: &str) -> Result<Vec<Token>, Status> {
    let (mut tokens, mut rest) = (Vec::new(), filter.trim_start());
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '"' | '\'' => text(rest, first)?,
            '=' | '<' | '>' | '!' | ':' | '(' | ')' | '-' => sign(rest)?,
            _ => {
                let is_end = |c: char| c.is_whitespace() || "=<>!:()\"'".contains(c);
                let length = rest.find(is_end).unwrap_or(rest.len());
                (Token::Word(rest[..length].to_owned()), length)
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn sign(rest: &str) -> Result<(Token, usize), Status> {
    let sign = ["<=", ">=", "=", "<", ">"].into_iter().find(|sign| rest.starts_with(sign));
    let sign = sign.ok_or_else(|| {
        let what: String = rest.chars().take(20).collect();
        refused(&format!("{what:?} is not understood: fields are compared by =, <, <=, >, >="))
    })?;
    Ok((Token::Sign(sign), sign.len()))
}

/// A quoted text; a backslash takes the next character as it is.
fn text(rest: &str, quote: char) -> Result<(Token, usize), Status> {
    let (mut text, mut escaped) = (String::new(), false);
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            c if escaped => {
                text.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            c if c == quote => return Ok((Token::Text(text), at + 1)),
            c => text.push(c),
        }
    }
    Err(refused(&format!("a text that begins with {quote} does not end")))
}

fn told(tokens: &[Token]) -> String {
    let told = tokens.iter().take(3).map(|token| match token {
        Token::Word(word) => beginning(word).into_owned(),
        Token::Text(text) => format!("{:?}", beginning(text)),
        Token::Sign(sign) => (*sign).to_owned(),
    });
    format!("`{}`", told.collect::<Vec<_>>().join(" "))
}

fn refused(what: &str) -> Status {
    Status::invalid_argument(format!("filter: {what}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::proptest;
    use turno_store::{Query, State, Timestamp};

    use super::query;

    #[test]
    fn comparisons_are_joined_by_and() {
        let text = r#"state = "dead" AND method="a.v1.A/Do" AND labels.shop = 'Rosa\'s' AND tenant = bakery
            AND submitted_at > "1970-01-01T00:00:01Z" AND submitted_at<="1970-01-01T00:00:02.5Z""#;
        let expected = Query {
            states: vec![State::Dead],
            method: Some("a.v1.A/Do".into()),
            tenant: Some("bakery".into()),
            labels: BTreeMap::from([("shop".into(), "Rosa's".into())]),
            since: Some(Timestamp(1001)),
            before: Some(Timestamp(2501)),
            ..Query::default()
        };
        assert_eq!(query(text).unwrap(), expected);
        assert_eq!(query("  ").unwrap(), Query::default());
    }

    #[test]
    fn a_method_may_have_a_slash_before_it() {
        for text in ["method = a.v1.A/Do", "method = \"/a.v1.A/Do\"", "method = /a.v1.A/Do"] {
            assert_eq!(query(text).unwrap().method.as_deref(), Some("a.v1.A/Do"), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (filter, said) in [
            ("state", "`state` is no comparison"),
            ("state = dead OR state = done", "`OR state =` is not understood: comparisons are joined by AND"),
            ("state = dead AND", "`AND` is not understood"),
            ("state = dead AND state = done", "state is compared twice"),
            ("labels.a = x AND labels.a = y", "labels.a is compared twice"),
            ("state = lost", "\"lost\" is no state: there are waiting, running, done"),
            ("state != dead", "\"!= dead\" is not understood"),
            ("state > dead", "state takes = alone"),
            ("colour = red", "\"colour\" is not known"),
            ("labels.Big = x", "labels.Big is no label"),
            ("submitted_at = \"2026-01-01T00:00:00Z\"", "submitted_at takes >"),
            ("submitted_at > \"tomorrow\"", "\"tomorrow\" is no time"),
            ("method = \"a", "a text that begins with \" does not end"),
            ("NOT state = dead", "`NOT state =` is no comparison"),
        ] {
            let error = query(filter).unwrap_err();
            assert!(error.message().starts_with(&format!("filter: {said}")), "{filter}: {error}");
        }
    }

    #[test]
    fn what_is_not_understood_is_not_told_whole() {
        let long = "x".repeat(4000);
        for filter in [
            long.clone(),
            format!("'{long}'"),
            format!("{long} = x"),
            format!("labels.{long} = x"),
            format!("state = {long}"),
            format!("submitted_at > {long}"),
        ] {
            let error = query(&filter).unwrap_err();
            assert!(error.message().len() < 1000, "{error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_breaks_it(filter in "\\PC*") {
            drop(query(&filter));
        }
    }
}
