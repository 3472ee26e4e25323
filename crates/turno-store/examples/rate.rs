//! What a store does a second, by itself: `cargo run --release -p turno-store --example rate -- ADDRESS [CALLERS] [SECONDS]`.
//! Each caller submits a ticket that begins at once, waits for the word, and finishes it; then submits alone, then one
//! caller's latency. Prints one line a figure.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use turno_store::{Attempt, GatewayId, NewTicket, Outcome, Store, Submitted, TicketId};

fn new(gateway: Option<GatewayId>) -> NewTicket {
    NewTicket {
        id: TicketId::new(),
        method: "bench.v1.Bench/Echo".into(),
        request: Bytes::from_static(&[7; 100]),
        inputs: None,
        tenant: String::new(),
        metadata: Bytes::new(),
        labels: BTreeMap::new(),
        key: None,
        not_before: None,
        timeout: None,
        retries: 3,
        keep_result_for: Duration::from_secs(86_400),
        begin_at: gateway,
    }
}

async fn submit(store: &dyn Store, gateway: Option<GatewayId>) -> Option<Attempt> {
    match store.submit(new(gateway)).await.unwrap() {
        Submitted::Stored { attempt, .. } => attempt,
        Submitted::Known(_) => unreachable!("there is no key"),
    }
}

/// Seconds of CPU time that this process has had, in hundredths.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

async fn load(store: &Arc<dyn Store>, what: &str, callers: usize, time: Duration, begin: Option<GatewayId>) {
    let (began, cpu_before) = (Instant::now(), cpu());
    let tasks = (0..callers).map(|_| {
        let store = store.clone();
        turno_runtime::task::spawn("caller", async move {
            let mut latencies = Vec::new();
            while began.elapsed() < time {
                let asked = Instant::now();
                let attempt = submit(&*store, begin).await;
                latencies.push(asked.elapsed());
                if let Some(attempt) = attempt {
                    store.finish(attempt, Outcome::Done(Bytes::from_static(&[8; 100]))).await.unwrap();
                }
            }
            latencies
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    latencies.sort();
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu() - cpu_before);
    let count = latencies.len();
    let at = |share: f64| latencies[((count - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{what:<12} {callers:>4} callers {:>8.0}/s   submit p50 {:.3} ms p99 {:.3} ms max {:.1} ms   CPU {:.1} us each",
        count as f64 / wall,
        at(0.5),
        at(0.99),
        at(1.0),
        cpu * 1e6 / count as f64
    );
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().expect("an address");
    let callers = arguments.next().map_or(64, |callers| callers.parse().unwrap());
    let time = Duration::from_secs(arguments.next().map_or(5, |seconds| seconds.parse().unwrap()));
    let store = turno_store::open(&address).await.unwrap();
    let gateway = GatewayId(TicketId::new().0);
    store.renew(gateway, Duration::from_secs(3600)).await.unwrap();
    load(&store, "submit", callers, time, None).await;
    load(&store, "to done", callers, time, Some(gateway)).await;
    load(&store, "submit", 1, time, None).await;
    load(&store, "to done", 1, time, Some(gateway)).await;
    println!("{:?}", store.counts().await.unwrap());
}
