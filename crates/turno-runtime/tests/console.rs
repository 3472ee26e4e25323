//! A job on a thread of its own is seen in tokio-console as a blocking task with its true busy time. It rests on
//! console-subscriber recognising a span by its name, so a new version of it may break this.
#![cfg(tokio_unstable)]
#![allow(clippy::unwrap_used, reason = "a test's own failures")]

use std::time::Duration;

use console_api::instrument::instrument_client::InstrumentClient;
use console_api::instrument::{InstrumentRequest, Update};
use console_api::tasks::Stats;
use turno_runtime::task;
use turno_runtime::telemetry::{self, TelemetryConfig};

const NAME: &str = "kitchen.v1.Kitchen/Bake";
const BUSY: Duration = Duration::from_millis(60);

#[tokio::test]
async fn a_job_is_a_blocking_task_with_its_true_busy_time() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    telemetry::init(&TelemetryConfig { console: Some(port), ..TelemetryConfig::default() }).unwrap();
    let mut client = connect(&format!("http://{port}")).await;
    let mut updates = client.watch_updates(InstrumentRequest {}).await.unwrap().into_inner();
    updates.message().await.unwrap();

    assert!(task::is_watched());
    std::thread::spawn(|| task::run_busy(NAME, hold)).join().unwrap();

    let (mut found, mut stats) = (None, None);
    while stats.is_none() {
        let update = updates.message().await.unwrap().expect("the console goes on");
        found = found.or_else(|| task_named(&update));
        stats = found.and_then(|id| finished(&update, id));
    }
    let busy = busy_time(&stats.unwrap());
    assert!(busy >= BUSY && busy < BUSY * 20, "{busy:?}");
}

#[expect(clippy::disallowed_methods, reason = "a job that is busy")]
fn hold() {
    std::thread::sleep(BUSY);
}

async fn connect(url: &str) -> InstrumentClient<tonic::transport::Channel> {
    loop {
        match InstrumentClient::connect(url.to_owned()).await {
            Ok(client) => return client,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Its id, if the update brings it as a blocking task.
fn task_named(update: &Update) -> Option<u64> {
    let new = &update.task_update.as_ref()?.new_tasks;
    let named =
        new.iter().find(|task| task.fields.iter().any(|field| format!("{field:?}").contains(NAME)))?;
    // console-subscriber 0.5 leaves `kind` alone and sends a field of that name, which tokio-console shows.
    assert!(named.fields.iter().any(|field| format!("{field:?}").contains("blocking")), "{named:?}");
    Some(named.id.as_ref()?.id)
}

fn finished(update: &Update, id: u64) -> Option<Stats> {
    let stats = update.task_update.as_ref()?.stats_update.get(&id)?;
    stats.dropped_at.is_some().then_some(*stats)
}

fn busy_time(stats: &Stats) -> Duration {
    let busy = stats.poll_stats.as_ref().and_then(|polls| polls.busy_time).expect("a task that ran was busy");
    Duration::try_from(busy).unwrap()
}
