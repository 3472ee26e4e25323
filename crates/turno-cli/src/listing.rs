//! `turno nodes` and `turno methods`: what a gateway knows of its mesh (`turno.v1.Admin`), as a table for a
//! person or as JSON for a program. Called by `main` with a channel from `call::dial`.

use std::io;
use std::time::Duration;

use anyhow::anyhow;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};
use turno_proto::status::code_name;
use turno_proto::v1::admin_client::AdminClient;
use turno_proto::v1::{Blocking, ListMethodsRequest, ListNodesRequest, Method, Node};
use turno_runtime::units::Span;

use crate::call::{self, why};

/// Lists the nodes that are linked now.
pub(crate) async fn nodes(channel: Channel, address: &str, json: bool) -> anyhow::Result<()> {
    let answer = call::answer(client(channel).list_nodes(ListNodesRequest {})).await;
    let mut nodes = answer.map_err(|status| refused(&status, address))?.into_inner().nodes;
    nodes.sort_by(|a, b| (&a.name, &a.peer).cmp(&(&b.name, &b.peer)));
    print(if json { pretty(nodes.iter().map(node_json)) } else { node_table(&nodes) })
}

/// Lists the methods that can be called, and those whose last node is gone.
pub(crate) async fn methods(channel: Channel, address: &str, json: bool) -> anyhow::Result<()> {
    let answer = call::answer(client(channel).list_methods(ListMethodsRequest {})).await;
    let mut methods = answer.map_err(|status| refused(&status, address))?.into_inner().methods;
    methods.sort_by(|a, b| a.name.cmp(&b.name));
    print(if json { pretty(methods.iter().map(method_json)) } else { method_table(&methods) })
}

fn client(channel: Channel) -> AdminClient<Channel> {
    AdminClient::new(channel).max_decoding_message_size(usize::MAX)
}

fn refused(status: &Status, address: &str) -> anyhow::Error {
    match status.code() {
        Code::Unimplemented => anyhow!(
            "what answers there is no Turno gateway (it has no turno.v1.Admin); --address takes the port that clients call, \
             not that of nodes or metrics"
        ),
        code => anyhow!("{address}: {}: {}", code_name(code), why(status)),
    }
}

/// To stdout, whose reader may have left: what is done goes on without one.
pub(crate) fn print(text: String) -> anyhow::Result<()> {
    print_to(&mut io::stdout(), &text)
}

/// The same, wherever that is.
pub(crate) fn print_to(out: &mut dyn io::Write, text: &str) -> anyhow::Result<()> {
    match writeln!(out, "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn pretty(items: impl Iterator<Item = Value>) -> String {
    format!("{:#}", Value::Array(items.collect()))
}

fn node_json(node: &Node) -> Value {
    json!({
        "id": node.id,
        "name": node.name,
        "version": node.version,
        "role": node.role,
        "peer": node.peer,
        "slots": node.slots,
        "in_flight": node.in_flight,
        "calls_served": node.calls_served,
        "age_ms": node.age_ms,
        "leaving": node.leaving,
        "blocking": node.blocking.iter().map(blocking_json).collect::<Vec<_>>(),
        "times_slower": node.times_slower,
    })
}

fn blocking_json(blocking: &Blocking) -> Value {
    json!({ "method": blocking.method, "times": blocking.times, "longest_ms": blocking.longest_ms })
}

fn method_json(method: &Method) -> Value {
    json!({
        "name": method.name,
        "kind": method.kind,
        "repeatable": method.repeatable,
        "nodes": method.nodes,
        "timeout_us": method.timeout_us,
        "concurrency": method.concurrency,
        "hedge_after_us": method.hedge_after_us,
        "retries": method.retries,
    })
}

fn node_table(nodes: &[Node]) -> String {
    if nodes.is_empty() {
        return "no nodes are linked; start one with `turno io`, `turno worker`, or a node of your own"
            .to_owned();
    }
    let columns = ["NAME", "ROLE", "STATE", "SLOTS", "IN FLIGHT", "SERVED", "AGE", "PEER", "VERSION"];
    let table = table(columns, &["SLOTS", "IN FLIGHT", "SERVED"], nodes.iter().map(node_row));
    let mut warnings = blocking_lines(nodes);
    warnings.extend(nodes.iter().filter(|node| node.times_slower > 0).map(slow_line));
    if warnings.is_empty() { table } else { format!("{table}\n\n{}", warnings.join("\n")) }
}

fn slow_line(node: &Node) -> String {
    let Node { name, peer, times_slower, .. } = node;
    format!(
        "\u{26a0} jobs take {times_slower} times as long on {name} ({peer}) as on the others of its kind: it gets what these \
         have no slot for; see what else runs there"
    )
}

/// A line for each method and node where it has held its thread.
fn blocking_lines(nodes: &[Node]) -> Vec<String> {
    let line = |node: &Node, blocking: &Blocking| {
        let Blocking { method, times, longest_ms } = blocking;
        let times = if *times == 1 { "once".to_owned() } else { format!("{times} times") };
        let (name, peer) = (&node.name, &node.peer);
        format!(
            "\u{26a0} {method} held its thread {times}, up to {longest_ms}ms, on {name} ({peer}): make it a plain fn"
        )
    };
    nodes.iter().flat_map(|node| node.blocking.iter().map(move |blocking| line(node, blocking))).collect()
}

fn node_row(node: &Node) -> [String; 9] {
    [
        node.name.clone(),
        node.role.clone(),
        if node.leaving { "leaving" } else { "ready" }.to_owned(),
        if node.slots == 0 { "-".to_owned() } else { node.slots.to_string() },
        node.in_flight.to_string(),
        node.calls_served.to_string(),
        age(node.age_ms),
        node.peer.clone(),
        node.version.clone(),
    ]
}

const METHOD_COLUMNS: [&str; 4] = ["METHOD", "KIND", "NODES", "REPEATABLE"];

fn method_table(methods: &[Method]) -> String {
    if methods.is_empty() {
        return "no methods are served; they come with the nodes that bring them: see `turno nodes`"
            .to_owned();
    }
    let rows = methods.iter().map(method_row);
    if methods.iter().all(|method| policy(method).is_empty()) {
        return table(METHOD_COLUMNS, &["NODES"], rows);
    }
    let rows = rows.zip(methods).map(|(row, method)| with(row, policy(method)));
    table(with(METHOD_COLUMNS, "POLICY"), &["NODES"], rows)
}

/// One column more.
fn with<T>([name, kind, nodes, repeatable]: [T; 4], policy: T) -> [T; 5] {
    [name, kind, nodes, repeatable, policy]
}

/// "timeout 2s, concurrency 16": what the .proto says beside the rpc.
fn policy(method: &Method) -> String {
    let time = |word: &str, micros: u64| {
        (micros > 0).then(|| format!("{word} {}", Span(Duration::from_micros(micros))))
    };
    let said = [
        time("timeout", method.timeout_us),
        (method.concurrency > 0).then(|| format!("concurrency {}", method.concurrency)),
        time("hedge after", method.hedge_after_us),
        method.retries.map(|retries| format!("retries {retries}")),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn method_row(method: &Method) -> [String; 4] {
    [
        method.name.clone(),
        method.kind.clone(),
        if method.nodes == 0 { "none".to_owned() } else { method.nodes.to_string() },
        if method.repeatable { "yes" } else { "no" }.to_owned(),
    ]
}

/// Columns and nothing else. Those named in `right` hold numbers.
pub(crate) fn table<const N: usize>(
    columns: [&str; N],
    right: &[&str],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns).add_rows(rows);
    for (name, column) in columns.iter().zip(table.column_iter_mut()) {
        column.set_padding((0, 3));
        if right.contains(name) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// "3m 12s": the two largest units.
pub(crate) fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m {s}s"),
        (0, h, m, _) => format!("{h}h {m}m"),
        (d, h, _, _) => format!("{d}d {h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::{age, method_json, method_table, methods, node_json, node_table, nodes, refused};
    use tonic::Status;
    use turno_proto::v1::{Blocking, Method, Node};

    fn node(name: &str, role: &str, slots: u32) -> Node {
        Node {
            id: "0198".into(),
            name: name.into(),
            version: "0.1.0".into(),
            role: role.into(),
            peer: "127.0.0.1:50412".into(),
            slots,
            in_flight: 3,
            calls_served: 12_345,
            age_ms: 192_400,
            leaving: role == "both",
            blocking: Vec::new(),
            times_slower: 0,
        }
    }

    #[tokio::test]
    async fn another_server_is_told_apart_from_a_gateway() {
        let channel = crate::call::dial(&crate::call::tests::serve().await.to_string()).await.unwrap();
        for error in [
            nodes(channel.clone(), "[::1]:7070", false).await.unwrap_err(),
            methods(channel, "[::1]:7070", true).await.unwrap_err(),
        ] {
            assert!(error.to_string().contains("is no Turno gateway"), "{error}");
        }
    }

    #[test]
    fn who_says_nothing_is_named_and_why_it_is_not_heard() {
        let cause = std::io::Error::other("keep-alive timed out");
        let silent = Status::from_error(anyhow::Error::new(cause).context("http2 error").into());
        let said = refused(&silent, "[::1]:7070").to_string();
        assert_eq!(said, "[::1]:7070: UNKNOWN: keep-alive timed out");
    }

    #[test]
    fn nodes_line_up() {
        let table = node_table(&[
            node("turno-io", "io", 0),
            node("worker", "worker", 16),
            node("gallery", "both", 2),
        ]);
        let expected = "\
NAME       ROLE     STATE     SLOTS   IN FLIGHT   SERVED   AGE      PEER              VERSION
turno-io   io       ready         -           3    12345   3m 12s   127.0.0.1:50412   0.1.0
worker     worker   ready        16           3    12345   3m 12s   127.0.0.1:50412   0.1.0
gallery    both     leaving       2           3    12345   3m 12s   127.0.0.1:50412   0.1.0";
        assert_eq!(table, expected, "\n{table}");
    }

    #[test]
    fn who_blocks_is_named_under_the_table() {
        let mut gallery = node("gallery", "both", 2);
        let blocking = |times| Blocking { method: "a.v1.A/Wait".into(), times, longest_ms: 420 };
        gallery.blocking = vec![blocking(1), blocking(3)];
        let table = node_table(&[gallery.clone(), node("io", "io", 0)]);
        let expected = "\n\n\
\u{26a0} a.v1.A/Wait held its thread once, up to 420ms, on gallery (127.0.0.1:50412): make it a plain fn
\u{26a0} a.v1.A/Wait held its thread 3 times, up to 420ms, on gallery (127.0.0.1:50412): make it a plain fn";
        assert!(table.ends_with(expected), "\n{table}");
        assert_eq!(node_json(&gallery)["blocking"][1]["times"], 3);
    }

    #[test]
    fn who_is_slow_is_named_under_the_table() {
        let slow = Node { times_slower: 12, ..node("worker", "worker", 16) };
        let table = node_table(&[slow.clone(), node("worker", "worker", 16)]);
        let expected = "\n\n\
\u{26a0} jobs take 12 times as long on worker (127.0.0.1:50412) as on the others of its kind: it gets what these \
have no slot for; see what else runs there";
        assert!(table.ends_with(expected), "\n{table}");
        assert_eq!(node_json(&slow)["times_slower"], 12);
    }

    #[test]
    fn methods_line_up() {
        let method = |name: &str, kind: &str, nodes| Method {
            name: name.into(),
            kind: kind.into(),
            repeatable: kind == "job",
            nodes,
            ..Method::default()
        };
        let table = method_table(&[method("a.v1.A/Do", "job", 12), method("a.v1.A/Wait", "awaited", 0)]);
        let expected = "\
METHOD        KIND      NODES   REPEATABLE
a.v1.A/Do     job          12   yes
a.v1.A/Wait   awaited    none   no";
        assert_eq!(table, expected, "\n{table}");
    }

    #[test]
    fn policies_are_shown_where_there_are_any() {
        let plain = Method { name: "a.v1.A/Do".into(), kind: "job".into(), nodes: 2, ..Method::default() };
        let wants = Method {
            name: "a.v1.A/Wait".into(),
            timeout_us: 90_300_000,
            concurrency: 16,
            hedge_after_us: 50_000,
            retries: Some(5),
            ..plain.clone()
        };
        let one = Method { name: "a.v1.A/Yield".into(), concurrency: 2, ..plain.clone() };
        let table = method_table(&[plain, wants, one]);
        let expected = "\
METHOD         KIND   NODES   REPEATABLE   POLICY
a.v1.A/Do      job        2   no
a.v1.A/Wait    job        2   no           timeout 1m 30s 300ms, concurrency 16, hedge after 50ms, retries 5
a.v1.A/Yield   job        2   no           concurrency 2";
        assert_eq!(table, expected, "\n{table}");
    }

    #[test]
    fn nothing_there_says_what_to_do() {
        assert!(node_table(&[]).starts_with("no nodes are linked; start one with `turno io`"));
        assert!(method_table(&[]).starts_with("no methods are served"));
    }

    #[test]
    fn json_has_the_protos_names() {
        let value = node_json(&node("w", "worker", 2));
        assert_eq!(value["calls_served"], 12_345);
        assert_eq!(value["age_ms"], 192_400);
        assert_eq!(value["leaving"], false);
        let method = Method {
            name: "a/B".into(),
            kind: "job".into(),
            repeatable: true,
            nodes: 1,
            timeout_us: 5,
            concurrency: 6,
            hedge_after_us: 7,
            retries: Some(0),
        };
        let expected = serde_json::json!({
            "name": "a/B", "kind": "job", "repeatable": true, "nodes": 1,
            "timeout_us": 5, "concurrency": 6, "hedge_after_us": 7, "retries": 0,
        });
        assert_eq!(method_json(&method), expected);
    }

    #[test]
    fn ages_have_two_units() {
        let ages =
            [(0, "0s"), (59_999, "59s"), (192_000, "3m 12s"), (7_500_000, "2h 5m"), (363_600_000, "4d 5h")];
        for (ms, text) in ages {
            assert_eq!(age(ms), text);
        }
    }
}
