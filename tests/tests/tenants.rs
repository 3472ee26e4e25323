//! Tenants share the workers by CPU time, however large or small their jobs are.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;
use tonic::Request;
use turno::node::config::Role;
use turno_gateway::GatewayConfig;
use turno_tests::stubs::Wait;
use turno_tests::{TestMesh, eventually};

/// Who loads the workers, and how.
struct Load {
    tenant: Option<&'static str>,
    /// CPU time of a job, in milliseconds.
    ms: u64,
    callers: usize,
}

/// The share of the first load in the CPU time that both get while both wait.
async fn share(loads: [Load; 2]) -> f64 {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let _worker = mesh.kitchen(Role::Worker, 2).await;
    let (spent, ending) = ([(); 2].map(|()| Arc::<AtomicU64>::default()), CancellationToken::new());
    let mut callers = Vec::new();
    for (load, spent) in loads.into_iter().zip(&spent) {
        for _ in 0..load.callers {
            let (mut client, ending, spent) = (mesh.client(), ending.clone(), spent.clone());
            callers.push(tokio::spawn(async move {
                while !ending.is_cancelled() {
                    let mut request = Request::new(Wait { ms: load.ms, ..Wait::default() });
                    if let Some(tenant) = load.tenant {
                        request.metadata_mut().insert("turno-tenant", tenant.parse().unwrap());
                    }
                    let us = client.crunch(request).await.unwrap().into_inner().value;
                    spent.fetch_add(us, Ordering::SeqCst);
                }
            }));
        }
    }
    let [first, second] = [&spent[0], &spent[1]].map(|spent| || spent.load(Ordering::SeqCst));
    let all = || first() + second();
    // Both wait from here on, and their jobs' costs are known.
    eventually("both have begun", async || first() > 100_000 && second() > 50_000).await;
    let (first_before, before) = (first(), all());
    eventually("a second of CPU time is spent", async || all() > before + 1_000_000).await;
    let share = (first() - first_before) as f64 / (all() - before) as f64;
    ending.cancel();
    for caller in callers {
        caller.await.unwrap();
    }
    share
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_heavy_jobs_and_many_light_ones_get_the_same_cores() {
    let heavy = |tenant| Load { tenant, ms: 20, callers: 12 };
    let light = |tenant| Load { tenant, ms: 1, callers: 40 };
    let fair = share([heavy(Some("bakery")), light(Some("bar"))]).await;
    assert!((0.4..=0.6).contains(&fair), "the heavy tenant has {fair:.2} of the CPU time");
    // What the rule is for: as one tenant, who has the heavier jobs has nearly everything.
    let unfair = share([heavy(None), light(None)]).await;
    assert!(unfair > 0.75, "without tenants, heavy jobs have {unfair:.2} of the CPU time");
}
